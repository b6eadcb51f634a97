"""What the engine costs: commits, dials, memory of what is not journalled, the time to stop."""

import threading
import time
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.model import State
from tests.helpers.stations import pair_of, until

MIB = limits.MIB


class SlowDisk:
    """A step: flushes of written chunks stall until ``go``."""

    def __init__(self) -> None:
        self.writes = 0
        self.stalled, self.go = threading.Event(), threading.Event()

    def __call__(self, step: str) -> None:
        self.writes += step == "write"
        if step == "fdatasync" and self.writes:
            self.stalled.set()
            self.go.wait()


async def test_a_slow_disk_holds_back_what_is_not_journalled(tmp_path: Path) -> None:
    """However long a flush takes, no more than a group is ever written and not journalled."""
    async with pair_of(tmp_path) as (it, a, b):
        disk = SlowDisk()
        await it.restart(b, step=disk)
        transfer = await a.send("b", it.source("study", {"large": 160 * MIB}))
        try:
            await until(disk.stalled.is_set, "the first flush")
            with trio.move_on_after(1):
                await trio.sleep_forever()
            written = disk.writes * limits.CHUNK_BYTES
            assert written <= limits.JOURNAL_GROUP_BYTES + limits.WORKERS * MIB
        finally:
            disk.go.set()
        await a.until(transfer, State.SEALED)


async def test_commits_of_a_large_transfer(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", {"large": 256 * MIB})
        before = a.station.store.commits, b.station.store.commits
        transfer = await a.send("b", study)
        await a.until(transfer, State.SEALED)
        sender, receiver = a.station.store.commits - before[0], b.station.store.commits - before[1]
        assert sender <= 30
        assert receiver <= 128, "claims come in groups, however small a slow machine makes them"


async def test_idle_workstations_do_nothing(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        resting = await a.send("b", it.source("study", {"x": b"x"}))
        await b.until(resting, State.OFFERED)
        await until(lambda: a.reason(resting) == "undecided")
        with trio.move_on_after(0.3):  # greetings and first calls
            await trio.sleep_forever()
        commits = [side.station.store.commits for side in (a, b)]
        dials, worked = a.wire.dials + b.wire.dials, time.process_time()
        with trio.move_on_after(1.5):
            await trio.sleep_forever()
        assert [side.station.store.commits for side in (a, b)] == commits
        assert a.wire.dials + b.wire.dials == dials
        assert time.process_time() - worked < 0.1


async def test_a_peer_that_is_off_is_dialled_with_pauses(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        sent = [await a.send("b", it.source(name, {"x": b"x"})) for name in ("one", "two")]
        for transfer in sent:
            await a.until(transfer, State.WAITING)
        dials, commits = a.wire.dials, a.station.store.commits
        with trio.move_on_after(1.5):
            await trio.sleep_forever()
        assert a.wire.dials - dials <= 4
        assert a.station.store.commits - commits <= 8


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_stopping_amid_a_transfer_is_quick(tmp_path: Path, side: str) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        start = a.wire.sent
        transfer = await a.send("b", it.source("study", {"large": 512 * MIB}))
        await a.wire.wait_sent(start + 48 * MIB)
        moving = a if side == "sender" else b
        began = trio.current_time()
        await moving.stop()
        assert trio.current_time() - began < limits.STOP_SECONDS
        other = b if moving is a else a
        await other.until(transfer, State.PAUSED, State.WAITING)
        await it.start(moving)
        await moving.until(transfer, State.SENDING, State.RECEIVING)
