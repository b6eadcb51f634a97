"""The two listeners as raw bytes on real sockets: who gets in, what ends, what does not hang."""

import contextlib
import json
import logging
import os
import pwd
import re
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from starlette.routing import Route

from medp2p import limits
from medp2p.control import serve
from medp2p.control.api import build_app
from medp2p.control.client import Client
from medp2p.control.desk import Json
from medp2p.control.page.page import Page
from medp2p.control.serve import serve_control
from medp2p.errors import ConflictError, ControlError, NoDaemonError, ReleaseError
from medp2p.model import Actor
from tests.helpers.desk import FakeHome, MemoryDesk, peer_json, transfer_json
from tests.helpers.web import Tab

SECONDS = 20


@asynccontextmanager
async def served(folder: Path, desk: MemoryDesk) -> AsyncIterator[tuple[Path, int]]:
    """Serve a desk; yield its socket and the port of the page."""
    home = FakeHome(folder)
    home.socket.parent.mkdir(parents=True, exist_ok=True)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            told = await nursery.start(serve_control, desk, home)
            yield home.socket, int(told["page"].removeprefix("127.0.0.1:"))
            nursery.cancel_scope.cancel()


async def exchange(stream: trio.SocketStream, request: bytes) -> tuple[int, bytes, bytes]:
    """Send one request on a fresh stream; return status, head and body of the answer."""
    async with stream:
        await stream.send_all(request)
        data = b"".join([piece async for piece in stream])
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.lower(), body


def request(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


#: What answers on TCP without a session: the empty shell, its files, and where one begins (here
#: without a token).
OPEN = {
    **{(method, "/"): 200 for method in ("GET", "HEAD")},
    **{(method, "/static/api.js"): 200 for method in ("GET", "HEAD")},
    ("POST", "/session"): 400,
}


def every_route() -> list[tuple[str, str]]:
    """Return (method, address) of all routes, read from the router that is served."""
    found = []
    desk = MemoryDesk()
    for route in build_app(desk, Page(desk, Path("/nonexistent"))).routes:
        assert isinstance(route, Route)
        address = route.path.replace("/static/{name}", "/static/api.js")
        address = address.replace("{name}", "b").replace("{id}", "a").replace("{id:int}", "1")
        found += [(method, address) for method in sorted(route.methods or {"GET", "POST"})]
    return found


def test_the_router_has_what_is_documented() -> None:
    assert len(every_route()) > 40
    assert ("DELETE", "/v1/peers/b") in every_route()
    assert ("GET", "/v1/events") in every_route()
    assert ("GET", "/") in every_route()


@pytest.mark.parametrize(("method", "address"), every_route())
async def test_every_route_is_guarded_on_tcp(tmp_path: Path, method: str, address: str) -> None:
    desk = MemoryDesk(peers_by_name={"b": peer_json("b")})
    desk.transfers_by_id["a"] = transfer_json("a", "in", "b", "offered")
    async with served(tmp_path, desk) as (_, port):

        async def ask(*headers: str) -> int:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            status, head, _ = await exchange(stream, request(method, address, *headers))
            assert b"frame-ancestors 'none'" in head
            assert b"access-control-allow" not in head
            return status

        own = f"127.0.0.1:{port}"
        assert await ask(f"Host: evil.example:{port}") == 421
        assert await ask("Host: ") == 421
        assert await ask(f"Host: {own}", "Origin: http://evil.example") == 403
        assert await ask(f"Host: {own}", "Origin: null") == 403
        if method not in ("GET", "HEAD"):
            assert await ask(f"Host: {own}") == 403
        status = await ask(f"Host: {own}", f"Origin: http://{own}")
        assert status == OPEN.get((method, address), 401)
    assert desk.acts == []


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/%2F", 401),
        ("GET", "/%73tatic/api.js", 401),
        ("GET", "/static%2Fapi.js", 401),
        ("GET", "/static/%2e%2e/v1/status", 404),
        ("GET", "/static/..%2f..%2fv1%2fstatus", 404),
        ("GET", "/v1/peers/%2Fstatic%2Fapi.js", 401),
        ("POST", "/%73ession", 401),
        ("POST", "/v1/transfers/..%2F..%2Fsession/cancel", 401),
    ],
)
async def test_nobody_gets_past_the_session_by_encoding(
    tmp_path: Path, method: str, address: str, status: int
) -> None:
    desk = MemoryDesk()
    async with served(tmp_path, desk) as (_, port):
        own = f"127.0.0.1:{port}"
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        asked = request(method, address, f"Host: {own}", f"Origin: http://{own}")
        assert (await exchange(stream, asked))[0] == status
    assert desk.acts == []


