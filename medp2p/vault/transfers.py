"""Transfers of both directions and what is sealed with them.

Rows hold ids, keys, counts, states and times; they are never deleted: ended ones are tombstones
that answer a repeated offer. Whatever names a patient, a file or a folder lies in a blob that
the caller has sealed.
"""

import builtins
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields

from medp2p.errors import ConflictError, NotFoundError
from medp2p.limits import MAX_LISTED
from medp2p.model import ENDED, WHOLE, Direction, Priority, Reason, State
from medp2p.vault.store import Tx, Value

#: Ids shown when a prefix fits several.
_CANDIDATES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRow:
    """A transfer as the database keeps it.

    Attributes:
        id: 26 base32 characters, the same at both ends.
        direction: Outbox or inbox.
        peer_key: X25519 key of the other side; proves whose it is, even after a removal.
        peer_name: Its local name when the transfer was made.
        state: Where it stands.
        reason: Why it waits or is paused.
        held: Why it is held, as JSON; opaque here.
        priority: As the sender calls it.
        entries: Files and folders.
        files: Files.
        file_bytes: Bytes of all files.
        length: Bytes of the stream.
        offer: What was agreed, 32 bytes.
        root: Digest over the whole stream, 32 bytes, once known.
        created_ms: Milliseconds since 1970 UTC, as all times here.
        updated_ms: Last change that a person would call one; set by the caller.
        decided_ms: Accepted, declined or cancelled.
        sealed_ms: Sealed at the receiver.
        released_ms: First release.
        finished_ms: Its last fact; keeping time counts from here.
        chunks_done: For progress; the journal is what counts. Set by the caller.
        scan_id: The scan it sends, outbox only.
        error: ``MedP2PError.to_json`` without names of files.
        skipped: Entries that the scan left out.
        erasing: Its file and key are being erased; gone on with after a restart.
        checked_ms: When the receiver had looked at the sealed files itself.
        check_result: What it found then: "agrees", "differs", "no-label" or "broken".
    """

    id: str
    direction: Direction
    peer_key: bytes
    peer_name: str
    state: State
    priority: Priority
    entries: int
    files: int
    file_bytes: int
    length: int
    created_ms: int
    updated_ms: int
    reason: Reason | None = None
    held: str | None = None
    offer: bytes | None = None
    root: bytes | None = None
    decided_ms: int | None = None
    sealed_ms: int | None = None
    released_ms: int | None = None
    finished_ms: int | None = None
    chunks_done: int = 0
    scan_id: str | None = None
    error: dict[str, object] | None = None
    skipped: int = 0
    erasing: bool = False
    checked_ms: int | None = None
    check_result: str | None = None


_COLUMNS = tuple(column.name for column in fields(TransferRow))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM transfers"  # noqa: S608 - names from the dataclass
_WHOLE = tuple(sorted(WHOLE))
_WHOLE_MARKS = ", ".join("?" * len(_WHOLE))
_FIXED = frozenset({"id", "direction", "peer_key", "created_ms"})
#: Nothing is left to do with the peer, but for late facts.
_CLOSED = (*sorted(ENDED), State.RELEASED)


def add(tx: Tx, row: TransferRow) -> None:
    """Add a transfer.

    Raises:
        ConflictError: Its id is known already, whatever its direction or peer.
    """
    if tx.execute("SELECT 1 FROM transfers WHERE id = ?", (row.id,)).fetchone():
        raise ConflictError(f"transfer {row.id} is already known")
    tx.insert("transfers", {column: _encode(getattr(row, column)) for column in _COLUMNS})


def get(tx: Tx, transfer_id: str) -> TransferRow:
    """Return a transfer by its whole id.

    Raises:
        NotFoundError: There is none.
    """
    row = maybe(tx, transfer_id)
    if row is None:
        raise NotFoundError(f"no transfer {transfer_id}")
    return row


