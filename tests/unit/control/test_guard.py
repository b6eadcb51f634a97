"""What gets past the guard, and what it adds to answers."""

from typing import Any

import pytest
import trio
from starlette.types import Message
from trio.testing import MockClock

from medp2p import limits
from medp2p.control.guard import (
    CLI,
    PAGE,
    SAFE_HEADERS,
    Guard,
    Refusal,
    check_head_untrusted,
    read_body_untrusted,
)

HOST = (b"host", b"127.0.0.1:4711")


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"LOCALHOST:80", b"127.0.0.1", b"127.0.0.1:1", b"[::1]", b"[::1]:8080"],
)
def test_names_of_this_machine_pass(host: bytes) -> None:
    for via in (CLI, PAGE):
        assert check_head_untrusted(via, "GET", [(b"host", host)]) is None


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"evil.example",
        b"evil.example:80",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example",
        b"evil.example@localhost",
        b"localhost:evil",
        b"localhost:",
        b"localhost:80:80",
        b"localhost:\xb2",
        b"127.0.0.2",
        b"0.0.0.0",
        b"::1",
        b"localhost, evil.example",
    ],
)
def test_other_names_are_refused(host: bytes) -> None:
    for via in (CLI, PAGE):
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            refusal = check_head_untrusted(via, method, [(b"host", host)])
            assert refusal is not None
            assert refusal.status == 421


def test_exactly_one_host_and_at_most_one_origin() -> None:
    origin = (b"origin", b"http://127.0.0.1:4711")
    assert check_head_untrusted(PAGE, "GET", []) is not None
    assert check_head_untrusted(PAGE, "GET", [HOST, HOST]) is not None
    assert check_head_untrusted(PAGE, "POST", [HOST, origin]) is None
    assert check_head_untrusted(PAGE, "POST", [HOST, origin, origin]) is not None


@pytest.mark.parametrize(
    "origin",
    [
        b"null",
        b"",
        b"http://evil.example",
        b"https://127.0.0.1:4711",
        b"http://127.0.0.1",
        b"http://127.0.0.1:4712",
        b"http://localhost:4711",
        b"http://127.0.0.1:4711/",
        b"http://127.0.0.1:4711.evil.example",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS"])
def test_foreign_origins_are_refused_for_every_method(origin: bytes, method: str) -> None:
    for via in (CLI, PAGE):
        refusal = check_head_untrusted(via, method, [HOST, (b"origin", origin)])
        assert refusal == Refusal(403, "a page of another origin may not ask this")


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE", "PUT", "OPTIONS"])
def test_a_change_without_origin_is_for_the_command_line_only(method: str) -> None:
    assert check_head_untrusted(CLI, method, [HOST]) is None
    refusal = check_head_untrusted(PAGE, method, [HOST])
    assert refusal is not None
    assert refusal.status == 403


def test_an_ssh_tunnel_may_have_another_port() -> None:
    headers = [(b"host", b"localhost:9000"), (b"origin", b"http://localhost:9000")]
    assert check_head_untrusted(PAGE, "POST", headers) is None


class Client:
    """Feeds messages to an ASGI application and keeps what it sends."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if not self.messages:
            await trio.sleep_forever()
        return self.messages.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def body(data: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_a_body_is_read_whole_in_pieces() -> None:
    client = Client(body(b"a", more=True), body(b"", more=True), body(b"bc"))
    assert await read_body_untrusted(client.receive, 3) == b"abc"


@pytest.mark.parametrize(("size", "fits"), [(0, True), (9, True), (10, True), (11, False)])
async def test_a_body_ends_at_its_limit(size: int, fits: bool) -> None:
    whole = Client(body(b"x" * size))
    drops = Client(*(body(b"x", more=True) for _ in range(size)), body(b""))
    for client in (whole, drops):
        result = await read_body_untrusted(client.receive, 10)
        assert (result == b"x" * size) is fits
        if not fits:
            assert isinstance(result, Refusal)
            assert result.status == 413


async def test_a_body_without_end_is_refused_early() -> None:
    client = Client(*(body(b"x", more=True) for _ in range(100)))
    await read_body_untrusted(client.receive, 10)
    assert len(client.messages) == 100 - 11


async def test_a_body_that_does_not_come(autojump_clock: MockClock) -> None:
    client = Client(body(b"x", more=True))
    start = trio.current_time()
    result = await read_body_untrusted(client.receive, 10)
    assert result == Refusal(408, "the request did not arrive in time")
    assert trio.current_time() - start == pytest.approx(limits.API_BODY_SECONDS)


async def test_a_client_that_goes_before_its_body() -> None:
    client = Client(body(b"x", more=True), {"type": "http.disconnect"})
    assert await read_body_untrusted(client.receive, 10) is None


def scope(via: str = CLI, **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "headers": [HOST],
        "state": {"via": via},
        **more,
    }


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body; its own header must win over the guard's."""
    data = (await receive())["body"]
    headers = [(b"referrer-policy", b"origin")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})


async def test_the_application_gets_the_body_and_its_answer_gets_safe_headers() -> None:
    client = Client(body(b"abc"))
    await Guard(echo)(scope(), client.receive, client.send)
    assert client.sent[1]["body"] == b"abc"
    headers = client.sent[0]["headers"]
    assert headers.count((b"referrer-policy", b"origin")) == 1
    assert (b"referrer-policy", b"no-referrer") not in headers
    assert {name for name, _ in headers} == {name for name, _ in SAFE_HEADERS}


async def test_the_application_hears_of_the_disconnect_after_the_body() -> None:
    heard = []

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        heard.extend([await receive(), await receive()])

    client = Client(body(b""), {"type": "http.disconnect"})
    await Guard(listen)(scope(), client.receive, client.send)
    assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"headers": []}, 421),
        ({"http_version": "2"}, 505),
        ({"method": "POST", "state": {"via": PAGE}}, 403),
    ],
)
async def test_what_is_refused_does_not_reach_the_application(
    changes: dict[str, Any], status: int
) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise AssertionError("reached")

    client = Client(body(b""))
    await Guard(never)(scope(**changes), client.receive, client.send)
    assert client.status == status
    names = {name for name, _ in client.sent[0]["headers"]}
    assert names >= {name for name, _ in SAFE_HEADERS}
    assert (b"connection", b"close") in client.sent[0]["headers"]


async def test_the_page_gets_smaller_bodies_than_the_command_line() -> None:
    data = b"x" * (limits.MAX_PAGE_BODY_BYTES + 1)
    for via, status in ((CLI, 200), (PAGE, 413)):
        client = Client(body(data))
        await Guard(echo)(scope(via), client.receive, client.send)
        assert client.status == status


async def test_web_sockets_are_refused() -> None:
    client = Client()
    await Guard(echo)({"type": "websocket"}, client.receive, client.send)
    assert client.sent == [{"type": "websocket.close", "code": 1008}]
