"""Large files past the page cache: the same bytes, whichever way each of them went."""

import errno
import fcntl
import mmap
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyrage
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.errors import NoSpaceError, SealBrokenError, StoreError
from medp2p.vault import direct
from medp2p.vault.age import SealReader, SealWriter
from medp2p.vault.direct import PAGE_BYTES, DirectFile, lay
from medp2p.vault.durable import Files
from medp2p.vault.withdrawal import Kept
from tests.unit.vault import parcels
from tests.unit.vault.test_age import IDENTITY, KEY, RECIPIENT, plain_of
from tests.unit.vault.test_release import expected, let_go, tree

MIB = limits.MIB
O_DIRECT = getattr(os, "O_DIRECT", 0)
SIZE = 5 * MIB + 70_001


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECT_FILE_BYTES", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder on a file system that can do it."""
    try:
        probe = os.open(tmp_path / "probe", os.O_RDWR | os.O_CREAT | O_DIRECT)
    except OSError:
        pytest.skip("this file system knows no O_DIRECT")
    try:
        os.pwrite(probe, mmap.mmap(-1, PAGE_BYTES), 0)
    finally:
        os.close(probe)
    return tmp_path


def seal_all(files: Files, path: Path, plain: bytes) -> None:
    writer = SealWriter.create(files, path, len(plain), [RECIPIENT], KEY, os.urandom)
    offsets = list(range(0, len(plain), MIB))
    random.Random(3).shuffle(offsets)
    for offset in offsets:
        room = bytearray(limits.ROOM_BYTES)
        writer.write(offset, memoryview(plain)[offset : offset + MIB], room)
        if offset == offsets[2]:  # what was written lies on the disk, its edges in clean pages
            writer.sync()
    writer.sync()
    writer.close()


def read_all(path: Path, step: int = MIB) -> bytes:
    with SealReader.open(path, IDENTITY) as reader:
        out = bytearray(reader.size)
        for offset in range(0, reader.size, step):
            reader.read_into(offset, memoryview(out)[offset : offset + step])
    return bytes(out)


@pytest.mark.parametrize("offset", [0, 1, 511, 4095, 4096, 123_457])
@pytest.mark.parametrize("address", [0, 1, 16, 4095])
def test_memory_is_laid_out_as_the_file(offset: int, address: int) -> None:
    room = memoryview(bytearray(3 * MIB))[address:]
    view = lay(room, MIB, offset)
    found = direct.address_of(view)
    assert len(view) == MIB
    assert found is not None
    assert (found - offset) % PAGE_BYTES == 0
    assert len(lay(room[:MIB], MIB, offset)) == MIB  # no room to choose: as it comes
    assert direct.address_of(memoryview(b"fixed")) is None
    assert direct.address_of(memoryview(bytearray())) is None


def test_a_sealed_file_is_the_same_either_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = plain_of(SIZE), []
    pwritev = DirectFile.pwritev

    def noted(file: DirectFile, pieces: Sequence[memoryview], offset: int) -> tuple[int, int]:
        first, end = pwritev(file, pieces, offset)
        seen.append((sum(map(len, pieces)), end - first))
        return first, end

    monkeypatch.setattr(DirectFile, "pwritev", noted)
    seal_all(Files(), folder / "f.age", plain)
    large = [wrote for size, wrote in seen if size > MIB]
    assert len(large) == 5
    assert all(wrote > MIB - 2 * PAGE_BYTES for wrote in large)
    identity = pyrage.x25519.Identity.from_str(IDENTITY)
    assert pyrage.decrypt((folder / "f.age").read_bytes(), [identity]) == plain
    for step in (MIB, 64 * limits.KIB, 3 * MIB + 17):
        assert read_all(folder / "f.age", step) == plain


