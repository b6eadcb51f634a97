"""What is done without anyone asking: after a crash, after an end, after a while."""

import errno
import os
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.daemon import keeping
from medp2p.errors import StoreError
from medp2p.model import State
from tests.helpers.stations import (
    ANNA,
    Workstation,
    make_station,
    now_ms,
    pair_of,
    until,
)

DAY_MS = 24 * 3600 * 1000
SMALL: dict[str, bytes | int] = {"x": b"x"}

#: In which state a daemon may have left a transfer, and where it goes on from there.
OUT = {
    "queued": "queued",
    "waiting": "waiting",
    "offered": "waiting",
    "accepted": "waiting",
    "sending": "waiting",
    "paused": "waiting",
    "sealed": "sealed",
    "released": "released",
    "cancelled": "cancelled",
    "failed": "failed",
}
IN = {
    "offered": "offered",
    "accepted": "accepted",
    "receiving": "paused",
    "paused": "paused",
    "sealed": "sealed",
    "released": "released",
    "declined": "declined",
    "discarded": "discarded",
    "failed": "failed",
}


async def recovered(it: Workstation, transfer: str, state: str) -> str:
    """Set the state of a transfer at a stopped workstation; return what recovering makes of it."""
    station = make_station(it.home, lambda step: None, now_ms)
    try:
        with station.store.write() as tx:
            tx.execute("UPDATE transfers SET state = ? WHERE id = ?", (state, transfer))
        for _ in range(2):  # and once more, as after a crash amid recovering
            await keeping.recover(station)
        with station.store.read() as tx:
            sql = "SELECT state FROM transfers WHERE id = ?"
            return str(tx.execute(sql, (transfer,)).fetchone()[0])
    finally:
        station.store.close()


async def test_every_state_goes_on_from_somewhere(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", SMALL))
        await b.until(transfer, State.OFFERED)
        await a.stop()
        await b.stop()
        for side, table in ((a, OUT), (b, IN)):
            for state, after in table.items():
                assert await recovered(side, transfer, state) == after, (state, side.home.path)


async def test_an_erasing_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ERASE_AGAIN_SECONDS", 0.1)
    failures = 3

    def broken(step: str) -> None:
        nonlocal failures
        if step == "erase-overwrite" and failures:
            failures -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with pair_of(tmp_path) as (it, a, b):
        await it.restart(b, step=broken)
        transfer = await a.send("b", it.source("study", SMALL))
        await a.until(transfer, State.SEALED)
        monkeypatch.setattr(limits, "ERASE_WAIT_SECONDS", 0.05)
        with pytest.raises(StoreError, match="could not be erased yet"):
            await b.desk.discard(ANNA, transfer)
        assert b.state(transfer) is State.DISCARDED
        await until(lambda: b.vault() == [])
        assert failures == 0


async def test_a_part_that_belongs_to_nothing_is_erased_at_the_start(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("study", SMALL))
        await a.until(transfer, State.SEALED)
        for name in (transfer, "a" * 26):
            b.home.part(name).write_bytes(b"left over")
        b.home.sealed("b" * 26).write_bytes(b"of a newer database")
        await it.restart(b)
        left = [f"{transfer}.tar.age", f"{'b' * 26}.tar.age"]
        await until(lambda: b.vault() == sorted(left))


async def test_a_peer_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        transfer = await a.send("b", it.source("study", SMALL))
        await a.until(transfer, State.WAITING)
        for days, state in ((13, State.WAITING), (15, State.FAILED)):
            await a.stop()
            a.ahead_ms = days * DAY_MS
            await it.start(a)
            await a.until(transfer, state)
        row = a.row(transfer)
        assert row is not None
        assert row.error is not None
        assert "14 d" in str(row.error["text"])
        await it.start(b)
        await until(lambda: a.pending(b) == 0)
        assert b.row(transfer) is None


async def test_details_are_forgotten_after_a_while_and_facts_are_not(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("study", SMALL), note="for the round")
        await a.until(transfer, State.SEALED)
        await b.desk.discard(ANNA, transfer)
        await a.until(transfer, State.DISCARDED)
        for side in (a, b):
            assert "summary" in side.blobs(transfer)
            facts = side.facts(transfer)
            await side.stop()
            side.ahead_ms = 31 * DAY_MS
            await it.start(side)
            await until(lambda side=side: side.blobs(transfer) == {})  # type: ignore[misc]
            assert side.facts(transfer) == facts
            view = await side.desk.transfer(None, transfer, entries=False)
            assert view["files"] == 1
