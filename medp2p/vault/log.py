"""The audit records, the ring of strangers and the alarms.

An audit record is appended in the transaction of its act: an act without its record cannot be,
nor half a record. The hash function comes from the caller (``medp2p.audit.chain.link``).

Source: docs/VAULT.md, "Database".
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from medp2p.errors import AuditError, NotFoundError
from medp2p.limits import MAX_ALARMS, MAX_STRANGER_ROWS, MAX_STRANGER_SUMMARIES
from medp2p.vault.store import Tx

HOUR_MS = 3_600_000
#: Records read at a time while the chain is followed.
_PORTION = 1000
#: Stands for all addresses that found no room.
OTHERS = "*"

#: (hash of the record before, record) -> hash of this record; 32 bytes each.
Link = Callable[[bytes, bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """An audit record.

    Attributes:
        seq: From 1, without gaps.
        record: Canonical bytes; names the SHA-256 of ``sealed`` if it has one.
        sealed: Patient facts, sealed by the caller; None when it had none or they were erased.
        hash: Link to all records before.
    """

    seq: int
    record: bytes
    sealed: bytes | None
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerRow:
    """What one address tried within one hour, refused for one reason.

    Attributes:
        address: IP address, or "*" for all that found no room.
        reason: Our own word for why; nothing that a stranger said.
        first_ms: First attempt; milliseconds since 1970 UTC.
        last_ms: Last attempt.
        count: Attempts.
    """

    address: str
    reason: str
    first_ms: int
    last_ms: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerSummary:
    """What one address tried within one hour: one record for the audit chain.

    Attributes:
        address: IP address, or "*" for all others.
        hour_ms: Begin of the hour; milliseconds since 1970 UTC.
        reasons: Reason -> attempts.
    """

    address: str
    hour_ms: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRow:
    """What a person must see and acknowledge.

    Attributes:
        id: Number, from 1.
        kind: Stable word, such as "key-alarm".
        peer: Local name of the peer, or None.
        text: A sentence for a person; no patient data.
        first_ms: When it came first; milliseconds since 1970 UTC.
        last_ms: When it came last.
        count: How often it came.
        acknowledged: A person has seen it; the audit chain says who and when.
    """

    id: int
    kind: str
    peer: str | None
    text: str
    first_ms: int
    last_ms: int
    count: int
    acknowledged: bool


def append(tx: Tx, record: bytes, sealed: bytes | None, link: Link) -> int:
    """Append a record; return its number.

    Args:
        tx: The write transaction of the act.
        record: From ``chain.encode_record(fields, sealed)``.
        sealed: Patient facts as a sealed blob.
        link: ``chain.link``.

    Raises:
        AuditError: The record does not name the digest of ``sealed`` (a bug).
    """
    if sealed is not None and hashlib.sha256(sealed).hexdigest().encode() not in record:
        raise AuditError("an audit record must name the digest of its sealed part")
    count, before = head(tx)
    after = link(before, record)
    seq = count + 1
    tx.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", (seq, record, sealed, after))
    tx.execute("UPDATE audit_head SET count = ?, hash = ?", (seq, after))
    return seq


def head(tx: Tx) -> tuple[int, bytes]:
    """Return (number of records, hash of the last one); (0, 32 zero bytes) before any."""
    count, digest = tx.execute("SELECT count, hash FROM audit_head").fetchone()
    return int(count), bytes(digest)


def entries(tx: Tx, after_seq: int | None = 0, limit: int = 1000) -> list[LogRow]:
    """Return records.

    Args:
        tx: Read or write transaction.
        after_seq: Ascending, from the one after this; None: the newest ones, descending.
        limit: At most so many.
    """
    order = "DESC" if after_seq is None else "ASC"
    rows = tx.execute(
        "SELECT seq, record, sealed, hash FROM audit WHERE seq > ?"  # noqa: S608 - one of two words
        f" ORDER BY seq {order} LIMIT ?",
        (after_seq or 0, limit),
    )
    return [
        LogRow(seq=seq, record=record, sealed=sealed, hash=digest)
        for seq, record, sealed, digest in rows
    ]


def records(tx: Tx, after_seq: int = 0) -> Iterator[tuple[int, bytes, bytes | None, bytes]]:
    """Yield (seq, record, sealed, hash) ascending, as ``chain.verify`` takes them.

    Read in portions: whoever takes them may stop in the middle.
    """
    while rows := entries(tx, after_seq=after_seq, limit=_PORTION):
        for row in rows:
            yield row.seq, row.record, row.sealed, row.hash
        after_seq = rows[-1].seq


def note_stranger(tx: Tx, address: str, reason: str, now_ms: int, count: int = 1) -> None:
    """Count refused attempts of an address; rows are bounded, whatever the network does.

    A full ring gives up its oldest row that was summarised already; if there is none, the
    attempt is counted under "*".

    Args:
        tx: Write transaction.
        address: IP address without port, as the kernel gives it.
        reason: One of our own words.
        now_ms: Milliseconds since 1970 UTC.
        count: Attempts; a busy caller collects them for a second.
    """
    if not _stranger_known(tx, address, reason, now_ms) and _ring_is_full(tx):
        address = OTHERS
    tx.execute(
        "INSERT INTO strangers (address, reason, hour_ms, first_ms, last_ms, count, reported)"
        " VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (address, reason, hour_ms, reported)"
        " DO UPDATE SET last_ms = excluded.last_ms, count = count + excluded.count",
        (address, reason, now_ms - now_ms % HOUR_MS, now_ms, now_ms, count),
    )


def strangers(tx: Tx, limit: int = 100) -> list[StrangerRow]:
    """Return the refused attempts still in the ring, the latest first."""
    rows = tx.execute(
        "SELECT address, reason, first_ms, last_ms, count FROM strangers"
        " ORDER BY last_ms DESC, id DESC LIMIT ?",
        (limit,),
    )
    return [
        StrangerRow(address=address, reason=reason, first_ms=first, last_ms=last, count=count)
        for address, reason, first, last, count in rows
    ]


def hourly_summaries(tx: Tx, now_ms: int) -> list[StrangerSummary]:
    """Return what is to be chained about hours that are over, and mark it as summarised.

    One summary per address and hour. Beyond MAX_STRANGER_SUMMARIES addresses of one hour, the
    rest (those with the fewest attempts) come as one summary for "*".

    Args:
        tx: Write transaction, in which the caller appends the records.
        now_ms: Rows of the hour it lies in are left for later. Rows of a later hour (the clock
            was set back) are taken at once.
    """
    hour_ms = now_ms - now_ms % HOUR_MS
    rows = tx.execute(
        "SELECT hour_ms, address, reason, count FROM strangers"
        " WHERE reported = 0 AND hour_ms <> ? ORDER BY hour_ms, id",
        (hour_ms,),
    ).fetchall()
    hours: dict[int, dict[str, dict[str, int]]] = {}
    for hour, address, reason, count in rows:
        reasons = hours.setdefault(hour, {}).setdefault(address, {})
        reasons[reason] = reasons.get(reason, 0) + count
    # Rows of that hour that were summarised earlier (again the clock) make way.
    tx.execute(
        "DELETE FROM strangers WHERE reported = 1 AND EXISTS (SELECT 1 FROM strangers AS fresh"
        " WHERE fresh.reported = 0 AND fresh.hour_ms <> ? AND fresh.hour_ms = strangers.hour_ms"
        " AND fresh.address = strangers.address AND fresh.reason = strangers.reason)",
        (hour_ms,),
    )
    tx.execute("UPDATE strangers SET reported = 1 WHERE reported = 0 AND hour_ms <> ?", (hour_ms,))
    return [
        StrangerSummary(address=address, hour_ms=hour, reasons=reasons)
        for hour, addresses in hours.items()
        for address, reasons in _bounded(addresses).items()
    ]


def add_alarm(tx: Tx, kind: str, peer: str | None, text: str, now_ms: int) -> int:
    """Raise an alarm; return its id.

    The same one again, not yet acknowledged, is counted, not added. Of more than MAX_ALARMS the
    oldest goes, an acknowledged one first; the audit chain has them all.
    """
    row = tx.execute(
        "SELECT id FROM alarms WHERE kind = ? AND peer IS ? AND text = ? AND acknowledged = 0",
        (kind, peer, text),
    ).fetchone()
    if row is not None:
        tx.execute(
            "UPDATE alarms SET last_ms = ?, count = count + 1 WHERE id = ?", (now_ms, row[0])
        )
        return int(row[0])
    tx.execute(
        "DELETE FROM alarms WHERE id IN (SELECT id FROM alarms"
        " ORDER BY acknowledged DESC, id"
        " LIMIT max(0, (SELECT count(*) FROM alarms) + 1 - ?))",
        (MAX_ALARMS,),
    )
    values = {"kind": kind, "peer": peer, "text": text, "count": 1, "acknowledged": 0}
    return tx.insert("alarms", {**values, "first_ms": now_ms, "last_ms": now_ms})


def alarms(tx: Tx, unacknowledged_only: bool = False) -> list[AlarmRow]:
    """Return alarms, the newest first."""
    rows = tx.execute(
        "SELECT id, kind, peer, text, first_ms, last_ms, count, acknowledged FROM alarms"
        " WHERE NOT ? OR acknowledged = 0 ORDER BY id DESC",
        (unacknowledged_only,),
    )
    return [
        AlarmRow(
            id=alarm_id,
            kind=kind,
            peer=peer,
            text=text,
            first_ms=first_ms,
            last_ms=last_ms,
            count=count,
            acknowledged=bool(acknowledged),
        )
        for alarm_id, kind, peer, text, first_ms, last_ms, count, acknowledged in rows
    ]


def alarms_mark(tx: Tx) -> tuple[int, ...]:
    """Return numbers that differ once an alarm has come, come again, gone or been acknowledged."""
    row = tx.execute(
        "SELECT count(*), coalesce(max(id), 0), coalesce(sum(count), 0),"
        " coalesce(sum(acknowledged), 0) FROM alarms"
    ).fetchone()
    return tuple(map(int, row))


def acknowledge_alarm(tx: Tx, alarm_id: int) -> None:
    """Note that a person has seen an alarm; a second time changes nothing.

    Raises:
        NotFoundError: There is none with this id.
    """
    if tx.update("alarms", "id", alarm_id, {"acknowledged": 1}) == 0:
        raise NotFoundError(f"no alarm {alarm_id}")


def _stranger_known(tx: Tx, address: str, reason: str, now_ms: int) -> bool:
    return (
        tx.execute(
            "SELECT 1 FROM strangers WHERE address = ? AND reason = ? AND hour_ms = ?"
            " AND reported = 0",
            (address, reason, now_ms - now_ms % HOUR_MS),
        ).fetchone()
        is not None
    )


def _ring_is_full(tx: Tx) -> bool:
    (count,) = tx.execute("SELECT count(*) FROM strangers").fetchone()
    too_many = count + 1 - MAX_STRANGER_ROWS
    if too_many <= 0:
        return False
    freed = tx.execute(
        "DELETE FROM strangers WHERE id IN"
        " (SELECT id FROM strangers WHERE reported = 1 ORDER BY id LIMIT ?)",
        (too_many,),
    ).rowcount
    return bool(freed < too_many)


def _bounded(addresses: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    if len(addresses) <= MAX_STRANGER_SUMMARIES:
        return addresses
    busiest = sorted(addresses, key=lambda address: -sum(addresses[address].values()))
    kept = [address for address in busiest if address != OTHERS][: MAX_STRANGER_SUMMARIES - 1]
    others: dict[str, int] = {}
    for address in addresses.keys() - set(kept):
        for reason, count in addresses[address].items():
            others[reason] = others.get(reason, 0) + count
    return {**{address: addresses[address] for address in kept}, OTHERS: others}
