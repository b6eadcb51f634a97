"""The daemon as a service: notifications, signals, readiness, what works without it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import medp2p
from tests.e2e.harness import (
    SOON_SECONDS,
    Hospital,
    cli,
    environment,
    wait_for,
    wait_until,
)

pytestmark = pytest.mark.e2e

EXAMPLES = Path(medp2p.__file__).parents[1] / "examples"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        # The abstract namespace: a path may be too long for a socket.
        listener.bind(f"\0medp2p-test-{os.getpid()}-{tmp_path.name}")
        listener.settimeout(SOON_SECONDS)
        yield listener


def heard(manager: socket.socket, wanted: str) -> list[str]:
    """Receive notifications until one line starts with what is wanted; return all lines."""
    lines: list[str] = []

    def receive() -> bool:
        lines.extend(manager.recv(4096).decode().splitlines())
        return any(line.startswith(wanted) for line in lines)

    wait_until(receive, lambda: f"no {wanted} among {lines}")
    return lines


def test_the_service_manager_is_told(hospital: Hospital, manager: socket.socket) -> None:
    ct = hospital.make("ct-room", start=False)
    ct.environment = {
        "NOTIFY_SOCKET": "@" + manager.getsockname()[1:].decode(),
        "WATCHDOG_USEC": "1000000",
    }
    ct.start()
    assert any(line.startswith("STATUS=") for line in heard(manager, "READY=1"))
    for _ in range(2):
        assert heard(manager, "WATCHDOG=1")
    assert ct.daemon is not None
    ct.daemon.send_signal(signal.SIGHUP)
    heard(manager, "RELOADING=1")
    heard(manager, "READY=1")
    assert ct.stop() < 5.0
    heard(manager, "STOPPING=1")


def test_stopping_waits_for_nobody_and_followers_go_on(hospital: Hospital, study: Path) -> None:
    """Commands that follow, half a request and an open offer hold nothing up."""
    ct, ward = hospital.pair("ct-room", "ward-a", accept="ask")
    follower = ct.open_cli("send", "ward-a", "--yes", "--wait", study)
    watcher = ct.open_cli("watch")
    assert watcher.stdout is not None
    assert watcher.stdout.readline()
    (row,) = wait_for(ward.home, "inbox", lambda rows: rows)
    with socket.socket(socket.AF_UNIX) as half:
        place = os.open(ct.home / "run", os.O_RDONLY)
        half.connect(f"/proc/self/fd/{place}/control.sock")
        os.close(place)
        half.sendall(b"GET /v1/status HTTP/1.1\r\nHost:")
        assert ct.stop() < 5.0
        assert ward.stop() < 5.0
    assert not (ct.home / "run" / "daemon.json").exists()
    # An upgrade is stop, install, start: who follows a transfer sees its end.
    ward.start()
    ct.start()
    ward.cli("inbox", "accept", row["id"]).ok()
    out, err = follower.communicate(timeout=SOON_SECONDS)
    assert follower.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["state"] == "sealed"
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=SOON_SECONDS)
    assert watcher.returncode == 130


def test_stopping_amid_a_release_is_no_mistake(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    """The command hears that the daemon ended; nothing is left, and nothing is called a bug."""
    ct, ward = hospital.pair("ct-room", "ward-a")
    begun, script, target = tmp_path / "begun", tmp_path / "scan.py", tmp_path / "out"
    script.write_text(
        f"import signal\nopen({str(begun)!r}, 'x').close()\nwhile True:\n    signal.pause()\n"
    )
    with (ward.home / "config.toml").open("a") as config:
        config.write(f"release.scan = {json.dumps([sys.executable, str(script)])}\n")
    ward.cli("reload").ok()
    sent = ct.send("ward-a", study)
    ward.wait_state("inbox", sent, "sealed")
    release = ward.open_cli("inbox", "release", sent, "--to", target)
    wait_until(begun.exists, ward.log_text)
    assert ward.stop() < 5.0
    _, err = release.communicate(timeout=SOON_SECONDS)
    assert release.returncode == 3, err
    assert not target.exists() or list(target.iterdir()) == []
    assert [line for line in ward.log_text().splitlines() if "ERROR" in line] == []
    ward.start()
    assert ward.row("inbox", sent)["state"] == "sealed"


def test_a_changed_config_is_taken_or_refused_as_a_whole(hospital: Hospital) -> None:
    ct = hospital.make("ct-room")
    config = ct.home / "config.toml"
    before = config.read_text()

    def waits() -> tuple[str, str]:
        rows = ct.cli("config").ok().document
        return next((row["value"], row["source"]) for row in rows if row["key"] == "wait-for-peer")

    assert waits() == ("14 days", "default")
    config.write_text(before + '\nwait-for-peer = "3 days"\n')
    ct.cli("reload").ok()
    assert waits() == ("3 days", "config.toml")
    config.write_text(before + '\nwait-for-peer = "3 lightyears"\n')
    refused = ct.cli("reload")
    assert refused.code == 1
    assert "wait-for-peer" in refused.err
    assert waits() == ("3 days", "config.toml")
    assert ct.daemon is not None
    ct.daemon.send_signal(signal.SIGHUP)
    wait_until(lambda: "wait-for-peer" in ct.log_text(), ct.log_text)
    assert waits() == ("3 days", "config.toml")


def test_what_works_without_a_daemon(hospital: Hospital, tmp_path: Path) -> None:
    ct = hospital.make("ct-room", start=False)
    identity = ct.cli("id").ok().document
    assert identity.keys() >= {"peer_id", "name", "key_words", "vault_recipient"}
    assert identity["vault_recipient"].startswith("age1")
    assert len(identity["key_words"].split()) == 6
    assert ct.cli("--version", json=False).ok().out.strip().endswith(medp2p.__version__)
    assert isinstance(ct.cli("doctor").document, list)
    for verb in (["status"], ["outbox"], ["inbox"], ["peers"], ["nearby"], ["audit"], ["watch"]):
        answer = ct.cli(*verb)
        assert answer.code == 3, answer
        assert answer.document["error"]["code"] == "no-daemon"
        assert "medp2p: error: " in answer.err
    missing = cli(tmp_path / "nowhere", "id")
    assert missing.code == 1
    assert str(tmp_path / "nowhere") in missing.err


def test_status_and_doctor_of_a_running_daemon(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a", accept="ask")
    sent = ct.send("ward-a", study)
    ct.wait_state("outbox", sent, "offered")
    status = ct.cli("status").ok().document
    assert status["accepting"] is True
    assert status["vault"]["key_in_clear"] is True
    assert [peer["name"] for peer in status["peers"] if peer["online"]] == ["ward-a"]
    assert sent in [row["id"] for row in status["transfers"]]
    checks = {check["check"]: check for check in ct.cli("doctor").document}
    assert len(checks) >= 5
    assert not [check for check in checks.values() if check["ok"] is False], checks
    for word in ("inbox", "outbox", "peers", "status", "audit", "doctor", "nearby", "config"):
        shown = ward.cli(word, json=False)
        assert shown.code == 0, shown
        assert "\x1b" not in shown.out


def test_watch_shows_what_happens(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    watcher = ward.open_cli("watch")
    assert watcher.stdout is not None
    assert json.loads(watcher.stdout.readline())["event"] == "status"
    sent = ct.send("ward-a", study)
    seen = []
    for line in watcher.stdout:
        event = json.loads(line)
        if event["event"] == "transfer" and event["transfer"]["id"] == sent:
            seen.append(event["transfer"]["state"])
            if seen[-1] == "sealed":
                break
    assert seen[-1] == "sealed"
    watcher.send_signal(signal.SIGINT)
    watcher.communicate(timeout=SOON_SECONDS)
    assert watcher.returncode == 130


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path: Path, shell: str) -> None:
    script = cli(tmp_path / "none", "completion", shell, json=False).ok().out
    assert "medp2p" in script
    program = shutil.which(shell)
    if program is not None:
        (tmp_path / "script").write_text(script)
        subprocess.run([program, "-n", tmp_path / "script"], check=True)


def test_the_installed_command_is_the_same_program(tmp_path: Path) -> None:
    installed = Path(sys.executable).with_name("medp2p")
    done = subprocess.run(
        [installed, "--version"], env=environment(tmp_path), capture_output=True, check=True
    )
    assert done.stdout.decode().strip().endswith(medp2p.__version__)


def test_unit_files_start_the_daemon_and_wait_for_it() -> None:
    units = sorted(EXAMPLES.rglob("*.service"))
    assert len(units) >= 2, "one for a user, one for the whole system"
    for unit in units:
        text = unit.read_text()
        assert "medp2p daemon" in text
        assert "Type=notify" in text
        assert "WatchdogSec=" in text
