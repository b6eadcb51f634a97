"""The four key files of a workstation: made once, read at every start, never replaced.

`noise.key`, `sign.key` and `spool.key` hold one line, "medp2p-KIND-key-1 BASE64 CHECK": 32
secret bytes and 4 bytes of a hash over kind and key, so that damage and a file put in the place
of another are told apart from a good one. `vault.key` is a standard age identity file.

Source: docs/VAULT.md, "Files".
"""

import base64
import binascii
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from medp2p import limits
from medp2p.errors import KeyFileError
from medp2p.vault.age_header import identity_from_bytes, recipient_of
from medp2p.vault.durable import Files, disk_errors

KINDS = ("noise", "sign", "spool")
VAULT_FILE = "vault.key"
#: Every file that create_keys makes.
KEY_FILES = (*(f"{kind}.key" for kind in KINDS), VAULT_FILE)
_KEY_BYTES = 32
_HINT = "restore it from a backup of this workstation; it is never made anew silently"
_USES = {
    "noise": "proves to peers who this workstation is",
    "sign": "signs receipts and other facts",
    "spool": "opens unfinished work only",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a workstation; secrets stay out of its repr.

    Attributes:
        noise_private: X25519, 32 bytes; noise_public is what the peer ID shows.
        sign_private: Ed25519 seed, 32 bytes.
        spool: 32 bytes for SpoolBox.
        vault_identity: "AGE-SECRET-KEY-1...".
        vault_recipient: "age1...".
    """

    noise_private: bytes = field(repr=False)
    noise_public: bytes
    sign_private: bytes = field(repr=False)
    sign_public: bytes
    spool: bytes = field(repr=False)
    vault_identity: str = field(repr=False)
    vault_recipient: str


def create_keys(
    keys_dir: Path, files: Files, random_bytes: Callable[[int], bytes], now_ms: int
) -> None:
    """Make all four key files, 0600 in a folder of 0700 whatever the umask, durably.

    Args:
        keys_dir: Made if missing; may exist without key files.
        files: Where durable steps go through.
        random_bytes: Source of all four keys.
        now_ms: For the comment lines.

    Raises:
        KeyFileError: A key file exists already (nothing is touched then), or cannot be written.
        NoSpaceError: The disk is full.
    """
    with disk_errors(KeyFileError, f"{keys_dir}: keys cannot be made"):
        for name in KEY_FILES:
            if os.path.lexists(keys_dir / name):
                raise KeyFileError(
                    f"{keys_dir / name} exists already; a key is never replaced",
                    hint="choose another home, or move the old one away",
                )
        if keys_dir.is_symlink():
            raise KeyFileError(f"{keys_dir} is a link; keys lie in a folder of their own")
        if keys_dir.exists():
            keys_dir.chmod(0o700)
        else:
            files.mkdir(keys_dir, 0o700)
        made = datetime.fromtimestamp(now_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for kind in KINDS:
            text = f"# medp2p, {made}: {_USES[kind]}. Secret.\n"
            text += encode_key(kind, random_bytes(_KEY_BYTES)) + "\n"
            _write(files, keys_dir / f"{kind}.key", text)
        identity = identity_from_bytes(random_bytes(_KEY_BYTES))
        text = f"# created: {made}\n# public key: {recipient_of(identity)}\n{identity}\n"
        _write(files, keys_dir / VAULT_FILE, text)
        files.fsync_folder(keys_dir)
        files.fsync_folder(keys_dir.parent)


def load_keys(keys_dir: Path) -> Keys:
    """Read and check all four key files.

    Raises:
        KeyFileError: Names the file and what is the matter: missing, damaged, another kind of
            key, a link, owned by somebody else, or open to others.
    """
    noise, sign, spool = (_load_key(keys_dir / f"{kind}.key", kind) for kind in KINDS)
    identity = _load_identity(keys_dir / VAULT_FILE)
    return Keys(
        noise_private=noise,
        noise_public=X25519PrivateKey.from_private_bytes(noise).public_key().public_bytes_raw(),
        sign_private=sign,
        sign_public=Ed25519PrivateKey.from_private_bytes(sign).public_key().public_bytes_raw(),
        spool=spool,
        vault_identity=identity,
        vault_recipient=recipient_of(identity),
    )


def encode_key(kind: str, key: bytes) -> str:
    """Return the line of a key file."""
    return f"medp2p-{kind}-key-1 {base64.b64encode(key).decode()} {_check(kind, key)}"


def decode_key(kind: str, text: str) -> bytes:
    """Return the key in a key file's text; comment lines and blanks around are ignored.

    Raises:
        KeyFileError: Says what is the matter, but not with which file.
    """
    line = _only_line(text)
    words = line.split()
    if len(words) != 3 or not (words[0].startswith("medp2p-") and "-key-" in words[0]):
        other = "an age identity, not" if line.startswith("AGE-SECRET-KEY-") else "not"
        raise KeyFileError(f"damaged: {other} a medp2p key")
    if words[0] != f"medp2p-{kind}-key-1":
        raise KeyFileError(f"holds another kind of key ({words[0]}) than medp2p-{kind}-key-1")
    try:
        key = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        raise KeyFileError("damaged: its key is not base64") from None
    if len(key) != _KEY_BYTES or words[2] != _check(kind, key):
        raise KeyFileError("damaged: its check does not fit its key")
    return key


def _check(kind: str, key: bytes) -> str:
    return blake3(f"medp2p 1 key file {kind}\0".encode() + key).hexdigest(4)


def _only_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) != 1:
        raise KeyFileError(f"damaged: {len(lines)} keys where one belongs")
    return lines[0]


def _load_key(path: Path, kind: str) -> bytes:
    text = _read(path)
    try:
        return decode_key(kind, text)
    except KeyFileError as error:
        raise KeyFileError(f"{path} is wrong, {error.text}", hint=_HINT) from None


def _load_identity(path: Path) -> str:
    text = _read(path)
    try:
        identity = _only_line(text)
        if identity.startswith("medp2p-"):
            raise KeyFileError(f"holds another kind of key ({identity.split()[0]})")
        recipient_of(identity)
    except KeyFileError as error:
        raise KeyFileError(f"{path} is wrong, {error.text}", hint=_HINT) from None
    return identity


def _read(path: Path) -> str:
    try:
        descriptor = Files().open_existing(path)
    except OSError as error:
        raise KeyFileError(f"{path} {_why_not(error)}", hint=_HINT) from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid():
            raise KeyFileError(
                f"{path} belongs to user {found.st_uid}, not to the one who runs medp2p",
                hint="run medp2p as the owner of its home",
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileError(
                f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o})",
                hint=f"chmod 600 {path}, and think about who may have read it",
            )
        data = os.read(descriptor, limits.MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    finally:
        os.close(descriptor)
    if len(data) > limits.MAX_KEY_FILE_BYTES or not data.isascii():
        raise KeyFileError(f"{path} is wrong, damaged: not a key file", hint=_HINT)
    return data.decode("ascii")


def _why_not(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "is missing"
    if error.errno == errno.ELOOP:
        return "is a link; keys are read from regular files only"
    if error.errno == errno.EINVAL:
        return "is not a regular file"
    return f"cannot be read: {error.strerror}"


def _write(files: Files, path: Path, text: str) -> None:
    descriptor = files.create(path, 0o600, step="keys")
    try:
        files.pwrite_all(descriptor, text.encode(), 0, step="keys")
        files.fdatasync(descriptor)
    finally:
        os.close(descriptor)
