"""Connections that have not yet proved a pinned key, held to a small number.

At a cap the oldest of the busiest address goes, so that who opens many connections pushes out
his own, and a real peer, whose handshake takes milliseconds, finds room at any time.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from medp2p import limits


@dataclass(eq=False)
class Stranger:
    """One connection that is not yet anyone's.

    Attributes:
        address: Host, without the port.
        scope: Cancelled when it must go.
        crowded: It was pushed out by a newer one.
    """

    address: str
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    crowded: bool = False


class Strangers:
    """The table of them, oldest first."""

    def __init__(self) -> None:
        self._all: dict[Stranger, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    @contextmanager
    def admit(self, address: str) -> Iterator[Stranger]:
        """Hold a place for a new connection, at the cost of an older one at a cap.

        The caller does its work inside ``stranger.scope``, and calls ``leave`` once the
        connection has proved itself.
        """
        held = Counter(stranger.address for stranger in self._all)
        if held[address] >= limits.MAX_STRANGERS_PER_ADDRESS:
            self._push_out(address)
        elif len(self._all) >= limits.MAX_STRANGERS:
            most = max(held.values())
            busiest = next(s.address for s in self._all if held[s.address] == most)
            self._push_out(busiest)
        stranger = Stranger(address)
        self._all[stranger] = None
        try:
            yield stranger
        finally:
            self.leave(stranger)

    def leave(self, stranger: Stranger) -> None:
        """Free the place. Idempotent."""
        self._all.pop(stranger, None)

    def _push_out(self, address: str) -> None:
        oldest = next(stranger for stranger in self._all if stranger.address == address)
        oldest.crowded = True
        oldest.scope.cancel()
        self.leave(oldest)