def maybe(tx: Tx, transfer_id: str) -> TransferRow | None:
    """Return a transfer by its whole id, or None."""
    row = tx.execute(f"{_SELECT} WHERE id = ?", (transfer_id,)).fetchone()
    return None if row is None else _decode(row)


def find(tx: Tx, prefix: str, direction: Direction | None = None) -> TransferRow:
    """Return the one transfer whose id begins with ``prefix`` (case and blanks are ignored).

    Raises:
        NotFoundError: None or several do; the text names the ids of several.
    """
    wanted = prefix.strip().lower()
    sql = f"{_SELECT} WHERE id >= ? AND id < ? AND (? IS NULL OR direction = ?) ORDER BY id LIMIT ?"
    # "~" sorts after every character of an id.
    values = (wanted, wanted + "~", direction, direction, _CANDIDATES + 1)
    rows = [_decode(row) for row in tx.execute(sql, values)] if wanted.isalnum() else []
    if not rows:
        raise NotFoundError("no transfer has an id that begins so", hint=_hint(direction))
    if len(rows) > 1:
        ids = ", ".join(row.id for row in rows[:_CANDIDATES])
        more = " and more" if len(rows) > _CANDIDATES else ""
        raise NotFoundError(f"several transfers begin so: {ids}{more}", hint="type more of the id")
    return rows[0]


