"""The page's listener with sessions: how they begin, what they open, how they end."""

import itertools
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.control import stream
from medp2p.control.client import Client
from medp2p.errors import UsageError
from tests.helpers.desk import FakeHome, MemoryDesk, Served, serve_in_thread, transfer_json
from tests.helpers.web import Tab


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve_in_thread(tmp_path, MemoryDesk()) as one:
        yield one


@pytest.fixture
def client(tmp_path: Path, served: Served) -> Client:
    return Client(FakeHome(tmp_path).socket, "a home")


@pytest.fixture
def tab(client: Client) -> Tab:
    return Tab.of(client)


def until(ask: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 20
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return answer


# --- opening ------------------------------------------------------------------------------


def test_an_address_opens_the_page_once(client: Client, served: Served) -> None:
    told = client.post("web", body={"file": False})
    page, _, token = told["address"].removeprefix("http://").partition("/#")
    assert page == served.page
    assert told["file"] is None
    tab = Tab(page)
    reply = tab.begin(token)
    assert reply.status == 200
    account = reply.json["os_user"]
    assert reply.json == {
        "secret": tab.secret,
        "session": reply.json["session"],
        "cookie_age": 0,
        "idle_seconds": 600,
        "os_user": account,
    }
    assert tab.ask("GET", "/v1/status").json["name"] == "a"
    assert tab.ask("POST", "/v1/reload").status == 200
    ((what, actor),) = served.desk.acts
    assert (what, actor.via, actor.os_user) == ("reload", "page", account)
    ((event, opener, _),) = served.desk.page_notes
    assert (event, opener) == ("page-opened", actor)
    again = Tab(page).begin(token)
    assert (again.status, again.code) == (403, "no-session")


def test_the_cookie_is_for_this_start_and_for_no_script(client: Client, tab: Tab) -> None:
    address = client.post("web", body={"file": False})["address"]
    given = Tab(tab.page).begin(address.partition("#")[2]).headers["set-cookie"]
    assert re.fullmatch(
        r"medp2p-00112233=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", given, re.IGNORECASE
    )


def test_wrong_tokens_are_noted_seldom(served: Served, client: Client) -> None:
    waiting = client.post("web", body={"file": False})["address"].partition("#")[2]
    for _ in range(50):
        assert Tab(served.page).begin("x" * 43).status == 403
    assert [note[0] for note in served.desk.page_notes] == ["page-refused"]
    assert Tab(served.page).begin(waiting).status == 200


def test_the_file_for_a_browser(client: Client, served: Served, tmp_path: Path) -> None:
    told = client.post("web")
    path = Path(told["file"])
    assert path.parent == tmp_path / "run"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert f'content="0;url={told["address"]}"' in text
    assert Tab(served.page).begin(told["address"].partition("#")[2]).status == 200
    assert not path.exists()


def test_files_go_with_their_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    paths = [Path(client.post("web")["file"]) for _ in range(limits.MAX_PAGE_TOKENS + 1)]
    assert [path.exists() for path in paths] == [False] + [True] * limits.MAX_PAGE_TOKENS
    monkeypatch.setattr(limits, "PAGE_TOKEN_SECONDS", 0.0)
    short = Path(client.post("web")["file"])
    until(lambda: not short.exists())


def test_files_of_a_killed_daemon_and_of_this_one(tmp_path: Path) -> None:
    left = tmp_path / "run" / "open-00.html"
    left.parent.mkdir()
    left.touch()
    with serve_in_thread(tmp_path, MemoryDesk()):
        assert not left.exists()
        path = Path(Client(FakeHome(tmp_path).socket, "a home").post("web")["file"])
        assert path.exists()
    assert not path.exists()


def test_each_listener_has_its_own_doors(client: Client, tab: Tab) -> None:
    reply = tab.ask("POST", "/v1/web", {})
    assert (reply.status, reply.code) == (403, "usage")
    with pytest.raises(UsageError, match="the request does not fit"):
        client.post("web", body={"file": 1})


# --- what a session opens -----------------------------------------------------------------


def test_cookie_or_secret_alone_is_nothing(client: Client, tab: Tab) -> None:
    other = Tab.of(client)
    for headers in (
        {"Cookie": None},
        {"X_Medp2p_Session": None},
        {"X_Medp2p_Session": other.secret},
        {"X_Medp2p_Session": ""},
        {"X_Medp2p_Session": tab.cookies["medp2p-00112233"]},
        {"Cookie": f"medp2p-99={tab.cookies['medp2p-00112233']}"},
        {"Cookie": "medp2p-00112233=" + "x" * 43},
    ):
        for method, path in (("GET", "/v1/status"), ("POST", "/v1/reload"), ("GET", "/v1/events")):
            reply = tab.ask(method, path, **headers)
            assert (reply.status, reply.code) == (401, "no-session"), headers
    assert tab.ask("GET", "/v1/status").status == 200


def test_planted_cookies_do_not_hide_ours(tab: Tab) -> None:
    ours = tab.usual()["Cookie"]
    planted = "; ".join(["medp2p-00112233=x"] * 20)
    assert tab.ask("GET", "/v1/status", Cookie=f"{planted}; {ours}; a=b").status == 200


def test_tabs_share_a_session(client: Client, tab: Tab) -> None:
    second = Tab.of(client, tab.cookies)
    assert len(tab.cookies) == 1
    assert second.secret != tab.secret
    assert [one.ask("GET", "/v1/status").status for one in (tab, second)] == [200, 200]
    assert tab.ask("DELETE", "/session").json == {"ended": "left"}
    assert [one.ask("GET", "/v1/status").status for one in (tab, second)] == [401, 401]


@pytest.mark.parametrize("path", ["/v1/nowhere", "/nowhere", "/favicon.ico", "/v1", "/session/x"])
def test_what_does_not_exist_is_closed_too(tab: Tab, path: str) -> None:
    assert Tab(tab.page).ask("GET", path).status == 401
    assert tab.ask("GET", path).status == 404


def test_answers_are_kept_nowhere(tab: Tab) -> None:
    for path in ("/", "/v1/status", "/v1/nowhere"):
        assert tab.ask("GET", path).headers.get_all("cache-control") == ["no-store"]
    assert Tab(tab.page).ask("GET", "/v1/status").headers.get_all("cache-control") == ["no-store"]


# --- its files ----------------------------------------------------------------------------


def test_files_are_served_by_name_and_kept_by_version(served: Served) -> None:
    tab = Tab(served.page)
    for name, kind in (
        ("app.js", "text/javascript"),
        ("base.css", "text/css"),
        ("icon.svg", "image/svg+xml"),
    ):
        reply = tab.ask("GET", f"/static/{name}")
        assert reply.status == 200
        assert reply.headers.get_content_type() == kind
        assert reply.headers["cache-control"] == "no-cache"
        tag = reply.headers["etag"]
        same = tab.ask("GET", f"/static/{name}", If_None_Match=tag)
        assert (same.status, same.body) == (304, b"")
        assert tab.ask("GET", f"/static/{name}", If_None_Match='"x"').body == reply.body


@pytest.mark.parametrize(
    "name", ["nothing.js", "../routes.py", "..%2froutes.py", "%00", "", "app.js/", "app.js%00", "."]
)
def test_nothing_else_is_served(tab: Tab, name: str) -> None:
    assert tab.ask("GET", f"/static/{name}").status == 404


# --- how it ends --------------------------------------------------------------------------


def test_the_end_of_a_session_ends_its_events(tab: Tab, served: Served) -> None:
    events = tab.events()
    assert next(events)["event"] == "status"
    tab.ask("DELETE", "/session")
    assert list(events) == [{"event": "session", "session": {"ended": "left"}}]
    until(lambda: "page-ended" in [note[0] for note in served.desk.page_notes])
    assert served.desk.page_notes[-1][2] == {"why": "left"}
    until(lambda: not served.desk.readers)


def test_nobody_there(tab: Tab, served: Served) -> None:
    events = tab.events()
    assert next(events)["event"] == "status"
    served.desk.idle_seconds = 0
    assert tab.ask("GET", "/v1/status").status == 401
    assert list(events) == [{"event": "session", "session": {"ended": "idle"}}]
    until(lambda: served.desk.page_notes[-1][2] == {"why": "idle"})


def test_nothing_is_told_after_the_end(tab: Tab, served: Served) -> None:
    """A question that was asked before, and is answered afterwards."""
    served.call(setattr, served.desk, "hold", served.call(trio.Event))
    slow = Tab(tab.page, tab.cookies, tab.secret)
    replies: list[Any] = []
    asking = threading.Thread(target=lambda: replies.append(slow.ask("GET", "/v1/status")))
    asking.start()
    hold = served.desk.hold
    assert hold is not None
    served.wait(lambda: hold.statistics().tasks_waiting)
    tab.ask("DELETE", "/session")
    served.call(hold.set)
    asking.join(20)
    (reply,) = replies
    assert (reply.status, reply.code) == (401, "no-session")


# --- events -------------------------------------------------------------------------------


def test_events_of_several_readers_are_put_into_words_once(
    tab: Tab, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []
    line = stream._line

    def note(event: Any) -> bytes:
        written.append(event)
        return line(event)

    monkeypatch.setattr(stream, "_line", note)
    served.desk.transfers_by_id["a"] = transfer_json("a", "in", "b", "receiving")
    readers = [tab.events() for _ in range(5)]
    for reader in readers:
        assert next(reader)["event"] == "status"
    written.clear()
    for done in range(3):
        served.call(served.desk.change, "a", bytes_done=done)
    for reader in readers:
        seen = [event["transfer"]["bytes_done"] for event in itertools.islice(reader, 3)]
        assert seen == [0, 1, 2]
    assert len(written) == 3
    for reader in readers:
        reader.close()  # type: ignore[attr-defined]  # a generator


def test_readers_are_bounded(tab: Tab, served: Served) -> None:
    readers = [tab.events() for _ in range(limits.MAX_PAGE_READERS)]
    for reader in readers:
        next(reader)
    assert tab.ask("GET", "/v1/events").status == 503
    assert tab.ask("GET", "/v1/status").status == 200
    readers[0].close()  # type: ignore[attr-defined]  # a generator
    until(lambda: len(served.desk.readers) < limits.MAX_PAGE_READERS)
    again = tab.events()
    assert next(again)["event"] == "status"
    for reader in (*readers[1:], again):
        reader.close()  # type: ignore[attr-defined]  # a generator


def test_known_browsers_keep_their_place(tab: Tab, served: Served) -> None:
    """Strangers that connect again and again push out strangers only."""
    events = tab.events()
    assert next(events)["event"] == "status"
    host, _, port = served.page.partition(":")
    strangers = [
        socket.create_connection((host, int(port))) for _ in range(2 * limits.MAX_PAGE_CLIENTS)
    ]
    served.call(served.desk.publish, {"event": "peer", "peer": {"name": "b"}})
    assert next(events)["event"] == "peer"
    assert tab.ask("GET", "/v1/status").status == 200
    for stranger in strangers:
        stranger.close()
    events.close()  # type: ignore[attr-defined]  # a generator
