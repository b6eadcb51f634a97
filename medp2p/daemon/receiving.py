"""The receiving side of a transfer conversation: offer, decision, manifest, chunks, seal.

Source: docs/PROTOCOL.md, "Transfer"; write order: docs/VAULT.md.
"""

from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import NoReturn, TypeVar

import trio

from medp2p import digest, limits
from medp2p.daemon import endings, offers, papers, room, statements
from medp2p.daemon.exchange import Exchange
from medp2p.daemon.intake import Intake, still_open
from medp2p.daemon.station import Station
from medp2p.errors import (
    IntegrityError,
    LinkLostError,
    MedP2PError,
    NoSpaceError,
    RemoteProtocolError,
    SealBrokenError,
    SourceChangedError,
    StoreError,
    TransferAbortedError,
)
from medp2p.groups import one_error
from medp2p.layout import Layout
from medp2p.manifest import Entry, decode_entries_untrusted
from medp2p.model import ENDED, PEER, WHOLE, Reason, State
from medp2p.net.link import Link, ReceivedChunk
from medp2p.proto.messages import Abort, Answer, Bye, Commit, Message, Need, Offer, Page
from medp2p.vault import journal, transfers
from medp2p.vault.age import SealWriter
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

M = TypeVar("M", Offer, Page)


