"""How transfers end, on either side: one place for every such change, and its audit record.

Each function works inside the caller's transaction. What must happen to files afterwards is
left as ``erasing`` on the row; the janitor carries it out and redoes it after a crash.
"""

from medp2p.daemon import papers
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError
from medp2p.model import Actor, AuditEvent, Direction, State
from medp2p.vault import peers, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def end(
    tx: Tx,
    station: Station,
    row: TransferRow,
    state: State,
    *,
    event: AuditEvent,
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
    papers.close_papers(tx, station, row)
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
    event: AuditEvent,
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


def whom_to_call(tx: Tx, row: TransferRow) -> str:
    """Return the telephone number of a transfer's peer, or its name where there is none."""
    peer = peers.by_key(tx, row.peer_key)
    phone = "" if peer is None else peer.settings.get("phone", "")
    return phone or row.peer_name
