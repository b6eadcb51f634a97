"""Contents: the same digest in any order, none for what was not read, another one if cut anew."""

import os
import random
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p.errors import TransferAbortedError
from medp2p.layout import Layout
from medp2p.limits import CHUNK_BYTES
from medp2p.manifest import Kind
from medp2p.parcel.contents import Contents, cut_of, pieces
from medp2p.parcel.heads import Heads
from medp2p.parcel.reader import Reader
from medp2p.parcel.scan import Scan, scan

SIZES = (0, 1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 77)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    make = random.Random(5)
    (tmp_path / "study").mkdir()
    for number, size in enumerate(SIZES):
        (tmp_path / "study" / f"{number}.dcm").write_bytes(make.randbytes(size))
    return tmp_path / "study"


def scan_of(folder: Path) -> tuple[Scan, Layout, list[int]]:
    found = scan([os.fsencode(folder)])
    files = [number for number, one in enumerate(found.entries) if one.kind is Kind.FILE]
    return found, Layout(found.entries), files


def read(reader: Reader, layout: Layout, index: int) -> None:
    reader.read_chunk_into(index, memoryview(bytearray(layout.chunk_length(index))))


def again(found: Scan, index: int, cut: int) -> bytes | None:
    heads = Heads(found)
    try:
        with heads.neighbours() as at:
            return heads.content(index, cut, at, lambda: False)
    finally:
        heads.close()


@given(st.integers(0, 5 * CHUNK_BYTES), st.integers(1, CHUNK_BYTES))
def test_pieces_are_the_whole_file_without_gaps(size: int, cut: int) -> None:
    end = 0
    for offset, length in pieces(size, cut):
        assert (offset, 0 < length <= CHUNK_BYTES) == (end, True)
        end = offset + length
        assert end == size or (end - cut) % CHUNK_BYTES == 0
    assert end == size


def test_any_order_and_several_threads_make_the_same_digest(study: Path) -> None:
    found, layout, files = scan_of(study)
    contents = Contents(layout, files)
    order = list(range(layout.chunk_count)) * 2  # some chunks are read twice
    random.Random(3).shuffle(order)
    with Reader(found, layout, contents) as reader:

        def work(mine: list[int]) -> None:
            for index in mine:
                read(reader, layout, index)

        threads = [threading.Thread(target=work, args=(order[at::3],)) for at in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert contents.missing() == []
    digests = [contents.digest(number) for number in files]
    assert digests == [again(found, number, cut_of(layout, number)) for number in files]
    assert len(set(digests)) == len(files)
    assert None not in digests


def test_what_was_not_read_is_missing_and_has_no_digest(study: Path) -> None:
    found, layout, files = scan_of(study)
    contents = Contents(layout, files)
    large = files[-1]
    with Reader(found, layout, contents) as reader:
        chunks = reader.chunks_of(large)
        read(reader, layout, chunks[1])
        assert contents.digest(large) is None
        assert chunks[0] in contents.missing()
        assert chunks[1] not in contents.missing() or len(files) > 1
        for index in contents.missing():
            read(reader, layout, index)
    assert contents.missing() == []
    assert contents.digest(large) == again(found, large, cut_of(layout, large))


def test_only_what_is_wanted_is_kept(study: Path) -> None:
    found, layout, files = scan_of(study)
    contents = Contents(layout, files[:2])
    with Reader(found, layout, contents) as reader:
        for index in range(layout.chunk_count):
            read(reader, layout, index)
    assert [contents.digest(number) is not None for number in files] == [True, True] + 5 * [False]


def test_cut_elsewhere_or_changed_it_is_another_digest(study: Path) -> None:
    found, layout, files = scan_of(study)
    large = files[-1]
    cut = cut_of(layout, large)
    before = again(found, large, cut)
    assert again(found, large, cut - 1) != before
    path = study / f"{len(SIZES) - 1}.dcm"
    stat = path.stat()
    with path.open("r+b") as file:  # one bit far behind every header, and the old times
        file.seek(2 * CHUNK_BYTES)
        byte = file.read(1)
        file.seek(2 * CHUNK_BYTES)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = again(found, large, cut)
    assert after not in (None, before)


def test_what_cannot_be_read_or_is_not_what_was_scanned_has_none(study: Path) -> None:
    found, layout, files = scan_of(study)
    (study / "3.dcm").write_bytes(b"shorter")
    (study / "4.dcm").unlink()
    (study / "5.dcm").write_bytes(bytes(CHUNK_BYTES + 9))
    for number in files[3:6]:
        assert again(found, number, cut_of(layout, number)) is None


def test_it_stops_when_it_is_told_to(study: Path) -> None:
    found, layout, files = scan_of(study)
    heads = Heads(found)
    try:
        with heads.neighbours() as at, pytest.raises(TransferAbortedError):
            heads.content(files[-1], cut_of(layout, files[-1]), at, lambda: True)
    finally:
        heads.close()
