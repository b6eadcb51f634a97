"""What the engine costs: commits, dials, memory of what is not journalled, the time to stop."""

import threading
from pathlib import Path

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
            with trio.move_on_after(1.5):
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
        assert sender <= 24
        assert receiver <= 200
