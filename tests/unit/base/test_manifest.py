"""The entries of a manifest and their canonical bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits, manifest
from medp2p.errors import RemoteProtocolError
from medp2p.manifest import Entry
from tests.unit.base.entries import file, folder

PATHS = st.lists(
    st.binary(min_size=1, max_size=40).filter(
        lambda part: not set(part) & {0, 47} and part not in (b".", b"..")
    ),
    min_size=1,
    max_size=4,
).map(b"/".join)
ENTRIES = st.builds(
    lambda path, is_file, size, mtime: file(path, size, mtime) if is_file else folder(path, mtime),
    PATHS,
    st.booleans(),
    st.integers(0, limits.MAX_FILE_BYTES),
    st.integers(-(2**63), 2**63 - 1),
)


# --- canonical bytes ----------------------------------------------------------------------


def test_entry_bytes_are_frozen() -> None:
    entry = file(b"CT/1", 513, -1)
    assert manifest.encode_entry(entry).hex(" ", 1) == (
        "00 00 04 00 00 00 00 00 00 02 01 ff ff ff ff ff ff ff ff 43 54 2f 31"
    )
    assert manifest.encode_entry(folder(b"CT"))[:3].hex() == "010002"


@given(st.lists(ENTRIES, max_size=20))
def test_entries_come_back(entries: list[Entry]) -> None:
    assert manifest.decode_entries_untrusted(manifest.encode_entries(entries)) == entries


@given(st.binary(max_size=200))
def test_any_bytes_are_entries_or_refused(data: bytes) -> None:
    try:
        entries = manifest.decode_entries_untrusted(data)
    except RemoteProtocolError:
        return
    assert manifest.encode_entries(entries) == data


@given(st.lists(ENTRIES, min_size=1, max_size=5), st.data())
def test_damaged_entries_are_entries_or_refused(entries: list[Entry], data: st.DataObject) -> None:
    """Bytes that are almost right get further into the decoder than random ones."""
    page = bytearray(manifest.encode_entries(entries))
    page[data.draw(st.integers(0, len(page) - 1))] = data.draw(st.integers(0, 255))
    del page[data.draw(st.integers(0, len(page))) :]
    try:
        decoded = manifest.decode_entries_untrusted(bytes(page))
    except RemoteProtocolError:
        return
    assert manifest.encode_entries(decoded) == page


def packed(kind: int = 0, path: bytes = b"a", size: int = 0, mtime_ns: int = 0) -> bytes:
    return struct.pack(">BHQq", kind, len(path), size, mtime_ns) + path


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (packed()[:18], "ends inside an entry"),
        (packed()[:19], "ends inside a path"),
        (packed(path=b"abc")[:21], "ends inside a path"),
        (packed(kind=2), "unknown kind 2"),
        (packed(size=limits.MAX_FILE_BYTES + 1), "size"),
        (packed(kind=1, size=1), "directory entry with a size"),
        (packed(path=b""), "empty or too long"),
        (packed(path=b"/etc"), "'..' component"),
        (packed(path=b"a/../b"), "'..' component"),
        (packed(path=b"."), "'..' component"),
        (packed(path=b"a/./b"), "'..' component"),
        (packed(path=b"a//b"), "'..' component"),
        (packed(path=b"a/"), "'..' component"),
        (packed(path=b"a\0b"), "NUL"),
        (packed(path=b"a" * (limits.MAX_PATH_BYTES + 1)), "too long"),
    ],
)
def test_what_is_no_entry(data: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        manifest.decode_entries_untrusted(packed() + data)


@pytest.mark.parametrize(
    "data",
    [
        packed(path=b"a" * limits.MAX_PATH_BYTES),
        packed(size=limits.MAX_FILE_BYTES),
        packed(mtime_ns=-(2**63)),
        packed(mtime_ns=2**63 - 1),
    ],
    ids=["path", "size", "earliest", "latest"],
)
def test_what_just_is_an_entry(data: bytes) -> None:
    assert manifest.encode_entries(manifest.decode_entries_untrusted(data)) == data


@pytest.mark.parametrize("mtime_ns", [-(2**63) - 1, 2**63])
def test_times_that_no_page_holds_are_refused(mtime_ns: int) -> None:
    with pytest.raises(RemoteProtocolError, match="time out of bounds"):
        file(b"a", 0, mtime_ns)


def test_more_entries_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 3)
    assert len(manifest.decode_entries_untrusted(packed() * 3)) == 3
    with pytest.raises(RemoteProtocolError, match="too many entries"):
        manifest.decode_entries_untrusted(packed() * 4)


# --- pages --------------------------------------------------------------------------------


def test_pages_are_full_but_not_over() -> None:
    entries = [file(b"%06d" % number + b"x" * 94) for number in range(20_000)]
    cut = list(manifest.pages(entries))
    assert b"".join(cut) == manifest.encode_entries(entries)
    one = len(manifest.encode_entry(entries[0]))
    for page in cut[:-1]:
        assert limits.MAX_PAGE_BYTES - one < len(page) <= limits.MAX_PAGE_BYTES
        manifest.decode_entries_untrusted(page)
    assert 0 < len(cut[-1]) <= limits.MAX_PAGE_BYTES


def test_a_page_that_is_exactly_full_is_one_page() -> None:
    entry = file(b"x" * (1024 - 19))
    count = limits.MAX_PAGE_BYTES // 1024
    assert len(list(manifest.pages([entry] * count))) == 1
    assert len(list(manifest.pages([entry] * (count + 1)))) == 2


def test_no_entries_are_one_empty_page() -> None:
    assert list(manifest.pages([])) == [b""]
