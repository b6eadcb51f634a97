"""A mount that hangs: what lies elsewhere is removed in time, and everything else goes on."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.daemon import withdrawing
from medp2p.vault.withdrawal import Withdrawn, withdraw
from tests.helpers.stations import ANNA, Lab, Workstation, pair_of, random_bytes, until


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """What a dead mount waits for; set at the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


async def sealed(it: Lab, a: Workstation, b: Workstation, name: str) -> str:
    transfer = await a.send("b", it.source(name, {"x": random_bytes(1000)}))
    await b.until_checked(transfer)
    return transfer


async def test_a_dead_mount_holds_up_no_other_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hang: threading.Event
) -> None:
    def slow(folder: bytes, *rest: object) -> Withdrawn:
        if b"/dead/" in folder:
            hang.wait(60)
        return withdraw(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(withdrawing, "withdraw", slow)
    async with pair_of(tmp_path) as (it, a, b):
        gone = []
        for name in ("dead", "live"):
            transfer = await sealed(it, a, b, name)
            order = {"to": os.fsencode(tmp_path / name), "for_seconds": 1}
            gone.append(Path((await b.desk.release(ANNA, transfer, order))["released_to"]))
        await until(lambda: not gone[1].exists(), "the other folder to go")
        await b.released(transfer, tmp_path / "again")  # nor a release
        await until(lambda: gone[0].exists(), "this one to be there still")
        hang.set()
        await until(lambda: not gone[0].exists(), "it to go, too")


async def test_looks_that_hang_keep_no_source_from_being_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hang: threading.Event
) -> None:
    monkeypatch.setattr(limits, "RELEASED_LOOK_SECONDS", 0.05)
    async with pair_of(tmp_path) as (it, a, b):
        await b.released(await sealed(it, a, b, "one"), tmp_path / "out")
        await a.set("b")
        monkeypatch.setattr(withdrawing, "is_there", lambda folder: hang.wait(60))
        for _ in range(2 * int(b.station.walk_limiter.total_tokens)):
            assert len(await b.desk.released()) == 1
        assert b.station.walk_limiter.available_tokens == b.station.walk_limiter.total_tokens
        with trio.fail_after(10):
            scan = await b.desk.scan(ANNA, "a", [os.fsencode(it.source("two", {"x": b"x"}))])
            while scan["state"] == "scanning":
                scan = await b.desk.scan_state(scan["scan"], wait=True)
        hang.set()
