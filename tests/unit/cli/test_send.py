"""The verb send: confirming, queueing, following, and how each ending looks."""

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medp2p import limits
from medp2p.cli.send import sent_before
from tests.helpers.command import Done, Medp2p
from tests.helpers.desk import TIME, MemoryDesk, Served, peer_json, serve_in_thread

FIRST = "c" * 26  # the third transfer of the served desk


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"x" * 700)
    (folder / "b.dcm").write_bytes(b"x" * 300)
    return folder


def in_background(function: Callable[[], Done]) -> tuple[threading.Thread, list[Done]]:
    done: list[Done] = []
    thread = threading.Thread(target=lambda: done.append(function()))
    thread.start()
    return thread, done


def test_without_a_terminal_it_needs_a_yes(medp2p: Medp2p, served: Served, study: Path) -> None:
    done = medp2p("send", "b", str(study))
    assert done.code == 2
    assert "without a terminal" in done.err
    assert served.desk.scans_by_id == {}


def test_queued_for_sure_is_enough_without_a_terminal(
    medp2p: Medp2p, served: Served, study: Path
) -> None:
    done = medp2p("send", "b", str(study), "--yes", "--note", "for Bea", "--priority", "stat")
    assert (done.code, done.out) == (0, f"queued {FIRST} for b\n")
    row = served.desk.transfers_by_id[FIRST]
    assert (row["files"], row["bytes"]) == (2, 1000)
    assert (row["note"], row["priority"]) == ("for Bea", "stat")
    assert "b (Ward A, Radiology, Room 3)" in done.err
    assert "amber bison cedar delta ember flint" in done.err
    assert "2, 1.0 kB" in done.err
    assert "by anna" in done.err


@pytest.mark.parametrize("note", ["x" * 4097, "\u00e4" * 2049])
def test_a_note_that_is_too_long_is_said_before_anything_is_read(
    medp2p: Medp2p, served: Served, study: Path, note: str
) -> None:
    done = medp2p("send", "b", str(study), "--yes", "--note", note)
    assert done.code == 2
    assert "a note has 4096 bytes at most" in done.err
    assert "hint: shorten" in done.err
    assert served.desk.scans_by_id == {}


def test_an_addendum_to_nothing_is_left_to_the_daemon_to_refuse(
    medp2p: Medp2p, served: Served, study: Path
) -> None:
    """An empty variable of a script must not make a whole study of it."""
    medp2p("send", "b", str(study), "--yes", "--addendum-of", "")
    (scan,) = served.desk.scans_by_id.values()
    assert scan["wishes"]["addendum_of"] == ""


def test_one_json_line_when_it_does_not_wait(medp2p: Medp2p, served: Served, study: Path) -> None:
    done = medp2p("send", "b", str(study), "--yes", "--no-wait", "--json")
    assert done.code == 0
    keys = "id direction peer state reason held files bytes bytes_done root created error label"
    assert set(keys.split()) <= set(done.json)
    assert done.json["state"] == "queued"


def test_paths_are_absolute_but_as_they_were_typed(
    medp2p: Medp2p, served: Served, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study)
    (study / "sub").mkdir()
    odd = os.fsdecode(b"n\xff\xfe")
    (study / odd).write_bytes(b"1")
    assert medp2p("send", "b", ".", "sub/..", odd, "--yes").code == 0
    (scan,) = served.desk.scans_by_id.values()
    assert scan["paths"] == [f"{study}/.", f"{study}/sub/..", f"{study}/{odd}"]


