"""The verbs init, id, doctor, daemon and wipe, on real homes."""

import errno
import io
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.cli import workstation
from medp2p.cli.erasing import erase_home, is_home
from medp2p.cli.log import start_log
from medp2p.cli.workstation import doctor_text
from medp2p.control.place import SOCKET, home_path
from medp2p.control.unix import listen_unix
from medp2p.daemon import tree
from medp2p.daemon.home import Home, Lock, default_home
from medp2p.errors import ConfigError, HomeError, ListenError
from medp2p.identity import decode_peer_id
from tests.helpers.command import Done, Medp2p
from tests.helpers.desk import Served


@pytest.fixture
def made(medp2p: Medp2p) -> Medp2p:
    assert medp2p("init", "--name", "ward-a").code == 0
    return medp2p


def test_init_says_who_we_are_and_what_is_next(medp2p: Medp2p) -> None:
    done = medp2p("init", "--name", "ward-a", "--department", "Radiology", "--place", "Room 3")
    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith(f"made {medp2p.home}\nname:      ward-a\npeer ID:   ")
    assert done.out.endswith("next: medp2p daemon\n")
    settings = (medp2p.home / "config.toml").read_text()
    assert "Radiology" in settings
    assert "Room 3" in settings


def test_init_as_json_and_id_agree(medp2p: Medp2p) -> None:
    made = medp2p("init", "--name", "ward-a", "--json").json
    found = medp2p("id", "--json").json
    assert made == found | {"home": str(medp2p.home)}
    assert set(found) == {"peer_id", "name", "key_words", "vault_recipient"}
    assert len(decode_peer_id(found["peer_id"])) == 32
    assert len(found["key_words"].split()) == 6
    assert found["vault_recipient"].startswith("age1")
    for value in found.values():
        assert value in medp2p("id").out


def test_the_name_is_the_host_name_unless_given(medp2p: Medp2p) -> None:
    assert medp2p("init", "--json").json["name"]


