"""Chunks in: decrypt, check, seal; claim, write; then durable, then journalled.

One thread takes chunks off the link up to their ciphertext for the sealed file (``Taker``); others
write that. The trio thread only moves finished buffers, many at a time.
Order (docs/VAULT.md, "Write order"): a claim leads its data, a *done* record follows it.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from medp2p import digest, limits
from medp2p.daemon.live import Bell, Live
from medp2p.daemon.station import Station
from medp2p.errors import (
    IntegrityError,
    LocalProtocolError,
    MedP2PError,
    RemoteProtocolError,
    SourceChangedError,
    TransferAbortedError,
)
from medp2p.groups import one_error
from medp2p.layout import Bytes, Layout
from medp2p.model import ENDED, WHOLE
from medp2p.net.buffers import let_go
from medp2p.net.link import Link, ReceivedChunk
from medp2p.proto.frames import PACKING_FEATURE, ChunkHeader, Packing
from medp2p.proto.messages import Commit, Progress
from medp2p.proto.packing import Unpacker
from medp2p.vault import journal, transfers
from medp2p.vault.age import Sealed, SealWriter
from medp2p.vault.store import Tx

Take = Callable[[], Awaitable[ReceivedChunk | Commit]]


@dataclass
class Intake:
    """The data phase of one transfer at its receiver.

    Attributes:
        key: Keys the chunk digests (digest.stream_key).
        writer: The sealed file; each index is sealed with one plaintext only.
    """

    station: Station
    link: Link
    transfer: str
    geometry: Layout
    key: bytes
    writer: SealWriter
    live: Live
    _wanted: bytearray = field(default_factory=bytearray)
    _plain: bytearray = field(default_factory=lambda: bytearray(limits.CHUNK_BYTES))
    _unpacker: Unpacker = field(default_factory=Unpacker)
    _written: list[int] = field(default_factory=list)
    _written_bytes: int = 0
    _some: Bell = field(default_factory=Bell)
    _full: Bell = field(default_factory=Bell)
    _told: tuple[float, float] = (0.0, 0.0)
    _flushing: trio.Lock = field(default_factory=trio.Lock)
    _settled: trio.Event = field(default_factory=trio.Event)

    async def run(self, take: Take) -> Commit:
        """Take chunks until the sender's Commit; all of them are journalled when it returns.

        Raises:
            SourceChangedError: An index came with another digest than before.
            IntegrityError: A chunk is not what its header says.
            StoreError: The disk failed: the writer can make nothing durable any more.
        """
        self._told = trio.current_time(), self.link.stats.receive_waited
        work_in, work_out = trio.open_memory_channel[list[ReceivedChunk]](limits.CLAIM_GROUP)
        try:
            with one_error():
                async with trio.open_nursery() as outer:
                    outer.start_soon(self._journal)
                    async with trio.open_nursery() as inner:
                        inner.start_soon(self._work, work_out)
                        async with work_in:
                            commit = await self._receive(take, work_in)
                    outer.cancel_scope.cancel()
            await self._settle()  # whatever keeps that from being done ends the conversation
        finally:
            # Cut, stopped or refused: what was written is kept, so that it is not sent again.
            with trio.move_on_after(limits.COMMIT_SECONDS, shield=True), suppress(MedP2PError):
                await self._settle()
        return commit

    async def want(self) -> list[tuple[int, int]]:
        """Return the [first, end) ranges of chunks to ask for; only these are taken.

        Raises:
            TransferAbortedError: The transfer was ended meanwhile, or is whole.
        """
        count = self.geometry.chunk_count

        def lacking(tx: Tx) -> list[tuple[int, int]]:
            still_open(tx, self.transfer)  # the journal of what is whole is empty
            return journal.missing_ranges(tx, self.transfer, count)

        missing = await self.station.read(lacking)
        self._wanted = bytearray(count)  # a byte for each chunk, 16 MiB at the very most
        for first, end in missing:
            self._wanted[first:end] = b"\1" * (end - first)
        return missing

    def close(self) -> None:
        """Free the memory, as soon as no thread uses it; whatever still comes is refused."""
        self._plain = bytearray()

    async def _receive(
        self, take: Take, work: trio.MemorySendChannel[list[ReceivedChunk]]
    ) -> Commit:
        while True:
            item = await take()
            if not isinstance(item, ReceivedChunk):
                return item
            chunks = [item, *self.link.receive_chunks()]
            for chunk in chunks:
                chunk.check()
                self.live.count(chunk.header)
            await work.send(chunks)

    async def _work(self, work: trio.MemoryReceiveChannel[list[ReceivedChunk]]) -> None:
        """Claim and write what was taken, in groups.

        One at a time: two writers of one file would only wait for each other in the kernel.
        """
        waiting: list[ReceivedChunk] = []
        async with work:
            while await _whole_group(waiting, work):
                group = waiting[: limits.CLAIM_GROUP]
                del waiting[: limits.CLAIM_GROUP]
                size = sum(chunk.header.length for chunk in group)
                while self._written_bytes + size > limits.JOURNAL_GROUP_BYTES:
                    await self._settled.wait()
                await trio.to_thread.run_sync(self._store, group)
                self._written_bytes += size
                for chunk in group:
                    chunk.release()
                    self._written.append(chunk.header.index)
                self._some.ring()
                if self._is_full():
                    self._full.ring()

    def _store(self, group: list[ReceivedChunk]) -> None:
        """In a worker thread: commit (index, digest) of all of them before any is written."""
        with self.station.store.write() as tx:
            self.station.files.step("claim")
            still_open(tx, self.transfer)
            pairs = [(chunk.header.index, chunk.header.digest) for chunk in group]
            if journal.claim(tx, self.transfer, pairs):
                raise SourceChangedError("a chunk came again with other bytes than before")
        try:
            self.writer.put(chunk.made for chunk in group)
        except MedP2PError as error:
            let_go(error)
            raise

    def take_untrusted(
        self, header: ChunkHeader, open_into: Callable[[memoryview], None], room: bytearray
    ) -> Sealed:
        """See Taker: from ciphertext of the link to ciphertext of the sealed file, in memory.

        Raises:
            RemoteProtocolError: A chunk that was not asked for.
            IntegrityError: A chunk is not what its header says.
            LocalProtocolError: After close.
        """
        index, length, plain = header.index, header.length, self._plain
        if not plain:
            raise LocalProtocolError("a chunk after the end of its transfer")
        if index >= len(self._wanted) or not self._wanted[index]:
            raise RemoteProtocolError("a chunk that was not asked for")
        if length != self.geometry.chunk_length(index):
            raise RemoteProtocolError("a chunk of the wrong length")
        self._wanted[index] = 0
        view = memoryview(plain)[:length]
        if header.packing is Packing.NONE:
            open_into(view)
        else:
            body = memoryview(room)[: header.body]  # free until the chunk is sealed
            open_into(body)
            self._unpacker.unpack_untrusted(body, plain, length, header.packing)
        if digest.chunk_digest(self.key, index, view) != header.digest:
            raise IntegrityError("a chunk arrived damaged")
        self._check_headers(index, view)
        return self.writer.seal(index * limits.CHUNK_BYTES, view, room)

    def _check_headers(self, index: int, view: memoryview) -> None:
        """What was approved is what arrives: headers and padding follow from the manifest."""
        start = index * limits.CHUNK_BYTES
        at = 0
        for part in self.geometry.segments(start, start + len(view)):
            if isinstance(part, Bytes):
                if view[at : at + len(part.data)] != part.data:
                    raise IntegrityError("the stream is not laid out as its manifest says")
                at += len(part.data)
            else:
                at += part.length

    async def _journal(self) -> None:
        """Flush and journal what was written, every so many bytes or seconds.

        A flush begins with half a group, so that the other half can be written meanwhile.
        """
        while True:
            await self._some.wait()
            with trio.move_on_after(limits.JOURNAL_GROUP_SECONDS):
                while not self._is_full():
                    await self._full.wait()
            await self._flush()

    def _is_full(self) -> bool:
        return self._written_bytes >= limits.JOURNAL_GROUP_BYTES // 2

    async def _flush(self) -> None:
        """Data durable, then the journal says so, then the sender hears of it."""
        if await self._settle():
            self.station.board.progress(self.transfer)
            await self.link.send(Progress(self.live.chunks_done, self._waited()))

    def _waited(self) -> int | None:
        """Return in which part of the time since the last call bytes were waited for, percent."""
        if not self.link.conversation.agreed(PACKING_FEATURE):
            return None
        now = (trio.current_time(), self.link.stats.receive_waited)
        time, waited = (one - before for one, before in zip(now, self._told, strict=True))
        self._told = now
        return min(100, max(0, round(100 * waited / time))) if time > 0 else 0

    async def _settle(self) -> bool:
        """Data durable, then the journal says so; return whether there was any."""
        async with self._flushing:
            indexes = list(self._written)
            if not indexes:
                return False
            await trio.to_thread.run_sync(self._make_durable, indexes)
            del self._written[: len(indexes)]
            self._written_bytes = sum(map(self.geometry.chunk_length, self._written))
            self.live.chunks_done += len(indexes)
        settled, self._settled = self._settled, trio.Event()
        settled.set()
        return True

    def _make_durable(self, indexes: list[int]) -> None:
        """In a worker thread. After a failed sync the writer refuses each further one."""
        self.writer.sync()
        with self.station.store.write() as tx:
            self.station.files.step("journal")
            journal.done(tx, self.transfer, indexes)


async def _whole_group(
    waiting: list[ReceivedChunk], work: trio.MemoryReceiveChannel[list[ReceivedChunk]]
) -> bool:
    """Wait for as many chunks as are claimed together, for a while; False: there are no more."""
    with suppress(trio.EndOfChannel):
        if not waiting:
            waiting += await work.receive()
        with trio.move_on_after(limits.CLAIM_LINGER_SECONDS):
            while len(waiting) < limits.CLAIM_GROUP:
                waiting += await work.receive()
    return bool(waiting)


def still_open(tx: Tx, transfer: str) -> None:
    """Refuse to add to a transfer that was ended meanwhile, or is whole.

    The rows of what was ended are being erased; what is sealed must never change again.

    Raises:
        TransferAbortedError: It was.
    """
    state = transfers.get(tx, transfer).state
    if state in ENDED or state in WHOLE:
        raise TransferAbortedError("the transfer was ended meanwhile")
