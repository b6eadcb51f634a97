"""TCP's congestion control by the path: with what this machine has, whatever its own choice is."""

import socket
from collections.abc import Iterator

import pytest
import trio

from medp2p import limits
from medp2p.net import congestion
from medp2p.net.stream import SocketByteStream

#: Every kernel has it, and every account may use it.
RENO = b"reno"


def chosen(sock: socket.socket | trio.socket.SocketType) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.fixture
def fresh() -> Iterator[socket.socket]:
    with socket.socket() as made:
        yield made


@pytest.mark.parametrize(
    ("paced", "for_lan", "begun"),
    [(None, RENO, RENO), (b"another", RENO, None), (None, b"no-such-thing", None)],
    ids=["no-timers", "another-choice-stays", "what-is-refused-stays"],
)
def test_what_paces_by_timers_is_not_begun_with(
    fresh: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    paced: bytes | None,
    for_lan: bytes,
    begun: bytes | None,
) -> None:
    """None: what the machine has chosen itself."""
    before = chosen(fresh)
    monkeypatch.setattr(congestion, "_FOR_LONG_PATHS", paced or before)
    monkeypatch.setattr(congestion, "_FOR_LAN", for_lan)
    congestion.begin(fresh)
    assert chosen(fresh) == (begun or before)


def test_only_a_long_path_gets_what_suits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is none, until a bound of nothing makes it one."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        before = chosen(sock)
        other = RENO if before != RENO else b"cubic"
        monkeypatch.setattr(congestion, "_FOR_LONG_PATHS", other)
        sock.connect(server.getsockname())
        congestion.suit(sock)
        assert chosen(sock) == before
        monkeypatch.setattr(limits, "LONG_PATH_SECONDS", 0.0)
        congestion.suit(sock)
        assert chosen(sock) == other


async def test_sockets_of_a_daemon_are_chosen_for_before_and_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    for name in ("begin", "suit"):
        monkeypatch.setattr(congestion, name, lambda sock, name=name: seen.append(name))
    trio.socket.set_custom_socket_factory(congestion.Sockets())
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = SocketByteStream(await trio.open_tcp_stream(*server.getsockname()))
        await stream.aclose()
        trio.socket.socket(socket.AF_UNIX).close()
    assert seen == ["begin", "suit"]
