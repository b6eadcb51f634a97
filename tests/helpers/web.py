"""A browser as far as the page's listener sees one: a cookie, a secret for its tab, an Origin."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from medp2p.control.client import Client


@dataclass
class Reply:
    """One answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Tab:
    """One tab.

    Attributes:
        page: "127.0.0.1:PORT".
        cookies: Of its browser, by name; tabs of one browser share the dict.
        secret: None before it is open.
    """

    page: str
    cookies: dict[str, str] = field(default_factory=dict)
    secret: str | None = None

    @classmethod
    def of(cls, client: Client, cookies: dict[str, str] | None = None) -> Self:
        """Open a tab as `medp2p web` does."""
        address = str(client.post("web", body={"file": False})["address"])
        page, _, token = address.removeprefix("http://").partition("/#")
        tab = cls(page, {} if cookies is None else cookies)
        assert tab.begin(token).status == 200
        return tab

    def begin(self, token: str) -> Reply:
        """Trade a token for a session."""
        reply = self.ask("POST", "/session", {"token": token})
        if reply.status == 200:
            self.secret = reply.json["secret"]
        if given := reply.headers["set-cookie"]:
            name, _, value = given.partition(";")[0].partition("=")
            self.cookies[name] = value
        return reply

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> Reply:
        """Send a request; a header that is None is left out, its "_" are "-"."""
        with _Connection(self, method, path, body, headers) as response:
            return Reply(response.status, response.headers, response.read())

    def events(self, **headers: str | None) -> Iterator[dict[str, Any]]:
        """Yield events until the stream ends."""
        with _Connection(self, "GET", "/v1/events", None, headers) as response:
            assert response.status == 200, response.read()
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def usual(self) -> dict[str, str | None]:
        """Return the headers that the page sends."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {
            "Origin": f"http://{self.page}",
            "Cookie": cookies or None,
            "X-Medp2p-Session": self.secret,
        }


class _Connection:
    def __init__(
        self, tab: Tab, method: str, path: str, body: Any, headers: dict[str, str | None]
    ) -> None:
        self._connection = http.client.HTTPConnection(tab.page, timeout=20)
        given = tab.usual() | {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body)
        sent = {name: value for name, value in given.items() if value is not None}
        self._request = (method, path, data, sent)

    def __enter__(self) -> http.client.HTTPResponse:
        self._connection.request(*self._request)
        return self._connection.getresponse()

    def __exit__(self, *_: object) -> None:
        self._connection.close()
