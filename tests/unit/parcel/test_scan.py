"""The walk: what is in a manifest, what is skipped and why, and its stored form."""

import contextlib
import errno
import os
import resource
import socket
import stat
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.errors import SourceError, StoreError, TransferAbortedError
from medp2p.manifest import Kind
from medp2p.parcel.record import clamp_ns
from medp2p.parcel.scan import FileStat, Scan, Skipped, decode_scan, encode_scan, scan


def scan_of(*paths: Path) -> Scan:
    return scan([os.fsencode(path) for path in paths])


def paths_of(found: Scan) -> list[bytes]:
    return [entry.path for entry in found.entries]


def skipped_of(found: Scan) -> dict[bytes, str]:
    return {item.path: item.why for item in found.skipped}


def test_files_come_before_folders_and_a_folder_before_its_contents(tmp_path: Path) -> None:
    top = tmp_path / "d"
    for folder in ("b", "a/deep", "a-"):
        (top / folder).mkdir(parents=True)
    for file in ("z", "a/2", "a/1", "a/deep/x", "b/1", "c"):
        (top / file).write_bytes(file.encode())
    found = scan_of(top)
    assert paths_of(found) == [
        b"d",
        b"d/c",
        b"d/z",
        b"d/a",
        b"d/a/1",
        b"d/a/2",
        b"d/a/deep",
        b"d/a/deep/x",
        b"d/a-",
        b"d/b",
        b"d/b/1",
    ]
    assert (found.files, found.file_bytes) == (
        6,
        sum(map(len, ("z", "a/2", "a/1", "b/1", "c"))) + 8,
    )
    assert found.skipped == ()


def test_each_entry_is_what_lstat_says(tmp_path: Path) -> None:
    file = tmp_path / "d" / "f"
    file.parent.mkdir()
    file.write_bytes(b"12345")
    os.utime(file, ns=(1, 1_700_000_000_123_456_789))
    found = scan_of(tmp_path / "d")
    entry, real = found.entries[1], file.lstat()
    assert (entry.kind, entry.size, entry.mtime_ns) == (Kind.FILE, 5, 1_700_000_000_123_456_789)
    assert found.stat(1) == FileStat(
        5, real.st_mtime_ns, real.st_ctime_ns, real.st_dev, real.st_ino
    )
    assert found.roots[found.root_of[1]] == os.fsencode(tmp_path / "d")
    assert (found.entries[0].kind, found.entries[0].size) == (Kind.DIRECTORY, 0)


def test_empty_folders_and_empty_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "d" / "a" / "b").mkdir(parents=True)
    (tmp_path / "d" / "c").mkdir()
    (tmp_path / "d" / "c" / "f").touch()
    assert paths_of(scan_of(tmp_path / "d")) == [b"d", b"d/a", b"d/a/b", b"d/c", b"d/c/f"]
    (tmp_path / "empty").mkdir()
    assert paths_of(scan_of(tmp_path / "empty")) == [b"empty"]


def test_several_roots_of_both_kinds(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1").write_bytes(b"1")
    (tmp_path / "one").write_bytes(b"22")
    found = scan_of(tmp_path / "one", tmp_path / "d")
    assert paths_of(found) == [b"one", b"d", b"d/1"]
    assert list(found.root_of) == [0, 1, 1]
    assert list(found.roots) == [os.fsencode(tmp_path / name) for name in ("one", "d")]


@pytest.mark.parametrize(
    "name",
    [
        b"a\nb",
        b"\xff\xfe.dcm",
        b"a\\b",
        b"-rf",
        b"--help",
        b"..data",
        b"...",
        b".hidden",
        b"DICOMDIR",
        b"CON",
        b"name.",
        b"name ",
        b"a&b %41 #1 ?x=1 +.dcm",
        b"<img src=x onerror=alert(1)>",
        b'a|b<c>d:e?f"g*',
        "téte 桌面".encode(),
        b"x" * 255,
        b"\x1b[31m",
    ],
)
def test_every_name_travels_byte_for_byte(tmp_path: Path, name: bytes) -> None:
    base = os.fsencode(tmp_path)
    os.mkdir(base + b"/d")
    os.mkdir(base + b"/d/" + name)
    with open(base + b"/d/" + name + b"/" + name, "wb") as file:
        file.write(b"x")
    found = scan([base + b"/d"])
    assert paths_of(found) == [b"d", b"d/" + name, b"d/" + name + b"/" + name]
    assert paths_of(scan([base + b"/d/" + name]))[1] == name + b"/" + name
    assert decode_scan(encode_scan(found)) == found


def test_links_are_listed_and_never_followed(tmp_path: Path) -> None:
    top = tmp_path / "d"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / "f").touch()
    for name, target in {
        "l": "sub",
        "dead": "/nonexistent",
        "out": "/etc/hostname",
        "self": ".",
        "loop": "loop",
        "sub/up": "../..",
    }.items():
        (top / name).symlink_to(target)
    found = scan_of(top)
    assert paths_of(found) == [b"d", b"d/sub", b"d/sub/f"]
    assert skipped_of(found) == dict.fromkeys(
        (b"d/l", b"d/dead", b"d/out", b"d/self", b"d/loop", b"d/sub/up"), "symlink"
    )


