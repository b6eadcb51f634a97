"""A scan under way is told a few times a second, its end at once."""

import trio
from trio.testing import MockClock

from medp2p import limits
from medp2p.daemon.jobs import Job


async def test_news_come_a_few_times_a_second(autojump_clock: MockClock) -> None:
    job = Job("id", "peer", bytes(32))
    await trio.sleep(limits.SCAN_NEWS_SECONDS)
    heard = 0

    async def listen() -> None:
        nonlocal heard
        while True:
            await job.bell.wait()
            heard += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for _ in range(1000):  # a second of a quick disk
            job.tell()
            await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert 1 <= heard <= 1.0 / limits.SCAN_NEWS_SECONDS + 1
