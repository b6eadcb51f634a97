"""Places for connections: so many at a time, and a stranger never keeps out who is known."""

from dataclasses import dataclass, field

import trio


@dataclass(eq=False)
class Place:
    """The place of one connection.

    Attributes:
        scope: Cancelled when it has to go.
        known: Whether it is known to be of somebody who may be here.
    """

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    known: bool = False


class Places:
    """Places of one listener.

    Args:
        most: How many connections at a time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: list[Place] = []

    def take(self) -> Place | None:
        """Return a place, the oldest stranger's if all are taken; None if nobody has to go."""
        if len(self._taken) >= self._most:
            stranger = next((place for place in self._taken if not place.known), None)
            if stranger is None:
                return None
            stranger.scope.cancel()
            self._taken.remove(stranger)
        place = Place()
        self._taken.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Give a place back; nothing happens when it was taken away."""
        if place in self._taken:
            self._taken.remove(place)
