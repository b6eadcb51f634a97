"""The receiving half of a link: records off the wire, chunks straight into pooled buffers.

Where somebody takes the chunks of a transfer (``Taker``), one call of a worker thread reads some
of them off the stream, lets each be opened, and keeps what was made of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from weakref import WeakSet

import trio

from medp2p import limits
from medp2p.errors import LinkLostError, LocalProtocolError, MedP2PError
from medp2p.net.buffers import Budget, BufferPool, free, let_go
from medp2p.net.stream import ByteStream
from medp2p.proto.frames import ChunkHeader, ChunkStart, ControlFrame, Frame, FrameReader
from medp2p.proto.records import FULL_RECORD_BYTES, ReceiveCipher, sealed_bytes

_CHUNK_BYTES: Final = sealed_bytes(limits.CHUNK_BYTES)
#: Of all links of a process.
_BUDGET: Final = Budget(limits.RECEIVE_BUFFERS)


@dataclass(frozen=True, slots=True)
class LinkStats:
    """Bytes on the wire so far, after the handshake, and seconds spent waiting for them."""

    bytes_sent: int
    bytes_received: int
    receive_waited: float


class Taker(Protocol):
    """Makes something of the chunks of a transfer, in worker threads, one after the other."""

    def take_untrusted(
        self, header: ChunkHeader, open_into: Callable[[memoryview], None], room: bytearray
    ) -> Any:
        """Open a chunk and make something of it that lies in ``room``.

        Args:
            header: As the peer says.
            open_into: Decrypts the chunk's body into so much memory as it has.
            room: ROOM_BYTES of memory, the chunk's until its release.

        Raises:
            MedP2PError: Whoever receives the chunk gets it raised there.
        """


class ReceivedChunk:
    """A chunk as it came off the wire in a pooled buffer: sealed, or what a taker made of it.

    Release it when it is not wanted any more: the link holds RECEIVE_CHUNKS of them.

    Attributes:
        header: Index, lengths, packing and digest as the peer says; that of the body is true.
    """

    def __init__(
        self, start: ChunkStart, cipher: ReceiveCipher, buffer: bytearray, pool: BufferPool
    ) -> None:
        self.header: ChunkHeader = start.header
        self._start = start
        self._cipher: ReceiveCipher | None = cipher
        self._buffer: bytearray | None = buffer
        self._pool = pool
        self._made: Any = None
        self._error: MedP2PError | None = None

    def open_into(self, out: memoryview) -> None:
        """Decrypt the body of the chunk. Blocking: call it in a worker thread.

        Args:
            out: Room for ``header.body`` bytes.

        Raises:
            RemoteProtocolError: It does not authenticate; end the link.
            LocalProtocolError: It was released or taken before, or ``out`` is too small.
        """
        if self._buffer is None or self._cipher is None:
            raise LocalProtocolError("chunk opened after its release")
        self._open(self._cipher, memoryview(self._buffer)[: self._start.sealed_bytes], out)

    def take(self, taker: Taker, sealed: memoryview) -> None:
        """Let a taker make something of the chunk. Blocking: call it in a worker thread.

        Args:
            taker: Gets the chunk's buffer to put that into.
            sealed: The chunk's records, which lie elsewhere.

        Raises:
            RemoteProtocolError: They do not authenticate.
        """
        cipher, self._cipher = self._cipher, None
        if self._buffer is None or cipher is None:
            raise LocalProtocolError("chunk taken twice")
        opened: list[MedP2PError] = []

        def open_into(out: memoryview) -> None:
            try:
                self._open(cipher, sealed, out)
            except MedP2PError as error:
                opened.append(error)
                raise

        try:
            self._made = taker.take_untrusted(self.header, open_into, self._buffer)
        except MedP2PError as error:
            if opened:
                raise
            let_go(error)  # which would keep the buffers, and this chunk
            self._error = error

    def _open(self, cipher: ReceiveCipher, sealed: memoryview, out: memoryview) -> None:
        cipher.open_into(self._start.first_nonce, sealed, out[: self.header.body])

    def check(self) -> None:
        """Raise what the taker raised, if it did.

        Raises:
            MedP2PError: That.
        """
        if self._error is not None:
            raise self._error

    @property
    def made(self) -> Any:
        """What the taker made of it. Raises as check."""
        self.check()
        return self._made

    @property
    def refused(self) -> bool:
        """Whether ``check`` raises."""
        return self._error is not None

    def forget(self) -> None:
        """Let go of what was made: a view of a buffer keeps that."""
        self._made = None

    def release(self) -> None:
        """Give the buffer back. Trio thread; idempotent."""
        if self._buffer is not None:
            self.forget()
            self._pool.release(self._buffer)
            self._buffer = None


class FrameSource:
    """Reads frames off a stream, one task at a time.

    Attributes:
        bytes_received: On the wire.
        waiting_since: Trio time since which nothing has been heard while this was reading; None
            while it was not. Whoever runs the source limits that.
    """

    def __init__(self, stream: ByteStream, cipher: ReceiveCipher, *, pairing: bool) -> None:
        self.bytes_received = 0
        self.waiting_since: float | None = None
        self._waited = 0.0
        self._stream = stream
        self._cipher = cipher
        self._reader = FrameReader(cipher, pairing=pairing)
        self._record = memoryview(bytearray(FULL_RECORD_BYTES))
        self._pool = BufferPool(limits.RECEIVE_CHUNKS, limits.ROOM_BYTES, _BUDGET)
        self._pending = False
        self._body_left = 0
        #: Records of the chunk that a taker gets next, and whether more than that is here.
        self._sealed = bytearray()
        self._behind = False
        self._taken: WeakSet[ReceivedChunk] = WeakSet()

    @property
    def waited_seconds(self) -> float:
        """How long this has waited for the network, all in all."""
        since = self.waiting_since
        return self._waited + (0.0 if since is None else trio.current_time() - since)

    async def next_frame(self) -> ControlFrame | ChunkStart:
        """Return the next frame; a chunk must be taken or skipped before the next call.

        Raises:
            LinkLostError: The stream ended or broke.
            RemoteProtocolError: The records do not authenticate or are not frames.

        Cancellation: nothing is lost; it can be called again.
        """
        while True:
            view = self._record[: self._reader.want]
            count = await self._take(view)
            for frame in self._reader.receive_data_untrusted(view[:count]):
                return self._begun(frame)  # at most one: never fed more than it wants

    def _begun(self, frame: Frame) -> ControlFrame | ChunkStart:
        if isinstance(frame, ChunkStart):
            self._pending, self._body_left = True, frame.sealed_bytes
        return frame

    async def _take_whole(self, start: ChunkStart) -> ReceivedChunk:
        """Read a chunk's records into a pooled buffer; waits while all are in use.

        Raises:
            LinkLostError: As next_frame, or the link was closed while waiting.

        Cancellation: the chunk is lost; skip_chunk and next_frame still work.
        """
        buffer = await self._room()
        chunk = ReceivedChunk(start, self._cipher, buffer, self._pool)
        try:
            await self._fill(buffer, start.sealed_bytes)
        except BaseException:
            chunk.release()
            raise
        self._chunk_read()
        return chunk

    async def take_chunks(
        self, start: ChunkStart, taker: Taker | None
    ) -> tuple[list[ReceivedChunk], ControlFrame | ChunkStart | None]:
        """Let a taker have a chunk, and what follows it: chunks that are here, TAKE_CHUNKS in all.

        Without a taker it is one chunk, which its receiver opens.

        Returns:
            The chunks, at least one, only the last of them refused; and the frame behind them, if
            it is known: a chunk's must be taken or skipped before the next call.

        Raises:
            LinkLostError: As next_frame, or the link was closed while waiting.
            RemoteProtocolError: Records do not authenticate or are not frames.

        Cancellation: chunks are lost; skip_chunk and next_frame still work.
        """
        if taker is None:
            return [await self._take_whole(start)], None
        if not self._sealed:
            self._sealed = bytearray(_CHUNK_BYTES)
        rooms = [await self._room()]
        chunks: list[ReceivedChunk] = []
        frame: ControlFrame | ChunkStart | None = start
        try:
            while not chunks and isinstance(frame, ChunkStart):
                if not self._behind:
                    await self._fill(self._sealed, start.sealed_bytes)
                self._add_rooms(rooms)
                frame = await trio.to_thread.run_sync(self._take_ready, frame, taker, rooms, chunks)
                self._keep_rooms(rooms, 0 if chunks else 1)
        except BaseException:
            self._keep_rooms(rooms, 0)
            for chunk in chunks:
                chunk.release()
            raise
        return chunks, frame

    def _take_ready(
        self,
        start: ChunkStart,
        taker: Taker,
        rooms: list[bytearray],
        chunks: list[ReceivedChunk],
    ) -> ControlFrame | ChunkStart | None:
        """In a worker thread: take chunks while they are here and there is room for them."""
        frame: ControlFrame | ChunkStart | None = start
        while isinstance(frame, ChunkStart) and rooms:
            view = memoryview(self._sealed)[: frame.sealed_bytes]
            while self._body_left:
                count = self._stream.receive_ready(view[-self._body_left :])
                self._body_left -= count
                self.bytes_received += count
                if not count:
                    self._behind = False
                    return frame
            self._chunk_read()
            chunk = ReceivedChunk(frame, self._cipher, rooms[-1], self._pool)
            chunk.take(taker, view)
            self._taken.add(chunk)
            chunks.append(chunk)
            rooms.pop()
            frame = None if chunk.refused else self._frame_ready()
        self._behind = frame is not None
        return frame

    def _add_rooms(self, rooms: list[bytearray]) -> None:
        """Take buffers for chunks that may be here; none is held while those are waited for."""
        while len(rooms) < limits.TAKE_CHUNKS and (room := self._pool.acquire_nowait()) is not None:
            rooms.append(room)

    def _keep_rooms(self, rooms: list[bytearray], count: int) -> None:
        while len(rooms) > count:
            self._pool.release(rooms.pop())

    def _frame_ready(self) -> ControlFrame | ChunkStart | None:
        """Return the next frame, as far as it is here."""
        while count := self._stream.receive_ready(view := self._record[: self._reader.want]):
            self.bytes_received += count
            for frame in self._reader.receive_data_untrusted(view[:count]):
                return self._begun(frame)
        return None

    async def _room(self) -> bytearray:
        try:
            return self._pool.acquire_nowait() or await self._pool.acquire()
        except trio.ClosedResourceError:
            raise LinkLostError("the link is closed") from None

    async def _fill(self, buffer: bytearray, size: int) -> None:
        """Read what is left of the pending chunk's records to the end of their place."""
        view = memoryview(buffer)[:size]
        while self._body_left:
            self._body_left -= await self._take(view[-self._body_left :])

    def _chunk_read(self) -> None:
        self._pending = False
        self._reader.chunk_taken()

    async def next_control(self) -> ControlFrame:
        """Return the next message, whatever is pending or comes before it. Raises as next_frame."""
        while True:
            await self.skip_chunk()
            frame = await self.next_frame()
            if isinstance(frame, ControlFrame):
                return frame

    async def skip_chunk(self) -> None:
        """Read and drop what is left of a chunk; nothing happens where none is pending."""
        while self._body_left:
            self._body_left -= await self._take(self._record[: self._body_left])
        if self._pending:
            self._chunk_read()

    def close(self) -> None:
        """Let a task that waits for a buffer go."""
        self._pool.close()

    def drop(self) -> None:
        """Free the memory of chunks that nobody will open any more."""
        for chunk in self._taken:
            chunk.forget()
        self._pool.drop()
        free(self._sealed)

    async def _take(self, view: memoryview) -> int:
        """Read a beginning of the view, 1 byte at least: any byte is a sign of life."""
        self.waiting_since = since = trio.current_time()
        try:
            count = await self._stream.receive_into(view)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLostError("the network failed while receiving") from error
        finally:
            self.waiting_since = None
            self._waited += trio.current_time() - since
        if count == 0:
            raise LinkLostError("the peer closed the connection without goodbye")
        self.bytes_received += count
        return count