def test_hard_links_are_two_equal_files(tmp_path: Path) -> None:
    top = tmp_path / "d"
    top.mkdir()
    (top / "1").write_bytes(b"same")
    (top / "2").hardlink_to(top / "1")
    found = scan_of(top)
    assert paths_of(found) == [b"d", b"d/1", b"d/2"]
    assert found.file_bytes == 8
    assert found.stat(1) == found.stat(2)


def test_special_files_are_listed_and_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[object]
) -> None:
    top = tmp_path / "d"
    top.mkdir()
    os.mkfifo(top / "pipe")
    expected = {b"d/pipe": "fifo", b"d/sock": "socket"}
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a container may forbid it even to root
            os.mknod(top / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
            expected[b"d/null"] = "device"
    monkeypatch.chdir(top)  # a socket's path holds 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        found = scan_of(top)
    assert paths_of(found) == [b"d"]
    assert skipped_of(found) == expected
    assert b"d" in opened
    assert not {b"pipe", b"null", b"sock"}.intersection(opened)


def test_what_may_not_be_read_is_listed(
    unprivileged: tuple[Path, Callable[[], contextlib.AbstractContextManager[None]]],
) -> None:
    folder, act = unprivileged
    with act():
        top = folder / "d"
        for name in ("open", "shut", "no-x"):
            (top / name).mkdir(parents=True)
            (top / name / "f").write_bytes(b"1")
        (top / "x").write_bytes(b"1")
        (top / "x").chmod(0)
        (top / "shut").chmod(0)
        (top / "no-x").chmod(0o600)
        found = scan_of(top)
        assert paths_of(found) == [b"d", b"d/no-x", b"d/open", b"d/open/f"]
        assert skipped_of(found) == {
            b"d/x": "unreadable",
            b"d/shut": "unreadable",
            b"d/no-x/f": "unreadable",
        }
        for name in ("x", "shut"):
            with pytest.raises(SourceError, match=f"cannot read {name}: unreadable"):
                scan_of(top / name)
        # A folder on the way that may be entered but not listed is no obstacle.
        (top / "open").chmod(0o100)
        assert paths_of(scan_of(top / "open" / "f")) == [b"f"]


def test_what_vanishes_during_the_walk_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCAN_PROGRESS_ENTRIES", 1)
    top = tmp_path / "d"
    for name in ("gone", "kept", "linked"):
        (top / name).mkdir(parents=True)
        (top / name / "f").touch()
    for name in ("1", "2", "z"):
        (top / name).touch()

    def progress(files: int, file_bytes: int) -> None:
        if files == 1:  # "1" has been taken: the names of the folder are listed already
            (top / "2").unlink(missing_ok=True)
        if files == 2 and (top / "gone").exists():  # all folders are known, none is entered yet
            (top / "gone" / "f").unlink()
            (top / "gone").rmdir()
            (top / "linked" / "f").unlink()
            (top / "linked").rmdir()
            (top / "linked").symlink_to("kept")

    found = scan([os.fsencode(top)], progress)
    assert paths_of(found) == [b"d", b"d/1", b"d/z", b"d/kept", b"d/kept/f"]
    assert skipped_of(found) == dict.fromkeys((b"d/2", b"d/gone", b"d/linked"), "vanished")


def test_a_folder_that_breaks_off_while_listed_is_not_sent_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d" / "bad").mkdir(parents=True)
    (tmp_path / "d" / "bad" / "f").touch()
    bad = (tmp_path / "d" / "bad").stat().st_ino
    real = os.scandir

    def listing(descriptor: int) -> object:
        if os.fstat(descriptor).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor)

    monkeypatch.setattr(os, "scandir", listing)
    found = scan_of(tmp_path / "d")
    assert paths_of(found) == [b"d"]
    assert skipped_of(found) == {b"d/bad": "unreadable"}


@pytest.mark.parametrize("size", [0, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1])
def test_sizes_around_the_powers(tmp_path: Path, size: int) -> None:
    file = tmp_path / "f"
    with open(file, "wb") as handle:
        handle.truncate(size)
    found = scan_of(file)
    assert (found.entries[0].size, found.file_bytes) == (size, size)
    assert decode_scan(encode_scan(found)) == found


