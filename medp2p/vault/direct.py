"""Moving whole pages of a large file between the disk and our own memory, past the page cache.

A large file must be on the disk before it counts, and is seldom in the cache any more when it is
read again: to copy it in there costs as much processor time as to encrypt it, more where the cache
gets fresh memory, and pushes out what other programs on the workstation have there. Smaller ones
go through the cache, so that a release soon after finds them there. Where a file system or a system
cannot do it, nothing happens here.

Pieces that follow each other go to the disk in one call; a page that two of them share is put
together for it. The bytes before the first and after the last whole page go through the cache: a
page of its own for each end of a call, so calls for a few MiB cost less than calls for one. Two
threads may write two pieces of a file at a time, for the page that these share goes through the
cache then. One page of a sealed file may go either way one after the other (a chunk that comes
again alone): local file systems see to it that what is in the cache is written first and dropped.

Source: open(2), "O_DIRECT"; sizes and addresses in multiples of 4 KiB suit every disk.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Sequence

from medp2p import limits

PAGE_BYTES = limits.DISK_BLOCK_BYTES
#: What a disk or a file system answers that wants other multiples, or cannot do it at all.
_CANNOT = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def address_of(view: memoryview) -> int | None:
    """Return where in memory a view begins; None for one that is empty or may not be written."""
    if view.readonly or not len(view):
        return None
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def lay(room: memoryview, size: int, offset: int) -> memoryview:
    """Return a part of some memory that lies to pages as a place in a file does.

    Args:
        room: At least ``size`` bytes; with PAGE_BYTES more there always is such a part.
        size: Bytes of the part.
        offset: The place in the file.
    """
    start = 0
    if len(room) >= size + PAGE_BYTES and (address := address_of(room)) is not None:
        start = (offset - address) % PAGE_BYTES
    return room[start : start + size]


class DirectFile:
    """A second descriptor of an open file, for whole pages; thread-safe but for closing.

    It is opened when it is needed first, and only for a large file.

    Args:
        descriptor: Of the file; stays the caller's.
        size: Bytes that the file holds in the end.
        writing: Whether it is written; else it is read.
    """

    def __init__(self, descriptor: int, size: int, *, writing: bool) -> None:
        self._file = descriptor
        self._access = os.O_WRONLY if writing else os.O_RDONLY
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._able = hasattr(os, "O_DIRECT") and size >= limits.DIRECT_FILE_BYTES

    @property
    def able(self) -> bool:
        """Whether anything may go past the cache, as far as is known."""
        return self._able

    def pwritev(self, pieces: Sequence[memoryview], offset: int) -> tuple[int, int]:
        """Write the whole pages of pieces that follow each other in the file, by one call.

        Args:
            pieces: Some dozens at most (IOV_MAX); nothing is written of those that do not lie in
                memory as in the file (`lay`), nor where all together are few pages.
            offset: Of the first one, in the file.

        Returns:
            The range of all their bytes that was written; all else is left to the caller.

        Raises:
            OSError: The disk failed, or is full.
        """
        if (descriptor := self._open()) is None:
            return 0, 0
        pages = _whole_pages(pieces, offset)
        if sum(map(len, pages)) < limits.DIRECT_BYTES:
            return 0, 0
        first = -offset % PAGE_BYTES
        try:
            return first, first + os.pwritev(descriptor, pages, offset + first)
        except OSError as error:
            self._refused(error)
            return 0, 0

    def pread(self, room: memoryview, size: int, offset: int) -> memoryview | None:
        """Read a large piece, and what else lies in its pages.

        Args:
            room: Memory for it: 3 * PAGE_BYTES more than ``size``.
            size: Bytes wanted.
            offset: In the file.

        Returns:
            The part of room that holds them; None: the caller reads them, for this cannot be done
            here, or not all of them came.

        Raises:
            OSError: The disk failed.
        """
        if size < limits.DIRECT_BYTES or (descriptor := self._open()) is None:
            return None
        lead = offset % PAGE_BYTES
        begin = -(address_of(room) or 0) % PAGE_BYTES
        length = -(-(lead + size) // PAGE_BYTES) * PAGE_BYTES
        try:
            got = os.preadv(descriptor, [room[begin : begin + length]], offset - lead)
        except OSError as error:
            self._refused(error)
            return None
        return room[begin + lead : begin + lead + size] if got >= lead + size else None

    def close(self) -> None:
        """Close it once nobody uses it; may be called again."""
        with self._lock:
            self._able = False
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int | None:
        with self._lock:
            if self._able and self._descriptor is None:
                try:
                    # The same file for certain, whatever has its name by now.
                    path = f"/proc/self/fd/{self._file}"
                    self._descriptor = os.open(path, self._access | os.O_DIRECT | os.O_CLOEXEC)
                except OSError:
                    self._able = False
            return self._descriptor if self._able else None

    def _refused(self, error: OSError) -> None:
        """Do without from now on, or raise what is no question of sizes."""
        if error.errno not in _CANNOT:
            raise error
        self._able = False


def _whole_pages(pieces: Sequence[memoryview], offset: int) -> list[memoryview]:
    """Return memory that holds the whole pages of some pieces; none if one lies otherwise."""
    shared = lay(memoryview(bytearray(PAGE_BYTES * (len(pieces) + 1))), PAGE_BYTES * len(pieces), 0)
    pages: list[memoryview] = []
    skip, begun = -offset % PAGE_BYTES, 0  # up to the next page; what the shared one holds already
    for piece in pieces:
        if begun:
            skip = min(PAGE_BYTES - begun, len(piece))
            shared[begun : begun + skip] = piece[:skip]
            begun += skip
            if begun == PAGE_BYTES:
                pages.append(shared[:begun])
                shared, begun = shared[begun:], 0
        if len(piece) <= skip:
            skip -= len(piece)
            continue
        end = skip + (len(piece) - skip) // PAGE_BYTES * PAGE_BYTES
        if end > skip:
            if (address_of(piece[skip:end]) or 1) % PAGE_BYTES:
                return []
            pages.append(piece[skip:end])
        begun = len(piece) - end
        shared[:begun] = piece[end:]
        skip = 0
    return pages