@dataclass
class Receiving:
    """One transfer conversation, as its receiver."""

    station: Station
    link: Link
    peer: PeerRow
    facts: Exchange
    transfer: str = ""

    async def run(self) -> None:
        """Serve the conversation from the offer to its end.

        Raises:
            LinkLostError: The sender comes back with the same id.
            RemoteProtocolError: The sender broke the protocol.
        """
        offer = await self._expect(Offer)
        verdict = await self.station.write(offers.consider, self.station, self.peer, offer)
        if verdict.refused is not None:
            await self.link.send(Abort(verdict.refused, "this offer is refused"))
            return
        if verdict.full:
            await self.link.send(Answer("full"))
            await self._until_bye()
            return
        self.transfer = verdict.transfer
        await self.station.touch(self.transfer)
        await self._serve()

    async def _serve(self) -> None:
        row = await self._decided()
        if row.state in WHOLE or row.state in ENDED:
            await self._tell_outcome()
            return
        if row.erasing:
            return
        failure: MedP2PError | None = None
        try:
            await self._carry(row)
        except MedP2PError as error:
            failure = error
        except BaseException:
            # Ended from outside (another connection took over, the peer is blocked as a clone, a
            # bug): if its sender does not come back, nobody else says that nothing comes.
            with suppress(MedP2PError), trio.move_on_after(limits.CLEANUP_SECONDS, shield=True):
                await self._parked(LinkLostError("the conversation was ended here"))
            raise
        if failure is not None:
            await self._end_badly(failure)

    async def _end_badly(self, error: MedP2PError) -> None:
        """End what can never become whole; park what the sender may come back for."""
        if isinstance(error, (SourceChangedError, IntegrityError, SealBrokenError)):
            await self.station.write(self._fail, error)
            await self.station.touch(self.transfer)
            await self.link.send(Abort(error.code, error.text))
            return
        await self._parked(error)
        raise error

    async def _parked(self, error: MedP2PError) -> None:
        await self.station.write(self._park, error)
        await self.station.touch(self.transfer)

    async def _carry(self, row: TransferRow) -> None:
        """Take manifest and chunks, unless someone here ends the transfer meanwhile."""
        with self.station.board.listen(self.transfer) as bell, one_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, bell.wait)
                geometry = await self._manifest(row)
                writer = await self._room(geometry)
                await self._data(geometry, writer)
                nursery.cancel_scope.cancel()

    async def _watch(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Tell the sender when someone here ends the transfer."""
        while True:
            row = await self.station.read(transfers.get, self.transfer)
            if row.state in ENDED:
                await self.facts.deliver()
                await self.link.send(Abort(row.state.value, "ended by its receiver"))
                raise TransferAbortedError("ended here")
            await wait()

    def _park(self, tx: Tx, error: MedP2PError) -> None:
        """The conversation is over and the transfer is not: say so, and how far it is."""
        row = transfers.get(tx, self.transfer)
        if row.state is not State.RECEIVING:
            return
        now = self.station.now_ms()
        reason = Reason("link-lost", "the connection ended; the sender tries again", now)
        if isinstance(error, (NoSpaceError, StoreError)):
            reason = Reason(error.code, error.text, now)
        transfers.update(
            tx,
            row.id,
            state=State.PAUSED,
            reason=reason,
            chunks_done=journal.done_count(tx, row.id),
            updated_ms=now,
        )

    # --- decision ---------------------------------------------------------------------

    async def _decided(self) -> TransferRow:
        """Rest on heartbeats until someone has decided; "undecided" is said once."""
        said = False
        with self.station.board.listen(self.transfer) as bell:
            while True:
                row = await self.station.read(transfers.get, self.transfer)
                if row.state is not State.OFFERED:
                    return row
                if not said:
                    await self.link.send(Answer("undecided"))
                    said = True
                await self._message_or(bell.wait)

    async def _message_or(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Return when ``wait`` does; a message of the peer ends the conversation."""
        ended: list[Message | ReceivedChunk] = []
        with one_error():
            async with trio.open_nursery() as nursery:

                async def ring() -> None:
                    await wait()
                    nursery.cancel_scope.cancel()

                async def listen() -> None:
                    ended.append(await self._message())
                    nursery.cancel_scope.cancel()

                nursery.start_soon(ring)
                nursery.start_soon(listen)
        if ended:
            await self._unexpected(ended[0])

    async def _tell_outcome(self) -> None:
        """Say again all that we have stated about this transfer, then that it is over.

        The sender may have lost it (a restored backup); what it has applied it leaves alone.
        """
        await self.facts.deliver(again=self.transfer)
        await self.link.send(Answer("ended"))
        await self._until_bye()

    # --- manifest ---------------------------------------------------------------------

    async def _manifest(self, row: TransferRow) -> Layout:
        """Take the manifest, or find it kept; return the geometry that follows from it."""
        if await self.station.read(transfers.get_blob, row.id, papers.MANIFEST) is not None:
            geometry = await self.station.read(papers.layout, self.station, row.id)
            await self.link.send(Answer("accepted", pages=2**32 - 1))
            while not (await self._expect(Page)).last:
                pass
            return geometry
        await self.link.send(Answer("accepted"))
        entries: list[Entry] = []
        size = 0
        hasher = digest.ManifestHasher()
        while True:
            page = await self._expect(Page)
            hasher.update(page.entries)
            entries += await trio.to_thread.run_sync(decode_entries_untrusted, page.entries)
            size += len(page.entries)
            if len(entries) > row.entries or size > limits.MAX_MANIFEST_BYTES:
                raise RemoteProtocolError("more entries than offered, or too long names")
            if page.last:
                break
        offer = await self.station.read(papers.summary, self.station, row.id)
        geometry = await trio.to_thread.run_sync(offers.agreed, offer, entries, hasher.digest())
        await self.station.write(papers.put_manifest, self.station, row.id, entries)
        return geometry

    # --- room -------------------------------------------------------------------------

    async def _room(self, geometry: Layout) -> SealWriter:
        """Open the sealed file, or reserve it; wait for space as long as it takes."""
        station, told = self.station, None
        while True:
            try:
                return await trio.to_thread.run_sync(
                    room.open_or_create, station, self.transfer, geometry.size
                )
            except NoSpaceError as error:
                wait = offers.no_space(station, geometry.size)
                if wait != told:
                    await self.link.send(wait)
                told = wait
                if await station.write(room.pause, station, self.transfer, error.text):
                    await station.touch(self.transfer)
            await self._message_or(partial(trio.sleep, limits.SPACE_POLL_SECONDS))

    # --- data -------------------------------------------------------------------------

    async def _data(self, geometry: Layout, writer: SealWriter) -> None:
        station = self.station
        with closing(writer):
            await station.write(self._begin)
            await station.touch(self.transfer)
            offer = await station.read(papers.summary, station, self.transfer)
            key = digest.stream_key(offer.salt)
            done = await station.read(journal.done_count, self.transfer)
            with station.board.moving(self.transfer, done, geometry.chunk_count) as live:
                intake = Intake(station, self.link, self.transfer, geometry, key, writer, live)
                with closing(intake), self.link.taking(intake):
                    missing = await intake.want()
                    while True:
                        await self._need(missing)
                        commit = await intake.run(self._take)
                        missing = await intake.want()
                        if not missing:
                            break
                await self._seal(geometry, key, offer, writer, commit)

    def _begin(self, tx: Tx) -> None:
        still_open(tx, self.transfer)
        now = self.station.now_ms()
        transfers.update(tx, self.transfer, state=State.RECEIVING, reason=None, updated_ms=now)

    async def _need(self, missing: list[tuple[int, int]]) -> None:
        for at in range(0, max(1, len(missing)), limits.MAX_RANGES):
            part = missing[at : at + limits.MAX_RANGES]
            await self.link.send(Need(part, last=at + limits.MAX_RANGES >= len(missing)))

    async def _seal(
        self,
        geometry: Layout,
        key: bytes,
        offer: Offer,
        writer: SealWriter,
        commit: Commit,
    ) -> None:
        """Both roots equal, flushed, renamed, journalled: only then the receipt."""
        station = self.station

        def root_here(tx: Tx) -> bytes:
            digests = journal.digests(tx, self.transfer)
            return digest.root_digest(key, offer.offer, geometry.size, digests)

        root = await station.read(root_here)
        if root != commit.root:
            raise IntegrityError("the two sides hold different bytes: their roots differ")
        # Nothing may come between the name and the row about it.
        with trio.move_on_after(limits.COMMIT_SECONDS, shield=True) as scope:
            await trio.to_thread.run_sync(writer.finish, station.home.sealed(self.transfer))
            await station.write(self._sealed, root, geometry.chunk_count)
        if scope.cancelled_caught:  # the next conversation finds the file, and writes the row
            raise StoreError("the disk does not keep up: what came is not sealed yet")
        await station.touch(self.transfer)
        station.files.step("receipt")
        await self.facts.deliver()
        await self._until_bye()

    def _sealed(self, tx: Tx, root: bytes, chunks: int) -> None:
        """The state, its fact and its audit record, in one transaction."""
        station, now = self.station, self.station.now_ms()
        still_open(tx, self.transfer)
        station.files.step("commit")
        # What the spool key opens stays for the look at the files (checking.py), then it goes.
        transfers.update(
            tx,
            self.transfer,
            state=State.SEALED,
            reason=None,
            root=root,
            sealed_ms=now,
            updated_ms=now,
            chunks_done=chunks,
        )
        journal.forget(tx, self.transfer)
        row = transfers.get(tx, self.transfer)
        statements.queue_fact(tx, station, row, "sealed")
        endings.record(tx, station, row, "seal", PEER, detail={"root": root.hex()})

    def _fail(self, tx: Tx, error: MedP2PError) -> None:
        row = transfers.get(tx, self.transfer)
        if row.state in ENDED or row.state in WHOLE:
            return
        statements.queue_fact(tx, self.station, row, "failed", {"code": error.code})
        endings.end(
            tx,
            self.station,
            row,
            State.FAILED,
            event="fail",
            actor=PEER,
            outcome="failure",
            error=error,
        )

    # --- messages ---------------------------------------------------------------------

    async def _take(self) -> ReceivedChunk | Commit:
        item = await self._message()
        if isinstance(item, (ReceivedChunk, Commit)):
            return item
        return await self._unexpected(item)

    async def _message(self) -> Message | ReceivedChunk:
        """Return the next message that is not about facts."""
        while True:
            item = await self.link.receive()
            if isinstance(item, ReceivedChunk):
                return item
            if not await self.facts.handled(item):
                return item

    async def _expect(self, kind: type[M]) -> M:
        item = await self._message()
        if not isinstance(item, kind):
            return await self._unexpected(item)
        return item

    async def _unexpected(self, item: Message | ReceivedChunk) -> NoReturn:
        """End the conversation on Bye and Abort; refuse anything else."""
        if isinstance(item, Abort):
            await self.station.write(self._aborted, item)
            if self.transfer:
                await self.station.touch(self.transfer)
        if isinstance(item, (Abort, Bye)):
            raise TransferAbortedError("the sender ended the conversation")
        raise RemoteProtocolError("a message out of turn")

    def _aborted(self, tx: Tx, abort: Abort) -> None:
        """The sender gave up for good; its signed fact may follow, this only says it sooner."""
        if not self.transfer:
            return
        row = transfers.get(tx, self.transfer)
        if row.state in ENDED or row.state in WHOLE or abort.code == "recalled":
            return  # a recall is asked for and answered in signed facts only
        state = State.CANCELLED if abort.code == "cancelled" else State.FAILED
        error = TransferAbortedError(f"the sender ended it: {abort.code}")
        endings.end(tx, self.station, row, state, event="abort", actor=PEER, error=error)

    async def _until_bye(self) -> None:
        """Take what is left until the sender says goodbye."""
        while not isinstance(await self._message(), Bye):
            pass
