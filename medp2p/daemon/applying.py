"""What the signed facts of a peer change here: whole, released, ended, taken back.

Each function works inside the caller's transaction. A fact that comes too late changes nothing;
it is kept and audited, as every fact is.

Source: docs/PROTOCOL.md, "Facts".
"""

from collections.abc import Callable

from medp2p.daemon import expiring, papers, recalling
from medp2p.daemon.endings import end, record
from medp2p.daemon.station import Station
from medp2p.errors import IntegrityError, TransferAbortedError, TransferRefusedError
from medp2p.model import (
    ENDED,
    PEER,
    WHOLE,
    AuditEvent,
    Direction,
    Reason,
    State,
    transfer_id_from_bytes,
)
from medp2p.proto.facts import Statement
from medp2p.vault import transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def apply_statement(tx: Tx, station: Station, peer: PeerRow, statement: Statement) -> None:
    """Let a verified fact of a peer take effect on the transfer it is about.

    A fact about an unknown transfer, or one that does not fit, is kept and audited only.
    """
    row = transfers.maybe(tx, transfer_id_from_bytes(statement.transfer))
    if row is None:
        return
    ours = statement.sender == station.keys.noise_public
    fits = (
        row.peer_key == peer.noise_key
        and row.offer == statement.offer
        and ours == (row.direction is Direction.OUT)
    )
    table = _OUTGOING if ours else _INCOMING
    act = table.get(statement.fact) if fits else None
    if act is None:
        record(tx, station, row, "fact-refused", PEER, "failure", {"fact": statement.fact})
        return
    act(tx, station, row, statement)


# --- what the receiver told us about our transfer -----------------------------------------


def _sealed(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    if row.state in WHOLE:
        return
    if row.state in ENDED:  # it crossed our cancel or failure
        recalling.crossed(tx, station, row, statement, released=False)
        return
    root, time_ms = statement.root or b"", statement.time_ms
    if row.root is None:  # a restored backup, or a lie: only our own root tells
        papers.put_claim(tx, station, row.id, root, time_ms)
        record(tx, station, row, "seal", PEER, "unproved", {"root": root.hex()})
        return
    seal(tx, station, row, root, time_ms)


def seal(tx: Tx, station: Station, row: TransferRow, root: bytes, time_ms: int) -> None:
    """Call a transfer sealed that its receiver calls so, if both roots are one.

    Args:
        tx: Write transaction.
        station: Ours.
        row: It has a root of our own, and no end.
        root: As the receiver says.
        time_ms: When it was sealed, by the receiver's clock.
    """
    if root != row.root:
        wrong = IntegrityError("the receiver sealed something else: its root differs from ours")
        end(
            tx, station, row, State.FAILED, event="seal", actor=PEER, outcome="failure", error=wrong
        )
        return
    papers.close_papers(tx, station, row)
    now = station.now_ms()
    asked = row.state is State.RECALLING  # the answer to that is still to come
    transfers.update(
        tx,
        row.id,
        state=row.state if asked else State.SEALED,
        reason=row.reason if asked else None,
        error=None,
        sealed_ms=time_ms,
        finished_ms=now,
        updated_ms=now,
    )
    record(tx, station, row, "seal", PEER, detail={"root": root.hex()})


def _opened(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    record(tx, station, row, "open", PEER, detail={"at_ms": statement.time_ms})


def _previewed(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    record(tx, station, row, "previewed", PEER, detail={"at_ms": statement.time_ms})


def _released(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """Released implies sealed, which may have been told in a fact that was lost."""
    if row.state in ENDED:
        recalling.crossed(tx, station, row, statement, released=True)
        return
    _sealed(tx, station, row, statement)
    row = transfers.get(tx, row.id)
    if row.state in ENDED or row.root != statement.root:
        record(tx, station, row, "release", PEER, "too-late")
        return
    now = station.now_ms()
    transfers.update(
        tx,
        row.id,
        state=row.state if row.state is State.RECALLING else State.RELEASED,
        released_ms=statement.time_ms,
        finished_ms=now,
        updated_ms=now,
    )
    record(tx, station, row, "release", PEER, detail={"at_ms": statement.time_ms})


def _ended_there(
    state: State, event: AuditEvent, *, whole_too: bool = False
) -> Callable[..., None]:
    """Return how a transfer ends here because it has ended at the receiver.

    Args:
        state: Its end.
        event: For the audit log.
        whole_too: Whether that can become of a transfer that was sealed.
    """

    def act(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
        if row.state in ENDED or (row.state in WHOLE and not whole_too):
            if row.state in recalling.GIVEN_UP and row.sealed_ms is not None:
                now = station.now_ms()
                told = Reason(state.value, f"the receiver says: {state.value}", now)
                transfers.update(tx, row.id, reason=told, updated_ms=now)
            record(tx, station, row, event, PEER, "too-late")
            return
        words = f"the receiver says: {state.value}"
        refused = state in (State.DECLINED, State.EXPIRED, State.RECALLED)
        error = TransferRefusedError(words) if refused else TransferAbortedError(words)
        reason = statement.detail.get("reason")
        end(
            tx,
            station,
            row,
            state,
            event=event,
            actor=PEER,
            error=error,
            names=reason.encode() if reason else None,
            detail={"at_ms": statement.time_ms},
        )

    return act


# --- what the sender told us about its transfer -------------------------------------------


def _taken_back(state: State, event: AuditEvent) -> Callable[..., None]:
    def act(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
        if row.state in ENDED:
            return
        if row.state in WHOLE and state is State.CANCELLED:
            recalling.asked(tx, station, row, statement)  # "I do not want it there"
            return
        if row.state in WHOLE:
            record(tx, station, row, event, PEER, "too-late")
            return
        error = TransferAbortedError(f"the sender says: {state.value}")
        end(tx, station, row, state, event=event, actor=PEER, error=error)

    return act


_OUTGOING: dict[str, Callable[..., None]] = {
    "sealed": _sealed,
    "previewed": _previewed,
    "opened": _opened,
    "released": _released,
    "declined": _ended_there(State.DECLINED, "decline"),
    "discarded": _ended_there(State.DISCARDED, "discard", whole_too=True),
    "expired": _ended_there(State.EXPIRED, "expire", whole_too=True),
    "failed": _ended_there(State.FAILED, "fail"),
    "recalled": recalling.told_recalled,
    "recall-late": recalling.told_late,
    "destroyed": recalling.told_destroyed,
    "kept": recalling.told_kept,
    "expiring": expiring.told,
}

_INCOMING: dict[str, Callable[..., None]] = {
    "cancelled": _taken_back(State.CANCELLED, "cancel"),
    "failed": _taken_back(State.FAILED, "fail"),
    "recall": recalling.asked,
}
