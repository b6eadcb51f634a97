"""How a session begins, what it is made of, and how it ends: by requests, and by the command."""

import re
import stat
from pathlib import Path

import pytest

from medp2p import limits
from tests.browser.viewing import web_address
from tests.browser.wire import Session, Wire, open_session, token_of, wire_of
from tests.e2e.harness import Hospital, Workstation, wait_until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def ward(shared_hospital: Hospital) -> Workstation:
    return shared_hospital.make("ward-a")


@pytest.fixture(scope="module")
def wire(ward: Workstation) -> Wire:
    return wire_of(ward)


def status(wire: Wire, session: Session) -> int:
    return wire.ask("GET", "/v1/status", [*wire.usual, *session.headers]).status


def test_the_command_prints_the_address_alone(ward: Workstation, wire: Wire) -> None:
    answer = ward.cli("web", "--no-browser", json=False).ok()
    line, rest = answer.out.split("\n", 1)
    assert re.fullmatch(rf"{wire.origin}/#[A-Za-z0-9_-]{{43}}", line)
    assert rest == ""
    document = ward.cli("web", "--no-browser").ok().document
    assert set(document) == {"address", "expires"}
    # No file is needed for an address that is printed, and none stays.
    assert not list((ward.home / "run").glob("open-*"))


def test_a_token_opens_once(ward: Workstation, wire: Wire) -> None:
    token = token_of(ward)
    first = wire.ask("POST", "/session", wire.usual, {"token": token})
    again = wire.ask("POST", "/session", wire.usual, {"token": token})
    assert (first.status, again.status) == (200, 403)
    assert not again.all("set-cookie")
    assert "secret" not in again.document


@pytest.mark.parametrize(
    "body",
    [
        {"token": "x" * 43},
        {"token": ""},
        {"token": "é" * 43},
        {"token": "\ud800"},
        {"token": "x" * 50_000},
        {"token": None},
        {"token": ["x"]},
        {"secret": "x"},
        {},
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 60_000,
        b"",
    ],
)
def test_nothing_else_opens(wire: Wire, body: object) -> None:
    reply = wire.ask("POST", "/session", wire.usual, body)  # type: ignore[arg-type]
    assert reply.status in (400, 403), reply
    assert not reply.all("set-cookie")


def test_the_cookie_is_for_this_page_only(ward: Workstation, wire: Wire) -> None:
    reply = wire.ask("POST", "/session", wire.usual, {"token": token_of(ward)})
    (given,) = reply.all("set-cookie")
    pair, *attributes = [part.strip() for part in given.split(";")]
    name, _, value = pair.partition("=")
    assert re.fullmatch(r"medp2p-[A-Za-z0-9_-]{8,}", name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value)
    # Gone with the browser; not for scripts, other sites, or another host.
    assert {attribute.lower() for attribute in attributes} == {
        "httponly",
        "samesite=strict",
        "path=/",
    }
    assert value not in reply.body.decode()
    assert reply.all("cache-control") == ["no-store"]


def test_a_second_tab_joins_its_browser(ward: Workstation, wire: Wire) -> None:
    first = open_session(ward)
    second = open_session(ward, cookie=first.cookie)
    assert second.cookie == first.cookie
    assert second.secret != first.secret
    assert [status(wire, one) for one in (first, second)] == [200, 200]
    # Whoever invents a cookie does not choose the session that it gets.
    name = first.cookie.partition("=")[0]
    invented = open_session(ward, cookie=f"{name}={'x' * 43}")
    assert invented.cookie not in (first.cookie, f"{name}={'x' * 43}")


def test_the_end_of_a_session_is_the_end_of_its_tabs(ward: Workstation, wire: Wire) -> None:
    first, other = open_session(ward), open_session(ward)
    second = open_session(ward, cookie=first.cookie)
    reply = wire.ask("DELETE", "/session", [*wire.usual, *first.headers])
    assert reply.status in (200, 204)
    assert [status(wire, one) for one in (first, second, other)] == [401, 401, 200]
    events = [row["event"] for row in ward.cli("audit").ok().document]
    assert "page-opened" in events
    assert "page-ended" in events


