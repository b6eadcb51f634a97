"""Transfers between two and three workstations, from the offer to the receipt, and how they end."""

import os
import time
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.daemon.sessions import Session
from medp2p.errors import ConflictError
from medp2p.model import State
from medp2p.vault.peers import PeerRow
from tests.helpers.stations import (
    ANNA,
    Lab,
    Workstation,
    lab,
    pair_of,
    random_bytes,
    tree_of,
    until,
)

STUDY: dict[str, bytes | int] = {
    "CT/1.dcm": random_bytes(300_000),
    "CT/2.dcm": b"",
    "DICOMDIR": b"x",
    "slide.svs": random_bytes(2_500_000, 2),
}


async def test_a_whole_transfer_and_its_facts_on_both_sides(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        study = it.source("study", STUDY)
        (study / "empty").mkdir()
        transfer = await a.send("b", study, note="for the round\nbed 7", priority="stat")
        await b.until(transfer, State.OFFERED)
        assert b.vault() == []
        assert b.blobs(transfer) == {"summary": "spool"}
        await until(lambda: a.reason(transfer) == "undecided")
        view = await b.desk.accept(ANNA, transfer)
        assert view["note"] == "for the round / bed 7"
        await a.until(transfer, State.SEALED)
        await b.until(transfer, State.SEALED)

        sent, got = a.row(transfer), b.row(transfer)
        assert sent is not None
        assert got is not None
        assert (sent.root, sent.offer, sent.length) == (got.root, got.offer, got.length)
        assert sent.root is not None
        assert sent.priority == got.priority == "stat"
        assert b.vault() == [f"{transfer}.tar.age"]
        await b.until_checked(transfer)
        for side in (a, b):
            assert set(side.blobs(transfer).values()) == {"vault"}
        assert b.journalled(transfer) == {}
        await until(lambda: b.facts(transfer) == [("us", "sealed", True)])
        assert a.facts(transfer) == [("them", "sealed", True)]

        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(study)
        await a.until(transfer, State.RELEASED)
        kinds = [kind for _, kind, _ in b.facts(transfer)]
        assert kinds == ["sealed", "opened", "released"]
        assert b.audit(transfer) == [
            ("offer", "ok"),
            ("accept", "ok"),
            ("seal", "ok"),
            ("check", "ok"),
            ("release-begin", "ok"),
            ("release", "ok"),
        ]
        assert a.audit(transfer) == [
            ("send", "ok"),
            ("seal", "ok"),
            ("open", "ok"),
            ("release", "ok"),
        ]
        assert (await b.desk.audit_verify())["ok"]


@pytest.mark.parametrize("size", [0, limits.CHUNK_BYTES - 512, 3 * limits.CHUNK_BYTES + 1])
async def test_sizes_at_the_edges_of_chunks(tmp_path: Path, size: int) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", {"x": random_bytes(size)})
        transfer = await a.send("b", study)
        await a.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(study)


async def test_many_small_files_with_odd_names(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", {f"s{i % 7}/{i}.dcm": b"%d" % i for i in range(1000)})
        (study / os.fsdecode(b"caf\xe9 \xff")).write_bytes(b"latin")
        transfer = await a.send("b", study)
        await a.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(study)


# --- consent ------------------------------------------------------------------------------


async def test_auto_is_accepted_by_a_rule(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY))
        await a.until(transfer, State.SEALED)
        with b.station.store.read() as tx:
            accepted = [r for r in b.station.ledger.list(tx, 100) if r["event"] == "accept"]
        assert [record["actor"] for record in accepted] == [
            {"os_user": None, "operator": None, "via": "rule"}
        ]


async def test_auto_beyond_its_limit_asks(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.set("a", **{"max-bytes": "20 kB"})
        large = await a.send("b", it.source("large", {"x": bytes(30_000)}))
        small = await a.send("b", it.source("small", {"x": bytes(1000)}))
        await a.until(small, State.SEALED)
        assert b.state(large) is State.OFFERED


async def test_a_blocked_peer_leaves_nothing_but_a_record(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="block") as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY), note="hidden")
        await a.until(transfer, State.DECLINED)
        assert b.row(transfer) is None
        assert b.audit(transfer) == [("offer", "refused")]
        assert b.blobs(transfer) == {}


