"""Transfers that go on: after cut links, restarts and damage; what is sent again, and what not."""

import errno
import gc
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.errors import StoreError
from medp2p.model import State
from tests.helpers.puppets import Parcel, Puppet, id_of
from tests.helpers.stations import (
    Lab,
    Workstation,
    lab,
    pair_of,
    random_bytes,
    ranges_bytes,
    tree_of,
    until,
)

MIB = limits.MIB
#: What may have passed the wire and not be journalled: a group, what both ends hold in flight,
#: and what the kernel keeps of a loopback connection.
UNPROVED_BYTES = limits.JOURNAL_GROUP_BYTES + limits.RECEIVE_CHUNKS * MIB + 12 * MIB
#: Records, headers, offers and manifests.
OVERHEAD = 1.002


@pytest.fixture(autouse=True)
def short_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal ten times a second, so that a middle comes soon."""
    monkeypatch.setattr(limits, "JOURNAL_GROUP_SECONDS", 0.1)


async def halfway(it: Lab, a: Workstation, b: Workstation, size: int, at: int) -> str:
    """Start a transfer from a to b and hold the wire after so many bytes."""
    study = it.source("study", {"large": size, "small": random_bytes(100_000)})
    a.wire.hold_at = a.wire.sent + at
    transfer = await a.send("b", study)
    await b.until(transfer, State.RECEIVING)
    await a.wire.wait_sent(a.wire.hold_at)
    return transfer


async def whole(it: Lab, a: Workstation, b: Workstation, transfer: str) -> None:
    """Wait for the receipt and compare every byte."""
    await a.until(transfer, State.SEALED)
    folder = await b.released(transfer, it.folder / "out")
    assert tree_of(folder / "study") == tree_of(it.folder / "sources" / "study")
    assert b.vault() == [f"{transfer}.tar.age"]


async def test_cut_at_random_places(tmp_path: Path) -> None:
    """Nothing journalled is sent again; at most a group and what was in flight is."""
    chance = random.Random(7)
    size = 128 * MIB
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", {"large": size, "small": random_bytes(100_000)})
        start, cuts = a.wire.sent, 0
        a.wire.cut_at = start + chance.randrange(size)
        transfer = await a.send("b", study)
        while cuts < 3:
            await until(lambda: a.wire.down or a.state(transfer) is State.SEALED)
            if not a.wire.down:
                break
            cuts += 1
            await until(lambda: not b.sessions.connected(a.key), "the receiver to notice")
            left = ranges_bytes(b.missing(transfer))
            sent = a.wire.sent - start
            assert sent <= (size - left + UNPROVED_BYTES * cuts) * OVERHEAD + 2 * MIB
            a.wire.cut_at = a.wire.sent + 1 + chance.randrange(left // 2)
            a.wire.down = False
        a.wire.cut_at = None
        await whole(it, a, b, transfer)
        assert cuts >= 2
        assert a.wire.sent - start <= (size + cuts * UNPROVED_BYTES) * OVERHEAD + MIB
        assert b.audit(transfer).count(("seal", "ok")) == 1


async def test_what_is_journalled_is_not_sent_again(tmp_path: Path) -> None:
    size = 128 * MIB
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await halfway(it, a, b, size, 100 * MIB)
        await until(lambda: ranges_bytes(b.missing(transfer)) < 40 * MIB, "a group")
        await a.wire.cut()
        await until(lambda: not b.sessions.connected(a.key), "the receiver to notice")
        left, before = ranges_bytes(b.missing(transfer)), a.wire.sent
        a.wire.go()
        await whole(it, a, b, transfer)
        assert a.wire.sent - before <= left * OVERHEAD + MIB


async def test_a_lost_link_is_shown_on_both_sides_with_how_far_it_is(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await halfway(it, a, b, 24 * MIB, 16 * MIB)
        await until(lambda: ranges_bytes(b.missing(transfer)) < 12 * MIB, "a group")
        await a.wire.sever()
        await b.until(transfer, State.PAUSED)
        await a.until(transfer, State.WAITING)
        assert b.reason(transfer) == "link-lost"
        assert a.reason(transfer) in ("link-lost", "peer-away")
        row = b.row(transfer)
        assert row is not None
        assert row.chunks_done == 25 - ranges_bytes(b.missing(transfer)) // MIB
        view = await b.desk.transfer("in", transfer, entries=False)
        assert view["bytes_done"] > 12_000_000
        a.wire.down = False
        a.wire.go()
        await whole(it, a, b, transfer)


@pytest.mark.parametrize("side", ["sender", "receiver", "both"])
async def test_stopped_in_the_middle_and_started_again(tmp_path: Path, side: str) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await halfway(it, a, b, 48 * MIB, 32 * MIB)
        await until(lambda: ranges_bytes(b.missing(transfer)) < 30 * MIB, "a group")
        await a.wire.sever()
        moving = {"sender": [a], "receiver": [b], "both": [a, b]}[side]
        for each in moving:
            await each.stop()
        a.wire.mend()
        left, before = ranges_bytes(b.missing(transfer)) if b not in moving else None, a.wire.sent
        for each in moving:
            await it.start(each)
        if b in moving:
            assert b.state(transfer) in (State.PAUSED, State.RECEIVING, State.SEALED)
        await whole(it, a, b, transfer)
        assert a.wire.sent - before <= (left or 32 * MIB) * OVERHEAD + MIB


async def test_a_sender_that_vanished_without_a_word_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut: the old connection still seems to be there, and nobody answers."""
    monkeypatch.setattr(limits, "CLONE_PING_SECONDS", 0.3)
    monkeypatch.setattr(limits, "CLEANUP_SECONDS", 0.3)
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await halfway(it, a, b, 24 * MIB, 16 * MIB)
        await until(lambda: ranges_bytes(b.missing(transfer)) < 12 * MIB, "a group")
        a.wire.mute = True
        await a.stop()
        a.wire.mute = False
        a.wire.go()
        assert b.state(transfer) is State.RECEIVING
        before, left = a.wire.sent, ranges_bytes(b.missing(transfer))
        await it.start(a)
        await whole(it, a, b, transfer)
        assert a.wire.sent - before <= left * OVERHEAD + MIB
        assert a.alarms() == b.alarms() == []


