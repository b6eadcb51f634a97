"""Scans that wait for a confirmation: how many stay, and for how long."""

from array import array

import pytest

from medp2p import limits
from medp2p.daemon.jobs import Job, Jobs
from medp2p.errors import ConflictError
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
