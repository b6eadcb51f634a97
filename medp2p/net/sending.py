"""The sending half of a link: frames leave in the order in which their nonces were taken.

A control message is sealed at once. A chunk gets its place first (``reserve``), is sealed in a
worker thread into a pooled buffer, and leaves when all that was reserved before it has left.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from medp2p import limits
from medp2p.errors import LinkLostError, LocalProtocolError, MedP2PError
from medp2p.net.buffers import Budget, BufferPool
from medp2p.net.stream import ByteStream
from medp2p.proto.frames import PACKED_HEADER_BYTES, ChunkHeader, encode_control
from medp2p.proto.messages import Message, encode
from medp2p.proto.records import SendCipher, record_count, sealed_bytes

_HEADER_BYTES: Final = sealed_bytes(PACKED_HEADER_BYTES)
_SLOT_BYTES: Final = _HEADER_BYTES + sealed_bytes(limits.CHUNK_BYTES)
#: Of all links of a process.
_BUDGET: Final = Budget(limits.SEND_BUFFERS)


class _Frame:
    """What leaves in one piece; ``rest`` is None until it is sealed.

    Attributes:
        rest: Sealed bytes still to be sent.
        done: Called once, when the last byte has been handed to the kernel.
        gone: All of it was sent by the thread that has sealed it; nothing but ``done`` is left.
        final: Nothing may leave after it.
        since: Trio time since which a chunk could leave; None for a message.
    """

    __slots__ = ("done", "final", "gone", "rest", "since")

    def __init__(self, rest: memoryview | None, done: Callable[[], None]) -> None:
        self.rest = rest
        self.done = done
        self.final = False
        self.gone = False
        self.since: float | None = None


class ChunkSlot:
    """A place among the frames of a link, for one chunk. Made by Link.reserve_chunk.

    Exactly one of two things must happen to it: ``seal`` and then Link.push, or ``fail``.
    """

    def __init__(
        self,
        queue: "SendQueue",
        length: int,
        nonce: int,
        buffer: bytearray,
        allow: Callable[[Message], None],
    ) -> None:
        self.length = length
        self._queue = queue
        self._allow = allow
        self._nonce = nonce
        self._buffer = buffer
        self._used = False
        self._sealed = self._given = 0
        self._frame = _Frame(None, lambda: queue.give_back(buffer))

    def seal(self, header: ChunkHeader, body: memoryview) -> None:
        """Encrypt a chunk into the slot's buffer. Blocking: call it in a worker thread.

        Args:
            header: Of this chunk, with as many plain bytes as were reserved.
            body: What follows it: those bytes, or fewer that hold them compressed; free again
                afterwards.

        Raises:
            LocalProtocolError: Lengths differ, or the slot was used before (a nonce must
                never seal two things).
        """
        if self._used:
            raise LocalProtocolError("chunk slot used twice")
        if header.length != self.length or header.body != len(body):
            raise LocalProtocolError("chunk of another length than was reserved")
        self._used = True
        cipher, out = self._queue.cipher, memoryview(self._buffer)
        end = cipher.seal_into(self._nonce, memoryview(header.encode()), out)
        self._sealed = end + cipher.seal_into(self._nonce + 1, body, out[end:])

    def send_ready(self) -> float:
        """Send what the network takes now of the sealed chunk, if its turn has come.

        Optional, between ``seal`` and ``push``, in the same worker thread: to hand each chunk
        over to the trio thread costs more than to send it. What is left leaves after ``push``.

        Returns:
            Seconds that the network was waited for, SEND_PATIENCE_SECONDS at most.
        """
        if not self._queue.is_turn(self._frame):
            return 0.0
        sealed = memoryview(self._buffer)[: self._sealed]
        self._given, waited = self._queue.send_ready(sealed)
        self._frame.gone = self._given == self._sealed
        return waited

    def push(self) -> None:
        """Let the sealed chunk leave when its turn comes. Trio thread.

        Raises:
            LocalProtocolError: Nothing was sealed, or it was pushed before.
        """
        if not self._sealed or self._frame.rest is not None:
            raise LocalProtocolError("chunk slot pushed without a sealed chunk, or twice")
        self._queue.sent(self._given)
        self._frame.rest = memoryview(self._buffer)[self._given : self._sealed]
        self._frame.since = trio.current_time()
        self._queue.take_out_gone()

    def fail(self, message: Message) -> None:
        """Send one message in the slot's place, and nothing after it. Trio thread.

        The message is sealed with the slot's own nonces, so what was reserved before still
        leaves in order; what was reserved after is dropped.

        Raises:
            LocalProtocolError: Something was sealed for the slot, the message is longer than
                the chunk would have been, or the conversation does not allow it.
        """
        plain = encode_control(encode(message))
        if self._used:
            raise LocalProtocolError("chunk slot used twice")
        if record_count(len(plain)) > 1 + record_count(self.length):
            raise LocalProtocolError("message does not fit in place of the chunk")
        self._allow(message)
        self._used = True
        out = memoryview(self._buffer)
        size = self._queue.cipher.seal_into(self._nonce, memoryview(plain), out)
        self._frame.rest = out[:size]
        self._frame.final = True
        self._queue.end()


class SendQueue:
    """Frames on their way out, bounded in number.

    Attributes:
        cipher: Seals; nobody else takes nonces from it.
        bytes_sent: On the wire.
        last_sent: Trio time at which the network took a byte.
        waiting_since: Trio time since which the network has taken none of what it was given;
            None while it was given nothing. Whoever runs the queue limits that.
        ended: A final frame has left: nothing more will.
    """

    def __init__(self, stream: ByteStream, cipher: SendCipher) -> None:
        self.cipher = cipher
        self.bytes_sent = 0
        self.last_sent = trio.current_time()
        self.waiting_since: float | None = None
        self.ended = False
        self._stream = stream
        self._frames: deque[_Frame] = deque()
        self._messages = 0
        self._ending = False
        self._pool = BufferPool(limits.LINK_CHUNKS, _SLOT_BYTES, _BUDGET)
        self._error: MedP2PError | None = None
        self._sender = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._places = trio.lowlevel.ParkingLot()
        self._delay = math.inf

    def check_open(self) -> None:
        """Raise what has closed this direction, if anything has.

        Raises:
            LinkLostError: The link is gone; or whatever else ended it.
            LocalProtocolError: A slot has failed: its message was our last.
        """
        if self._error is not None:
            raise self._error
        if self._ending:
            raise LocalProtocolError("the sending direction was ended by a failed chunk")

    async def wait_room(self) -> None:
        """Wait until one more message may be queued. Raises as check_open."""
        await trio.lowlevel.checkpoint()
        self.check_open()
        while self._messages >= limits.LINK_MESSAGES:
            await self._room.park()
            self.check_open()

    def put_message(self, body: bytes) -> None:
        """Seal an encoded message and queue it. Call right after wait_room."""
        self._messages += 1
        self._put(body, self._message_done)

    def put_beat(self, body: bytes, done: Callable[[], None]) -> None:
        """Queue a heartbeat, which never waits; its caller has one of a kind queued."""
        self._put(body, done)

    def _put(self, body: bytes, done: Callable[[], None]) -> None:
        plain = encode_control(body)
        out = memoryview(bytearray(sealed_bytes(len(plain))))
        nonce = self.cipher.reserve(record_count(len(plain)))
        self.cipher.seal_into(nonce, memoryview(plain), out)
        self._frames.append(_Frame(out, done))
        self._wake()

    async def wait_buffer(self) -> bytearray:
        """Wait for a chunk buffer; pass it to reserve at once. Raises as check_open."""
        self.check_open()
        try:
            return await self._pool.acquire()
        except trio.ClosedResourceError:
            self.check_open()
            raise LinkLostError("the link is closed") from None

    async def wait_places(self, *, alone: bool) -> int:
        """Wait until chunks should be prepared; return how many, at least 1. Raises as check_open.

        As long as chunks leave quickly, whole groups are asked for at a time, and many may wait
        here; on a slow network few, so that a message is not behind minutes of them.

        Args:
            alone: Until nothing is queued, too: what is sealed next may leave at once.
        """
        self.check_open()
        while (alone and self._frames) or not (places := self._free_places()):
            await self._places.park()
            self.check_open()
        return places

    def _free_places(self) -> int:
        if self._delay < limits.QUEUE_SECONDS:
            return limits.WORK_CHUNKS if self._pool.room >= limits.WORK_CHUNKS else 0
        return 1 if self._pool.lent < limits.SLOW_LINK_CHUNKS and self._pool.room > 0 else 0

    def spare_buffer(self) -> bytearray | None:
        """Return a chunk buffer if one is free; pass it to reserve at once."""
        return self._pool.acquire_nowait() if self.open else None

    def reserve(
        self, length: int, buffer: bytearray, allow: Callable[[Message], None]
    ) -> ChunkSlot:
        """Give the next place in the order of frames to a chunk.

        Args:
            length: Its plain bytes.
            buffer: From wait_buffer; comes back when the chunk has left.
            allow: Raises LocalProtocolError where a message may not be sent now.
        """
        nonce = self.cipher.reserve(1 + record_count(length))
        slot = ChunkSlot(self, length, nonce, buffer, allow)
        self._frames.append(slot._frame)
        return slot

    def give_back(self, buffer: bytearray) -> None:
        """Take back the buffer of a chunk that has left."""
        self._pool.release(buffer)
        if self._places and self._free_places():
            self._places.unpark_all()

    def is_turn(self, frame: _Frame) -> bool:
        """Tell a worker thread whether all before its frame has left, and it may follow.

        Nobody else sends anything then: what is not pushed holds up all behind it.
        """
        if not self.open:
            return False  # the final frame may have left
        for first in tuple(self._frames):  # the trio thread may append meanwhile
            if first is frame:
                return True
            if not first.gone:
                break
        return False

    def send_ready(self, sealed: memoryview) -> tuple[int, float]:
        """In a worker thread whose turn it is: send a beginning, as ByteStream.send_ready."""
        return self._stream.send_ready(sealed, limits.SEND_PATIENCE_SECONDS)

    def sent(self, count: int) -> None:
        """Count what a worker thread has sent."""
        if count:
            self.bytes_sent += count
            self.last_sent = trio.current_time()

    def take_out_gone(self) -> None:
        """Take out what worker threads have sent; let the sender look at what is first then.

        It would be woken for nothing once for each chunk.
        """
        while self._frames and self._frames[0].gone and self.ready:
            self._left()
        self._wake()

    def _wake(self) -> None:
        if self.ready:
            self._sender.unpark_all()

    def end(self) -> None:
        """Take nothing more: the final frame is queued."""
        self._ending = True
        self._pool.close()
        self._room.unpark_all()
        self._places.unpark_all()
        self._wake()

    @property
    def ready(self) -> bool:
        """Whether the first frame can be sent now."""
        return bool(self._frames) and self._frames[0].rest is not None and not self.ended

    @property
    def stuck(self) -> bool:
        """Whether frames are left behind a place that was never filled: none will leave."""
        return bool(self._frames) and not self.ready and not self.ended

    @property
    def open(self) -> bool:
        """Whether check_open would pass."""
        return self._error is None and not self._ending

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or reserved, and more may be."""
        return not self._frames and not self._ending

    async def run(self) -> None:
        """Send frames until the final one.

        Raises:
            LinkLostError: The network failed.

        Cancellation: send_first may be called afterwards; it goes on where this stopped.
        """
        while not self.ended:
            while not self.ready:
                await self._sender.park()
            for _ in range(limits.WORK_CHUNKS):
                if self.ready:
                    await self.send_first()
            await trio.lowlevel.checkpoint()  # others must run, however fast the network is

    async def send_first(self) -> None:
        """Send the (rest of the) first frame, which must be ready. Raises as run."""
        frame = self._frames[0]
        self.waiting_since = trio.current_time()
        try:
            while frame.rest:
                count = await self._stream.send_some(frame.rest)
                frame.rest = frame.rest[count:]
                self.bytes_sent += count
                self.last_sent = self.waiting_since = trio.current_time()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkLostError("the network failed while sending") from error
        finally:
            self.waiting_since = None
        self._left()

    def _left(self) -> None:
        """Take out the first frame, all of which the kernel has."""
        frame = self._frames.popleft()
        if frame.since is not None:
            self._delay = trio.current_time() - frame.since
        frame.done()
        self.ended = frame.final
        self._room.unpark()
        if not self._frames:
            self._places.unpark_all()

    def close(self, error: MedP2PError) -> None:
        """Let all who wait go with this error; nothing is sent any more."""
        if self._error is None:
            self._error = error
        self._pool.close()
        self._room.unpark_all()
        self._places.unpark_all()

    def drop(self) -> None:
        """Forget what will not leave any more, and its memory."""
        for frame in self._frames:
            frame.rest = None
        self._frames.clear()
        self._pool.drop()

    def _message_done(self) -> None:
        self._messages -= 1
