"""The stream of a transfer: what a manifest must be as a whole, and the tar geometry.

A stream is one POSIX pax archive whose every header follows from the manifest alone, so the place
of each file is known before one is read: the stream can be cut, read and read again anywhere, and
the receiver refuses a stream whose headers are not those of the manifest it agreed to. The bytes
are frozen under LAYOUT_VERSION; the standard library's tarfile is their oracle in the tests.

Source: docs/PROTOCOL.md, "Manifest" and "Stream"; POSIX.1-2017, pax Interchange Format.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from medp2p import limits
from medp2p.errors import RemoteProtocolError
from medp2p.manifest import Entry, Kind

LAYOUT_VERSION = 1
#: tar's unit; headers and file ends are padded to it.
BLOCK_BYTES = 512
#: tar's default record (-b 20); an archive is padded to it.
RECORD_BYTES = 10240
#: Eleven octal digits: what the size and mtime fields of a ustar header hold.
_OCTAL_LIMIT = 8**11
_NAME_BYTES = 100
_FILE_MODE = 0o644
_DIRECTORY_MODE = 0o755
_BINARY = b"21 hdrcharset=BINARY\n"


def check_manifest_untrusted(entries: Sequence[Entry]) -> None:
    """Refuse a manifest that no folder could hold or that is out of bounds.

    Raises:
        RemoteProtocolError: No or too many entries, a path twice, a file that is also a folder,
            or a stream longer than MAX_STREAM_BYTES. The text names no path.
    """
    if not 1 <= len(entries) <= limits.MAX_ENTRIES:
        raise RemoteProtocolError(f"manifest of {len(entries)} entries")
    _check_paths_untrusted(entries)
    if _stream_bytes(sum(map(_span_bytes, entries))) > limits.MAX_STREAM_BYTES:
        raise RemoteProtocolError("manifest describes a stream that is too long")


def _check_paths_untrusted(entries: Sequence[Entry]) -> None:
    """Find a path twice and a file that is also a folder, in the memory of the paths.

    A path may have two thousand folders, so these are not spelled out: with NUL, which no name
    has, for "/", what is below a path sorts right behind it.
    """
    paths = sorted((entry.path.replace(b"/", b"\0"), entry.kind is Kind.FILE) for entry in entries)
    for (path, is_file), (following, _) in pairwise(paths):
        if path == following:
            raise RemoteProtocolError("manifest names a path twice")
        if is_file and following.startswith(path + b"\0"):
            raise RemoteProtocolError("manifest uses a file as a folder")


# --- tar headers --------------------------------------------------------------------------


def header(entry: Entry) -> bytes:
    """Return the tar header of an entry: one ustar block, before it a pax header where needed.

    A pax header carries names that are not ASCII or longer than 100 bytes (as bytes, marked
    ``hdrcharset=BINARY`` where they are not UTF-8) and sizes of 8 GiB and more. Times are whole
    seconds, clamped to what every tar reads; the exact ones are in the manifest. Mode is 0644 or
    0755, owner 0 without a name: what the sender's file system says about those stays there.

    Returns:
        Whole blocks of BLOCK_BYTES.
    """
    name, size, mtime = _name(entry), entry.size, entry.mtime_ns // 10**9
    is_folder = entry.kind is Kind.DIRECTORY
    mode, typeflag = (_DIRECTORY_MODE, b"5") if is_folder else (_FILE_MODE, b"0")
    if not 0 <= mtime < _OCTAL_LIMIT:
        mtime = 0 if mtime < 0 else _OCTAL_LIMIT - 1
    if len(name) <= _NAME_BYTES and size < _OCTAL_LIMIT and name.isascii():
        return _ustar(name, mode, size, mtime, typeflag)
    records = _pax_records(name, size)
    block = _ustar(_fallback(name), mode, size if size < _OCTAL_LIMIT else 0, mtime, typeflag)
    pax = _ustar(b"././@PaxHeader", 0, len(records), 0, b"x")
    return pax + records + bytes(-len(records) % BLOCK_BYTES) + block


def header_bytes(entry: Entry) -> int:
    """Return the length of an entry's header without making it."""
    path = entry.path
    if len(path) < _NAME_BYTES and path.isascii() and entry.size < _OCTAL_LIMIT:
        return BLOCK_BYTES
    records = len(_pax_records(_name(entry), entry.size))
    return 2 * BLOCK_BYTES + _padded(records) if records else BLOCK_BYTES


def _name(entry: Entry) -> bytes:
    return entry.path + b"/" if entry.kind is Kind.DIRECTORY else entry.path


def _pax_records(name: bytes, size: int) -> bytes:
    records = b""
    if len(name) > _NAME_BYTES or not name.isascii():
        records = _record(b"path", name)
        if not _is_utf8(name):
            records = _BINARY + records
    if size >= _OCTAL_LIMIT:
        records += _record(b"size", b"%d" % size)
    return records


