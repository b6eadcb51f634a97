"""What a manifest must be as a whole, and geometry; test_tar.py has headers and archives."""

import random
import tracemalloc
from collections.abc import Sequence

import pytest

from medp2p import layout, limits
from medp2p.errors import RemoteProtocolError
from medp2p.layout import Bytes, FilePart, Layout, check_manifest_untrusted
from medp2p.manifest import Entry
from tests.unit.base.entries import file, folder

# --- manifest -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entries",
    [
        [file(b"a")],
        [folder(b"a"), file(b"a/b"), folder(b"a/c"), file(b"a/c/d")],
        [file(b"a/b"), folder(b"a")],
        [file(b"a"), file(b"a.b"), file(b"A"), file(b"ab/c")],
    ],
)
def test_manifests_that_hold(entries: list[Entry]) -> None:
    layout.check_manifest_untrusted(entries)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([], "manifest of 0 entries"),
        ([file(b"secret"), file(b"secret")], "a path twice"),
        ([file(b"secret"), folder(b"secret")], "a path twice"),
        ([folder(b"secret"), folder(b"secret")], "a path twice"),
        ([file(b"secret"), file(b"secret/b")], "a file as a folder"),
        ([file(b"secret/b/c/d"), file(b"secret")], "a file as a folder"),
        ([folder(b"x/secret/b"), file(b"x/secret/b/c"), file(b"x/secret")], "a file as a folder"),
        ([file(b"secret", limits.MAX_FILE_BYTES)], "too long"),
        ([file(b"%d" % n, limits.MAX_FILE_BYTES // 4) for n in range(4)], "too long"),
    ],
)
def test_manifests_that_do_not_hold(entries: list[Entry], text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text) as caught:
        layout.check_manifest_untrusted(entries)
    assert "secret" not in caught.value.text


def test_manifest_of_too_many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 1)
    with pytest.raises(RemoteProtocolError, match="manifest of 2 entries"):
        layout.check_manifest_untrusted([file(b"a"), file(b"b")])


def test_longest_stream_just_fits() -> None:
    """10,240 for header, end and padding are what is left beside the data."""
    size = limits.MAX_STREAM_BYTES // layout.RECORD_BYTES * layout.RECORD_BYTES - 10_240
    layout.check_manifest_untrusted([file(b"a", size)])
    with pytest.raises(RemoteProtocolError, match="too long"):
        layout.check_manifest_untrusted([file(b"a", size + 10_240)])


# --- geometry -----------------------------------------------------------------------------

SIZES = (0, 1, 511, 512, 513, 1024, 65_535, 65_536, 65_537)


def mixed_entries(seed: int, count: int = 60) -> list[Entry]:
    chooser = random.Random(seed)
    entries = []
    for number in range(count):
        name = chooser.choice([b"%d", b"f\xc3\xbcr%d", b"\xff%d", b"x" * 150 + b"%d"]) % number
        if chooser.random() < 0.2:
            entries.append(folder(name))
        else:
            entries.append(file(name, chooser.choice(SIZES), chooser.randrange(2**62)))
    return entries


def content(index: int, size: int) -> bytes:
    return random.Random(index).randbytes(size)


def joined(plan: Layout, start: int, end: int, contents: Sequence[bytes]) -> bytes:
    out = bytearray()
    for segment in plan.segments(start, end):
        if isinstance(segment, Bytes):
            assert segment.data
            out += segment.data
        else:
            assert segment.length > 0
            out += contents[segment.index][segment.offset : segment.offset + segment.length]
    return bytes(out)


def test_random_ranges_equal_the_whole() -> None:
    entries = mixed_entries(1)
    plan = Layout(entries)
    contents = [content(index, entry.size) for index, entry in enumerate(entries)]
    whole = joined(plan, 0, plan.size, contents)
    assert len(whole) == plan.size
    chooser = random.Random(2)
    for _ in range(3000):
        start = chooser.randrange(plan.size + 1)
        end = min(plan.size, start + chooser.choice([0, 1, 511, 512, 513, 5000, 200_000]))
        assert joined(plan, start, end, contents) == whole[start:end]


