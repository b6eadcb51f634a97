"""What a transfer costs, in counts and not in seconds: a guard against slow ways coming back.

Each figure is for one chunk (1 MiB) more: the difference between a larger and a smaller transfer,
so what a transfer costs once does not count. The bounds stand close above what was measured, on a
quiet and on a busy machine; whoever makes things better lowers them.
"""

import gc
import os
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.model import State
from medp2p.net.buffers import BufferPool
from tests.helpers.stations import Lab, Workstation, pair_of, until
from tests.tools import need_tool

MIB = limits.MIB
SMALL, LARGE = 32 * MIB, 96 * MIB
MORE_CHUNKS = (LARGE - SMALL) // limits.CHUNK_BYTES
#: Buffers of a link each way, whatever is sent.
LINK_BUFFERS = limits.LINK_CHUNKS + limits.RECEIVE_CHUNKS
#: Those, three of each worker in all (one to read into; what comes off the wire, one to decrypt
#: into, one to decompress into), and as much as 6 MiB for everything else.
MOST_BUFFERS = LINK_BUFFERS + 3 * limits.WORKERS + 6
#: Chunks may be compressed here; that none is, on loopback, and what deciding so costs, counts too.
AUTO = ("auto", "auto")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What both sides did together."""

    sender_commits: int
    receiver_commits: int
    thread_calls: int
    task_steps: int
    buffers_lent: int
    buffers_made: int

    def __sub__(self, other: "Counts") -> "Counts":
        both = {
            each.name: getattr(self, each.name) - getattr(other, each.name) for each in fields(self)
        }
        return Counts(**both)


class TaskSteps(trio.abc.Instrument):
    """Counts how often trio switches to a task."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


class Counting:
    """Counts from its making on, until ``close``."""

    def __init__(self, patch: pytest.MonkeyPatch, a: Workstation, b: Workstation) -> None:
        self._a, self._b = a, b
        self._steps = TaskSteps()
        self._seen: Counter[str] = Counter()
        trio.lowlevel.add_instrument(self._steps)
        run_sync, lend = trio.to_thread.run_sync, BufferPool._lend

        async def counted_run_sync(*args: Any, **options: Any) -> Any:
            self._seen["calls"] += 1
            return await run_sync(*args, **options)

        def counted_lend(pool: BufferPool) -> bytearray:
            self._seen["lent"] += 1
            self._seen["made"] += not pool.budget.free
            return lend(pool)

        patch.setattr(trio.to_thread, "run_sync", counted_run_sync)
        patch.setattr(BufferPool, "_lend", counted_lend)

    def now(self) -> Counts:
        return Counts(
            sender_commits=self._a.station.store.commits,
            receiver_commits=self._b.station.store.commits,
            thread_calls=self._seen["calls"],
            task_steps=self._steps.count,
            buffers_lent=self._seen["lent"],
            buffers_made=self._seen["made"],
        )

    def close(self) -> None:
        trio.lowlevel.remove_instrument(self._steps)


