"""The examples do what they say, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import medp2p
from tests.e2e.harness import SOON_SECONDS, Hospital, environment, tree_digest, wait_until
from tests.tools import need_tool

pytestmark = pytest.mark.e2e

EXAMPLES = Path(medp2p.__file__).parents[1] / "examples"


def send_study(*args: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, EXAMPLES / "send_study.py", *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SOON_SECONDS,
        check=False,
    )


def test_a_script_sends_a_study_and_plays_the_receiver(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a", accept="ask")
    done = send_study(
        "ward-a", study, "--home", ct.home, "--note", "by script",
        "--receiver-home", ward.home, "--release-to", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done
    arrived, released = done.stdout.splitlines()
    (row,) = ward.rows("inbox")
    assert row["note"] == "by script"
    assert arrived.startswith(f"{row['id']} arrived at ward-a: {row['files']} files")
    assert tree_digest(Path(released) / study.name) == tree_digest(study)


def test_a_script_says_that_something_was_skipped(hospital: Hospital, tmp_path: Path) -> None:
    ct, _ = hospital.pair("ct-room", "ward-a")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "report.txt").write_text("x")
    (tmp_path / "study" / "link").symlink_to("nowhere")
    assert send_study("ward-a", tmp_path / "study", "--home", ct.home).returncode == 10


def test_a_script_fails_as_the_command_does(hospital: Hospital, study: Path) -> None:
    ct = hospital.make("ct-room")
    done = send_study("nobody", study, "--home", ct.home)
    assert (done.returncode, done.stdout) == (8, "")
    assert done.stderr.startswith("medp2p: error: ")
    ct.kill()
    assert send_study("nobody", study, "--home", ct.home).returncode == 3


def test_a_script_tells_a_decline(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a", accept="ask")
    script_path = EXAMPLES / "send_study.py"
    command = [sys.executable, str(script_path), "ward-a", str(study), "--home", str(ct.home)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as script:
        wait_until(lambda: ward.rows("inbox"))
        ward.cli("inbox", "decline", ward.rows("inbox")[0]["id"]).ok()
        assert script.wait(SOON_SECONDS) == 4


@contextmanager
def demo(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Run the demonstration with a temporary folder of its own."""
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    with subprocess.Popen(
        command,
        env=environment(tmp_path / "unused", TMPDIR=str(tmp_path), PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def left(tmp_path: Path) -> list[object]:
    """Return what lies in the folder, and the words of every process that names it."""
    here = os.fsencode(tmp_path)
    named: list[object] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue  # ended meanwhile
        if here in words:
            named.append(words)
    return named + list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_demonstration_tells_its_story_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        out, _ = running.communicate(timeout=120)
    assert running.returncode == 0, out
    assert "is killed (SIGKILL)" in out
    assert "SHA-256 of 300 files compared: all equal" in out
    assert out.splitlines()[-1].startswith("All went well")
    assert left(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demonstration_leaves_nothing(tmp_path: Path, number: int) -> None:
    with demo(tmp_path) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("4."):
                break
        running.send_signal(number)
        out, _ = running.communicate(timeout=SOON_SECONDS)
    assert running.returncode == 130, out
    assert left(tmp_path) == []


@pytest.mark.parametrize("unit", sorted(EXAMPLES.rglob("*.service")), ids=lambda unit: unit.stem)
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path) -> None:
    verify = need_tool("systemd-analyze")
    command = Path(sys.executable).with_name("medp2p")
    lines = unit.read_text().splitlines()
    changed = [
        f"ExecStart={command} daemon" if line.startswith("ExecStart=") else line for line in lines
    ]
    assert changed != lines
    (tmp_path / unit.name).write_text("\n".join(changed) + "\n")
    system = "User=" in unit.read_text()
    done = subprocess.run(
        [verify, *([] if system else ["--user"]), "verify", "--man=no", tmp_path / unit.name],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
