"""Which chunk of a transfer leaves next: the one place that decides it.

Every connection of a transfer pulls from here, so that any connection may carry any chunk.
"""

from collections import deque
from collections.abc import Iterable


class ChunkScheduler:
    """Hand out the chunk indexes of one transfer that the receiver still needs, ascending.

    Lives in the trio thread. Holds ranges, not indexes: a 16 TiB stream costs nothing.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: deque[tuple[int, int]] = deque()
        self.add(ranges)

    def add(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Append [first, end) ranges; the caller keeps them disjoint and ascending."""
        self._ranges.extend((first, end) for first, end in ranges if first < end)

    def next(self) -> int | None:
        """Return the next index and forget it, or None when nothing is left."""
        if not self._ranges:
            return None
        first, end = self._ranges.popleft()
        if first + 1 < end:
            self._ranges.appendleft((first + 1, end))
        return first

    def put_back(self, index: int) -> None:
        """Return an index for which there was no place on the link; it is the next one out."""
        self._ranges.appendleft((index, index + 1))

    @property
    def left(self) -> int:
        """How many chunks are still to be handed out."""
        return sum(end - first for first, end in self._ranges)
