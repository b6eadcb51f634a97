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


def _vagueness(error: MedP2PError) -> int:
    """Rank errors: a lost link tells least, then that the other side has ended it."""
    return 2 if isinstance(error, LinkLostError) else int(isinstance(error, TransferAbortedError))


@contextmanager
def one_error() -> Iterator[None]:
    """Turn a group of errors of ours into the most telling one; leave other groups alone.

    A lost link is the least telling: often it is what another error did.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        errors = list(leaves(group))
        ours = [error for error in errors if isinstance(error, MedP2PError)]
        if len(ours) != len(errors):
            raise
        raise min(ours, key=_vagueness) from group