async def test_accepted_while_the_sender_is_away(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        study = it.source("study", STUDY)
        transfer = await a.send("b", study)
        await b.until(transfer, State.OFFERED)
        await a.stop()
        await b.desk.accept(ANNA, transfer)
        assert (await b.desk.accept(ANNA, transfer))["state"] == "accepted"
        await it.start(a)
        await a.until(transfer, State.SEALED)
        assert b.audit(transfer).count(("offer", "ok")) == 1


async def test_a_peer_that_is_off_is_waited_for(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        transfer = await a.send("b", it.source("study", STUDY))
        await a.until(transfer, State.WAITING)
        assert a.reason(transfer) == "peer-away"
        await it.restart(a)
        assert a.state(transfer) in (State.QUEUED, State.WAITING)
        await it.start(b)
        await a.until(transfer, State.SEALED)


@pytest.mark.parametrize("away", [False, True])
async def test_declined_with_a_reason(tmp_path: Path, away: bool) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY))
        await b.until(transfer, State.OFFERED)
        if away:
            await a.stop()
        await b.desk.decline(ANNA, transfer, "wrong patient")
        if away:
            await it.start(a)
        await a.until(transfer, State.DECLINED)
        for side, box in ((a, "out"), (b, "in")):
            view = await side.desk.transfer(box, transfer, entries=False)
            assert "wrong patient" in view["error"]["text"]
            assert ("decline", "ok") in side.audit(transfer)
        assert b.vault() == []
        with pytest.raises(ConflictError):
            await b.desk.accept(ANNA, transfer)
        # The reason may name a patient: it is nowhere in clear.
        for side in (a, b):
            side.station.store.checkpoint()
            assert b"wrong patient" not in side.home.store.read_bytes()


