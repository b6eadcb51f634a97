"""Deadlines: expiry, its races with the release and with wrong clocks, alarms at the sender.

The clock is an argument, and so is the running time: nothing here waits for either.
"""

import dataclasses
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medp2p import limits
from medp2p.daemon import clock, expiring
from medp2p.errors import ConflictError
from medp2p.model import Direction, State
from medp2p.vault import deadlines, transfers
from tests.helpers.alone import alone, sealed_row
from tests.helpers.stations import ANNA, Lab, Workstation, pair_of, random_bytes, until

DAY_MS = 86_400_000
GRACE_MS = limits.EXPIRY_GRACE_SECONDS * 1000
STUDY: dict[str, bytes | int] = {"CT/1.dcm": random_bytes(30_000)}


@pytest.fixture(autouse=True)
def no_looks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test looks at the deadlines: on a busy machine a daemon would come between."""

    async def rest(*args: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(expiring, "run_deadlines", rest)


async def sealed(it: Lab, a: Workstation, b: Workstation) -> str:
    transfer = await a.send("b", it.source("study", STUDY))
    await a.until(transfer, State.SEALED)
    await until(lambda: a.pending(b) == b.pending(a) == 0)
    return transfer


async def look(side: Workstation, ran_ms: int = 0) -> expiring.Looked:
    """Look at the deadlines as the daemon does, and bring what came of it to the peers."""
    looked = await side.station.write(expiring.look, side.station, ran_ms)
    for row in looked.changed:
        await side.station.touch(row.id)
        side.outbox.wake(row.peer_key)
    return looked


async def test_what_nobody_releases_expires_after_running_time(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        view = await b.desk.transfer("in", transfer, entries=False)
        assert view["expires"] > view["sealed"]
        b.ahead_ms = 7 * DAY_MS - 60_000
        await look(b, 100 * DAY_MS)
        assert b.state(transfer) is State.SEALED
        b.ahead_ms = 7 * DAY_MS + 60_000
        await look(b, 100 * DAY_MS)  # running time before the date does not count
        assert b.state(transfer) is State.EXPIRING
        await a.until(transfer, State.EXPIRING)
        assert (await b.desk.status())["expiring"] == 1
        await look(b, GRACE_MS - 5000)
        b.ahead_ms += 400 * DAY_MS  # a date does not count any more, however late
        await look(b, 1000)
        assert b.state(transfer) is State.EXPIRING
        await it.restart(b)
        await look(b, 0)
        assert b.state(transfer) is State.EXPIRING
        await look(b, 4000)
        assert b.state(transfer) is State.EXPIRED
        await a.until(transfer, State.EXPIRED)
        await until(lambda: b.vault() == [])
        for side in (a, b):
            events = [event for event, _ in side.audit(transfer)]
            assert events[-2:] == ["expiring", "expire"]


async def test_a_release_saves_it_and_a_failed_one_does_not(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        saved, lost = await sealed(it, a, b), ""
        lost = await a.send("b", it.source("other", STUDY))
        await b.until(lost, State.SEALED)
        b.ahead_ms = 8 * DAY_MS
        await look(b)
        assert b.state(saved) is b.state(lost) is State.EXPIRING
        await b.released(saved, tmp_path / "out")
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(Exception, match=r".*"):
            await b.released(lost, tmp_path / "file")
        await look(b, GRACE_MS)
        assert b.state(saved) is State.RELEASED
        assert b.state(lost) is State.EXPIRED
        await a.until(saved, State.RELEASED)
        await a.until(lost, State.EXPIRED)


@pytest.mark.parametrize("late", [False, True])
async def test_expiry_and_release_in_either_order(tmp_path: Path, late: bool) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        b.ahead_ms = 8 * DAY_MS
        await look(b)
        if late:
            await look(b, GRACE_MS)
            with pytest.raises(ConflictError):
                await b.released(transfer, tmp_path / "out")
            assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
            return
        await b.released(transfer, tmp_path / "out")
        await look(b, GRACE_MS)
        assert b.state(transfer) is State.RELEASED


async def test_an_undecided_offer_expires_too(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY))
        await b.until(transfer, State.OFFERED)
        b.ahead_ms = 8 * DAY_MS
        await look(b)
        assert b.state(transfer) is State.OFFERED
        await look(b, GRACE_MS)
        assert b.state(transfer) is State.EXPIRED
        await a.until(transfer, State.EXPIRED)


async def test_a_recall_of_what_is_expiring(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        b.ahead_ms = 8 * DAY_MS
        await look(b)
        await a.until(transfer, State.EXPIRING)
        await a.desk.recall(ANNA, transfer, "")
        await a.until(transfer, State.RECALLED)
        await look(b, GRACE_MS)
        assert b.state(transfer) is State.RECALLED


async def test_a_clock_that_was_ahead_stops_everything_until_a_person_has_looked(
    tmp_path: Path,
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        b.ahead_ms = 900 * DAY_MS
        await look(b)
        await a.until(transfer, State.EXPIRING)
        b.ahead_ms = 0
        await look(b, 10 * GRACE_MS)
        assert b.state(transfer) is State.EXPIRING
        assert b.alarms() == ["clock-behind"]
        await look(b, 10 * GRACE_MS)
        assert b.alarms() == ["clock-behind"]
        (alarm,) = await b.desk.alarms()
        await b.desk.acknowledge(ANNA, alarm["id"])
        await look(b, 10 * GRACE_MS)
        assert b.state(transfer) is State.SEALED
        await a.until(transfer, State.SEALED)
        b.ahead_ms = 8 * DAY_MS
        await look(b, GRACE_MS)
        assert b.state(transfer) is State.EXPIRING


async def test_a_clock_behind_the_audit_log_lets_nothing_pass(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        b.ahead_ms = -2000 * DAY_MS
        await look(b, 10 * GRACE_MS)
        assert b.state(transfer) is State.SEALED
        with b.station.store.read() as tx:
            assert clock.is_behind(tx, b.now_ms())
        assert "clock-behind" in b.alarms()


STEP = st.one_of(
    st.tuples(st.just("clock"), st.integers(-20, 20)),
    st.tuples(st.just("run"), st.integers(0, 30)),
    st.tuples(st.just("release"), st.just(0)),
    st.tuples(st.just("acknowledge"), st.just(0)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, max_size=30))
def test_whatever_the_clock_does_nothing_is_erased_early(steps: list[tuple[str, int]]) -> None:
    """Against a plain model: erased only after 24 hours that ran while it was expiring."""
    with alone() as station:
        row = sealed_row(station)
        ran = 0.0
        for what, amount in steps:
            with station.store.write() as tx:
                state = transfers.get(tx, row.id).state
                marked = row.id in deadlines.all(tx, expiring.EXPIRING)
                if what == "clock":
                    station.shift(amount * DAY_MS // 2)
                elif what == "release" and state in (State.SEALED, State.EXPIRING):
                    transfers.update(tx, row.id, state=State.RELEASED, released_ms=1)
                elif what == "acknowledge":
                    for alarm in station.ledger.alarms(tx, open_only=True):
                        station.ledger.acknowledge(tx, ANNA, int(str(alarm["id"])))
                elif what == "run":
                    behind = clock.is_behind(tx, station.now_ms())
                    expiring.look(tx, station.it, amount * 3_600_000)
                    after = transfers.get(tx, row.id).state
                    still = row.id in deadlines.all(tx, expiring.EXPIRING)
                    ran = ran + amount if marked and not behind else ran
                    if state is State.RELEASED:
                        assert after is State.RELEASED
                    if after is State.EXPIRED and state is not State.EXPIRED:
                        assert ran >= 24
                        assert not behind
                    if behind:
                        assert after is state
                    if not still and after is State.SEALED:
                        ran = 0.0


# --- alarms -------------------------------------------------------------------------------


@pytest.mark.parametrize(("priority", "allowed"), [("stat", 600), ("routine", 86400)])
async def test_undecided_for_too_long_is_an_alarm_with_the_phone_number(
    tmp_path: Path, priority: str, allowed: int
) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        await a.set("b", phone="+49 123 456")
        transfer = await a.send("b", it.source("study", STUDY), priority=priority)
        await b.until(transfer, State.OFFERED)
        a.ahead_ms = allowed * 1000 - 60_000
        assert (await look(a)).alarms == []
        a.ahead_ms = allowed * 1000 + 60_000
        assert len((await look(a)).alarms) == 1
        (alarm,) = await a.desk.alarms()
        assert "+49 123 456" in alarm["text"]
        assert transfer[:8] in alarm["text"]
        await a.desk.acknowledge(ANNA, alarm["id"])
        assert (await look(a)).alarms == []
        assert len(await a.desk.alarms()) == 1


async def test_what_was_decided_is_no_alarm(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await sealed(it, a, b)
        a.ahead_ms = 30 * DAY_MS
        assert (await look(a)).alarms == []


async def test_a_recall_without_an_answer_is_an_alarm(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.stop()
        await a.desk.recall(ANNA, transfer, "")
        a.ahead_ms = 2 * DAY_MS
        await look(a)
        assert a.alarms() == ["unanswered"]


async def test_the_times_are_settings(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        config = dataclasses.replace(b.station.config, expire_after_seconds=60)
        b.station.config = config
        b.ahead_ms = 120_000
        await look(b)
        assert b.state(transfer) is State.EXPIRING
        with b.station.store.read() as tx:
            rows = transfers.list(tx, Direction.IN)
        assert expiring.date_ms(b.station, rows[0]) is not None
