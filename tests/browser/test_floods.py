"""Clients that want too much: large requests, many connections, readers that do not read."""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medp2p import limits
from tests.browser.stations import Pair, ward_and_sender
from tests.browser.wire import Session, Wire, open_session, read_reply, request_bytes, wire_of
from tests.e2e.harness import SOON_SECONDS, Hospital, Workstation, wait_until

pytestmark = pytest.mark.browser

#: Far beyond what the daemon serves at once.
_MANY = 1000
#: A daemon at rest holds a fraction of it; what a flood adds must not show.
_MEMORY_BYTES = 48 * limits.MIB


@pytest.fixture(scope="module")
def pair(shared_hospital: Hospital) -> Pair:
    """A ward that takes what comes, and a sender."""
    return ward_and_sender(shared_hospital, accept="auto")


@pytest.fixture(scope="module")
def ward(pair: Pair) -> Workstation:
    return pair[0]


@pytest.fixture(scope="module")
def wire(ward: Workstation) -> Wire:
    return wire_of(ward)


@pytest.fixture(scope="module")
def session(ward: Workstation) -> Session:
    return open_session(ward)


@contextlib.contextmanager
def memory_kept(ward: Workstation) -> Iterator[None]:
    """Check that the daemon needs hardly more memory for what happens meanwhile."""
    assert ward.daemon is not None
    Path(f"/proc/{ward.daemon.pid}/clear_refs").write_text("5")
    before = ward.peak_memory()
    yield
    assert ward.peak_memory() - before < _MEMORY_BYTES


def open_sockets(ward: Workstation) -> int:
    """How many sockets the daemon holds; its other files (idle readers of the store) may grow."""
    assert ward.daemon is not None
    count = 0
    for file in Path(f"/proc/{ward.daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += os.readlink(file).startswith("socket:")
    return count


def alive(wire: Wire, session: Session) -> bool:
    return wire.ask("GET", "/v1/status", [*wire.usual, *session.headers]).status == 200


def test_a_body_is_bounded(ward: Workstation, wire: Wire, session: Session) -> None:
    headers = [*wire.usual, *session.headers]
    too_much = b"{" + b" " * limits.MAX_PAGE_BODY_BYTES + b"}"
    with memory_kept(ward):
        for path in ("/session", "/v1/scans", "/v1/transfers/x/decline", "/nowhere"):
            assert wire.ask("POST", path, headers, too_much).status == 413, path
        for lie in ("99999999999999", "-1", "1e3", "0x10", "1, 2", "18446744073709551617"):
            head = request_bytes("POST", "/session", [*headers, ("Content-Length", lie)])
            with wire.connect() as sock:
                sock.sendall(head)
                sock.shutdown(socket.SHUT_WR)
                assert read_reply(sock).status in (0, 400, 408, 413), lie
    assert alive(wire, session)


def test_an_endless_body_is_cut_off(ward: Workstation, wire: Wire, session: Session) -> None:
    head = request_bytes(
        "POST", "/v1/scans", [*wire.usual, *session.headers, ("Transfer-Encoding", "chunked")]
    )
    piece = b"10000\r\n" + bytes(65536) + b"\r\n"
    with memory_kept(ward), wire.connect() as sock:
        sock.sendall(head)
        with contextlib.suppress(OSError):
            for _ in range(1000):
                sock.sendall(piece)
            pytest.fail("64 MB were taken")
    assert alive(wire, session)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"a=b; " * 200_000 + b"\r\n\r\n",
        b"\x00" * 1_000_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\r\n" * 100_000,
    ],
    ids=["path", "header", "headers", "cookies", "zeros", "tls", "space", "version", "lines"],
)
def test_a_head_is_bounded(ward: Workstation, wire: Wire, session: Session, head: bytes) -> None:
    with memory_kept(ward), wire.connect() as sock:
        with contextlib.suppress(OSError):  # it may be cut off amid this
            sock.sendall(head)
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            assert read_reply(sock).status not in range(200, 300)
    assert alive(wire, session)