async def test_the_page_loads_its_own_files_only(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDesk()) as (_, port):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        status, head, body = await exchange(stream, request("GET", "/", "Host: localhost"))
    assert status == 200
    assert b"text/html" in head
    assert b"hypercorn" not in head
    assert b"medp2p" in body
    loaded = re.findall(rb"(?:src|href|action|srcset)=[\"']?([^\"' >]+)", body)
    assert [name for name in loaded if not name.startswith((b"/static/", b"#"))] == []
    assert b"<style" not in body
    assert b"<script>" not in body


async def test_the_control_socket_knows_the_account(tmp_path: Path) -> None:
    desk = MemoryDesk()
    async with served(tmp_path, desk) as (path, _):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        stream = await trio.open_unix_socket(str(path))
        status, _, body = await exchange(stream, request("POST", "/v1/reload", "Host: localhost"))
    assert status == 200
    assert json.loads(body)[0]["key"] == "name"
    (what, actor), *_ = desk.acts
    assert (what, actor.via) == ("reload", "cli")
    assert actor.os_user == pwd.getpwuid(os.getuid()).pw_name
    assert not path.exists()


async def test_a_form_of_a_web_page_cannot_reach_the_unix_socket_either(tmp_path: Path) -> None:
    desk = MemoryDesk()
    async with served(tmp_path, desk) as (path, _):
        stream = await trio.open_unix_socket(str(path))
        headers = ("Host: localhost", "Origin: http://evil.example")
        status, _, _ = await exchange(stream, request("POST", "/v1/reload", *headers))
    assert status == 403
    assert desk.acts == []


@pytest.mark.parametrize(
    "junk",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 50,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/%2e%2e/%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"",
    ],
)
async def test_junk_ends_its_own_connection_only(tmp_path: Path, junk: bytes) -> None:
    desk = MemoryDesk()
    async with served(tmp_path, desk) as (path, port):
        for opened in (
            await trio.open_unix_socket(str(path)),
            await trio.open_tcp_stream("127.0.0.1", port),
        ):
            async with opened as stream:
                await stream.send_all(junk)
                await stream.send_eof()
                with trio.move_on_after(5) as hung:
                    try:
                        async for _ in stream:
                            pass
                    except trio.BrokenResourceError:
                        pass
                assert not hung.cancelled_caught
        client = Client(path, "a home")
        assert (await trio.to_thread.run_sync(client.get, "status"))["name"] == "a"
    assert desk.acts == []


@pytest.mark.parametrize(
    "bug", [ZeroDivisionError("a bug"), ExceptionGroup("", [ZeroDivisionError("a bug")])]
)
async def test_a_bug_is_logged_and_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bug: Exception
) -> None:
    desk = MemoryDesk(bug=bug)
    async with served(tmp_path, desk) as (path, _):
        client = Client(path, "a home")
        with pytest.raises(ControlError, match="the daemon made a mistake"):
            await trio.to_thread.run_sync(client.get, "status")
        assert len(await trio.to_thread.run_sync(client.get, "config")) == 2
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.getMessage().startswith("bug behind /v1/status: ZeroDivisionError at ")
    assert desk.bugs == 1
    assert str(bug) not in record.getMessage()