def test_a_path_that_looks_like_an_option(
    medp2p: Medp2p, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("--json").write_bytes(b"1")
    done = medp2p("send", "b", "--yes", "--", "--json")
    assert done.code == 0
    assert done.out.startswith("queued ")


def test_a_removed_working_directory(
    medp2p: Medp2p, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = medp2p("send", "b", "x", "--yes")
    assert done.code == 2
    assert "working directory has been removed" in done.err


def test_a_scan_that_fails_is_a_usage_error(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("send", "b", "/nowhere/x", "--yes", "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "source"
    assert "there is no /nowhere/x" in done.err
    assert "hint: look at how it is written" in done.err


def test_an_unknown_peer_is_said_before_anything_is_read(
    medp2p: Medp2p, served: Served, study: Path
) -> None:
    assert medp2p("send", "c", str(study), "--yes").code == 8
    assert served.desk.scans_by_id == {}


@pytest.mark.parametrize(
    ("typed", "sent"), [("b\n", True), (" b \n", True), ("b", True), ("\n", False), ("", False),
                        ("y\n", False), ("yes\n", False), ("B\n", False)],
)  # fmt: skip
@pytest.mark.usefixtures("terminal")
def test_a_person_types_the_name(
    medp2p: Medp2p, served: Served, study: Path, typed: str, sent: bool
) -> None:
    done = medp2p("send", "b", str(study), "--no-wait", stdin=typed)
    assert done.code == (0 if sent else 5)
    assert "to send this, type the name of the peer (b): " in done.err
    assert (FIRST in served.desk.transfers_by_id) is sent
    if not sent:
        assert "not confirmed" in done.err
        assert done.out == ""


def test_skipped_entries_are_named_up_to_a_point(
    medp2p: Medp2p, served: Served, study: Path
) -> None:
    for number in range(13):
        (study / f"link{number:02}").symlink_to("a.dcm")
    done = medp2p("send", "b", str(study), "--yes")
    assert done.code == 0
    assert "skipped: 13" in done.err
    assert done.err.count("(symlink)") == 10
    assert "and 3 more" in done.err


def test_waiting_shows_each_change_and_ends_sealed(
    medp2p: Medp2p, served: Served, study: Path
) -> None:
    words = ("send", "b", str(study), "--yes", "--wait", "--json")
    thread, done = in_background(lambda: medp2p(*words))
    served.wait(lambda: FIRST in served.desk.transfers_by_id and served.desk.readers)
    change = served.desk.change
    away = {"code": "peer-away", "text": "b is off", "since": TIME}
    served.call(change, FIRST, state="waiting", reason=away)
    served.call(change, FIRST, state="sending", reason=None, bytes_done=500, rate=100)
    served.call(change, "o" * 26, state="accepted")
    served.call(change, FIRST, state="sealed", bytes_done=1000, root="ab" * 32, rate=None)
    thread.join(20)
    (result,) = done
    assert result.code == 0
    states = [line["state"] for line in result.lines]
    assert states[0] == "queued"
    assert states[-1] == "sealed"
    assert states == sorted(states, key=["queued", "waiting", "sending", "sealed"].index)
    assert result.lines[-1]["root"] == "ab" * 32
    assert {line["id"] for line in result.lines} == {FIRST}
    assert served.wait(lambda: not served.desk.readers)


def test_an_addendum_skips_what_was_asked_to_be_skipped(
    medp2p: Medp2p, served: Served, study: Path
) -> None:
    """Files that were there before are no reason for another exit code; others are."""
    for links, code, said in ((0, 0, ""), (1, 10, "1 entry of the selection was skipped")):
        for number in range(links):
            (study / f"link{number}").symlink_to("a.dcm")
        (study / "sent-before.dcm").write_bytes(b"x")
        words = ("send", "b", str(study), "--yes", "--wait", "--addendum-of", "a")
        thread, done = in_background(partial(medp2p, *words))
        served.wait(lambda: served.desk.readers)
        transfer = list(served.desk.transfers_by_id)[-1]
        served.call(served.desk.change, transfer, state="sealed")
        thread.join(20)
        (result,) = done
        assert result.code == code, result
        assert "1 file of the selection there already, sent before" in result.err
        assert said in result.err
        assert ("skipped\n" in result.err) is bool(said)
        served.wait(lambda: not served.desk.readers)


def test_how_many_of_each_part_were_sent_before() -> None:
    why = ("sent-before", "symlink", "sent-before", "sent-before")
    scan = {
        "skipped": [{"why": one} for one in why],
        "parts": [{"skipped": 2}, {"skipped": 0}, {"skipped": 2}],
    }
    assert sent_before(scan) == [1, 0, 2]


ENDINGS: list[tuple[dict[str, Any], int, str]] = [
    ({"state": "sealed"}, 0, ""),
    ({"state": "released"}, 0, ""),
    ({"state": "sealed", "skipped": 2}, 10, "2 entries of the selection were skipped"),
    ({"state": "sealed", "skipped": 1}, 10, "1 entry of the selection was skipped"),
    (
        {"state": "declined", "reason": {"code": "declined", "text": "not ours", "since": TIME}},
        4,
        "declined: not ours",
    ),
    ({"state": "recalled"}, 4, "the transfer to b is recalled"),
    ({"state": "expired"}, 4, "the transfer to b is expired"),
    ({"state": "cancelled"}, 1, "the transfer to b is cancelled"),
    (
        {
            "state": "failed",
            "error": {"code": "integrity", "text": "roots differ", "hint": "h", "retryable": False},
        },
        6,
        "medp2p: error: roots differ\nhint: h",
    ),
    (
        {
            "state": "failed",
            "error": {
                "code": "source-changed",
                "text": "a.dcm changed\x1b",
                "hint": None,
                "retryable": False,
            },
        },
        1,
        "a.dcm changed\\x1b",
    ),
]


@pytest.mark.parametrize(("ending", "code", "text"), ENDINGS)
def test_how_it_ended(
    medp2p: Medp2p, served: Served, study: Path, ending: dict[str, Any], code: int, text: str
) -> None:
    words = ("send", "b", str(study), "--yes", "--wait")
    for json_word in ((), ("--json",)):
        thread, done = in_background(lambda more=json_word: medp2p(*words, *more))  # type: ignore[misc]
        served.wait(lambda: served.desk.readers)
        transfer = [key for key in served.desk.transfers_by_id if key[0] not in "os"][-1]
        served.call(served.desk.change, transfer, **ending)
        thread.join(20)
        (result,) = done
        assert result.code == code
        assert text in result.err
        if json_word:
            assert result.lines[-1]["state"] == ending["state"]
        elif code == 0:
            assert result.out == f"sealed {transfer} at b\n"
        served.wait(lambda: not served.desk.readers)


def test_waiting_survives_a_restart_of_the_daemon(medp2p: Medp2p, study: Path) -> None:
    desk = MemoryDesk(peers_by_name={"b": peer_json("b")})
    with serve_in_thread(medp2p.home, desk) as served:
        words = ("send", "b", str(study), "--yes", "--wait", "--json")
        thread, done = in_background(lambda: medp2p(*words))
        served.wait(lambda: desk.transfers_by_id and desk.readers)
        transfer = next(iter(desk.transfers_by_id))
    desk.transfers_by_id[transfer]["state"] = "sealed"
    with serve_in_thread(medp2p.home, desk):
        thread.join(20)
    (result,) = done
    assert result.code == 0
    assert result.lines[-1]["state"] == "sealed"


def child(medp2p: Medp2p, *words: str, **more: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "medp2p", *words],
        env={**os.environ, "MEDP2P_HOME": str(medp2p.home)},
        text=True,
        **more,
    )


def test_ctrl_c_ends_the_command_not_the_transfer(
    medp2p: Medp2p, served: Served, study: Path
) -> None:
    words = ("send", "b", str(study), "--yes", "--wait")
    with child(medp2p, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        served.wait(lambda: served.desk.readers)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "the transfer goes on; `medp2p outbox show cccccccc`" in err
    assert "Traceback" not in err
    assert out == ""
    assert served.desk.transfers_by_id[FIRST]["state"] == "queued"


def test_on_a_real_terminal(medp2p: Medp2p, served: Served, study: Path) -> None:
    """Asks, waits by default, and writes its progress over one line."""
    master, slave = pty.openpty()
    with child(
        medp2p,
        *("send", "b", str(study)),
        stdin=slave,
        stderr=slave,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        os.close(slave)
        seen = b""
        while b"type the name of the peer (b): " not in seen:
            seen += os.read(master, 1000)
        os.write(master, b"b\n")
        served.wait(lambda: served.desk.readers)
        served.call(served.desk.change, FIRST, state="sending", bytes_done=400, rate=100)
        while b"40 %" not in seen:
            seen += os.read(master, 1000)
        served.call(served.desk.change, FIRST, state="sealed", bytes_done=1000)
        out, _ = process.communicate(timeout=20)
    os.close(master)
    assert process.returncode == 0
    assert out == f"sealed {FIRST} at b\n"
    assert b"100 B/s, 6 s left" in seen


def test_a_daemon_that_does_not_come_back(
    medp2p: Medp2p, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DAEMON_RETURN_SECONDS", 0.1)
    desk = MemoryDesk(peers_by_name={"b": peer_json("b")})
    with serve_in_thread(medp2p.home, desk) as served:
        thread, done = in_background(lambda: medp2p("send", "b", str(study), "--yes", "--wait"))
        served.wait(lambda: desk.transfers_by_id and desk.readers)
    thread.join(60)
    (result,) = done
    assert result.code == 3
    assert "the transfer goes on; `medp2p outbox show aaaaaaaa` shows it" in result.err
    assert "medp2p: error: no daemon answers" in result.err
