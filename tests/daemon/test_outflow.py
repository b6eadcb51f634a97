"""The sending half of a transfer at bad moments: what stops a chunk, what is kept, who works."""

import math
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from medp2p import limits
from medp2p.daemon.compressing import Pace
from medp2p.daemon.outflow import Outflow
from medp2p.errors import MedP2PError, SourceChangedError, SourceError
from medp2p.model import State
from medp2p.net.link import ChunkSlot, Link
from medp2p.net.sending import SendQueue
from medp2p.parcel.reader import Reader
from medp2p.proto.conversation import Conversation
from medp2p.proto.frames import ChunkHeader
from medp2p.vault import journal
from tests.helpers.stations import ANNA, Lab, Workstation, pair_of, random_bytes, until

MIB = limits.MIB
AUTO = ("auto", "auto")


class Obstacle:
    """One chunk cannot be read, once: the thread waits there, and then gets an error.

    Or all were read, and the last look at the sources fails like that.
    """

    def __init__(self, patch: pytest.MonkeyPatch, index: int | None, error: MedP2PError) -> None:
        self.met, self.go = threading.Event(), threading.Event()
        read = Reader.read_chunk_into

        def stop() -> None:
            self.met.set()
            self.go.wait(20)
            raise error

        def patched(reader: Reader, number: int, view: memoryview) -> None:
            if number == index and not self.met.is_set():
                stop()
            read(reader, number, view)

        patch.setattr(Reader, "read_chunk_into", patched)
        if index is None:
            patch.setattr("medp2p.daemon.outflow.check_unchanged", lambda *_: stop())


@dataclass
class Changing:
    """A transfer whose sender finds, once it may go on, that its source has changed."""

    it: Lab
    a: Workstation
    b: Workstation
    transfer: str
    conversation: Conversation
    go: threading.Event


@asynccontextmanager
async def changing(
    tmp_path: Path, patch: pytest.MonkeyPatch, index: int | None = 10
) -> AsyncIterator[Changing]:
    flows: list[Outflow] = []
    begin = Outflow.__post_init__

    def noted(flow: Outflow) -> None:
        flows.append(flow)
        begin(flow)

    patch.setattr(Outflow, "__post_init__", noted)
    obstacle = Obstacle(patch, index, SourceChangedError("the content changed of: large"))
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("study", {"large": random_bytes(24 * MIB)}))
        await until(obstacle.met.is_set)
        yield Changing(it, a, b, transfer, flows[0].link.conversation, obstacle.go)


@pytest.mark.parametrize("index", [10, None])
async def test_why_it_failed_is_kept_when_the_peer_hears_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: int | None
) -> None:
    async with changing(tmp_path, monkeypatch, index) as one:
        one.it.nursery.start_soon(one.b.stop)
        await until(lambda: one.conversation.ended, "Bye")
        one.go.set()
        await one.a.until(one.transfer, State.FAILED)
        row = one.a.row(one.transfer)
        assert row is not None
        assert row.error is not None
        assert row.error["code"] == "source-changed"


async def test_a_source_changes_while_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Abort may not be said: that is no breach of the protocol by ourselves."""
    async with changing(tmp_path, monkeypatch) as one:
        await one.a.desk.cancel(ANNA, one.transfer)
        await until(lambda: one.conversation.state == "aborted")
        one.go.set()
        await until(lambda: not one.a.sessions.connected(one.b.key), "the conversation to end")
        assert one.conversation.state == "aborted"
        await one.b.until(one.transfer, State.CANCELLED)
        assert one.a.state(one.transfer) is State.CANCELLED


async def test_chunks_that_have_a_place_leave_before_the_abort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their places would hold it up for ever: it is heard over this link, there is no other."""
    reserve = Outflow._reserve
    async with pair_of(tmp_path) as (it, a, b):

        async def cancelled_behind(flow: Outflow, *args: Any) -> Any:
            group = await reserve(flow, *args)
            if group and group[-1].index >= 8:
                a.wire.down = b.wire.down = True
                it.nursery.start_soon(a.desk.cancel, ANNA, flow.transfer)
                while trio.current_effective_deadline() != -math.inf:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(0.01)
            return group

        monkeypatch.setattr(Outflow, "_reserve", cancelled_behind)
        transfer = await a.send("b", it.source("study", {"large": random_bytes(24 * MIB)}))
        await b.until(transfer, State.CANCELLED)


