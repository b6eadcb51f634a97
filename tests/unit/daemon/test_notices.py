"""Notices on the desktop: what they say, how often, and to whom they say nothing."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.daemon.notices import Notices, run_notices, show
from tests.helpers.filled import idle_station
from tests.helpers.stations import until


def offer(number: int, peer: str = "ct-2", *, stat: bool = False, **more: Any) -> dict[str, Any]:
    row = {
        "id": str(number),
        "direction": "in",
        "peer": peer,
        "state": "offered",
        "priority": "stat" if stat else "routine",
        **more,
    }
    return {"event": "transfer", "transfer": row}


def alarm(number: int, text: str = "x", **more: Any) -> dict[str, Any]:
    row = {"id": number, "peer": None, "text": text, "acknowledged": False, **more}
    return {"event": "alarm", "alarm": row}


def test_urgent_ones_first_and_counted_by_peer() -> None:
    notices = Notices()
    assert notices.hear_all([offer(1), offer(2, "mr-1"), offer(3, stat=True), offer(4, "mr-1")])
    ((title, text),) = notices.take()
    assert title == "medp2p: waits for a decision"
    assert text.split("\n") == ["1 STAT from ct-2", "1 from ct-2", "2 from mr-1"]
    assert notices.take() == []


def test_each_is_told_once() -> None:
    notices = Notices()
    notices.hear_all([offer(1), alarm(1, "the key of b has changed")])
    assert [text for _, text in notices.take()] == ["1 from ct-2", "the key of b has changed"]
    assert not notices.hear_all([offer(1), alarm(1, "the key of b has changed")])


def test_an_alarm_says_whom_it_is_about() -> None:
    notices = Notices()
    about = "two running daemons share its identity"
    notices.hear_all([alarm(1, about, peer="ct-2"), alarm(2, "call ct-2", peer="ct-2")])
    assert [text for _, text in notices.take()] == [f"ct-2: {about}\ncall ct-2"]


def test_what_a_rule_decides_at_once_is_no_notice() -> None:
    notices = Notices()
    assert notices.hear_all([offer(1)])
    assert not notices.hear_all([offer(1, state="accepted")])
    assert notices.take() == []


@pytest.mark.parametrize(
    "event",
    [
        offer(1, direction="out"),
        offer(1, state="sealed"),
        alarm(1, acknowledged=True),
        {"event": "peer", "peer": {"name": "b"}},
        {"event": "missed", "count": 3},
        {"event": "nearby", "nearby": []},
    ],
)
def test_nothing_to_tell(event: dict[str, Any]) -> None:
    assert not Notices().hear_all([event])


def test_a_flood_is_a_few_lines_and_little_memory() -> None:
    notices = Notices()
    notices.hear_all([offer(number, f"peer-{number}") for number in range(5000)])
    ((_, text),) = notices.take()
    lines = text.split("\n")
    assert len(lines) == limits.MAX_NOTICE_LINES + 1
    assert lines[-1] == f"and {5000 - limits.MAX_NOTICE_LINES} more"
    assert len(notices._told) == limits.MAX_NOTICED


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notify-send that writes its words down, one a line."""
    program, said = tmp_path / "bin" / "notify-send", tmp_path / "said"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {said}\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return said


def said(desktop: Path) -> str:
    return desktop.read_text() if desktop.exists() else ""


async def test_markup_is_shown_as_text(desktop: Path) -> None:
    assert await show("title", "<b>x</b> & y")
    assert said(desktop) == ("--app-name=medp2p\n--\ntitle\n&lt;b&gt;x&lt;/b&gt; &amp; y\n")


async def test_a_desktop_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Path
) -> None:
    (tmp_path / "bin" / "notify-send").write_text("#!/bin/sh\nexit 1\n")
    assert not await show("title", "text")
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert not await show("title", "text")


async def test_only_where_people_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, desktop: Path, nursery: trio.Nursery
) -> None:
    monkeypatch.setattr(limits, "NOTICE_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(limits, "NOTICE_PAUSE_SECONDS", 0.0)
    with idle_station(tmp_path) as station:
        nursery.start_soon(run_notices, station)
        await trio.testing.wait_all_tasks_blocked()
        assert not station.events.watched  # it wants no progress
        station.events.publish(offer(1))
        await trio.testing.wait_all_tasks_blocked()
        station.config = replace(station.config, notify=True)
        station.events.publish(offer(2, "mr-1"))
        await until(lambda: "1 from mr-1" in said(desktop), "the notice")
        assert "ct-2" not in said(desktop)
        nursery.cancel_scope.cancel()
