"""Digests of a transfer: chunks, root, manifest and offer, all BLAKE3.

Chunk digests and root are keyed by a salt that only the two sides know: clear digests of small
reports could be guessed. Every use has a context or a key of its own, so no digest of one kind
can pass as another.

Source: docs/PROTOCOL.md, "Digests".
"""

from collections.abc import Iterable
from itertools import islice

from blake3 import blake3

#: Digests joined for one call into BLAKE3 when a root is made: 32 KiB at a time.
_ROOT_BATCH = 1024


def stream_key(salt: bytes) -> bytes:
    """Return the 32-byte key of a transfer's chunk digests and root.

    Args:
        salt: 32 random bytes of the sender, told only inside the session.
    """
    return blake3(salt, derive_key_context="medp2p 1 stream key").digest()


def chunk_digest(key: bytes, index: int, data: bytes | memoryview) -> bytes:
    """Return the digest of one chunk, bound to its place in the stream.

    It is BLAKE3 keyed by ``key`` over the index (8 bytes, big-endian) and the data. Large data is
    hashed with the GIL released and without a copy.

    Args:
        key: From stream_key.
        index: Chunk number, from 0.
        data: The chunk's bytes.
    """
    hasher = blake3(key=key)
    hasher.update(index.to_bytes(8, "big"))
    hasher.update(data)
    return hasher.digest()


def root_digest(key: bytes, offer: bytes, length: int, digests: Iterable[bytes]) -> bytes:
    """Return the root of a transfer: what a receipt is about.

    It covers the offer, the stream's length in bytes and the chunk digests in order, keyed by a
    key derived from ``key`` so that it can never equal a chunk digest.

    Args:
        key: From stream_key.
        offer: From offer_digest, 32 bytes.
        length: Bytes of the stream.
        digests: One digest per chunk, in order; consumed lazily.
    """
    hasher = blake3(key=blake3(key, derive_key_context="medp2p 1 root key").digest())
    hasher.update(offer)
    hasher.update(length.to_bytes(8, "big"))
    remaining = iter(digests)
    while batch := b"".join(islice(remaining, _ROOT_BATCH)):
        hasher.update(batch)
    return hasher.digest()


class ManifestHasher:
    """Digest of a manifest in canonical bytes; the same however it is cut into pages."""

    def __init__(self) -> None:
        self._hasher = blake3(derive_key_context="medp2p 1 manifest")

    def update(self, page: bytes) -> None:
        """Take the next page: canonical bytes of whole entries, in order."""
        self._hasher.update(page)

    def digest(self) -> bytes:
        """Return the digest of all that was taken so far."""
        return self._hasher.digest()


def offer_digest(
    *,
    protocol: int,
    layout: int,
    sender: bytes,
    receiver: bytes,
    transfer: bytes,
    salt: bytes,
    length: int,
    manifest: bytes,
    entries: int,
    files: int,
    file_bytes: int,
    priority: str,
    created_ms: int,
    label: bytes,
    note: str,
) -> bytes:
    """Return what consent, accept and receipts are about: all that was offered, by whom to whom.

    Each field enters as its length (4 bytes, big-endian) and its bytes, numbers as 8 bytes
    big-endian, in the order of the arguments: no two offers have the same encoding.

    Args:
        protocol: Protocol version of the session, so that both sides mean the same by it.
        layout: Version of the tar layout.
        sender: Static Noise public key, 32 bytes; likewise receiver.
        transfer: Transfer id, 16 bytes.
        salt: See stream_key.
        length: Bytes of the stream.
        manifest: From ManifestHasher.
        entries: Lines of the manifest; files: those that are regular files.
        file_bytes: Sum of the files' sizes.
        priority: "stat" or "routine".
        created_ms: When the sender confirmed, milliseconds since 1970 UTC.
        label: What a person must check, in the bytes that travel.
        note: Free text.
    """
    hasher = blake3(derive_key_context="medp2p 1 offer")
    fields = (
        *(_number(value) for value in (protocol, layout)),
        *(sender, receiver, transfer, salt),
        _number(length),
        manifest,
        *(_number(value) for value in (entries, files, file_bytes)),
        priority.encode(),
        _number(created_ms),
        label,
        note.encode("utf-8", "surrogatepass"),
    )
    for field in fields:
        hasher.update(len(field).to_bytes(4, "big"))
        hasher.update(field)
    return hasher.digest()


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")
