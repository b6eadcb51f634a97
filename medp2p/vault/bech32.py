"""Bech32 as age uses it for its keys: no limit on the length, otherwise BIP 173.

Source: BIP 173; age-encryption.org/v1, "The X25519 recipient type".
"""

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECK_CHARS = 6


def encode(prefix: str, data: bytes) -> str:
    """Return the lower-case bech32 text of data under a lower-case human-readable prefix."""
    values = _regroup(data, 8, 5, pad=True)
    check = _polymod(_spread(prefix) + values + [0] * _CHECK_CHARS) ^ 1
    values += [check >> 5 * (_CHECK_CHARS - 1 - i) & 31 for i in range(_CHECK_CHARS)]
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
    if len(values) < _CHECK_CHARS or _polymod(_spread(prefix) + values) != 1:
        raise ValueError("check failed, something is mistyped")
    return bytes(_regroup(values[:-_CHECK_CHARS], 5, 8, pad=False))


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate(_GENERATOR):
            if top >> i & 1:
                check ^= generator
    return check


def _spread(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


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
