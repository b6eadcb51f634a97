"""First and last bytes of source files, for those who want to know what they are.

Files are opened as the reader opens them: no link followed, nothing but regular files. Blocking
and thread-safe. A file that is not what the scan saw is read all the same, and said to have
changed.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from medp2p import limits
from medp2p.errors import TransferAbortedError
from medp2p.parcel.contents import content_digest, piece_digest, pieces
from medp2p.parcel.folders import Folders, Neighbours
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

    def neighbours(self) -> Neighbours:
        """Return what a thread keeps from one file to the next; it closes it."""
        return Neighbours(self._folders)

    def read(self, index: int, head_bytes: int, tail_bytes: int, at: Neighbours) -> Head | None:
        """Return both ends of the entry of that number; None if it cannot be read."""
        try:
            descriptor = self._open(index, at)
            try:
                head, tail = os.pread(descriptor, head_bytes, 0), b""
                after = os.fstat(descriptor)
                size = after.st_size
                if len(head) < size:
                    head += _read(descriptor, len(head), min(head_bytes, size) - len(head))
                    start = max(size - tail_bytes, 0)
                    tail = _read(descriptor, start, size - start)
                    after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return Head(head, size, tail, how_changed(self._scan, index, after) is not None)

    def digest(self, index: int) -> bytes | None:
        """Return a digest of the whole content; None if it cannot be read."""
        content = hashlib.blake2b(digest_size=32)
        try:
            with self.neighbours() as at:
                descriptor = self._open(index, at)
            try:
                offset = 0
                while piece := os.pread(descriptor, limits.CHUNK_BYTES, offset):
                    content.update(piece)
                    offset += len(piece)
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return content.digest()

    def content(
        self, index: int, cut: int, at: Neighbours, cancelled: Callable[[], bool]
    ) -> bytes | None:
        """Return the content digest of an entry (parcel.contents); None if it cannot be read.

        Args:
            index: Number of the entry.
            cut: Bytes of its first piece.
            at: From neighbours().
            cancelled: Asked before each piece.

        Raises:
            TransferAbortedError: ``cancelled`` said so.
        """
        size = self._scan.entries[index].size
        view = memoryview(bytearray(min(size, limits.CHUNK_BYTES)))
        digests = []
        try:
            descriptor = self._open(index, at)
            try:
                for offset, length in pieces(size, cut):
                    if cancelled():
                        raise TransferAbortedError("the scan was cancelled")
                    if os.preadv(descriptor, [view[:length]], offset) != length:
                        return None
                    digests.append(piece_digest(view[:length]))
                if how_changed(self._scan, index, os.fstat(descriptor)) is not None:
                    return None
            finally:
                os.close(descriptor)
        except OSError:
            return None
        return content_digest(size, cut, digests)

    def has_changed(self, index: int, at: Neighbours) -> bool:
        """Look at the entry of that number again; gone is changed too."""
        try:
            found = at.look(self._scan.root_of[index], self._scan.entries[index].path)
        except OSError:
            return True
        return how_changed(self._scan, index, found) is not None

    def _open(self, index: int, at: Neighbours) -> int:
        return at.open_file(self._scan.root_of[index], self._scan.entries[index].path, _regular)


def _regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError("is no regular file any more")


def _read(descriptor: int, offset: int, count: int) -> bytes:
    """Return so many bytes, or fewer where the file ends."""
    parts = []
    while count > 0 and (piece := os.pread(descriptor, count, offset)):
        parts.append(piece)
        offset, count = offset + len(piece), count - len(piece)
    return b"".join(parts)