async def test_who_takes_the_wrong_verb_is_told_the_right_one(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", {"x": b"x"}))
        await b.until(transfer, State.OFFERED)
        with pytest.raises(ConflictError, match="nothing to discard") as caught:
            await b.desk.discard(ANNA, transfer)
        assert "inbox decline" in str(caught.value.hint)
        await b.desk.accept(ANNA, transfer)
        await b.until(transfer, State.SEALED)
        with pytest.raises(ConflictError, match="nothing to decline") as caught:
            await b.desk.decline(ANNA, transfer, "")
        assert "inbox discard" in str(caught.value.hint)


async def test_declining_many_does_not_slow_down_what_follows(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        study = it.source("study", {"x": b"x"})
        for _ in range(8):
            transfer = await a.send("b", study)
            await b.until(transfer, State.OFFERED)
            await b.desk.decline(ANNA, transfer, "")
            await a.until(transfer, State.DECLINED)
        await b.set("a", accept="auto")
        start = trio.current_time()
        await a.until(await a.send("b", study), State.SEALED)
        assert trio.current_time() - start < 3


# --- cancel, discard ------------------------------------------------------------------------


async def test_cancelled_before_it_was_ever_offered(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        transfer = await a.send("b", it.source("study", STUDY))
        await a.desk.cancel(ANNA, transfer)
        assert a.state(transfer) is State.CANCELLED
        await it.start(b)
        await until(lambda: a.pending(b) == 0)
        assert b.row(transfer) is None
        assert (await a.desk.cancel(ANNA, transfer))["state"] == "cancelled"


@pytest.mark.parametrize("away", [False, True])
async def test_cancelled_while_undecided(tmp_path: Path, away: bool) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY))
        await b.until(transfer, State.OFFERED)
        if away:
            await b.stop()
        await a.desk.cancel(ANNA, transfer)
        if away:
            await it.start(b)
        await b.until(transfer, State.CANCELLED)
        await until(lambda: a.pending(b) == 0)


async def moving(it: Lab, a: Workstation, b: Workstation, megabytes: int = 24) -> str:
    """Start a transfer from a to b and hold it in the middle."""
    study = it.source("moving", {"x": megabytes << 20})
    a.wire.hold_at = a.wire.sent + (megabytes << 19)
    transfer = await a.send("b", study)
    await b.until(transfer, State.RECEIVING)
    await a.wire.wait_sent(a.wire.hold_at)
    return transfer


async def test_cancelled_in_the_middle(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await moving(it, a, b)
        assert b.vault() == [f"{transfer}.part"]
        await a.desk.cancel(ANNA, transfer)
        a.wire.go()
        await b.until(transfer, State.CANCELLED)
        await until(lambda: b.vault() == [], "the part to be erased")
        await until(lambda: a.pending(b) == 0)
        await until(lambda: b.journalled(transfer) == {} and "filekey" not in b.blobs(transfer))
        assert set(b.blobs(transfer).values()) == {"vault"}


async def test_cancelled_in_the_middle_while_the_receiver_is_off(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await moving(it, a, b)
        await a.wire.cut()
        await b.stop()
        a.wire.go()
        await a.desk.cancel(ANNA, transfer)
        await it.start(b)
        with b.station.events.subscribe() as events:
            await b.until(transfer, State.CANCELLED)
            await until(lambda: b.vault() == [], "the part to be erased")
            async for event in events:
                if event["event"] == "transfer":
                    assert event["transfer"]["state"] == "cancelled"  # type: ignore[index]
                    break


async def test_too_late_to_cancel(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, _):
        transfer = await a.send("b", it.source("study", STUDY))
        await a.until(transfer, State.SEALED)
        with pytest.raises(ConflictError):
            await a.desk.cancel(ANNA, transfer)


async def test_a_disk_that_takes_too_long_to_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COMMIT_SECONDS", 0.3)
    slow = [0.6]

    def step(name: str) -> None:
        if name == "rename" and slow:
            time.sleep(slow.pop())

    async with pair_of(tmp_path) as (it, a, b):
        await it.restart(b, step=step)
        study = it.source("study", STUDY)
        transfer = await a.send("b", study)
        await a.until(transfer, State.SEALED)  # by the next conversation: this one ends
        assert not slow
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(study)


async def test_a_conversation_that_is_ended_from_outside_is_a_pause(tmp_path: Path) -> None:
    """Its sender may never come back; then nothing else says that nothing comes."""
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await moving(it, a, b)
        a.wire.down = True
        await b.sessions.end_all(a.key)
        await b.until(transfer, State.PAUSED)
        assert b.reason(transfer) == "link-lost"
        a.wire.mend()
        await a.until(transfer, State.SEALED)


async def test_discarded_in_the_middle(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        size = 24
        transfer = await moving(it, a, b, size)
        await b.desk.discard(ANNA, transfer)
        await a.until(transfer, State.DISCARDED)  # heard, though nothing can be sent
        a.wire.go()
        await until(lambda: b.vault() == [], "the part to be erased")
        await until(lambda: not b.sessions.connected(a.key), "the conversation to end")
        assert b.journalled(transfer) == {}
        assert "filekey" not in b.blobs(transfer)
        assert b.state(transfer) is State.DISCARDED
        assert a.wire.sent < size << 20


async def test_discarded_when_whole(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY))
        await a.until(transfer, State.SEALED)
        await b.desk.discard(ANNA, transfer)
        assert b.vault() == []
        await a.until(transfer, State.DISCARDED)
        assert ("discard", "ok") in b.audit(transfer)
        with pytest.raises(ConflictError):
            await b.released(transfer, tmp_path / "out")


async def test_discarded_while_it_waits_for_room(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        a, b = await it.add("a"), await it.start(it.home("b", reserve="15 TiB"))
        await it.pair(a, b, accept="auto")
        transfer = await a.send("b", it.source("study", STUDY))
        await b.until(transfer, State.PAUSED)
        await b.desk.discard(ANNA, transfer)
        await a.until(transfer, State.DISCARDED)
        await until(lambda: not b.sessions.connected(a.key), "the conversation to end")
        assert b.vault() == []
        assert "filekey" not in b.blobs(transfer)


# --- several ------------------------------------------------------------------------------


async def test_several_at_once_in_both_directions(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        a, b, c = await it.add("a"), await it.add("b"), await it.add("c")
        for one, other in ((a, b), (b, c), (a, c)):
            await it.pair(one, other, accept="auto")
        sent: list[tuple[Workstation, Workstation, str, Path]] = []
        for number in range(2):
            for one, other in ((a, b), (b, a), (c, a), (b, c)):
                name = f"{number}{one.name}{other.name}"
                content = random_bytes(1_500_000 + number, len(sent))
                study = it.source(name, {"x": content})
                sent.append((one, other, await one.send(other.name, study), study))
        for one, other, transfer, study in sent:
            await one.until(transfer, State.SEALED)
            folder = await other.released(transfer, tmp_path / "out")
            assert tree_of(folder / study.name) == tree_of(study)
        for side in (a, b, c):
            assert (await side.desk.audit_verify())["ok"]


async def test_stat_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        study = it.source("study", {"x": b"x"})
        routine = [await a.send("b", study) for _ in range(3)]
        urgent = await a.send("b", study, priority="stat")
        dial = a.sessions.open
        tried: list[str | None] = []
        reached: list[str | None] = []

        async def noted(peer: PeerRow, kind: str, transfer: str | None) -> Session:
            try:
                session = await dial(peer, kind, transfer)
            finally:
                tried.append(transfer)
            reached.append(transfer)
            return session

        monkeypatch.setattr(a.sessions, "open", noted)
        await until(lambda: urgent in tried)  # no dial is under way
        await it.start(b)
        a.station.call_peer(b.key)  # at once, whatever pause it has come to
        for transfer in (urgent, *routine):
            await a.until(transfer, State.SEALED)
        assert next(filter(None, reached)) == urgent


async def test_a_peer_that_reaches_us_is_there_though_we_do_not_reach_it(tmp_path: Path) -> None:
    """A firewall that lets through one way: "away" above "receiving from it" helps nobody."""
    async with pair_of(tmp_path) as (it, a, b):
        a.wire.hold_at = 1_000_000
        coming = await a.send("b", it.source("study", STUDY))
        await b.until(coming, State.RECEIVING)
        b.wire.down = True
        going = await b.send("a", it.source("other", {"x": b"x"}))
        await b.until(going, State.WAITING)
        assert b.reason(going) == "peer-away"
        assert b.station.book.presence(a.key)["online"]
        assert b.station.book.presence(a.key)["away"] is None
        a.wire.go()
        await a.until(coming, State.SEALED)
        await a.stop()
        await until(lambda: not b.station.book.presence(a.key)["online"])
        assert "cannot be reached" in str(b.station.book.presence(a.key)["away"])


# --- many ---------------------------------------------------------------------------------


async def test_facts_go_while_offers_rest(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", STUDY)
        theirs = await b.send("a", study)
        await b.until(theirs, State.SEALED)
        await b.set("a", accept="ask")
        resting = await a.send("b", study)
        await b.until(resting, State.OFFERED)
        await a.released(theirs, tmp_path / "out")
        await b.until(theirs, State.RELEASED)
        assert b.state(resting) is State.OFFERED


async def test_more_offers_than_connections_are_all_shown_and_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_COURIER_LINKS", 4)
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        study = it.source("study", {"x": b"x"})
        sent = [await a.send("b", study) for _ in range(limits.MAX_COURIER_LINKS + 3)]
        for transfer in sent:
            await b.until(transfer, State.OFFERED)
        await until(lambda: all(a.reason(each) is not None for each in sent))
        await quiet(a, "offers that rest are not offered again and again")
        parked = [each for each in sent if not b.sessions.conversing(a.key, each)]
        assert len(parked) == 3
        await b.desk.accept(ANNA, parked[0])
        await a.until(parked[0], State.SEALED, seconds=5)
        for transfer in sent:
            await b.desk.accept(ANNA, transfer)
        for transfer in sent:
            await a.until(transfer, State.SEALED)


async def quiet(it: Workstation, what: str) -> None:
    """Check that a workstation dials hardly at all for a while."""
    before = it.wire.dials
    with trio.move_on_after(1):
        await trio.sleep_forever()
    assert it.wire.dials - before <= 3, what


async def test_a_full_receiver_is_waited_for_and_all_facts_arrive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_OFFERS_PER_PEER", 20)
    monkeypatch.setattr(limits, "MAX_FACTS", 8)
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        study = it.source("study", {"x": b"x"})
        sent = [await a.send("b", study) for _ in range(limits.MAX_OFFERS_PER_PEER)]
        for transfer in sent:
            await b.until(transfer, State.OFFERED)
        late = await a.send("b", study)
        await until(lambda: a.reason(late) == "receiver-full", "the last one to be refused")
        assert a.state(late) is State.WAITING
        assert b.row(late) is None
        await quiet(a, "a full receiver is not asked again and again")
        await b.desk.decline(ANNA, sent[5], "")
        await b.until(late, State.OFFERED)
        await a.until(sent[5], State.DECLINED)

        # More facts than one message holds, and the newest of them is asked for first.
        urgent = await a.send("b", study, priority="stat")
        await a.stop()
        for transfer in (*sent[:5], *sent[6:], late):
            await b.desk.decline(ANNA, transfer, "")
        assert b.pending(a) > limits.MAX_FACTS
        await it.start(a)
        for transfer in (*sent, late):
            await a.until(transfer, State.DECLINED)
        await until(lambda: b.pending(a) == 0)
        await b.until(urgent, State.OFFERED)
