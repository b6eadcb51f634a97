"""How a workstation is named: peer ID, fingerprint, key words, pairing codes, peer names.

The peer ID is the whole X25519 public key with check characters, made to be copied by people; key
words are what two people compare on the phone; a pairing code is typed once. The word list is
fixed for good: words.txt, 1,024 words that are told apart by their first four letters.

Source: docs/PROTOCOL.md, "Identity" and "Pairing"; BIP 350 for the check characters.
"""

import re
import unicodedata
from collections.abc import Callable, Container
from functools import cache
from importlib.resources import files

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from medp2p.bch import BECH32M, CHECK_CHARS, check_values, is_right
from medp2p.errors import UsageError

KEY_BYTES = 32
FINGERPRINT_BYTES = 16
WORD_COUNT = 1024
KEY_WORD_COUNT = 6
CODE_WORD_COUNT = 2
MAX_CODE_NUMBER = 9999
MAX_NAME_CHARS = 63

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # RFC 4648, section 6
_VALUES = {char: value for value, char in enumerate(_ALPHABET)}
_GROUP_CHARS = 6
_PAYLOAD_CHARS = 54
_ID_CHARS = _PAYLOAD_CHARS + CHECK_CHARS
_ID_VERSION = 1
_PREFIX = "medp2p"

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}")
_CODE = re.compile(r"([0-9]{1,4})-([a-z]+-[a-z]+)")


# --- peer ID ------------------------------------------------------------------------------


def encode_peer_id(public: bytes) -> str:
    """Return the peer ID of a 32-byte X25519 public key: ten groups of six, "AEB4QR-...".

    The payload is a version byte (1), the key and zero bits up to 54 base32 characters; six check
    characters follow.
    """
    if len(public) != KEY_BYTES:
        raise ValueError(f"an X25519 key has {KEY_BYTES} bytes, not {len(public)}")
    bits = int.from_bytes(bytes([_ID_VERSION]) + public, "big") << _pad_bits()
    payload = [bits >> 5 * place & 31 for place in reversed(range(_PAYLOAD_CHARS))]
    values = payload + check_values(_PREFIX, payload, BECH32M)
    text = "".join(_ALPHABET[value] for value in values)
    return "-".join(text[at : at + _GROUP_CHARS] for at in range(0, _ID_CHARS, _GROUP_CHARS))