def test_init_refuses_a_home_and_touches_nothing(made: Medp2p) -> None:
    before = {path: path.read_bytes() for path in made.home.rglob("*") if path.is_file()}
    done = made("init", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "home"
    assert {path: path.read_bytes() for path in made.home.rglob("*") if path.is_file()} == before


def test_id_without_a_home(medp2p: Medp2p) -> None:
    done = medp2p("id", "--json")
    assert done.code == 1
    assert done.json["error"]["hint"] == "make one with `medp2p init`"


def test_id_names_a_damaged_key(made: Medp2p) -> None:
    (made.home / "keys" / "noise.key").write_text("nonsense\n")
    done = made("id", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "key-file"
    assert "noise.key" in done.err


def test_a_daemon_without_a_home_is_one_line(medp2p: Medp2p) -> None:
    done = medp2p("daemon")
    assert done.code == 1
    assert done.err.startswith("medp2p: error: there is no home at ")
    assert "Traceback" not in done.err


# --- doctor -------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["300", "no such host", "192.0.2.7:17820", "[fe80::z]:1"])
def test_an_address_that_cannot_be_listened_on_says_what_to_write(
    made: Medp2p, address: str
) -> None:
    done = made("daemon", "--no-mdns", "--listen", address)
    assert done.code in (1, 2)
    assert "hint: " in done.err
    assert "ADDR:PORT" in done.err


def test_doctor_asks_the_daemon_when_there_is_one(medp2p: Medp2p, served: Served) -> None:
    served.desk.checks = [
        {"check": "disk", "ok": True, "text": "5 GB free", "hint": None},
        {"check": "clock", "ok": None, "text": "no peer to compare with", "hint": "pair one"},
    ]
    done = medp2p("doctor")
    assert done.code == 0
    assert done.out.splitlines()[1].split() == ["disk", "ok", "5", "GB", "free"]
    served.desk.checks.append({"check": "mdns", "ok": False, "text": "blocked", "hint": "ask IT"})
    done = medp2p("doctor")
    assert done.code == 1
    assert "WRONG" in done.out
    assert "hint: mdns: ask IT" in done.out
    assert medp2p("doctor", "--json").json == served.desk.checks


def test_doctor_text_hides_hints_of_what_is_well() -> None:
    rows = [{"check": "a", "ok": True, "text": "\x1b", "hint": "nothing to do"}]
    assert "nothing" not in doctor_text(rows)
    assert "\\x1b" in doctor_text(rows)


def test_doctor_without_a_daemon_looks_at_the_home(made: Medp2p) -> None:
    done = made("doctor", "--json")
    assert done.code in (0, 1)
    assert {"check", "ok", "text", "hint"} <= set(done.json[0])
    (made.home / "keys" / "sign.key").unlink()
    done = made("doctor")
    assert done.code == 1
    assert "sign.key" in done.out


def test_doctor_does_not_wait_for_a_daemon_that_hangs(
    made: Medp2p, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ALIVE_SECONDS", 0.1)
    home = Home(made.home)
    home.run.mkdir(mode=0o700, exist_ok=True)
    with Lock(home), listen_unix(made.home / SOCKET, 1):
        done = made("doctor")
    assert done.code == 1
    assert "but does not answer" in done.out
    assert "private to this account" in done.out


# --- wipe ---------------------------------------------------------------------------------


def test_wipe_needs_a_yes_or_a_person(made: Medp2p) -> None:
    assert made("wipe").code == 2
    assert (made.home / "keys" / "noise.key").exists()


def test_wipe_erases_all_of_it(made: Medp2p) -> None:
    done = made("wipe", "--yes", "--json")
    assert done.code == 0
    assert done.json == {"home": str(made.home), "left": []}
    assert not made.home.exists()
    assert made("wipe", "--yes").code == 1


@pytest.mark.parametrize(("typed", "erased"), [("wipe\n", True), ("\n", False), ("", False)])
@pytest.mark.usefixtures("terminal")
def test_a_person_types_wipe(made: Medp2p, typed: str, erased: bool) -> None:
    done = made("wipe", stdin=typed)
    assert done.code == (0 if erased else 5)
    assert made.home.exists() is not erased
    assert f"to erase {made.home} for good, type wipe: " in done.err


def test_wipe_refuses_while_a_daemon_has_the_home(made: Medp2p) -> None:
    with Lock(Home(made.home)):
        done = made("wipe", "--yes", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "already-running"
    assert (made.home / "keys" / "noise.key").exists()


def test_wipe_of_a_damaged_home_works_too(made: Medp2p) -> None:
    (made.home / "keys" / "noise.key").write_bytes(b"")
    (made.home / "config.toml").unlink()
    (made.home / "run" / "lock").unlink(missing_ok=True)
    (made.home / "run").rmdir()
    assert made("wipe", "--yes").code == 0
    assert not made.home.exists()


def test_a_folder_that_is_no_home_is_left_alone(medp2p: Medp2p) -> None:
    medp2p.home.mkdir()
    (medp2p.home / "thesis").write_text("x")
    done = medp2p("wipe", "--yes")
    assert done.code == 1
    assert "there is no home" in done.err
    assert list(medp2p.home.iterdir()) == [medp2p.home / "thesis"]


def test_what_medp2p_did_not_make_stays(made: Medp2p, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "image").write_text("x")
    (made.home / "note").write_text("x")
    (made.home / "vault" / "link").symlink_to(elsewhere)
    (made.home / "keys" / "link").symlink_to(elsewhere)
    (made.home / "keys" / "folder").mkdir()
    done = made("wipe", "--yes")
    assert done.code == 0
    assert done.out == f"erased {made.home}; left: note\n"
    assert (elsewhere / "image").read_text() == "x"


def test_keys_are_overwritten_first(made: Medp2p, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second name for a key file shows what happened to its bytes."""
    key = made.home / "keys" / "spool.key"
    size = key.stat().st_size
    os.link(key, made.home / "second")
    monkeypatch.setattr("medp2p.cli.erasing._FILES", ("config.toml", "."))
    with pytest.raises(HomeError):  # the second "file" cannot be unlinked: cut short here
        erase_home(made.home)
    assert (made.home / "second").read_bytes() == bytes(size)
    assert not (made.home / "keys").exists()
    assert (made.home / "store.db").exists()
    assert is_home(made.home)


def test_a_key_without_write_permission_is_erased(made: Medp2p) -> None:
    key = made.home / "keys" / "vault.key"
    key.chmod(stat.S_IRUSR)
    os.link(key, made.home.parent / "second")
    assert made("wipe", "--yes").code == 0
    assert b"AGE-SECRET-KEY" not in (made.home.parent / "second").read_bytes()


def test_keys_that_are_a_link(made: Medp2p, tmp_path: Path) -> None:
    (made.home / "keys").rename(tmp_path / "keys")
    (made.home / "keys").symlink_to(tmp_path / "keys")
    assert made("wipe", "--yes").code == 0
    assert (tmp_path / "keys" / "noise.key").exists()


# --- the rest -----------------------------------------------------------------------------


def test_the_home_is_chosen_by_option_then_environment_then_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for chosen, env, home in (
        ("x", {"MEDP2P_HOME": "y"}, tmp_path / "x"),
        ("link", {}, tmp_path / "real"),
        (None, {"MEDP2P_HOME": "y"}, tmp_path / "y"),
        (None, {"MEDP2P_HOME": "~/z"}, Path.home().resolve() / "z"),
        (None, {"MEDP2P_HOME": ""}, default_home()),
        (None, {}, default_home()),
    ):
        assert home_path(chosen, env) == home
    assert Home(tmp_path).socket == tmp_path / SOCKET


def test_a_home_below_a_folder_that_is_gone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(HomeError, match="removed"):
        home_path("x", {})


@pytest.mark.parametrize("words", [("--home", "", "wipe", "--yes"), ("wipe", "--yes", "--home=")])
def test_an_empty_home_is_no_home(medp2p: Medp2p, words: tuple[str, ...]) -> None:
    """An unset variable in a script must not erase the home that is there."""
    assert medp2p("init").code == 0
    done = medp2p(*words)
    assert done.code == 2
    assert "names no folder" in done.err
    assert medp2p("id").code == 0


@pytest.fixture
def kept_log() -> Iterator[None]:
    """Put the log back as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.mark.usefixtures("kept_log")
def test_log_lines_stay_on_their_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    start_log()
    logging.getLogger("medp2p.test").info("told %s", "x\n2026 ERROR forged\x1b[2J")
    logging.getLogger("medp2p.test").debug("not shown")
    (line,) = out.getvalue().splitlines()
    assert line.endswith("Z INFO medp2p.test: told x\\x0a2026 ERROR forged\\x1b[2J")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file", "/images/Doe^Jane"),
        ExceptionGroup("", [ConfigError("x"), ValueError("of Doe^Jane")]),
    ],
)
@pytest.mark.usefixtures("kept_log")
def test_a_bug_that_ends_the_daemon_is_told_without_what_it_says(
    made: Medp2p, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    done = ended_by(made, monkeypatch, error)
    assert done.code == 1
    assert "CRITICAL medp2p.daemon.tree: the daemon ends, bug: " in done.err
    assert "medp2p: error: the daemon has ended by a mistake of the program" in done.err
    assert "Doe" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("kept_log")
def test_the_first_error_of_a_group_is_what_a_person_reads(
    made: Medp2p, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = ExceptionGroup("", [ListenError("taken")])
    done = ended_by(made, monkeypatch, ExceptionGroup("", [inner, ConfigError("x")]))
    assert done.code == ListenError.exit_code
    assert done.err.startswith("medp2p: error: taken\n")


def ended_by(medp2p: Medp2p, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Done:
    """Run the verb daemon, whose tasks end by an error."""

    async def run(*unused: object, **more: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    monkeypatch.setattr(tree, "run", run)
    return medp2p("daemon")


def test_wipe_names_what_the_system_refuses(made: Medp2p) -> None:
    shutil.rmtree(made.home / "run")
    (made.home / "run").write_text("no folder")
    done = made("wipe", "--yes", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "home"
    assert str(made.home / "run") in done.json["error"]["text"]
    assert (made.home / "keys" / "noise.key").exists()


def test_wipe_of_a_home_that_cannot_be_seen_says_so(
    made: Medp2p, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shut(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(workstation, "is_home", shut)
    done = made("wipe", "--yes")
    assert done.code == 1
    assert f"{made.home}: Permission denied" in done.err
