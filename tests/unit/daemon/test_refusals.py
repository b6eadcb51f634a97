"""Which refused handshakes a person hears of, and how seldom."""

import pytest

from medp2p import limits
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.refusals import Refusals
from medp2p.vault.sealing import VaultBox

DAY_MS = limits.REFUSED_AGAIN_SECONDS * 1000


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


@pytest.mark.parametrize("reason", ["unknown-key", "wrong-key", "no-hello"])
def test_a_handshake_is_told_once(refusals: Refusals, reason: str) -> None:
    for _ in range(100):
        refusals.note("10.0.0.9", reason)
    (text,) = refusals.take()
    assert text.startswith("a workstation at 10.0.0.9 was refused: ")
    assert refusals.take() == []


@pytest.mark.parametrize("reason", ["junk", "silent", "gone", "version", "crowded", "x"])
def test_scanners_are_not_workstations(refusals: Refusals, reason: str) -> None:
    refusals.note("10.0.0.9", reason)
    assert refusals.take() == []


def test_the_same_address_is_told_again_after_a_day(refusals: Refusals, clock: Clock) -> None:
    refusals.note("10.0.0.9", "unknown-key")
    assert len(refusals.take()) == 1
    clock.now += DAY_MS - 1
    refusals.note("10.0.0.9", "unknown-key")
    assert refusals.take() == []
    clock.now += 1
    refusals.note("10.0.0.9", "unknown-key")
    assert len(refusals.take()) == 1


def test_a_clock_set_back_does_not_silence_it(refusals: Refusals, clock: Clock) -> None:
    refusals.note("10.0.0.9", "unknown-key")
    refusals.take()
    clock.now -= 10
    refusals.note("10.0.0.9", "unknown-key")
    assert len(refusals.take()) == 1


def test_a_flood_of_addresses_is_one_more_alarm(refusals: Refusals) -> None:
    for number in range(10_000):
        refusals.note(f"2001:db8::{number:x}", "unknown-key")
    texts = refusals.take()
    assert len(texts) == limits.MAX_REFUSED_TOLD + 1
    assert "several other addresses" in texts[-1]
    assert len(refusals._told) == limits.MAX_REFUSED_TOLD + 1


def test_the_ledger_passes_strangers_on(clock: Clock) -> None:
    vault = VaultBox(["age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"], None)
    ledger = Ledger(vault, clock)
    ledger.note_stranger("10.0.0.9", "unknown-key")
    assert len(ledger.refusals.take()) == 1
