"""Chunks that are taken off the wire, and sent, by worker threads: over real sockets."""

import gc
import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from medp2p import limits
from medp2p.errors import IntegrityError, LinkLostError, RemoteProtocolError
from medp2p.net.link import ChunkSlot, Link, ReceivedChunk, open_link
from medp2p.net.receiving import Taker
from medp2p.net.stream import SocketByteStream
from medp2p.proto.frames import ChunkHeader
from medp2p.proto.messages import Abort, Commit
from tests.helpers.links import header, send_chunk, shake_hands, sockets, to_streaming

MIB = limits.MIB
COMMIT = Commit(root=b"\x09" * 32)


@pytest.fixture(autouse=True)
def short_farewells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLEANUP_SECONDS", 0.2)


class Keeper:
    """Takes chunks as they are, in the thread's room; refuses some."""

    def __init__(self, refused: int | None = None) -> None:
        self.taken: list[int] = []
        self._refused = refused

    def take_untrusted(
        self, header: ChunkHeader, open_into: Callable[[memoryview], None], room: bytearray
    ) -> memoryview:
        view = memoryview(room)[: header.length]
        if header.index == self._refused:
            try:
                raise ValueError("what a library says")
            except ValueError:
                raise IntegrityError("not wanted") from None
        open_into(view)
        self.taken.append(header.index)
        return view


@asynccontextmanager
async def linked(chunks: int, taker: Taker | None = None) -> AsyncIterator[tuple[Link, Link]]:
    """Both ends of a session, so many chunks asked for, which the right one takes."""
    async with sockets() as pair:
        left, right = await shake_hands(*pair)
        async with open_link(left), open_link(right):
            await to_streaming(left, right, chunks * MIB)
            with right.taking(taker or Keeper()):
                yield left, right


async def receive(link: Link) -> tuple[int, bytes]:
    chunk = await link.receive()
    assert isinstance(chunk, ReceivedChunk), chunk
    data = bytes(chunk.made)
    chunk.release()
    return chunk.header.index, data


def data_of(index: int) -> bytes:
    return random.Random(index).randbytes(MIB)


async def test_chunks_and_messages_arrive_in_order() -> None:
    """More than there is room for at a time; the receiver waits until the sender has to."""
    count = 2 * limits.RECEIVE_CHUNKS
    with trio.fail_after(60):
        keeper = Keeper()
        async with linked(count, keeper) as (left, right), trio.open_nursery() as nursery:

            async def send_all() -> None:
                for index in range(count):
                    await send_chunk(left, index, data_of(index))
                await left.send(COMMIT)

            nursery.start_soon(send_all)
            await trio.sleep(0.3)
            assert len(keeper.taken) <= limits.RECEIVE_CHUNKS
            for index in range(count):
                assert await receive(right) == (index, data_of(index))
            assert await right.receive() == COMMIT
            assert keeper.taken == list(range(count))
            assert left.stats.bytes_sent == right.stats.bytes_received


