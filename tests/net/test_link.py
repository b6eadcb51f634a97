"""One conversation over memory streams: order, bounds, silence, endings."""

import random

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from medp2p import limits
from medp2p.errors import LinkLostError, LocalProtocolError, RemoteProtocolError
from medp2p.net.link import Link, ReceivedChunk, open_link
from medp2p.proto.frames import PACKING_FEATURE, ChunkHeader, Packing
from medp2p.proto.messages import Abort, Bye, Commit, Fact, Facts, Page, Ping, encode
from tests.helpers.links import (
    A,
    B,
    TrioByteStream,
    header,
    linked,
    send_chunk,
    shake_hands,
    take_chunk,
    to_pages,
    to_streaming,
)

MIB = limits.MIB
DONE = Facts(facts=[], last=True)
ABORT = Abort(code="source-changed", text="a file changed")


async def test_both_sides_know_each_other_after_the_handshake(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with linked("facts") as (left, right):
            assert (left.peer_key, right.peer_key) == (B.noise_public, A.noise_public)
            assert left.version == right.version == 1
            assert (left.hello.name, right.hello.name) == ("b", "a")
            await left.send(DONE)
            assert await right.receive() == DONE
            assert left.stats.bytes_sent == right.stats.bytes_received > 0


@pytest.mark.parametrize("length", [1, 65518, 65519, 65520, MIB - 1, MIB])
async def test_chunks_of_every_size_arrive_whole(autojump_clock: MockClock, length: int) -> None:
    data = random.Random(length).randbytes(length)
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, length)
            await send_chunk(left, 0, data)
            assert await take_chunk(right) == (0, data)


async def test_frames_leave_in_the_order_of_reservation(autojump_clock: MockClock) -> None:
    """Whatever the order in which workers finish; a message keeps its place among chunks."""
    count = limits.LINK_CHUNKS
    data = [random.Random(i).randbytes(MIB) for i in range(count)]
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, count * MIB)
            slots = [await left.reserve_chunk(MIB) for _ in range(count)]
            await left.send(Commit(root=b"\x09" * 32))
            for index in random.Random(5).sample(range(count), count):
                slots[index].seal(header(index, data[index]), memoryview(data[index]))
                slots[index].push()
                await trio.testing.wait_all_tasks_blocked()
            for index in range(count):
                assert await take_chunk(right) == (index, data[index])
            assert isinstance(await right.receive(), Commit)


async def test_chunks_are_bounded_both_ways(autojump_clock: MockClock) -> None:
    """A receiver that takes nothing holds the sender back, and holds so many itself."""
    bound = limits.RECEIVE_CHUNKS
    count = bound + 4 * limits.LINK_CHUNKS
    reserved = 0

    async def send_every_chunk(link: Link) -> None:
        nonlocal reserved
        for index in range(count):
            await send_chunk(link, index, bytes(MIB))
            reserved += 1

    with trio.fail_after(3600):
        async with linked(unbuffered=True) as (left, right), trio.open_nursery() as nursery:
            await to_streaming(left, right, count * MIB)
            nursery.start_soon(send_every_chunk, left)
            held = [await right.receive() for _ in range(bound)]
            await trio.sleep(limits.SEND_SECONDS / 2)
            assert reserved == bound + limits.LINK_CHUNKS
            for chunk in held:
                assert isinstance(chunk, ReceivedChunk)
                chunk.release()
            for index in range(bound, count):
                assert await take_chunk(right) == (index, bytes(MIB))


