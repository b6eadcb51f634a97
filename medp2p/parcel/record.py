"""What a scan found, in columns, and its form as bytes for the sealed store."""

import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from medp2p.errors import MedP2PError, StoreError
from medp2p.manifest import Entry, Kind

_MIN_NS, _MAX_NS = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class FileStat:
    """What a file looked like.

    Attributes:
        size: Bytes.
        mtime_ns: Nanoseconds since 1970 UTC, clamped to 64 bits (the years 1677 to 2262).
        ctime_ns: The same, of the last change of the inode.
        device: Number of the mounted file system; does not survive a remount.
        inode: Number within the file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not sent.

    Attributes:
        path: As an entry's path would be.
        why: "symlink", "socket", "fifo", "device", "unreadable", "vanished", "long-path" or
            "medp2p-home": our own keys and database.
    """

    path: bytes
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The outcome of one walk. About 300 bytes an entry.

    Attributes:
        roots: Absolute paths of the selected files and folders; each entry's path begins with
            the last name of its root.
        entries: The manifest.
        root_of: Number of the root, per entry.
        ctime_ns: Per entry, beside the size and mtime that the entry itself holds.
        device: Per entry.
        inode: Per entry.
        skipped: What was left out.
        files: Regular files in the manifest.
        file_bytes: Sum of their sizes.
    """

    roots: tuple[bytes, ...]
    entries: tuple[Entry, ...]
    root_of: "array[int]"
    ctime_ns: "array[int]"
    device: "array[int]"
    inode: "array[int]"
    skipped: tuple[Skipped, ...]
    files: int
    file_bytes: int

    def stat(self, index: int) -> FileStat:
        """Return what the entry of that number looked like."""
        entry = self.entries[index]
        return FileStat(
            entry.size,
            entry.mtime_ns,
            self.ctime_ns[index],
            self.device[index],
            self.inode[index],
        )

    def only(self, numbers: Sequence[int], skipped: tuple[Skipped, ...]) -> "Scan":
        """Return a scan of some of the entries.

        Args:
            numbers: Which ones, ascending.
            skipped: What is said to be left out.
        """
        entries = tuple(self.entries[n] for n in numbers)
        return Scan(
            roots=self.roots,
            entries=entries,
            root_of=array("I", (self.root_of[n] for n in numbers)),
            ctime_ns=array("q", (self.ctime_ns[n] for n in numbers)),
            device=array("Q", (self.device[n] for n in numbers)),
            inode=array("Q", (self.inode[n] for n in numbers)),
            skipped=skipped,
            files=sum(entry.kind is Kind.FILE for entry in entries),
            file_bytes=sum(entry.size for entry in entries),
        )


def clamp_ns(time_ns: int) -> int:
    """Return a file time within 64 bits; file systems hold years that nanoseconds do not."""
    if _MIN_NS <= time_ns <= _MAX_NS:  # nearly all are: no call for them
        return time_ns
    return _MIN_NS if time_ns < 0 else _MAX_NS


class _Stored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The form on disk, version 1; numbers are little-endian columns of 1, 4 or 8 bytes."""

    version: int
    roots: tuple[bytes, ...]
    paths: list[bytes]
    kinds: bytes
    sizes: bytes
    mtimes_ns: bytes
    root_of: bytes
    ctimes_ns: bytes
    devices: bytes
    inodes: bytes
    skipped: list[tuple[bytes, str]]


_VERSION = 1


def encode_scan(scan: Scan) -> bytes:
    """Return a scan as bytes (msgpack); `decode_scan` reads them again."""
    entries = scan.entries
    return msgspec.msgpack.encode(
        _Stored(
            version=_VERSION,
            roots=scan.roots,
            paths=[entry.path for entry in entries],
            kinds=bytes(entry.kind for entry in entries),
            sizes=_column(array("Q", (entry.size for entry in entries))),
            mtimes_ns=_column(array("q", (entry.mtime_ns for entry in entries))),
            root_of=_column(scan.root_of),
            ctimes_ns=_column(scan.ctime_ns),
            devices=_column(scan.device),
            inodes=_column(scan.inode),
            skipped=[(item.path, item.why) for item in scan.skipped],
        )
    )


def decode_scan(data: bytes) -> Scan:
    """Read a stored scan.

    Raises:
        StoreError: The bytes are damaged or of a newer form.
    """
    try:
        stored = msgspec.msgpack.decode(data, type=_Stored)
        if stored.version != _VERSION:
            raise StoreError(f"a stored scan has the unknown form {stored.version}")
        columns = (
            stored.paths,
            map(Kind, stored.kinds),
            _array("Q", stored.sizes),
            _array("q", stored.mtimes_ns),
        )
        entries = tuple(Entry(*row) for row in zip(*columns, strict=True))
        scan = Scan(
            roots=stored.roots,
            entries=entries,
            root_of=_array("I", stored.root_of),
            ctime_ns=_array("q", stored.ctimes_ns),
            device=_array("Q", stored.devices),
            inode=_array("Q", stored.inodes),
            skipped=tuple(Skipped(path, why) for path, why in stored.skipped),
            files=sum(entry.kind is Kind.FILE for entry in entries),
            file_bytes=sum(entry.size for entry in entries),
        )
        lengths = {len(column) for column in (scan.root_of, scan.ctime_ns, scan.device, scan.inode)}
        if lengths != {len(entries)} or max(scan.root_of, default=0) >= max(len(scan.roots), 1):
            raise StoreError("a stored scan does not fit together")
    except StoreError:
        raise
    except (msgspec.MsgspecError, ValueError, MedP2PError) as error:
        raise StoreError("a stored scan is damaged") from error
    return scan


def _column(numbers: "array[int]") -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _array(code: str, data: bytes) -> "array[int]":
    numbers = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
