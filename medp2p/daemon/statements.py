"""Facts of this workstation: signed, numbered per peer, queued until acknowledged."""

from medp2p import limits
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError, RemoteProtocolError
from medp2p.model import Direction, transfer_id_from_bytes, transfer_id_to_bytes
from medp2p.proto.facts import Statement, sign
from medp2p.proto.messages import Fact
from medp2p.vault import facts
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def queue_fact(
    tx: Tx, station: Station, row: TransferRow, kind: str, detail: dict[str, str] | None = None
) -> None:
    """Sign a fact about a transfer and queue it for its peer, in the transaction of the act.

    Args:
        kind: One of proto.facts.FACT_KINDS.
        detail: Short words for the other side. Kept sealed: a reason may name a patient.

    Raises:
        ConflictError: The transfer has no offer yet, so there is nothing to state.
    """
    if row.offer is None:
        raise ConflictError("a transfer that was never offered has no facts")
    outgoing = row.direction is Direction.OUT
    mine, theirs = station.keys.noise_public, row.peer_key
    number = facts.next_number(tx, row.peer_key)
    now = station.now_ms()
    statement = Statement(
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
    fact = sign(statement, station.keys.sign_private)
    facts.add_out(
        tx,
        facts.FactRow(
            peer_key=row.peer_key,
            direction=Direction.OUT,
            number=number,
            transfer=row.id,
            kind=kind,
            time_ms=now,
            statement=station.spool.seal(fact.statement, _context(row.peer_key, number)),
            signature=fact.signature,
            acked=False,
        ),
    )


def _context(peer_key: bytes, number: int) -> str:
    return f"fact {peer_key.hex()} {number}"


def opened(station: Station, row: facts.FactRow) -> Fact:
    """Return a kept fact as it travels.

    Raises:
        VaultLockedError: It lies under the vault key and that is not at hand.
    """
    waiting = row.direction is Direction.OUT and not row.acked
    box = station.spool if waiting else station.vault
    return Fact(box.open(row.statement, _context(row.peer_key, row.number)), row.signature)


def keep_theirs(tx: Tx, station: Station, peer_key: bytes, fact: Fact, said: Statement) -> bool:
    """Keep a verified fact of a peer; False when it was applied before.

    Raises:
        ConflictError: The peer has used the number for another statement.
    """
    sealed = station.vault.seal(fact.statement, _context(peer_key, said.number))
    return facts.add_in(
        tx, _theirs(peer_key, fact, said, transfer_id_from_bytes(said.transfer), sealed)
    )


def note_theirs(tx: Tx, peer_key: bytes, fact: Fact, said: Statement) -> None:
    """Keep number and signature of a verified fact of a peer for a while, and nothing else.

    Raises:
        ConflictError: The peer has used the number for another statement.
    """
    facts.add_in(tx, _theirs(peer_key, fact, said, "", b""))
    facts.drop_noted(tx, peer_key, limits.MAX_NOTED_FACTS)


def _theirs(
    peer_key: bytes, fact: Fact, said: Statement, transfer: str, sealed: bytes
) -> facts.FactRow:
    return facts.FactRow(
        peer_key=peer_key,
        direction=Direction.IN,
        number=said.number,
        transfer=transfer,
        kind=said.fact,
        time_ms=said.time_ms,
        statement=sealed,
        signature=fact.signature,
        acked=True,
    )


def acknowledged(tx: Tx, station: Station, peer: PeerRow, number: int) -> int:
    """Note that a peer has applied our facts up to a number; they go under the vault key.

    Returns:
        How many that are which it had not acknowledged before.
    """
    if number >= facts.next_number(tx, peer.noise_key) + limits.MAX_FACT_STEP:
        raise RemoteProtocolError("an acknowledgement far ahead of our facts")
    if facts.raise_floor(tx, peer.noise_key, number):
        text = "it has facts of ours that we do not know: was this home put back from a backup?"
        station.ledger.alarm(
            tx, kind="set-back", text=text, peer=peer.name, peer_key=peer.noise_key
        )
    count = 0
    while waiting := [r for r in facts.pending(tx, peer.noise_key) if r.number <= number]:
        for row in waiting:
            statement = opened(station, row).statement
            sealed = station.vault.seal(statement, _context(peer.noise_key, row.number))
            facts.replace_statement(tx, row, sealed)
        count += facts.acknowledge(tx, peer.noise_key, waiting[-1].number)
    return count
