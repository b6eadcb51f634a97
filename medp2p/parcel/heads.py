"""First and last bytes of source files, for those who want to know what they are.

Files are opened as the reader opens them: no link followed, nothing but regular files. Blocking
and thread-safe. A file that is not what the scan saw is read all the same, and said to have
changed.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from medp2p import limits
from medp2p.parcel.folders import Folders
from medp2p.parcel.reader import how_changed
from medp2p.parcel.record import Scan


class Head(NamedTuple):
    """The ends of a file.

    Attributes:
        head: Its first bytes.
        size: Bytes of the whole file, now.
        tail: Its last bytes; b"" when the head is all of it.
        changed: It is not what the scan saw.
    """

    head: bytes
    size: int
    tail: bytes
    changed: bool


class Heads:
    """The files of one scan."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._folders = Folders(scan.roots, limits.READER_FOLDERS)

    def close(self) -> None:
        """Close all folders; reads that are still under way end well."""
        self._folders.close()

    def read(self, index: int, head_bytes: int, tail_bytes: int) -> Head | None:
        """Return both ends of the entry of that number; None if it cannot be read."""
        try:
            with self._open(index) as descriptor:
                found = os.fstat(descriptor)
                head = _read(descriptor, 0, min(head_bytes, found.st_size))
                tail = b""
                if len(head) < found.st_size:
                    start = max(found.st_size - tail_bytes, 0)
                    tail = _read(descriptor, start, found.st_size - start)
                after = os.fstat(descriptor)
        except OSError:
            return None
        return Head(head, found.st_size, tail, how_changed(self._scan, index, after) is not None)

    def digest(self, index: int) -> bytes | None:
        """Return a digest of the whole content; None if it cannot be read."""
        content = hashlib.blake2b(digest_size=32)
        try:
            with self._open(index) as descriptor:
                offset = 0
                while piece := os.pread(descriptor, limits.CHUNK_BYTES, offset):
                    content.update(piece)
                    offset += len(piece)
        except OSError:
            return None
        return content.digest()

    def has_changed(self, index: int) -> bool:
        """Look at the entry of that number again; gone is changed too."""
        try:
            found = self._folders.look(self._scan.root_of[index], self._scan.entries[index].path)
        except OSError:
            return True
        return how_changed(self._scan, index, found) is not None

    @contextmanager
    def _open(self, index: int) -> Iterator[int]:
        def check(found: os.stat_result) -> None:
            if not stat.S_ISREG(found.st_mode):
                raise OSError("is no regular file any more")

        root = self._scan.root_of[index]
        descriptor = self._folders.open_file(root, self._scan.entries[index].path, check)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _read(descriptor: int, offset: int, count: int) -> bytes:
    """Return so many bytes, or fewer where the file ends."""
    parts = []
    while count > 0 and (piece := os.pread(descriptor, count, offset)):
        parts.append(piece)
        offset, count = offset + len(piece), count - len(piece)
    return b"".join(parts)
