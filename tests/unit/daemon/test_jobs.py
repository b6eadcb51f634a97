"""Scans that wait for a confirmation: how many stay, and for how long."""

from array import array

import pytest
import trio
from trio.testing import MockClock

from medp2p import limits
from medp2p.daemon.jobs import Job, Jobs
from medp2p.errors import ConflictError, NotFoundError
from medp2p.parcel.scan import Scan

NUMBERS = array("q")
NOTHING = Scan(
    roots=(), entries=(), root_of=NUMBERS, ctime_ns=NUMBERS, device=NUMBERS, inode=NUMBERS,
    skipped=(), files=0, file_bytes=0,
)  # fmt: skip


def job(name: str, *, done: bool = True) -> Job:
    return Job(name, "peer", bytes(32), found=NOTHING if done else None)


def kept(jobs: Jobs, names: str) -> str:
    return "".join(name for name in names if name in jobs)


async def test_as_many_wait_as_may_and_then_the_oldest_goes() -> None:
    jobs = Jobs()
    names = "abcdefghijkl"
    for count, name in enumerate(names, 1):
        jobs.add(job(name))
        assert kept(jobs, names) == names[max(0, count - limits.MAX_SCANS) : count]


async def test_what_is_under_way_is_not_dropped_for_another() -> None:
    jobs = Jobs()
    walking = "abcdefgh"[: limits.MAX_SCANS - 1]
    for name in walking:
        jobs.add(job(name, done=False))
    jobs.add(job("x"))
    jobs.add(job("y", done=False))
    assert kept(jobs, walking + "xy") == walking + "y"
    with pytest.raises(ConflictError, match="too many"):
        jobs.add(job("z"))
    assert kept(jobs, walking + "xyz") == walking + "y"


async def test_what_is_old_is_refused_and_forgotten_without_being_asked(
    autojump_clock: MockClock,
) -> None:
    jobs = Jobs()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jobs.forget_old)
        jobs.add(job("a"))
        await trio.sleep(limits.KEEP_SCAN_SECONDS - 1)
        assert jobs.get("a").id == "a"
        jobs.add(job("b"))
        await trio.sleep(2)
        with pytest.raises(NotFoundError, match="an hour old"):
            jobs.get("a")
        await trio.sleep(limits.KEEP_SCAN_SECONDS + limits.HOUSEKEEPING_SECONDS)
        assert "b" not in jobs
        nursery.cancel_scope.cancel()


async def test_a_long_walk_goes_on_unless_another_begins(autojump_clock: MockClock) -> None:
    jobs = Jobs()
    jobs.add(job("a", done=False))
    await trio.sleep(2 * limits.KEEP_SCAN_SECONDS)
    assert jobs.get("a").state == "scanning"
    jobs.add(job("b"))
    assert kept(jobs, "ab") == "b"
