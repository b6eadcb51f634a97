"""Full disks: what waits says so with numbers, nothing ends, and it goes on by itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.daemon.home import Home, init_home
from medp2p.errors import NoSpaceError
from medp2p.model import State
from medp2p.vault import meta
from tests.helpers.stations import (
    ANNA,
    Workstation,
    lab,
    now_ms,
    random_bytes,
    set_reserve,
    tree_of,
    until,
)
from tests.tools import small_disk

MIB = limits.MIB


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for room often."""
    monkeypatch.setattr(limits, "SPACE_POLL_SECONDS", 0.1)


async def test_no_room_pauses_with_numbers_and_goes_on_by_itself(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        a, b = await it.add("a"), await it.start(it.home("b", reserve="15 TiB"))
        await it.pair(a, b, accept="auto")
        study = it.source("study", {"x": random_bytes(3 * MIB)})
        transfer = await a.send("b", study)
        await b.until(transfer, State.PAUSED)
        await a.until(transfer, State.PAUSED)
        for side in (a, b):
            row = side.row(transfer)
            assert row is not None
            assert row.reason is not None
            assert row.reason.code == "no-space"
            assert "16.5 TB" in row.reason.text
        assert b.vault() == []

        await a.wire.cut()
        await a.until(transfer, State.WAITING)
        await it.restart(b)
        await a.until(transfer, State.PAUSED)
        assert b.reason(transfer) == "no-space"

        set_reserve(b.home, "0")
        await b.desk.reload(ANNA)
        await a.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(study)
        assert b.audit(transfer).count(("offer", "ok")) == 1


@contextmanager
def home_on_small_disk(folder: Path, name: str, size: str) -> Iterator[Home]:
    """Make a home on a disk of its own."""
    disk = folder / f"disk-{name}"
    disk.mkdir()
    with small_disk(disk, size):
        home = init_home(disk / name, name=name, department="", place="", now_ms=now_ms())
        set_reserve(home, "0")
        yield home


def fill(home: Home) -> Path:
    """Take all room that is left on the disk of a home; return what takes it."""
    ballast = home.path.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for block in (MIB, 4096):
            try:
                while file.write(bytes(block)) == block:
                    pass
            except OSError:
                pass
    return ballast


def cannot_write(it: Workstation) -> None:
    """Check that the database has no room for anything."""
    with pytest.raises(NoSpaceError), it.station.store.write() as tx:
        meta.put(tx, "large", "x" * 100_000)


async def is_alive(it: Workstation) -> None:
    """Check that a daemon answers and has met nothing unexpected."""
    assert (await it.desk.status())["bugs"] == 0


async def test_a_disk_that_is_full_to_the_last_byte_at_the_receiver(tmp_path: Path) -> None:
    with home_on_small_disk(tmp_path, "b", "40m") as home:
        async with lab(tmp_path) as it:
            a, b = await it.add("a"), await it.start(home)
            await it.pair(a, b, accept="auto")
            study = it.source("study", {"x": random_bytes(12 * MIB)})
            a.wire.hold_at = a.wire.sent + 6 * MIB
            transfer = await a.send("b", study)
            await b.until(transfer, State.RECEIVING)
            await a.wire.wait_sent(a.wire.hold_at)
            ballast = fill(home)
            cannot_write(b)
            a.wire.go()
            new = await a.send("b", it.source("other", {"y": b"y"}))
            with trio.move_on_after(1):
                await a.until(new, State.SEALED)
            assert a.state(new) is not State.SEALED
            await is_alive(b)
            ballast.unlink()
            it.wake()
            await a.until(transfer, State.SEALED)
            await a.until(new, State.SEALED)
            folder = await b.released(transfer, tmp_path / "out")
            assert tree_of(folder / "study") == tree_of(study)
            await is_alive(b)


async def test_a_disk_that_is_full_to_the_last_byte_at_the_sender(tmp_path: Path) -> None:
    with home_on_small_disk(tmp_path, "a", "20m") as home:
        async with lab(tmp_path) as it:
            a, b = await it.start(home), await it.add("b")
            await it.pair(a, b, accept="auto")
            study = it.source("study", {"x": random_bytes(12 * MIB)})
            a.wire.hold_at = a.wire.sent + 6 * MIB
            transfer = await a.send("b", study)
            await a.wire.wait_sent(a.wire.hold_at)
            ballast = fill(home)
            cannot_write(a)
            a.wire.go()
            with trio.move_on_after(1):
                await a.until(transfer, State.SEALED, State.FAILED)
            await is_alive(a)
            ballast.unlink()
            it.wake()
            await a.until(transfer, State.SEALED)
            await is_alive(a)


async def test_what_cannot_fit_waits_and_what_fits_passes_it(tmp_path: Path) -> None:
    with home_on_small_disk(tmp_path, "b", "24m") as home:
        async with lab(tmp_path) as it:
            a, b = await it.add("a"), await it.start(home)
            await it.pair(a, b, accept="auto")
            large = await a.send("b", it.source("large", {"x": 40 * MIB}))
            await a.until(large, State.PAUSED)
            small = await a.send("b", it.source("small", {"x": MIB}))
            await a.until(small, State.SEALED)
            await until(lambda: b.vault() == [f"{small}.tar.age"])
            await a.desk.cancel(ANNA, large)
            await b.until(large, State.CANCELLED)
