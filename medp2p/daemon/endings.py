"""How transfers end or become whole, on either side: one place for every such change.

Each function works inside the caller's transaction. What must happen to files afterwards is
left as ``erasing`` on the row; the janitor carries it out and redoes it after a crash.
"""

from collections.abc import Callable

from medp2p.daemon import papers
from medp2p.daemon.station import PEER, Station
from medp2p.errors import IntegrityError, MedP2PError
from medp2p.model import ENDED, WHOLE, Actor, Direction, Reason, State, transfer_id_from_bytes
from medp2p.proto.facts import Statement
from medp2p.vault import transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def end(
    tx: Tx,
    station: Station,
    row: TransferRow,
    state: State,
    *,
    event: str,
    actor: Actor,
    outcome: str = "ok",
    error: MedP2PError | None = None,
    names: bytes | None = None,
    detail: dict[str, object] | None = None,
) -> None:
    """Bring a transfer to an end state, with its audit record, papers closed.

    Args:
        names: What the error names (file paths), kept sealed; the error itself is kept in
            clear and must not name a file.
    """
    station.files.step("erase-mark" if row.direction is Direction.IN else "state")
    now = station.now_ms()
    if names is not None:
        papers.put_vault(tx, station, row.id, papers.DETAIL, names)
    papers.close_papers(tx, station, row.id)
    transfers.update(
        tx,
        row.id,
        state=state,
        reason=None,
        error=None if error is None else error.to_json(),
        finished_ms=now,
        updated_ms=now,
        erasing=row.direction is Direction.IN,
    )
    record(tx, station, row, event, actor, outcome, detail)


def record(
    tx: Tx,
    station: Station,
    row: TransferRow,
    event: str,
    actor: Actor,
    outcome: str = "ok",
    detail: dict[str, object] | None = None,
) -> None:
    """Write the audit record of an act on a transfer, in the transaction of the act."""
    station.ledger.record(
        tx,
        event=event,
        actor=actor,
        peer=row.peer_name,
        peer_key=row.peer_key,
        transfer=row.id,
        outcome=outcome,
        detail=detail or {},
    )


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
    if statement.root != row.root or row.root is None:
        error = IntegrityError("the receiver sealed something else: its root differs from ours")
        end(
            tx, station, row, State.FAILED, event="seal", actor=PEER, outcome="failure", error=error
        )
        return
    if row.state is State.RELEASED:
        return
    if row.state in ENDED:  # it crossed our cancel or failure: the record stays, the truth is told
        text = "the receiver had sealed it before it heard of this"
        reason = Reason("sealed-before", text, station.now_ms())
        transfers.update(tx, row.id, reason=reason, sealed_ms=statement.time_ms)
        record(tx, station, row, "seal", PEER, "too-late")
        return
    papers.close_papers(tx, station, row.id)
    now = station.now_ms()
    transfers.update(
        tx,
        row.id,
        state=State.SEALED,
        reason=None,
        error=None,
        sealed_ms=statement.time_ms,
        finished_ms=now,
        updated_ms=now,
    )
    record(tx, station, row, "seal", PEER, detail={"root": row.root.hex()})


def _opened(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    record(tx, station, row, "open", PEER, detail={"at_ms": statement.time_ms})


def _released(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    now = station.now_ms()
    if row.state in ENDED:
        record(tx, station, row, "release", PEER, "too-late")
        return
    transfers.update(
        tx, row.id, state=State.RELEASED, released_ms=statement.time_ms, updated_ms=now
    )
    record(tx, station, row, "release", PEER, detail={"at_ms": statement.time_ms})


def _ended_there(state: State, event: str) -> Callable[..., None]:
    def act(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
        if row.state in ENDED:
            return
        error = MedP2PError(f"the receiver says: {state.value}")
        reason = statement.detail.get("reason")
        detail: dict[str, object] = {"at_ms": statement.time_ms}
        names = reason.encode() if reason else None
        end(
            tx, station, row, state, event=event, actor=PEER, error=error, names=names,
            detail=detail,
        )  # fmt: skip

    return act


# --- what the sender told us about its transfer -------------------------------------------


def _taken_back(state: State, event: str) -> Callable[..., None]:
    def act(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
        if row.state in ENDED:
            return
        if row.state in WHOLE:
            record(tx, station, row, event, PEER, "too-late")
            return
        error = MedP2PError(f"the sender says: {state.value}")
        end(tx, station, row, state, event=event, actor=PEER, error=error)

    return act


_OUTGOING: dict[str, Callable[..., None]] = {
    "sealed": _sealed,
    "opened": _opened,
    "released": _released,
    "declined": _ended_there(State.DECLINED, "decline"),
    "discarded": _ended_there(State.DISCARDED, "discard"),
    "expired": _ended_there(State.EXPIRED, "expire"),
    "failed": _ended_there(State.FAILED, "fail"),
}

_INCOMING: dict[str, Callable[..., None]] = {
    "cancelled": _taken_back(State.CANCELLED, "cancel"),
    "failed": _taken_back(State.FAILED, "fail"),
}
