"""The header of an age file: who can open it, and the file key inside.

Only the X25519 recipient type is written and opened here, because only it is needed at rest;
stanzas of other types are read over. Everything is checked as strictly as `age` itself does.

Source: age-encryption.org/v1 (C2SP, "age.md"), sections "Header" and "Payload".
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from medp2p import limits
from medp2p.errors import ConfigError, KeyFileError, SealBrokenError, VaultLockedError
from medp2p.vault import bech32

FILE_KEY_BYTES = 16
NONCE_BYTES = 16
TAG_BYTES = 16
_VERSION = b"age-encryption.org/v1"
_COLUMNS = 64  # a stanza's body is wrapped there
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Stanza:
    """One recipient of a header: its type and arguments, and the wrapped file key."""

    arguments: tuple[bytes, ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header.

    Attributes:
        size: Bytes of the header; the payload's nonce follows.
        stanzas: One per recipient.
        signed: The bytes that the MAC covers.
        mac: The MAC.
    """

    size: int
    stanzas: tuple[Stanza, ...]
    signed: bytes
    mac: bytes


def new_file_key(random_bytes: Callable[[int], bytes]) -> bytes:
    """Return a fresh file key, 16 bytes: one per file, never used for a second one."""
    return random_bytes(FILE_KEY_BYTES)


def payload_key(file_key: bytes, nonce: bytes) -> bytes:
    """Return the 32-byte key of the payload that the 16-byte nonce is in front of."""
    return _hkdf(file_key, nonce, b"payload")


def header_bytes(recipients: int) -> int:
    """Return the size of a header for so many X25519 recipients."""
    stanza = len("-> X25519 ") + 43 + 1 + 43 + 1
    return len(_VERSION) + 1 + recipients * stanza + len("--- ") + 43 + 1


def recipient_of(identity: str) -> str:
    """Return the public "age1..." of a secret "AGE-SECRET-KEY-1...".

    Raises:
        KeyFileError: Not an age X25519 identity; the text does not repeat it.
    """
    secret = X25519PrivateKey.from_private_bytes(_identity_bytes(identity))
    return bech32.encode("age", secret.public_key().public_bytes_raw())


def identity_from_bytes(secret: bytes) -> str:
    """Return the "AGE-SECRET-KEY-1..." text of 32 secret bytes."""
    return bech32.encode("age-secret-key-", secret).upper()


def check_recipient(text: str) -> None:
    """Refuse what is no "age1..." recipient.

    Raises:
        ConfigError: Says what is wrong with it.
    """
    _recipient_bytes(text)


def header_for(
    file_key: bytes, recipients: Sequence[str], random_bytes: Callable[[int], bytes]
) -> bytes:
    """Return the header that lets each recipient open a file.

    Args:
        file_key: 16 bytes.
        recipients: "age1..." texts, at least one.
        random_bytes: Source of the ephemeral keys.

    Raises:
        ConfigError: A recipient is malformed, or there is none, or there are too many.
    """
    if not recipients:
        raise ConfigError("an age file needs a recipient")
    if header_bytes(len(recipients)) > limits.MAX_AGE_HEADER_BYTES:
        raise ConfigError(f"{len(recipients)} recipients are too many for one age file")
    signed = _VERSION + b"\n"
    for recipient in recipients:
        signed += _wrap(file_key, _recipient_bytes(recipient), random_bytes)
    signed += b"---"
    return signed + b" " + _encode64(_mac(file_key, signed)) + b"\n"


