"""The client of the API: http.client over the control socket. Standard library only.

The command line imports this at each start, so nothing heavy may come in here.
"""

import base64
import http.client
import json
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from medp2p import errors, limits
from medp2p.control.unix import connect_unix
from medp2p.errors import ControlError, MedP2PError, NoDaemonError, UsageError

#: Errors of a daemon that ends, or is cut off, while it is being asked.
_LOST = (ConnectionError, http.client.HTTPException, EOFError)


#: The classes of errors.py by code; a package may have subclasses of its own, which stay there.
_KINDS: dict[str, type[MedP2PError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MedP2PError)
}


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket; says "localhost" to the API's guard."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        """Connect within API_ANSWER_SECONDS, then use the time-out of this connection."""
        self.sock: socket.socket = connect_unix(self._path, limits.API_ANSWER_SECONDS)
        self.sock.settimeout(self._seconds)


def to_b64(data: bytes) -> str:
    """Return bytes as the API takes them."""
    return base64.b64encode(data).decode()


def _quoted(word: str) -> str:
    """Return a word of an address; what was typed may be no text, and is then nobody's name."""
    return quote(word, safe="", errors="surrogateescape")


def error_from_json(value: dict[str, Any]) -> MedP2PError:
    """Return the error that an error object describes; of its own class where we know it."""
    code = str(value.get("code", "error"))
    text = str(value.get("text", "the daemon gave no reason"))
    hint = value.get("hint")
    error = _KINDS.get(code, ControlError)(text)
    error.hint = None if hint is None else str(hint)
    return error


class Client:
    """Asks the daemon of one home. Each request has a connection of its own.

    Args:
        socket_path: The home's run/control.sock.
        home_text: The home as messages name it.
    """

    def __init__(self, socket_path: Path, home_text: str) -> None:
        self._path = socket_path
        self._home = home_text

    def get(self, *parts: str, **query: str) -> Any:
        """Return the answer to GET /v1/part/part?query; parts and values are quoted here."""
        return self.ask("GET", parts, query=query)

    def post(self, *parts: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer to a POST with a JSON body."""
        return self.ask("POST", parts, body=body or {})

    def act(self, *parts: str, body: dict[str, Any] | None = None) -> Any:
        """As post, for acts that read a whole transfer: waits as long as the daemon lives."""
        return self.ask("POST", parts, body=body or {}, timeout=None)

    def ask(
        self,
        method: str,
        parts: tuple[str, ...],
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        timeout: float | None = limits.API_ANSWER_SECONDS,
    ) -> Any:
        """Return the JSON that the daemon answers.

        Raises:
            NoDaemonError: Nobody serves the socket, or the daemon ended meanwhile.
            ControlError: No usable answer.
            MedP2PError: What the daemon said, as its own class.
        """
        data = None if body is None else json.dumps(body).encode()
        if data is not None and len(data) > limits.MAX_API_BODY_BYTES:
            raise UsageError("that is too much for one request", hint="name a folder instead")
        target = "/v1/" + "/".join(_quoted(part) for part in parts)
        if query:
            target += "?" + urlencode(query)
        with _Exchange(self._path, self._home, timeout) as exchange:
            response = exchange.send(method, target, data)
            raw = response.read()
            return _value(response.status, raw)

    def events(self) -> Generator[dict[str, Any] | None, None, None]:
        """Yield what changes; None for each tick, at which the reader looks again.

        Does not end by itself. Close the iterator (or leave it) to hang up.

        Raises:
            NoDaemonError: Nobody serves the socket, or the daemon ended meanwhile.
            ControlError: No usable answer.
        """
        silence = 4 * limits.API_TICK_SECONDS
        with _Exchange(self._path, self._home, silence) as exchange:
            response = exchange.send("GET", "/v1/events", None)
            if response.status != 200:
                _value(response.status, response.read())
            while line := response.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: ") :])
                elif line.startswith(b":"):
                    yield None
            raise EOFError


class _Exchange:
    """One connection with its errors turned into ours."""

    def __init__(self, path: Path, home: str, timeout: float | None) -> None:
        self._home = home
        self._connection = _UnixConnection(path, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._connection.close()
        if isinstance(error, TimeoutError):
            raise ControlError(
                f"the daemon of {self._home} does not answer in time",
                hint="`medp2p doctor` looks for reasons; its log may say more",
            ) from error
        if isinstance(error, _LOST):
            raise NoDaemonError(f"the daemon of {self._home} ended before it answered") from error

    def send(self, method: str, target: str, data: bytes | None) -> http.client.HTTPResponse:
        """Send a request and return the head of its answer."""
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            self._connection.connect()
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NoDaemonError(f"no daemon answers for {self._home}") from error
        except PermissionError as error:
            raise ControlError(
                f"the daemon of {self._home} belongs to another account",
                hint="run medp2p as the account that started it",
            ) from error
        self._connection.request(method, target, data, headers)
        return self._connection.getresponse()


def _value(status: int, raw: bytes) -> Any:
    """Return the JSON of an answer, or raise the error in it."""
    try:
        value = json.loads(raw)
    except ValueError:
        text = raw[:200].decode("utf-8", "replace").strip()
        raise ControlError(f"the daemon answered {status}: {text}") from None
    if status >= 400:
        given = value.get("error") if isinstance(value, dict) else None
        raise error_from_json(given if isinstance(given, dict) else {"code": "control"})
    return value
