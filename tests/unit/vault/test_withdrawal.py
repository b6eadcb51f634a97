"""Taking a released folder back: only what is byte for byte what was released."""

import errno
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from medp2p import limits
from medp2p.errors import ReleaseError
from medp2p.vault import releases, targets
from medp2p.vault.durable import Files
from medp2p.vault.releases import ReleaseRow
from medp2p.vault.store import Store
from medp2p.vault.targets import TargetRow
from medp2p.vault.withdrawal import Kept, is_there, withdraw
from tests.unit.vault.stores import NOW_MS, transfer_id

CONTENT = {b"a/b/one": b"one", b"a/two": b"two" * 700_000, b"three": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out" / "id"
    for path, content in CONTENT.items():
        whole = made / os.fsdecode(path)
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(content)
    (made / "empty").mkdir()
    return made


def entries() -> list[Kept]:
    files = [Kept(path, len(data), blake3(data).digest()) for path, data in CONTENT.items()]
    return [Kept(b"a", -1), Kept(b"empty", -1), *files]


def act(folder: Path) -> tuple[int, int, int, bool]:
    done = withdraw(os.fsencode(folder), entries(), Files(), lambda: False)
    return done.removed, done.changed, done.gone, done.left


def test_all_that_is_unchanged_goes(folder: Path) -> None:
    assert act(folder) == (3, 0, 0, False)
    assert list(folder.parent.iterdir()) == []
    assert act(folder) == (0, 0, 3, False)


def keep_size(path: Path) -> None:
    times = path.stat()
    path.write_bytes(b"eno")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def link_away(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "more").write_text("x")


@pytest.mark.parametrize("change", [keep_size, link_away, pipe, make_folder])
def test_what_was_changed_stays(folder: Path, change: Callable[[Path], None]) -> None:
    change(folder / "a" / "b" / "one")
    assert act(folder) == (2, 1, 0, True)
    assert os.path.lexists(folder / "a" / "b" / "one")
    assert not (folder / "a" / "two").exists()


def test_no_link_is_followed_to_a_file_or_through_a_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "a").rename(tmp_path / "away")
    (folder / "a").symlink_to(tmp_path / "away")
    assert act(folder) == (1, 0, 2, True)
    assert (tmp_path / "away" / "two").exists()


@pytest.mark.parametrize("shut", ["open", "unlink"])
def test_a_folder_that_was_shut_holds_up_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, shut: str
) -> None:
    """The account that runs tests may do anything, so the refusal is acted."""
    real = getattr(os, shut)

    def refusing(path: bytes, *rest: Any, **more: Any) -> Any:
        if path == {"open": b"a", "unlink": b"two"}[shut]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, *rest, **more)

    monkeypatch.setattr(os, shut, refusing)
    assert act(folder) == ((1, 2, 0, True) if shut == "open" else (2, 1, 0, True))
    assert not (folder / "three").exists()


def test_a_foreign_file_keeps_its_folder(folder: Path) -> None:
    (folder / "a" / "b" / "mine").write_text("mine")
    assert act(folder) == (3, 0, 0, True)
    assert [path.name for path in folder.rglob("*")] == ["a", "b", "mine"]


def test_folders_above_a_missing_one_go_too(folder: Path) -> None:
    (folder / "a" / "b" / "one").unlink()
    (folder / "a" / "b").rmdir()
    (folder / "a" / "two").unlink()
    assert act(folder) == (1, 0, 2, False)
    assert not folder.exists()


def test_paths_of_many_levels_cost_no_more_than_their_length(folder: Path) -> None:
    """The folders above each of them, as names, would be a thousand times as much."""
    deep = [
        Kept(b"/".join([b"%d" % number, *[b"d"] * (limits.MAX_PATH_BYTES // 2 - 4)]), 1)
        for number in range(20)
    ]
    tracemalloc.start()
    try:
        withdraw(os.fsencode(folder), deep, Files(), lambda: False)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * sum(len(entry.path) for entry in deep)


def test_a_drive_that_is_away_is_no_answer(folder: Path, tmp_path: Path) -> None:
    folder.parent.rename(tmp_path / "unplugged")
    with pytest.raises(ReleaseError, match="cannot be removed"):
        act(folder)
    (tmp_path / "out").write_text("no folder")
    with pytest.raises(ReleaseError, match="cannot be removed"):
        act(folder)
    (tmp_path / "out").unlink()
    (tmp_path / "unplugged").rename(folder.parent)
    assert act(folder) == (3, 0, 0, False)
    with pytest.raises(ReleaseError):  # the bare mount point
        withdraw(os.fsencode(folder), entries(), Files(), lambda: False, os.fsencode(tmp_path))
    assert act(folder) == (0, 0, 3, False)


def test_it_can_be_stopped_and_done_again(folder: Path) -> None:
    asked = iter([False, True])
    with pytest.raises(ReleaseError, match="stopped"):
        withdraw(os.fsencode(folder), entries(), Files(), lambda: next(asked))
    assert act(folder) == (2, 0, 1, False)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_crash_at_any_step_is_gone_on_with(folder: Path, step: int) -> None:
    passed = 0

    def crash(name: str) -> None:
        nonlocal passed
        passed += 1
        if passed == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        withdraw(os.fsencode(folder), entries(), Files(crash), lambda: False)
    assert act(folder)[3] is False
    assert not folder.exists()


def test_a_folder_that_is_gone_is_not_there(folder: Path, tmp_path: Path) -> None:
    assert is_there(os.fsencode(folder))
    assert not is_there(os.fsencode(tmp_path / "none"))
    (tmp_path / "link").symlink_to(folder)
    assert not is_there(os.fsencode(tmp_path / "link"))
    with pytest.raises(ReleaseError):
        is_there(os.fsencode(tmp_path / ("n" * 300)))


# --- rows ---------------------------------------------------------------------------------


def row(**changes: object) -> ReleaseRow:
    values: dict[str, object] = {
        "transfer": transfer_id(1),
        "peer_name": "ward-1",
        "released_ms": NOW_MS,
        "released_by": "anna",
        "files": 3,
    }
    return ReleaseRow(**{**values, **changes})  # type: ignore[arg-type]


def test_releases_are_counted_until_they_are_over(store: Store) -> None:
    with store.write() as tx:
        first = releases.add(tx, row(released_ms=NOW_MS - 1000))
        second = releases.add(tx, row(until_ms=NOW_MS + 5))
        third = releases.add(tx, row(until_ms=NOW_MS + 1))
        assert releases.count(tx, NOW_MS) == (3, 1)
        assert [one.number for one in releases.timed(tx)] == [third, second]
        releases.finish(tx, first, releases.GONE, NOW_MS)
        releases.finish(tx, third, releases.KEPT, NOW_MS)
        assert releases.count(tx, NOW_MS) == (2, 0)
        assert [one.number for one in releases.there(tx)] == [second, third]
        assert [one.number for one in releases.timed(tx)] == [second]
        releases.forget(tx, NOW_MS + 1)
        assert [one.number for one in releases.all(tx)] == [third, second]


def test_targets_never_change(store: Store) -> None:
    made = TargetRow(name="reading", target="folder:/x", created_ms=NOW_MS, created_by="anna")
    with store.write() as tx:
        targets.add(tx, made)
        with pytest.raises(Exception, match="already"):
            targets.add(tx, made)
        assert targets.all(tx) == [made]
        assert targets.remove(tx, "reading") == made
        with pytest.raises(Exception, match="no target"):
            targets.get(tx, "reading")
