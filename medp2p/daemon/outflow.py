"""Chunks out: read, hash, encrypt, in one call of a worker thread; sent in order.

The trio thread only moves finished frames (net.link). What was hashed is journalled here
too, so that a chunk is never sent twice with different bytes.
"""

from dataclasses import dataclass, field

import trio

from medp2p import digest, limits
from medp2p.daemon.scheduler import ChunkScheduler
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError, SourceChangedError, SourceError
from medp2p.layout import FilePart, Layout
from medp2p.net.link import ChunkSlot, Link
from medp2p.parcel.reader import Reader, check_unchanged
from medp2p.parcel.scan import Scan
from medp2p.proto.frames import ChunkHeader
from medp2p.proto.messages import Abort, Commit
from medp2p.text import path_text
from medp2p.vault import journal
from medp2p.vault.store import Tx


@dataclass
class Outflow:
    """The data phase of one transfer at its sender.

    Attributes:
        failure: Why a chunk could not be sent, known before the peer can react to its Abort.
    """

    station: Station
    link: Link
    transfer: str
    geometry: Layout
    scan: Scan
    salt: bytes
    offer: bytes
    failure: MedP2PError | None = None
    _hashed: list[tuple[int, bytes]] = field(default_factory=list)
    _hashed_at: float = 0.0
    _known: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._key = digest.stream_key(self.salt)
        self._reader = Reader(self.scan, self.geometry)

    def close(self) -> None:
        """Let go of the source files."""
        self._reader.close()

    async def send(self, ranges: list[tuple[int, int]]) -> bytes:
        """Send these chunks; return the root over all chunks of the transfer.

        Raises:
            SourceChangedError: Names the file; an Abort is on its way to the receiver.
        """
        station = self.station
        self._known = await station.read(journal.digest_map, self.transfer)
        await self._pump(ChunkScheduler(ranges))
        await self._journal()
        await self._hash_the_rest()
        await self._sources_as_scanned()

        return await station.read(self._root)

    def _root(self, tx: Tx) -> bytes:
        digests = journal.digests(tx, self.transfer)
        return digest.root_digest(self._key, self.offer, self.geometry.size, digests)

    async def commit(self, root: bytes) -> None:
        """Tell the receiver that all is sent."""
        await self.link.send(Commit(root))

    # --- one chunk --------------------------------------------------------------------

    async def _pump(self, scheduler: ChunkScheduler) -> None:
        """Keep a few worker calls going; frames leave in the order of the scheduler."""
        plains = [memoryview(bytearray(limits.CHUNK_BYTES)) for _ in range(limits.WORKERS)]
        idle_in, idle_out = trio.open_memory_channel[memoryview](len(plains))
        for plain in plains:
            idle_in.send_nowait(plain)
        failed: list[MedP2PError] = []

        async def work(group: list[tuple[int, ChunkSlot]], plain: memoryview) -> None:
            # Cancelled before it began, the places would stay empty, and hold up an Abort.
            with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True) as shield:
                found, error = await trio.to_thread.run_sync(self._prepare, group, plain)
            if shield.cancelled_caught:
                return
            for (index, slot), one in zip(group, found, strict=False):
                self.link.push(slot)
                self._sent(index, one)
            if error is not None:
                failed.append(error)
                self.failure = self.failure or error
                # The first one's message is the last that leaves. A file that cannot be read
                # just now ends the link, not the transfer: it is tried again.
                if not failed[1:] and not isinstance(error, SourceError):
                    group[len(found)][1].fail(_abort(error))
            idle_in.send_nowait(plain)

        async with trio.open_nursery() as nursery:
            while not failed and scheduler.left:
                plain = await idle_out.receive()
                try:
                    group = await self._reserve(scheduler)
                except MedP2PError:
                    if failed:  # its Abort was the last thing to leave: that is the error to tell
                        break
                    raise
                nursery.start_soon(work, group, plain)
                if len(self._hashed) >= limits.JOURNAL_GROUP_BYTES // limits.CHUNK_BYTES:
                    await self._journal()
        if failed:
            raise failed[0]

    async def _reserve(self, scheduler: ChunkScheduler) -> list[tuple[int, ChunkSlot]]:
        """Take the next few chunks, and a place for each: as many as the link has room for now."""
        group: list[tuple[int, ChunkSlot]] = []
        most = await self.link.wait_places()
        while len(group) < most and (index := scheduler.next()) is not None:
            length = self.geometry.chunk_length(index)
            slot = self.link.reserve_more(length) if group else None
            if slot is None:
                if group:
                    scheduler.put_back(index)
                    break
                slot = await self.link.reserve_chunk(length)
            group.append((index, slot))
        return group

    def _prepare(
        self, group: list[tuple[int, ChunkSlot]], plain: memoryview
    ) -> tuple[list[bytes], MedP2PError | None]:
        """In a worker thread: whole chunks, from source files to ciphertext.

        Returns:
            Their digests, as far as they are sealed, and what stopped it there.
        """
        done: list[bytes] = []
        try:
            for index, slot in group:
                view = plain[: self.geometry.chunk_length(index)]
                found = self._digest(index, view)
                slot.seal(ChunkHeader(index, len(view), found), view)
                done.append(found)
        except MedP2PError as error:
            return done, error
        return done, None

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

    def _sent(self, index: int, found: bytes) -> None:
        self._known[index] = found
        self._hashed.append((index, found))
        live = self.station.board.live.get(self.transfer)
        if live is not None:
            live.chunks_moved += 1
            live.moved_bytes += self.geometry.chunk_length(index)

    async def _journal(self) -> None:
        pairs, self._hashed = self._hashed, []
        if pairs:
            await self.station.write(journal.put_sent, self.transfer, pairs)

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
