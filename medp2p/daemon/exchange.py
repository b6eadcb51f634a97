"""Facts over a session: ours until acknowledged, theirs applied once.

Source: docs/PROTOCOL.md, "Facts".
"""

import logging

from medp2p import limits
from medp2p.daemon import endings, statements
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError, LinkLostError, RemoteProtocolError
from medp2p.model import transfer_id_from_bytes
from medp2p.net.link import Link
from medp2p.proto import facts as signed
from medp2p.proto.messages import Bye, Facts, FactsAck, Message
from medp2p.vault import facts, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)


def pending(tx: Tx, peer_key: bytes) -> list[facts.FactRow]:
    """Return our facts for a peer that it has not acknowledged, oldest first."""
    return facts.pending(tx, peer_key, limits.MAX_FACTS)


def to_message(station: Station, rows: list[facts.FactRow]) -> Facts:
    """Return the message that carries these facts."""
    return Facts(facts=[statements.opened(station, row) for row in rows], last=True)


async def exchange_facts(link: Link, station: Station, peer: PeerRow) -> None:
    """Send what the peer has not acknowledged, apply what it sends; both at once.

    Raises:
        RemoteProtocolError: A fact is not signed by the pinned key of the peer.
    """
    rows = await station.read(pending, peer.noise_key)
    await link.send(to_message(station, rows))
    acknowledged = arrived = False
    while not (acknowledged and arrived):
        message = await link.receive()
        if isinstance(message, Facts):
            await take_facts(link, station, peer, message)
            arrived = arrived or message.last
        elif isinstance(message, FactsAck):
            await station.write(statements.acknowledged, station, peer, message.number)
            acknowledged = True
        elif isinstance(message, Bye):
            raise LinkLostError("the peer ended the conversation")
        else:
            raise RemoteProtocolError("something else amid the exchange of facts")


async def deliver(link: Link, station: Station, peer: PeerRow) -> None:
    """Send facts that came up during a conversation; their FactsAck is read elsewhere."""
    rows = await station.read(pending, peer.noise_key)
    message = to_message(station, rows)
    if rows and link.conversation.may_send(message):  # else a batch is under way already
        await link.send(message)


async def take_facts(link: Link, station: Station, peer: PeerRow, message: Facts) -> None:
    """Apply facts of a peer in one transaction, then acknowledge them.

    What changed is told to all who wait for it, also when the link is lost meanwhile.
    """
    number, changed = await station.write(apply_facts, station, peer, message)
    try:
        if message.last:
            await link.send(FactsAck(number))
    finally:
        for row in changed:
            station.announce(row)


async def handled(link: Link, station: Station, peer: PeerRow, message: Message) -> bool:
    """Take a message that has to do with facts; tell whether it had."""
    if isinstance(message, Facts):
        await take_facts(link, station, peer, message)
    elif isinstance(message, FactsAck):
        await station.write(statements.acknowledged, station, peer, message.number)
    else:
        return False
    return True


def apply_facts(
    tx: Tx, station: Station, peer: PeerRow, message: Facts
) -> tuple[int, list[TransferRow]]:
    """Apply each new fact once.

    Returns:
        The number up to which all are applied, and the transfers that they were about.

    Raises:
        RemoteProtocolError: Wrong signature, wrong parties, or numbers out of order.
    """
    if message.facts and peer.sign_key is None:
        raise RemoteProtocolError("facts before a signing key")
    changed: dict[str, None] = {}
    for fact in message.facts:
        statement = signed.verify_untrusted(fact, peer.sign_key or b"")
        mine, theirs = station.keys.noise_public, peer.noise_key
        if {statement.sender, statement.receiver} != {mine, theirs}:
            raise RemoteProtocolError("a fact between other parties")
        try:
            fresh = statements.keep_theirs(tx, station, theirs, fact, statement)
        except ConflictError as error:  # it goes on with higher numbers once it has heard ours
            station.ledger.alarm(
                tx, kind="set-back", text=error.text, peer=peer.name, peer_key=theirs
            )
            continue
        if fresh:
            endings.apply_statement(tx, station, peer, statement)
            changed[transfer_id_from_bytes(statement.transfer)] = None
    rows = [row for each in changed if (row := transfers.maybe(tx, each)) is not None]
    return facts.last_in(tx, peer.noise_key), rows
