"""Reading an age file at any place; all that is handed out is authentic.

Source: age-encryption.org/v1 (C2SP, "age.md"), "Payload"; docs/VAULT.md, "age file".
"""

import os
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from medp2p import limits
from medp2p.closing import Closing
from medp2p.errors import LocalProtocolError, SealBrokenError, StoreError
from medp2p.vault import kernel
from medp2p.vault.age_header import (
    NONCE_BYTES,
    TAG_BYTES,
    check_header,
    open_header,
    parse_header,
    payload_key,
)
from medp2p.vault.age_payload import (
    CHUNK,
    SEALED_CHUNK,
    Descriptor,
    chunk_count,
    chunk_nonce,
    open_sealed,
    read_start,
    sealed_bytes,
)
from medp2p.vault.direct import PAGE_BYTES, DirectFile
from medp2p.vault.durable import AnyPath, Files, disk_errors

#: Plain bytes that are taken from the disk at once: bounds the scratch memory.
_READ_BYTES = limits.CHUNK_BYTES


class SealReader(Closing):
    """Reads an age file at any place, authenticating all that it hands out; thread-safe.

    Attributes:
        size: Plain bytes, proved by the last chunk.
    """

    def __init__(self, descriptor: int, identity: str | bytes) -> None:
        start, total = read_start(descriptor)
        header = parse_header(start)
        if isinstance(identity, bytes):
            file_key = identity
            check_header(header, file_key)
        else:
            file_key = open_header(header, identity)
        self._base = header.size + NONCE_BYTES
        payload = total - self._base
        if payload < TAG_BYTES:
            raise SealBrokenError("sealed file is cut off")
        self._count = -(-payload // SEALED_CHUNK)
        tail = payload - (self._count - 1) * SEALED_CHUNK
        if tail < TAG_BYTES + (self._count > 1):
            raise SealBrokenError("sealed file is cut off")
        self.size = payload - TAG_BYTES * self._count
        nonce = start[header.size : self._base]
        self._cipher = ChaCha20Poly1305(payload_key(file_key, nonce))
        self._local = threading.local()
        self._direct: DirectFile | None = None
        # Only the true end carries the mark of the last chunk, so this proves the length.
        self._read_chunks(descriptor, self._count - 1, memoryview(bytearray(tail - TAG_BYTES)))
        self._descriptor = Descriptor(descriptor)
        self._direct = DirectFile(descriptor, self.size, writing=False)

    @classmethod
    def open(cls, path: AnyPath, identity: str | bytes) -> "SealReader":
        """Open a sealed file.

        Args:
            path: Of the file; never followed if it is a link.
            identity: "AGE-SECRET-KEY-1..." or the 16-byte file key.

        Raises:
            SealBrokenError: Missing, cut off, longer than it should be, or not authentic.
            VaultLockedError: Sealed for another identity.
            StoreError: It cannot be opened or read for another reason.
        """
        descriptor = open_sealed(Files(), path, writing=False)
        try:
            with disk_errors(StoreError, "sealed file cannot be read"):
                return cls(descriptor, identity)
        except BaseException:
            os.close(descriptor)
            raise

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill view with the plain bytes from offset on; any range inside the file.

        Raises:
            SealBrokenError: Some chunk of the range is not authentic; view holds nothing to
                be used then.
            StoreError: The disk failed.
            LocalProtocolError: The range is outside the file, or the file is closed.
        """
        if offset < 0 or offset + len(view) > self.size:
            raise LocalProtocolError(f"cannot read {len(view)} bytes at {offset}")
        with self._descriptor.use() as descriptor, disk_errors(StoreError, "vault read"):
            at = 0
            while at < len(view):
                index, skip = divmod(offset + at, CHUNK)
                left = len(view) - at
                if skip or (left < CHUNK and offset + len(view) != self.size):
                    take = min(left, CHUNK - skip)
                    piece = bytearray(min(CHUNK, self.size - index * CHUNK))
                    self._read_chunks(descriptor, index, memoryview(piece))
                    view[at : at + take] = piece[skip : skip + take]
                else:
                    take = min(left, _READ_BYTES)
                    if offset + at + take != self.size:
                        take -= take % CHUNK
                    self._read_chunks(descriptor, index, view[at : at + take])
                at += take

    def forget(self, offset: int, length: int) -> None:
        """Tell the system that plain bytes that were read need not stay in its cache.

        What is written next gets that memory, which is warm, and not fresh one. Only a hint.
        """
        start = self._base + offset // CHUNK * SEALED_CHUNK
        with self._descriptor.use() as descriptor:
            kernel.drop_cached(descriptor, start, sealed_bytes(length))

    def close(self) -> None:
        """Close the file once no read is under way; may be called again."""
        try:
            self._descriptor.close()
        finally:
            if self._direct is not None:
                self._direct.close()

    def _read_chunks(self, descriptor: int, first: int, view: memoryview) -> None:
        """Fill view with whole chunks; it ends at a chunk's border or at the file's end."""
        size, place = sealed_bytes(len(view)), self._base + first * SEALED_CHUNK
        room = self._scratch(size + 3 * PAGE_BYTES)
        sealed = None if self._direct is None else self._direct.pread(room, size, place)
        if sealed is None:
            sealed = room[:size]
            if os.preadv(descriptor, [sealed], place) != size:
                raise SealBrokenError("sealed file is cut off")
        at = 0
        for index in range(first, first + chunk_count(len(view))):
            plain = view[(index - first) * CHUNK : (index - first + 1) * CHUNK]
            end = at + len(plain) + TAG_BYTES
            nonce = chunk_nonce(index, index == self._count - 1)
            try:
                self._cipher.decrypt_into(nonce, sealed[at:end], None, plain)
            except InvalidTag as error:
                raise SealBrokenError(f"sealed chunk {index} is not authentic") from error
            at = end

    def _scratch(self, size: int) -> memoryview:
        """Return memory that this thread keeps: fresh pages for each read would cost faults."""
        kept: bytearray | None = getattr(self._local, "kept", None)
        if kept is None or len(kept) < size:
            kept = self._local.kept = bytearray(size)
        return memoryview(kept)[:size]
