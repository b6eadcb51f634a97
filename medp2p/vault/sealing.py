"""Sealing of what the database holds: manifests, labels, source paths, file keys.

Two boxes. The spool key seals unfinished work, so that a workstation whose vault key is not at
hand still receives and resumes. The vault key's public half seals what stays; only the vault
key opens that.

Every blob is bound to a context, such as "manifest ID": a blob moved to another place in the
database does not open there. Contents are compressed; nobody but its owner chooses what is in
a blob beside what, so its length tells no more than the size of the manifest does.

Source: docs/VAULT.md, "Database".
"""

import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence

import pyrage
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medp2p import limits
from medp2p.errors import ConfigError, KeyFileError, SealBrokenError, StoreError, VaultLockedError

_SPOOL_VERSION = b"\x01"
_SALT_BYTES = 32
_VAULT_MAGIC = b"medp2p blob 1\n"
#: Level 1: 100,000 entries in 30 ms; higher levels gain little on paths and cost seconds.
_LEVEL = 1


class SpoolBox:
    """Seals blobs under the spool key.

    Each blob has a key of its own: HKDF over the spool key, a random 32-byte salt and the
    context; ChaCha20-Poly1305 then needs no nonce but zero. With one key and random 12-byte
    nonces, two blobs in 2^48 would share one; AES-GCM-SIV would do as well, but not every
    OpenSSL has it.

    Args:
        key: 32 bytes.
        random_bytes: Source of salts; the other box's library has its own source too.
    """

    def __init__(self, key: bytes, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        if len(key) != 32:
            raise KeyFileError("spool key has not 32 bytes")
        self._key = key
        self._random_bytes = random_bytes

    def seal(self, data: bytes, context: str) -> bytes:
        """Return the sealed blob; open needs the same context.

        Raises:
            StoreError: More than MAX_BLOB_BYTES.
        """
        salt = self._random_bytes(_SALT_BYTES)
        cipher = self._cipher(salt, context)
        return _SPOOL_VERSION + salt + cipher.encrypt(bytes(12), _compress(data), None)

    def open(self, blob: bytes, context: str) -> bytes:
        """Return the data of a blob.

        Raises:
            SealBrokenError: Damaged, of another key, or of another context.
        """
        return _decompress(self.open_packed(blob, context))

    def open_packed(self, blob: bytes, context: str) -> bytes:
        """Return the data of a blob as it lies there, compressed: for `VaultBox.seal_packed`.

        Raises:
            SealBrokenError: Damaged, of another key, or of another context.
        """
        start = len(_SPOOL_VERSION) + _SALT_BYTES
        if blob[:1] != _SPOOL_VERSION or len(blob) < start:
            raise SealBrokenError(f"sealed {context.split(' ')[0]} is damaged")
        cipher = self._cipher(blob[1:start], context)
        try:
            return cipher.decrypt(bytes(12), memoryview(blob)[start:], None)
        except InvalidTag as error:
            raise SealBrokenError(f"sealed {context.split(' ')[0]} does not open") from error

    def _cipher(self, salt: bytes, context: str) -> ChaCha20Poly1305:
        info = b"medp2p 1 spool\0" + context.encode()
        return ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, salt, info).derive(self._key))


class VaultBox:
    """Seals blobs for the vault key and whoever else may open the vault: small age files.

    Args:
        recipients: "age1..." texts, at least one.
        identity: "AGE-SECRET-KEY-1...", or None while the vault is locked.

    Raises:
        ConfigError: A recipient is malformed, or there is none.
        KeyFileError: The identity is malformed.
    """

    def __init__(self, recipients: Sequence[str], identity: str | None) -> None:
        try:
            self._recipients = [pyrage.x25519.Recipient.from_str(text) for text in recipients]
        except pyrage.RecipientError as error:
            raise ConfigError(f"age recipient: {error}") from error
        if not self._recipients:
            raise ConfigError("the vault needs a recipient")
        self._identity = None
        if identity is not None:
            try:
                self._identity = pyrage.x25519.Identity.from_str(identity)
            except pyrage.IdentityError:
                raise KeyFileError("vault key is not an age identity") from None

    @property
    def locked(self) -> bool:
        """Whether open would raise VaultLockedError."""
        return self._identity is None

    def seal(self, data: bytes, context: str) -> bytes:
        """Return the sealed blob, an age file; open needs the same context.

        Raises:
            StoreError: More than MAX_BLOB_BYTES.
        """
        return self.seal_packed(_compress(data), context)

    def seal_packed(self, packed: bytes, context: str) -> bytes:
        """Return the sealed blob of what a `SpoolBox` held: what moves is not inflated for that."""
        name = context.encode()
        plain = _VAULT_MAGIC + struct.pack(">H", len(name)) + name + packed
        # Of pyrage's calls only the _io ones let other threads run meanwhile.
        out = io.BytesIO()
        pyrage.encrypt_io(io.BytesIO(plain), out, self._recipients)
        return out.getvalue()

    def open(self, blob: bytes, context: str) -> bytes:
        """Return the data of a blob.

        Raises:
            VaultLockedError: The vault key is not at hand.
            SealBrokenError: Damaged, sealed for another key, or of another context.
        """
        if self._identity is None:
            raise VaultLockedError("the vault is locked")
        what = context.split(" ")[0]
        out = io.BytesIO()
        try:
            pyrage.decrypt_io(io.BytesIO(blob), out, [self._identity])
        except (pyrage.DecryptError, OSError) as error:
            raise SealBrokenError(f"sealed {what} does not open") from error
        name = context.encode()
        start = _VAULT_MAGIC + struct.pack(">H", len(name)) + name
        plain = out.getvalue()
        if not plain.startswith(start):
            raise SealBrokenError(f"sealed {what} belongs somewhere else")
        return _decompress(memoryview(plain)[len(start) :])


def _compress(data: bytes) -> bytes:
    if len(data) > limits.MAX_BLOB_BYTES:
        raise StoreError(f"{len(data)} bytes are too many for one sealed record")
    return zlib.compress(data, _LEVEL)


def _decompress(data: bytes | memoryview) -> bytes:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, limits.MAX_BLOB_BYTES)
    except zlib.error as error:
        raise SealBrokenError("sealed record does not inflate") from error
    if not inflater.eof or inflater.unused_data:
        raise SealBrokenError("sealed record has another length than it was given")
    return plain
