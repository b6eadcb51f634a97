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


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


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
        for error in _leaves(group):
            if isinstance(error, _PLAIN):
                log.info("%s ended: %s", what, error)
            elif isinstance(error, MedP2PError):
                log.info("%s ended: %s", what, error.code)
    except* Exception as group:  # noqa: BLE001 - the edge
        on_bug()
        log.error("bug in %s: %s", what, bug_text(group))
