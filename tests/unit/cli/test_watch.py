"""The verbs status, watch, config, reload, audit and completion."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medp2p.audit import chain, export
from medp2p.cli.progress import Progress
from medp2p.cli.watch import event_text, status_text
from tests.helpers.command import Medp2p
from tests.helpers.desk import TIME, Served, transfer_json


def test_status_tells_what_matters(medp2p: Medp2p, served: Served) -> None:
    served.desk.alarm_rows = [{"id": 1}]
    done = medp2p("status")
    assert done.code == 0
    for text in (
        "listening on:  0.0.0.0:17820",
        "its key lies in clear on this disk",
        "peers there:   b",
        "1 open; see `medp2p audit alarms`",
        "oooooooo  offered",
        "5.0 GB",
    ):
        assert text in done.out
    assert medp2p("status", "--json").json["accepting"] is True


def test_one_is_one() -> None:
    found: dict[str, Any] = {"name": "a", "accepting": True}
    assert "released:      1 folder;" in status_text(found | {"released": {"folders": 1}})
    assert "released:      2 folders, 1 OLD;" in status_text(
        found | {"released": {"folders": 2, "old": 1}}
    )
    shown: list[str] = []
    progress = Progress()
    progress.show = lambda live, lasting: shown.append(live)  # type: ignore[method-assign]
    for files in (1, 2):
        progress.scan({"files": files, "bytes": 10})
    assert shown == ["looking: 1 file, 10 B", "looking: 2 files, 10 B"]


def test_urgent_ones_are_marked_in_events() -> None:
    row = transfer_json("o" * 26, "in", "b", "offered", priority="stat")
    assert "from b STAT offered" in event_text({"event": "transfer", "transfer": row})


def test_status_fails_when_the_listener_does_not_accept(medp2p: Medp2p, served: Served) -> None:
    served.desk.accepting = False
    done = medp2p("status")
    assert done.code == 1
    assert "NOTHING (wanted 0.0.0.0:17820)" in done.out
    assert medp2p("status", "--json").json["accepting"] is False


def test_config_and_reload(medp2p: Medp2p, served: Served) -> None:
    lines = medp2p("config").out.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "FROM"]
    assert lines[1].split() == ["name", "a", "config.toml"]
    assert medp2p("reload", "--json").json[1]["source"] == "default"
    served.desk.config_error = "config.toml: unknown key nmae"
    done = medp2p("reload")
    assert done.code == 1
    assert done.err == "medp2p: error: config.toml: unknown key nmae\nhint: the old values hold\n"


def watching(medp2p: Medp2p, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "medp2p", "watch", *words],
        env={**os.environ, "MEDP2P_HOME": str(medp2p.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_watch_follows_until_ctrl_c(medp2p: Medp2p, served: Served, words: tuple[str, ...]) -> None:
    with watching(medp2p, *words) as process:
        assert process.stdout is not None
        if words:
            assert '"event":"status"' in process.stdout.readline()
        served.wait(lambda: served.desk.readers)
        served.call(served.desk.change, "o" * 26, state="accepted")
        line = process.stdout.readline()
        assert "accepted" in line
        assert line.startswith("{") is bool(words)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            {"event": "transfer", "transfer": transfer_json("a" * 26, "in", "b", "offered")},
            "aaaaaaaa from b offered  0 %",
        ),
        (
            {
                "event": "transfer",
                "transfer": transfer_json(
                    "a" * 26, "out", "b", "sending", bytes_done=1_500_000, rate=750_000
                ),
            },
            "aaaaaaaa to b sending  50 %  750.0 kB/s, 2 s left",
        ),
        ({"event": "peer", "peer": {"name": "b", "online": True}}, "b is there"),
        ({"event": "peer", "peer": {"name": "b\x1b", "online": False}}, "b\\x1b is away"),
        ({"event": "pairing", "pairing": {"state": "paired", "peer": "b"}}, "pairing paired: b"),
        ({"event": "alarm", "alarm": {"text": "key changed"}}, "ALARM key changed"),
        ({"event": "status", "status": {}}, ""),
        ({"event": "news of a newer daemon"}, ""),
        ({"event": "peer", "peer": 5}, ""),
        ({}, ""),
    ],
)
def test_events_in_words(event: dict[str, object], text: str) -> None:
    assert event_text(event) == text


def audit_row(seq: int) -> dict[str, object]:
    return {
        "seq": seq,
        "time": TIME,
        "event": "accept",
        "actor": {"os_user": "anna", "operator": None, "via": "cli"},
        "peer": "b",
        "transfer": "a" * 26,
        "outcome": "ok",
        "detail": {"files": 3},
        "hash": "00",
    }


def test_audit_lists_the_newest(medp2p: Medp2p, served: Served) -> None:
    assert medp2p("audit").out == "nothing yet\n"
    served.desk.audit_rows = [audit_row(number) for number in range(1, 2501)]
    lines = medp2p("audit").out.splitlines()
    assert len(lines) == 51
    words = lines[-1].split()
    assert words[0] == "2500"
    assert words[4:] == ["accept", "anna", "b", "aaaaaaaa", "ok", "files=3"]
    rows = medp2p("audit", "list", "--after", "10", "--limit", "2", "--json").json
    assert [row["seq"] for row in rows] == [11, 12]


def test_audit_export_has_every_record_once(medp2p: Medp2p, served: Served) -> None:
    served.desk.audit_rows = [audit_row(number) for number in range(1, 2501)]
    done = medp2p("audit", "export")
    assert [row["seq"] for row in done.lines] == list(range(1, 2501))


def test_audit_verify(medp2p: Medp2p, served: Served) -> None:
    assert medp2p("audit", "verify", "--json").json["ok"] is True
    assert medp2p("audit", "verify").out.startswith("0 records, head 00")
    served.desk.broken.add("audit")
    done = medp2p("audit", "verify", "--json")
    assert done.code == 6
    assert done.json["error"]["code"] == "audit"
    assert "record 2 does not follow" in done.err


def chained(count: int) -> list[dict[str, object]]:
    rows, before = [], chain.GENESIS
    for seq in range(1, count + 1):
        record = chain.encode_record({"event": "accept", "n": seq})
        before = chain.link(before, record)
        rows.append(export.to_json(seq, record, before) | {"label": None})
    return rows


@pytest.fixture
def exported(medp2p: Medp2p, served: Served, tmp_path: Path) -> Path:
    """Return an export of the first three records of five."""
    served.desk.audit_rows = chained(3)
    path = tmp_path / "export.jsonl"
    path.write_text(medp2p("audit", "export").out)
    served.desk.audit_rows = chained(5)
    return path


def test_an_export_is_verified_without_a_daemon(exported: Path, tmp_path: Path) -> None:
    elsewhere = Medp2p(tmp_path / "no home")
    head = chained(3)[-1]["hash"]
    assert elsewhere("audit", "verify-export", str(exported)).out == f"3 records, head {head}\n"
    exported.write_text(exported.read_text().replace('"n":2', '"n":3'))
    done = elsewhere("audit", "verify-export", str(exported))
    assert done.code == 6
    assert "record 2 was changed" in done.err
    assert elsewhere("audit", "verify-export", str(tmp_path / "none")).code == 2
    exported.write_text("")
    assert elsewhere("audit", "verify-export", str(exported)).code == 2


def test_a_log_is_compared_with_an_earlier_export(
    medp2p: Medp2p, served: Served, exported: Path
) -> None:
    assert medp2p("audit", "verify", "--kept", str(exported)).code == 0
    served.desk.audit_rows = [row | {"hash": "00"} for row in chained(5)]
    done = medp2p("audit", "verify", "--kept", str(exported))
    assert done.code == 6
    assert "does not begin with the 3 records" in done.err
    served.desk.audit_rows = chained(2)
    assert medp2p("audit", "verify", "--kept", str(exported)).code == 6


def test_a_damaged_record_is_listed(medp2p: Medp2p, served: Served) -> None:
    served.desk.audit_rows = [*chained(1), export.to_json(2, b"\xff", bytes(32))]
    assert "DAMAGED" in medp2p("audit").out.splitlines()[2]


def test_alarms_are_seen_and_acknowledged(medp2p: Medp2p, served: Served) -> None:
    assert medp2p("audit", "alarms").out == "no alarms\n"
    served.desk.alarm_rows = [
        {"id": 3, "time": TIME, "kind": "key", "peer": "b", "text": "key of b changed",
         "acknowledged": False}
    ]  # fmt: skip
    assert "key of b changed" in medp2p("audit", "alarms").out
    assert medp2p("audit", "acknowledge", "3").out == "acknowledged: key of b changed\n"
    unknown = medp2p("audit", "acknowledge", "4")
    assert unknown.code == 1
    assert "hint: `medp2p audit alarms` lists them" in unknown.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(medp2p: Medp2p, shell: str) -> None:
    done = medp2p("completion", shell)
    assert done.code == 0
    assert f"_MEDP2P_COMPLETE={shell}_complete" in done.out
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=done.out, text=True, check=True, timeout=20)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("medp2p in", {"init", "inbox"}),
        ("medp2p inbox ac", {"accept"}),
        ("medp2p peers show ", {"b"}),
        ("medp2p send ", {"b"}),
        ("medp2p inbox accept o", {"o" * 26}),
        ("medp2p outbox cancel ", set()),
        ("medp2p peers show x", set()),
    ],
)
def test_completed_words(medp2p: Medp2p, served: Served, line: str, words: set[str]) -> None:
    assert completed(medp2p, line) == words


@pytest.mark.parametrize(
    "line",
    [
        "medp2p --home {} peers show ",
        "medp2p peers --home {} show ",
        "medp2p peers show --home {} ",
        "medp2p --home /nowhere peers show --home {} ",
    ],
)
def test_completion_asks_the_home_that_was_chosen(
    medp2p: Medp2p, served: Served, tmp_path: Path, line: str
) -> None:
    """Wherever --home stands, and whatever MEDP2P_HOME says."""
    assert completed(Medp2p(tmp_path / "other"), line.format(medp2p.home)) == {"b"}
    assert completed(medp2p, line.format(tmp_path / "other")) == set()


def completed(medp2p: Medp2p, line: str) -> set[str]:
    count = len(line.split(" ")) - 1
    done = subprocess.run(
        [sys.executable, "-c", "from medp2p.__main__ import main; main()"],
        env={
            **os.environ,
            "MEDP2P_HOME": str(medp2p.home),
            "_MEDP2P_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(count),
        },
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stderr == ""
    return {row.split(",")[1] for row in done.stdout.splitlines() if row}


def test_completion_without_a_daemon_is_silent(medp2p: Medp2p) -> None:
    assert completed(medp2p, "medp2p peers show ") == set()
