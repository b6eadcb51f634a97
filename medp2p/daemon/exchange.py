"""Facts over a session: ours until acknowledged, theirs applied once.

Source: docs/PROTOCOL.md, "Facts".
"""

import itertools
from collections import deque
from collections.abc import Collection

import trio

from medp2p import limits
from medp2p.daemon import applying, statements
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError, LinkLostError, RemoteProtocolError
from medp2p.model import Direction, transfer_id_from_bytes
from medp2p.net.link import Link
from medp2p.proto import facts as signed
from medp2p.proto.messages import Bye, Facts, FactsAck, Message
from medp2p.vault import facts, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def pending(tx: Tx, peer_key: bytes, features: Collection[str]) -> list[facts.FactRow]:
    """Return our facts for a peer that it has not acknowledged, oldest first, up to a round.

    Those from the first one on that it would not understand wait until it does: acknowledging a
    later one would acknowledge them too.
    """
    rows = facts.pending(tx, peer_key, limits.MAX_FACTS_ROUND)
    return list(itertools.takewhile(lambda row: signed.understood(row.kind, features), rows))


def to_messages(station: Station, rows: list[facts.FactRow]) -> list[Facts]:
    """Return the messages that carry these facts; the last one ends the batch."""
    opened = [statements.opened(station, row) for row in rows]
    parts = [opened[at : at + limits.MAX_FACTS] for at in range(0, len(opened), limits.MAX_FACTS)]
    return [Facts(part, last=part is parts[-1]) for part in parts] or [Facts([], last=True)]


class Exchange:
    """The facts of both sides over one link.

    What is acknowledged belongs to the peer, what was told to the link: the same facts may go
    over two links at once, and then one of them acknowledges what is acknowledged already.

    Attributes:
        link: Of a conversation with the peer.
        peer: The other side.
    """

    def __init__(self, link: Link, station: Station, peer: PeerRow) -> None:
        self.link, self.peer = link, peer
        self._station = station
        #: Number of the first fact of each batch whose FactsAck was not looked at; 0: it is empty.
        #: Two, when one was told while the answer to the one before lay there already.
        self._told: deque[int] = deque()
        # Of two who have something to tell, the second looks what is left when the first is done.
        self._turn = trio.Lock()

    async def run(self) -> None:
        """Send all that the peer has not acknowledged, apply what it sends; both at once.

        Returns once nothing of ours is unacknowledged, so that an offer follows all older facts.

        Raises:
            RemoteProtocolError: A fact is not signed by the pinned key of the peer, or it
                acknowledges nothing of what it was told.
        """
        async with self._turn:
            await self._tell(await self._pending())
        acknowledged = arrived = False
        while not (acknowledged and arrived):
            item = await self.link.receive()
            if isinstance(item, Facts):
                await self._take(item)
                arrived = arrived or item.last
            elif isinstance(item, FactsAck):
                acknowledged = not await self._acknowledged(item)
            elif isinstance(item, Bye):
                raise LinkLostError("the peer ended the conversation")
            else:
                raise RemoteProtocolError("something else amid the exchange of facts")

    async def deliver(self, *, again: str | None = None) -> bool:
        """Send what is not acknowledged; its FactsAck is read by whoever receives.

        Args:
            again: A transfer of which also the acknowledged facts are told.

        Returns:
            Whether anything was sent: not while a batch is under way, nor without facts.
        """
        async with self._turn:
            rows = await self._pending()
            if again is not None:
                rows = sorted([*await self._before(again), *rows], key=lambda row: row.number)
            if not rows or not self.link.conversation.may_send(Facts([], last=True)):
                return False
            await self._tell(rows)
            return True

    async def handled(self, message: Message) -> bool:
        """Take a message that has to do with facts; tell whether it had.

        Raises:
            RemoteProtocolError: As run.

        Cancellation: what the peer said is applied and acknowledged before it takes effect.
        """
        with trio.move_on_after(limits.SEND_SECONDS, shield=True):
            if isinstance(message, Facts):
                await self._take(message)
            elif isinstance(message, FactsAck):
                await self._acknowledged(message)
            else:
                return False
            return True
        raise LinkLostError("the peer takes no data")

    async def _pending(self) -> list[facts.FactRow]:
        features = self.link.hello.features
        return await self._station.read(pending, self.peer.noise_key, features)

    async def _before(self, transfer: str) -> list[facts.FactRow]:
        """Return our facts about a transfer that the peer has acknowledged before."""
        features = self.link.hello.features
        return [
            row
            for row in await self._station.read(facts.of_transfer, self.peer.noise_key, transfer)
            if row.direction is Direction.OUT
            and row.acked
            and signed.understood(row.kind, features)
        ]

    async def _tell(self, rows: list[facts.FactRow]) -> None:
        for message in to_messages(self._station, rows):
            await self.link.send(message)
        self._told.append(rows[0].number if rows else 0)

    async def _acknowledged(self, answer: FactsAck) -> bool:
        """Note what the peer has applied; tell it what is left or came up meanwhile, if anything.

        Each round acknowledges a fact at least: no peer can make this go on for ever.
        """
        if answer.number < self._told.popleft():
            raise RemoteProtocolError("an acknowledgement of nothing that was told")
        await self._station.write(statements.acknowledged, self._station, self.peer, answer.number)
        return await self.deliver()

    async def _take(self, message: Facts) -> None:
        """Apply facts of a peer in one transaction, then acknowledge them.

        What changed is told to all who wait for it, also when the link is lost meanwhile.
        """
        station, peer = self._station, self.peer
        number, changed, answered = await station.write(_apply, station, peer, message)
        if answered:  # the peer may hang up before they go out here
            station.call_peer(peer.noise_key)
        try:
            if message.last:
                await self.link.send(FactsAck(number))
        finally:
            for row in changed:
                station.announce(row)


