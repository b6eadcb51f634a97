"""The manifest of a transfer: its entries, and their canonical bytes.

There may be 200,000 of them, and each is made several times on either side: so they are light
values, and what is checked of one costs little.

Source: docs/PROTOCOL.md, "Manifest".
"""

import enum
import struct
from collections.abc import Iterable, Iterator

import msgspec

from medp2p import limits
from medp2p.errors import RemoteProtocolError

#: Canonical entry: kind (0 file, 1 directory), length of the path, size in bytes, mtime in
#: nanoseconds since 1970 (signed); big-endian, then the path itself.
_ENTRY = struct.Struct(">BHQq")
#: Components that no path of an entry has.
_NO_NAMES = frozenset((b"", b".", b".."))


class Kind(enum.IntEnum):
    """What an entry is. The numbers are on the wire."""

    FILE = 0
    DIRECTORY = 1


_KINDS = {kind.value: kind for kind in Kind}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of a manifest.

    Attributes:
        path: Relative, "/"-separated, byte for byte as on the sender; no trailing "/".
        kind: Regular file or directory.
        size: Bytes; 0 for a directory.
        mtime_ns: Nanoseconds since 1970 UTC, may be negative.

    Raises:
        RemoteProtocolError: A value is out of bounds or the path is not a safe relative one.
            (Entries come from peers; a local scan never makes an illegal one.)
    """

    path: bytes
    kind: Kind
    size: int
    mtime_ns: int

    def __post_init__(self) -> None:
        check_path_untrusted(self.path)
        if not 0 <= self.size <= limits.MAX_FILE_BYTES:
            raise RemoteProtocolError(f"entry size {self.size} out of bounds")
        if self.size and self.kind is Kind.DIRECTORY:
            raise RemoteProtocolError("directory entry with a size")
        if not -(2**63) <= self.mtime_ns < 2**63:
            raise RemoteProtocolError("entry time out of bounds")


def check_path_untrusted(path: bytes) -> None:
    """Refuse what must not travel: NUL, absolute paths, empty, "." and ".." components.

    Raises:
        RemoteProtocolError: The path is refused; the text does not repeat it.
    """
    if not 1 <= len(path) <= limits.MAX_PATH_BYTES:
        raise RemoteProtocolError("entry path is empty or too long")
    if b"\0" in path:
        raise RemoteProtocolError("entry path with NUL")
    if not _NO_NAMES.isdisjoint(path.split(b"/")):
        raise RemoteProtocolError("entry path with an empty, '.' or '..' component")


def encode_entry(entry: Entry) -> bytes:
    """Return the canonical bytes of one entry: a 19-byte head (see _ENTRY), then the path."""
    return _ENTRY.pack(entry.kind, len(entry.path), entry.size, entry.mtime_ns) + entry.path


def encode_entries(entries: Iterable[Entry]) -> bytes:
    """Return the canonical bytes of entries, one after the other, in order."""
    return b"".join(map(encode_entry, entries))


def pages(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Cut a manifest into pages of whole entries, at most MAX_PAGE_BYTES each, at least one."""
    page = bytearray()
    count = 0
    for entry in entries:
        encoded = encode_entry(entry)
        if len(page) + len(encoded) > limits.MAX_PAGE_BYTES:
            yield bytes(page)
            page.clear()
            count += 1
        page += encoded
    if page or not count:
        yield bytes(page)


def decode_entries_untrusted(data: bytes) -> list[Entry]:
    """Return the entries of a page, each checked on its own.

    What they must be together is layout.check_manifest_untrusted's.

    Raises:
        RemoteProtocolError: Cut short, an unknown kind, or what Entry refuses.
    """
    entries: list[Entry] = []
    position = 0
    while position < len(data):
        end = position + _ENTRY.size
        if end > len(data):
            raise RemoteProtocolError("manifest page ends inside an entry")
        number, path_bytes, size, mtime_ns = _ENTRY.unpack_from(data, position)
        position = end + path_bytes
        if position > len(data):
            raise RemoteProtocolError("manifest page ends inside a path")
        kind = _KINDS.get(number)
        if kind is None:
            raise RemoteProtocolError(f"entry of unknown kind {number}")
        if len(entries) >= limits.MAX_ENTRIES:
            raise RemoteProtocolError("too many entries")
        entries.append(Entry(data[end:position], kind, size, mtime_ns))
    return entries
