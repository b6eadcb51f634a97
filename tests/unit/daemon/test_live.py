"""The pace that is shown is that of the last seconds, and none where nothing moves."""

import pytest

from medp2p import limits
from medp2p.daemon.live import RATE_SECONDS, Board, Live
from medp2p.limits import MIB
from medp2p.proto.frames import ChunkHeader

CHUNK = ChunkHeader(index=0, length=MIB, digest=bytes(32))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def move(live: Live, clock: Clock, *, chunks: int, seconds: float) -> None:
    """Let chunks come one by one, evenly spread over some time."""
    for _ in range(chunks):
        clock.now += seconds / chunks
        live.count(CHUNK)


def test_a_steady_pace_is_shown_soon_and_stays(clock: Clock) -> None:
    live = Live(0, 1000, clock=clock)
    assert live.rate() == 0
    move(live, clock, chunks=10, seconds=1)
    assert live.rate() == pytest.approx(10 * MIB, rel=0.1)
    move(live, clock, chunks=1000, seconds=100)
    assert live.rate() == pytest.approx(10 * MIB, rel=0.1)
    assert live.moved_bytes == 1010 * MIB


def test_what_stops_has_no_pace_within_seconds(clock: Clock) -> None:
    live = Live(0, 1000, clock=clock)
    move(live, clock, chunks=600, seconds=60)
    clock.now += RATE_SECONDS - 0.1
    assert 0 < live.rate() < 10 * MIB
    clock.now += 0.2
    assert live.rate() == 0
    clock.now += 3600
    assert live.rate() == 0


def test_the_pace_is_of_the_recent_past(clock: Clock) -> None:
    """An hour of waiting, or of another speed, is not averaged in."""
    live = Live(0, 10_000, clock=clock)
    move(live, clock, chunks=1000, seconds=10)
    move(live, clock, chunks=10, seconds=10)
    assert live.rate() == pytest.approx(1 * MIB, rel=0.3)
    clock.now += 3600
    move(live, clock, chunks=70, seconds=7)
    assert live.rate() == pytest.approx(10 * MIB, rel=0.1)


def test_what_was_queued_at_once_is_no_pace(clock: Clock) -> None:
    """A network that takes nothing: only the places of the link were filled."""
    live = Live(0, 100, clock=clock)
    for _ in range(6):
        live.count(CHUNK)
    for _ in range(20):
        clock.now += 0.3
        assert live.rate() == 0


def test_a_slow_line_has_a_steady_pace(clock: Clock) -> None:
    """1 Mbit/s: a chunk takes longer than the window."""
    live = Live(0, 100, clock=clock)
    for _ in range(6):  # what the link holds ready
        live.count(CHUNK)
    for _ in range(10):
        for _ in range(8):
            clock.now += 1
            live.rate()
        live.count(CHUNK)
        assert live.rate() == pytest.approx(MIB / 8, rel=0.1)
    for _ in range(8):
        clock.now += 1
        assert MIB / 16 < live.rate() <= MIB / 8
    clock.now += 2 * 8
    assert live.rate() == 0


def test_only_a_bounded_past_is_kept(clock: Clock) -> None:
    live = Live(0, 100_000, clock=clock)
    move(live, clock, chunks=50_000, seconds=50)
    assert len(live._moves) < 40


def test_those_who_watch_are_told_when_it_stops(clock: Clock) -> None:
    board = Board(clock)
    with board.moving("t", 0, 100) as live:
        move(live, clock, chunks=50, seconds=5)
        board.progress("t")
        assert board.take_moved() == {"t"}
        told = []
        for _ in range(100):
            clock.now += limits.TICK_SECONDS
            if board.take_moved():
                told.append(live.rate())
        assert 1 <= len(told) <= 2
        assert set(told) == {0}
    assert board.take_moved() == set()