async def test_messages_are_bounded_and_a_cancelled_send_queues_nothing(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(3600):
        async with linked(unbuffered=True) as (left, right):
            await to_pages(left, right, MIB)
            sent = 0
            with trio.move_on_after(5):
                while True:
                    await left.send(Page(number=sent, entries=b"x", last=False))
                    sent += 1
            assert sent <= limits.LINK_MESSAGES + 3  # some wait in the receiver's hands
            for number in range(sent):
                page = await right.receive()
                assert isinstance(page, Page)
                assert page.number == number
            await left.send(Page(number=sent, entries=b"x", last=True))
            last = await right.receive()
            assert isinstance(last, Page)
            assert last.number == sent


async def test_failed_chunk_says_one_thing_in_its_place_and_nothing_more(
    autojump_clock: MockClock,
) -> None:
    """What was reserved before still arrives; what was reserved after never does."""
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, 4 * MIB)
            slots = [await left.reserve_chunk(MIB) for _ in range(4)]
            slots[3].seal(header(3, bytes(MIB)), memoryview(bytes(MIB)))
            slots[3].push()
            slots[1].fail(ABORT)
            with pytest.raises(LocalProtocolError, match="ended by a failed chunk"):
                await left.reserve_chunk(MIB)
            with pytest.raises(LocalProtocolError, match="ended by a failed chunk"):
                await left.send(DONE)
            slots[0].seal(header(0, b"\x01" * MIB), memoryview(b"\x01" * MIB))
            slots[0].push()
            assert await take_chunk(right) == (0, b"\x01" * MIB)
            assert await right.receive() == ABORT
            bytes_sent = left.stats.bytes_sent
            await trio.sleep(limits.HEARTBEAT_SECONDS * 2)
            assert left.stats.bytes_sent == bytes_sent  # no heartbeat either
            with trio.move_on_after(limits.SILENCE_SECONDS * 2), pytest.raises(LinkLostError):
                await right.receive()


async def test_failing_lets_tasks_that_wait_for_a_place_go(autojump_clock: MockClock) -> None:
    async def wait(link: Link) -> None:
        with pytest.raises(LocalProtocolError, match="ended by a failed chunk"):
            await link.reserve_chunk(MIB)

    with trio.fail_after(3600):
        async with linked() as (left, right), trio.open_nursery() as nursery:
            await to_streaming(left, right, 100 * MIB)
            slots = [await left.reserve_chunk(MIB) for _ in range(limits.LINK_CHUNKS)]
            nursery.start_soon(wait, left)
            await trio.testing.wait_all_tasks_blocked()
            slots[0].fail(ABORT)


async def test_a_closed_link_frees_what_will_not_leave(autojump_clock: MockClock) -> None:
    """Also the buffers of places that were never filled, whoever still refers to them."""
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, 2 * MIB)
            slots = [await left.reserve_chunk(MIB) for _ in range(2)]
            slots[1].seal(header(1, bytes(MIB)), memoryview(bytes(MIB)))
    assert [len(slot._buffer) for slot in slots] == [0, 0]


async def test_a_slot_is_used_once(autojump_clock: MockClock) -> None:
    """A nonce must never seal two things."""
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, 2 * MIB)
            slot = await left.reserve_chunk(MIB)
            with pytest.raises(LocalProtocolError, match="without a sealed chunk"):
                slot.push()
            with pytest.raises(LocalProtocolError, match="another length"):
                slot.seal(header(0, b"x"), memoryview(b"x"))
            slot.seal(header(0, bytes(MIB)), memoryview(bytes(MIB)))
            with pytest.raises(LocalProtocolError, match="used twice"):
                slot.seal(header(0, bytes(MIB)), memoryview(bytes(MIB)))
            with pytest.raises(LocalProtocolError, match="used twice"):
                slot.fail(ABORT)
            slot.push()
            with pytest.raises(LocalProtocolError, match="or twice"):
                slot.push()


async def test_message_that_does_not_fit_in_place_of_a_chunk_is_refused(
    autojump_clock: MockClock,
) -> None:
    """Its nonces would run into those of the next frame."""
    long = Facts(facts=[Fact(bytes(4096), bytes(64))] * limits.MAX_FACTS, last=True)
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, 1)
            slot = await left.reserve_chunk(1)
            with pytest.raises(LocalProtocolError, match="does not fit"):
                slot.fail(long)
            slot.fail(ABORT)
            assert await right.receive() == ABORT


# --- silence and stuck networks -------------------------------------------------------------


async def test_an_idle_conversation_is_kept_alive(autojump_clock: MockClock) -> None:
    """A person may think for an hour; nobody sees the heartbeats."""
    with trio.fail_after(7200):
        async with linked("facts") as (left, right):
            await trio.sleep(3600)
            await left.send(DONE)
            assert await right.receive() == DONE
            assert left.stats.bytes_sent > 0
            assert await right.ping() < 1


async def test_silence_loses_the_link(autojump_clock: MockClock) -> None:
    """Nothing heard for SILENCE_SECONDS, whatever TCP says."""
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "facts")
        async with open_link(left):  # the right one never runs: no heartbeat, no answer
            start = trio.current_time()
            with pytest.raises(LinkLostError, match="nothing heard"):
                await left.receive()
            assert trio.current_time() - start == pytest.approx(limits.SILENCE_SECONDS)
            with pytest.raises(LinkLostError):
                await left.send(DONE)
        await right.close()


