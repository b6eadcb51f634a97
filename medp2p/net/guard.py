"""One guard at the edge: what fails for one peer ends that peer's link and nothing else."""

import logging
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

from medp2p.errors import (
    HandshakeError,
    LinkLostError,
    LocalProtocolError,
    MedP2PError,
    RemoteProtocolError,
    VersionError,
)
from medp2p.groups import leaves

log = logging.getLogger(__name__)

#: Errors whose text speaks of the network only; others may name files.
_PLAIN: Final = (
    HandshakeError,
    LinkLostError,
    LocalProtocolError,
    RemoteProtocolError,
    VersionError,
)


def bug_text(error: BaseException) -> str:
    """Return where an unexpected exception came from: types and places, no messages.

    Messages of foreign exceptions hold paths and values, which may be patient data.
    """
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(bug_text(inner) for inner in error.exceptions)
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{f.filename}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{type(error).__name__} at {places}"


def forget_frames(error: BaseException) -> None:
    """Let go of what the functions held that an error has passed through.

    An error that is kept (a link tells each of its users the same one) keeps their frames, and
    these keep it, until the garbage collector happens to look at old objects.
    """
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        pending += [other for other in (one.__context__, one.__cause__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions


async def guard(what: str, work: Callable[[], Awaitable[None]], on_bug: Callable[[], None]) -> None:
    """Run work; log how it failed, instead of raising.

    Args:
        what: For the log, such as "link from 10.0.0.7:5123".
        work: Anything.
        on_bug: Called for an exception that is not a MedP2PError.

    Cancellation: passes through.
    """
    try:
        await work()
    except* MedP2PError as group:
        for error in leaves(group):
            if isinstance(error, _PLAIN):
                log.info("%s ended: %s", what, error)
            elif isinstance(error, MedP2PError):
                log.info("%s ended: %s", what, error.code)
        forget_frames(group)
    except* Exception as group:  # noqa: BLE001 - the edge
        on_bug()
        log.error("bug in %s: %s", what, bug_text(group))
        forget_frames(group)
