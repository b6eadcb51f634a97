"""The benchmark runs, with sizes so small that its figures mean nothing, and leaves nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import rivals, speed
from bench.report import RELEASED, SEALED
from tests.tools import need_tool

pytestmark = pytest.mark.e2e

SPEED = Path(speed.__file__)


def traces(folder: Path) -> list[str]:
    """Return the commands of all processes that have something to do with a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


@pytest.mark.slow
def test_small_cases_run_and_leave_nothing(tmp_path: Path) -> None:
    for tool in ("ssh", "sshd", "scp", "rsync", "tar"):
        need_tool(tool)
    work, results = tmp_path / "work", tmp_path / "results"
    work.mkdir()
    words = ["--scale", "0.002", "--rounds", "1", "--warmups", "0", "--folder", str(work)]
    done = subprocess.run(
        [sys.executable, SPEED, *words, "--results", results, "ct", "resume", "first-byte"],
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    [document] = [json.loads(path.read_text()) for path in results.glob("*.json")]
    ct, *figures = document["outcomes"]
    assert set(ct["tools"]) == {SEALED, RELEASED, *rivals.ALL}
    assert ct["tools"][SEALED]["memory_bytes"]["receiver"] > 10_000_000
    assert ct["tools"][SEALED]["cpu_seconds_per_gigabyte"] > 0
    assert [figure["case"] for figure in figures] == ["resume"] * 4 + ["first-byte"]
    [table] = results.glob("*.md")
    assert table.read_text() in done.stdout.decode()
    assert list(work.iterdir()) == []
    assert traces(tmp_path) == []


def test_missing_tools_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rivals, "_find", lambda name: None if name in ("sshd", "rsync") else "x")
    assert speed.main(["one-gib"]) == speed.EXIT_USAGE
    assert "apt install openssh-server rsync" in capsys.readouterr().err


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        speed.main(["everything"])
    assert "no such case: everything; there are one-gib, ct," in capsys.readouterr().err