def test_a_group_of_chunks_is_one_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its two ends; each end costs the disk a page of its own at the next flush."""
    count, calls = 16, list[tuple[str, int]]()
    pwrite, pwritev = os.pwrite, os.pwritev

    def note_one(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(("pwrite", len(data)))
        return pwrite(descriptor, data, offset)

    def note_many(descriptor: int, data: Sequence[memoryview], offset: int) -> int:
        calls.append(("pwritev", sum(map(len, data))))
        return pwritev(descriptor, data, offset)

    plain = plain_of(count * MIB + 1)
    writer = SealWriter.create(Files(), folder / "f", len(plain), [RECIPIENT], KEY, os.urandom)
    monkeypatch.setattr(os, "pwrite", note_one)
    monkeypatch.setattr(os, "pwritev", note_many)
    view = memoryview(plain)
    offsets = range(0, len(plain), MIB)
    made = [writer.seal(at, view[at : at + MIB], bytearray(limits.ROOM_BYTES)) for at in offsets]
    last = made.pop()
    writer.put(made)
    assert [name for name, _ in calls] == ["pwritev", "pwrite", "pwrite"]
    assert all(size < PAGE_BYTES for name, size in calls if name == "pwrite")
    writer.put([last])
    writer.sync()
    writer.close()
    assert read_all(folder / "f") == plain


@pytest.mark.parametrize("large", [0, 1 << 40])
def test_groups_with_gaps_and_out_of_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """As after a resume: only what follows each other is one run."""
    monkeypatch.setattr(limits, "DIRECT_FILE_BYTES", large)
    plain = plain_of(9 * MIB + 77)
    view = memoryview(plain)
    writer = SealWriter.create(Files(), folder / "f", len(plain), [RECIPIENT], KEY, os.urandom)
    for group in ((4, 5, 0, 1, 9, 3), (2,), (8, 7, 6), ()):
        writer.put(
            writer.seal(at, view[at : at + MIB], bytearray(limits.ROOM_BYTES))
            for at in (MIB * number for number in group)
        )
        writer.sync()
    writer.close()
    assert read_all(folder / "f") == plain


def test_a_few_pages_go_through_the_cache(folder: Path) -> None:
    descriptor = os.open(folder / "f", os.O_RDWR | os.O_CREAT)
    file = DirectFile(descriptor, MIB, writing=True)
    room = memoryview(bytearray(MIB))
    try:
        few = limits.DIRECT_BYTES - PAGE_BYTES
        assert file.pwritev([lay(room, few, 0)], 0) == (0, 0)
        assert file.pwritev([lay(room, few + PAGE_BYTES, 0)], 0) == (0, limits.DIRECT_BYTES)
    finally:
        file.close()
        os.close(descriptor)


@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 15, 2000, 4095, 4096, 4097, 9000, 12_288]), min_size=1, max_size=7
    ),
    offset=st.integers(0, 3 * PAGE_BYTES),
    misplaced=st.integers(-7, 7),
    most=st.sampled_from([0, 1 << 30, 512, 4096, 12_288]),
)
def test_pieces_of_any_size_are_written_as_they_follow(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    offset: int,
    misplaced: int,
    most: int,
) -> None:
    """Also such as fill no page, one that lies otherwise in memory, and calls cut short."""
    pieces, at = [], offset
    for number, size in enumerate(sizes):
        piece = lay(memoryview(bytearray(size + PAGE_BYTES)), size, at + (number == misplaced))
        piece[:] = random.Random(number).randbytes(size)
        pieces.append(piece)
        at += size
    path = tmp_path_factory.mktemp("pieces") / "f"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "DIRECT_BYTES", PAGE_BYTES)
        patch.setattr(os, "pwritev", part_only(os.pwritev, most))
        file = DirectFile(descriptor, at, writing=True)
        try:
            os.pwrite(descriptor, b"\xee" * (at + PAGE_BYTES), 0)
            Files().pwritev_all(descriptor, pieces, offset, file)
        finally:
            file.close()
            os.close(descriptor)
    written = path.read_bytes()
    assert written[offset:at] == b"".join(pieces)
    assert set(written[:offset] + written[at:]) == {0xEE}


def test_one_that_lies_otherwise_does_not_end_it(folder: Path) -> None:
    descriptor = os.open(folder / "f", os.O_RDWR | os.O_CREAT)
    file = DirectFile(descriptor, 4 * MIB, writing=True)
    room = memoryview(bytearray(MIB + 2 * PAGE_BYTES))
    try:
        assert file.pwritev([lay(room, MIB, 0), lay(room, MIB, 1)], 0) == (0, 0)
        assert file.pwritev([lay(room, MIB, 0)] * 2, 0) == (0, 2 * MIB)
    finally:
        file.close()
        os.close(descriptor)


def test_large_reads_go_past_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal_all(Files(), folder / "f.age", plain_of(SIZE))
    pread, read = DirectFile.pread, []

    def noted(file: DirectFile, room: memoryview, size: int, offset: int) -> memoryview | None:
        found = pread(file, room, size, offset)
        read.append(found is not None)
        return found

    monkeypatch.setattr(DirectFile, "pread", noted)
    assert read_all(folder / "f.age") == plain_of(SIZE)
    assert read == [True, True, True, True, True, False]  # what is left at the end is small


def test_a_file_cut_off_meanwhile_is_seen(folder: Path) -> None:
    path = folder / "f.age"
    seal_all(Files(), path, plain_of(SIZE))
    with SealReader.open(path, IDENTITY) as reader:
        os.truncate(path, 3 * MIB)
        for offset in (2 * MIB, 3 * MIB, 4 * MIB):
            with pytest.raises(SealBrokenError):
                reader.read_into(offset, memoryview(bytearray(MIB)))


def test_small_files_are_left_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECT_FILE_BYTES", SIZE + 1)
    opened = watch_open(monkeypatch)
    seal_all(Files(), tmp_path / "f.age", plain_of(SIZE))
    assert read_all(tmp_path / "f.age") == plain_of(SIZE)
    assert not opened


def watch_open(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note with which flags files are opened past the cache."""
    flags: list[int] = []
    plain_open = os.open

    def noted(path: str, flag: int, *rest: int, **named: int) -> int:
        if flag & O_DIRECT:
            flags.append(flag)
        return plain_open(path, flag, *rest, **named)

    monkeypatch.setattr(os, "open", noted)
    return flags


