"""The sending side of a transfer conversation: offer, wait, manifest, chunks, receipt.

Source: docs/PROTOCOL.md, "Transfer".
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from medp2p import limits
from medp2p.daemon import applying, endings, instances, papers, statements
from medp2p.daemon.exchange import Exchange
from medp2p.daemon.outflow import Outflow
from medp2p.daemon.station import Station
from medp2p.errors import (
    LinkLostError,
    MedP2PError,
    RemoteProtocolError,
    SourceChangedError,
    SourceError,
    TransferAbortedError,
    TransferRefusedError,
)
from medp2p.groups import one_error
from medp2p.layout import Layout
from medp2p.manifest import pages
from medp2p.model import ENDED, PEER, RULE, WHOLE, Reason, State
from medp2p.net.link import Link, ReceivedChunk
from medp2p.parcel.contents import Contents
from medp2p.parcel.scan import Scan
from medp2p.proto.messages import (
    Abort,
    Answer,
    Bye,
    Message,
    Need,
    Offer,
    Page,
    Progress,
    Wait,
)
from medp2p.text import format_bytes
from medp2p.vault import transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx

log = logging.getLogger(__name__)

#: What a refusal code of the receiver means for the transfer.
_REFUSALS = {"blocked": State.DECLINED}


@dataclass
class Sending:
    """One transfer conversation, as its sender.

    Attributes:
        undecided: The offer rests until someone decides; the outbox may then give the
            connection to another transfer and come back later.
        full: The receiver takes no offer now.
        chunks_done: Durable at the receiver, as it told last.
        moved: Chunks became durable at the receiver; a link that is lost then was a good one.
        rests: Called when it begins to rest.
        attempt: How often in a row this transfer's conversations have failed before.
        running: Limits how many transfers of a peer move chunks at a time.
    """

    station: Station
    link: Link
    peer: PeerRow
    facts: Exchange
    transfer: str
    running: trio.CapacityLimiter
    rests: Callable[[], None] = lambda: None
    attempt: int = 0
    undecided: bool = False
    full: bool = False
    moved: bool = False
    chunks_done: int = 0
    _needed: list[tuple[int, int]] = field(default_factory=list)

    async def run(self) -> None:
        """Carry the transfer from the offer to its receipt, or as far as the link lasts.

        Raises:
            LinkLostError: Come back with the same id.
        """
        station = self.station
        with station.board.listen(self.transfer) as bell, one_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, bell.wait)
                await self._converse()
                nursery.cancel_scope.cancel()

    async def _watch(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Tell the receiver when someone here ends the transfer."""
        while True:
            await wait()
            row = await self.station.read(transfers.get, self.transfer)
            if row.state in ENDED or row.state is State.RECALLING:
                code = "recalled" if row.state is State.RECALLING else row.state.value
                await self.facts.deliver()
                await self.link.send(Abort(code, "ended by its sender"))
                raise TransferAbortedError("ended here")

    async def _converse(self) -> None:
        station = self.station
        row = await station.read(transfers.get, self.transfer)
        if _is_out_of_our_hands(row.state):
            await self.link.close()
            return
        offer = await station.read(papers.summary, station, self.transfer)
        await self.link.send(offer)
        await self._state(State.OFFERED, None)
        answer = await self._answered()
        if answer is None:
            await self.link.close()
            return
        scan, geometry = await station.read(papers.sources, station, row.scan_id or "")
        await self._pages(geometry, answer.pages)
        await self._data(scan, geometry, offer)

    async def _answered(self) -> Answer | None:
        """Wait for a decision; None: it is over, or the receiver takes no offer now."""
        while True:
            item = await self._message()
            if isinstance(item, Answer):
                if item.state == "accepted":
                    self.undecided = False
                    await self._state(State.ACCEPTED, None)
                    return item
                if item.state == "ended":
                    await self._ended_there()
                    return None
                if item.state == "full":
                    self.full = True
                    text = "the receiver has too many undecided offers of ours"
                    await self._state(State.WAITING, ("receiver-full", text))
                    return None
                await self._state(State.OFFERED, ("undecided", "nobody has decided there yet"))
                self.undecided = True
                self.rests()
            else:
                await self._unexpected(item)

    async def _ended_there(self) -> None:
        """It is over at the receiver; if none of its facts has told us how, that is an end."""
        claim = await self.station.read(papers.claim, self.station, self.transfer)
        if claim is not None:
            await self._prove(claim)
        await self.station.write(self._aborted, Abort("ended", ""))
        await self.station.touch(self.transfer)

    async def _prove(self, claim: tuple[bytes, int]) -> None:
        """The receiver has it, and we have lost the root (a restored backup): read all again."""
        station = self.station
        row = await station.read(transfers.get, self.transfer)
        offer = await station.read(papers.summary, station, self.transfer)
        scan, geometry = await station.read(papers.sources, station, row.scan_id or "")
        outflow = await self._outflow(scan, geometry, offer)
        failure: SourceChangedError | None = None
        try:
            root = await outflow.send([])
            await station.write(self._proved, root, outflow.contents, claim)
        except SourceChangedError as error:
            failure = error
        finally:
            outflow.close()
        if failure is not None:
            await station.write(self._fail, failure)

    def _proved(self, tx: Tx, root: bytes, contents: Contents, claim: tuple[bytes, int]) -> None:
        row = transfers.get(tx, self.transfer)
        if row.state not in ENDED and row.state not in WHOLE:
            self._keep_root(tx, root, contents)
            applying.seal(tx, self.station, transfers.get(tx, row.id), *claim)

    async def _outflow(self, scan: Scan, geometry: Layout, offer: Offer) -> Outflow:
        """Open the sources; the contents of images are noted while they are read."""
        station = self.station
        marks = await station.read(papers.get, station, self.transfer, papers.INSTANCES)
        images = [] if marks is None else instances.open_images(marks, geometry.entries)
        return Outflow(
            station=station,
            link=self.link,
            transfer=self.transfer,
            geometry=geometry,
            scan=scan,
            salt=offer.salt,
            offer=offer.offer,
            contents=Contents(geometry, images),
        )

    async def _pages(self, geometry: Layout, held: int) -> None:
        cut = await trio.to_thread.run_sync(lambda: list(pages(geometry.entries)))
        for number, page in enumerate(cut):
            last = number + 1 == len(cut)
            if number >= held or last:
                await self.link.send(Page(number, page, last=last))

    # --- data -------------------------------------------------------------------------

    async def _data(self, scan: Scan, geometry: Layout, offer: Offer) -> None:
        station = self.station
        outflow = await self._outflow(scan, geometry, offer)
        try:
            await self._needs()
            async with self.running:
                with station.board.moving(
                    self.transfer, geometry.chunk_count, geometry.chunk_count
                ) as live:
                    live.chunks_done -= sum(end - first for first, end in self._needed)
                    await self._state(State.SENDING, None)
                    try:
                        await self._rounds(outflow)
                    finally:
                        self.moved = self.moved or live.chunks_moved > 0
        except MedP2PError as error:
            cause = outflow.failure or error
            if isinstance(cause, SourceChangedError) or self._given_up(cause):
                await station.write(self._fail, cause)
                await station.touch(self.transfer)
            elif isinstance(cause, SourceError):
                text = "a source file cannot be read just now; it is tried again"
                await self._state(State.WAITING, ("source-unreadable", text))
                self.moved = False
            if cause is error:
                raise
            raise cause from error
        finally:
            outflow.close()

    def _given_up(self, cause: MedP2PError) -> bool:
        return isinstance(cause, SourceError) and self.attempt >= limits.SOURCE_TRIES

    async def _rounds(self, outflow: Outflow) -> None:
        """Send what is needed, commit, and again if the receiver asks; until the receipt."""
        while True:
            needed, self._needed = self._needed, []
            with one_error():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._follow, outflow, nursery.cancel_scope)
                    root = await outflow.send(needed)
                    await self.station.write(self._keep_root, root, outflow.contents)
                    await outflow.commit(root)
            row = await self.station.read(transfers.get, self.transfer)
            if row.state in WHOLE or row.state in ENDED:
                await self.link.close()
                return
            await self._state(State.SENDING, None)

    async def _follow(self, outflow: Outflow, scope: trio.CancelScope) -> None:
        """While chunks go out: progress, and the end of the round (receipt or more needs)."""
        station = self.station
        while True:
            item = await self._message(receipts=True)
            if item is None:
                row = await station.read(transfers.get, self.transfer)
                if row.state in WHOLE or row.state in ENDED:
                    scope.cancel()
                    return
            elif isinstance(item, Progress):
                self.moved, self.chunks_done = True, item.chunks
                outflow.told(item)
                live = station.board.live.get(self.transfer)
                if live is not None:
                    live.chunks_done = item.chunks
                station.board.progress(self.transfer)
            elif isinstance(item, Need):
                self._needed += item.ranges
                if item.last:
                    return
            elif isinstance(item, Wait):
                await self._show_wait(item)
            else:
                await self._unexpected(item)

    async def _needs(self) -> None:
        """Wait for the list of missing chunks; show why the receiver waits, if it does."""
        while True:
            item = await self._message()
            if isinstance(item, Need):
                self._needed += item.ranges
                if item.last:
                    return
            elif isinstance(item, Wait):
                await self._show_wait(item)
            else:
                await self._unexpected(item)

    async def _show_wait(self, wait: Wait) -> None:
        text = (
            f"the receiver needs {format_bytes(wait.needed_bytes)} "
            f"and has {format_bytes(wait.free_bytes)} free"
        )
        await self._state(State.PAUSED, (wait.code, text))

    # --- messages and states ----------------------------------------------------------

    async def _message(self, *, receipts: bool = False) -> Message | None:
        """Return the next message not about facts; with ``receipts``, None after facts."""
        while True:
            item = await self.link.receive()
            if isinstance(item, ReceivedChunk):
                raise RemoteProtocolError("a chunk from the receiver")
            if not await self.facts.handled(item):
                return item
            if receipts:
                return None

    async def _unexpected(self, item: Message | None) -> None:
        if isinstance(item, Abort):
            await self.station.write(self._aborted, item)
            await self.station.touch(self.transfer)
            raise TransferAbortedError(f"the receiver ended it: {item.code}")
        if isinstance(item, Bye):
            raise LinkLostError("the receiver ended the conversation")
        raise RemoteProtocolError("a message out of turn")

    async def _state(self, state: State, reason: tuple[str, str] | None) -> None:
        await self.station.write(self._set_state, state, reason)
        await self.station.touch(self.transfer)

    def _set_state(self, tx: Tx, state: State, reason: tuple[str, str] | None) -> None:
        row = transfers.get(tx, self.transfer)
        if _is_out_of_our_hands(row.state):
            return
        now = self.station.now_ms()
        why = None if reason is None else Reason(reason[0], reason[1], now)
        decided = row.decided_ms
        if decided is None and state is State.ACCEPTED:
            decided = now
        transfers.update(
            tx, self.transfer, state=state, reason=why, decided_ms=decided, updated_ms=now
        )

    def _keep_root(self, tx: Tx, root: bytes, contents: Contents) -> None:
        """All was read: its root, and what its images hold, for addenda to come.

        The papers of what was ended meanwhile are closed and stay as they are. Its root is kept
        all the same: a receipt that crosses the end may name another one.
        """
        row = transfers.update(tx, self.transfer, root=root)
        if row.state in ENDED or row.state in WHOLE:
            return
        marks = papers.get(tx, self.station, self.transfer, papers.INSTANCES)
        if contents.wanted and marks is not None:
            data = instances.filled(marks, contents)
            papers.put_spool(tx, self.station, self.transfer, papers.INSTANCES, data)

    def _fail(self, tx: Tx, error: MedP2PError) -> None:
        """The file's name is patient data: it is kept sealed beside the error."""
        row = transfers.get(tx, self.transfer)
        if _is_out_of_our_hands(row.state):
            return
        statements.queue_fact(tx, self.station, row, "failed", {"code": error.code})
        changed = isinstance(error, SourceChangedError)
        told: MedP2PError = SourceChangedError("a source file is not what was confirmed")
        if not changed:
            told = SourceError("a source file cannot be read")
        endings.end(
            tx,
            self.station,
            row,
            State.FAILED,
            event="fail",
            actor=RULE,
            outcome="failure",
            error=told,
            names=error.text.encode(),
        )

    def _aborted(self, tx: Tx, abort: Abort) -> None:
        row = transfers.get(tx, self.transfer)
        if _is_out_of_our_hands(row.state):
            return
        state = _REFUSALS.get(abort.code, State.FAILED)
        words = f"the receiver ended it: {abort.code}"
        refused = state is State.DECLINED
        error = TransferRefusedError(words) if refused else TransferAbortedError(words)
        endings.end(
            tx, self.station, row, state, event="abort", actor=PEER,
            outcome="failure", error=error,
        )  # fmt: skip


def _is_out_of_our_hands(state: State) -> bool:
    """Tell whether nothing that happens here changes a transfer any more; facts do."""
    return state in ENDED or state in WHOLE or state is State.RECALLING
