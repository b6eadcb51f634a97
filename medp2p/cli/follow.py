"""Following something in the daemon: its event stream, read again after a restart."""

import time
from collections.abc import Generator, Iterator
from typing import Any

from medp2p import limits
from medp2p.cli.show import is_over
from medp2p.control.client import Client
from medp2p.errors import NoDaemonError

#: Between two tries to reach a daemon that is being restarted.
_PAUSE_SECONDS = 0.5


def changes(client: Client, *, seen: bool = False) -> Iterator[dict[str, Any] | None]:
    """Yield events, None for ticks; goes on when the daemon is restarted.

    After each break the first item is None: the reader looks again at what it follows.

    Args:
        client: Asks the daemon.
        seen: It has answered a moment ago, so it may be restarting if it does not now.

    Raises:
        NoDaemonError: None answers at first, or none came back within DAEMON_RETURN_SECONDS.
    """
    gone_since: float | None = None
    while True:
        try:
            for event in client.events():
                seen, gone_since = True, None
                yield event
        except NoDaemonError:
            now = time.monotonic()
            gone_since = now if gone_since is None else gone_since
            if not seen or now - gone_since > limits.DAEMON_RETURN_SECONDS:
                raise
            time.sleep(_PAUSE_SECONDS)


def transfer_changes(
    client: Client, transfer: str, direction: str
) -> Generator[dict[str, Any], None, None]:
    """Yield a transfer as it is now and after each change, until its stream is whole or it ended.

    The last value is the final state.
    """
    last: dict[str, Any] | None = None
    for event in changes(client, seen=True):
        if event is not None and not _about(event, transfer):
            continue
        try:
            row = client.get("transfers", transfer, direction=direction)
        except NoDaemonError:
            continue  # the stream has broken too: changes() waits for the daemon
        if row != last:
            last = row
            yield row
        if is_over(row):
            return


def _about(event: dict[str, Any], transfer: str) -> bool:
    """Return whether an event may be about a transfer; the first one of a stream always is."""
    if event.get("event") != "transfer":
        return event.get("event") in ("status", "missed")
    about = event.get("transfer")
    return not isinstance(about, dict) or about.get("id") == transfer
