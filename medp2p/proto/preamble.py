"""The preamble: what the initiator says in clear before the handshake.

It enters the Noise prologue, so a changed one makes the handshake fail. The responder's own
version range is the payload of its first handshake message, authenticated like all else.
Its layout never changes, whatever the version: it must be readable for ever.

Source: docs/PROTOCOL.md, "Preamble" and "Versions and features".
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from medp2p.errors import LocalProtocolError, RemoteProtocolError, VersionError

#: The line end inside tells a transfer that mangles line ends, as PNG's does.
MAGIC: Final = b"MEDP2P\r\n"
PREAMBLE_BYTES: Final = len(MAGIC) + 3
VERSION_RANGE_BYTES: Final = 2


class Purpose(IntEnum):
    """Which handshake follows. The numbers are on the wire."""

    SESSION = 1
    PAIRING = 2


@dataclass(frozen=True, slots=True)
class Preamble:
    """What the initiator wants and which versions it speaks.

    Attributes:
        purpose: Session or pairing.
        lowest: Lowest protocol version spoken, 1 to 255.
        highest: Highest one, at least lowest.

    Raises:
        LocalProtocolError: The versions are no range.
    """

    purpose: Purpose
    lowest: int
    highest: int

    def __post_init__(self) -> None:
        if not 1 <= self.lowest <= self.highest <= 255:
            raise LocalProtocolError(f"versions {self.lowest} to {self.highest}")

    def encode(self) -> bytes:
        """Return the PREAMBLE_BYTES of it; they are the prologue of the handshake, too."""
        return MAGIC + bytes((self.purpose, self.lowest, self.highest))


def decode_preamble_untrusted(data: bytes) -> Preamble:
    """Return the preamble in exactly PREAMBLE_BYTES.

    Raises:
        RemoteProtocolError: Another protocol, an unknown purpose, or no version range.
    """
    if len(data) != PREAMBLE_BYTES or data[: len(MAGIC)] != MAGIC:
        raise RemoteProtocolError("not a medp2p connection")
    purpose, versions = data[len(MAGIC)], data[len(MAGIC) + 1 :]
    lowest, highest = decode_versions_untrusted(versions)
    try:
        return Preamble(Purpose(purpose), lowest, highest)
    except ValueError:
        raise RemoteProtocolError(f"unknown purpose {purpose}") from None


def encode_versions(lowest: int, highest: int) -> bytes:
    """Return the responder's version range, the payload of its first handshake message."""
    return bytes((lowest, highest))


def decode_versions_untrusted(data: bytes) -> tuple[int, int]:
    """Return (lowest, highest) of a version range.

    Raises:
        RemoteProtocolError: Not two bytes, or no range.
    """
    if len(data) != VERSION_RANGE_BYTES or not 1 <= data[0] <= data[1]:
        raise RemoteProtocolError("not a range of protocol versions")
    return data[0], data[1]


def common_version(mine: tuple[int, int], theirs: tuple[int, int]) -> int:
    """Return the highest version that both (lowest, highest) ranges hold.

    Raises:
        VersionError: There is none; the text says which side is too old.
    """
    highest = min(mine[1], theirs[1])
    if highest >= max(mine[0], theirs[0]):
        return highest
    ranges = f"this workstation speaks {_spoken(mine)}, the other one {_spoken(theirs)}"
    if mine[1] < theirs[0]:
        raise VersionError(
            f"no protocol version in common: {ranges}", hint="update medp2p on this workstation"
        )
    raise VersionError(
        f"no protocol version in common: {ranges}", hint="update medp2p on the other workstation"
    )


def _spoken(versions: tuple[int, int]) -> str:
    lowest, highest = versions
    return f"version {lowest}" if lowest == highest else f"versions {lowest} to {highest}"
