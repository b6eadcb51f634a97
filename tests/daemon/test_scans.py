"""Scans between the walk and the queue: what is old, or changes meanwhile, is not sent."""

import os
from pathlib import Path
from typing import Any

import pytest

from medp2p import limits
from medp2p.errors import NotFoundError
from tests.helpers.stations import ANNA, Workstation, pair_of, until

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
