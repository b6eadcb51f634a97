"""Chunks of the stream from files, and what happens when those change underneath."""

import contextlib
import errno
import io
import os
import random
import resource
import shutil
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.errors import LocalProtocolError, SourceChangedError, SourceError
from medp2p.layout import Layout
from medp2p.limits import CHUNK_BYTES
from medp2p.parcel.reader import Reader, check_unchanged
from medp2p.parcel.scan import Scan, scan

LONG_BYTES = 3 * CHUNK_BYTES


def scan_of(*paths: Path) -> tuple[Scan, Layout]:
    found = scan([os.fsencode(path) for path in paths])
    return found, Layout(found.entries)


def read_chunk(reader: Reader, layout: Layout, index: int) -> bytes:
    buffer = bytearray(layout.chunk_length(index))
    reader.read_chunk_into(index, memoryview(buffer))
    return bytes(buffer)


def read_all(reader: Reader, layout: Layout) -> bytes:
    return b"".join(read_chunk(reader, layout, index) for index in range(layout.chunk_count))


def entry_number(found: Scan, path: bytes) -> int:
    return [entry.path for entry in found.entries].index(path)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Sizes around the chunk, small files in folders of their own, and a large one."""
    top = tmp_path / "study"
    make = random.Random(7)
    for name, size in {
        "empty": 0,
        "one": 1,
        "below": CHUNK_BYTES - 1,
        "chunk": CHUNK_BYTES,
        "above": CHUNK_BYTES + 1,
        "large": LONG_BYTES,
        "a/1": 100,
        "a/2": 511,
        "a/b/3": 512,
        "a/b/4": 513,
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(make.randbytes(size))
    (top / "nothing").mkdir()
    return top


def test_the_chunks_are_a_tar_archive_of_the_files(study: Path, tmp_path: Path) -> None:
    (tmp_path / "single.dcm").write_bytes(b"alone")
    found, layout = scan_of(study, tmp_path / "single.dcm")
    with Reader(found, layout) as reader:
        stream = read_all(reader, layout)
        assert reader.touched == set()
    assert len(stream) == layout.size
    with tarfile.open(fileobj=io.BytesIO(stream)) as archive:
        members = {member.name: member for member in archive}
        assert sorted(os.fsencode(name) for name in members) == sorted(
            entry.path for entry in found.entries
        )
        for index, entry in enumerate(found.entries):
            member = members[os.fsdecode(entry.path)]
            data = archive.extractfile(member)
            folder = Path(os.fsdecode(found.roots[found.root_of[index]])).parent
            file = folder / os.fsdecode(entry.path)
            if data is None:
                assert file.is_dir()
            else:
                assert data.read() == file.read_bytes()


def test_any_order_from_several_threads_with_few_descriptors(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "READER_FOLDERS", 1)
    monkeypatch.setattr(limits, "READER_FILES", 1)
    found, layout = scan_of(study)
    with Reader(found, layout) as reader:
        expected = [read_chunk(reader, layout, index) for index in range(layout.chunk_count)]
        before = len(os.listdir("/proc/self/fd"))
        wrong: list[object] = []

        def work(seed: int) -> None:
            order = list(range(layout.chunk_count)) * 5
            random.Random(seed).shuffle(order)
            try:
                wrong.extend(i for i in order if read_chunk(reader, layout, i) != expected[i])
            except Exception as error:  # noqa: BLE001 - handed to the main thread
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_closing_leaves_nothing_open(study: Path) -> None:
    found, layout = scan_of(study)
    before = os.listdir("/proc/self/fd")
    reader = Reader(found, layout)
    for index in (0, 2, 4):
        read_chunk(reader, layout, index)
    assert len(os.listdir("/proc/self/fd")) > len(before)
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert read_chunk(reader, layout, 1)  # still possible; nothing stays open
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_reading_needs_no_memory_of_its_own(study: Path) -> None:
    found, layout = scan_of(study)
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with Reader(found, layout) as reader:
        tracemalloc.start()
        try:
            reader.read_chunk_into(4, buffer)
            assert tracemalloc.get_traced_memory()[1] < 50_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1])
def test_sparse_files_around_the_powers_end_where_they_should(tmp_path: Path, size: int) -> None:
    with open(tmp_path / "f", "wb") as file:
        file.seek(size - 4)
        file.write(b"tail")
    found, layout = scan_of(tmp_path / "f")
    end = layout.data_offset(0) + size
    with Reader(found, layout) as reader:
        tail = b"".join(
            read_chunk(reader, layout, index)
            for index in range((end - 4) // CHUNK_BYTES, layout.chunk_count)
        )
    start = end - 4 - (end - 4) // CHUNK_BYTES * CHUNK_BYTES
    assert tail[start : start + 4] == b"tail"
    assert not any(tail[:start] + tail[start + 4 :])


@pytest.mark.parametrize("size", [128 * 1024, 128 * 1024 + 1])
def test_files_of_zeros_are_read_like_others(tmp_path: Path, size: int) -> None:
    os.truncate(os.open(tmp_path / "z", os.O_CREAT | os.O_WRONLY), size)
    found, layout = scan_of(tmp_path / "z")
    with Reader(found, layout) as reader:
        stream = read_all(reader, layout)
    assert stream[512 : 512 + size] == bytes(size)


def test_names_that_are_not_utf8_or_hold_newlines_are_read(tmp_path: Path) -> None:
    base = os.fsencode(tmp_path) + b"/d"
    os.mkdir(base)
    for number, name in enumerate((b"\xff\xfe.dcm", b"a\nb", b"-rf", b"..data", b"a\\b")):
        with open(base + b"/" + name, "wb") as file:
            file.write(b"content %d" % number)
    found = scan([base])
    layout = Layout(found.entries)
    with Reader(found, layout) as reader:
        stream = read_all(reader, layout)
    assert all(b"content %d" % number in stream for number in range(5))


def test_chunks_of_an_entry(study: Path) -> None:
    found, layout = scan_of(study)
    with Reader(found, layout) as reader:
        for index, entry in enumerate(found.entries):
            start = layout.data_offset(index)
            touching = [
                chunk
                for chunk in range(layout.chunk_count)
                if max(start, chunk * CHUNK_BYTES)
                < min(start + entry.size, chunk * CHUNK_BYTES + layout.chunk_length(chunk))
            ]
            assert list(reader.chunks_of(index)) == touching


def test_a_wrong_view_is_our_own_fault(study: Path) -> None:
    found, layout = scan_of(study)
    with Reader(found, layout) as reader:
        with pytest.raises(LocalProtocolError, match="view of 5 bytes"):
            reader.read_chunk_into(0, memoryview(bytearray(5)))
        with pytest.raises(IndexError):
            reader.read_chunk_into(layout.chunk_count, memoryview(bytearray(5)))


# --- changes underneath -------------------------------------------------------------------


def append(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def shorten(path: Path) -> None:
    os.truncate(path, 10)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def overwrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # whatever the clock's grain


def remove(path: Path) -> None:
    path.unlink()


def replace_by_other(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(b"another file")
    new.rename(path)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.symlink_to("elsewhere")


def remove_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


CHANGES: Sequence[tuple[Callable[[Path], None], str]] = (
    (append, "has changed: it had .* bytes"),
    (shorten, "has changed: it had .* bytes and has 10 now"),
    (empty, "has changed: it had .* bytes and has 0 now"),
    (overwrite, "was written to"),
    (remove, "is gone"),
    (replace_by_other, "has changed|is gone"),
    (replace_by_link, "no regular file"),
    (replace_by_fifo, "no regular file"),
    (replace_by_folder, "no regular file"),
    (link_the_folder, "is gone: a folder above it was replaced"),
    (remove_the_folder, "is gone"),
)


@pytest.mark.parametrize(("change", "text"), CHANGES)
def test_a_change_before_the_first_read_is_named(
    study: Path, opened: list[object], change: Callable[[Path], None], text: str
) -> None:
    found, layout = scan_of(study)
    opened.clear()
    change(study / "a" / "b" / "3")
    with Reader(found, layout) as reader:
        index = reader.chunks_of(entry_number(found, b"study/a/b/3"))[0]
        with pytest.raises(SourceChangedError, match=rf"study/a/b/3 .*({text})"):
            read_chunk(reader, layout, index)
    assert b"3" not in opened  # the new thing has not even been opened
    assert check_unchanged(found) == [
        entry.path
        for entry in found.entries
        if entry.path == b"study/a/b/3"
        or (change in (link_the_folder, remove_the_folder) and entry.path == b"study/a/b/4")
    ]


@pytest.mark.parametrize(
    ("change", "text"),
    # A file that was moved away as a whole is still the one that was selected: it is read to its
    # end, and the look at all paths before the commit finds the change.
    [pair for pair in CHANGES if pair[0] not in (replace_by_link, link_the_folder)],
)
def test_a_change_while_the_file_is_open_is_named(
    study: Path, change: Callable[[Path], None], text: str
) -> None:
    (study / "a" / "long").write_bytes(bytes(LONG_BYTES))
    found, layout = scan_of(study)
    with Reader(found, layout) as reader:
        first, second, *_ = reader.chunks_of(entry_number(found, b"study/a/long"))
        read_chunk(reader, layout, first)
        change(study / "a" / "long")
        with pytest.raises(SourceChangedError, match=rf"study/a/long .*({text})"):
            read_chunk(reader, layout, second)
    assert b"study/a/long" in check_unchanged(found)


@pytest.mark.parametrize("change", [replace_by_link, link_the_folder])
def test_a_file_moved_away_while_open_is_found_before_the_commit(
    study: Path, change: Callable[[Path], None]
) -> None:
    (study / "a" / "long").write_bytes(b"x" * LONG_BYTES)
    found, layout = scan_of(study)
    with Reader(found, layout) as reader:
        first, second, *_ = reader.chunks_of(entry_number(found, b"study/a/long"))
        read_chunk(reader, layout, first)
        change(study / "a" / "long")
        assert read_chunk(reader, layout, second) == b"x" * CHUNK_BYTES
    assert b"study/a/long" in check_unchanged(found)


def touch_inode(path: Path) -> None:
    path.chmod(0o640)


def write_and_set_back(path: Path) -> None:
    before = path.stat()
    with open(path, "r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_copy(path: Path) -> None:
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


@pytest.mark.parametrize("change", [touch_inode, write_and_set_back, replace_by_copy])
@pytest.mark.parametrize("while_open", [False, True])
def test_what_only_a_new_reading_can_tell_is_noted(
    study: Path, change: Callable[[Path], None], *, while_open: bool
) -> None:
    found, layout = scan_of(study)
    entry = entry_number(found, b"study/large")
    with Reader(found, layout) as reader:
        chunks = reader.chunks_of(entry)
        before = [read_chunk(reader, layout, chunk) for chunk in (chunks if not while_open else ())]
        if while_open:
            before = [read_chunk(reader, layout, chunks[0])]
        change(study / "large")
        assert reader.touched == set()
        after = [read_chunk(reader, layout, chunk) for chunk in (chunks[1], *chunks)][1:]
        assert reader.touched == {entry}
        assert (before == after[: len(before)]) is (change is not write_and_set_back)
    touched: set[int] = set()
    assert check_unchanged(found, touched) == []
    assert touched == {entry}
    assert check_unchanged(found) == []


@pytest.mark.parametrize("change", [replace_by_link, replace_by_fifo, replace_by_folder, remove])
def test_a_change_between_the_look_and_the_opening(
    study: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    found, layout = scan_of(study)
    real = os.open

    def late(name: bytes, flags: int, **more: int) -> int:
        if name == b"3":
            change(study / "a" / "b" / "3")
        return real(name, flags, **more)

    monkeypatch.setattr(os, "open", late)
    with Reader(found, layout) as reader:
        index = reader.chunks_of(entry_number(found, b"study/a/b/3"))[0]
        with pytest.raises(SourceChangedError, match=r"study/a/b/3 is (gone|no regular file)"):
            read_chunk(reader, layout, index)


@pytest.mark.parametrize("change", [append, shorten, overwrite, remove])
def test_a_change_during_the_read_itself(
    study: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    found, layout = scan_of(study)
    real = os.preadv
    changed: list[bool] = []

    def late(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        if len(buffers[0]) == 513 and not changed:
            change(study / "a" / "b" / "4")
            changed.append(True)
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", late)
    with Reader(found, layout) as reader:
        index = reader.chunks_of(entry_number(found, b"study/a/b/4"))[0]
        with pytest.raises(SourceChangedError, match=r"study/a/b/4 (has changed|is gone)"):
            read_chunk(reader, layout, index)
    assert changed


def test_a_file_that_is_shorter_than_its_own_size(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, layout = scan_of(study)
    monkeypatch.setattr(os, "preadv", lambda *_: 0)
    with Reader(found, layout) as reader, pytest.raises(SourceChangedError, match="shorter"):
        read_chunk(reader, layout, 0)


def test_reads_that_come_in_pieces_are_put_together(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, layout = scan_of(study)
    with Reader(found, layout) as reader:
        expected = read_chunk(reader, layout, 0)
        real = os.preadv
        monkeypatch.setattr(
            os, "preadv", lambda fd, views, offset: real(fd, [views[0][:100_001]], offset)
        )
        assert read_chunk(reader, layout, 0) == expected


def test_a_broken_disk_is_no_changed_source(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, layout = scan_of(study)

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    with (
        Reader(found, layout) as reader,
        pytest.raises(SourceError, match="cannot read study/above: Input/output error"),
    ):
        read_chunk(reader, layout, 0)


def test_a_file_that_may_no_longer_be_read(
    unprivileged: tuple[Path, Callable[[], contextlib.AbstractContextManager[None]]],
) -> None:
    folder, act = unprivileged
    with act():
        (folder / "d").mkdir()
        (folder / "d" / "f").write_bytes(b"1")
        found, layout = scan_of(folder / "d")
        (folder / "d" / "f").chmod(0)
        with Reader(found, layout) as reader, pytest.raises(SourceChangedError, match="d/f may no"):
            read_chunk(reader, layout, 0)
        (folder / "d").chmod(0)
        with Reader(found, layout) as reader, pytest.raises(SourceChangedError, match="d/f may no"):
            read_chunk(reader, layout, 0)
        assert check_unchanged(found) == [b"d/f"]


def test_running_out_of_descriptors_closes_ours_first(tmp_path: Path) -> None:
    for number in range(limits.READER_FILES):
        with open(tmp_path / str(number), "wb") as file:
            file.truncate(LONG_BYTES)
    found, layout = scan_of(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Reader(found, layout) as reader:
        for entry in range(1, len(found.entries)):  # each is read in part, so it stays open
            read_chunk(reader, layout, reader.chunks_of(entry)[1])
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            for index in range(layout.chunk_count):
                read_chunk(reader, layout, index)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with Reader(found, layout) as reader:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(SourceError, match="Too many open files"):
                read_chunk(reader, layout, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
