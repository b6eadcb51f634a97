"""Geometry and nonces of an age payload, and the open file under it.

Source: age-encryption.org/v1 (C2SP, "age.md"), "Payload".
"""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from medp2p import limits
from medp2p.errors import LocalProtocolError, MedP2PError, SealBrokenError, StoreError
from medp2p.vault.age_header import NONCE_BYTES, TAG_BYTES
from medp2p.vault.durable import AnyPath, Files, disk_errors

CHUNK = limits.AGE_CHUNK_BYTES
SEALED_CHUNK = CHUNK + TAG_BYTES
_NOT_OURS = frozenset({errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.EISDIR, errno.ENOTDIR})


def chunk_count(plain: int) -> int:
    """Return how many age chunks hold so many bytes; an empty file has one empty chunk."""
    return max(1, -(-plain // CHUNK))


def sealed_bytes(plain: int) -> int:
    """Return the room that so many bytes take when sealed, header and nonce not counted.

    This is also the scratch that SealWriter.write needs for that much data.
    """
    return plain + TAG_BYTES * chunk_count(plain)


def sealed_size(plain: int, header: int) -> int:
    """Return the size of a whole age file over a header of so many bytes."""
    return header + NONCE_BYTES + sealed_bytes(plain)


def chunk_nonce(index: int, last: bool) -> bytes:
    """Return the nonce of a chunk: 11 bytes of counter, 1 byte that marks the last one."""
    return index.to_bytes(11, "big") + (b"\1" if last else b"\0")


class Descriptor:
    """An open file that is closed only when nobody is inside a call on it.

    A descriptor closed under a worker thread could be another file by the time it writes.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._users = 0
        self._closed = False
        self._change = threading.Condition()

    @contextmanager
    def use(self) -> Iterator[int]:
        """Give the descriptor to the caller's block.

        Raises:
            LocalProtocolError: It is closed.
        """
        with self._change:
            if self._closed:
                raise LocalProtocolError("age file is closed")
            self._users += 1
        try:
            yield self._number
        finally:
            with self._change:
                self._users -= 1
                self._change.notify_all()

    def close(self) -> None:
        """Close the file once nobody uses it; may be called again, and then waits, too."""
        with self._change:
            first, self._closed = not self._closed, True
            self._change.wait_for(lambda: not self._users)
            if first:
                os.close(self._number)


def open_sealed(files: Files, path: AnyPath, *, writing: bool) -> int:
    """Open an age file that should be there and return its descriptor.

    Raises:
        SealBrokenError: It is missing, or something else lies in its place.
        StoreError: It cannot be opened for another reason.
    """
    try:
        with disk_errors(StoreError, "sealed file cannot be opened"):
            return files.open_existing(path, writing=writing)
    except StoreError as error:
        raise _told_apart(error) from error.__cause__


def read_start(descriptor: int) -> tuple[bytes, int]:
    """Return enough of a file's start for header and nonce, and the file's size."""
    start = os.pread(descriptor, limits.MAX_AGE_HEADER_BYTES + NONCE_BYTES, 0)
    return start, os.fstat(descriptor).st_size


def _told_apart(error: StoreError) -> MedP2PError:
    if getattr(error.__cause__, "errno", None) in _NOT_OURS:
        return SealBrokenError("sealed file is missing, or something else lies in its place")
    return error
