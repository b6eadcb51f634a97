"""The pool: bounded, reused, and nobody waits for ever."""

import tracemalloc

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from medp2p.errors import LocalProtocolError
from medp2p.limits import MIB, WORK_CHUNKS
from medp2p.net.buffers import Budget, BufferPool


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


# --- several pools, one budget --------------------------------------------------------------


async def take(pool: BufferPool) -> list[bytearray]:
    """Take all that a pool gives now."""
    taken = []
    while (buffer := pool.acquire_nowait()) is not None:
        taken.append(buffer)
    return taken


async def test_pools_together_have_no_more_than_their_budget() -> None:
    budget = Budget(3 * WORK_CHUNKS)
    pools = [BufferPool(2 * WORK_CHUNKS, 1, budget) for _ in range(4)]
    taken = [await take(pool) for pool in pools]
    # As many as it may; what is left; and what each is sure of.
    assert [len(each) for each in taken] == [2 * WORK_CHUNKS, *[WORK_CHUNKS] * 3]
    assert [pool.room for pool in pools] == [0] * 4

    for buffer in taken[0]:
        pools[0].release(buffer)
    assert pools[3].room == 0, "two are beyond the budget yet"
    for buffer in taken[1]:
        pools[1].release(buffer)
    assert pools[3].room == WORK_CHUNKS


async def test_who_waits_for_the_budget_is_let_go_by_any_pool(autojump_clock: MockClock) -> None:
    budget = Budget(WORK_CHUNKS + 1)
    one, other = (BufferPool(2 * WORK_CHUNKS, 1, budget) for _ in range(2))
    taken = await take(one)
    mine = await take(other)
    got = []

    async def wait() -> None:
        got.append(await other.acquire())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert (len(mine), got) == (WORK_CHUNKS, [])
        for buffer in taken:
            one.release(buffer)
    assert len(got) == 1


async def test_a_closed_pool_gives_its_budget_back() -> None:
    """Its buffers may never come back: their chunks went with the link."""
    budget = Budget(WORK_CHUNKS)
    lost, other = BufferPool(WORK_CHUNKS, MIB, budget), BufferPool(WORK_CHUNKS, MIB, budget)
    taken = await take(lost)
    lost.close()
    lost.release(taken.pop())
    assert budget.left == WORK_CHUNKS
    again = await take(other)
    assert len(again) == WORK_CHUNKS
    for buffer in again:
        other.release(buffer)
    assert len(budget.free) == WORK_CHUNKS
    other.close()
    assert budget.free == []
