"""What stands in front of every route: Host, Origin, sizes, time to arrive, safe headers.

A web page anywhere can make the browser of this workstation send requests to 127.0.0.1. Three
things keep it out: the Host of the request must be a name of this machine (DNS rebinding), an
Origin must be the request's own Host (cross-site requests), and a change needs an Origin at all.
The port is not compared with ours, because people reach the page through ssh tunnels.

Source: docs/THREATS.md, "Local surfaces".
"""

from collections.abc import Iterable
from dataclasses import dataclass

import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medp2p import limits

#: What a connection came through, as Listener puts it into the scope.
CLI = "cli"
PAGE = "page"

_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: Methods that change nothing.
READING = frozenset({"GET", "HEAD"})

#: Sent with every answer. Nothing may be framed, sniffed, cached or loaded from elsewhere.
SAFE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    text: str


def check_head_untrusted(
    via: str, method: str, headers: Iterable[tuple[bytes, bytes]]
) -> Refusal | None:
    """Judge a request by its head alone.

    Args:
        via: CLI or PAGE. A program on the Unix socket sends no Origin; a browser always does
            with a change.
        method: Upper case.
        headers: Lower-case names, as ASGI gives them.
    """
    hosts = [value for name, value in headers if name == b"host"]
    origins = [value for name, value in headers if name == b"origin"]
    if len(hosts) != 1 or _host_name(hosts[0]) not in _HOSTS:
        return Refusal(421, "this address answers to localhost and 127.0.0.1 only")
    if len(origins) > 1 or (origins and origins[0].lower() != b"http://" + hosts[0].lower()):
        return Refusal(403, "a page of another origin may not ask this")
    if via == PAGE and not origins and method not in READING:
        return Refusal(403, "a change needs the Origin of the page")
    return None


def _host_name(host: bytes) -> str:
    """Return a Host value without its port, lower case; "" when it is malformed."""
    text = host.decode("latin-1").lower()
    name, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text
    return name if port.isascii() and port.isdigit() else ""


async def read_body_untrusted(receive: Receive, limit: int) -> bytes | Refusal | None:
    """Return the body of a request.

    Args:
        receive: ASGI receive.
        limit: Bytes; a longer one is refused without reading its rest.

    Returns:
        The body, a refusal, or None when the client is gone.
    """
    body = bytearray()
    with trio.move_on_after(limits.API_BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > limit:
                return Refusal(413, f"the body of a request is at most {limit} bytes here")
            if not message.get("more_body", False):
                return bytes(body)
    return Refusal(408, "the request did not arrive in time")


class Guard:
    """ASGI middleware: refuses what must not reach a route, and reads bodies within bounds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        via = scope["state"]["via"]
        refusal = check_head_untrusted(via, scope["method"], scope["headers"])
        if refusal is None and scope["http_version"] not in ("1.0", "1.1"):
            refusal = Refusal(505, "HTTP/1.1 only")
        safe_send = _with_safe_headers(send)
        if refusal is not None:
            await _answer(refusal, safe_send)
            return
        limit = limits.MAX_API_BODY_BYTES if via == CLI else limits.MAX_PAGE_BODY_BYTES
        body = await read_body_untrusted(receive, limit)
        if isinstance(body, Refusal):
            await _answer(body, safe_send)
        elif body is not None:
            await self._app(scope, _replay(body, receive), safe_send)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give the body that was read once more, then what comes after it (the disconnect)."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        if waiting:
            await trio.lowlevel.checkpoint()
            return waiting.pop()
        return await receive()

    return replay


def _with_safe_headers(send: Send) -> Send:
    async def safe_send(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            given += [(name, value) for name, value in SAFE_HEADERS if name not in names]
            message = {**message, "headers": given}
        await send(message)

    return safe_send


async def _answer(refusal: Refusal, send: Send) -> None:
    """Answer in plain text; the connection ends, since its body may not have been read."""
    body = refusal.text.encode() + b"\n"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
