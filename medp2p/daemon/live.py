"""What is under way right now: bells that wake conversations, and progress not yet journalled.

All of it lives in the trio thread and is gone with the daemon; the store holds what counts.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from medp2p import limits
from medp2p.proto.frames import ChunkHeader


class Bell:
    """Wakes one waiter; rings that come while nobody waits are kept as one."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """Wake the waiter, now or when it next waits."""
        self._event.set()

    async def wait(self) -> None:
        """Return once the bell has rung since the last return."""
        await self._event.wait()
        self._event = trio.Event()


@dataclass
class Live:
    """One conversation that moves chunks.

    Attributes:
        chunks_done: Durable and journalled at the receiver.
        chunks_moved: Sent or received in this conversation.
        moved_bytes: The same in bytes, for the rate.
        wire_bytes: What these chunks took on the wire: less where they are compressed.
        since: Monotonic time at which chunks began to move, seconds.
    """

    chunks_done: int
    chunks: int
    chunks_moved: int = 0
    moved_bytes: int = 0
    wire_bytes: int = 0
    since: float = field(default_factory=time.monotonic)

    def count(self, header: ChunkHeader) -> None:
        """Count a chunk that was sent or received."""
        self.chunks_moved += 1
        self.moved_bytes += header.length
        self.wire_bytes += header.wire_bytes

    def rate(self) -> float:
        """Return bytes a second since the beginning of this conversation."""
        elapsed = time.monotonic() - self.since
        return self.moved_bytes / elapsed if elapsed > 0.2 else 0.0


class Board:
    """Who waits for news of which transfer, and what moves.

    Attributes:
        slow_links: Keys of peers towards whom the link was what held the last transfer back.
    """

    def __init__(self) -> None:
        self.slow_links: set[bytes] = set()
        self._bells: dict[str, set[Bell]] = {}
        self.live: dict[str, Live] = {}
        self._wire_bytes: dict[str, int] = {}
        self.moved: set[str] = set()

    @contextmanager
    def listen(self, transfer: str) -> Iterator[Bell]:
        """Give a bell that rings at each change of the transfer."""
        bell = Bell()
        self._bells.setdefault(transfer, set()).add(bell)
        try:
            yield bell
        finally:
            bells = self._bells[transfer]
            bells.discard(bell)
            if not bells:
                del self._bells[transfer]

    def ring(self, transfer: str) -> None:
        """Wake all that wait for this transfer."""
        for bell in self._bells.get(transfer, ()):
            bell.ring()

    @contextmanager
    def moving(self, transfer: str, chunks_done: int, chunks: int) -> Iterator[Live]:
        """Show a transfer as moving for as long as the block runs."""
        live = Live(chunks_done=chunks_done, chunks=chunks)
        self.live[transfer] = live
        try:
            yield live
        finally:
            if self.live.get(transfer) is live:
                del self.live[transfer]
            total = self._wire_bytes.pop(transfer, 0) + live.wire_bytes
            self._wire_bytes[transfer] = total  # the newest is the last
            if len(self._wire_bytes) > limits.MAX_WIRE_COUNTS:
                del self._wire_bytes[next(iter(self._wire_bytes))]

    def wire_bytes(self, transfer: str) -> int | None:
        """Return what chunks of a transfer took on the wire since the daemon started.

        None if there were none, or MAX_WIRE_COUNTS other transfers have moved meanwhile.
        """
        live = self.live.get(transfer)
        count = self._wire_bytes.get(transfer, 0) + (live.wire_bytes if live else 0)
        return count or None

    def progress(self, transfer: str) -> None:
        """Note that a moving transfer has moved; the ticker tells it on."""
        self.moved.add(transfer)
