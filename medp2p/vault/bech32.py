"""Bech32 as age uses it for its keys: no limit on the length, otherwise BIP 173.

Source: BIP 173; age-encryption.org/v1, "The X25519 recipient type".
"""

from medp2p.bch import BECH32, CHECK_CHARS, check_values, is_right

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def encode(prefix: str, data: bytes) -> str:
    """Return the lower-case bech32 text of data under a lower-case human-readable prefix."""
    values = _regroup(data, 8, 5, pad=True)
    values += check_values(prefix, values, BECH32)
    return prefix + "1" + "".join(_ALPHABET[value] for value in values)


def decode(prefix: str, text: str) -> bytes:
    """Return the data of a bech32 text.

    Raises:
        ValueError: Mixed case, another prefix, a character or a check that is off. The text
            of the error never repeats the input: it may be a secret key.
    """
    if text not in (text.lower(), text.upper()):
        raise ValueError("upper and lower case mixed")
    found, mark, body = text.lower().rpartition("1")
    if not mark or found != prefix:
        raise ValueError(f"does not begin with {prefix}1")
    try:
        values = [_ALPHABET.index(character) for character in body]
    except ValueError:
        raise ValueError("a character that cannot be in a key") from None
    if not is_right(prefix, values, BECH32):
        raise ValueError("check failed, something is mistyped")
    return bytes(_regroup(values[:-CHECK_CHARS], 5, 8, pad=False))


def _regroup(data: bytes | list[int], have: int, want: int, *, pad: bool) -> list[int]:
    """Cut the bits of data, `have` bits an item, into items of `want` bits."""
    held = bits = 0
    out = []
    for item in data:
        held = held << have | item
        bits += have
        while bits >= want:
            bits -= want
            out.append(held >> bits & (1 << want) - 1)
        held &= (1 << bits) - 1
    if pad:
        if bits:
            out.append(held << (want - bits))
    elif bits >= have or held:
        raise ValueError("padding is not zero")
    return out
