"""Requests to the page's listener byte by byte: a browser or a library would not send these."""

import contextlib
import json as jsonlib
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from starlette.routing import Mount, Route

from medp2p.control.api import build_app
from tests.browser.viewing import web_address
from tests.e2e.harness import SOON_SECONDS, Workstation

Headers = Sequence[tuple[str, str]]

#: What stands for a parameter of an address where nothing else is given: nothing that exists.
NOBODY = {"id": "a" * 26, "name": "nobody", "id:int": "9999"}
#: A route that takes every method is asked by all that exist.
_EVERY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key == name]

    @property
    def document(self) -> Any:
        """The body, read as JSON."""
        return jsonlib.loads(self.body)

    @property
    def code(self) -> str:
        """The code of the error that it carries."""
        return str(self.document["error"]["code"])


@dataclass(frozen=True)
class Session:
    """What a browser has once its page is open: a cookie of all tabs and the secret of one."""

    cookie: str
    secret: str

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Both, as the page sends them."""
        return [("Cookie", self.cookie), ("X-Medp2p-Session", self.secret)]


class Wire:
    """Speaks HTTP/1.1 to a port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.origin = f"http://{self.host}"

    @property
    def usual(self) -> list[tuple[str, str]]:
        """The headers that a browser sends with a change from the page itself."""
        return [("Host", self.host), ("Origin", self.origin)]

    def connect(self, *, receive_bytes: int | None = None) -> socket.socket:
        """Open a connection; with a bound for what the system takes before it is read."""
        sock = socket.socket()
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(SOON_SECONDS)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def ask(
        self,
        method: str,
        path: str,
        headers: Headers | None = None,
        body: bytes | dict[str, Any] = b"",
        *,
        whole: bool = True,
    ) -> Reply:
        """Send one request on a connection of its own and read its answer.

        Args:
            method: Any word.
            path: As it goes out, nothing is normalised.
            headers: All of them but Content-Length and Connection; None for the usual ones.
            body: Bytes, or what becomes JSON.
            whole: Read the body too; without it an event stream is left at its first byte.
        """
        with self.connect() as sock:
            sock.sendall(
                request_bytes(method, path, self.usual if headers is None else headers, body)
            )
            return read_reply(sock, method, whole=whole)


def request_bytes(
    method: str, path: str, headers: Headers, body: bytes | dict[str, Any] = b""
) -> bytes:
    """Return a request as bytes; the connection ends with its answer."""
    data = jsonlib.dumps(body).encode() if isinstance(body, dict) else body
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if data:
        lines.append(f"Content-Length: {len(data)}")
    lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def read_reply(sock: socket.socket, method: str = "GET", *, whole: bool = True) -> Reply:
    """Read an answer that ends with its connection; no answer at all has status 0."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while b"\r\n\r\n" not in data or whole:
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = tuple(
        (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
    )
    if ("transfer-encoding", "chunked") in headers and method != "HEAD":
        body = _unchunked(body)
    return Reply(int(first.split()[1]) if first else 0, headers, body)


def _unchunked(data: bytes) -> bytes:
    whole = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        count = int(size, 16) if size else 0
        whole += rest[:count]
        data = rest[count + 2 :]
    return whole


def wire_of(workstation: Workstation) -> Wire:
    """Return the way to the page's listener of a workstation."""
    told = jsonlib.loads((workstation.home / "run" / "daemon.json").read_text())
    return Wire(int(told["page"].rpartition(":")[2]))


def token_of(workstation: Workstation) -> str:
    """Return a fresh token that opens the page once."""
    return web_address(workstation).partition("#")[2]


def open_session(workstation: Workstation, *, cookie: str | None = None) -> Session:
    """Open the page as its script does; with a cookie, one more tab of that browser."""
    wire = wire_of(workstation)
    headers = [*wire.usual, *([("Cookie", cookie)] if cookie else [])]
    reply = wire.ask("POST", "/session", headers, {"token": token_of(workstation)})
    assert reply.status == 200, reply
    given = reply.all("set-cookie")
    return Session(given[0].partition(";")[0] if given else cookie or "", reply.document["secret"])


@dataclass(frozen=True)
class Address:
    """One method at one route of the application."""

    method: str
    path: str
    route: str

    @property
    def open(self) -> bool:
        """Whether it is for everybody: the shell, its files, and the beginning of a session."""
        if self.method in ("GET", "HEAD"):
            return self.path == "/" or self.path.startswith("/static/")
        return (self.method, self.path) == ("POST", "/session")

    @property
    def stream(self) -> bool:
        """Whether its answer does not end by itself."""
        return self.path == "/v1/events"


def addresses(parameters: Mapping[str, str] = NOBODY) -> list[Address]:
    """Return all that the router of the application knows, with its parameters filled in."""
    nothing = cast(Any, None)
    routes = build_app(nothing, nothing).routes
    return [
        Address(method, _filled(path, parameters), path)
        for path, methods in _walk(routes, "")
        for method in sorted(methods)
    ]


def _walk(routes: Sequence[Any], prefix: str) -> Iterator[tuple[str, Collection[str]]]:
    for route in routes:
        if isinstance(route, Mount):
            if route.routes:
                yield from _walk(route.routes, prefix + route.path)
            else:  # another application; its first file stands for it
                yield prefix + route.path + "/app.js", ("GET", "HEAD")
        else:
            assert isinstance(route, Route), route
            yield prefix + route.path, route.methods or _EVERY_METHOD


def _filled(path: str, parameters: Mapping[str, str]) -> str:
    path = path.replace("/static/{name}", "/static/app.js")
    for name, value in parameters.items():
        path = path.replace("{" + name + "}", value)
    assert "{" not in path, f"what stands for the parameter of {path}?"
    return path
