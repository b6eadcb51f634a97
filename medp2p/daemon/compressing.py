"""Which chunks travel compressed: where they shrink, and the link is what holds a transfer back.

Pure: what happened is told, times are arguments. Two questions, each answered by measuring while
the transfer runs:

- `Pace`: is it the link that holds back, or is it this machine or the other one? On a slow link a
  chunk waits for its place nearly all the time; on loopback, or behind a slow disk of our own,
  it does not. Whether compression then helped is measured too: a receiver that is too slow looks
  like a slow link from here, but does not become faster.
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
    """What holds one transfer back, as far as its sender can tell.

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
        self._period = self._look = _Look(now)  # since the last switch; the last few chunks
        self._looks = 0
        self._plain_rate = 0.0
        self._packing_seconds = limits.PACE_PACKING_SECONDS
        self._rest, self._next_rest = 0, limits.PACE_REST_CHUNKS
        self._doubt, self._doubtful = 0, limits.PACE_DOUBT_CHUNKS

    def placed(self, chunks: int, now: float, waited: float) -> None:
        """Note that some chunks got places in the link, after waiting so many seconds for them."""
        if self._ahead > 0:
            self._ahead -= chunks
            if self._ahead <= 0 or (self._beginning and waited > limits.PACE_WAITED_SECONDS):
                self._ahead, self._beginning = 0, False
                self._period, self._look = _Look(now), _Look(now)
            return
        look = self._look
        for each in (look, self._period):
            each.chunks += chunks
            each.waited += waited
        if look.chunks < limits.PACE_CHUNKS and now - look.since < limits.PACE_SECONDS:
            return
        if self.on:
            self._judge_packed(look, now)
        else:
            self._judge_plain(look, now)
        self._look = _Look(now)

    def packed(self, seconds: float) -> None:
        """Note that a chunk was compressed, and how long a worker took for it."""
        self._packing_seconds += (seconds - self._packing_seconds) / 8
        self._period.packed += 1

    def _judge_plain(self, look: _Look, now: float) -> None:
        """Begin to compress once the link has held the transfer back for some looks in a row."""
        self._rest = max(0, self._rest - look.chunks)
        slow = look.rate(now) * self._packing_seconds <= limits.PACE_PACKING
        held = slow and look.held(now) >= limits.PACE_HELD
        self._looks = self._looks + 1 if held and not self._rest else 0
        if self._looks >= limits.PACE_LOOKS:
            # Of a longer time: a receiver that halts for a moment looks like a slow link, too.
            self._plain_rate = self._period.rate(now)
            self._switch(on=True)

    def _judge_packed(self, look: _Look, now: float) -> None:
        """Stop if it does not help; or, for a test, if the link may have become faster."""
        period = self._period
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
        self._looks = self._doubt = 0


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