def decode_peer_id(text: str) -> bytes:
    """Return the public key of a peer ID; case, blanks and dashes do not matter.

    Raises:
        UsageError: Wrong length or character, a check that fails, a version or a key that no
            workstation has. The text says which.
    """
    chars = re.sub(r"[\s-]", "", text).upper()
    for char in chars:
        if char not in _VALUES:
            raise UsageError(
                f"a peer ID has only the letters A-Z and the digits 2-7, not {char!a}",
                hint="the letter O and the digit 0 are easily mixed up, as are I and 1, B and 8",
            )
    if len(chars) != _ID_CHARS:
        raise UsageError(f"a peer ID has {_ID_CHARS} characters, this one has {len(chars)}")
    values = [_VALUES[char] for char in chars]
    if not is_right(_PREFIX, values, BECH32M):
        raise UsageError(
            "the check characters of the peer ID do not fit:"
            " one character is wrong or two are swapped",
            hint="compare it with what `medp2p id` shows on the other workstation",
        )
    bits = 0
    for value in values[:_PAYLOAD_CHARS]:
        bits = bits << 5 | value
    raw = (bits >> _pad_bits()).to_bytes(_PAYLOAD_CHARS * 5 // 8, "big")
    if raw[0] != _ID_VERSION or bits & ((1 << _pad_bits()) - 1):
        raise UsageError("this peer ID was made by a newer medp2p: update this machine")
    check_public_key(raw[1:])
    return raw[1:]


def check_public_key(public: bytes) -> None:
    """Refuse keys with which every shared secret is zero (RFC 7748, section 6.1).

    Raises:
        UsageError: The key is all zero, or another point of low order.
    """
    # Any private key will do: times a multiple of 8, a point of low order is zero.
    probe = X25519PrivateKey.from_private_bytes(bytes([1]) * KEY_BYTES)
    try:
        probe.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise UsageError("that is not the key of a workstation: it keeps no secret") from error


def _pad_bits() -> int:
    return _PAYLOAD_CHARS * 5 - (1 + KEY_BYTES) * 8


# --- what people compare ------------------------------------------------------------------


def fingerprint(public: bytes) -> bytes:
    """Return the 16-byte fingerprint of a public key: the service name on mDNS."""
    return blake3(public, derive_key_context="medp2p 1 fingerprint").digest(FINGERPRINT_BYTES)


def fingerprint_text(public: bytes) -> str:
    """Return the fingerprint as 26 lower-case base32 characters."""
    bits = int.from_bytes(fingerprint(public), "big") << 2  # 128 bits fill 26 * 5 but for two
    return "".join(_ALPHABET[bits >> 5 * place & 31] for place in reversed(range(26))).lower()


def key_words(public: bytes) -> str:
    """Return six words, 60 bits, for comparing a key by voice: "amber cabin ..."."""
    digest = blake3(public, derive_key_context="medp2p 1 key words").digest(8)
    return " ".join(_pick_words(digest, KEY_WORD_COUNT))


@cache
def words() -> tuple[str, ...]:
    """Return the word list, 1,024 words in a fixed order."""
    return tuple(files("medp2p").joinpath("words.txt").read_text(encoding="ascii").split())


def _pick_words(random: bytes, count: int) -> list[str]:
    """Return words for the first bits of some bytes, 10 bits each."""
    bits = int.from_bytes(random, "big") >> (len(random) * 8 - 10 * count)
    return [words()[bits >> 10 * place & 1023] for place in reversed(range(count))]


# --- pairing codes ------------------------------------------------------------------------


def new_code(random_bytes: Callable[[int], bytes]) -> str:
    """Return a fresh pairing code NUMBER-word-word: a public number, 20 secret bits."""
    number = int.from_bytes(random_bytes(8), "big") % MAX_CODE_NUMBER + 1
    return "-".join([str(number), *_pick_words(random_bytes(3), CODE_WORD_COUNT)])


def parse_code(text: str) -> tuple[int, str]:
    """Return number and words ("word-word") of a typed code; case and blanks do not matter.

    Raises:
        UsageError: Not a code, or with a word that no code has: such a typing error must not
            cost the one guess.
    """
    match = _CODE.fullmatch(re.sub(r"[\s_-]+", "-", text.strip().lower()))
    if match is None or not 1 <= int(match[1]) <= MAX_CODE_NUMBER:
        raise UsageError("a pairing code looks like 42-amber-cabin: a number and two words")
    for word in match[2].split("-"):
        if word not in words():
            raise UsageError(
                f"no pairing code has the word {word[:20]!r}",
                hint="read the code once more on the other workstation",
            )
    return int(match[1]), match[2]


# --- peer names ---------------------------------------------------------------------------


def check_peer_name(text: str) -> str:
    """Return a peer name as it is, if it is one.

    Raises:
        UsageError: Not 1 to 63 of a-z, 0-9, ".", "_", "-", starting with a letter.
    """
    if _NAME.fullmatch(text) is None:
        raise UsageError(
            "a peer name has 1 to 63 of the characters a-z 0-9 . _ - and starts with a letter"
        )
    return text


def derive_peer_name(told: str, taken: Container[str]) -> str:
    """Return a free peer name made from what a workstation calls itself: "ward-a", "ward-a-2".

    Accents are dropped, other characters become "-"; a name of which nothing is left is "peer".
    """
    plain = unicodedata.normalize("NFKD", told).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9._]+", "-", plain).lstrip("0123456789._-")[:MAX_NAME_CHARS]
    base = base.rstrip("._-") or "peer"
    name, number = base, 1
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = base[: MAX_NAME_CHARS - len(suffix)] + suffix
    return name
