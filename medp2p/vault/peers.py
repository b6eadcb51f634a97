"""Pinned peers: the only thing that proves who a peer is.

Addresses and settings are texts of our own or of a person at this workstation; ``told_*`` is
what the peer says of itself: shown, never trusted.
"""

import json
from dataclasses import dataclass, field, fields

from medp2p.errors import ConflictError, KeyAlarmError, UnknownPeerError
from medp2p.vault.store import Tx, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """A peer and its pin.

    Attributes:
        name: Local name, unique.
        noise_key: X25519 static public key, 32 bytes, unique; never changes.
        sign_key: Ed25519 public key, from its first authenticated session on; never changes.
        source: Where the pin came from: "code" or "hand".
        created_ms: When it was pinned; milliseconds since 1970 UTC, as all times here.
        verified_ms: When a person compared the key words, or when the code was used.
        verified_by: Account of that person.
        told_name: What the peer calls itself.
        told_department: Its department.
        told_place: Its place.
        software: Its software version.
        highest_version: Highest protocol version authenticated with it; never undercut.
        addresses: Fixed addresses, "host:port".
        settings: What `peers set` stored.
        last_run: Run id of its last daemon start seen.
        last_seen_ms: Last authenticated session.
    """

    name: str
    noise_key: bytes
    source: str
    created_ms: int
    sign_key: bytes | None = None
    verified_ms: int | None = None
    verified_by: str | None = None
    told_name: str = ""
    told_department: str = ""
    told_place: str = ""
    software: str = ""
    highest_version: int = 0
    addresses: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    last_run: bytes | None = None
    last_seen_ms: int | None = None


_COLUMNS = tuple(column.name for column in fields(PeerRow))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM peers"  # noqa: S608 - names from the dataclass
_FIXED = frozenset({"name", "noise_key", "created_ms"})


def add(tx: Tx, row: PeerRow) -> None:
    """Pin a peer.

    Raises:
        ConflictError: The name or the key is already pinned; the text says which and under
            which name.
    """
    taken = tx.execute("SELECT name FROM peers WHERE noise_key = ?", (row.noise_key,)).fetchone()
    if taken is not None:
        raise ConflictError(f"this key is already pinned as {taken[0]}")
    if tx.execute("SELECT 1 FROM peers WHERE name = ?", (row.name,)).fetchone():
        raise ConflictError(f"the name {row.name} belongs to another peer already")
    tx.insert("peers", {column: _encode(getattr(row, column)) for column in _COLUMNS})


def get(tx: Tx, name: str) -> PeerRow:
    """Return a peer by its local name.

    Raises:
        UnknownPeerError: None has this name.
    """
    row = tx.execute(f"{_SELECT} WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise _unknown(name)
    return _decode(row)


def by_key(tx: Tx, key: bytes) -> PeerRow | None:
    """Return the peer that is pinned with this X25519 key, or None."""
    row = tx.execute(f"{_SELECT} WHERE noise_key = ?", (key,)).fetchone()
    return None if row is None else _decode(row)


def all(tx: Tx) -> list[PeerRow]:
    """Return all peers by name."""
    return [_decode(row) for row in tx.execute(f"{_SELECT} ORDER BY name")]


def update(tx: Tx, name: str, **changes: object) -> PeerRow:
    """Change fields of a peer; return it as it is then.

    ``highest_version`` never goes down: a lower one is ignored.

    Raises:
        UnknownPeerError: None has this name.
        KeyAlarmError: Another signing key than the pinned one.
        TypeError: No such field, or one that never changes (a bug).
    """
    row = get(tx, name)
    wrong = changes.keys() - set(_COLUMNS) | changes.keys() & _FIXED
    if wrong:
        raise TypeError(f"not a field of a peer that changes: {', '.join(sorted(wrong))}")
    if row.sign_key is not None and changes.get("sign_key", row.sign_key) != row.sign_key:
        raise KeyAlarmError(f"{name} shows another signing key than the pinned one")
    version = changes.get("highest_version")
    if isinstance(version, int):
        changes["highest_version"] = max(version, row.highest_version)
    if changes:
        tx.update("peers", "name", name, {key: _encode(value) for key, value in changes.items()})
    return get(tx, name)


def remove(tx: Tx, name: str) -> None:
    """Forget a pin. Its transfers and facts stay, under its key.

    Raises:
        UnknownPeerError: None has this name.
    """
    if tx.execute("DELETE FROM peers WHERE name = ?", (name,)).rowcount == 0:
        raise _unknown(name)


def _unknown(name: str) -> UnknownPeerError:
    return UnknownPeerError(f"no peer is called {name or repr(name)}")


def _encode(value: object) -> Value:
    if isinstance(value, tuple | dict):
        return json.dumps(value, sort_keys=True)
    if value is None or isinstance(value, str | bytes | int):
        return value
    raise TypeError(f"a peer has no field of type {type(value).__name__}")


def _decode(row: tuple[object, ...]) -> PeerRow:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["addresses"] = tuple(json.loads(str(values["addresses"])))
    values["settings"] = json.loads(str(values["settings"]))
    return PeerRow(**values)  # type: ignore[arg-type] # the columns are the fields, in order
