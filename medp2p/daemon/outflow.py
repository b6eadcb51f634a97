"""Chunks out: read, hash, encrypt, in one call of a worker thread; sent in order.

The trio thread only moves finished frames (net.link). What was hashed is journalled here
too, so that a chunk is never sent twice with different bytes.
"""

from dataclasses import dataclass, field, replace

import trio

from medp2p import digest, limits
from medp2p.daemon.compressing import Pace
from medp2p.daemon.packing import ChunkPacking, Packed, Room, rooms
from medp2p.daemon.scheduler import ChunkScheduler
from medp2p.daemon.station import Station
from medp2p.errors import LinkLostError, MedP2PError, SourceChangedError, SourceError
from medp2p.groups import one_error
from medp2p.layout import FilePart, Layout
from medp2p.net.link import ChunkSlot, Link
from medp2p.parcel.contents import Contents
from medp2p.parcel.reader import Reader, check_unchanged
from medp2p.parcel.scan import Scan
from medp2p.proto.frames import PACKING_FEATURE, ChunkHeader, Packing
from medp2p.proto.messages import Abort, Commit, Progress
from medp2p.text import path_text
from medp2p.vault import journal
from medp2p.vault.store import Tx


@dataclass(frozen=True, slots=True)
class _Job:
    """A chunk to be sent.

    Attributes:
        index: Which one.
        slot: Its place in the link.
        asked: How to compress it (daemon.packing).
    """

    index: int
    slot: ChunkSlot
    asked: Packing | None


@dataclass(frozen=True, slots=True)
class _Done:
    """A chunk that is sealed, and perhaps sent.

    Attributes:
        header: Of it.
        packed: What came of compressing it, if that was asked.
        waited: Seconds that the network was waited for.
    """

    header: ChunkHeader
    packed: Packed | None
    waited: float


