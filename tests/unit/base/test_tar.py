"""Headers and whole archives against tarfile and GNU tar.

tarfile is an oracle, not a dependency: should a later Python write other headers, these tests say
so, and the layout stays as it is.
"""

import io
import os
import random
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import digest, layout
from medp2p.layout import Bytes, Layout
from medp2p.manifest import Entry, Kind
from tests.tools import need_tool

NAMES = [
    b"a",
    b"with blank",
    b"new\nline",
    b"back\\slash",
    b"*?[x]",
    b"-rf",
    b"a=b",
    "M\u00fcller^J\u00f6rg".encode(),
    "\u6771\u4eac/\u5927\u962a".encode(),
    "\U0001f600".encode(),
    "e\u0301".encode(),  # not normalised
    *(b"n" * size for size in (98, 99, 100, 101, 102, 254, 255)),
    *("\u00fc".encode() * size for size in (49, 50, 51, 127)),
    b"/".join([b"d" * 60] * 3),
    b"/".join([b"folder"] * 150),
    # the length of a pax record counts its own digits: 99/100 and 999/1000
    *(b"/".join([b"p" * 89, *[b"q"] * steps]) for steps in range(1, 8)),
    *(b"/".join([b"r" * 200] * 4 + [b"s" * 180]) + b"t" * size for size in range(16)),
]
FOREIGN_NAMES = [b"\xff", b"M\xfcller", b"a/\xe4\xf6/b", b"\x80" * 200, b"\xed\xa0\x80", b"\xc3"]
SIZES = [0, 1, 511, 512, 513, 8**11 - 1, 8**11, 8**11 + 1, 2**43]
TIMES = [0, 1, 10**9 - 1, 10**9, 1_795_611_600_999_999_999, (8**11 - 1) * 10**9]
CLAMPED = [(-1, 0), (-(2**63), 0), (8**11 * 10**9, 8**11 - 1), (2**63 - 1, 8**11 - 1)]


