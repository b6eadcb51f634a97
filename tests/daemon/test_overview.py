"""What stands on the page at first sight: what needs a person, what is under way, and no more."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from medp2p import limits
from medp2p.daemon import papers, releasing
from medp2p.daemon.overview import brief, overview
from medp2p.daemon.station import Station
from medp2p.dicom.facts import Patient
from medp2p.errors import NoSpaceError
from medp2p.model import Direction, Priority, State
from medp2p.vault import transfers
from medp2p.vault.peers import update as update_peer
from medp2p.vault.sealing import VaultBox
from medp2p.vault.store import Tx
from tests.helpers.filled import add, idle_station
from tests.helpers.stations import ANNA, Workstation, pair_of, random_bytes, until

JANE = Patient(id="123456", name="Doe^Jane")
Json = dict[str, Any]


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with idle_station(tmp_path) as one:
        yield one


def seen(station: Station, limit: int = 30) -> Json:
    with station.store.read() as tx:
        return overview(tx, station, limit)


def held(code: str) -> str:
    return json.dumps({"code": code, "text": "", "since": ""})


def test_an_empty_workstation(station: Station) -> None:
    found = seen(station)
    assert found["totals"] == {"in": 0, "out": 0, "waiting": 0}
    for key in ("waiting", "active", "inbox", "outbox", "released", "alarms", "targets"):
        assert found[key] == []
    assert [peer["name"] for peer in found["peers"]] == ["b"]
    assert found["identity"]["department"] == "CT"
    assert found["status"]["vault"]["free_bytes"] > 0
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": State.OFFERED}, "decide"),
        ({"state": State.SEALED}, "release"),
        ({"state": State.SEALED, "checked_ms": 5}, "release"),
        ({"state": State.EXPIRING}, "release"),
        ({"state": State.SEALED, "held": held("label-differs")}, "held"),
        ({"state": State.EXPIRING, "held": held("scan-refused")}, "held"),
        ({"state": State.RELEASED, "released_ms": 5, "held": held("destroy-asked")}, "answer"),
        ({"state": State.SEALED, "released_ms": 5, "held": held("destroy-asked")}, "answer"),
        # A person let these pass, or nobody can do anything about them.
        ({"state": State.RELEASED, "released_ms": 5, "held": held("label-differs")}, None),
        ({"state": State.RELEASED, "released_ms": 5}, None),
        ({"state": State.RELEASING}, None),
        ({"state": State.ACCEPTED}, None),
        ({"state": State.RECEIVING}, None),
        ({"state": State.DECLINED}, None),
        ({"state": State.RECALLED, "held": held("destroy-asked")}, None),
        ({"state": State.OFFERED, "direction": Direction.OUT}, None),
        ({"state": State.SEALED, "direction": Direction.OUT}, None),
    ],
)
def test_what_needs_a_person(station: Station, fields: Json, why: str | None) -> None:
    with station.store.write() as tx:
        one = add(tx, station, patients=(JANE,), **fields)
    waiting = seen(station)["waiting"]
    assert [(row["id"], row["why"]) for row in waiting] == ([] if why is None else [(one, why)])
    if waiting:
        assert waiting[0]["label"]["patients"][0]["name"] == "Doe^Jane"
        assert waiting[0]["note"] == "a note"


def test_what_a_rule_releases_needs_nobody_unless_it_is_held(station: Station) -> None:
    with station.store.write() as tx:
        update_peer(tx, "b", settings={"release": "folder:/somewhere"})
        releasing.note_rule(tx, bytes(range(32)), 1000)
        for sealed_ms in (500, 1500):
            add(tx, station, state=State.SEALED, sealed_ms=sealed_ms, file_bytes=sealed_ms)
        add(tx, station, state=State.SEALED, sealed_ms=1500, held=held("no-label"))
    waiting = seen(station)["waiting"]
    assert [(row["bytes"], row["why"]) for row in waiting] == [(1000, "held"), (500, "release")]


def test_what_was_decided_with_a_target_needs_nobody(station: Station) -> None:
    with station.store.write() as tx:
        one = add(tx, station, state=State.SEALED)
        decided = releasing.Decided(name="t", target="folder:/t", os_user="anna", operator=None)
        data = msgspec.msgpack.encode(decided)
        papers.put_spool(tx, station, one, papers.RELEASE_TO, data)
    assert seen(station)["waiting"] == []


def test_urgent_ones_come_first_then_the_newest(station: Station) -> None:
    with station.store.write() as tx:
        old_stat = add(tx, station, priority=Priority.STAT)
        routine = [add(tx, station) for _ in range(2)]
        new_stat = add(tx, station, priority=Priority.STAT)
    waiting = [row["id"] for row in seen(station)["waiting"]]
    assert waiting == [new_stat, old_stat, *routine[::-1]]


def test_what_others_wait_for_is_not_crowded_out(station: Station) -> None:
    """More are sealed than are shown: an offer and a hold before them stand in front."""
    with station.store.write() as tx:
        hold = add(tx, station, state=State.SEALED, held=held("label-differs"))
        offer = add(tx, station)
        for _ in range(limits.MAX_WAITING_SHOWN):
            last = add(tx, station, state=State.SEALED, patients=None)
            passed = held("label-differs")
            add(tx, station, patients=None, state=State.RELEASED, released_ms=5, held=passed)
    found = seen(station)
    assert [row["id"] for row in found["waiting"]][:3] == [offer, hold, last]
    assert len(found["waiting"]) == limits.MAX_WAITING_SHOWN
    assert found["totals"]["waiting"] == limits.MAX_WAITING_SHOWN + 2


def test_what_moves_comes_before_what_waits(station: Station) -> None:
    states = [State.QUEUED, State.SENDING, State.WAITING, State.RECALLING, State.OFFERED]
    with station.store.write() as tx:
        for state in states:
            add(tx, station, direction=Direction.OUT, state=state)
        for state in (State.RECEIVING, State.RELEASING, State.OFFERED, State.SEALED, State.PAUSED):
            add(tx, station, state=state)
    active = [(row["direction"], row["state"]) for row in seen(station)["active"]]
    assert active == [
        ("in", "releasing"),
        ("in", "receiving"),
        ("out", "sending"),
        ("in", "paused"),
        ("out", "offered"),
        ("out", "recalling"),
        ("out", "waiting"),
        ("out", "queued"),
    ]


def test_everything_is_bounded(station: Station) -> None:
    with station.store.write() as tx:
        for _ in range(limits.MAX_WAITING_SHOWN + 5):
            add(tx, station, patients=None)
            add(tx, station, patients=None, direction=Direction.OUT, state=State.QUEUED)
    found = seen(station, limit=7)
    assert len(found["waiting"]) == limits.MAX_WAITING_SHOWN
    assert len(found["active"]) == limits.MAX_ACTIVE_SHOWN
    assert [len(found["inbox"]), len(found["outbox"])] == [7, 7]
    more = limits.MAX_WAITING_SHOWN + 5
    assert found["totals"] == {"in": more, "out": more, "waiting": more}
    assert found["status"]["undecided"] == more


def test_a_label_that_stands_in_two_lists_is_opened_once(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    with station.store.write() as tx:
        add(tx, station, patients=(JANE,))
    opened = []
    open_ = VaultBox.open

    def note(self: VaultBox, blob: bytes, context: str) -> bytes:
        opened.append(context)
        return open_(self, blob, context)

    monkeypatch.setattr(VaultBox, "open", note)
    found = seen(station)
    assert [len(found["waiting"]), len(found["inbox"])] == [1, 1]
    assert len([context for context in opened if context.endswith("summary")]) == 1


def test_it_costs_the_same_with_ten_times_as_much(station: Station) -> None:
    """Rows decoded and blobs opened are counted, not timed."""

    def fill(count: int) -> None:
        with station.store.write() as tx:
            for number in range(count):
                side = Direction.IN if number % 2 else Direction.OUT
                state = State.RELEASED if number % 2 else State.SEALED
                add(tx, station, direction=side, state=state, released_ms=1)

    def decoded() -> int:
        count = 0
        decode = transfers._decode

        def counting(row: tuple[object, ...]) -> Any:
            nonlocal count
            count += 1
            return decode(row)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transfers, "_decode", counting)
            seen(station)
        return count

    fill(100)
    first = decoded()
    fill(900)
    assert decoded() == first


def test_a_locked_vault_shows_no_label(station: Station) -> None:
    with station.store.write() as tx:
        add(tx, station, patients=(JANE,))
    station.vault = VaultBox([station.keys.vault_recipient], None)
    station.ledger._vault = station.vault
    found = seen(station)
    assert "label" not in found["waiting"][0]
    assert found["status"]["vault"]["locked"] is True
    assert "Doe" not in json.dumps(found)


def test_alarms_are_there_until_acknowledged(station: Station) -> None:
    with station.store.write() as tx:
        number = station.ledger.alarm(tx, kind="key-alarm", text="x", peer="b")
    assert [alarm["kind"] for alarm in seen(station)["alarms"]] == ["key-alarm"]
    with station.store.write() as tx:
        station.ledger.acknowledge(tx, ANNA, number)
    assert seen(station)["alarms"] == []
    assert [row["event"] for row in seen(station)["audit"]] == ["alarm", "acknowledge"]


def test_the_newest_records_have_no_patient_facts(station: Station) -> None:
    """The page shows them without: they are not even opened."""
    with station.store.write() as tx:
        station.ledger.record(tx, event="previewed", actor=ANNA, patient={"studies": ["1.2.3"]})
    (record,) = seen(station)["audit"]
    assert "1.2.3" not in json.dumps(record)


# --- live ---------------------------------------------------------------------------------


async def test_the_way_of_a_transfer(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        source = it.source("study", {"one": random_bytes(1000)})
        transfer = await a.send("b", source)
        await b.until(transfer, State.OFFERED)

        async def why(at: Workstation) -> list[tuple[str, str]]:
            found = await at.desk.overview(30)
            assert set(found) >= {"nearby", "pairing", "status", "identity"}
            return [(row["id"], row["why"]) for row in found["waiting"]]

        assert await why(b) == [(transfer, "decide")]
        assert await why(a) == []
        assert [row["id"] for row in (await a.desk.overview(30))["active"]] == [transfer]
        await b.desk.accept(ANNA, transfer)
        await b.until(transfer, State.SEALED)
        assert await why(b) == [(transfer, "release")]
        await b.desk.release(ANNA, transfer, {"to": str(tmp_path / "there").encode()})
        assert await why(b) == []
        assert (await b.desk.overview(30))["released"][0]["transfer"] == transfer
        (peer,) = (await a.desk.overview(30))["peers"]
        assert peer["route"] == "fixed"


async def test_news_reach_those_who_watch(tmp_path: Path) -> None:
    """Acts of all kinds: no act has to say itself that there is a record or an alarm."""
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        got: list[Json] = []

        async def watch() -> None:
            async for batch in b.desk.events(page=True):
                got.extend(batch)

        it.nursery.start_soon(watch)
        await until(lambda: got, "the first event")
        assert got[0]["event"] == "status"
        assert "transfers" not in got[0]["status"]
        transfer = await a.send("b", it.source("study", {"one": b"x"}))
        await b.until(transfer, State.OFFERED)

        def records() -> set[str]:
            audits = [event["audit"] for event in got if event["event"] == "audit"]
            return {record["event"] for audit in audits for record in audit}

        await until(lambda: "offer" in records(), "the record of the offer")
        assert "label" not in json.dumps([e for e in got if e["event"] == "audit"])
        with pytest.raises(Exception, match="pinned with another key"):
            await b.desk.add_peer(ANNA, "a", await _peer_id(it), [])

        def alarms() -> list[Json]:
            return [event["alarm"] for event in got if event["event"] == "alarm"]

        await until(lambda: alarms(), "the alarm")
        assert alarms()[0]["kind"] == "key-alarm"
        await b.desk.acknowledge(ANNA, alarms()[0]["id"])
        await until(lambda: alarms()[-1]["acknowledged"], "that it was seen")


async def _peer_id(it: Any) -> str:
    other = await it.add("c")
    return str((await other.desk.identity())["peer_id"])


async def test_a_mistake_that_a_request_has_met_is_in_the_status(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_, a, _):
        assert (await a.desk.status())["bugs"] == 0
        a.desk.count_bug()
        assert (await a.desk.status())["bugs"] == 1
        a.station.own_bugs = 0  # this one was asked for


async def test_a_page_gets_each_thing_once_in_a_batch(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, _):
        batches: list[list[Json]] = []

        async def watch() -> None:
            async for batch in a.desk.events(page=True):
                batches.append([e["transfer"] for e in batch if e["event"] == "transfer"])

        it.nursery.start_soon(watch)
        await until(lambda: batches, "the first event")
        last = 1000
        for number in range(last + 1):
            for name in ("x", "y"):
                told = {"id": name, "n": number}
                a.station.events.publish({"event": "transfer", "transfer": told})
            if number % 100 == 0:
                await trio.lowlevel.checkpoint()
        newest = [{"id": "x", "n": last}, {"id": "y", "n": last}]
        await until(lambda: batches[-1] == newest, "the newest of both")
        assert all(len(batch) <= 2 for batch in batches)
        assert len(batches) < 10


async def test_whether_anybody_watches(station: Station) -> None:
    seen = [station.events.watched]
    with station.events.subscribe():
        seen.append(station.events.watched)
    seen.append(station.events.watched)
    assert seen == [False, True, False]


def test_the_status_in_numbers_reads_no_transfers(station: Station) -> None:
    with station.store.write() as tx:
        for _ in range(20):
            add(tx, station, patients=None, direction=Direction.OUT, state=State.QUEUED)
    with station.store.read() as tx, pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfers, "_decode", None)
        assert brief(tx, station)["undecided"] == 0


@pytest.fixture
def told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a refused handshake be an alarm after a moment."""
    monkeypatch.setattr(limits, "REFUSED_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(limits, "REFUSED_WAIT_SECONDS", 0.2)


@pytest.mark.usefixtures("told_soon")
async def test_a_refused_handshake_is_an_alarm(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.desk.remove_peer(ANNA, "a")  # it calls on, and is unknown there now
        await a.send("b", it.source("study", {"one": b"x"}))
        await until(lambda: b.alarms(), "the alarm")
        (alarm,) = (await b.desk.overview(30))["alarms"]
        assert alarm["kind"] == "refused-handshake"
        assert "127.0.0.1" in alarm["text"]


@pytest.mark.usefixtures("told_soon")
async def test_the_alarm_comes_once_the_database_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be said of an address is found once a day only."""
    async with pair_of(tmp_path) as (it, a, b):
        ledger, failures = b.station.ledger, 3
        raise_alarms = ledger.alarm_refusals

        def full(tx: Tx, texts: Sequence[str]) -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise NoSpaceError("no space left for the database")
            raise_alarms(tx, texts)

        monkeypatch.setattr(ledger, "alarm_refusals", full)
        await b.desk.remove_peer(ANNA, "a")
        await a.send("b", it.source("study", {"one": b"x"}))
        await until(lambda: b.alarms(), "the alarm")
        assert failures < 0


async def test_who_is_paired_a_moment_later_is_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "REFUSED_LOOK_SECONDS", 0.05)
    async with pair_of(tmp_path) as (it, a, b):
        removed = await b.desk.remove_peer(ANNA, "a")
        transfer = await a.send("b", it.source("study", {"one": b"x"}))
        refusals = b.station.ledger.refusals
        await until(lambda: bool(refusals._seen), "a refusal")
        await b.desk.add_peer(ANNA, "a", removed["peer_id"], [])
        monkeypatch.setattr(limits, "REFUSED_WAIT_SECONDS", 0.0)
        await until(lambda: not refusals._seen, "the look at it")
        assert b.alarms() == []
        del transfer
