"""Scans between the walk and the queue: what is old, or changes meanwhile, is not sent."""

import itertools
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.daemon import queueing, scans, undoing
from medp2p.daemon.parts import Part, make_parts
from medp2p.errors import CheckRefusedError, ConflictError, NotFoundError
from medp2p.model import State
from tests.helpers.dicoms import dataset, file_of, pixels
from tests.helpers.stations import ANNA, SOON_SECONDS, Workstation, pair_of, until

YES = {"yes": True}


async def finished(one: Workstation, path: Path, **wishes: object) -> dict[str, Any]:
    view = await one.desk.scan(ANNA, "b", [os.fsencode(path)], wishes)
    while view["state"] == "scanning":
        view = await one.desk.scan_state(view["scan"], wait=True)
    assert view["state"] == "done", view
    return view


async def test_an_old_scan_cannot_be_confirmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, _b):
        name = (await finished(a, it.source("study", {"x": b"x"})))["scan"]
        await a.desk.check(ANNA, name, 0, YES)
        monkeypatch.setattr(limits, "KEEP_SCAN_SECONDS", 0.0)
        for act in (
            a.desk.scan_state(name, wait=False),
            a.desk.check(ANNA, name, 0, YES),
            a.desk.reveal(ANNA, name, 0),
            a.desk.send(ANNA, name, "b", "", "routine", confirmation=YES),
        ):
            with pytest.raises(NotFoundError, match="no such scan"):
                await act
        assert await a.desk.transfers("out") == []


async def test_an_old_scan_does_not_stay_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HOUSEKEEPING_SECONDS", 0.05)
    async with pair_of(tmp_path) as (it, a, _b):
        name = (await finished(a, it.source("study", {"x": b"x"})))["scan"]
        assert name in a.desk._scans._jobs
        monkeypatch.setattr(limits, "KEEP_SCAN_SECONDS", 0.0)
        await until(lambda: name not in a.desk._scans._jobs, "the scan to be forgotten")


def meanwhile(
    monkeypatch: pytest.MonkeyPatch, act: Callable[..., Awaitable[object]], *args: object
) -> None:
    """Let something happen once, when a send has been judged and is not kept yet."""
    real = queueing.prepare

    def prepare(*given: Any) -> queueing.Queued:
        queued = real(*given)
        monkeypatch.setattr(queueing, "prepare", real)
        trio.from_thread.run(act, *args)
        return queued

    monkeypatch.setattr(queueing, "prepare", prepare)


async def test_nothing_is_queued_to_a_peer_that_was_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, _b):
        name = (await finished(a, it.source("study", {"x": b"x"})))["scan"]
        meanwhile(monkeypatch, a.desk.remove_peer, ANNA, "b")
        with pytest.raises(ConflictError, match="removed meanwhile"):
            await a.desk.send(ANNA, name, "b", "", "routine", confirmation=YES)
        assert await a.desk.transfers("out") == []


@pytest.mark.parametrize(
    ("key", "value"), [("confirm", "typed"), ("domain", "external"), ("undo", "60")]
)
async def test_nothing_is_queued_by_settings_that_do_not_hold_any_more(
    key: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, _b):
        name = (await finished(a, it.source("study", {"x": b"x"})))["scan"]
        meanwhile(monkeypatch, a.desk.set_peer, ANNA, "b", {key: value})
        with pytest.raises(ConflictError, match="settings of the peer have changed"):
            await a.desk.send(ANNA, name, "b", "", "routine", confirmation=YES)
        assert await a.desk.transfers("out") == []


async def test_what_was_stopped_by_a_change_can_be_confirmed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, _b):
        name = (await finished(a, it.source("study", {"x": b"x"})))["scan"]
        meanwhile(monkeypatch, a.desk.set_peer, ANNA, "b", {"undo": "60"})
        with pytest.raises(ConflictError) as caught:
            await a.desk.send(ANNA, name, "b", "", "routine", confirmation=YES)
        assert caught.value.hint == "confirm again"
        row = await a.desk.send(ANNA, name, "b", "", "routine", confirmation=YES)
        assert a.reason(row["id"]) == undoing.CODE
        assert ("send", "ok") in a.audit(row["id"])


def image(folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    number = ord(name[0])
    person = {0x00100010: ("PN", name), 0x00100020: ("LO", name),
              0x00080018: ("UI", f"1.2.{number}"), 0x0020000D: ("UI", f"1.3.{number}")}  # fmt: skip
    (folder / f"{name}.dcm").write_bytes(file_of(dataset(person) + pixels()))  # type: ignore[arg-type]
    return folder


async def test_two_parts_at_once_are_both_judged_by_the_settings_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one came while the first was divided anew, and had what held before."""
    begun, go, calls = trio.Event(), threading.Event(), itertools.count()
    outcomes: list[str] = []

    def slow(*given: Any) -> list[Part]:
        if next(calls) == 0:
            trio.from_thread.run_sync(begun.set)
            go.wait(SOON_SECONDS)
        go.set()
        return make_parts(*given)

    async with pair_of(tmp_path) as (_, a, _b):
        first = await a.send("b", image(tmp_path / "one", "Doe"))
        await a.until(first, State.SEALED)
        await a.set("b", allow="addendum-patient")
        folder = image(image(tmp_path / "two", "Roe"), "Poe")
        wishes = {"addendum_of": first, "split": True, "allow": ["addendum-patient"]}
        view = await finished(a, folder, **wishes)
        assert [part["stops"] for part in view["parts"]] == [[], []]
        await a.set("b", allow="")
        monkeypatch.setattr(scans, "make_parts", slow)

        async def send(part: int) -> None:
            try:
                await a.desk.send(ANNA, view["scan"], "b", "", "routine", part, YES)
                outcomes.append("queued")
            except CheckRefusedError:
                outcomes.append("refused")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, 0)
            await begun.wait()
            await send(1)
            go.set()
        assert outcomes == ["refused", "refused"]