def oracle(entry: Entry) -> bytes:
    """What tarfile writes for an entry."""
    info = tarfile.TarInfo(entry.path.decode("utf-8", "surrogateescape"))
    info.type = tarfile.DIRTYPE if entry.kind is Kind.DIRECTORY else tarfile.REGTYPE
    info.mode = 0o755 if entry.kind is Kind.DIRECTORY else 0o644
    info.size = entry.size
    info.mtime = min(max(entry.mtime_ns // 10**9, 0), 8**11 - 1)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def check(entry: Entry) -> None:
    made = layout.header(entry)
    assert made == oracle(entry)
    assert layout.header_bytes(entry) == len(made)


# --- headers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("name", [*NAMES, *FOREIGN_NAMES])
def test_header_of_each_name(name: bytes, kind: Kind) -> None:
    check(Entry(name, kind, 0, 0))


@pytest.mark.parametrize("size", SIZES)
def test_header_of_each_size(size: int) -> None:
    for name in (b"a", b"\xff", b"n" * 101):
        check(Entry(name, Kind.FILE, size, 0))


@pytest.mark.parametrize("mtime_ns", TIMES)
def test_header_of_each_time(mtime_ns: int) -> None:
    check(Entry(b"a", Kind.FILE, 0, mtime_ns))


@pytest.mark.parametrize(("mtime_ns", "seconds"), CLAMPED)
def test_times_are_clamped_to_what_every_tar_reads(mtime_ns: int, seconds: int) -> None:
    made = layout.header(Entry(b"a", Kind.FILE, 0, mtime_ns))
    assert len(made) == 512
    assert tarfile.TarInfo.frombuf(made, "utf-8", "strict").mtime == seconds


@given(
    st.binary(min_size=1, max_size=300).filter(
        lambda name: not set(name) & {0, 47} and name not in (b".", b"..")
    ),
    st.sampled_from(Kind),
    st.integers(0, 2**44),
    st.integers(-(2**63), 2**63 - 1),
)
def test_header_of_anything(name: bytes, kind: Kind, size: int, mtime_ns: int) -> None:
    check(Entry(name, kind, size if kind is Kind.FILE else 0, mtime_ns))


def test_headers_are_frozen() -> None:
    """Version 1 for good: a change here needs a new LAYOUT_VERSION beside the old one."""
    assert layout.LAYOUT_VERSION == 1
    entries = [
        Entry(name, kind, size if kind is Kind.FILE else 0, mtime_ns)
        for name in [*NAMES, *FOREIGN_NAMES]
        for kind in Kind
        for size in SIZES
        for mtime_ns in TIMES
    ]
    hasher = digest.ManifestHasher()
    for entry in entries:
        hasher.update(layout.header(entry))
    assert hasher.digest().hex() == (
        "722adf54953ac792fca44963ec1010b62785992bc8f7bb2c628e4736a14c3035"
    )


# --- whole archives -----------------------------------------------------------------------


def make_entries() -> list[Entry]:
    """Folders before their contents; no name twice; sizes at the borders of a block."""
    chooser = random.Random(7)
    entries = [Entry(b"empty", Kind.DIRECTORY, 0, 10**18), Entry(b"study", Kind.DIRECTORY, 0, 0)]
    for number, name in enumerate(NAMES):
        top = b"study/%d" % number
        folders = name.split(b"/")[:-1]
        entries += [
            Entry(b"/".join([top, *folders[:depth]]), Kind.DIRECTORY, 0, number * 10**9)
            for depth in range(len(folders) + 1)
        ]
        size = chooser.choice([0, 1, 511, 512, 513, 10_000])
        entries.append(Entry(top + b"/" + name, Kind.FILE, size, number * 10**12 + 5))
    return entries


def contents_of(entries: Sequence[Entry]) -> list[bytes]:
    return [random.Random(index).randbytes(entry.size) for index, entry in enumerate(entries)]


def archive(entries: Sequence[Entry], contents: Sequence[bytes]) -> bytes:
    plan = Layout(entries)
    out = bytearray()
    for segment in plan.segments(0, plan.size):
        if isinstance(segment, Bytes):
            out += segment.data
        else:
            out += contents[segment.index][segment.offset : segment.offset + segment.length]
    return bytes(out)


def extract(stream: bytes, target: Path, *options: str) -> str:
    """Unpack with GNU tar; return what it said on stderr."""
    target.mkdir()
    command = [need_tool("tar"), "-x", "-p", "--no-same-owner", *options, "-C", str(target)]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, input=stream, capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


def check_extracted(target: Path, entries: Sequence[Entry], contents: Sequence[bytes]) -> None:
    found = set()
    root = os.fsencode(target)
    for folder, folders, names in os.walk(root):
        found |= {os.path.relpath(os.path.join(folder, name), root) for name in folders + names}
    assert found == {entry.path for entry in entries}
    for entry, content in zip(entries, contents, strict=True):
        path = os.path.join(root, entry.path)
        status = os.stat(path)
        if entry.kind is Kind.FILE:
            with open(path, "rb") as opened:
                assert opened.read() == content
        assert status.st_mode & 0o777 == (0o755 if entry.kind is Kind.DIRECTORY else 0o644)
        assert status.st_mtime_ns == entry.mtime_ns // 10**9 * 10**9


def test_archive_is_what_tarfile_writes() -> None:
    entries = [*make_entries(), *(Entry(name, Kind.FILE, 3, 0) for name in [b"\xff", b"M\xfcller"])]
    contents = contents_of(entries)
    written = io.BytesIO()
    with tarfile.open(
        fileobj=written, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape"
    ) as tar:
        for entry, content in zip(entries, contents, strict=True):
            info = tarfile.TarInfo.frombuf(layout.header(entry)[-512:], "utf-8", "surrogateescape")
            info.name = entry.path.decode("utf-8", "surrogateescape")
            info.size = entry.size
            tar.addfile(info, io.BytesIO(content))
    assert archive(entries, contents) == written.getvalue()


def test_tarfile_reads_every_entry() -> None:
    entries = [*make_entries(), *(Entry(name, Kind.FILE, 3, 0) for name in [b"\xff", b"M\xfcller"])]
    contents = contents_of(entries)
    plan = Layout(entries)
    with tarfile.open(fileobj=io.BytesIO(archive(entries, contents))) as tar:
        members = tar.getmembers()
        for index, (member, entry) in enumerate(zip(members, entries, strict=True)):
            assert member.name.encode("utf-8", "surrogateescape") == entry.path
            assert member.offset_data == plan.data_offset(index)
            assert member.isdir() == (entry.kind is Kind.DIRECTORY)
            if member.isfile():
                opened = tar.extractfile(member)
                assert opened is not None
                assert opened.read() == contents[index]


def test_gnu_tar_restores_everything(tmp_path: Path) -> None:
    entries = make_entries()
    contents = contents_of(entries)
    assert extract(archive(entries, contents), tmp_path / "out") == ""
    check_extracted(tmp_path / "out", entries, contents)


def test_gnu_tar_restores_names_that_are_not_utf8(tmp_path: Path) -> None:
    entries = [
        Entry(b"a", Kind.DIRECTORY, 0, 0),
        Entry(b"a/\xe4\xf6", Kind.DIRECTORY, 0, 0),
        *(Entry(name, Kind.FILE, 5, 0) for name in FOREIGN_NAMES if len(name) < 255),
    ]
    # as in a manifest: nothing of a folder comes after what follows it
    entries.sort(key=lambda entry: entry.path)
    contents = contents_of(entries)
    said = extract(archive(entries, contents), tmp_path / "out")
    assert "hdrcharset" in said  # it warns, and does right
    check_extracted(tmp_path / "out", entries, contents)


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 8**11 + 513])
def test_gnu_tar_finds_the_file_behind_a_huge_one(tmp_path: Path, size: int) -> None:
    """The archive is sparse: only headers and the last file are written."""
    entries = [Entry(b"huge", Kind.FILE, size, 0), Entry(b"after", Kind.FILE, 5, 0)]
    plan = Layout(entries)
    path = tmp_path / "huge.tar"
    with path.open("wb") as opened:
        opened.write(layout.header(entries[0]))
        opened.seek(plan.data_offset(1) - layout.header_bytes(entries[1]))
        opened.write(layout.header(entries[1]) + b"hello")
        opened.truncate(plan.size)
    command = [need_tool("tar"), "-x", "-O", "-f", str(path), "after"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"hello", b"")
    with tarfile.open(path) as tar:
        assert [member.size for member in tar.getmembers()] == [size, 5]
