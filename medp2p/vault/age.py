"""age files with random access: chunks are sealed in any order, and read at any place.

An age payload is 64 KiB chunks at computable offsets, each under the nonce of its own index; so
once the length is known, every chunk has its place. The files are ordinary age files:
`age -d -i keys/vault.key ID.tar.age` opens them.

Of a chunk index ONE plaintext only may ever be put sealed, for the life of a file key: two would
leak their difference. Nothing here can see that; the journal's claims see to it.

Source: age-encryption.org/v1 (C2SP, "age.md"), "Payload"; docs/VAULT.md, "age file".
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from medp2p.errors import LocalProtocolError, MedP2PError, SealBrokenError, StoreError
from medp2p.vault.age_header import (
    NONCE_BYTES,
    TAG_BYTES,
    check_header,
    check_recipient,
    header_bytes,
    header_for,
    new_file_key,
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
    sealed_size,
)
from medp2p.vault.age_reader import SealReader
from medp2p.vault.direct import DirectFile, lay
from medp2p.vault.durable import AnyPath, Files, disk_errors

__all__ = [
    "SealReader",
    "SealWriter",
    "check_recipient",
    "header_bytes",
    "header_for",
    "new_file_key",
    "payload_key",
    "sealed_bytes",
    "sealed_size",
]


class Sealed(NamedTuple):
    """Ciphertext for a place of an age file.

    Attributes:
        place: Offset in the file.
        data: A view of the memory that was given for it.
    """

    place: int
    data: memoryview


class SealWriter:
    """Writes an age file of known length, its chunks in any order and from any thread.

    Made by `create` or `reopen`, closed by its owner: close() waits for writes under way.

    Attributes:
        path: Where the file lies; finish() changes it.
        size: Plain bytes.
        header: Header and nonce as they lie in the file. A caller that keeps them can have
            `reopen` prove that not a bit of them has changed.
    """

    def __init__(
        self,
        files: Files,
        path: AnyPath,
        descriptor: int,
        size: int,
        file_key: bytes,
        header: bytes,
    ) -> None:
        self.path = path
        self.size = size
        self.header = header
        self._files = files
        self._descriptor = Descriptor(descriptor)
        self._count = chunk_count(size)
        self._cipher = ChaCha20Poly1305(payload_key(file_key, header[-NONCE_BYTES:]))
        self._direct = DirectFile(descriptor, size, writing=True)
        self._failed = False

    @classmethod
    def create(
        cls,
        files: Files,
        path: AnyPath,
        size: int,
        recipients: Sequence[str],
        file_key: bytes,
        random_bytes: Callable[[int], bytes],
    ) -> "SealWriter":
        """Create the file at its whole size with its header, durably, its name included.

        Args:
            files: Where durable steps go through.
            path: Must not exist; mode 0600.
            size: Plain bytes that the file will hold.
            recipients: "age1..." texts.
            file_key: 16 bytes from new_file_key, used for this file only.
            random_bytes: Source of the nonce and of ephemeral keys.

        Raises:
            NoSpaceError: The whole size cannot be reserved; no file is left.
            StoreError: The file exists, or cannot be made; no file of ours is left.
            ConfigError: A recipient is malformed.
        """
        header = header_for(file_key, recipients, random_bytes) + random_bytes(NONCE_BYTES)
        with disk_errors(StoreError, "sealed file cannot be made"):
            descriptor = files.create(path)
        try:
            writer = cls(files, path, descriptor, size, file_key, header)
            with disk_errors(StoreError, "sealed file cannot be made"):
                files.allocate(descriptor, len(header) + sealed_bytes(size))
                files.pwrite_all(descriptor, header, 0, step="header")
                if size == 0:
                    writer.write(0, memoryview(b""), bytearray(TAG_BYTES))
                files.fdatasync(descriptor)
                files.fsync_folder(_folder_of(path))
        except BaseException:
            os.close(descriptor)  # nothing large was written: no other one is open
            with suppress(OSError):
                files.unlink(path)
            raise
        return writer

    @classmethod
    def reopen(
        cls,
        files: Files,
        path: AnyPath,
        size: int,
        file_key: bytes,
        header: bytes | None = None,
    ) -> "SealWriter":
        """Open a file that `create` made earlier, to go on writing it.

        Args:
            files: Where durable steps go through.
            path: Of the file.
            size: Plain bytes, as at create.
            file_key: As at create.
            header: The `header` of the earlier writer, if it was kept.

        Raises:
            SealBrokenError: It is missing, a link, of another size, or its header is not the
                one of this file key: a record leads its data.
            StoreError: It cannot be opened for another reason.
        """
        descriptor = open_sealed(files, path, writing=True)
        try:
            with disk_errors(StoreError, "sealed file cannot be read"):
                start, total = read_start(descriptor)
            parsed = parse_header(start)
            check_header(parsed, file_key)
            found = start[: parsed.size + NONCE_BYTES]
            if total != len(found) + sealed_bytes(size):
                raise SealBrokenError("sealed file has another size than it was given")
            if header is not None and found != header:
                raise SealBrokenError("header of a sealed file has changed")
            return cls(files, path, descriptor, size, file_key, found)
        except BaseException:
            os.close(descriptor)
            raise

    def write(self, offset: int, data: memoryview, scratch: bytearray | memoryview) -> None:
        """Seal data and put it at its place: `seal` and `put` in one.

        Raises:
            As these.
        """
        self.put([self.seal(offset, data, scratch)])

    def seal(self, offset: int, data: memoryview, scratch: bytearray | memoryview) -> Sealed:
        """Encrypt data for its place; thread-safe, and the interpreter is free meanwhile.

        Nothing is written yet: until `put` no other plaintext has lost its place by it.

        Args:
            offset: Plain offset, a multiple of AGE_CHUNK_BYTES.
            data: Whole age chunks, or everything up to the end of the file.
            scratch: At least sealed_bytes(len(data)) bytes, which nobody else uses until it is
                put; with PAGE_BYTES more the page cache is left alone (vault.direct).

        Raises:
            LocalProtocolError: Offset, length or scratch do not fit.
        """
        length = len(data)
        whole = offset + length == self.size
        if offset % CHUNK or not 0 <= offset <= self.size or offset + length > self.size:
            raise LocalProtocolError(f"cannot seal {length} bytes at {offset} of {self.size}")
        if (length % CHUNK and not whole) or (not length and self.size):
            raise LocalProtocolError(f"cannot seal {length} bytes: not whole age chunks")
        first, sealed = offset // CHUNK, sealed_bytes(length)
        if len(scratch) < sealed:
            raise LocalProtocolError(f"{len(scratch)} bytes of scratch, {sealed} are needed")
        place = len(self.header) + first * SEALED_CHUNK
        out = lay(memoryview(scratch), sealed, place)
        seal, final = self._cipher.encrypt_into, self._count - 1
        at = 0
        for index in range(first, first + chunk_count(length)):
            plain = data[(index - first) * CHUNK : (index - first + 1) * CHUNK]
            end = at + len(plain) + TAG_BYTES
            seal(chunk_nonce(index, index == final), plain, None, out[at:end])
            at = end
        return Sealed(place, out)

    def put(self, sealed: Iterable[Sealed]) -> None:
        """Write what `seal` has made; what follows each other by one call. Thread-safe.

        Args:
            sealed: Some dozens at most.

        Raises:
            NoSpaceError: The disk is full after all (copy-on-write file systems).
            StoreError: The disk failed.
            LocalProtocolError: The file is closed.
        """
        with self._descriptor.use() as descriptor, disk_errors(StoreError, "vault write"):
            for place, pieces in _runs(sealed):
                self._files.pwritev_all(descriptor, pieces, place, self._direct)

    def sync(self) -> None:
        """Make everything written so far durable.

        Raises:
            StoreError: The disk failed. Everything since the last good sync counts as not
                written, and this writer syncs no more: reopen the file.
            NoSpaceError: As StoreError, because the disk is full.
        """
        if self._failed:
            raise StoreError("vault write: an earlier one was not made durable")
        try:
            with self._descriptor.use() as descriptor, disk_errors(StoreError, "vault write"):
                self._files.fdatasync(descriptor)
        except MedP2PError:
            self._failed = True
            raise

    def finish(self, final_path: AnyPath) -> None:
        """Sync, give the file its final name, and make the name durable.

        Every chunk must have been written before. The name must be free. The two names must be
        in one folder.

        Raises:
            StoreError: The disk failed, or the name is taken.
            NoSpaceError: The disk is full.
        """
        self.sync()
        with disk_errors(StoreError, "sealed file cannot be renamed"):
            self._files.rename(self.path, final_path)
            self.path = final_path
            self._files.fsync_folder(_folder_of(final_path))

    def close(self) -> None:
        """Close the file once no write is under way; may be called again."""
        try:
            self._descriptor.close()
        finally:
            self._direct.close()


def _runs(sealed: Iterable[Sealed]) -> list[tuple[int, list[memoryview]]]:
    """Return (place, pieces) of what lies without a gap in the file."""
    runs: list[tuple[int, list[memoryview]]] = []
    end = -1
    for place, data in sealed:
        if place != end:
            runs.append((place, []))
        runs[-1][1].append(data)
        end = place + len(data)
    return runs


def _folder_of(path: AnyPath) -> str:
    return os.path.dirname(os.fsdecode(path)) or "."
