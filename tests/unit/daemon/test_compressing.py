"""When chunks travel compressed: links, processors and contents as models, in no time."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.daemon.compressing import Content, Pace
from medp2p.proto.frames import Packing

MIB = limits.MIB


@dataclass
class Path:
    """A transfer as its sender sees it: what takes longest for a chunk decides.

    Attributes:
        link: Bytes a second that it carries.
        working: Seconds of a worker for a chunk; two work side by side.
        packing: More of them for compressing it.
        receiving: Seconds of the receiver for a chunk, and more for decompressing it.
        ratio: How far chunks shrink.
        jitter: Part by which each time varies.
    """

    link: float = 117e6
    working: float = 0.0008
    packing: float = 0.0025
    receiving: tuple[float, float] = (0.001, 0.001)
    ratio: float = 2.0
    jitter: float = 0.2
    pace: Pace = field(default_factory=lambda: Pace(0.0))
    now: float = 0.0
    told: tuple[float, float] = (0.0, 0.0)
    chunks: int = 0
    waited: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def run(self, chunks: int) -> list[bool]:
        """Return for each chunk whether it was compressed."""
        said = []
        for _ in range(chunks):
            on = self.pace.on and self.ratio > 1.1
            said.append(on)
            link = MIB / self.link / (self.ratio if on else 1) * self._vary()
            work = (self.working + self.packing * on) / limits.WORKERS * self._vary()
            there = (self.receiving[0] + self.receiving[1] * on) * self._vary()
            step = max(link, work, there)
            self.pace.waits(self.now + min(work, step))
            self.now += step
            self.pace.placed(1, self.now)
            if on:
                self.pace.packed(self.packing)
            self._tell(max(0.0, step - there))
        return said

    def _tell(self, waited: float) -> None:
        """Tell the progress: after 16 chunks, or after a second."""
        self.chunks += 1
        self.waited += waited
        time, before = self.told
        if self.chunks % 16 == 0 or self.now - time > 1:
            self.pace.told((self.waited - before) / (self.now - time), self.now)
            self.told = self.now, self.waited

    def _vary(self) -> float:
        return 1 + self.chance.uniform(-self.jitter, self.jitter)


def test_what_was_found_is_kept_for_the_next_transfer() -> None:
    path = Path()
    path.run(300)
    assert path.pace.on
    assert path.pace.proved
    again = Path(pace=Pace(0.0, slow=True))
    assert all(again.run(300))
    assert again.pace.proved


def test_what_was_kept_and_is_wrong_now_is_found_out() -> None:
    path = Path(link=3e9, pace=Pace(0.0, slow=True))
    path.run(2 * limits.PACE_DOUBT_CHUNKS)
    assert not path.pace.on
    assert not any(path.run(3000))


@pytest.mark.parametrize(("waited", "on"), [(0.008, True), (0.001, False)])
def test_a_thread_that_waits_for_the_network_tells_it(waited: float, on: bool) -> None:
    """One thread seals and sends: places are free, and yet it is the link that holds back."""
    pace, now = Pace(0.0), 0.0
    for _ in range(100):
        pace.waits(now)
        pace.placed(4, now)
        now += 4 * 0.0085
        pace.waited(4 * waited)
        pace.told(0.95, now)
    assert pace.on is on


def test_a_short_transfer_over_a_very_slow_link() -> None:
    """Ten chunks take eight seconds there: it must not take fifty to see that."""
    assert Path(link=1.25e6).run(30).index(True) <= 4


def test_a_gigabit_is_slow_enough() -> None:
    said = Path().run(300)
    first = said.index(True)
    assert first <= 48
    assert all(said[first:])


@pytest.mark.parametrize("megabits", [1, 10, 100, 1000, 2000])
def test_so_is_whatever_is_slower(megabits: float) -> None:
    said = Path(link=megabits * 1e6 / 8, jitter=0.3).run(300)
    assert said.index(True) <= 48
    assert sum(said) > 250


@pytest.mark.parametrize("link", [1.25e9, 3e9, 1e11])
def test_a_link_that_is_not_what_holds_back(link: float) -> None:
    """Loopback, ten gigabits: the workers are at their limit, or the receiver is."""
    assert not any(Path(link=link).run(3000))
    assert not any(Path(link=link, working=0.004).run(3000))
    assert not any(Path(link=link, receiving=(0.002, 0.001)).run(3000))


def test_a_slow_disk_of_our_own() -> None:
    assert not any(Path(working=0.05).run(3000))


def test_a_slow_receiver_is_no_slow_link() -> None:
    assert not any(Path(link=3e9, receiving=(0.01, 0.002)).run(3000))


def test_what_does_not_help_is_found_out() -> None:
    """Each trial doubles the time until the next one; so few chunks are compressed for nothing."""
    path = Path(packing=0.001, receiving=(0.001, 0.02))
    said = path.run(5000)
    assert any(said)
    assert sum(said) < 0.1 * len(said)
    assert sum(path.run(5000)) < 100


def test_a_receiver_that_halts_for_a_moment_now_and_then() -> None:
    """Flushing its disk: no link."""
    path = Path(link=3e9, receiving=(0.0025, 0.0015))
    said = []
    for _ in range(100):
        said += path.run(24)
        path.receiving = (0.02, 0.002)
        said += path.run(2)
        path.receiving = (0.0025, 0.0015)
    assert not any(said)


def test_with_the_workers_at_their_limit_it_still_helps() -> None:
    """Two cores for both sides: slower than the link could be now, faster than before."""
    said = Path(working=0.001, packing=0.008, receiving=(0.001, 0.003)).run(400)
    first = said.index(True)
    assert all(said[first:])


def test_packing_that_is_slower_than_the_link_is_given_up() -> None:
    path = Path(packing=0.03)
    path.run(300)
    assert sum(path.run(3000)) < 100


def test_a_link_that_becomes_faster_is_noticed() -> None:
    path = Path()
    assert path.run(300)[-1]
    path.link = 3e9
    path.packing = 0.004
    path.run(2 * limits.PACE_DOUBT_CHUNKS)
    assert not any(path.run(1000))


def test_a_link_that_becomes_slower_is_noticed() -> None:
    path = Path(link=3e9)
    assert not any(path.run(1000))
    path.link = 12e6
    assert path.run(200)[-1]


def test_what_does_not_shrink_decides_nothing_about_the_link() -> None:
    """Videos first, then slices: no long rest because the first ones gained nothing."""
    path = Path(ratio=1.0)
    path.run(1000)
    path.ratio = 2.0
    assert sum(path.run(300)) > 250


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 4), st.floats(0, 1)), max_size=300))
def test_anything_at_any_time(steps: list[tuple[float, int, float]]) -> None:
    """Clocks that stand still, words before the first chunk, places without waiting: no error."""
    now, pace = 0.0, Pace(0.0)
    for step, what, hungry in steps:
        now += step
        match what:
            case 0:
                pace.waits(now)
            case 1:
                pace.told(hungry, now)
            case 2:
                pace.packed(step)
            case _:
                pace.placed(what, now)


# --- contents -----------------------------------------------------------------------------


def looks(content: Content, shrinks: list[Packing]) -> tuple[int, list[Packing]]:
    """Run over chunks; return how many samples were taken, and how each chunk travelled."""
    samples, travelled = 0, []
    for best in shrinks:
        asked = content.next()
        if asked is None:
            travelled.append(Packing.NONE)
            continue
        samples += asked is Packing.NONE
        found = best if asked is Packing.NONE or best is not Packing.NONE else Packing.NONE
        travelled.append(asked if asked and found else found)
        content.learn(asked, travelled[-1])
    return samples, travelled


def test_what_shrinks_is_looked_at_now_and_then() -> None:
    samples, travelled = looks(Content(), [Packing.PLANES] * 900)
    assert samples == 100
    assert set(travelled) == {Packing.PLANES}


def test_what_does_not_is_looked_at_less_and_less() -> None:
    samples, travelled = looks(Content(), [Packing.NONE] * 1000)
    assert samples < 1000 // limits.COMPRESSION_SKIP_CHUNKS + limits.COMPRESSION_SKIP_CHUNKS
    assert not any(travelled)


def test_content_that_changes() -> None:
    noise, pixels = [Packing.NONE] * 300, [Packing.PLANES] * 300
    _, travelled = looks(Content(), noise + pixels + noise + pixels)
    assert travelled[300:600].count(Packing.PLANES) >= 300 - limits.COMPRESSION_SKIP_CHUNKS
    assert not any(travelled[600:900])
    assert travelled[900:].count(Packing.PLANES) >= 300 - limits.COMPRESSION_SKIP_CHUNKS


def test_a_finding_that_fails_once_is_looked_at_again() -> None:
    content = Content()
    assert content.next() is Packing.NONE
    content.learn(Packing.NONE, Packing.ZSTD)
    assert content.next() is Packing.ZSTD
    content.learn(Packing.ZSTD, Packing.NONE)
    assert content.next() is Packing.NONE
