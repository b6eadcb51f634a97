"""What a link has read: in order, bounded, and chunks in groups."""

import pytest
import trio
import trio.testing

from medp2p import limits
from medp2p.net.inbox import Inbox
from medp2p.net.receiving import ReceivedChunk
from medp2p.proto.messages import Ping, Pong


def chunk() -> ReceivedChunk:
    """Return a chunk that is only passed on."""
    return ReceivedChunk.__new__(ReceivedChunk)


async def test_chunks_are_taken_in_groups_and_in_order() -> None:
    inbox, chunks = Inbox(), [chunk() for _ in range(limits.TAKE_CHUNKS + 2)]
    for one in chunks:
        inbox.put_chunk(one)
    assert await inbox.take() is chunks[0]
    assert inbox.take_chunks() == chunks[1 : limits.TAKE_CHUNKS]
    assert inbox.take_chunks() == chunks[limits.TAKE_CHUNKS :]
    assert inbox.take_chunks() == []


async def test_a_group_ends_before_a_message() -> None:
    inbox, chunks = Inbox(), [chunk(), chunk()]
    inbox.put_chunk(chunks[0])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.put_message, Ping())
        await trio.testing.wait_all_tasks_blocked()
        inbox.put_chunk(chunks[1])
        assert inbox.take_chunks() == chunks[:1]
        assert inbox.take_chunks() == []
        assert await inbox.take() == Ping()
        assert await inbox.take() is chunks[1]


async def test_who_puts_a_message_waits_until_it_is_taken() -> None:
    """A peer that sends large messages fills the memory with one of them."""
    inbox, put = Inbox(), 0

    async def read() -> None:
        nonlocal put
        for message in (Ping(), Pong()):
            await inbox.put_message(message)
            put += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for count, expected in enumerate((Ping(), Pong())):
            await trio.testing.wait_all_tasks_blocked()
            assert put == count
            assert await inbox.take() == expected


async def test_what_is_there_can_be_taken_after_the_end() -> None:
    inbox, one = Inbox(), chunk()

    async def wait() -> None:
        with pytest.raises(trio.EndOfChannel):
            await inbox.take()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        inbox.put_chunk(one)
        assert inbox.take_chunks() == [one]
        inbox.put_chunk(one)
        inbox.close()
        assert inbox.take_chunks() == [one]


async def test_a_cancelled_taker_consumes_nothing() -> None:
    inbox, one = Inbox(), chunk()
    with trio.move_on_after(0):
        await inbox.take()
    inbox.put_chunk(one)
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.take()
    assert inbox.take_chunks() == [one]