def test_every_cut_near_a_border() -> None:
    entries = [folder(b"d"), file(b"d/a", 513), file(b"d/\xff", 0), file(b"d/b", 512)]
    plan = Layout(entries)
    contents = [content(index, entry.size) for index, entry in enumerate(entries)]
    whole = joined(plan, 0, plan.size, contents)
    for cut in range(0, plan.size + 1, 1):
        assert joined(plan, 0, cut, contents) + joined(plan, cut, plan.size, contents) == whole


def test_offsets_point_at_header_and_data() -> None:
    entries = mixed_entries(3)
    plan = Layout(entries)
    contents = [content(index, entry.size) for index, entry in enumerate(entries)]
    whole = joined(plan, 0, plan.size, contents)
    for index, entry in enumerate(entries):
        data = plan.data_offset(index)
        assert whole[data - layout.header_bytes(entry) : data] == layout.header(entry)
        assert whole[data : data + entry.size] == contents[index]


@pytest.mark.parametrize("between", [b"d!", b"d-x", b"d/", b"d\x01", b"d\xff"])
def test_a_file_that_is_a_folder_is_found_behind_any_neighbour(between: bytes) -> None:
    entries = [file(b"d", 1), file(between + b"x", 1), file(b"d/e/f", 1)]
    with pytest.raises(RemoteProtocolError, match="a file as a folder"):
        check_manifest_untrusted(entries)
    check_manifest_untrusted([folder(b"d"), *entries[1:]])


def test_deep_paths_are_checked_in_the_memory_of_the_paths() -> None:
    entries = [file(b"%07d" % number + b"/a" * 2000, 0) for number in range(20)]
    tracemalloc.start()
    try:
        check_manifest_untrusted(entries)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * sum(len(entry.path) for entry in entries)


@pytest.mark.parametrize("span", [(-1, 0), (0, 10_241), (5, 4)])
def test_ranges_outside_are_refused_at_once(span: tuple[int, int]) -> None:
    plan = Layout([file(b"a")])
    assert plan.size == 10_240
    with pytest.raises(IndexError, match="of a stream of 10240"):
        plan.segments(*span)


@pytest.mark.parametrize(
    ("size", "stream", "chunks", "last"),
    [
        (0, 10_240, 1, 10_240),
        (limits.CHUNK_BYTES - 512 - 1024 - 1024, 1_054_720, 2, 1_054_720 - limits.CHUNK_BYTES),
        (5 * limits.CHUNK_BYTES - 512 - 1024, 5 * limits.CHUNK_BYTES, 5, limits.CHUNK_BYTES),
        (5 * limits.CHUNK_BYTES - 512 - 1023, 5_253_120, 6, 10_240),
    ],
)
def test_chunks(size: int, stream: int, chunks: int, last: int) -> None:
    plan = Layout([file(b"a", size)])
    assert plan.size == stream
    assert plan.chunk_count == chunks
    lengths = [plan.chunk_length(index) for index in range(chunks)]
    assert lengths == [limits.CHUNK_BYTES] * (chunks - 1) + [last]
    for outside in (-1, chunks):
        with pytest.raises(IndexError, match="chunk"):
            plan.chunk_length(outside)


def test_huge_files_cost_nothing() -> None:
    plan = Layout([file(b"a", 8**11 + 1), file(b"b", 2**43)])
    tail = plan.data_offset(1) + 2**43 - 1
    assert list(plan.segments(tail, tail + 3)) == [FilePart(1, 2**43 - 1, 1), Bytes(bytes(2))]


def test_many_entries_are_found_quickly() -> None:
    """A range at the far end looks at few entries, however many lie before it."""
    entries = [file(b"%06d" % number, 100) for number in range(200_000)]
    looked_at = []

    class Watched(list[Entry]):
        def __getitem__(self, index: int) -> Entry:  # type: ignore[override]
            looked_at.append(index)
            return super().__getitem__(index)

    plan = Layout(Watched(entries))
    start = plan.data_offset(199_000)
    assert len(list(plan.segments(start, start + 2000))) < 12
    assert len(looked_at) < 12