async def test_peer_that_takes_nothing_loses_the_link(autojump_clock: MockClock) -> None:
    """Its own heartbeats do not save it: the last words of it are still read."""
    with trio.fail_after(3600):
        left_stream, right_stream = trio.testing.memory_stream_pair()
        left, right = await shake_hands(
            TrioByteStream(left_stream), TrioByteStream(right_stream), "facts"
        )
        left_stream.send_stream.send_all_hook = trio.sleep_forever
        async with open_link(right), open_link(left):
            start = trio.current_time()
            await left.send(DONE)
            with pytest.raises(LinkLostError, match="took no data"):
                await left.receive()
            expected = limits.SEND_SECONDS + limits.CLEANUP_SECONDS
            assert trio.current_time() - start == pytest.approx(expected)


async def test_an_unanswered_ping_ends_in_an_error(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "ping")
        async with open_link(left):
            with pytest.raises(LinkLostError):
                await left.ping()
        await right.close()


async def test_a_flood_of_pings_is_answered_without_a_queue(autojump_clock: MockClock) -> None:
    """At most one Pong waits; other tasks get their turn meanwhile."""
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "facts")
        for _ in range(1000):
            await left.send_now(Ping())
        turns = 0
        async with open_link(right), open_link(left):
            for _ in range(1000):
                await trio.lowlevel.checkpoint()
                turns += 1
            await right.send(DONE)
            assert await left.receive() == DONE
        assert turns == 1000


# --- endings --------------------------------------------------------------------------------


async def test_bye_is_the_last_message(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "facts")
        async with open_link(right), trio.open_nursery() as nursery:
            nursery.start_soon(left.close)
            assert isinstance(await right.receive(), Bye)
            with pytest.raises(LinkLostError, match="has ended"):
                await right.receive()
            with pytest.raises(LinkLostError, match="has ended"):
                await right.send(DONE)
            await right.close()
        start = trio.current_time()
        await left.close()  # again does nothing
        assert trio.current_time() == start


async def test_both_sides_may_end_at_once(autojump_clock: MockClock) -> None:
    """Each reads until the other's Bye; neither waits for the other to close first."""
    with trio.fail_after(3600):
        start = trio.current_time()
        left, right = await shake_hands(*streams(), "facts")
        async with trio.open_nursery() as nursery:
            for link in (left, right):
                nursery.start_soon(link.close)
        assert trio.current_time() - start < limits.CLEANUP_SECONDS


async def test_end_of_stream_without_bye_is_a_lost_link(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "facts")
        async with open_link(left):
            await right.stream.aclose()
            with pytest.raises(LinkLostError, match="without goodbye"):
                await left.receive()


async def test_an_error_in_the_block_comes_out_bare(
    autojump_clock: MockClock,
) -> None:
    """But what was queued before still leaves, such as an Abort."""
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams())
        async with open_link(right), trio.open_nursery() as nursery:

            async def fail() -> None:
                async with open_link(left):
                    await left.send(ABORT)
                    raise ZeroDivisionError

            async def check() -> None:
                with pytest.raises(ZeroDivisionError):
                    await fail()

            nursery.start_soon(check)
            assert await right.receive() == ABORT
            await right.close()


async def test_an_abort_is_no_lost_link_and_closing_does_not_wait(
    autojump_clock: MockClock,
) -> None:
    """Both sides leave by an error; each still says Bye, so neither waits for the other."""
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams())
        start = trio.current_time()

        async def fail(link: Link, say: Abort | None) -> None:
            async with open_link(link):
                if say is not None:
                    await link.send(say)
                else:
                    assert await link.receive() == ABORT
                raise ZeroDivisionError

        async def leave(link: Link, say: Abort | None) -> None:
            with pytest.raises(ZeroDivisionError):
                await fail(link, say)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave, left, ABORT)
            nursery.start_soon(leave, right, None)
        assert trio.current_time() - start < limits.CLEANUP_SECONDS
        assert left.conversation.ended
        assert right.conversation.ended