@pytest.mark.parametrize(
    ("time_ns", "kept"),
    [
        (-(2**63) - 1, -(2**63)),
        (-(2**63), -(2**63)),
        (-1, -1),
        (2**63 - 1, 2**63 - 1),
        (2**63, 2**63 - 1),
    ],
)
def test_times_are_clamped_to_64_bits(time_ns: int, kept: int) -> None:
    assert clamp_ns(time_ns) == kept


@pytest.mark.parametrize("seconds", [-11_644_473_600, -1, 0, 4_294_967_296, 32_472_144_000])
def test_odd_dates_are_kept_or_clamped(tmp_path: Path, seconds: int) -> None:
    file = tmp_path / "f"
    file.touch()
    os.utime(file, (0, seconds))
    found = scan_of(file)
    real = file.stat().st_mtime_ns  # what the file system made of it
    assert found.entries[0].mtime_ns == max(-(2**63), min(real, 2**63 - 1))
    assert decode_scan(encode_scan(found)) == found


@contextlib.contextmanager
def nested_folders(top: Path, name: str, depth: int) -> Iterator[Path]:
    """Folders of one name in each other; too deep to be removed by whole paths or recursion."""
    place = os.open(top, os.O_RDONLY)
    chain = [place]
    for _ in range(depth):
        os.mkdir(name, dir_fd=place)
        place = os.open(name, os.O_PATH, dir_fd=place)
        chain.append(place)
        if len(chain) > 2:
            os.close(chain.pop(1))
    os.close(chain.pop())
    yield top / name
    for _ in range(depth):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{name}/{name}", "next", src_dir_fd=chain[0], dst_dir_fd=chain[0])
        os.rmdir(name, dir_fd=chain[0])
        with contextlib.suppress(FileNotFoundError):
            os.rename("next", name, src_dir_fd=chain[0], dst_dir_fd=chain[0])
    os.close(chain[0])


def test_a_path_that_is_too_long_is_listed(tmp_path: Path) -> None:
    with nested_folders(tmp_path, "p" * 250, 17) as top:
        found = scan_of(top)
    assert len(found.entries) == 16
    assert [item.why for item in found.skipped] == ["long-path"]


def test_a_deep_tree_needs_few_descriptors(tmp_path: Path) -> None:
    with nested_folders(tmp_path, "d", 1500) as top:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 30, hard))
        try:
            found = scan_of(top)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(os.listdir("/proc/self/fd")) == before
    assert len(found.entries) == 1500


def test_progress_and_cancelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCAN_PROGRESS_ENTRIES", 10)
    for number in range(35):
        (tmp_path / f"{number:02}").write_bytes(b"x")
    seen: list[tuple[int, int]] = []
    scan([os.fsencode(tmp_path)], lambda files, size: seen.append((files, size)))
    assert seen == [(9, 9), (19, 19), (29, 29), (35, 35)]
    with pytest.raises(TransferAbortedError, match="cancelled"):
        scan([os.fsencode(tmp_path)], cancelled=lambda: True)


def test_more_than_a_transfer_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / str(number)).write_bytes(b"x" * 10)
    monkeypatch.setattr(limits, "MAX_ENTRIES", 4)
    with pytest.raises(SourceError, match="more than 4 files"):
        scan_of(tmp_path)
    monkeypatch.setattr(limits, "MAX_ENTRIES", 5)
    assert len(scan_of(tmp_path).entries) == 5
    monkeypatch.setattr(limits, "MAX_STREAM_BYTES", 39)
    with pytest.raises(SourceError, match="more than one transfer"):
        scan_of(tmp_path)


def test_memory_per_entry_is_bounded(tmp_path: Path) -> None:
    count = 3000
    for number in range(count):
        (tmp_path / f"IM{number:08}.dcm").touch()
    tracemalloc.start()
    try:
        found = scan_of(tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.files == count
    assert peak / count < 500  # bytes; 200,000 files stay below 100 MB


def test_the_stored_form_keeps_all(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    (tmp_path / "l").symlink_to("f")
    found = scan_of(tmp_path)
    assert found.skipped == (Skipped(os.fsencode(tmp_path.name) + b"/l", "symlink"),)
    assert decode_scan(encode_scan(found)) == found


def test_damage_of_the_stored_form_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"1")
    data = encode_scan(scan_of(tmp_path))
    for damaged in (b"", data[:-1], data + b"x", b"\xc0", data.replace(b"\x01", b"\x07", 1)):
        with pytest.raises(StoreError):
            decode_scan(damaged)
    for position in range(len(data)):  # no other exception, whatever the byte
        bad = bytearray(data)
        bad[position] ^= 0xFF
        with contextlib.suppress(StoreError):
            decode_scan(bytes(bad))
