"""Facts: a numbered queue per peer, repeated until acknowledged, applied once.

Facts are kept for good, ours and theirs, with their signatures: a receipt is one of them.

Source: docs/PROTOCOL.md, "Facts".
"""

from dataclasses import dataclass, fields

from medp2p.errors import ConflictError
from medp2p.limits import MAX_FACTS
from medp2p.model import Direction
from medp2p.vault import meta
from medp2p.vault.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRow:
    """A signed statement about a transfer.

    Attributes:
        peer_key: X25519 key of the other side.
        direction: "out": ours, for the peer; "in": the peer's.
        number: From 1, per peer and direction.
        transfer: Id of the transfer; "" for a fact of which only number and signature are kept.
        kind: "sealed", "opened", "released", ...
        time_ms: When it became so, by the clock of the side that says it.
        statement: The signed bytes, sealed by the caller (a reason may name a patient).
        signature: Ed25519, 64 bytes.
        acked: The peer has applied it and all before it; always true of "in".
    """

    peer_key: bytes
    direction: str
    number: int
    transfer: str
    kind: str
    time_ms: int
    statement: bytes
    signature: bytes
    acked: bool = False


_COLUMNS = tuple(column.name for column in fields(FactRow))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM facts"  # noqa: S608 - names from the dataclass


def next_number(tx: Tx, peer_key: bytes) -> int:
    """Return the number of the next fact for this peer; it must be part of what is signed."""
    floor = int(meta.get(tx, _floor_key(peer_key)) or 0)
    return max(_last(tx, peer_key, Direction.OUT), floor) + 1


def raise_floor(tx: Tx, peer_key: bytes, number: int) -> bool:
    """Never again use a number up to ``number``: the peer says that it has applied them.

    Returns:
        True when we have no such number: this home was put back to an older state.
    """
    if number < next_number(tx, peer_key):
        return False
    meta.put(tx, _floor_key(peer_key), str(number))
    return True


def replace_statement(tx: Tx, row: FactRow, statement: bytes) -> None:
    """Keep the statement of a fact of ours sealed in another way."""
    tx.execute(
        "UPDATE facts SET statement = ? WHERE peer_key = ? AND direction = 'out' AND number = ?",
        (statement, row.peer_key, row.number),
    )


def add_out(tx: Tx, row: FactRow) -> None:
    """Queue a fact of ours for its peer, in the transaction that took its number.

    Raises:
        ConflictError: The number is not the next one.
    """
    expected = next_number(tx, row.peer_key)
    if row.number != expected:
        raise ConflictError(f"fact number {row.number} for a peer whose next one is {expected}")
    _insert(tx, row, Direction.OUT, acked=False)


def pending(tx: Tx, peer_key: bytes, limit: int = MAX_FACTS) -> list[FactRow]:
    """Return the oldest facts that this peer has not acknowledged, ascending."""
    rows = tx.execute(
        f"{_SELECT} WHERE peer_key = ? AND direction = 'out' AND acked = 0 ORDER BY number LIMIT ?",
        (peer_key, limit),
    )
    return [_decode(row) for row in rows]


def acknowledge(tx: Tx, peer_key: bytes, number: int) -> int:
    """Mark our facts up to ``number`` as applied by the peer; return how many were not yet.

    A number above our last one acknowledges what there is, nothing more.
    """
    return tx.execute(
        "UPDATE facts SET acked = 1 WHERE peer_key = ? AND direction = 'out' AND acked = 0"
        " AND number <= ?",
        (peer_key, number),
    ).rowcount


def add_in(tx: Tx, row: FactRow) -> bool:
    """Keep a fact of the peer, in the transaction that applies it.

    A gap before it is let pass, and filled when an older one is told again: a workstation
    whose backup was put back has lost facts that its peer no longer holds ready.

    Returns:
        False when the fact of this number was applied already: do not apply it again.

    Raises:
        ConflictError: That number was used for another statement: the peer was set back to
            an older state, or is cloned.
    """
    known = tx.execute(
        "SELECT signature FROM facts WHERE peer_key = ? AND direction = 'in' AND number = ?",
        (row.peer_key, row.number),
    ).fetchone()
    if known is None:
        _insert(tx, row, Direction.IN, acked=True)
        return True
    if known[0] != row.signature:
        raise ConflictError(
            f"the peer used fact number {row.number} for two different statements",
            hint="was that workstation restored from a backup, or copied?",
        )
    return False


def drop_noted(tx: Tx, peer_key: bytes, most: int) -> None:
    """Keep the newest ``most`` facts of a peer that are about no transfer; drop the others."""
    noted = "peer_key = ? AND direction = 'in' AND transfer = ''"
    tx.execute(
        f"DELETE FROM facts WHERE {noted} AND number <="  # noqa: S608 - a constant
        f" (SELECT number FROM facts WHERE {noted} ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (peer_key, peer_key, most),
    )


def last_in(tx: Tx, peer_key: bytes) -> int:
    """Return the number of the peer's last fact applied: what we acknowledge; 0 before any."""
    return _last(tx, peer_key, Direction.IN)


def of_transfer(tx: Tx, peer_key: bytes, transfer_id: str) -> list[FactRow]:
    """Return all facts about a transfer with a peer, by time, then number.

    Of that peer only: any other one that has heard of the id can state facts about it, too.
    """
    rows = tx.execute(
        f"{_SELECT} WHERE transfer = ? AND peer_key = ? ORDER BY time_ms, direction, number",
        (transfer_id, peer_key),
    )
    return [_decode(row) for row in rows]


def count_in(tx: Tx, peer_key: bytes, transfer_id: str) -> int:
    """Return how many facts of a peer about a transfer are kept."""
    (count,) = tx.execute(
        "SELECT count(*) FROM facts WHERE transfer = ? AND peer_key = ? AND direction = 'in'",
        (transfer_id, peer_key),
    ).fetchone()
    return int(count)


def first_time(tx: Tx, peer_key: bytes, transfer_id: str, kind: str) -> int | None:
    """Return when a thing was first said about a transfer, milliseconds since 1970, or None."""
    (found,) = tx.execute(
        "SELECT min(time_ms) FROM facts WHERE transfer = ? AND peer_key = ? AND kind = ?",
        (transfer_id, peer_key, kind),
    ).fetchone()
    return None if found is None else int(found)


def _floor_key(peer_key: bytes) -> str:
    return f"fact-floor:{peer_key.hex()}"


def _last(tx: Tx, peer_key: bytes, direction: Direction) -> int:
    (number,) = tx.execute(
        "SELECT max(number) FROM facts WHERE peer_key = ? AND direction = ?",
        (peer_key, direction),
    ).fetchone()
    return int(number or 0)


def _insert(tx: Tx, row: FactRow, direction: Direction, *, acked: bool) -> None:
    values = {column: getattr(row, column) for column in _COLUMNS}
    tx.insert("facts", {**values, "direction": direction.value, "acked": acked})


def _decode(row: tuple[object, ...]) -> FactRow:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["direction"] = Direction(str(values["direction"]))
    values["acked"] = bool(values["acked"])
    return FactRow(**values)  # type: ignore[arg-type] # the columns are the fields, in order