def parse_header(data: bytes) -> Header:
    """Parse the header at the beginning of a file.

    Args:
        data: The first bytes of the file; MAX_AGE_HEADER_BYTES of them are always enough.

    Raises:
        SealBrokenError: Not the header of an age file, or a longer one than medp2p writes.
    """
    lines = data[: limits.MAX_AGE_HEADER_BYTES].split(b"\n")[:-1]  # the rest has no end
    if not lines or lines[0] != _VERSION:
        raise SealBrokenError("not an age file")
    stanzas: list[Stanza] = []
    at, size = 1, len(lines[0]) + 1
    while at < len(lines):
        line = lines[at]
        if line.startswith(b"--- "):
            mac = _decode64(line[4:])
            if len(mac) != _MAC_BYTES:
                break
            return Header(size + len(line) + 1, tuple(stanzas), data[: size + 3], mac)
        end = at + 1
        while end < len(lines) and len(lines[end]) == _COLUMNS:
            end += 1
        if not line.startswith(b"-> ") or end >= len(lines) or len(lines[end]) > _COLUMNS:
            break
        arguments = tuple(line[3:].split(b" "))
        stanzas.append(Stanza(arguments, _decode64(b"".join(lines[at + 1 : end + 1]))))
        size += sum(len(text) + 1 for text in lines[at : end + 1])
        at = end + 1
    raise SealBrokenError("damaged age header")


def open_header(header: Header, identity: str) -> bytes:
    """Return the file key of a header.

    Raises:
        KeyFileError: Not an age identity.
        SealBrokenError: The header is not authentic.
        VaultLockedError: None of the recipients is this identity.
    """
    secret = X25519PrivateKey.from_private_bytes(_identity_bytes(identity))
    for stanza in header.stanzas:
        file_key = _unwrap(stanza, secret)
        if file_key is not None:
            check_header(header, file_key)
            return file_key
    raise VaultLockedError("sealed for another vault key than this one")


def check_header(header: Header, file_key: bytes) -> None:
    """Prove that a header was made with this file key.

    Raises:
        SealBrokenError: It was not, or it was changed.
    """
    if len(file_key) != FILE_KEY_BYTES or not hmac.compare_digest(
        header.mac, _mac(file_key, header.signed)
    ):
        raise SealBrokenError("age header does not authenticate")


def _wrap(file_key: bytes, recipient: bytes, random_bytes: Callable[[int], bytes]) -> bytes:
    ephemeral = X25519PrivateKey.from_private_bytes(random_bytes(32))
    share = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError as error:
        raise ConfigError("age recipient is a weak key") from error
    key = _hkdf(shared, share + recipient, _VERSION + b"/X25519")
    body = ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None)
    return b"-> X25519 " + _encode64(share) + b"\n" + _encode64(body) + b"\n"


def _unwrap(stanza: Stanza, secret: X25519PrivateKey) -> bytes | None:
    if stanza.arguments[0] != b"X25519":
        return None
    if len(stanza.arguments) != 2 or len(stanza.body) != FILE_KEY_BYTES + TAG_BYTES:
        raise SealBrokenError("damaged X25519 stanza in an age header")
    share = _decode64(stanza.arguments[1])
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:
        raise SealBrokenError("damaged X25519 stanza in an age header") from error
    salt = share + secret.public_key().public_bytes_raw()
    key = _hkdf(shared, salt, _VERSION + b"/X25519")
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), stanza.body, None)
    except InvalidTag:
        return None  # somebody else's stanza


def _mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.digest(_hkdf(file_key, None, b"header"), signed, "sha256")


def _hkdf(secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


def _recipient_bytes(text: str) -> bytes:
    try:
        raw = bech32.decode("age", text)
    except ValueError as error:
        raise ConfigError(f"age recipient: {error}") from error
    if len(raw) != 32:
        raise ConfigError("age recipient: wrong length")
    return raw


def _identity_bytes(text: str) -> bytes:
    try:
        raw = bech32.decode("age-secret-key-", text)
    except ValueError as error:
        raise KeyFileError(f"age identity: {error}") from None
    if len(raw) != 32:
        raise KeyFileError("age identity: wrong length")
    return raw


def _encode64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def _decode64(text: bytes) -> bytes:
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise SealBrokenError("damaged age header") from error
    if b"=" in text or _encode64(data) != text:
        raise SealBrokenError("damaged age header")
    return data
