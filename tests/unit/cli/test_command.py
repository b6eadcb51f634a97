"""What all verbs share: help, --json anywhere, --home, errors, exit codes, nothing heavy."""

import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from medp2p import __version__, errors
from medp2p.cli.main import cli, wants_json
from medp2p.errors import MedP2PError
from tests.helpers.command import Medp2p
from tests.helpers.desk import Served


def all_commands() -> Iterator[tuple[str, ...]]:
    def walk(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, command in group.commands.items():
            yield (*words, name)
            if isinstance(command, click.Group):
                yield from walk(command, (*words, name))

    return walk(cli, ())


def test_the_verbs_of_the_design_are_there() -> None:
    wanted = """init daemon status id doctor watch config reload completion wipe pair nearby peers
        peers.list peers.add peers.show peers.verify peers.set peers.remove send outbox
        outbox.list outbox.show outbox.cancel inbox inbox.list inbox.show inbox.accept
        inbox.decline inbox.release inbox.verify inbox.discard audit audit.list audit.verify
        audit.export"""
    assert set(wanted.split()) <= {".".join(words) for words in all_commands()}


@pytest.mark.parametrize("words", list(all_commands()))
def test_every_verb_has_help_json_and_home(medp2p: Medp2p, words: tuple[str, ...]) -> None:
    for option in ("--help", "-h"):
        done = medp2p(*words, option)
        assert done.code == 0
        assert "--json" in done.out
        assert "--home" in done.out
        assert done.err == ""


def test_ctrl_c_before_the_verbs_are_there_is_quiet(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    command = [sys.executable, "-m", "medp2p", "status"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_version_needs_no_daemon_and_no_home(medp2p: Medp2p) -> None:
    done = medp2p("--version")
    assert (done.code, done.out) == (0, f"medp2p {__version__}\n")


def test_help_lists_the_exit_codes(medp2p: Medp2p) -> None:
    text = " ".join(medp2p("--help").out.split())
    for code in ("0 done", "3 no daemon", "10 sealed, but", "130 interrupted", "7 vault locked"):
        assert code in text
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)
             and issubclass(kind, MedP2PError)}  # fmt: skip
    assert codes <= set(range(9))


def test_no_verb_is_a_usage_error_that_shows_the_verbs(medp2p: Medp2p) -> None:
    done = medp2p()
    assert done.code == 2
    assert done.out == ""
    assert "Commands:" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("outbox", "--json"),
        ("outbox", "--json", "list"),
        ("outbox", "list", "--json"),
        ("peers", "show", "--json", "b"),
        ("peers", "show", "b", "--json"),
        ("peers", "--json", "show", "b"),
        ("peers", "show", "--json", "--", "b"),
        ("status", "--json"),
        ("inbox", "show", "o", "--json", "--files"),
    ],
)
def test_json_anywhere_after_the_verb(
    medp2p: Medp2p, served: Served, words: tuple[str, ...]
) -> None:
    done = medp2p(*words)
    assert done.code == 0
    assert done.json is not None
    assert done.err == ""


def test_two_dashes_end_the_options(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("peers", "show", "--", "--json")
    assert done.code == 8
    assert done.out == ""
    assert "no peer is called --json" in done.err


@pytest.mark.parametrize("words", [("--home", "DIR", "status"), ("status", "--home", "DIR")])
def test_home_before_or_after_the_verb(
    medp2p: Medp2p, served: Served, tmp_path: Path, words: tuple[str, ...]
) -> None:
    elsewhere = Medp2p(tmp_path / "elsewhere")
    given = [str(medp2p.home) if word == "DIR" else word for word in words]
    assert elsewhere(*given).code == 0
    assert elsewhere("status").code == 3


def test_a_relative_home(medp2p: Medp2p, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(medp2p.home.parent)
    assert medp2p("status", "--home", "home").code == 0


def test_without_a_daemon(medp2p: Medp2p) -> None:
    for words in (("status",), ("outbox",), ("watch",), ("pair",), ("send", "b", "x", "--yes")):
        done = medp2p(*words, "--json")
        assert done.code == 3
        assert done.json["error"]["code"] == "no-daemon"
        assert done.err.splitlines() == [
            f"medp2p: error: no daemon answers for {medp2p.home}",
            "hint: start it with `medp2p daemon`",
        ]


def test_errors_go_to_stderr_and_without_json_nothing_to_stdout(
    medp2p: Medp2p, served: Served
) -> None:
    done = medp2p("peers", "show", "c")
    assert (done.code, done.out) == (8, "")
    assert done.err.splitlines() == [
        "medp2p: error: no peer is called c",
        "hint: `medp2p peers` lists the paired workstations",
    ]
    assert medp2p("peers", "show", "c", "--json").json == {
        "error": {
            "code": "unknown-peer",
            "text": "no peer is called c",
            "hint": "`medp2p peers` lists the paired workstations",
            "retryable": False,
        }
    }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("frob",), "no such command 'frob'"),
        (("status", "x"), "got unexpected extra argument (x)"),
        (("send",), "missing argument 'PEER'"),
        (("inbox", "release", "s"), "missing option '--to'"),
        (("inbox", "frob"), "no such command 'frob'"),
        (("status", "--frob"), "no such option"),
        (("audit", "list", "--limit", "0"), "invalid value for '--limit'"),
        (("pair", "--at", "h:1"), "--at goes with a code"),
        (("outbox", "show", "s", "--with-label"), "--with-label goes with --proof"),
        (("outbox", "show", "s", "--files", "--proof", "/x/p"), "either --files or --proof"),
        (("peers", "set", "b", "accept"), "not a setting: accept"),
        (("peers", "set", "b", "=x"), "not a setting: =x"),
        (("completion", "tcsh"), "invalid value for"),
    ],
)
def test_usage_errors(medp2p: Medp2p, served: Served, words: tuple[str, ...], text: str) -> None:
    done = medp2p(*words, "--json")
    assert done.code == 2
    assert f"medp2p: error: {text}" in done.err
    assert done.json["error"]["code"] == "usage"
    assert text in done.json["error"]["text"]
    assert served.desk.acts == []


