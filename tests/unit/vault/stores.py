"""Rows and ids for the tests of the database."""

import base64
from typing import Any

from medp2p.model import Direction, Priority, State
from medp2p.vault.peers import PeerRow
from medp2p.vault.transfers import TransferRow

NOW_MS = 1_790_000_000_000


def transfer_id(number: int) -> str:
    """Return a transfer id that differs from the first character on."""
    raw = number.to_bytes(2, "little") + number.to_bytes(14, "big")
    return base64.b32encode(raw).decode().rstrip("=").lower()


def key(number: int) -> bytes:
    """Return the public key of a peer."""
    return number.to_bytes(32, "big")


def digest(number: int) -> bytes:
    """Return the digest of a chunk."""
    return number.to_bytes(4, "big") * 8


def transfer(number: int = 1, **changes: Any) -> TransferRow:
    """Return an incoming transfer of peer 1, offered."""
    values: dict[str, Any] = {
        "id": transfer_id(number),
        "direction": Direction.IN,
        "peer_key": key(1),
        "peer_name": "ward-a",
        "state": State.OFFERED,
        "priority": Priority.ROUTINE,
        "entries": 3,
        "files": 2,
        "file_bytes": 1000,
        "length": 10240,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    return TransferRow(**{**values, **changes})


def peer(number: int = 1, **changes: Any) -> PeerRow:
    """Return a peer pinned by code."""
    values: dict[str, Any] = {
        "name": f"ward-{number}",
        "noise_key": key(number),
        "source": "code",
        "created_ms": NOW_MS,
    }
    return PeerRow(**{**values, **changes})