async def test_a_chunk_that_finds_no_place_is_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out, it would be asked for after the commit, when all others have arrived."""
    reserve, note = Link.reserve_more, Outflow._sent
    asked: list[int] = []
    sent: list[int] = []

    def full_once(link: Link, length: int) -> ChunkSlot | None:
        asked.append(length)
        return None if len(asked) == 2 else reserve(link, length)

    def noted(flow: Outflow, header: ChunkHeader) -> None:
        sent.append(header.index)
        note(flow, header)

    monkeypatch.setattr(Link, "reserve_more", full_once)
    monkeypatch.setattr(SendQueue, "_free_places", lambda _: limits.WORK_CHUNKS)
    monkeypatch.setattr(Outflow, "_sent", noted)
    async with pair_of(tmp_path) as (it, a, _):
        transfer = await a.send("b", it.source("study", {"large": random_bytes(5 * MIB)}))
        await a.until(transfer, State.SEALED)
    assert sent == list(range(6))


async def test_what_is_sent_while_the_journal_is_written_waits_for_the_next_time() -> None:
    """Forgotten, its digest would be missing in the root."""
    kept: list[tuple[int, bytes]] = []

    async def write(_: object, transfer: str, pairs: list[tuple[int, bytes]]) -> None:
        await trio.lowlevel.checkpoint()
        kept.extend(pairs)
        flow._hashed.append((1, transfer.encode()))

    flow: Any = SimpleNamespace(transfer="x", station=SimpleNamespace(write=write))
    flow._hashed, flow._journalling = [(0, b"y")], trio.Lock()
    await Outflow._journal(cast("Outflow", flow))
    assert (kept, flow._hashed) == ([(0, b"y")], [(1, b"x")])


async def test_the_root_is_durable_before_the_commit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash a receipt could not be compared with anything."""
    kept: list[bool] = []
    commit = Outflow.commit
    async with pair_of(tmp_path) as (it, a, _):

        async def looked(flow: Outflow, root: bytes) -> None:
            row = a.row(flow.transfer)
            kept.append(row is not None and row.root == root)
            await commit(flow, root)

        monkeypatch.setattr(Outflow, "commit", looked)
        transfer = await a.send("b", it.source("study", {"small": b"x"}))
        await a.until(transfer, State.SEALED)
    assert kept == [True]


async def test_no_more_is_sent_than_a_crash_may_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the store takes nothing, nothing more leaves whose digests only memory knows."""
    async with pair_of(tmp_path) as (it, a, _):
        write, asked, go = a.station.write, trio.Event(), trio.Event()

        async def busy(act: Callable[..., Any], *args: Any) -> Any:
            if act is journal.put_sent:
                asked.set()
                await go.wait()
            return await write(act, *args)

        monkeypatch.setattr(a.station, "write", busy)
        transfer = await a.send("b", it.source("study", {"large": random_bytes(96 * MIB)}))
        most = limits.JOURNAL_GROUP_BYTES + limits.WORK_CHUNKS * MIB
        await asked.wait()
        await trio.sleep(0.3)
        assert a.wire.sent <= most + MIB
        assert not a.journalled(transfer)
        go.set()
        await a.until(transfer, State.SEALED)


async def test_a_file_that_cannot_be_read_while_the_other_thread_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place stays empty; who waits for one behind it must not wait for ever."""
    obstacle = Obstacle(monkeypatch, 2, SourceError("I/O error"))
    async with pair_of(tmp_path, compression=AUTO) as (it, a, b):
        a.station.board.slow_links.add(b.key)
        transfer = await a.send("b", it.source("study", {"large": random_bytes(40 * MIB)}))
        await until(obstacle.met.is_set)
        await trio.sleep(0.3)
        obstacle.go.set()
        await a.until(transfer, State.SEALED)


async def test_two_threads_compress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meeting = threading.Barrier(2, timeout=20)
    prepare = Outflow._prepare

    def met(flow: Outflow, group: list[Any], room: Any) -> Any:
        if group[0].index < 2:
            meeting.wait()
        return prepare(flow, group, room)

    monkeypatch.setattr(Outflow, "_prepare", met)
    monkeypatch.setattr(limits, "WORK_CHUNKS", 1)
    async with pair_of(tmp_path, compression=AUTO) as (it, a, b):
        a.station.board.slow_links.add(b.key)
        transfer = await a.send("b", it.source("study", {"large": random_bytes(8 * MIB)}))
        await a.until(transfer, State.SEALED)
    assert not meeting.broken


async def test_one_thread_is_enough_once_nothing_is_compressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one waits no more for the first: that would look like a slow link."""
    placed, prepare = Pace.placed, Outflow._prepare
    threads: dict[int, set[int]] = {}
    left = 16  # chunks until it is found that compressing does not help

    def switched_off(pace: Pace, chunks: int, now: float) -> None:
        nonlocal left
        placed(pace, chunks, now)
        left -= chunks
        pace.on = pace.on and left > 0

    def noted(flow: Outflow, group: list[Any], room: Any) -> Any:
        for job in group:
            threads.setdefault(job.index, set()).add(id(room))
        return prepare(flow, group, room)

    monkeypatch.setattr(Pace, "placed", switched_off)
    monkeypatch.setattr(Outflow, "_prepare", noted)
    async with pair_of(tmp_path, compression=AUTO) as (it, a, b):
        a.wire.straight = True
        a.station.board.slow_links.add(b.key)
        transfer = await a.send("b", it.source("study", {"large": random_bytes(48 * MIB)}))
        await a.until(transfer, State.SEALED)
    # Each had a group placed, and may have one more: it waited for that when it was switched off.
    late = {index: rooms for index, rooms in threads.items() if index >= 16 + 2 * 4}
    assert len(set().union(*late.values())) == 1
