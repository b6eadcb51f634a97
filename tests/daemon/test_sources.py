"""Sources that change underneath: never a mix of old and new, and the file is named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.errors import SourceError
from medp2p.model import State
from medp2p.parcel.reader import Reader
from medp2p.parcel.scan import scan
from tests.helpers.stations import (
    ANNA,
    Lab,
    Workstation,
    pair_of,
    random_bytes,
    tree_of,
    until,
)

MIB = limits.MIB
NAME = "DOE^JANE.dcm"


async def in_the_middle(it: Lab, a: Workstation) -> tuple[str, Path]:
    """Queue a transfer and hold it amid its second file, whose path is returned too."""
    files: dict[str, bytes | int] = {
        "first.dcm": random_bytes(4 * MIB),
        NAME: random_bytes(18 * MIB, 2),
        "zlast.dcm": random_bytes(MIB, 3),
    }
    study = it.source("study", files)
    a.wire.hold_at = a.wire.sent + 8 * MIB
    transfer = await a.send("b", study)
    await a.wire.wait_sent(a.wire.hold_at)
    return transfer, study / NAME


def keep_times(path: Path, change: Callable[[Path], None]) -> None:
    """Change a file so that its modification time does not tell."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def truncate(path: Path) -> None:
    os.truncate(path, 100)


def replace(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(random_bytes(18 * MIB, 4))
    other.replace(path)


def copy(path: Path) -> None:
    other = path.with_suffix(".new")
    shutil.copy2(path, other)
    other.replace(path)


CHANGES: dict[str, Callable[[Path], None]] = {
    "overwritten": overwrite,
    "truncated": truncate,
    "gone": Path.unlink,
    "overwritten, times kept": lambda path: keep_times(path, overwrite),
    "replaced, times kept": lambda path: keep_times(path, replace),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_in_the_middle_fails_and_names_the_file(tmp_path: Path, change: str) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer, path = await in_the_middle(it, a)
        CHANGES[change](path)
        a.wire.go()
        await a.until(transfer, State.FAILED)
        await b.until(transfer, State.FAILED)
        await until(lambda: b.vault() == [], "the part to be erased")
        view = await a.desk.transfer("out", transfer, entries=False)
        assert view["error"]["code"] == "source-changed"
        assert NAME in view["error"]["text"]
        row = a.row(transfer)
        assert row is not None
        assert "JANE" not in str(row.error), "names are kept sealed"
        assert ("fail", "failure") in a.audit(transfer)
        assert a.facts(transfer)[0][:2] == ("us", "failed")
        theirs = await b.desk.transfer("in", transfer, entries=False)
        assert "JANE" not in str(theirs["error"])


@pytest.mark.parametrize("touch", [lambda path: path.chmod(0o600), copy])
async def test_a_file_that_was_only_touched_goes_on(
    tmp_path: Path, touch: Callable[[Path], None]
) -> None:
    """Another change time, or a copy with the same bytes: a virus scanner, a remount."""
    async with pair_of(tmp_path) as (it, a, b):
        transfer, path = await in_the_middle(it, a)
        touch(path)
        a.wire.go()
        await a.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(path.parent)


async def test_a_change_of_what_was_sent_already_is_found_before_the_commit(
    tmp_path: Path,
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer, path = await in_the_middle(it, a)
        overwrite(path.parent / "first.dcm")
        a.wire.go()
        await a.until(transfer, State.FAILED)
        await b.until(transfer, State.FAILED)
        view = await a.desk.transfer("out", transfer, entries=False)
        assert "first.dcm" in view["error"]["text"]


async def test_a_change_while_the_receiver_is_off(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        study = it.source("study", {NAME: b"x" * 1000, "other": b"y"})
        transfer = await a.send("b", study)
        overwrite(study / NAME)
        await it.start(b)
        await a.until(transfer, State.FAILED)
        await b.until(transfer, State.FAILED)


async def test_new_files_beside_are_not_sent(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer, path = await in_the_middle(it, a)
        before = tree_of(path.parent)
        (path.parent / "new.dcm").write_bytes(b"new")
        a.wire.go()
        await a.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == before


@pytest.mark.parametrize("change", [replace, copy])
async def test_another_file_in_the_place_of_a_confirmed_one_is_not_sent(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Same size and time say nothing: all slices of a study have the same size."""
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        study = it.source("study", {NAME: random_bytes(18 * MIB, 2)})
        transfer = await a.send("b", study)
        keep_times(study / NAME, change)
        await it.start(b)
        await a.until(transfer, State.FAILED)
        view = await a.desk.transfer("out", transfer, entries=False)
        assert view["error"]["code"] == "source-changed"
        assert NAME in view["error"]["text"]


# --- what is never sent ---------------------------------------------------------------------


async def refused(a: Workstation, path: Path) -> dict[str, str]:
    view = await a.desk.scan(ANNA, "b", [os.fsencode(path)])
    while view["state"] == "scanning":
        view = await a.desk.scan_state(view["scan"], wait=True)
    assert view["state"] == "failed", view
    error: dict[str, str] = view["error"]
    return error


@pytest.mark.parametrize("inner", ["", "keys", "keys/vault.key", "store.db", "vault"])
async def test_our_own_keys_are_nothing_to_send(tmp_path: Path, inner: str) -> None:
    """Neither the home nor anything in it, whatever name leads there."""
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    async with pair_of(tmp_path) as (_, a, _b):
        name = a.home.path.relative_to(tmp_path)
        for top in (tmp_path, tmp_path / "elsewhere"):
            assert "its keys lie there" in (await refused(a, top / name / inner))["text"]


async def test_a_folder_that_holds_the_home_goes_without_it(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_, a, _b):
        view = await a.desk.scan(ANNA, "b", [os.fsencode(a.home.path.parent)])
        while view["state"] == "scanning":
            view = await a.desk.scan_state(view["scan"], wait=True)
        assert {one["why"] for one in view["skipped"]} == {"medp2p-home"}


def test_a_home_is_known_by_device_and_inode(tmp_path: Path) -> None:
    """A mount shows it under a name that resolves to itself."""
    home = tmp_path / "home"
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "vault.key").write_bytes(b"secret")
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "keys").symlink_to(home / "keys")
    ours = {(one.st_dev, one.st_ino) for one in (home.stat(), (home / "keys").stat())}
    found = scan([os.fsencode(tmp_path)], apart=ours)
    assert [one.why for one in found.skipped] == ["medp2p-home", "symlink"]
    assert not [one for one in found.entries if b"key" in one.path]


async def test_a_file_that_cannot_be_read_just_now_is_soon_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place among the frames stays empty: nobody may wait behind that."""
    read = Reader.read_chunk_into
    refused: list[int] = []

    def once_not(reader: Reader, index: int, view: memoryview) -> None:
        if index == 10 and not refused:
            refused.append(index)
            raise SourceError("an input/output error, this time")
        read(reader, index, view)

    monkeypatch.setattr(Reader, "read_chunk_into", once_not)
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", {"one.dcm": random_bytes(24 * MIB)})
        with trio.fail_after(limits.SILENCE_SECONDS / 2):
            transfer = await a.send("b", study)
            await a.until(transfer, State.SEALED)
        assert refused
        await b.until_checked(transfer)