@pytest.fixture
def whole_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups wait until they are whole: a busy machine must not make more of them."""
    monkeypatch.setattr(limits, "CLAIM_LINGER_SECONDS", 3600.0)
    monkeypatch.setattr(limits, "JOURNAL_GROUP_SECONDS", 3600.0)


async def send(it: Lab, a: Workstation, name: str, size: int) -> None:
    transfer = await a.send("b", it.source(name, {"large": size}))
    await a.until(transfer, State.SEALED)
    for receiver in it.all:
        if receiver is not a:  # or its look would count for the next one
            await receiver.until_checked(transfer)


@pytest.mark.usefixtures("whole_groups")
async def test_what_one_chunk_more_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair_of(tmp_path, compression=AUTO) as (it, a, b):
        await send(it, a, "warm", SMALL)  # imports, helpers and memory that only the first one pays
        counting = Counting(monkeypatch, a, b)
        begin = counting.now()
        await send(it, a, "small", SMALL)
        small = counting.now() - begin
        begin = counting.now()
        await send(it, a, "large", LARGE)
        large = counting.now() - begin
        counting.close()
    more = large - small

    # A claim for each group of 16 chunks, a "done" for each flush of 16 MiB: 128 commits a GiB.
    assert more.receiver_commits <= MORE_CHUNKS // 8 + 3
    # What was hashed, for each 32 MiB: 32 a GiB.
    assert more.sender_commits <= MORE_CHUNKS // 32 + 3
    # One call for four chunks at the sender, for up to eight at the receiver, where the network has
    # them; and some for commits, flushes, looks at the store: 0.8.
    assert more.thread_calls <= 1.5 * MORE_CHUNKS
    # Some 4, of both sides.
    assert more.task_steps <= 10 * MORE_CHUNKS
    # One at the sender; at the receiver some for each call, which gives back what it had no chunk
    # for. None is made for each chunk.
    assert more.buffers_lent <= 5 * MORE_CHUNKS
    assert max(small.buffers_made, large.buffers_made) <= LINK_BUFFERS


@pytest.mark.usefixtures("whole_groups")
async def test_memory_does_not_grow_with_the_size(tmp_path: Path) -> None:
    peaks = []
    async with pair_of(tmp_path, compression=AUTO) as (it, a, _):
        await send(it, a, "warm", MIB)
        for name, size in (("small", SMALL), ("large", LARGE)):
            with traced_memory():
                await send(it, a, name, size)
                peaks.append(tracemalloc.get_traced_memory()[1])
    assert max(peaks) <= MOST_BUFFERS * MIB


async def test_many_at_a_time_take_little_more_than_one(tmp_path: Path) -> None:
    at_once = 4
    async with pair_of(tmp_path, compression=AUTO) as (it, a, _):
        await send(it, a, "warm", MIB)
        with traced_memory():
            async with trio.open_nursery() as nursery:
                for number in range(at_once):
                    nursery.start_soon(send, it, a, f"study {number}", SMALL)
            peak = tracemalloc.get_traced_memory()[1]
    buffers = limits.SEND_BUFFERS + limits.RECEIVE_BUFFERS
    assert peak <= (buffers + at_once * 3 * limits.WORKERS + 12) * MIB


async def test_memory_does_not_grow_with_the_number(tmp_path: Path) -> None:
    """What a conversation leaves in cycles, until they are looked for, holds no buffers."""
    async with pair_of(tmp_path, compression=AUTO) as (it, a, b):

        async def send_to_the_end(name: str) -> None:
            await send(it, a, name, SMALL)
            await until(lambda: not b.sessions.connected(a.key), "the conversation to end")

        gc.disable()
        try:
            with traced_memory():
                await send_to_the_end("first")
                before = tracemalloc.get_traced_memory()[0]
                for name in ("second", "third", "fourth"):
                    await send_to_the_end(name)

                def freed() -> bool:  # both ends let go once they have said goodbye
                    return tracemalloc.get_traced_memory()[0] - before < 8 * MIB

                await until(freed, "memory")
        finally:
            gc.enable()


@contextmanager
def traced_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


# --- system calls -------------------------------------------------------------------------

#: What moves data. Not among them: locks between threads, and what the helpers that read DICOM
#: headers do.
DATA_CALLS = {
    *("recvfrom", "recvmsg", "sendto", "sendmsg", "epoll_wait", "epoll_pwait", "epoll_ctl"),
    *("pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2", "fdatasync", "fsync"),
}
_CALL = re.compile(r"^\d+ +(\w+)\(", re.MULTILINE)
#: Memory as large as a chunk is then asked of the kernel, each time (mallopt(3), glibc).
NO_REUSE = {"MALLOC_MMAP_THRESHOLD_": str(64 * limits.KIB)}
_MAPPED = re.compile(r"mmap\(NULL, (\d+), .*MAP_ANONYMOUS")


@pytest.mark.slow
def test_system_calls_of_one_chunk_more(tmp_path: Path) -> None:
    strace = need_tool("strace")
    trace = tmp_path / "trace"
    watch = [strace, "-f", "-qq", "--seccomp-bpf", "-o", str(trace)]
    if subprocess.run([*watch, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not watch processes here")
    sizes = [str(size) for size in (SMALL, SMALL, LARGE)]
    done = subprocess.run(
        [
            *(*watch, "-e", "trace=write,mmap," + ",".join(sorted(DATA_CALLS))),
            *(sys.executable, "-m", "tests.helpers.traced", str(tmp_path / "lab"), *sizes),
        ],
        cwd=ROOT,
        env={**os.environ, **NO_REUSE},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    _, _, small, large, _ = re.split(r'write\(-1, "mark \d"', trace.read_text())
    more = calls(large)
    more.subtract(calls(small))

    # Some 20: 7 to receive, 4 to send, 8 to learn that a socket is ready, 2 to write (a chunk and
    # the database), 1 to read.
    assert more.total() <= 30 * MORE_CHUNKS
    # A chunk is read by one call, and flushed with 15 others.
    assert more["preadv2"] <= MORE_CHUNKS + 2
    assert more["fdatasync"] <= 0.6 * MORE_CHUNKS
    # The buffers of a link, perhaps, and none for each chunk: a fresh one costs 256 page faults.
    assert buffers(large) - buffers(small) <= LINK_BUFFERS


def buffers(trace: str) -> int:
    """How often memory for a chunk was made; Python's own arenas have 1 MiB exactly."""
    sizes = map(int, _MAPPED.findall(trace))
    return sum(limits.CHUNK_BYTES < size < 2 * limits.CHUNK_BYTES for size in sizes)


def calls(trace: str) -> Counter[str]:
    return Counter(name for name in _CALL.findall(trace) if name in DATA_CALLS)
