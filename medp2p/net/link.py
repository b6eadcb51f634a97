"""One conversation over one stream, once the handshake has proved who is there.

Control messages are sealed and opened here, they are small; chunks are sealed and opened by
whoever owns them, in worker threads, between pooled buffers.
Buffers are bounded both ways: a slow peer holds back ``send`` and ``reserve_chunk``, a slow
caller of ``receive`` holds back the peer.

Made by dial and listen; used inside ``open_link``.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from medp2p import limits
from medp2p.errors import LinkLostError, MedP2PError, RemoteProtocolError
from medp2p.net.inbox import Inbox
from medp2p.net.receiving import FrameSource, LinkStats, ReceivedChunk, Taker
from medp2p.net.sending import ChunkSlot, SendQueue
from medp2p.net.stream import ByteStream
from medp2p.proto.conversation import Conversation
from medp2p.proto.frames import ChunkStart, ControlFrame
from medp2p.proto.messages import Bye, Hello, Message, Ping, Pong, decode_untrusted, encode
from medp2p.proto.records import ReceiveCipher, SendCipher

__all__ = ["ChunkSlot", "Link", "ReceivedChunk", "open_link"]


class Link:
    """One conversation with one peer.

    One task calls ``receive``; any may call ``send`` and ``reserve_chunk``.

    Attributes:
        stream: Under it; owned by the link.
        peer_key: The peer's X25519 public key, proved by the handshake.
        version: Protocol version both speak.
        conversation: What may be said now.
        hello: What the peer told; pairing has none.
    """

    hello: Hello
    conversation: Conversation

    def __init__(
        self,
        stream: ByteStream,
        ciphers: tuple[SendCipher, ReceiveCipher],
        *,
        peer_key: bytes,
        version: int,
        pairing: bool = False,
    ) -> None:
        self.stream = stream
        self.peer_key = peer_key
        self.version = version
        self._pairing = pairing
        self._queue = SendQueue(stream, ciphers[0])
        self._source = FrameSource(stream, ciphers[1], pairing=pairing)
        self._peer_ended = False
        self._closed = False
        self._beats: set[type] = set()
        self._pong = trio.Event()
        self._error: MedP2PError | None = None
        self._scope = trio.CancelScope()
        self._stopped: trio.Event | None = None
        self._inbox = Inbox()
        self._taker: Taker | None = None

    @property
    def address(self) -> str:
        """Where the peer's bytes come from."""
        return self.stream.address

    @property
    def stats(self) -> LinkStats:
        """What has moved so far."""
        source = self._source
        return LinkStats(self._queue.bytes_sent, source.bytes_received, source.waited_seconds)

    # --- sending --------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Queue a message; waits while LINK_MESSAGES are queued.

        Raises:
            LinkLostError, RemoteProtocolError: What ended the link.
            LocalProtocolError: The conversation does not allow it now.

        Cancellation: nothing was queued.
        """
        body = encode(message)
        await self._queue.wait_room()
        self._check_peer()
        self.conversation.sent(message)
        self._queue.put_message(body)

    async def wait_places(self, *, alone: bool = False) -> int:
        """Wait until it is time to prepare chunks; return how many are best reserved at once.

        Args:
            alone: Until nothing is queued, too, so that ChunkSlot.send_ready works.

        Raises:
            As send.
        """
        return await self._queue.wait_places(alone=alone)

    async def reserve_chunk(self, length: int) -> ChunkSlot:
        """Take the next place among our frames for a chunk of ``length`` bytes.

        Waits while LINK_CHUNKS are on their way. A reserved place that is neither pushed nor
        failed holds up all frames behind it, heartbeats too: the peer gives up after
        SILENCE_SECONDS.

        Raises:
            As send.

        Cancellation: nothing was reserved.
        """
        return self._reserve(length, await self._queue.wait_buffer())

    def reserve_more(self, length: int) -> ChunkSlot | None:
        """Take the next place as reserve_chunk does, if there is one now.

        Raises:
            As reserve_chunk.
        """
        buffer = self._queue.spare_buffer()
        return None if buffer is None else self._reserve(length, buffer)

    def _reserve(self, length: int, buffer: bytearray) -> ChunkSlot:
        try:
            self._check_peer()
            self.conversation.sent("chunk")
            return self._queue.reserve(length, buffer, self.conversation.sent)
        except MedP2PError:
            self._queue.give_back(buffer)
            raise

    def _check_peer(self) -> None:
        if self._peer_ended:
            raise LinkLostError("the peer has ended the conversation")

    async def ping(self) -> float:
        """Ask for a sign of life; return the round trip in seconds.

        Raises:
            LinkLostError: No answer within SILENCE_SECONDS, or the link ended.
        """
        self._queue.check_open()
        pong, start = self._pong, trio.current_time()
        self._beat(Ping())
        with trio.move_on_after(limits.SILENCE_SECONDS):
            await pong.wait()
        if self._error is not None:
            raise self._error
        if not pong.is_set():
            raise LinkLostError(f"no answer to a ping in {limits.SILENCE_SECONDS:.0f} s")
        return trio.current_time() - start

    # --- receiving ------------------------------------------------------------------------

    async def receive(self) -> Message | ReceivedChunk:
        """Return what the peer sent next: a message, or a chunk to open and release.

        Bye comes as a message, and is the last one. Heartbeats are never shown.

        Raises:
            LinkLostError: The network failed, the peer ended without Bye, was silent for
                SILENCE_SECONDS or took no data for SEND_SECONDS; or Bye was received before.
            RemoteProtocolError: The peer broke the protocol.

        Cancellation: nothing is consumed.
        """
        try:
            return await self._inbox.take()
        except trio.EndOfChannel:
            raise self._error or LinkLostError("the conversation has ended") from None

    def receive_chunks(self) -> list[ReceivedChunk]:
        """Return what receive would return next, as far as it is chunks and here already.

        At most TAKE_CHUNKS - 1: with one that was received before, they are a group.
        """
        return self._inbox.take_chunks()

    @contextmanager
    def taking(self, taker: Taker) -> Iterator[None]:
        """Within the block chunks are opened as they come, by a taker; there is one at a time."""
        self._taker = taker
        try:
            yield
        finally:
            self._taker = None

    # --- before the tasks run: hello --------------------------------------------------------

    async def send_now(self, message: Message) -> None:
        """Send a message before the link runs; the caller sets the limit. Raises as send."""
        self.conversation.sent(message)
        self._queue.put_message(encode(message))
        await self._queue.send_first()

    async def receive_first(self) -> Message:
        """Return the peer's first message; the caller sets the limit, and tells the conversation.

        Raises:
            LinkLostError: The peer went away.
            RemoteProtocolError: It is not a message.
        """
        frame = await self._source.next_frame()
        if isinstance(frame, ChunkStart):
            raise RemoteProtocolError("chunk before hello")
        return decode_untrusted(frame.body)

    # --- the tasks --------------------------------------------------------------------------

    async def run(self) -> None:
        """Move frames until the link ends; what ended it is raised by receive and send."""
        self._stopped = trio.Event()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send)
                    nursery.start_soon(self._receive)
                    nursery.start_soon(self._watch)
                    if not self._pairing:
                        nursery.start_soon(self._keep_alive)
        finally:
            self._inbox.close()
            self._stopped.set()

    async def _send(self) -> None:
        try:
            await self._queue.run()
        except MedP2PError as error:
            await self._end_sending(error)

    async def _end_sending(self, error: MedP2PError) -> None:
        """Send no more; the last words of the peer, perhaps the reason, may still arrive."""
        self._queue.close(error)
        await trio.sleep(limits.CLEANUP_SECONDS)
        self._end(error)

    async def _receive(self) -> None:
        try:
            await self._read()
        except MedP2PError as error:
            self._end(error)

    async def _watch(self) -> None:
        """Give up a peer that takes nothing, or says nothing, for too long.

        One task that looks now and then: a deadline around each system call costs a bulk
        transfer more than the calls.
        """
        while True:
            now = trio.current_time()
            sending, reading = self._queue.waiting_since, self._source.waiting_since
            send_by = limits.SEND_SECONDS + (now if sending is None else sending)
            hear_by = limits.SILENCE_SECONDS + (now if reading is None else reading)
            if hear_by <= now:
                silent = f"nothing heard from the peer for {limits.SILENCE_SECONDS:.0f} s"
                self._end(LinkLostError(silent))
            elif send_by <= now:
                full = f"the peer took no data for {limits.SEND_SECONDS:.0f} s"
                await self._end_sending(LinkLostError(full))
            await trio.sleep_until(min(send_by, hear_by))

    def _end(self, error: MedP2PError) -> None:
        if self._error is None:
            self._error = error
        self._queue.close(self._error)
        self._source.close()
        self._pong.set()
        self._scope.cancel()

    async def _keep_alive(self) -> None:
        while True:
            quiet = trio.current_time() - self._queue.last_sent
            if quiet >= limits.HEARTBEAT_SECONDS:
                self._beat(Ping())
                quiet = 0.0
            await trio.sleep(limits.HEARTBEAT_SECONDS - quiet)

    def _beat(self, message: Ping | Pong) -> None:
        """Queue a heartbeat, unless one of its kind is queued or nothing may leave."""
        kind = type(message)
        if kind in self._beats or not (self._queue.open and self.conversation.may_send(message)):
            return
        self.conversation.sent(message)
        self._beats.add(kind)
        self._queue.put_beat(encode(message), lambda: self._beats.discard(kind))

    async def _read(self) -> None:
        """Deliver what the peer says, in order, until its Bye."""
        frame: ControlFrame | ChunkStart | None = None
        while not self._peer_ended:
            frame = frame or await self._source.next_frame()
            if isinstance(frame, ChunkStart):
                frame = await self._read_chunks(frame)
            else:
                await self._read_message(frame)
                frame = None
            await trio.lowlevel.checkpoint()  # a flood of pings must not hold up other tasks
        self._inbox.close()

    async def _read_chunks(self, start: ChunkStart) -> ControlFrame | ChunkStart | None:
        """Deliver a chunk, or several; return the frame behind them if it is known."""
        self.conversation.received_untrusted(start.header)
        chunks, frame = await self._source.take_chunks(start, self._taker)
        self._inbox.put_chunk(chunks[0])
        for chunk in chunks[1:]:
            self.conversation.received_untrusted(chunk.header)
            self._inbox.put_chunk(chunk)
        return frame

    async def _read_message(self, frame: ControlFrame) -> None:
        message = decode_untrusted(frame.body)
        self.conversation.received_untrusted(message)
        if isinstance(message, Ping):
            self._beat(Pong())
        elif isinstance(message, Pong):
            self._pong.set()
            self._pong = trio.Event()
        else:
            self._peer_ended = isinstance(message, Bye)
            await self._inbox.put_message(message)

    # --- the end ----------------------------------------------------------------------------

    async def close(self, *, goodbye: bool = True) -> None:
        """Send what is ready, say Bye if the conversation allows it, and close the stream.

        Takes CLEANUP_SECONDS at most, also when cancelled. After it, receive and send raise.

        Args:
            goodbye: Whether to say Bye; without it the peer sees a lost link, but for a transfer
                that was aborted: that always ends in order.
        """
        if self._closed:
            return
        self._closed = True
        self._scope.cancel()
        with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True):
            if self._stopped is not None:
                await self._stopped.wait()
            try:
                if self._error is None:
                    await self._say_last(goodbye=goodbye)
            except MedP2PError as error:
                self._error = error
        self._end(LinkLostError("the link is closed"))
        self._queue.drop()
        self._inbox.drop()
        self._source.drop()
        await self.stream.aclose()

    async def _say_last(self, *, goodbye: bool) -> None:
        while self._queue.ready:
            await self._queue.send_first()
        if self._queue.stuck:
            return
        aborted = self.conversation.state == "aborted"  # ended in order, if by an error of ours
        if (goodbye or aborted) and self._queue.idle and self.conversation.may_send(Bye()):
            await self.send_now(Bye())
        if not (self.conversation.ended or aborted):
            return
        # Closing with unread bytes in the kernel resets the connection, which could take our
        # last words from the peer: read until it has ended, too.
        while not self._peer_ended:
            frame = await self._source.next_control()
            self._peer_ended = isinstance(decode_untrusted(frame.body), Bye)


@asynccontextmanager
async def open_link(link: Link) -> AsyncIterator[Link]:
    """Run a link; it is closed at the end of the block, however that is left.

    Left without an error or by cancellation, the peer gets a Bye where the conversation allows
    one; left by an error it sees a lost link, after what was queued. What ends the link inside
    is raised by its send and receive, never here.
    """
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            try:
                yield link
            except Exception as error:  # noqa: BLE001 - goes on below, bare, not in a group
                failure = error
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(2 * limits.CLEANUP_SECONDS, shield=True):  # close bounds itself
            await link.close(goodbye=failure is None)
    if failure is not None:
        raise failure
