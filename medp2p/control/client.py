"""The client of the API: h11, as in its server, over the control socket.

The command line imports this at each start, so nothing heavy may come in here. The standard
library's client brings its parser of mail and its TLS along: 8 ms more, a tenth of a command.
"""

import base64
import json
import socket
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import h11

from medp2p import errors, limits
from medp2p.control.unix import connect_unix
from medp2p.errors import ControlError, MedP2PError, NoDaemonError, UsageError

#: Errors of a daemon that ends, or is cut off, while it is being asked.
_LOST = (ConnectionError, h11.RemoteProtocolError, EOFError)
_READ_BYTES = 64 * limits.KIB

#: The classes of errors.py by code; a package may have subclasses of its own, which stay there.
_KINDS: dict[str, type[MedP2PError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MedP2PError)
}


class SilentError(ControlError):
    """The daemon is there, but does not answer in time: stopped, hanging or too busy."""


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
            SilentError: No answer within the time-out.
            ControlError: No usable answer.
            MedP2PError: What the daemon said, as its own class.
        """
        data = None if body is None else _encoded(body)
        if data is not None and len(data) > limits.MAX_API_BODY_BYTES:
            raise UsageError("that is too much for one request", hint="name a folder instead")
        target = "/v1/" + "/".join(_quoted(part) for part in parts)
        if query:
            target += "?" + urlencode(query)
        with _Exchange(self._path, self._home, timeout) as exchange:
            status = exchange.send(method, target, data)
            return _value(status, exchange.body())

    def events(self) -> Generator[dict[str, Any] | None, None, None]:
        """Yield what changes; None for each tick, at which the reader looks again.

        Does not end by itself. Close the iterator (or leave it) to hang up.

        Raises:
            NoDaemonError: Nobody serves the socket, or the daemon ended meanwhile.
            ControlError: No usable answer.
        """
        silence = 4 * limits.API_TICK_SECONDS
        with _Exchange(self._path, self._home, silence) as exchange:
            status = exchange.send("GET", "/v1/events", None)
            if status != 200:
                _value(status, exchange.body())
            for line in _lines(exchange.body()):
                if line.startswith(b"data: "):
                    yield json.loads(line[len(b"data: ") :])
                elif line.startswith(b":"):
                    yield None
            raise EOFError


class _Exchange:
    """One connection for one request, with its errors turned into ours."""

    def __init__(self, path: Path, home: str, timeout: float | None) -> None:
        self._path, self._home, self._seconds = path, home, timeout
        self._http = h11.Connection(h11.CLIENT)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._open.close()
        if isinstance(error, TimeoutError):
            raise SilentError(
                f"the daemon of {self._home} does not answer in time",
                hint="`medp2p doctor` looks for reasons; its log may say more",
            ) from error
        if isinstance(error, _LOST):
            raise NoDaemonError(f"the daemon of {self._home} ended before it answered") from error

    def send(self, method: str, target: str, data: bytes | None) -> int:
        """Send a request and return the status of its answer."""
        headers = [("Host", "localhost")]  # which the API's guard wants to hear
        if data is not None:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        request = h11.Request(method=method, target=target, headers=headers)
        parts = (request, h11.Data(data or b""), h11.EndOfMessage())
        self._socket = self._open.enter_context(self._connected())
        self._socket.sendall(b"".join(self._http.send(part) or b"" for part in parts))
        while not isinstance(event := self._next(), h11.Response):
            pass  # 100 Continue and its like
        return event.status_code

    def body(self) -> Iterator[bytes]:
        """Yield pieces of the answer's body, as they come."""
        while isinstance(event := self._next(), h11.Data):
            yield event.data

    def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._socket.recv(_READ_BYTES))
        return event

    def _connected(self) -> socket.socket:
        """Connect within API_ANSWER_SECONDS; the time-out of this request holds from then on."""
        try:
            connected = connect_unix(self._path, limits.API_ANSWER_SECONDS)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            raise NoDaemonError(f"no daemon answers for {self._home}") from error
        except PermissionError as error:
            raise ControlError(
                f"the daemon of {self._home} belongs to another account",
                hint="run medp2p as the account that started it",
            ) from error
        connected.settimeout(self._seconds)
        return connected


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the whole lines of a stream, without their ends."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _encoded(body: dict[str, Any]) -> bytes:
    """Return a body as JSON; what was typed or given in another encoding is no text."""
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise UsageError(
            "a word that was typed or given is no text in UTF-8",
            hint="`locale` shows what this terminal writes; nothing was done",
        ) from None


def _value(status: int, body: Iterator[bytes]) -> Any:
    """Return the JSON of an answer, or raise the error in it."""
    raw = b"".join(body)
    try:
        value = json.loads(raw)
    except ValueError:
        text = raw[:200].decode("utf-8", "replace").strip()
        raise ControlError(f"the daemon answered {status}: {text}") from None
    if status >= 400:
        given = value.get("error") if isinstance(value, dict) else None
        raise error_from_json(given if isinstance(given, dict) else {"code": "control"})
    return value
