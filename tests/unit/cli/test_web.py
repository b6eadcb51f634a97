"""The verb web: a browser is given a file, a terminal an address."""

import json
import re
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