def test_json_is_looked_for_among_the_options_only() -> None:
    assert wants_json(["outbox", "--json"])
    assert not wants_json(["send", "b", "--", "--json"])
    assert not wants_json([])


def test_told_text_cannot_move_the_cursor_or_forge_a_line(medp2p: Medp2p, served: Served) -> None:
    evil = "x\x1b[2J\nmedp2p: error: no\u202e"
    served.desk.peers_by_name["b"].update(told_name=evil, told_place=evil)
    served.desk.transfers_by_id["o" * 26].update(
        note=evil, reason={"code": "c", "text": evil, "since": "x"}, label=evil
    )
    for words in (("peers",), ("peers", "show", "b"), ("inbox",), ("inbox", "show", "o")):
        done = medp2p(*words)
        assert done.code == 0
        assert "\x1b" not in done.out
        assert "\u202e" not in done.out
        assert "x\\x1b[2J\\x0amedp2p" in done.out
        as_json = medp2p(*words, "--json")
        assert "\x1b" not in as_json.out
        assert as_json.out.isascii()


def test_an_error_of_the_daemon_is_escaped_too(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("peers", "show", "c\x1b[2J")
    assert done.code == 8
    assert "c\\x1b[2J" in done.err


def test_a_bug_in_the_daemon_is_one_line(medp2p: Medp2p, served: Served) -> None:
    served.desk.bug = ZeroDivisionError("a bug")
    done = medp2p("status", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "control"
    assert "Traceback" not in done.err


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "MEDP2P_HOME": str(home)}


def test_a_short_command_loads_nothing_heavy(medp2p: Medp2p, served: Served) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "medp2p", "status"],
        env=environment(medp2p.home),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "medp2p.control.client" in loaded
    heavy = {"trio", "pydicom", "starlette", "hypercorn", "rich", "cryptography", "blake3"}
    late = {"http.client", "email.parser", "ssl", "logging"}  # milliseconds each
    assert not loaded & (heavy | late | {"msgspec", "medp2p.daemon", "medp2p.vault"})


def shell(home: Path, line: str) -> subprocess.CompletedProcess[str]:
    words = f"{shlex.quote(sys.executable)} -m medp2p {line}"
    return subprocess.run(
        ["sh", "-c", words], env=environment(home), capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("status <&-", 0),
        ("status >&-", 0),
        ("status --json >&- 2>&-", 0),
        ("send b x <&-", 2),
        ("send b x --expect-from - <&-", 2),
        ("peers show nobody >&- 2>&-", 8),
    ],
)
def test_a_command_without_some_of_its_streams(
    medp2p: Medp2p, served: Served, line: str, code: int
) -> None:
    done = shell(medp2p.home, line)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize(
    "line", ["status", "status --json", "--help", "--version", "peers show nobody --json"]
)
def test_an_output_that_cannot_be_written(medp2p: Medp2p, served: Served, line: str) -> None:
    done = shell(medp2p.home, f"{line} >/dev/full")
    assert done.returncode == 1
    assert "medp2p: error: the output cannot be written: No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_what_is_no_text_is_said_so(medp2p: Medp2p, served: Served) -> None:
    done = shell(medp2p.home, "peers set b phone=$(printf 'caf\\351')")
    assert done.returncode == 2
    assert "no text in UTF-8" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("send", "b", "", "--yes"),
        ("send", "b", "x", "", "--yes"),
        ("inbox", "release", "s", "--to", ""),
        ("targets", "add", "t", "folder:"),
    ],
)
def test_an_empty_path_is_not_the_current_folder(
    medp2p: Medp2p, served: Served, words: tuple[str, ...]
) -> None:
    done = medp2p(*words)
    assert done.code == 2
    assert "a path is empty" in done.err
    assert served.desk.acts == []


def test_status_takes_less_than_half_a_second(medp2p: Medp2p, served: Served) -> None:
    """In processor time: by the clock a busy machine would be measured, not the command."""
    command = [sys.executable, "-m", "medp2p", "status"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, env=environment(medp2p.home), capture_output=True, check=True, timeout=60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_a_reader_that_goes_is_no_crash(medp2p: Medp2p, served: Served) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "medp2p", "watch", "--json"],
        env=environment(medp2p.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert '"status"' in child.stdout.readline()
        child.stdout.close()
        for _ in range(2):
            served.call(served.desk.change, "o" * 26, state="offered")
        assert child.stderr.read() == ""
    assert child.returncode == 1


def test_output_that_the_terminal_cannot_hold_is_escaped(medp2p: Medp2p, served: Served) -> None:
    served.desk.peers_by_name["b"]["told_name"] = "Röntgen, Łódź"
    done = subprocess.run(
        [sys.executable, "-m", "medp2p", "peers"],
        env=environment(medp2p.home) | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "Röntgen, \\u0141ód\\u017a".encode("latin-1") in done.stdout
