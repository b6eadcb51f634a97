"""The verb web: a browser is given a file, a terminal an address."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from medp2p.control.client import Client
from tests.helpers.command import Medp2p
from tests.helpers.desk import Served
from tests.helpers.web import Tab


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_screen")
def test_the_address_alone(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("web", "--no-browser")
    assert done.code == 0
    assert re.fullmatch(rf"http://{re.escape(served.page)}/#[\w-]{{43}}\n", done.out)
    assert done.err == ""
    token = done.out.strip().partition("#")[2]
    assert Tab(served.page).begin(token).status == 200
    assert not list((medp2p.home / "run").glob("open-*"))
    document = medp2p("web", "--no-browser", "--json").json
    assert set(document) == {"address", "expires"}


def test_a_browser_is_told_a_private_file_only(
    medp2p: Medp2p, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" > {seen}.new\nmv {seen}.new {seen}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(browser))
    done = medp2p("web")
    assert done.code == 0
    while not seen.exists():
        time.sleep(0.005)
    told = seen.read_text()
    path = Path(told.removeprefix("file://"))
    assert path.parent == medp2p.home / "run"
    found = re.search(r"#([\w-]{43})", path.read_text())
    assert found is not None
    assert found[1] not in told + done.out + done.err
    assert "http" not in done.out + done.err
    assert "--no-browser" in done.err
    assert Tab(served.page).begin(found[1]).status == 200


@pytest.mark.usefixtures("no_screen")
def test_no_browser_here(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("web")
    assert done.code == 1
    assert "no browser was found here" in done.err
    assert "`medp2p web --no-browser`" in done.err
    assert not list((medp2p.home / "run").glob("open-*"))


def test_a_browser_that_fails(
    medp2p: Medp2p, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER", "/nonexistent/browser %s")
    done = medp2p("web", "--json")
    assert done.code == 1
    assert json.loads(done.out)["error"]["text"] == "the browser could not be started"


def test_without_a_daemon(medp2p: Medp2p) -> None:
    assert medp2p("web", "--no-browser").code == 3


def test_the_account_is_the_one_that_asked(medp2p: Medp2p, served: Served) -> None:
    tab = Tab.of(Client(medp2p.home / "run" / "control.sock", "a home"))
    assert tab.ask("POST", "/v1/reload").status == 200
    (_, actor) = served.desk.acts[-1]
    assert actor.os_user == served.desk.page_notes[-1][1].os_user is not None


# --- the entry in the menu ----------------------------------------------------------------

ENTRY = Path(__file__).parents[3] / "examples" / "medp2p.desktop"


def menu_entry() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys have capitals
    parser.read_string(ENTRY.read_text())
    return dict(parser["Desktop Entry"])


def started_by(entry: dict[str, str]) -> list[str]:
    """Return what a desktop runs (Desktop Entry Specification 1.5, "The Exec key")."""
    text = entry["Exec"].replace("\\\\", "\\")  # as every string of such a file
    # Between quotes a backslash also stands before "$", which shlex does not take for an escape.
    return [word.replace("\\$", "$") for word in shlex.split(text)]


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o700)


def test_the_menu_entry_is_one() -> None:
    entry = menu_entry()
    assert (entry["Type"], entry["Terminal"]) == ("Application", "false")
    if shutil.which("desktop-file-validate"):
        subprocess.run(["desktop-file-validate", ENTRY], check=True)


@pytest.mark.parametrize("code", [0, 3])
def test_the_menu_entry_opens_the_page_and_shows_what_is_wrong(tmp_path: Path, code: int) -> None:
    program(
        tmp_path, "medp2p", f'echo "$@" > {tmp_path}/asked; echo "hint: \\"x\\"" >&2; exit {code}'
    )
    program(tmp_path, "notify-send", f'printf "%s\\n" "$@" > {tmp_path}/told')
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(started_by(menu_entry()), env={"PATH": path}, check=True)
    assert (tmp_path / "asked").read_text() == "web\n"
    told = tmp_path / "told"
    assert (told.read_text() if told.exists() else "") == (
        '--app-name=medp2p\n--\nmedp2p\nhint: "x"\n' if code else ""
    )