def test_many_cookies_cost_little(wire: Wire, session: Session) -> None:
    """Other ports of 127.0.0.1 may have set cookies of our name; one of them is ours."""
    name = session.cookie.partition("=")[0]
    others = "; ".join(f"{name}={'z' * 43}" for _ in range(limits.MAX_PAGE_COOKIES - 1))
    crowded = Session(f"{others}; {session.cookie}; a=b", session.secret)
    assert alive(wire, crowded)


def test_a_thousand_connections_harm_nothing(
    pair: Pair, wire: Wire, session: Session, tmp_path: Path
) -> None:
    """They say nothing, or begin and go silent; who has a session does not notice."""
    ward, sender = pair
    before = open_sockets(ward)
    report = tmp_path / "report.bin"
    report.write_bytes(bytes(3 * limits.MIB))
    beginning = request_bytes("POST", "/session", wire.usual)[:40]
    with memory_kept(ward), contextlib.ExitStack() as stack:
        reader = stack.enter_context(contextlib.closing(Reader(wire, session)))
        for number in range(_MANY):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", wire.port))
            if number % 2:
                with contextlib.suppress(OSError):
                    sock.send(beginning)
        transfer = sender.send("ward-a", report, "--no-patient-data")
        ward.wait_state("inbox", transfer, "sealed")
        wait_until(lambda: reader.states.get(transfer) == "sealed")
        wait_until(lambda: reachable(wire, session))
        assert open_sockets(ward) - before <= limits.MAX_PAGE_CLIENTS + 16
    wait_until(lambda: open_sockets(ward) <= before + 4)


def reachable(wire: Wire, session: Session) -> bool:
    """Ask as a browser does, again if it was turned away."""
    with contextlib.suppress(OSError):
        return alive(wire, session)
    return False


class Reader(threading.Thread):
    """Reads the event stream until it ends or is closed, and keeps the states that it tells."""

    def __init__(self, wire: Wire, session: Session) -> None:
        super().__init__(daemon=True)
        self._sock = wire.connect()
        self._sock.sendall(request_bytes("GET", "/v1/events", [*wire.usual, *session.headers]))
        self.states: dict[str, str] = {}
        self.start()

    def close(self) -> None:
        """Leave as a closed tab does."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self.join(SOON_SECONDS)
        self._sock.close()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._sock.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"data: "):
                    event = json.loads(line.removeprefix(b"data: "))
                    if event["event"] == "transfer":
                        self.states[event["transfer"]["id"]] = event["transfer"]["state"]


def test_a_reader_that_does_not_read_harms_nobody(
    pair: Pair, wire: Wire, session: Session, tmp_path: Path
) -> None:
    ward, sender = pair
    files = tmp_path / "many"
    files.mkdir()
    for number in range(30):
        (files / f"{number}.bin").write_bytes(bytes(2 * limits.MIB))
    with memory_kept(ward), contextlib.ExitStack() as stack:
        for _ in range(8):  # suspended tabs
            sock = stack.enter_context(wire.connect(receive_bytes=2048))
            sock.sendall(request_bytes("GET", "/v1/events", [*wire.usual, *session.headers]))
        readers = [stack.enter_context(contextlib.closing(Reader(wire, session))) for _ in range(2)]
        transfer = sender.send("ward-a", files, "--no-patient-data")
        ward.wait_state("inbox", transfer, "sealed")
        for reader in readers:
            wait_until(lambda: reader.states.get(transfer) == "sealed")  # noqa: B023 - at once
        assert alive(wire, session)


def test_the_daemon_ends_although_nobody_reads(hospital: Hospital) -> None:
    ward = hospital.make("ward-b")
    session, wire = open_session(ward), wire_of(ward)
    with contextlib.ExitStack() as stack:
        for _ in range(limits.MAX_PAGE_CLIENTS):
            sock = stack.enter_context(wire.connect(receive_bytes=2048))
            sock.sendall(request_bytes("GET", "/v1/events", [*wire.usual, *session.headers]))
        assert ward.stop() < limits.API_SEND_SECONDS
