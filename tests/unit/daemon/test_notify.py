import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from medp2p.daemon import notify


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


@pytest.fixture
def env(manager: socket.socket) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname()}


def said(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def test_life_of_a_service(manager: socket.socket, env: dict[str, str]) -> None:
    assert notify.ready("listening\non :17820", env)
    assert said(manager) == {
        "READY": "1",
        "STATUS": "listening on :17820",
        "MAINPID": str(os.getpid()),
    }
    assert notify.status("2 transfers", env)
    assert said(manager) == {"STATUS": "2 transfers"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert notify.reloading(env)
    told = said(manager)
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= before + 5_000_000
    assert notify.stopping(env)
    assert said(manager)["STOPPING"] == "1"


def test_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"medp2p-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.settimeout(5)
        assert notify.status("x", {"NOTIFY_SOCKET": "@" + name})
        assert sock.recv(100) == b"STATUS=x"


@pytest.mark.parametrize("address", ["", "relative", "/nobody/there", "@" + "x" * 200])
def test_nobody_there_is_no_error(address: str) -> None:
    assert not notify.ready("x", {"NOTIFY_SOCKET": address})
    assert not notify.ready("x", {})


def test_a_manager_that_takes_nothing_holds_nobody_up(env: dict[str, str]) -> None:
    results = [notify.status("x" * 1000, env) for _ in range(10_000)]
    assert not results[-1]


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(env: dict[str, str], seconds: float | None) -> None:
    assert notify.watchdog_seconds(env) == seconds


async def test_watchdog_is_fed_at_half_the_interval(
    autojump_clock: MockClock, manager: socket.socket, env: dict[str, str]
) -> None:
    manager.setblocking(False)
    with trio.move_on_after(100):
        await notify.run_watchdog({**env, "WATCHDOG_USEC": "60000000"})
    heard = []
    while True:
        try:
            heard.append(manager.recv(100))
        except BlockingIOError:
            break
    assert heard == [b"WATCHDOG=1"] * 4  # at 0, 30, 60 and 90 s


async def test_without_watchdog_it_returns() -> None:
    with trio.fail_after(5):
        await notify.run_watchdog({})