@pytest.mark.parametrize(
    "error", [ConflictError("not now"), ExceptionGroup("", [ConflictError("not now")])]
)
async def test_an_error_of_ours_is_no_bug(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    desk = MemoryDesk(bug=error)
    async with served(tmp_path, desk) as (path, _):
        client = Client(path, "a home")
        with pytest.raises(ConflictError, match="not now"):
            await trio.to_thread.run_sync(client.get, "status")
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []
    assert desk.bugs == 0


async def test_a_bug_amid_events_is_logged_without_what_it_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = MemoryDesk()
    async with served(tmp_path, desk) as (path, _):
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(request("GET", "/v1/events", "Host: localhost"))
            while not desk.readers:
                await stream.receive_some()
            desk.publish({"event": object()})  # JSON knows none
            async for _ in stream:
                pass
        assert (await trio.to_thread.run_sync(Client(path, "a home").get, "status"))["name"] == "a"
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.getMessage().startswith("bug in a request: TypeError at ")
    assert "serializable" not in caplog.text
    assert desk.bugs == 1


async def test_a_bug_in_a_connection_is_logged_without_what_it_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_account(uid: int) -> str:
        raise ZeroDivisionError("of a patient")

    monkeypatch.setattr(serve, "account_name", no_account)
    desk = MemoryDesk()
    async with served(tmp_path, desk) as (path, _):
        with pytest.raises(NoDaemonError):
            await trio.to_thread.run_sync(Client(path, "a home").get, "status")
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.getMessage().startswith("bug in a connection of cli: ZeroDivisionError at ")
    assert "patient" not in caplog.text
    assert desk.bugs == 1


class BusyDesk(MemoryDesk):
    """An act that ends in its own time, whatever is cancelled, as one in a thread does.

    Its nursery may hold a task that a stop cancels.
    """

    def __init__(self, bug: Exception | None, *, helped: bool) -> None:
        super().__init__()
        self.outcome, self.helped = bug, helped
        self.begun, self.done = trio.Event(), trio.Event()

    async def verify(self, actor: Actor, transfer: str) -> Json:
        async with contextlib.AsyncExitStack() as stack:
            if self.helped:
                nursery = await stack.enter_async_context(trio.open_nursery())
                nursery.start_soon(trio.sleep_forever)
            self.begun.set()
            with trio.CancelScope(shield=True):
                await self.done.wait()
            if self.outcome is not None:
                raise self.outcome
            return {"id": transfer}


STOPPED = ReleaseError("stopped before it was done")


async def stop_amid(folder: Path, desk: BusyDesk) -> bytes:
    """Stop the service while an act runs that ends after that; return what its client heard."""
    home = FakeHome(folder)
    home.socket.parent.mkdir(parents=True)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_control, desk, home)
            stream = await trio.open_unix_socket(str(home.socket))
            await stream.send_all(request("POST", "/v1/transfers/a/verify", "Host: localhost"))
            await desk.begun.wait()
            nursery.cancel_scope.cancel()
            desk.done.set()
        async with stream:
            return b"".join([piece async for piece in stream])


@pytest.mark.parametrize("helped", [False, True])
@pytest.mark.parametrize("error", [None, STOPPED, ExceptionGroup("", [STOPPED])])
async def test_a_stop_amid_an_act_is_no_bug(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception | None, helped: bool
) -> None:
    desk = BusyDesk(error, helped=helped)
    assert await stop_amid(tmp_path, desk) == b""
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert desk.bugs == 0


@pytest.mark.parametrize("helped", [False, True])
async def test_a_bug_amid_a_stop_is_still_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, helped: bool
) -> None:
    bug = ZeroDivisionError("a bug")
    desk = BusyDesk(bug, helped=helped)
    assert await stop_amid(tmp_path, desk) == b""
    assert desk.bugs == 1
    (record,) = [r for r in caplog.records if r.levelno >= logging.WARNING]
    told = record.getMessage()
    assert told.startswith("bug behind /v1/transfers/{id}/verify: ZeroDivisionError at ")
    assert str(bug) not in told


def fill(sock: socket.socket) -> None:
    """Ask for much and read nothing; tiny buffers make the answer stall at once."""
    sock.settimeout(5)
    for _ in range(50):
        sock.sendall(b"GET /v1/transfers/a?entries=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")