@dataclass
class Outflow:
    """The data phase of one transfer at its sender.

    Attributes:
        contents: Takes what images hold, while it is sent.
        failure: Why a chunk could not be sent, known before the peer can react to its Abort.
    """

    station: Station
    link: Link
    transfer: str
    geometry: Layout
    scan: Scan
    salt: bytes
    offer: bytes
    contents: Contents
    failure: MedP2PError | None = None
    _hashed: list[tuple[int, bytes]] = field(default_factory=list)
    _journalling: trio.Lock = field(default_factory=trio.Lock)
    _known: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._key = digest.stream_key(self.salt)
        self._reader = Reader(self.scan, self.geometry, self.contents)
        agreed = self.link.conversation.agreed(PACKING_FEATURE)
        slow = self.link.peer_key in self.station.board.slow_links
        self._packing = ChunkPacking(
            self._reader,
            self.geometry,
            Pace(trio.current_time(), slow=slow),
            allowed=self.station.config.compression and agreed,
        )

    def close(self) -> None:
        """Let go of the source files, and remember whether the link was slow."""
        self._reader.close()
        slow_links, pace = self.station.board.slow_links, self._packing.pace
        (slow_links.add if pace.on and pace.proved else slow_links.discard)(self.link.peer_key)

    async def send(self, ranges: list[tuple[int, int]]) -> bytes:
        """Send these chunks; return the root over all chunks of the transfer.

        Raises:
            SourceChangedError: Names the file; an Abort is on its way to the receiver.
        """
        station = self.station
        self._known = await station.read(journal.digest_map, self.transfer)
        with rooms() as idle:
            await self._pump(ChunkScheduler(ranges), idle)
        await self._journal()
        await self._hash_the_rest()
        await self._read_the_rest()
        await self._sources_as_scanned()
        return await station.read(self._root)

    def _root(self, tx: Tx) -> bytes:
        digests = journal.digests(tx, self.transfer)
        return digest.root_digest(self._key, self.offer, self.geometry.size, digests)

    def told(self, progress: Progress) -> None:
        """Take in what the receiver says of its pace."""
        if progress.waited is not None:
            self._packing.pace.told(progress.waited / 100, trio.current_time())

    async def commit(self, root: bytes) -> None:
        """Tell the receiver that all is sent."""
        await self.link.send(Commit(root))

    # --- one chunk --------------------------------------------------------------------

    async def _pump(self, scheduler: ChunkScheduler, idle: list[Room]) -> None:
        """Keep a worker call going in each room; frames leave in the order of the scheduler.

        One room is enough until chunks are compressed: its thread sends them, too, and a second
        one would only push in between.
        """
        first, *spare = idle
        reserving = trio.Lock()

        async def work(room: Room) -> None:
            while room is first or self._packing.pace.on:
                if len(self._hashed) >= limits.JOURNAL_GROUP_BYTES // limits.CHUNK_BYTES:
                    await self._journal()
                async with reserving:
                    group = await self._reserve(scheduler)
                if not group:
                    return
                while spare and self._packing.pace.on:
                    nursery.start_soon(work, spare.pop())
                await self._send_group(group, room)
            spare.append(room)

        with one_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work, first)

    async def _reserve(self, scheduler: ChunkScheduler) -> list[_Job]:
        """Take the next few chunks, and a place for each: as many as the link has room for now."""
        if not scheduler.left:
            return []
        group: list[_Job] = []
        self._packing.pace.waits(trio.current_time())
        alone = not self._packing.pace.on  # one thread reads, seals and sends: see _pump
        most = await self.link.wait_places(alone=alone)
        while len(group) < most and (index := scheduler.next()) is not None:
            length = self.geometry.chunk_length(index)
            slot = self.link.reserve_more(length)
            if slot is None:
                if group:
                    scheduler.put_back(index)
                    break
                slot = await self.link.reserve_chunk(length)
            group.append(_Job(index, slot, self._packing.next()))
        self._packing.pace.placed(len(group), trio.current_time())
        return group

    async def _send_group(self, group: list[_Job], room: Room) -> None:
        """Prepare some chunks in a worker thread, and let them leave.

        Raises:
            MedP2PError: What stopped that; all other work ends then, for nothing may leave any
                more, or nothing can, behind a place that stays empty.
        """
        # Cancelled before it began, the places would stay empty, and hold up an Abort.
        with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True) as shield:
            done, error = await trio.to_thread.run_sync(self._prepare, group, room)
        if shield.cancelled_caught:
            await trio.lowlevel.checkpoint_if_cancelled()
            raise LinkLostError("no thread was free to read the next chunks")
        for job, one in zip(group, done, strict=False):
            job.slot.push()
            if one.packed is not None:
                self._packing.learn(one.packed)
            self._sent(one.header)
        self._packing.pace.waited(sum(one.waited for one in done))
        if error is not None:
            self._stopped_by(error, group[len(done)].slot)
            raise error

    def _stopped_by(self, error: MedP2PError, slot: ChunkSlot) -> None:
        """Keep why a chunk could not be sent, and tell the peer in its place.

        The first one's message is the last that leaves. A file that cannot be read just now ends
        the link, not the transfer: it is tried again. After a cancel an Abort was said already.
        """
        if self.failure is not None:
            return
        self.failure, abort = error, _abort(error)
        if not isinstance(error, SourceError) and self.link.conversation.may_send(abort):
            slot.fail(abort)

    def _prepare(self, group: list[_Job], room: Room) -> tuple[list[_Done], MedP2PError | None]:
        """In a worker thread: whole chunks, from source files to ciphertext.

        Returns:
            Their headers, as far as they are sealed, and what stopped it there.
        """
        done: list[_Done] = []
        try:
            for job in group:
                done.append(self._prepare_one(job, room))
        except MedP2PError as error:
            return done, error
        return done, None

    def _prepare_one(self, job: _Job, room: Room) -> _Done:
        view = memoryview(room.plain)[: self.geometry.chunk_length(job.index)]
        header = ChunkHeader(job.index, len(view), self._digest(job.index, view))
        body, packed = view, None
        if job.asked is not None:
            packed = self._packing.pack(job.index, room, len(view), job.asked)
            body = packed.body
            if packed.packing is not Packing.NONE:
                header = replace(header, packing=packed.packing, packed=len(body))
        job.slot.seal(header, body)
        return _Done(header, packed, job.slot.send_ready())

    def _digest(self, index: int, view: memoryview) -> bytes:
        self._reader.read_chunk_into(index, view)
        self._refuse_replaced(index, len(view))
        found = digest.chunk_digest(self._key, index, view)
        if self._known.get(index, found) != found:
            paths = [self.scan.entries[entry].path for entry in self._files_in(index, len(view))]
            raise SourceChangedError(f"the content changed of: {_names(paths)}")
        return found

    def _refuse_replaced(self, index: int, length: int) -> None:
        """Another file in the place of one that was confirmed, and nothing sent of it yet.

        A copy with the same size and time would pass every other check, whoever is on it.
        Where chunks of the old one are journalled, they are read again and compared instead.
        """
        if not self._reader.replaced:
            return
        for entry in self._files_in(index, length):
            if entry in self._reader.replaced and not self._begun(entry):
                names = _names([self.scan.entries[entry].path])
                raise SourceChangedError(f"replaced by another file: {names}")

    def _begun(self, entry: int) -> bool:
        return any(index in self._known for index in self._reader.chunks_of(entry))

    def _files_in(self, index: int, length: int) -> list[int]:
        start = index * limits.CHUNK_BYTES
        parts = self.geometry.segments(start, start + length)
        return sorted({part.index for part in parts if isinstance(part, FilePart)})

    def _sent(self, header: ChunkHeader) -> None:
        self._known[header.index] = header.digest
        self._hashed.append((header.index, header.digest))
        live = self.station.board.live.get(self.transfer)
        if live is not None:
            live.count(header)

    async def _journal(self) -> None:
        """Keep what was hashed. No new group begins meanwhile, so that a crash costs no more."""
        async with self._journalling:
            if pairs := list(self._hashed):
                await self.station.write(journal.put_sent, self.transfer, pairs)
                del self._hashed[: len(pairs)]

    # --- what need not be sent --------------------------------------------------------

    async def _hash_the_rest(self) -> None:
        """Read and hash chunks that are done there but unknown here (a crash, a restore)."""
        count = self.geometry.chunk_count
        if len(self._known) == count:
            return
        plain = memoryview(bytearray(limits.CHUNK_BYTES))
        for index in range(count):
            if index not in self._known:
                view = plain[: self.geometry.chunk_length(index)]
                found = await trio.to_thread.run_sync(self._digest, index, view)
                self._known[index] = found
                self._hashed.append((index, found))
        await self._journal()

    async def _read_the_rest(self) -> None:
        """Read once more what an earlier conversation has sent of images, to know its content."""
        missing = self.contents.missing()
        plain = memoryview(bytearray(limits.CHUNK_BYTES if missing else 0))
        for index in missing:
            view = plain[: self.geometry.chunk_length(index)]
            await trio.to_thread.run_sync(self._digest, index, view)

    async def _sources_as_scanned(self) -> None:
        """Before the commit: look at every file once more; read touched ones again.

        A changed ctime or inode alone may be a virus scanner or a remount: equal bytes go on.
        """
        touched: set[int] = set(self._reader.touched)
        try:
            changed = await trio.to_thread.run_sync(check_unchanged, self.scan, touched)
            if changed:
                raise SourceChangedError(f"changed, gone or short: {_names(changed)}")
            plain = memoryview(bytearray(limits.CHUNK_BYTES))
            for entry in sorted(touched):
                for index in self._reader.chunks_of(entry):
                    view = plain[: self.geometry.chunk_length(index)]
                    await trio.to_thread.run_sync(self._digest, index, view)
        except SourceChangedError as error:
            self.failure = error
            await self.link.send(_abort(error))
            raise


def _names(paths: list[bytes]) -> str:
    more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(map(path_text, paths[:5])) + more


def _abort(error: MedP2PError) -> Abort:
    """Return what the receiver is told: the kind of the error, never a file name."""
    return Abort(error.code, "the sender cannot go on")
