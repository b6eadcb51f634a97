"""Which refused handshakes a person hears of, when, and how seldom."""

import pytest

from medp2p import limits
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.refusals import Refusals
from medp2p.vault.sealing import VaultBox

DAY_MS = limits.REFUSED_AGAIN_SECONDS * 1000
WAIT_MS = int(limits.REFUSED_WAIT_SECONDS * 1000)
LASTING_MS = int(limits.REFUSED_LASTING_SECONDS * 1000)
FOREIGN, PAIRED = b"f" * 32, b"p" * 32


class Clock:
    now = DAY_MS

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    return Refusals(clock)


def is_known(key: bytes) -> bool:
    return key == PAIRED


def told(refusals: Refusals, clock: Clock) -> list[str]:
    """Return what is said once the wait is over."""
    clock.now += WAIT_MS
    return refusals.take(is_known)


def test_a_foreign_key_is_told_once_and_not_at_once(refusals: Refusals, clock: Clock) -> None:
    for _ in range(100):
        refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    clock.now += WAIT_MS - 1
    assert refusals.take(is_known) == []
    clock.now += 1
    text = "a workstation at 10.0.0.9 was refused: its key is not that of a paired one"
    assert refusals.take(is_known) == [text]
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    assert told(refusals, clock) == []


def test_who_was_paired_meanwhile_is_no_alarm(refusals: Refusals, clock: Clock) -> None:
    """By hand one side adds the other a moment before the other does."""
    for _ in range(20):
        refusals.note("10.0.0.9", "unknown-key", PAIRED)
    assert told(refusals, clock) == []
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)  # and nobody hides behind it
    assert len(told(refusals, clock)) == 1


def test_a_stranger_beside_a_peer_at_one_address_is_told(refusals: Refusals, clock: Clock) -> None:
    refusals.note("10.0.0.9", "unknown-key", PAIRED)
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    assert len(told(refusals, clock)) == 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [("wrong-key", "it looks for another one at our address"), ("no-hello", "never ended")],
)
def test_what_shows_no_key_is_told_if_it_lasts(
    refusals: Refusals, clock: Clock, reason: str, words: str
) -> None:
    refusals.note("10.0.0.9", reason)
    assert told(refusals, clock) == []
    refusals.note("10.0.0.9", reason)
    (text,) = refusals.take(is_known)
    assert "10.0.0.9" in text
    assert words in text


def test_what_comes_seldom_does_not_last(refusals: Refusals, clock: Clock) -> None:
    for _ in range(5):
        refusals.note("10.0.0.9", "wrong-key")
        clock.now += LASTING_MS
        assert refusals.take(is_known) == []


@pytest.mark.parametrize("reason", ["junk", "silent", "gone", "version", "crowded", "x"])
def test_scanners_are_not_workstations(refusals: Refusals, clock: Clock, reason: str) -> None:
    for _ in range(3):
        refusals.note("10.0.0.9", reason)
        assert told(refusals, clock) == []


def test_the_same_address_is_told_again_after_a_day(refusals: Refusals, clock: Clock) -> None:
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    assert len(told(refusals, clock)) == 1
    clock.now += DAY_MS - 1
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    assert refusals.take(is_known) == []
    clock.now += 1
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    assert len(told(refusals, clock)) == 1


def test_a_clock_set_back_does_not_silence_it(refusals: Refusals, clock: Clock) -> None:
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    assert len(told(refusals, clock)) == 1
    clock.now -= WAIT_MS + 10
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    clock.now -= 10
    refusals.note("10.0.0.9", "unknown-key", FOREIGN)
    assert len(told(refusals, clock)) == 1


def test_a_flood_of_addresses_is_one_more_alarm(refusals: Refusals, clock: Clock) -> None:
    for number in range(10_000):
        refusals.note(f"2001:db8::{number:x}", "unknown-key", number.to_bytes(32))
    texts = told(refusals, clock)
    assert len(texts) == limits.MAX_REFUSED_TOLD + 1
    assert "several other addresses" in texts[-1]
    assert len(refusals._told) == limits.MAX_REFUSED_TOLD + 1
    for number in range(10_000):
        refusals.note(f"2001:db8:1::{number:x}", "unknown-key", number.to_bytes(32))
    assert told(refusals, clock) == []
    assert not refusals._seen


def test_a_flood_keeps_little_in_memory(refusals: Refusals) -> None:
    for number in range(10_000):
        refusals.note(f"10.0.0.{number % 20}", "unknown-key", number.to_bytes(32))
    assert len(refusals._seen) == limits.MAX_REFUSED_TOLD + 1
    assert all(len(seen.keys) <= limits.MAX_REFUSED_TOLD for seen in refusals._seen.values())


def test_the_ledger_passes_strangers_on(clock: Clock) -> None:
    vault = VaultBox(["age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"], None)
    ledger = Ledger(vault, clock)
    ledger.note_stranger("10.0.0.9", "unknown-key", FOREIGN)
    assert len(told(ledger.refusals, clock)) == 1
