"""The receiving half of a link: records off the wire, chunks straight into pooled buffers."""

from typing import Final

import trio

from medp2p import limits
from medp2p.errors import LinkLostError, LocalProtocolError
from medp2p.net.buffers import Budget, BufferPool
from medp2p.net.stream import ByteStream
from medp2p.proto.frames import ChunkHeader, ChunkStart, ControlFrame, FrameReader
from medp2p.proto.records import FULL_RECORD_BYTES, ReceiveCipher, sealed_bytes

_CHUNK_BYTES: Final = sealed_bytes(limits.CHUNK_BYTES)
#: Of all links of a process.
_BUDGET: Final = Budget(limits.RECEIVE_BUFFERS)


class ReceivedChunk:
    """A chunk as it came off the wire, still sealed, in a pooled buffer.

    Release it when it is opened or not wanted: the link holds RECEIVE_CHUNKS of them.

    Attributes:
        header: Index, lengths, packing and digest as the peer says; that of the body is true.
    """

    def __init__(
        self, start: ChunkStart, cipher: ReceiveCipher, buffer: bytearray, pool: BufferPool
    ) -> None:
        self.header: ChunkHeader = start.header
        self._start = start
        self._cipher = cipher
        self._buffer: bytearray | None = buffer
        self._pool = pool

    def open_into(self, out: memoryview) -> None:
        """Decrypt the body of the chunk. Blocking: call it in a worker thread.

        Args:
            out: Room for ``header.body`` bytes.

        Raises:
            RemoteProtocolError: It does not authenticate; end the link.
            LocalProtocolError: It was released before, or ``out`` is too small.
        """
        if self._buffer is None:
            raise LocalProtocolError("chunk opened after its release")
        sealed = memoryview(self._buffer)[: self._start.sealed_bytes]
        self._cipher.open_into(self._start.first_nonce, sealed, out[: self.header.body])

    def release(self) -> None:
        """Give the buffer back. Trio thread; idempotent."""
        if self._buffer is not None:
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
        self._pool = BufferPool(limits.RECEIVE_CHUNKS, _CHUNK_BYTES, _BUDGET)
        self._body_left = 0

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
                if isinstance(frame, ChunkStart):
                    self._body_left = frame.sealed_bytes
                return frame  # at most one: never fed more than it wants

    async def take_chunk(self, start: ChunkStart) -> ReceivedChunk:
        """Read a chunk's records into a pooled buffer; waits while all are in use.

        Raises:
            LinkLostError: As next_frame, or the link was closed while waiting.

        Cancellation: the chunk is lost; skip_chunk and next_frame still work.
        """
        try:
            buffer = self._pool.acquire_nowait() or await self._pool.acquire()
        except trio.ClosedResourceError:
            raise LinkLostError("the link is closed") from None
        chunk = ReceivedChunk(start, self._cipher, buffer, self._pool)
        view = memoryview(buffer)[: start.sealed_bytes]
        try:
            while self._body_left:
                self._body_left -= await self._take(view[-self._body_left :])
        except BaseException:
            chunk.release()
            raise
        self._reader.chunk_taken()
        return chunk

    async def skip_chunk(self) -> None:
        """Read and drop what is left of a chunk; nothing happens where none is pending."""
        pending = self._body_left > 0
        while self._body_left:
            self._body_left -= await self._take(self._record[: self._body_left])
        if pending:
            self._reader.chunk_taken()

    def close(self) -> None:
        """Let a task that waits for a buffer go."""
        self._pool.close()

    def drop(self) -> None:
        """Free the memory of chunks that nobody will open any more."""
        self._pool.drop()

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
