"""Writing a proof: the signed facts of a transfer, and the keys that check them."""

from typing import Any

import msgspec

from medp2p.daemon import papers, statements
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError, NotFoundError
from medp2p.identity import encode_peer_id
from medp2p.model import Direction
from medp2p.proto import messages
from medp2p.proto.facts import read_statement
from medp2p.proto.proof import Proof, Side, Signed
from medp2p.vault import facts, peers, transfers
from medp2p.vault.store import Tx


def proof(tx: Tx, station: Station, prefix: str, *, with_label: bool) -> dict[str, Any]:
    """Return the proof of a transfer as JSON (docs/PROTOCOL.md, "Proofs").

    Args:
        tx: Any transaction.
        station: Ours.
        prefix: Of the transfer, of either box.
        with_label: Put the offer in, with label and note, and the facts in which a person gave
            a reason: patient data.

    Raises:
        ConflictError: Nothing has been stated about it, or nothing that may be told without
            label.
        NotFoundError: Its peer is not paired any more, so its signing key is not known; or its
            label has been erased.
        VaultLockedError: The facts lie under the vault key.
    """
    row = transfers.find(tx, prefix)
    known = facts.of_transfer(tx, row.peer_key, row.id)
    peer = peers.by_key(tx, row.peer_key)
    if row.offer is None or not known:
        raise ConflictError(f"nothing has been stated about transfer {row.id} yet")
    if peer is None or peer.sign_key is None:
        raise NotFoundError(
            f"the signing key of {row.peer_name} is not known here: it is not paired any more"
        )
    # A statement is signed as a whole: a reason cannot be left out of it, so the fact is.
    told_here = [fact for fact in known if with_label or "reason" not in told(station, fact)]
    if not told_here:
        raise ConflictError(
            f"all that was stated about transfer {row.id} gives a reason in free text",
            hint="--with-label writes it too: it may name a patient",
        )
    ours = Side(
        noise_key=station.keys.noise_public,
        sign_key=station.keys.sign_public,
        peer_id=encode_peer_id(station.keys.noise_public),
        name=station.config.name,
    )
    theirs = Side(
        noise_key=row.peer_key,
        sign_key=peer.sign_key,
        peer_id=encode_peer_id(row.peer_key),
        name=peer.told_name,
    )
    outgoing = row.direction is Direction.OUT
    summary = None
    if with_label:
        if papers.get(tx, station, row.id, papers.SUMMARY) is None:
            raise NotFoundError("label and note of that transfer have been erased")
        summary = messages.encode(papers.summary(tx, station, row.id))
    made = Proof(
        transfer=row.id,
        offer=row.offer,
        sender=ours if outgoing else theirs,
        receiver=theirs if outgoing else ours,
        facts=[_signed(station, fact, outgoing=outgoing) for fact in told_here],
        summary=summary,
    )
    tree: dict[str, Any] = msgspec.to_builtins(made)
    return tree


def _signed(station: Station, fact: facts.FactRow, *, outgoing: bool) -> Signed:
    whole = statements.opened(station, fact)
    by_sender = (fact.direction == Direction.OUT) == outgoing
    return Signed(
        by="sender" if by_sender else "receiver",
        statement=whole.statement,
        signature=whole.signature,
    )


def told(station: Station, fact: facts.FactRow) -> dict[str, str]:
    """Return what a fact says beside its kind and time: by whom, why; "" values left out.

    Raises:
        VaultLockedError: It lies under the vault key.
    """
    said = read_statement(statements.opened(station, fact).statement)
    return {name: value for name, value in said.detail.items() if value}
