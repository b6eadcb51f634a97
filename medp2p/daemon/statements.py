"""Facts of this workstation: signed, numbered per peer, queued until acknowledged."""

from medp2p.daemon.station import Station
from medp2p.errors import ConflictError
from medp2p.model import Direction, transfer_id_to_bytes
from medp2p.proto import facts as signed
from medp2p.vault import facts
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def queue_fact(
    tx: Tx, station: Station, row: TransferRow, kind: str, detail: dict[str, str] | None = None
) -> None:
    """Sign a fact about a transfer and queue it for its peer, in the transaction of the act.

    Args:
        kind: One of proto.facts.FACT_KINDS.
        detail: Short words for the other side; no patient data (it is kept in clear).

    Raises:
        ConflictError: The transfer has no offer yet, so there is nothing to state.
    """
    if row.offer is None:
        raise ConflictError("a transfer that was never offered has no facts")
    outgoing = row.direction is Direction.OUT
    mine, theirs = station.keys.noise_public, row.peer_key
    number = facts.next_number(tx, row.peer_key)
    now = station.now_ms()
    statement = signed.Statement(
        transfer=transfer_id_to_bytes(row.id),
        offer=row.offer,
        fact=kind,
        number=number,
        time_ms=now,
        sender=mine if outgoing else theirs,
        receiver=theirs if outgoing else mine,
        root=row.root,
        detail=detail or {},
    )
    fact = signed.sign(statement, station.keys.sign_private)
    facts.add_out(
        tx,
        facts.FactRow(
            peer_key=row.peer_key,
            direction="out",
            number=number,
            transfer=row.id,
            kind=kind,
            time_ms=now,
            statement=fact.statement,
            signature=fact.signature,
            acked=False,
        ),
    )
