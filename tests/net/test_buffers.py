"""The pool: bounded, reused, and nobody waits for ever."""

import tracemalloc

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from medp2p.errors import LocalProtocolError
from medp2p.limits import MIB
from medp2p.net.buffers import BufferPool


async def test_buffers_are_reused_and_bounded(autojump_clock: MockClock) -> None:
    pool = BufferPool(2, 100)
    first, second = await pool.acquire(), await pool.acquire()
    assert (len(first), len(second), pool.lent) == (100, 100, 2)
    with trio.move_on_after(1) as scope:
        await pool.acquire()
    assert scope.cancelled_caught
    pool.release(first)
    assert await pool.acquire() is first


async def test_one_release_lets_one_go(autojump_clock: MockClock) -> None:
    pool = BufferPool(1, 1)
    got: list[bytearray] = []

    async def take() -> None:
        got.append(await pool.acquire())

    async with trio.open_nursery() as nursery:
        buffer = await pool.acquire()
        for _ in range(3):
            nursery.start_soon(take)
        for count in range(1, 4):
            await trio.testing.wait_all_tasks_blocked()
            pool.release(buffer)
            await trio.testing.wait_all_tasks_blocked()
            assert len(got) == count
    assert pool.lent == 1


async def test_closing_lets_all_go(autojump_clock: MockClock) -> None:
    pool = BufferPool(1, 1)
    buffer = await pool.acquire()

    async def take() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await pool.acquire()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        pool.close()
    pool.release(buffer)
    with pytest.raises(trio.ClosedResourceError):
        await pool.acquire()


async def test_a_closed_pool_keeps_no_memory() -> None:
    pool = BufferPool(2, MIB)
    tracemalloc.start()
    try:
        first, second = await pool.acquire(), await pool.acquire()
        pool.release(first)
        pool.close()
        pool.release(second)
        del first, second
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()


async def test_releasing_twice_is_a_bug(autojump_clock: MockClock) -> None:
    pool = BufferPool(1, 1)
    buffer = await pool.acquire()
    pool.release(buffer)
    with pytest.raises(LocalProtocolError, match="twice"):
        pool.release(buffer)
