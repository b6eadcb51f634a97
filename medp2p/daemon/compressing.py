"""Which chunks travel compressed: where they shrink, and the link is what holds a transfer back.

Pure: what happened is told, times are arguments. Two questions, each answered by measuring while
the transfer runs:

- `Pace`: is it the link that holds back, or one of the two machines? On a slow link a chunk here
  waits for its place nearly all the time, and the receiver, as it tells with its progress, nearly
  all the time for bytes. Behind a slow disk or processor only one of the two waits. Whether
  compression then helped is measured too.
- `Content`: do the next chunks shrink? What was found of one chunk holds for the next ones; what
  does not shrink is looked at less and less often.
"""

from dataclasses import dataclass

from medp2p import limits
from medp2p.proto.frames import Packing


@dataclass
class _Look:
    """What happened since a moment.

    Attributes:
        since: That moment, seconds on a monotonic clock.
        chunks: Got a place in the link.
        waited: For it, seconds in all.
        packed: How many chunks were compressed.
    """

    since: float
    chunks: int = 0
    waited: float = 0.0
    packed: int = 0

    def rate(self, now: float) -> float:
        """Return chunks a second."""
        return self.chunks / max(now - self.since, 1e-9)

    def held(self, now: float) -> float:
        """Return the part of the time in which a chunk waited for its place."""
        return self.waited / max(now - self.since, 1e-9)


class Pace:
    """What holds one transfer back.

    Args:
        now: When the transfer begins.
        slow: The last transfer over that link found it to be slow.

    Attributes:
        on: Whether to compress: the link holds back, and it has helped so far.
        proved: That it helps was seen.
    """

    def __init__(self, now: float, *, slow: bool = False) -> None:
        self.on = self.proved = slow
        #: Chunks that find a place at once in the beginning, or had one before a switch.
        self._ahead = limits.LINK_CHUNKS
        self._beginning = True
        self._waiting: float | None = None
        self._period, self._look = _Look(now), _Look(now)  # since the last switch, the last look
        self._plain_rate = 0.0
        self._packing_seconds = limits.PACE_PACKING_SECONDS
        self._rest, self._next_rest = 0, limits.PACE_REST_CHUNKS
        self._doubt, self._doubtful = 0, limits.PACE_DOUBT_CHUNKS

    def waits(self, now: float) -> None:
        """Note that a chunk begins to wait for a place in the link."""
        self._waiting = now

    def placed(self, chunks: int, now: float) -> None:
        """Note that some chunks got their places."""
        waited = self._count_waiting(now)
        self._waiting = None
        if self._ahead > 0:
            self._ahead -= chunks
            if self._ahead <= 0 or (self._beginning and waited > limits.PACE_WAITED_SECONDS):
                self._ahead, self._beginning = 0, False
                self._period, self._look = _Look(now), _Look(now)
            return
        self._period.chunks += chunks
        self._look.chunks += chunks
        if self.on and self._look.chunks >= limits.PACE_CHUNKS:
            self._judge_packed(now)

    def waited(self, seconds: float) -> None:
        """Note that chunks had places, and waited so long to leave them."""
        if self._ahead <= 0:
            self._period.waited += seconds
            self._look.waited += seconds

    def packed(self, seconds: float) -> None:
        """Note that a chunk was compressed, and how long a worker took for it."""
        self._packing_seconds += (seconds - self._packing_seconds) / 8
        self._period.packed += 1

    def told(self, hungry: float, now: float) -> None:
        """Take in the receiver's word: in which part of the time it has waited for bytes."""
        self._count_waiting(now)
        if self.on or self._ahead > 0:
            return
        look, self._look = self._look, _Look(now)
        self._rest = max(0, self._rest - look.chunks)
        slow = look.rate(now) * self._packing_seconds <= limits.PACE_PACKING
        held = look.held(now) >= limits.PACE_HELD and hungry >= limits.PACE_HUNGRY
        if held and slow and not self._rest:
            self._plain_rate = self._period.rate(now)
            self._switch(on=True)

    def _count_waiting(self, now: float) -> float:
        """Count a wait that has not ended as far as it goes; return that."""
        if self._waiting is None:
            return 0.0
        waited, self._waiting = now - self._waiting, now
        self._period.waited += waited
        self._look.waited += waited
        return waited

    def _judge_packed(self, now: float) -> None:
        """Stop if it does not help; or, for a test, if the link may have become faster."""
        period, look, self._look = self._period, self._look, _Look(now)
        if period.packed >= limits.PACE_TRIAL_CHUNKS and not self.proved:
            if period.rate(now) < limits.PACE_HELPED * self._plain_rate:
                self._rest = self._next_rest
                self._next_rest = min(2 * self._rest, limits.PACE_REST_MOST_CHUNKS)
                self._switch(on=False)
                return
            self.proved = True
        if period.chunks >= max(2 * limits.PACE_TRIAL_CHUNKS, 4 * period.packed):
            self._period = _Look(now)  # little of it shrinks: that says nothing
        free = look.held(now) < limits.PACE_FREE
        self._doubt = max(0, self._doubt + (look.chunks if free else -look.chunks))
        if self._doubt >= self._doubtful:
            self._doubtful *= 2
            self._switch(on=False)

    def _switch(self, *, on: bool) -> None:
        self.on, self.proved = on, False
        self._ahead, self._beginning = limits.LINK_CHUNKS, False
        self._doubt = 0


class Content:
    """What the last chunks were like, and so probably the next ones."""

    def __init__(self) -> None:
        self._found = Packing.NONE
        self._keep = 0
        self._misses = 0

    def next(self) -> Packing | None:
        """Return how to compress the next chunk; NONE: see by a sample; None: not at all."""
        if self._keep:
            self._keep -= 1
            return self._found or None
        return Packing.NONE

    def learn(self, asked: Packing, found: Packing) -> None:
        """Take in what came of a chunk.

        Args:
            asked: What ``next`` had said.
            found: How the chunk was compressed; NONE: it was not, it does not shrink enough.
        """
        if asked is not Packing.NONE:
            if found is Packing.NONE:
                self._keep = 0  # the next one is looked at
            return
        self._found = found
        if found is Packing.NONE:
            self._misses = min(self._misses + 1, limits.COMPRESSION_SKIP_CHUNKS)
            self._keep = self._misses
        else:
            self._misses = 0
            self._keep = limits.COMPRESSION_KEEP_CHUNKS