def refuse_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_open = os.open

    def refuse(path: str, flag: int, *rest: int, **named: int) -> int:
        if flag & O_DIRECT:
            raise OSError(errno.EINVAL, "no O_DIRECT here")
        return plain_open(path, flag, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)


def refuse_to_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk does whose blocks are larger than a page."""
    for name in ("pwritev", "preadv"):
        monkeypatch.setattr(os, name, failing(getattr(os, name), errno.EINVAL))


def failing(call: Callable[..., int], number: int) -> Callable[..., int]:
    """Let a call fail for descriptors past the cache."""

    def fails(descriptor: int, *rest: object) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & O_DIRECT:
            raise OSError(number, os.strerror(number))
        return call(descriptor, *rest)

    return fails


@pytest.mark.parametrize("refuse", [refuse_to_open, refuse_to_move])
def test_where_it_cannot_be_done_the_cache_is_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Callable[[pytest.MonkeyPatch], None],
) -> None:
    refuse(monkeypatch)
    seal_all(Files(), tmp_path / "f.age", plain_of(SIZE))
    assert read_all(tmp_path / "f.age") == plain_of(SIZE)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EIO, StoreError), (errno.ENOSPC, NoSpaceError)]
)
def test_trouble_of_the_disk_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    monkeypatch.setattr(os, "pwritev", failing(os.pwritev, number))
    with pytest.raises(kind):
        seal_all(Files(), folder / "f.age", plain_of(SIZE))
    monkeypatch.undo()
    monkeypatch.setattr(limits, "DIRECT_FILE_BYTES", 0)
    seal_all(Files(), folder / "g.age", plain_of(SIZE))
    monkeypatch.setattr(os, "preadv", failing(os.preadv, errno.EIO))
    with pytest.raises(StoreError):
        read_all(folder / "g.age")


def test_no_descriptor_is_left(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    seal_all(Files(), folder / "f.age", plain_of(SIZE))
    read_all(folder / "f.age")

    def fail(step: str) -> None:
        if step == "header":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(StoreError):
        SealWriter.create(Files(fail), folder / "g.age", MIB, [RECIPIENT], KEY, os.urandom)
    assert len(os.listdir("/proc/self/fd")) == before


# --- releases -----------------------------------------------------------------------------


def test_a_release_is_the_same_either_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files whole pages at a time, at whatever place of the stream they begin."""
    pwritev = DirectFile.pwritev
    large: list[tuple[int, int]] = []

    def noted(file: DirectFile, pieces: Sequence[memoryview], offset: int) -> tuple[int, int]:
        first, end = pwritev(file, pieces, offset)
        large.append((sum(map(len, pieces)), end - first))
        return first, end

    sizes = (3 * MIB, 2 * MIB + 4097, 100_000, 5 * MIB - 1, MIB + 1)
    entries = [parcels.file(b"%d.bin" % size, size) for size in sizes]
    sealed = parcels.seal(folder / "ID.tar.age", entries)
    monkeypatch.setattr(DirectFile, "pwritev", noted)
    before = len(os.listdir("/proc/self/fd"))
    listing: list[Kept] = []
    released = let_go(sealed, folder / "out", listing=listing)
    assert len(os.listdir("/proc/self/fd")) == before
    assert tree(released.path) == expected(sealed)
    wanted = [Kept(e.path, e.size, blake3(parcels.contents(e)).digest()) for e in entries]
    assert listing == wanted
    whole = [wrote for size, wrote in large if size > MIB // 2]
    assert len(whole) >= 8
    assert sum(wrote > 0 for wrote in whole) >= len(whole) - 2  # where two large ones share a chunk


# --- what a disk may do ---------------------------------------------------------------------


def part_only(call: Callable[..., int], most: int) -> Callable[..., int]:
    """Let a call past the cache move no more than so many bytes."""

    def some(descriptor: int, data: Sequence[memoryview], offset: int) -> int:
        left, parts = most, data
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & O_DIRECT:
            parts = []
            for part in data:
                parts.append(part[:left])
                left -= len(parts[-1])
        return call(descriptor, parts, offset)

    return some


def test_what_was_moved_in_part_is_moved_as_a_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwritev", part_only(os.pwritev, 65_536))
    seal_all(Files(), folder / "f.age", plain_of(SIZE))
    monkeypatch.undo()
    monkeypatch.setattr(limits, "DIRECT_FILE_BYTES", SIZE + 1)
    assert read_all(folder / "f.age") == plain_of(SIZE)
    monkeypatch.setattr(limits, "DIRECT_FILE_BYTES", 0)
    monkeypatch.setattr(os, "preadv", part_only(os.preadv, 65_536))
    assert read_all(folder / "f.age") == plain_of(SIZE)


def test_a_second_close_waits_for_a_write_under_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed earlier, the number could be another file by the time the thread writes."""
    began, go_on = threading.Event(), threading.Event()
    pwritev = os.pwritev

    def slow(descriptor: int, data: Sequence[memoryview], offset: int) -> int:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & O_DIRECT:
            began.set()
            assert go_on.wait(10)
        return pwritev(descriptor, data, offset)

    writer = SealWriter.create(Files(), folder / "f", 2 * MIB, [RECIPIENT], KEY, os.urandom)
    monkeypatch.setattr(os, "pwritev", slow)
    with ThreadPoolExecutor(3) as pool:
        data = memoryview(bytes(MIB))
        writing = pool.submit(writer.write, 0, data, bytearray(limits.ROOM_BYTES))
        assert began.wait(10)
        closing = [pool.submit(writer.close) for _ in range(2)]
        time.sleep(0.1)
        assert not any(each.done() for each in closing)
        go_on.set()
        for each in (writing, *closing):
            each.result()


def test_a_close_that_fails_is_told_and_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system may tell of a lost write only then; the number is free all the same."""
    before = len(os.listdir("/proc/self/fd"))
    close = os.close

    def fails(descriptor: int) -> None:
        past = fcntl.fcntl(descriptor, fcntl.F_GETFL) & O_DIRECT
        close(descriptor)
        if past:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    writer = SealWriter.create(Files(), folder / "f", MIB, [RECIPIENT], KEY, os.urandom)
    writer.write(0, memoryview(bytes(MIB)), bytearray(limits.ROOM_BYTES))
    monkeypatch.setattr(os, "close", fails)
    with pytest.raises(OSError, match="quota"):
        writer.close()
    writer.close()
    assert len(os.listdir("/proc/self/fd")) == before