async def test_a_place_that_was_never_filled_holds_up_no_closing(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, MIB)
            await left.reserve_chunk(MIB)
            await left.send(ABORT)
            start = trio.current_time()
            await left.close()
            assert trio.current_time() - start < limits.CLEANUP_SECONDS
            with pytest.raises(LinkLostError, match="without goodbye"):
                await right.receive()


async def test_cancelled_in_the_block_says_bye(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "facts")
        async with open_link(right), trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def wait() -> None:
                with scope:
                    async with open_link(left):
                        await trio.sleep_forever()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            assert isinstance(await right.receive(), Bye)
            await right.close()


async def test_closing_takes_no_longer_than_it_may(autojump_clock: MockClock) -> None:
    """The other side neither reads nor closes."""
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "facts")
        start = trio.current_time()
        async with open_link(left):
            pass
        assert trio.current_time() - start == pytest.approx(limits.CLEANUP_SECONDS)
        await right.stream.aclose()


async def test_garbage_ends_the_link_with_a_remote_error(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        left, right = await shake_hands(*streams(), "facts")
        async with open_link(left):
            await right.stream.send_some(memoryview(b"\x00\x20" + bytes(32)))
            with pytest.raises(RemoteProtocolError):
                await left.receive()
            with pytest.raises(RemoteProtocolError):
                await left.send(DONE)
        await right.stream.aclose()


async def test_message_out_of_turn_ends_the_link(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with linked("ping") as (left, right):
            right._queue.put_message(encode(DONE))
            with pytest.raises(RemoteProtocolError):
                await left.receive()


async def test_altered_chunk_does_not_open(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, MIB)
            slot = await left.reserve_chunk(MIB)
            slot.seal(header(0, bytes(MIB)), memoryview(bytes(MIB)))
            slot._buffer[MIB // 2] ^= 1
            slot.push()
            chunk = await right.receive()
            assert isinstance(chunk, ReceivedChunk)
            with pytest.raises(RemoteProtocolError, match="authenticate"):
                chunk.open_into(memoryview(bytearray(MIB)))
            chunk.release()
            chunk.release()
            with pytest.raises(LocalProtocolError, match="after its release"):
                chunk.open_into(memoryview(bytearray(MIB)))


def streams() -> tuple[TrioByteStream, TrioByteStream]:
    left, right = trio.testing.memory_stream_pair()
    return TrioByteStream(left), TrioByteStream(right)


# --- how many chunks are prepared -----------------------------------------------------------


async def test_a_slow_network_is_given_few_chunks(autojump_clock: MockClock) -> None:
    """What is queued behind them, a cancel say, must not wait for minutes."""
    with trio.fail_after(3600):
        left_stream, right_stream = trio.testing.memory_stream_pair()
        pump = left_stream.send_stream.send_all_hook
        assert pump is not None

        async def slowly() -> None:
            await trio.sleep(0.1)  # for each record
            await pump()

        left, right = await shake_hands(TrioByteStream(left_stream), TrioByteStream(right_stream))
        async with open_link(right), open_link(left):
            await to_streaming(left, right, 100 * MIB)
            for index in range(2):  # nothing is known of the network; then that it is slow
                slots = []
                for _ in range(limits.SLOW_LINK_CHUNKS):
                    assert await left.wait_places() == 1
                    slots.append(await left.reserve_chunk(MIB))
                with trio.move_on_after(1) as scope:
                    await left.wait_places()
                assert scope.cancelled_caught
                left_stream.send_stream.send_all_hook = slowly
                for slot in slots:
                    slot.seal(header(index, bytes(MIB)), memoryview(bytes(MIB)))
                    slot.push()
                for _ in slots:
                    assert (await take_chunk(right))[0] == index


async def test_a_fast_network_is_given_whole_groups(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, 100 * MIB)
            await send_chunk(left, 0, bytes(MIB))
            assert await take_chunk(right) == (0, bytes(MIB))
            taken = 0
            while limits.LINK_CHUNKS - taken >= limits.WORK_CHUNKS:
                assert await left.wait_places() == limits.WORK_CHUNKS
                taken += limits.WORK_CHUNKS
                for _ in range(limits.WORK_CHUNKS):
                    assert left.reserve_more(MIB) is not None
            with trio.move_on_after(1) as scope:
                await left.wait_places()
            assert scope.cancelled_caught
            assert left.reserve_more(MIB) is None


async def test_who_sends_alone_waits_for_all_before_a_message_too(
    autojump_clock: MockClock,
) -> None:
    """A heartbeat is the last that leaves: it gives no buffer back, and who waits goes on."""
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, 100 * MIB)
            slot = await left.reserve_chunk(MIB)
            left._beat(Ping())
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    assert await left.wait_places(alone=True)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                assert not nursery.cancel_scope.cancel_called
                slot.seal(header(0, bytes(MIB)), memoryview(bytes(MIB)))
                slot.push()
                assert await take_chunk(right) == (0, bytes(MIB))
                await trio.sleep(1)
                pytest.fail("still waiting")


async def test_chunks_that_are_here_are_received_together(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with linked() as (left, right):
            await to_streaming(left, right, 100 * MIB)
            for index in range(3):
                await send_chunk(left, index, b"x" * MIB)
            await trio.testing.wait_all_tasks_blocked()
            first = await right.receive()
            assert isinstance(first, ReceivedChunk)
            chunks = [first, *right.receive_chunks()]
            assert [chunk.header.index for chunk in chunks] == [0, 1, 2]
            for chunk in chunks:
                chunk.release()


# --- compressed chunks --------------------------------------------------------------------

ZSTD = ([PACKING_FEATURE], [PACKING_FEATURE])


def packed_header(index: int, length: int, body: bytes) -> ChunkHeader:
    return ChunkHeader(index, length, bytes(32), Packing.ZSTD, len(body))


async def test_compressed_chunks_take_fewer_records_and_keep_the_order(
    autojump_clock: MockClock,
) -> None:
    """Sealed in any order, between whole ones and messages: each side skips the same nonces."""
    bodies = [b"short", bytes(65519), bytes(65520), bytes(MIB - 1), b"x"]
    chance = random.Random(3)
    with trio.fail_after(3600):
        async with linked(features=ZSTD) as (left, right):
            await to_streaming(left, right, 5 * MIB)
            slots = [await left.reserve_chunk(MIB) for _ in bodies]
            await left.send(Commit(root=b"\x09" * 32))
            for index in chance.sample(range(5), 5):
                body = bodies[index]
                slots[index].seal(packed_header(index, MIB, body), memoryview(body))
                slots[index].push()
            for index, body in enumerate(bodies):
                chunk = await right.receive()
                assert isinstance(chunk, ReceivedChunk)
                assert chunk.header == packed_header(index, MIB, body)
                out = bytearray(chunk.header.body)
                chunk.open_into(memoryview(out))
                chunk.release()
                assert out == body
            assert isinstance(await right.receive(), Commit)
            assert left.stats.bytes_sent < 2 * MIB


async def test_a_failed_chunk_amid_compressed_ones_still_says_its_thing(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(3600):
        async with linked(features=ZSTD) as (left, right):
            await to_streaming(left, right, 2 * MIB)
            first, second = await left.reserve_chunk(MIB), await left.reserve_chunk(MIB)
            first.seal(packed_header(0, MIB, b"tight"), memoryview(b"tight"))
            first.push()
            second.fail(ABORT)
            chunk = await right.receive()
            assert isinstance(chunk, ReceivedChunk)
            chunk.release()
            assert await right.receive() == ABORT


@pytest.mark.parametrize("features", [([], []), (ZSTD[0], []), ([], ZSTD[0])])
async def test_a_compressed_chunk_that_was_not_agreed_on_ends_the_link(
    autojump_clock: MockClock, features: tuple[list[str], list[str]]
) -> None:
    with trio.fail_after(3600):
        async with linked(features=features) as (left, right):
            assert not left.conversation.agreed(PACKING_FEATURE)
            await to_streaming(left, right, MIB)
            slot = await left.reserve_chunk(MIB)
            slot.seal(packed_header(0, MIB, b"tight"), memoryview(b"tight"))
            slot.push()
            with pytest.raises(RemoteProtocolError, match="without its feature"):
                await right.receive()


async def test_a_body_of_another_length_than_its_header_is_not_sealed(
    autojump_clock: MockClock,
) -> None:
    with trio.fail_after(3600):
        async with linked(features=ZSTD) as (left, right):
            await to_streaming(left, right, MIB)
            slot = await left.reserve_chunk(MIB)
            for wrong in (packed_header(0, MIB, b"four"), packed_header(0, MIB - 1, b"tight")):
                with pytest.raises(LocalProtocolError, match="another length"):
                    slot.seal(wrong, memoryview(b"tight"))
