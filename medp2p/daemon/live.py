"""What is under way right now: bells that wake conversations, and progress not yet journalled.

All of it lives in the trio thread and is gone with the daemon; the store holds what counts.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from medp2p import limits
from medp2p.proto.frames import ChunkHeader

#: A rate is that of the last seconds: long enough that one late chunk does not make it jump.
RATE_SECONDS: Final = 5.0
#: Chunks that come closer together than this count as one move: what was queued at once says
#: nothing about the network, and fewer moves are kept.
_TOGETHER_SECONDS: Final = 0.25
#: Moves that are kept however old they are: on a slow line a chunk takes longer than all the rest.
_LEAST_MOVES: Final = 3


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


@dataclass(slots=True)
class _Move:
    """Chunks that came together: when the first and the last did, and all bytes up to there."""

    first: float
    last: float
    total: int


@dataclass
class Live:
    """One conversation that moves chunks.

    Attributes:
        chunks_done: Durable and journalled at the receiver.
        chunks_moved: Sent or received in this conversation.
        moved_bytes: The same in bytes, for the rate.
        wire_bytes: What these chunks took on the wire: less where they are compressed.
        clock: Monotonic, seconds.
    """

    chunks_done: int
    chunks: int
    chunks_moved: int = 0
    moved_bytes: int = 0
    wire_bytes: int = 0
    clock: Callable[[], float] = time.monotonic
    _moves: deque[_Move] = field(default_factory=deque)

    def count(self, header: ChunkHeader) -> None:
        """Count a chunk that was sent or received."""
        self.chunks_moved += 1
        self.moved_bytes += header.length
        self.wire_bytes += header.wire_bytes
        now, moves = self.clock(), self._moves
        if moves and now - moves[-1].first < _TOGETHER_SECONDS:
            moves[-1].last, moves[-1].total = now, self.moved_bytes
            return
        moves.append(_Move(now, now, self.moved_bytes))
        while len(moves) > _LEAST_MOVES and moves[1].last <= now - RATE_SECONDS:
            moves.popleft()

    def rate(self) -> float:
        """Return bytes a second of the last RATE_SECONDS; 0 when nothing moves any more.

        Also 0 before there were two moves: what was queued at first may not have left yet.
        """
        now = self.clock()
        if len(self._moves) < 2 or now - self._moves[-1].last >= self._patience():
            return 0.0
        begin = self._moves[0]
        return (self.moved_bytes - begin.total) / (now - begin.last)

    def has_just_stopped(self) -> bool:
        """Tell whether the rate became 0 a moment ago, so that those who watch are told."""
        if not self._moves:
            return False
        over = self.clock() - self._moves[-1].last - self._patience()
        return 0.0 <= over < 2 * limits.TICK_SECONDS

    def _patience(self) -> float:
        """Return after what silence nothing moves, in seconds: longer where chunks come rarely."""
        if len(self._moves) < 2:
            return RATE_SECONDS
        usual = self._moves[-1].first - self._moves[-2].last
        return min(max(RATE_SECONDS, 2 * usual), limits.SILENCE_SECONDS)


class Board:
    """Who waits for news of which transfer, and what moves.

    Attributes:
        slow_links: Keys of peers towards whom the link was what held the last transfer back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.slow_links: set[bytes] = set()
        self._clock = clock
        self._bells: dict[str, set[Bell]] = {}
        self.live: dict[str, Live] = {}
        self._wire_bytes: dict[str, int] = {}
        self._moved: set[str] = set()

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
        live = Live(chunks_done=chunks_done, chunks=chunks, clock=self._clock)
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
        self._moved.add(transfer)

    def take_moved(self) -> set[str]:
        """Return the transfers that have moved since the last call, or have just stopped."""
        moved, self._moved = self._moved, set()
        return moved | {one for one, live in self.live.items() if live.has_just_stopped()}