def _record(keyword: bytes, value: bytes) -> bytes:
    """Return one pax record; its length counts its own digits."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, keyword, value)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _fallback(name: bytes) -> bytes:
    """Return the name for the ustar field: "?" for each character that is not ASCII."""
    if not name.isascii():
        name = name.decode("utf-8", "surrogateescape").encode("ascii", "replace")
    return name[:_NAME_BYTES]


def _ustar(name: bytes, mode: int, size: int, mtime: int, typeflag: bytes) -> bytes:
    """Return one header block: owner 0, no owner names, no device, its checksum.

    One is made for each entry on either side, so it is put together from few pieces.
    """
    numbers = b"%07o\x000000000\x000000000\x00%011o\x00%011o\x00" % (mode, size, mtime)
    rest = typeflag + _USTAR_REST
    total = sum(name) + sum(numbers) + sum(typeflag) + _USTAR_SUM
    return b"%b%b%06o\x00 %b" % (name.ljust(_NAME_BYTES, b"\0"), numbers, total, rest)


#: What follows the type of an entry: no link name, the magic, zeros to the end of the block.
_USTAR_REST = bytes(100) + b"ustar\x0000" + bytes(BLOCK_BYTES - 265)
#: Of all bytes that are the same in each header; the checksum's own eight count as blanks.
_USTAR_SUM = sum(_USTAR_REST) + sum(b"        ")


# --- geometry -----------------------------------------------------------------------------


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _span_bytes(entry: Entry) -> int:
    """Return how much of the stream an entry takes: header, data, padding."""
    return header_bytes(entry) + _padded(entry.size)


def _stream_bytes(entries_bytes: int) -> int:
    """Return the whole length: two zero blocks end an archive, zeros fill its last record."""
    return -(-(entries_bytes + 2 * BLOCK_BYTES) // RECORD_BYTES) * RECORD_BYTES


class Bytes(msgspec.Struct, frozen=True, gc=False):
    """Part of the stream that follows from the manifest: headers, padding, the end."""

    data: bytes


class FilePart(msgspec.Struct, frozen=True, gc=False):
    """Part of the stream that lies in a source file.

    Attributes:
        index: Which entry.
        offset: Where in that file, bytes.
        length: How many bytes, at least 1.
    """

    index: int
    offset: int
    length: int


class Layout:
    """Where everything lies in the stream of a manifest.

    Keeps 16 bytes an entry beside the entries; headers are made when they are asked for.

    Attributes:
        entries: The manifest, not changed and not copied.
        size: Length of the stream in bytes, a multiple of RECORD_BYTES.
        chunk_count: How many chunks that is; the last one may be shorter.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self._starts = array("Q")
        self._data = array("Q")
        offset = 0
        for entry in entries:
            self._starts.append(offset)
            data = offset + header_bytes(entry)
            self._data.append(data)
            offset = data + _padded(entry.size)
        self._end = offset
        self.size = _stream_bytes(offset)
        self.chunk_count = -(-self.size // limits.CHUNK_BYTES)

    def chunk_length(self, index: int) -> int:
        """Return the bytes of one chunk; all but the last have CHUNK_BYTES."""
        if not 0 <= index < self.chunk_count:
            raise IndexError(f"chunk {index} of {self.chunk_count}")
        return min(limits.CHUNK_BYTES, self.size - index * limits.CHUNK_BYTES)

    def data_offset(self, entry_index: int) -> int:
        """Return where an entry's data starts, or would start, in the stream."""
        return self._data[entry_index]

    def segments(self, start: int, end: int) -> Iterator[Bytes | FilePart]:
        """Cut a range of the stream into what it is made of, in order and without gaps.

        Finding the first part takes O(log entries), each further one O(1).

        Args:
            start: First byte, from 0.
            end: One past the last byte; at most size.

        Raises:
            IndexError: The range is not inside the stream.
        """
        if not 0 <= start <= end <= self.size:
            raise IndexError(f"bytes {start} to {end} of a stream of {self.size}")
        return self._segments(start, end)

    def _segments(self, start: int, end: int) -> Iterator[Bytes | FilePart]:
        index = max(0, bisect_right(self._starts, start) - 1)
        last = min(end, self._end)
        while start < last:
            entry, begin, data = self.entries[index], self._starts[index], self._data[index]
            if start < data:
                stop = min(end, data)
                whole = header(entry)
                yield Bytes(whole[start - begin : stop - begin])
                start = stop
            if start < (stop := min(end, data + entry.size)):
                yield FilePart(index, start - data, stop - start)
                start = stop
            if start < (stop := min(end, data + _padded(entry.size))):
                yield Bytes(bytes(stop - start))
                start = stop
            index += 1
        if start < end:
            yield Bytes(bytes(end - start))
