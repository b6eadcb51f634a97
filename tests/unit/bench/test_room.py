"""What a run of the benchmark takes on the disk is looked for before, and given back or kept."""

import shutil
from pathlib import Path
from typing import cast

import pytest

from bench.cases import GIB, need_room
from bench.race import Race, RaceError
from bench.workstations import Pair


def test_what_stays_to_the_end_needs_room_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ten_free(path: Path) -> object:
        return type("Usage", (), {"free": 10 * GIB})

    monkeypatch.setattr(shutil, "disk_usage", ten_free)
    need_room(tmp_path, GIB)
    need_room(tmp_path, GIB, kept=5)
    with pytest.raises(RaceError, match="needs 12 GB"):
        need_room(tmp_path, GIB, kept=6)


@pytest.mark.parametrize("keep", [False, True])
def test_each_run_has_a_folder_of_its_own(tmp_path: Path, keep: bool) -> None:
    race = Race(cast("Pair", None), None, (), tmp_path, (), (), keep=keep)
    for _ in range(2):
        folder = race.landing("other")
        (folder / "file").touch()
        race.clear(folder)
    assert len(list(tmp_path.rglob("file"))) == (2 if keep else 0)