def list(
    tx: Tx,
    direction: Direction | None = None,
    states: Collection[State] | None = None,
    peer_key: bytes | None = None,
    limit: int = MAX_LISTED,
    before: str | None = None,
    *,
    peer_name: str | None = None,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> builtins.list[TransferRow]:
    """Return transfers, the newest first.

    Args:
        tx: Read or write transaction.
        direction: Only these.
        states: Only these; an empty collection fits none.
        peer_key: Only those with this peer.
        limit: At most so many.
        before: Only those older than the transfer with this id: the last one of the page
            before.
        peer_name: Only those with the peer that had this name when they were made.
        since_ms: Only those made at that time or later, milliseconds since 1970 UTC.
        until_ms: Only those made before it.
    """
    terms: builtins.list[str] = ["1"]
    values: builtins.list[Value] = []
    if direction is not None:
        terms.append("direction = ?")
        values.append(direction)
    if states is not None:
        terms.append(f"state IN ({', '.join('?' * len(states))})")
        values.extend(states)
    others = {
        "peer_key = ?": peer_key,
        "peer_name = ?": peer_name,
        "created_ms >= ?": since_ms,
        "created_ms < ?": until_ms,
    }
    for term, value in others.items():
        if value is not None:
            terms.append(term)
            values.append(value)
    if before is not None:
        terms.append("number < (SELECT number FROM transfers WHERE id = ?)")
        values.append(before)
    sql = f"{_SELECT} WHERE {' AND '.join(terms)} ORDER BY number DESC LIMIT ?"
    return [_decode(row) for row in tx.execute(sql, (*values, limit))]


def open_for_peer(
    tx: Tx, key: bytes, direction: Direction | None = None
) -> builtins.list[TransferRow]:
    """Return the transfers with this peer that are neither ended nor released.

    Urgent ones first, then in the order in which they came.
    """
    marks = ", ".join("?" * len(_CLOSED))
    sql = (
        f"{_SELECT} WHERE peer_key = ? AND (? IS NULL OR direction = ?) AND state NOT IN ({marks})"
        " ORDER BY priority = 'stat' DESC, number"
    )
    return [_decode(row) for row in tx.execute(sql, (key, direction, direction, *_CLOSED))]


def count(
    tx: Tx,
    *,
    direction: Direction | None = None,
    peer_key: bytes | None = None,
    state: State | None = None,
) -> int:
    """Return how many transfers fit all that is given."""
    (number,) = tx.execute(
        "SELECT count(*) FROM transfers WHERE (? IS NULL OR direction = ?)"
        " AND (? IS NULL OR peer_key = ?) AND (? IS NULL OR state = ?)",
        (direction, direction, peer_key, peer_key, state, state),
    ).fetchone()
    return int(number)


def unfinished_of_scan(tx: Tx, scan_id: str) -> int:
    """Return how many transfers still need the sources of a scan."""
    done = (*ENDED, *WHOLE)
    (count,) = tx.execute(
        # Only question marks are put in.
        "SELECT count(*) FROM transfers WHERE scan_id = ?"  # noqa: S608
        f" AND state NOT IN ({', '.join('?' * len(done))})",
        (scan_id, *done),
    ).fetchone()
    return int(count)


def erasing(tx: Tx) -> builtins.list[TransferRow]:
    """Return the transfers whose erasing was begun and not finished."""
    return [_decode(row) for row in tx.execute(f"{_SELECT} WHERE erasing ORDER BY number")]


def unchecked(tx: Tx) -> builtins.list[TransferRow]:
    """Return the incoming transfers that are whole and were not looked at yet, oldest first."""
    sql = f"{_SELECT} WHERE checked_ms IS NULL AND direction = 'in' AND state IN ({_WHOLE_MARKS})"
    return [_decode(row) for row in tx.execute(f"{sql} ORDER BY number", _WHOLE)]


def held(tx: Tx, limit: int) -> builtins.list[TransferRow]:
    """Return incoming transfers that something holds back, newest first, at most so many."""
    sql = f"{_SELECT} WHERE held IS NOT NULL AND direction = 'in' AND state IN ({_WHOLE_MARKS})"
    rows = tx.execute(f"{sql} ORDER BY number DESC LIMIT ?", (*_WHOLE, limit))
    return [_decode(row) for row in rows]


_WAITING = (
    "direction = 'in' AND (state = 'offered' OR (state IN ('sealed', 'expiring')"
    " AND released_ms IS NULL) OR (state IN ('sealed', 'expiring', 'released')"
    " AND json_extract(held, '$.code') = 'destroy-asked'))"
)


def waiting(tx: Tx, limit: int) -> builtins.list[TransferRow]:
    """Return incoming transfers about which a person may have to decide, at most so many.

    Undecided, whole and never released, or asked to be destroyed. Urgent ones first, then those
    for which somebody elsewhere waits, then what is held; of each the newest.
    """
    sql = (
        f"{_SELECT} WHERE {_WAITING} ORDER BY priority = 'stat' DESC, state = 'offered' DESC,"
        " held IS NOT NULL DESC, number DESC LIMIT ?"
    )
    return [_decode(row) for row in tx.execute(sql, (limit,))]


def count_waiting(tx: Tx) -> int:
    """Return how many there are of those."""
    sql = f"SELECT count(*) FROM transfers WHERE {_WAITING}"  # noqa: S608 - a constant
    return int(tx.execute(sql).fetchone()[0])


def under_way(tx: Tx, limit: int) -> builtins.list[TransferRow]:
    """Return what is on its way, being released or taken back; what moves first, at most so many.

    Without offers about which a person here decides.
    """
    rest = tuple(state for state in State if state in ENDED or state in WHOLE)
    rest = tuple(state for state in rest if state is not State.RELEASING)
    sql = (
        f"{_SELECT} WHERE state NOT IN ({', '.join('?' * len(rest))})"
        " AND NOT (direction = 'in' AND state = 'offered')"
        " ORDER BY state IN ('sending', 'receiving', 'releasing') DESC, number DESC LIMIT ?"
    )
    return [_decode(row) for row in tx.execute(sql, (*rest, limit))]


def update(tx: Tx, transfer_id: str, **changes: object) -> TransferRow:
    """Change fields of a transfer; return it as it is then.

    Raises:
        NotFoundError: There is none with this id.
        ConflictError: Its state is an end, and another state was asked for; or it is whole,
            and a state before that was.
        TypeError: No such field, or one that never changes (a bug).
    """
    row = get(tx, transfer_id)
    wrong = changes.keys() - set(_COLUMNS) | changes.keys() & _FIXED
    if wrong:
        raise TypeError(f"not a field of a transfer that changes: {', '.join(sorted(wrong))}")
    wanted = changes.get("state", row.state)
    if row.state in ENDED and wanted != row.state:
        raise ConflictError(f"transfer {transfer_id} has ended: it is {row.state}")
    if row.state in WHOLE and wanted not in (*WHOLE, *ENDED, State.RECALLING):
        raise ConflictError(f"transfer {transfer_id} is whole; it cannot become {wanted}")
    if changes:
        values = {key: _encode(value) for key, value in changes.items()}
        tx.update("transfers", "id", transfer_id, values)
    return get(tx, transfer_id)


def put_blob(tx: Tx, owner: str, name: str, key_kind: str, blob: bytes) -> None:
    """Store a sealed blob, in place of an earlier one of that name.

    Args:
        tx: Write transaction.
        owner: Id of a transfer or a scan.
        name: What it holds: "summary", "manifest", "sources", "filekey", "released" ...
        key_kind: "spool" or "vault": which key opens it.
        blob: Sealed by the caller; never clear text.
    """
    # Not "INSERT OR REPLACE": a plain delete is what secure_delete is documented for.
    tx.execute("DELETE FROM blobs WHERE owner = ? AND name = ?", (owner, name))
    tx.execute("INSERT INTO blobs VALUES (?, ?, ?, ?)", (owner, name, key_kind, blob))


def get_blob(tx: Tx, owner: str, name: str) -> tuple[str, bytes] | None:
    """Return (key_kind, blob), or None."""
    row = tx.execute(
        "SELECT key_kind, blob FROM blobs WHERE owner = ? AND name = ?", (owner, name)
    ).fetchone()
    return None if row is None else (str(row[0]), bytes(row[1]))


def blob_names(tx: Tx, owner: str) -> dict[str, str]:
    """Return name -> key_kind of the blobs there are."""
    rows = tx.execute("SELECT name, key_kind FROM blobs WHERE owner = ? ORDER BY name", (owner,))
    return {str(name): str(kind) for name, kind in rows}


def delete_blobs(tx: Tx, owner: str, names: Iterable[str] | None = None) -> None:
    """Delete blobs by name, or all with None; gone from the disk after ``Store.checkpoint``."""
    if names is None:
        tx.execute("DELETE FROM blobs WHERE owner = ?", (owner,))
        return
    rows = [(owner, name) for name in names]
    tx.executemany("DELETE FROM blobs WHERE owner = ? AND name = ?", rows)


def _hint(direction: Direction | None) -> str:
    boxes = {Direction.OUT: "`medp2p outbox` lists", Direction.IN: "`medp2p inbox` lists"}
    both = "`medp2p outbox` and `medp2p inbox` list"
    return f"{boxes.get(direction, both) if direction else both} them"


def _encode(value: object) -> Value:
    if isinstance(value, Reason):
        return json.dumps([value.code, value.text, value.since_ms])
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bytes | int):
        return value
    raise TypeError(f"a transfer has no field of type {type(value).__name__}")


def _decode(row: tuple[object, ...]) -> TransferRow:
    values = dict(zip(_COLUMNS, row, strict=True))
    values["direction"] = Direction(str(values["direction"]))
    values["state"] = State(str(values["state"]))
    values["priority"] = Priority(str(values["priority"]))
    if values["reason"] is not None:
        code, text, since_ms = json.loads(str(values["reason"]))
        values["reason"] = Reason(code=code, text=text, since_ms=since_ms)
    if values["error"] is not None:
        values["error"] = json.loads(str(values["error"]))
    values["erasing"] = bool(values["erasing"])
    return TransferRow(**values)  # type: ignore[arg-type] # the columns are the fields, in order
