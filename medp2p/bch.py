"""The BCH code behind the check characters of peer IDs and of age's keys.

It finds up to four wrong characters, so every wrong one and every swapped pair.

Source: BIP 173, "Checksum"; BIP 350, "Bech32m".
"""

from collections.abc import Iterable, Sequence

CHECK_CHARS = 6
#: What is left of a right text.
BECH32, BECH32M = 1, 0x2BC830A3
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def check_values(prefix: str, values: Sequence[int], constant: int) -> list[int]:
    """Return the CHECK_CHARS values of 5 bits that belong behind some others."""
    check = _residue(prefix, [*values, *[0] * CHECK_CHARS]) ^ constant
    return [check >> 5 * place & 31 for place in reversed(range(CHECK_CHARS))]


def is_right(prefix: str, values: Sequence[int], constant: int) -> bool:
    """Return whether values end with those that belong there."""
    return len(values) >= CHECK_CHARS and _residue(prefix, values) == constant


def _residue(prefix: str, values: Iterable[int]) -> int:
    spread = (*(ord(char) >> 5 for char in prefix), 0, *(ord(char) & 31 for char in prefix))
    check = 1
    for value in (*spread, *values):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, part in enumerate(_GENERATOR):
            if top >> place & 1:
                check ^= part
    return check
