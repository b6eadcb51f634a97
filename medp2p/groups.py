"""Exception groups: the one error that tells what happened.

Several tasks of one conversation fail together when it ends; the first cause matters.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from medp2p.errors import LinkLostError, MedP2PError, TransferAbortedError


def leaves(group: BaseExceptionGroup) -> Iterator[BaseException]:
    """Yield the exceptions of a group that are no groups themselves."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def find_error(group: BaseExceptionGroup) -> MedP2PError | None:
    """Return the most telling of our errors in a group, or None when another one is in it.

    A lost link is the least telling: often it is what another error did.
    """
    errors = list(leaves(group))
    ours = [error for error in errors if isinstance(error, MedP2PError)]
    return min(ours, key=_vagueness) if len(ours) == len(errors) else None


def _vagueness(error: MedP2PError) -> int:
    """Rank errors: a lost link tells least, then that the other side has ended it."""
    return 2 if isinstance(error, LinkLostError) else int(isinstance(error, TransferAbortedError))


@contextmanager
def one_error() -> Iterator[None]:
    """Turn a group of errors of ours into the most telling one; leave other groups alone."""
    try:
        yield
    except BaseExceptionGroup as group:
        if (found := find_error(group)) is None:
            raise
        raise found from group