async def test_a_slow_network_brings_them_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some bytes at a time, as the network has them, then none: a task waits for the rest."""
    grain, ready = random.Random(4), SocketByteStream.receive_ready

    def little(stream: SocketByteStream, view: memoryview) -> int:
        some = view[: grain.choice((1, 60, 65_000, MIB))]
        return 0 if grain.random() < 0.3 else ready(stream, some)

    monkeypatch.setattr(SocketByteStream, "receive_ready", little)
    with trio.fail_after(60):
        async with linked(12) as (left, right), trio.open_nursery() as nursery:

            async def send_all() -> None:
                for index in range(12):
                    await send_chunk(left, index, data_of(index))
                await left.send(COMMIT)

            nursery.start_soon(send_all)
            for index in range(12):
                assert await receive(right) == (index, data_of(index))
            assert await right.receive() == COMMIT


async def test_what_the_taker_refuses_is_told_to_who_receives() -> None:
    """In its turn; the link goes on, for the answer to it."""
    with trio.fail_after(30):
        keeper = Keeper(refused=2)
        async with linked(4, keeper) as (left, right):
            for index in range(4):
                await send_chunk(left, index, data_of(index))
            assert (await receive(right))[0] == 0
            assert (await receive(right))[0] == 1
            chunk = await right.receive()
            assert isinstance(chunk, ReceivedChunk)
            assert chunk.refused
            with pytest.raises(IntegrityError):
                _ = chunk.made
            chunk.release()
            assert (await receive(right))[0] == 3
            assert keeper.taken == [0, 1, 3]
            await right.send(Abort("integrity", "damaged"))
            assert isinstance(await left.receive(), Abort)


async def test_what_was_refused_keeps_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what came before it and was not wanted any more; before the garbage collector looks."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(4):
            async with linked(4, Keeper(refused=2)) as (left, right):
                for index in range(4):
                    await send_chunk(left, index, bytes(MIB))
                assert isinstance(await right.receive(), ReceivedChunk)
                await trio.sleep(0.1)
        await trio.sleep(0.1)
        assert tracemalloc.get_traced_memory()[0] < 4 * MIB
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_links_that_wait_hold_one_buffer() -> None:
    """All links of a process share their buffers: a fast one needs what a slow one does not."""
    with trio.fail_after(30):
        async with linked(12) as (left, right):
            pool = right._source._pool
            for index in range(11):
                await send_chunk(left, index, data_of(index))
                await receive(right)
            slot = await left.reserve_chunk(MIB)
            slot.seal(header(11, data_of(11)), memoryview(data_of(11)))
            slot._sealed -= 1000  # the network brings the rest later
            slot.push()
            await trio.sleep(0.2)
            assert pool.lent == 1


async def test_a_chunk_that_does_not_authenticate_ends_the_link() -> None:
    with trio.fail_after(30):
        keeper = Keeper()
        async with linked(3, keeper) as (left, right):
            slot = await left.reserve_chunk(MIB)
            slot.seal(header(0, bytes(MIB)), memoryview(bytes(MIB)))
            slot._buffer[5000] ^= 1
            slot.push()
            with pytest.raises(RemoteProtocolError, match="authenticate"):
                await right.receive()
            assert keeper.taken == []


async def test_a_chunk_nobody_takes_is_opened_by_its_receiver() -> None:
    with trio.fail_after(30):
        async with linked(2) as (left, right):
            await send_chunk(left, 0, data_of(0))
            assert (await receive(right))[0] == 0
            right._taker = None
            await send_chunk(left, 1, data_of(1))
            chunk = await right.receive()
            assert isinstance(chunk, ReceivedChunk)
            out = bytearray(chunk.header.length)
            chunk.open_into(memoryview(out))
            assert out == data_of(1)


async def test_a_link_that_is_lost_in_the_middle_of_a_chunk() -> None:
    with trio.fail_after(30):
        async with sockets() as pair:
            left, right = await shake_hands(*pair)
            async with open_link(right):
                async with open_link(left):
                    await to_streaming(left, right, 2 * MIB)
                    slot = await left.reserve_chunk(MIB)
                    slot.seal(header(0, bytes(MIB)), memoryview(bytes(MIB)))
                    slot._sealed -= 1000
                    slot.push()
                    with right.taking(keeper := Keeper()), trio.move_on_after(0.2):
                        await right.receive()
                    await pair[0].aclose()
                with pytest.raises(LinkLostError), right.taking(keeper):
                    await right.receive()
                assert keeper.taken == []


# --- sending from a thread ----------------------------------------------------------------


async def seal(link: Link, index: int, *, send: bool) -> tuple[ChunkSlot, float]:
    """Reserve a place, and seal a chunk for it in a worker thread, perhaps sending it there."""
    data = data_of(index)
    slot = await link.reserve_chunk(len(data))

    def work() -> float:
        slot.seal(header(index, data), memoryview(data))
        return slot.send_ready() if send else 0.0

    return slot, await trio.to_thread.run_sync(work)


async def test_a_thread_sends_what_it_has_sealed() -> None:
    """Before anybody pushes it; what is pushed then counts, and leaves the order as it was."""
    with trio.fail_after(30):
        async with linked(4) as (left, right):
            before = left.stats.bytes_sent
            slots = [(await seal(left, index, send=index != 2))[0] for index in range(4)]
            assert await receive(right) == (0, data_of(0))
            assert await receive(right) == (1, data_of(1))
            with trio.move_on_after(0.2) as waiting:  # 2 was not sent, so 3 had to wait, too
                await right.receive()
            assert waiting.cancelled_caught
            assert left.stats.bytes_sent == before
            await left.send(COMMIT)
            for slot in slots:
                slot.push()
            assert await receive(right) == (2, data_of(2))
            assert await receive(right) == (3, data_of(3))
            assert await right.receive() == COMMIT
            assert left.stats.bytes_sent == right.stats.bytes_received


async def test_a_full_network_takes_the_rest_later() -> None:
    """The thread is patient for so long, and tells for how long it was."""
    async with sockets() as (left, right):
        data = random.Random(8).randbytes(30 * MIB)  # more than both kernels' buffers hold
        sent, waited = left.send_ready(memoryview(data), 0.05)
        assert 0 < sent < len(data)
        assert waited >= 0.05
        got = memoryview(bytearray(len(data)))
        filled = 0
        while filled < sent:
            filled += right.receive_ready(got[filled:])
        assert got[:sent] == data[:sent]


async def test_what_a_thread_could_not_send_follows_when_it_is_pushed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = SocketByteStream.send_ready

    def some(stream: SocketByteStream, data: memoryview, patience: float) -> tuple[int, float]:
        return ready(stream, data[:300_000], patience)[0], 0.25

    monkeypatch.setattr(SocketByteStream, "send_ready", some)
    with trio.fail_after(30):
        async with linked(3) as (left, right):
            for index in range(3):
                slot, waited = await seal(left, index, send=True)
                assert waited == 0.25
                slot.push()
                assert await receive(right) == (index, data_of(index))
            assert left.stats.bytes_sent == right.stats.bytes_received


async def test_an_abort_in_place_of_a_chunk_follows_what_a_thread_has_sent() -> None:
    with trio.fail_after(30):
        async with linked(2) as (left, right):
            first, _ = await seal(left, 0, send=True)
            second = await left.reserve_chunk(MIB)
            first.push()
            second.fail(Abort("source-changed", "changed"))
            assert await receive(right) == (0, data_of(0))
            assert isinstance(await right.receive(), Abort)


async def test_nothing_leaves_a_thread_after_the_last_frame() -> None:
    with trio.fail_after(30):
        async with linked(2) as (left, right):
            first, second = await left.reserve_chunk(MIB), await left.reserve_chunk(MIB)
            first.fail(Abort("source-changed", "changed"))
            assert isinstance(await right.receive(), Abort)
            sent = left.stats.bytes_sent
            second.seal(header(1, data_of(1)), memoryview(data_of(1)))
            await trio.to_thread.run_sync(second.send_ready)
            second.push()
            await trio.sleep(0.1)
            assert left.stats.bytes_sent == sent
            assert right.stats.bytes_received == sent


async def test_threads_find_a_closed_stream_closed() -> None:
    async with sockets() as (left, right):
        assert left.send_ready(memoryview(b"abc"), 0.01) == (3, 0.0)
        view = memoryview(bytearray(8))
        await right.receive_into(view)
        assert right.receive_ready(view) == 0
        await right.aclose()
        assert right.receive_ready(view) == 0
        await left.aclose()
        assert left.send_ready(memoryview(b"abc"), 0.01) == (0, 0.0)