async def test_the_sender_lost_its_digests_and_reads_them_again(tmp_path: Path) -> None:
    """A crash may cost the sender the digests of up to a group of chunks that it sent."""
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await halfway(it, a, b, 24 * MIB, 16 * MIB)
        await until(lambda: ranges_bytes(b.missing(transfer)) < 12 * MIB, "a group")
        await a.wire.sever()
        await a.stop()
        a.wire.mend()
        await it.start(a)
        with a.station.store.write() as tx:
            tx.execute("DELETE FROM journal")
        await whole(it, a, b, transfer)


async def test_chunks_that_find_no_free_thread_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their places stay empty, so that link is over; the transfer is not."""
    monkeypatch.setattr(limits, "CLEANUP_SECONDS", 0.2)
    run_sync, left_out = trio.to_thread.run_sync, 0

    async def all_busy_once(act: Callable[..., Any], *args: Any, **options: Any) -> Any:
        nonlocal left_out
        if getattr(act, "__name__", "") == "_prepare" and not left_out:
            left_out += 1
            await trio.sleep_forever()
        return await run_sync(act, *args, **options)

    async with pair_of(tmp_path) as (it, a, b):
        monkeypatch.setattr(trio.to_thread, "run_sync", all_busy_once)
        transfer = await a.send("b", it.source("study", {"large": 8 * MIB}))
        await whole(it, a, b, transfer)
    assert left_out == 1


@pytest.mark.parametrize("damage", ["gone", "header"])
async def test_a_damaged_part_fails_and_says_so(tmp_path: Path, damage: str) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await halfway(it, a, b, 24 * MIB, 16 * MIB)
        await a.wire.sever()
        await b.stop()
        part = b.home.part(transfer)
        if damage == "gone":
            part.unlink()
        else:
            content = bytearray(part.read_bytes())
            content[40:41] = b"?"
            part.write_bytes(content)
        a.wire.mend()
        await it.start(b)
        await a.until(transfer, State.FAILED)
        await b.until(transfer, State.FAILED)
        await until(lambda: b.vault() == [])
        row = b.row(transfer)
        assert row is not None
        assert row.error is not None
        assert row.error["code"] == "seal-broken"


async def test_what_was_not_made_durable_is_asked_for_over_the_next_link(tmp_path: Path) -> None:
    """The file is opened again for that: a second fdatasync would succeed for lost data."""
    steps: list[str] = []

    def fails_once(step: str) -> None:
        steps.append(step)
        if step == "fdatasync" and steps.count(step) == 2:  # the first one is of the header
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with pair_of(tmp_path) as (it, a, b):
        await it.restart(b, step=fails_once)
        transfer = await a.send("b", it.source("study", {"small": b"x"}))
        await whole(it, a, b, transfer)
    order = [step for step in steps if step in ("claim", "fdatasync", "journal", "rename")]
    again = ["claim", "fdatasync", "journal"]
    assert order == ["fdatasync", "claim", "fdatasync", *again, "fdatasync", "rename"]


async def test_what_was_written_is_journalled_when_the_link_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a slow link that is often lost would send it again and again."""
    monkeypatch.setattr(limits, "JOURNAL_GROUP_SECONDS", 1000)
    async with lab(tmp_path) as it:
        b, puppet, parcel = await it.add("b"), Puppet(), Parcel.of(2 * MIB)
        await puppet.meet(b)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            await talk.chunks(parcel, [1])
            await until(lambda: 1 in b.journalled(id_of(offer)), "the claim")
        await b.until(id_of(offer), State.PAUSED)
        assert b.missing(id_of(offer)) == [(0, 1), (2, 3)]


