"""What comes of a release whose end cannot be noted, or whose target fails or is away."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.daemon import endings, opening
from medp2p.errors import ConflictError, NoSpaceError, ReleaseError, StoreError
from medp2p.model import AuditEvent, State
from medp2p.vault import transfers
from tests.helpers.crashing import crash, nothing, releasing
from tests.helpers.stations import ANNA, Lab, Workstation, pair_of, random_bytes, tree_of, until

pytestmark = pytest.mark.usefixtures("no_grace")

FILES: dict[str, bytes | int] = {"a": b"x" * 1000, "z": random_bytes(3 * limits.MIB)}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ERASE_AGAIN_SECONDS", 0.1)


async def sealed(it: Lab, a: Workstation, b: Workstation, name: str = "study") -> str:
    """Send a study; return its id once it can be released."""
    transfer = await a.send("b", it.source(name, FILES))
    await b.until(transfer, State.SEALED)
    await b.until_checked(transfer)
    return transfer


def full_store(patch: pytest.MonkeyPatch) -> None:
    """Let no end of a release be noted."""
    real = endings.record

    def record(tx: Any, station: Any, row: Any, event: AuditEvent, *rest: Any, **more: Any) -> None:
        if event == "release":
            raise NoSpaceError("no space left for the database")
        real(tx, station, row, event, *rest, **more)

    patch.setattr(endings, "record", record)


def failing(*names: str, after: int = 1) -> Callable[[str], None]:
    """Steps of these names fail from the n-th on, as on a drive that drops off."""
    passed = 0

    def step(name: str) -> None:
        nonlocal passed
        passed += name in names
        if passed >= after and name.startswith(("release-", "sync-folder")):
            raise OSError(errno.EIO, "gone")

    return step


def steps(b: Workstation, step: Callable[[str], None]) -> None:
    """Have another step from now on."""
    b.station.files._step = step


def fine(step: str) -> None:
    """Nothing fails."""


# --- the end cannot be noted --------------------------------------------------------------


@pytest.mark.parametrize("moved", [False, True])
async def test_a_full_store_does_not_lose_that_files_are_there(tmp_path: Path, moved: bool) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out = tmp_path / "out"
        with pytest.MonkeyPatch.context() as patch:
            full_store(patch)
            with pytest.raises(StoreError, match="files are in their folder") as caught:
                await b.released(transfer, out)
            assert "once more" in str(caught.value.hint)
            await trio.sleep(0.3)
            assert b.state(transfer) is State.RELEASING
            if moved:
                (out / transfer[:8]).rename(tmp_path / "moved")
        await b.until(transfer, State.RELEASED)
        assert os.listdir(out) == ([] if moved else [transfer[:8]])
        await a.until(transfer, State.RELEASED)
        assert b.audit(transfer).count(("release", "ok")) == 1
        assert (await b.desk.released())[0]["transfer"] == transfer


async def test_a_full_store_does_not_keep_a_failed_release(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out = tmp_path / "out"
        with pytest.MonkeyPatch.context() as patch:
            full_store(patch)
            steps(b, failing("release-sync"))
            with pytest.raises(ReleaseError, match="cannot be written"):
                await b.released(transfer, out)
            steps(b, fine)
        await b.until(transfer, State.SEALED)
        assert not out.exists() or os.listdir(out) == []
        assert tree_of(await b.released(transfer, out))


async def test_a_store_that_is_held_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        monkeypatch.setattr(limits, "SEND_SECONDS", 0.2)
        async with trio.open_nursery() as nursery:

            async def hold() -> None:
                await b.station.write(lambda tx: time.sleep(1.5))

            def step(name: str) -> None:
                if name == "release-rename":
                    trio.from_thread.run_sync(nursery.start_soon, hold)

            steps(b, step)
            with pytest.raises(StoreError, match="could not be noted yet"):
                await b.released(transfer, tmp_path / "out")
            steps(b, fine)
        await b.until(transfer, State.RELEASED)


async def test_cancelled_right_after_the_decision(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        real = b.station.write
        with trio.CancelScope() as scope, pytest.MonkeyPatch.context() as patch:

            async def write(act: Any, *rest: Any, **more: Any) -> Any:
                done = await real(act, *rest, **more)
                if act is opening._begin:
                    scope.cancel()
                return done

            patch.setattr(b.station, "write", write)
            await b.released(transfer, tmp_path / "out")
        assert scope.cancelled_caught
        assert b.state(transfer) is State.SEALED
        assert tree_of(await b.released(transfer, tmp_path / "out"))


@pytest.mark.parametrize("swept", [True, False])
async def test_a_transfer_that_ended_meanwhile_is_not_published(
    tmp_path: Path, swept: bool
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out = tmp_path / "out"
        out.mkdir()

        def step(name: str) -> None:
            if name == "release-sync":
                with b.station.store.write() as tx:
                    transfers.update(tx, transfer, state=State.FAILED)
            elif name == "release-sweep" and not swept:
                raise OSError(errno.EIO, "gone")

        steps(b, step)
        with pytest.raises(ConflictError, match="failed meanwhile"):
            await b.released(transfer, out)
        steps(b, fine)
        assert b.state(transfer) is State.FAILED
        assert not (out / transfer[:8]).exists()
        b.station.withdraw_bell.ring()
        await until(lambda: os.listdir(out) == [], "the stage to go")


async def test_two_releases_of_one_transfer_do_not_meet(tmp_path: Path) -> None:
    """The janitor leaves a release alone that is under way, and so does a second one."""
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        go = trio.Event()

        def step(name: str) -> None:
            if name == "release-sync":
                trio.from_thread.run(go.wait)

        steps(b, step)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.released, transfer, tmp_path / "out")
            await b.until(transfer, State.RELEASING)
            with pytest.raises(ConflictError, match="is releasing"):
                await b.released(transfer, tmp_path / "other")
            await trio.sleep(0.5)
            assert b.state(transfer) is State.RELEASING
            go.set()
        assert b.state(transfer) is State.RELEASED
        assert os.listdir(tmp_path / "out") == [transfer[:8]]


# --- what lies staged ---------------------------------------------------------------------


async def test_killed_again_while_it_clears_up(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out = tmp_path / "out"
        out.mkdir()
        for step, times in (("release-write", 2), ("release-rename", 1)):
            await crash(it, b, releasing(transfer, out), step, times)
            await crash(it, b, nothing, "release-sweep", 1)
            assert [name[:8] for name in os.listdir(out)] == [".medp2p-"]
            await it.start(b)
            assert b.state(transfer) is State.SEALED
            assert os.listdir(out) == []
        assert tree_of(await b.released(transfer, out))


async def test_a_target_that_fails_is_swept_when_something_is_released_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ERASE_WAIT_SECONDS", 0.1)
    async with pair_of(tmp_path) as (it, a, b):
        transfer, other = await sealed(it, a, b), await sealed(it, a, b, "other")
        out = tmp_path / "out"
        out.mkdir()
        steps(b, failing("release-write", after=5))
        with pytest.raises(ReleaseError, match="gone"):
            await b.released(transfer, out)
        assert b.state(transfer) is State.SEALED
        (stage,) = os.listdir(out)
        with pytest.raises(StoreError, match="could not be erased yet"):
            await b.desk.discard(ANNA, transfer)  # what lies in clear is not forgotten with it
        steps(b, fine)
        await b.released(other, out)
        await until(lambda: os.listdir(out) == [other[:8]], f"{stage} to go")


async def test_a_target_that_fails_is_swept_after_a_start(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out = tmp_path / "out"
        out.mkdir()
        steps(b, failing("release-write", after=5))
        with pytest.raises(ReleaseError, match="gone"):
            await b.released(transfer, out)
        await b.stop()
        out.rename(tmp_path / "away")
        await it.start(b)
        assert tree_of(await b.released(transfer, tmp_path / "else"))
        (tmp_path / "away").rename(out)
        await it.restart(b)
        await until(lambda: os.listdir(out) == [], "the stage to go")
        await until(lambda: b.blobs("stages") == {}, "the list to be empty")


async def test_a_folder_that_has_its_name_counts_though_its_release_failed(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out, renamed = tmp_path / "out", False
        out.mkdir()

        def step(name: str) -> None:
            nonlocal renamed
            if renamed and name in ("sync-folder", "release-sweep"):
                raise OSError(errno.EIO, "gone")
            renamed = renamed or name == "release-rename"

        steps(b, step)
        with pytest.raises(ReleaseError, match="its folder is there"):
            await b.released(transfer, out)
        steps(b, fine)
        assert b.state(transfer) is State.RELEASED
        assert tree_of(out / transfer[:8] / "study")
        await a.until(transfer, State.RELEASED)


# --- the target is away -------------------------------------------------------------------


async def test_a_target_that_is_away_at_the_start_is_no_answer(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out = tmp_path / "out"
        await crash(it, b, releasing(transfer, out), "release-sweep")
        out.rename(tmp_path / "away")
        await it.start(b)
        row = b.row(transfer)
        assert row is not None
        assert (row.state, b.reason(transfer)) == (State.RELEASING, "target-away")
        assert str(tmp_path) not in str(row.reason)
        await a.desk.recall(ANNA, transfer, "wrong patient")
        assert await b.until_held(transfer) == "destroy-asked"
        (tmp_path / "away").rename(out)
        await b.until(transfer, State.RELEASED)
        assert b.reason(transfer) is None
        assert [one["state"] for one in await b.desk.released()] == ["there"]
        assert os.listdir(out) == [transfer[:8]]
        with pytest.raises(ConflictError, match="still there"):
            await b.desk.answer(ANNA, transfer, True, "Dr. B")


async def test_what_was_staged_on_a_target_that_is_away_goes_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WITHDRAW_LOOK_SECONDS", 0.2)
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        out = tmp_path / "out"
        await crash(it, b, releasing(transfer, out), "release-write", 2)
        out.rename(tmp_path / "away")
        await it.start(b)
        assert b.state(transfer) is State.SEALED, "its folder had no name yet"
        assert tree_of(await b.released(transfer, tmp_path / "else"))
        (tmp_path / "away").rename(out)
        await until(lambda: os.listdir(out) == [], "the stage to go")
