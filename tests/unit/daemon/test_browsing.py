"""Looking through folders: what is there, in which order, and nothing is followed or opened."""

import base64
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.daemon import browsing
from medp2p.errors import SourceError, UsageError


async def listed(path: Path | bytes | None) -> dict[str, Any]:
    given = os.fsencode(path) if isinstance(path, Path) else path
    return await browsing.folders(given, trio.CapacityLimiter(1))


def names(found: dict[str, Any]) -> list[str]:
    return [entry["name"] for entry in found["entries"]]


def path_of(entry: dict[str, Any]) -> bytes:
    return base64.b64decode(entry["path_b64"])


async def test_folders_come_first_and_hidden_ones_last(tmp_path: Path) -> None:
    for name in ("b", "A", ".c"):
        (tmp_path / name).mkdir()
    for name in ("z.dcm", "Y.dcm", ".x"):
        (tmp_path / name).write_bytes(b"12345")
    found = await listed(tmp_path)
    assert names(found) == ["A", "b", ".c", "Y.dcm", "z.dcm", ".x"]
    assert found["path"] == str(tmp_path)
    assert base64.b64decode(found["parent_b64"]) == os.fsencode(tmp_path.parent)
    assert found["more"] is False
    folder, file = found["entries"][0], found["entries"][4]
    assert (folder["kind"], folder["bytes"]) == ("folder", None)
    assert (file["kind"], file["bytes"]) == ("file", 5)
    assert path_of(file) == os.fsencode(tmp_path / "z.dcm")
    assert file["mtime"].endswith("Z")


async def test_a_link_to_a_folder_leads_to_the_folder_itself(tmp_path: Path) -> None:
    """A link is never sent: what is chosen has to be a path without one."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "real" / "file").touch()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "real" / "deep")
    (tmp_path / "here" / "file").symlink_to(tmp_path / "real" / "file")
    (tmp_path / "here" / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "here" / "loop").symlink_to(tmp_path / "here" / "loop")
    os.mkfifo(tmp_path / "here" / "fifo")
    kinds = {entry["name"]: entry for entry in (await listed(tmp_path / "here"))["entries"]}
    assert kinds["folder"]["kind"] == "folder"
    assert path_of(kinds["folder"]) == os.fsencode(tmp_path / "real" / "deep")
    assert {kinds[name]["kind"] for name in ("file", "nowhere", "loop", "fifo")} == {"other"}
    assert {kinds[name]["bytes"] for name in ("file", "nowhere", "loop", "fifo")} == {None}


async def test_names_are_bytes(tmp_path: Path) -> None:
    name = b"\xff\x1b[31m<b>"
    (tmp_path / os.fsdecode(name)).mkdir()
    (entry,) = (await listed(tmp_path))["entries"]
    assert base64.b64decode(entry["name_b64"]) == name
    assert "\x1b" not in entry["name"]
    assert entry["path"] == f"{tmp_path}/{entry['name']}"
    assert path_of(entry) == os.fsencode(tmp_path) + b"/" + name
    assert (await listed(path_of(entry)))["entries"] == []


async def test_the_home_is_where_one_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (await listed(None))["path"] == str(tmp_path)


async def test_the_root_has_no_parent() -> None:
    for root in (b"/", b"/usr/.."):
        found = await listed(root)
        assert found["parent_b64"] is None
        usr = next(entry for entry in found["entries"] if entry["name"] == "usr")
        assert path_of(usr) == b"/usr"


@pytest.mark.parametrize("path", [b"", b"relative", b"./x", b"~", b"/a\0b"])
async def test_only_absolute_paths(path: bytes) -> None:
    with pytest.raises(UsageError, match="absolute"):
        await listed(path)


async def test_what_cannot_be_listed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match=r"cannot list .*/gone: No such file"):
        await listed(tmp_path / "gone")
    with pytest.raises(SourceError, match="Not a directory"):
        await listed(tmp_path / "file")


async def test_many_entries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FOLDER_ENTRIES", 3)
    for number in range(5):
        (tmp_path / f"{number}").touch()
    (tmp_path / "folder").mkdir()
    found = await listed(tmp_path)
    assert names(found) == ["folder", "0", "1"]
    assert found["more"] is True
    monkeypatch.setattr(limits, "MAX_FOLDER_NAMES", 2)
    found = await listed(tmp_path)
    assert len(found["entries"]) == 2
    assert found["more"] is True


async def test_a_dead_mount_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    monkeypatch.setattr(limits, "FOLDER_SECONDS", 0.05)
    monkeypatch.setattr(browsing, "_read", lambda folder: free.wait(20) and ([], False))
    with pytest.raises(SourceError, match="does not answer"):
        await listed(tmp_path)
    free.set()


async def test_nothing_is_opened(tmp_path: Path) -> None:
    """A file is looked at from outside only: its time of access stays."""
    file = tmp_path / "secret"
    file.write_bytes(b"x")
    file.chmod(0)
    (entry,) = (await listed(tmp_path))["entries"]
    assert entry["bytes"] == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0