async def test_stopped_between_the_name_and_the_row_about_it(tmp_path: Path) -> None:
    """An orderly stop waits for the row; only a crash leaves that to the next start."""
    steps: list[str] = []

    def stopping(step: str) -> None:
        steps.append(step)
        if step == "rename":  # in a worker thread
            trio.from_thread.run_sync(b.scope.cancel)

    async with pair_of(tmp_path) as (it, a, b):
        await it.restart(b, step=stopping)
        await a.send("b", it.source("study", {"small": b"x"}))
        await b.stopped.wait()
        assert "commit" in steps[steps.index("rename") :]


async def test_a_receipt_that_was_lost_is_asked_for(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await halfway(it, a, b, 3 * MIB, 2 * MIB)

        def lose(step: str) -> None:
            if step == "receipt":
                a.wire.down = True
                raise StoreError("the link is lost just before the receipt leaves")

        await a.wire.cut()
        await b.stop()
        a.wire.go()
        await it.start(b, step=lose)
        await b.until(transfer, State.SEALED)
        await until(lambda: a.wire.down)
        await a.wire.cut()
        a.wire.down = False
        await a.until(transfer, State.SEALED)
        assert b.audit(transfer).count(("seal", "ok")) == 1
        assert b.vault() == [f"{transfer}.tar.age"]


async def test_lost_connections_leave_no_memory_behind(tmp_path: Path) -> None:
    """Also before the garbage collector looks: what a connection held goes with it."""

    def freed() -> bool:
        return tracemalloc.get_traced_memory()[0] < 8 * MIB

    async with pair_of(tmp_path) as (it, a, b):
        gc.disable()
        tracemalloc.start()
        try:
            transfer = await halfway(it, a, b, 96 * MIB, 12 * MIB)
            for _ in range(5):
                await a.wire.sever()
                await a.until(transfer, State.WAITING)
                await b.until(transfer, State.PAUSED)
                await until(freed, "memory", seconds=10)
                a.wire.hold_at = a.wire.sent + 12 * MIB
                a.wire.down = False
                await b.until(transfer, State.RECEIVING)
                await a.wire.wait_sent(a.wire.hold_at)
        finally:
            tracemalloc.stop()
            gc.enable()
        a.wire.mend()
        await whole(it, a, b, transfer)