def big_desk() -> MemoryDesk:
    desk = MemoryDesk(entries=[{"path": "x" * 1000}] * 5000)
    desk.transfers_by_id["a"] = transfer_json("a", "in", "b", "sealed")
    return desk


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stalled:
        async with served(tmp_path, big_desk()) as (path, _):
            stalled.connect(str(path))
            await trio.to_thread.run_sync(fill, stalled)
            client = Client(path, "a home")
            await trio.to_thread.run_sync(client.get, "status")
            start = trio.current_time()
        # the service was cancelled while the answer was stuck in send_all
        assert trio.current_time() - start < limits.STOP_SECONDS / 2


async def test_an_open_page_hears_of_the_end(tmp_path: Path) -> None:
    """It hides what it shows; one that reads nothing does not hold up the end."""
    last: list[object] = []

    def read(tab: Tab, started: trio.Event) -> None:
        for event in tab.events():
            trio.from_thread.run_sync(started.set)
            last[:] = [event]

    async with trio.open_nursery() as nursery:
        async with served(tmp_path, MemoryDesk()) as (path, _):
            started = trio.Event()
            tab = await trio.to_thread.run_sync(Tab.of, Client(path, "a home"))
            nursery.start_soon(trio.to_thread.run_sync, read, tab, started)
            await started.wait()
            start = trio.current_time()
        assert trio.current_time() - start < limits.STOP_SECONDS / 2
    assert last == [{"event": "session", "session": {"ended": "stopped"}}]


async def test_a_client_that_reads_nothing_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_SEND_SECONDS", 0.2)
    async with served(tmp_path, big_desk()) as (path, _):
        with socket.socket(socket.AF_UNIX) as stalled:
            stalled.connect(str(path))
            await trio.to_thread.run_sync(fill, stalled)
            stalled.settimeout(10)

            def drain() -> int:
                size = 0
                try:
                    while piece := stalled.recv(1 << 16):
                        size += len(piece)
                except ConnectionError:
                    pass
                return size

            await trio.sleep(0.6)
            assert await trio.to_thread.run_sync(drain) < 5000 * 1000 * 50


async def test_too_many_clients_are_turned_away_and_the_place_comes_back(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDesk()) as (path, _):
        client = Client(path, "a home")
        streams = []
        for _ in range(limits.MAX_CONTROL_CLIENTS):
            streams.append(await trio.open_unix_socket(str(path)))
            await streams[-1].send_all(b"GET /v1/config HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await streams[-1].receive_some(10)
        with pytest.raises(ControlError, match="too many commands at once"):
            await trio.to_thread.run_sync(client.get, "status")
        await streams.pop().aclose()
        while True:  # the server sees the close a moment later
            try:
                answer = await trio.to_thread.run_sync(client.get, "status")
            except ControlError:
                continue
            break
        assert answer["name"] == "a"
        for stream in streams:
            await stream.aclose()


async def test_strangers_on_the_page_make_room_for_newer_ones(tmp_path: Path) -> None:
    async with served(tmp_path, MemoryDesk()) as (path, port):
        streams = []
        for _ in range(limits.MAX_PAGE_CLIENTS):
            streams.append(await trio.open_tcp_stream("127.0.0.1", port))
            await streams[-1].send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await streams[-1].receive_some(10)
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        status, _, _ = await exchange(stream, request("GET", "/", "Host: localhost"))
        assert status == 200
        async for _ in streams[0]:  # the oldest was cut off
            pass
        client = Client(path, "a home")
        assert (await trio.to_thread.run_sync(client.get, "status"))["name"] == "a"
        for stream in streams:
            await stream.aclose()


async def test_a_missing_run_folder_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"cannot serve .*control\.sock: No such file"):
        await serve_control(MemoryDesk(), FakeHome(tmp_path / "missing"))


async def test_what_the_desk_does_goes_on_when_its_client_goes(tmp_path: Path) -> None:
    desk = MemoryDesk(hold=trio.Event())
    assert desk.hold is not None
    async with served(tmp_path, desk) as (path, _):
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(request("GET", "/v1/status", "Host: localhost"))
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert desk.hold.statistics().tasks_waiting == 1
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert desk.hold.statistics().tasks_waiting == 1
        desk.hold.set()