def _apply(
    tx: Tx, station: Station, peer: PeerRow, message: Facts
) -> tuple[int, list[TransferRow], bool]:
    """Apply facts; also tell whether that has brought up facts of ours."""
    before = facts.next_number(tx, peer.noise_key)
    number, changed = apply_facts(tx, station, peer, message)
    return number, changed, facts.next_number(tx, peer.noise_key) > before


def apply_facts(
    tx: Tx, station: Station, peer: PeerRow, message: Facts
) -> tuple[int, list[TransferRow]]:
    """Apply each new fact once.

    One about a transfer that is not known here, or beyond MAX_FACTS_PER_TRANSFER, is acknowledged
    and not kept: whoever may say anything could fill the disk with it.

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
        if statement.number > facts.last_in(tx, theirs) + limits.MAX_FACT_STEP:
            raise RemoteProtocolError("a fact with a number far ahead")
        try:
            if not _has_room(tx, station, peer, statement):
                statements.note_theirs(tx, theirs, fact, statement)
                continue
            fresh = statements.keep_theirs(tx, station, theirs, fact, statement)
        except ConflictError as error:  # it goes on with higher numbers once it has heard ours
            station.ledger.alarm(
                tx, kind="set-back", text=error.text, peer=peer.name, peer_key=theirs
            )
            continue
        if fresh:
            applying.apply_statement(tx, station, peer, statement)
            changed[transfer_id_from_bytes(statement.transfer)] = None
    rows = [row for each in changed if (row := transfers.maybe(tx, each)) is not None]
    return facts.last_in(tx, peer.noise_key), rows


def _has_room(tx: Tx, station: Station, peer: PeerRow, statement: signed.Statement) -> bool:
    """Return whether a fact is kept; raise an alarm where a peer says too much of a transfer."""
    transfer = transfer_id_from_bytes(statement.transfer)
    if transfers.maybe(tx, transfer) is None:
        return False
    if facts.count_in(tx, peer.noise_key, transfer) < limits.MAX_FACTS_PER_TRANSFER:
        return True
    text = "it states more about a transfer than can be true; that is not kept"
    key = peer.noise_key
    station.ledger.alarm(tx, kind="too-many-facts", text=text, peer=peer.name, peer_key=key)
    return False
