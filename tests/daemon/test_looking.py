"""One transfer that nobody expected ends no other look; files that stop children are unread."""

from pathlib import Path
from typing import Any

import pytest

from medp2p.daemon import checking
from medp2p.dicom import worker
from medp2p.model import State
from tests.daemon.test_releasing import study
from tests.helpers.stations import Lab, lab, pair_of, until

pytestmark = pytest.mark.usefixtures("no_grace")


async def test_a_bug_in_one_look_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checking.judge
    poisoned: list[str] = []

    def judge(promised: bytes, items: Any, today: str) -> Any:
        if any(item.path.startswith(b"poison") for item in items):
            raise ZeroDivisionError("of nobody's making")
        return real(promised, items, today)

    monkeypatch.setattr(checking, "judge", judge)
    async with lab(tmp_path) as it:
        poisoned.append(await _poison(it, tmp_path))
        for station in it.all:
            station.station.own_bugs = 0  # this one was asked for
    assert poisoned


async def _poison(it: Lab, tmp_path: Path) -> str:
    a, b = await it.add("a"), await it.add("b")
    await it.pair(a, b, accept="auto")
    await b.set("a", release=f"folder:{tmp_path}/auto")
    bad = await a.send("b", study(it, "poison"))
    await until(lambda: b.row(bad) and b.row(bad).held)  # type: ignore[union-attr]
    assert '"unchecked"' in str(b.row(bad).held)  # type: ignore[union-attr]
    good = await a.send("b", study(it, "good"))
    await a.until(good, State.RELEASED)
    assert b.state(bad) is State.SEALED
    with pytest.raises(Exception, match="not looked at yet"):
        await b.released(bad, tmp_path / "out")
    assert b.station.bugs == 1
    return bad


async def test_files_that_end_their_child_are_unread_and_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        a_source = study(it)
        real = worker.Inspector.inspect_many

        def dying(self: worker.Inspector, batch: Any) -> Any:
            if b.vault() != []:  # the sender has looked already
                return [worker.UNREAD] * len(batch)
            return real(self, batch)

        monkeypatch.setattr(worker.Inspector, "inspect_many", dying)
        transfer = await a.send("b", a_source)
        row = await b.until_checked(transfer)
        assert row.check_result == checking.DIFFERS
        assert "unverified" in str(row.held)
