"""Binding the port: both families, taken ports, foreign addresses."""

import errno
import os
import re
import socket
from pathlib import Path

import pytest
import trio

from medp2p.errors import ListenError
from medp2p.net import ports
from medp2p.net.ports import open_listeners


async def close(listeners: list[trio.SocketListener]) -> None:
    for listener in listeners:
        await listener.aclose()


async def test_all_addresses_means_both_families_on_one_port() -> None:
    listeners = await open_listeners(None, 0)
    families = {listener.socket.family for listener in listeners}
    numbers = {listener.socket.getsockname()[1] for listener in listeners}
    assert families == {socket.AF_INET, socket.AF_INET6}
    assert len(numbers) == 1
    await close(listeners)


async def test_one_address_only() -> None:
    for host in ("127.0.0.1", "::1"):
        (listener,) = await open_listeners(host, 0)
        assert listener.socket.getsockname()[0] == host
        await close([listener])


@pytest.mark.parametrize("taken_on", ["127.0.0.1", "::1"])
async def test_taken_port_names_the_program(taken_on: str) -> None:
    """And a port that one family has is not half used."""
    family = socket.AF_INET6 if ":" in taken_on else socket.AF_INET
    with socket.create_server((taken_on, 0), family=family) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"port {port} is taken by pid {os.getpid()}") as why:
            await open_listeners(None, port)
        assert why.value.hint
        assert "--listen" in why.value.hint
        free = "::1" if family == socket.AF_INET else "127.0.0.1"
        await close(await open_listeners(free, port))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "no-such-host.invalid"])
async def test_foreign_addresses_are_refused(host: str) -> None:
    with pytest.raises(ListenError, match=re.escape(host)):
        await open_listeners(host, 0)


async def test_without_ipv6_ipv4_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ipv6.disable=1, where such a socket cannot even be made."""

    class NoIpv6(socket.socket):
        def __init__(self, family: int = -1, *rest: int, **more: int | None) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "no IPv6")
            super().__init__(family, *rest, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", NoIpv6)
        listeners = await open_listeners(None, 0)
    assert [listener.socket.family for listener in listeners] == [socket.AF_INET]
    await close(listeners)


async def test_holder_is_left_out_where_it_cannot_be_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ports, "_PROC", tmp_path)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenError, match="is taken by another program"),
    ):
        await open_listeners("127.0.0.1", taken.getsockname()[1])
