"""Files: modes whatever the umask, nothing replaced, every step named, full disks told."""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medp2p.errors import LocalProtocolError, NoSpaceError, StoreError
from medp2p.vault import kernel
from medp2p.vault.durable import STEPS, Files, disk_errors, free_bytes
from tests.tools import small_disk
from tests.unit.vault.crashes import FailAt


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_modes_are_exact_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    files = Files()
    folder = tmp_path / "folder"
    files.mkdir(folder, 0o700)
    os.close(files.create(folder / "file", 0o600))
    assert (mode_of(folder), mode_of(folder / "file")) == (0o700, 0o600)


def test_modes_follow_the_umask_where_asked(tmp_path: Path, umask: int) -> None:
    files = Files()
    files.mkdir(tmp_path / "folder", 0o755, exact=False)
    os.close(files.create(tmp_path / "file", 0o644, exact=False))
    assert mode_of(tmp_path / "folder") == 0o755 & ~umask
    assert mode_of(tmp_path / "file") == 0o644 & ~umask


def test_nothing_is_created_over_anything(tmp_path: Path) -> None:
    files = Files()
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "dangling").symlink_to(tmp_path / "victim")
    for name in ("file", "dangling"):
        with pytest.raises(FileExistsError):
            files.create(tmp_path / name)
        with pytest.raises(FileExistsError):
            files.mkdir(tmp_path / name)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert not (tmp_path / "victim").exists()


def test_names_relative_to_a_folder(tmp_path: Path) -> None:
    files = Files()
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    files.mkdir("in", folder=folder)
    os.close(files.create(b"in/a", folder=folder))
    files.rename(b"in/a", b"in/b", old_folder=folder, new_folder=folder)
    files.unlink("in/b", folder=folder)
    os.close(folder)
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("atomic", [True, False])
def test_rename_never_replaces(
    tmp_path: Path, atomic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not atomic:  # a file system without the call
        monkeypatch.setattr(kernel, "_libc_function", lambda name: None)
    files = Files()
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "taken").write_bytes(b"taken")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "folder").mkdir()
    for name in ("taken", "empty", "dangling"):
        for old in ("new", "folder"):
            with pytest.raises(FileExistsError):
                files.rename(tmp_path / old, tmp_path / name)
    with pytest.raises(FileNotFoundError):
        files.rename(tmp_path / "gone", tmp_path / "free")
    files.rename(tmp_path / "new", tmp_path / "free")
    files.rename(tmp_path / "folder", tmp_path / "elsewhere")
    assert (tmp_path / "free").read_bytes() == b"new"
    assert (tmp_path / "taken").read_bytes() == b"taken"


def test_open_existing_takes_regular_files_only(tmp_path: Path) -> None:
    files = Files()
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "gone", "."):
        with pytest.raises(OSError, match=r"."):
            files.open_existing(tmp_path / name)
    descriptor = files.open_existing(tmp_path / "file", writing=True)
    files.pwrite_all(descriptor, memoryview(b"DA"), 0)
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"DAta"


def test_a_full_disk_is_told_with_numbers(tmp_path: Path) -> None:
    with small_disk(tmp_path, "1m"):
        files = Files()
        descriptor = files.create(tmp_path / "file")
        with pytest.raises(NoSpaceError, match=r"2097152 bytes are needed, \d+ bytes are free"):
            files.allocate(descriptor, 2 << 20)
        os.ftruncate(descriptor, 0)
        with pytest.raises(NoSpaceError, match=r"\d+ bytes are free"):
            files.pwrite_all(descriptor, bytes(2 << 20), 0)
        os.ftruncate(descriptor, 0)
        files.allocate(descriptor, 512 << 10)
        assert os.fstat(descriptor).st_size == 512 << 10
        assert free_bytes(tmp_path) <= 512 << 10
        os.close(descriptor)


def test_a_file_system_that_cannot_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    files = Files()
    descriptor = files.create(tmp_path / "file")
    files.allocate(descriptor, 0)
    files.allocate(descriptor, 12345)
    assert os.fstat(descriptor).st_size == 12345
    os.close(descriptor)


def test_short_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, bytes(data)[:7], at))
    descriptor = Files().create(tmp_path / "file")
    Files().pwrite_all(descriptor, bytes(range(100)), 3)
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == bytes(3) + bytes(range(100))


def test_every_method_passes_its_step(tmp_path: Path) -> None:
    names: list[str] = []
    files = Files(names.append)
    files.mkdir(tmp_path / "d")
    descriptor = files.create(tmp_path / "d" / "f")
    files.allocate(descriptor, 10)
    files.pwrite_all(descriptor, b"x", 0, step="header")
    files.fdatasync(descriptor)
    files.rename(tmp_path / "d" / "f", tmp_path / "d" / "g")
    files.fsync_folder(tmp_path / "d")
    folder = os.open(tmp_path, os.O_RDONLY)
    files.fsync_folder(folder)
    files.sync_filesystem(folder)
    os.close(folder)
    files.unlink(tmp_path / "d" / "g", step="erase-unlink")
    os.close(descriptor)
    expected = ["mkdir", "create", "reserve", "header", "fdatasync", "rename", "sync-folder"]
    assert names == [*expected, "sync-folder", "release-sync", "erase-unlink"]
    assert set(names) <= STEPS


def test_unknown_steps_are_our_bug() -> None:
    with pytest.raises(LocalProtocolError, match="no step"):
        Files().step("no such step")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_at_any_step(tmp_path: Path, number: int) -> None:
    with pytest.raises(NoSpaceError):
        Files(FailAt("create", number)).create(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_errors_lose_their_paths(tmp_path: Path) -> None:
    files = Files(FailAt("create", errno.EIO))
    with pytest.raises(StoreError) as caught, disk_errors(StoreError, "it failed"):
        files.create(tmp_path / "file")
    assert caught.value.text == "it failed: Input/output error"
    assert "PATIENT" not in repr(caught.value.__cause__)
    assert caught.value.__suppress_context__
    with pytest.raises(NoSpaceError), disk_errors(StoreError, "it failed"):
        raise OSError(errno.ENOSPC, "full")


def failing(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_what_the_system_refuses_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, before = Files(), len(os.listdir("/proc/self/fd"))
    descriptor = files.create(tmp_path / "file")
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            files.allocate(descriptor, 10)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchmod", failing(errno.EPERM))
        with pytest.raises(PermissionError):
            files.create(tmp_path / "other")
        with pytest.raises(PermissionError):
            files.mkdir(tmp_path / "folder")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            files.fsync_folder(tmp_path)
        patch.setattr(os, "fsync", failing(errno.EINVAL))
        files.fsync_folder(tmp_path)  # a network file system that has no such thing
    os.close(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_systems_without_the_newer_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def answer(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    synced: list[str] = []
    monkeypatch.setattr(kernel, "_libc_function", lambda name: answer)
    monkeypatch.setattr(os, "sync", lambda: synced.append("sync"))
    (tmp_path / "old").write_bytes(b"x")
    Files().rename(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").exists()
    folder = os.open(tmp_path, os.O_RDONLY)
    Files().sync_filesystem(folder)
    assert synced == ["sync"]
    monkeypatch.setattr(kernel, "_libc_function", lambda name: None)
    Files().sync_filesystem(folder)
    assert synced == ["sync", "sync"]
    os.close(folder)


def test_a_failed_sync_of_a_file_system_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.sync_filesystem(1 << 20)
    monkeypatch.setattr(sys, "platform", "other")
    assert not kernel.sync_filesystem(1 << 20)