def test_only_so_many_browsers_and_tabs(ward: Workstation, wire: Wire) -> None:
    first = open_session(ward)
    tabs = [open_session(ward, cookie=first.cookie) for _ in range(limits.MAX_PAGE_TABS)]
    assert status(wire, first) == 401
    assert [status(wire, tab) for tab in (tabs[0], tabs[-1])] == [200, 200]
    for _ in range(limits.MAX_PAGE_SESSIONS):
        newest = open_session(ward)
    assert status(wire, tabs[-1]) == 401
    assert status(wire, newest) == 200


def test_wrong_tokens_fill_nothing(ward: Workstation, wire: Wire) -> None:
    """Anybody on the machine can try: it costs no record each, and shuts nobody out."""
    session = open_session(ward)
    before = ward.cli("audit", "verify").ok().document["count"]
    waiting = token_of(ward)
    for _ in range(100):
        assert wire.ask("POST", "/session", wire.usual, {"token": "y" * 43}).status in (403, 429)
    after = ward.cli("audit", "verify").ok().document["count"]
    assert after - before <= 2
    assert status(wire, session) == 200
    assert wire.ask("POST", "/session", wire.usual, {"token": waiting}).status == 200


def test_only_so_many_tokens_wait(ward: Workstation, wire: Wire) -> None:
    tokens = [token_of(ward) for _ in range(limits.MAX_PAGE_TOKENS + 2)]
    answers = [
        wire.ask("POST", "/session", wire.usual, {"token": token}).status
        for token in (tokens[0], tokens[-1])
    ]
    assert answers == [403, 200]


def test_sessions_and_tokens_end_with_the_daemon(hospital: Hospital) -> None:
    ward = hospital.make("ward-b")
    session, token = open_session(ward), token_of(ward)
    ward.restart()
    wire = wire_of(ward)
    assert status(wire, session) == 401
    assert wire.ask("POST", "/session", wire.usual, {"token": token}).status == 403
    assert open_session(ward).cookie.partition("=")[0] != session.cookie.partition("=")[0]


def test_a_session_of_another_workstation_is_none(hospital: Hospital, ward: Workstation) -> None:
    """A browser sends the cookies of 127.0.0.1 to every port."""
    other = hospital.make("ward-c")
    session, theirs = open_session(ward), open_session(other)
    wire = wire_of(other)
    both = f"{session.cookie}; {theirs.cookie}"
    assert status(wire, session) == 401
    assert status(wire, Session(both, session.secret)) == 401
    assert status(wire, Session(both, theirs.secret)) == 200


def test_the_file_for_the_browser(hospital: Hospital, tmp_path: Path) -> None:
    """The browser is given a private file: what it is told on its command line is public."""
    ward = hospital.make("ward-d")
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$*" > {seen}.new && mv {seen}.new {seen}\n')
    browser.chmod(0o700)
    answer = ward.cli("web", variables={"BROWSER": str(browser)}).ok()
    wait_until(seen.exists)
    told = seen.read_text()
    assert told.startswith("file://")
    path = Path(told.removeprefix("file://"))
    assert path.parent == ward.home / "run"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = re.search(r"(http://127\.0\.0\.1:\d+)/#([A-Za-z0-9_-]{43})", path.read_text())
    assert found
    token = found[2]
    assert token not in told
    assert token not in answer.out + answer.err
    wire = wire_of(ward)
    assert found[1] == wire.origin
    assert wire.ask("POST", "/session", wire.usual, {"token": token}).status == 200
    wait_until(lambda: not path.exists())
    assert token not in ward.log_text()


def test_files_are_gone_after_a_crash(hospital: Hospital, tmp_path: Path) -> None:
    ward = hospital.make("ward-e")
    ward.cli("web", variables={"BROWSER": "true"}).ok()
    assert list((ward.home / "run").glob("open-*"))
    ward.restart()
    assert not list((ward.home / "run").glob("open-*"))


def test_without_a_browser_it_says_how_to_go_on(ward: Workstation) -> None:
    answer = ward.cli("web", json=False, variables={"PATH": "/nonexistent"})
    assert answer.code == 1
    assert "--no-browser" in answer.err


def test_the_address_is_for_whoever_owns_the_home(wire: Wire, ward: Workstation) -> None:
    session = open_session(ward)
    reply = wire.ask("POST", "/v1/web", [*wire.usual, *session.headers])
    assert reply.status == 403, reply
    assert "http" not in reply.document.get("address", "")


def test_addresses_are_unguessable_and_different(ward: Workstation) -> None:
    assert len({web_address(ward) for _ in range(3)}) == 3
