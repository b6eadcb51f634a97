"""Records: Noise transport messages, each behind a 2-byte big-endian length.

A body of n bytes travels as records of ``MAX_RECORD_BYTES`` plain bytes, the last one shorter.
So the length of a body fixes the length of its records, and a whole chunk is sealed or opened
between two buffers in one call, without a copy. Ciphers hold a key and nothing else that
sealing changes: nonces are handed out first (``reserve``), in the order of the wire, and the
work then happens in any thread.

Source: Noise specification 34, sections 5.1 and 12.4; docs/PROTOCOL.md, "Records".
"""

import struct
import threading
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError

LENGTH_BYTES: Final = 2
#: What a record adds to its plain bytes.
RECORD_OVERHEAD: Final = LENGTH_BYTES + limits.NOISE_TAG_BYTES
#: A full record on the wire.
FULL_RECORD_BYTES: Final = limits.MAX_RECORD_BYTES + RECORD_OVERHEAD
#: Noise keeps the nonce 2^64-1 for rekeying.
NONCE_LIMIT: Final = 2**64 - 1

_LENGTH: Final = struct.Struct(">H")
#: AESGCM in Noise: four zero bytes, then the counter, big-endian.
_NONCE: Final = struct.Struct(">4xQ")


def record_count(plain_bytes: int) -> int:
    """Return how many records a body of this many bytes takes.

    Raises:
        LocalProtocolError: There are no empty bodies.
    """
    if plain_bytes < 1:
        raise LocalProtocolError(f"a body of {plain_bytes} bytes")
    return -(-plain_bytes // limits.MAX_RECORD_BYTES)


def sealed_bytes(plain_bytes: int) -> int:
    """Return how many bytes a body of this many bytes takes on the wire.

    Raises:
        LocalProtocolError: There are no empty bodies.
    """
    return plain_bytes + record_count(plain_bytes) * RECORD_OVERHEAD


class _Cipher:
    """One direction of a session: its key, and the nonces not yet handed out."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._next = 0
        self._lock = threading.Lock()

    def reserve(self, records: int) -> int:
        """Take the next nonces of this direction; a nonce taken is never given again.

        Args:
            records: How many, at least 1.

        Returns:
            The first of them; they follow each other.

        Raises:
            LocalProtocolError: Less than one asked for, or the key is used up (2^64-1).
        """
        if records < 1:
            raise LocalProtocolError(f"{records} nonces asked for")
        with self._lock:
            first = self._next
            if first + records > NONCE_LIMIT:
                raise LocalProtocolError("this session has used up its nonces")
            self._next = first + records
        return first


class SendCipher(_Cipher):
    """Seals what we send. Thread-safe."""

    def seal_into(self, nonce: int, plain: memoryview, out: memoryview) -> int:
        """Turn a whole body into records.

        Releases the GIL while it encrypts; the two views must not overlap.

        Args:
            nonce: First of ``record_count(len(plain))`` reserved ones.
            plain: The body, at least 1 byte.
            out: Room for ``sealed_bytes(len(plain))``.

        Returns:
            Bytes written to out.

        Raises:
            LocalProtocolError: The body is empty or out is too small.
        """
        total = len(plain)
        if len(out) < sealed_bytes(total):
            raise LocalProtocolError(f"{len(out)} bytes of room to seal {total}")
        encrypt = self._aead.encrypt_into
        position = 0
        for start in range(0, total, limits.MAX_RECORD_BYTES):
            part = plain[start : start + limits.MAX_RECORD_BYTES]
            size = len(part) + limits.NOISE_TAG_BYTES
            _LENGTH.pack_into(out, position, size)
            position += LENGTH_BYTES
            encrypt(_NONCE.pack(nonce), part, None, out[position : position + size])
            position += size
            nonce += 1
        return position


class ReceiveCipher(_Cipher):
    """Opens what the peer sent. Thread-safe."""

    def open_into(self, nonce: int, sealed: memoryview, out: memoryview) -> int:
        """Turn all records of one body back into it.

        Releases the GIL while it decrypts; the two views must not overlap. After an error
        the bytes in out mean nothing.

        Args:
            nonce: First of the reserved ones, as many as there are records.
            sealed: Exactly the records of one body.
            out: Room for the body.

        Returns:
            Bytes written to out.

        Raises:
            RemoteProtocolError: Lengths that do not fit this body, or bytes that were not
                sealed with this key and nonce.
            LocalProtocolError: out is too small.
        """
        end = len(sealed)
        count = -(-end // FULL_RECORD_BYTES)
        if len(out) < end - count * RECORD_OVERHEAD:
            raise LocalProtocolError(f"{len(out)} bytes of room to open {end}")
        decrypt = self._aead.decrypt_into
        position = written = 0
        while position < end:
            size = min(end - position, FULL_RECORD_BYTES) - LENGTH_BYTES
            if size <= limits.NOISE_TAG_BYTES or _LENGTH.unpack_from(sealed, position)[0] != size:
                raise RemoteProtocolError("record of an unexpected length")
            position += LENGTH_BYTES
            plain = size - limits.NOISE_TAG_BYTES
            try:
                decrypt(
                    _NONCE.pack(nonce),
                    sealed[position : position + size],
                    None,
                    out[written : written + plain],
                )
            except InvalidTag:
                raise RemoteProtocolError("record does not authenticate") from None
            position += size
            written += plain
            nonce += 1
        if not written:
            raise RemoteProtocolError("record of an unexpected length")
        return written
