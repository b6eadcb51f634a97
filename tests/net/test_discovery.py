"""Discovery keeps going, whatever multicast DNS does; tests/netns has the real thing."""

import ipaddress
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from medp2p.net import discovery as discovery_module
from medp2p.net.discovery import Discovery
from medp2p.net.interfaces import Adapter, IpAddress
from medp2p.net.mdns import Change, Found, MdnsError
from medp2p.net.sightings import EVERYWHERE, Gone, Seen

A, B, C = "a" * 26, "b" * 26, "c" * 26


class Wire:
    """A local network as the test wants it; at most one node on it runs at a time."""

    def __init__(self) -> None:
        self.opened = 0
        self.failures: list[Exception] = []
        self.services: dict[str, Found] = {}
        self.announced: list[dict[str, str]] = []
        self.told: list[tuple[str, ...]] = []
        self.broken = trio.Event()
        self._news = trio.lowlevel.ParkingLot()
        self._send, self.changes = trio.open_memory_channel[Change](100)

    @asynccontextmanager
    async def open_node(self, adapters: tuple[Adapter, ...]) -> AsyncIterator["Wire"]:
        self.opened += 1
        self._send, self.changes = trio.open_memory_channel[Change](100)
        if self.failures:
            raise self.failures.pop(0)
        for name in (A, *self.services):
            self.say(name)
        yield self

    def say(self, name: str, *, gone: bool = False) -> None:
        self._send.send_nowait(Change(name, gone))

    async def announce(
        self, name: str, port: int, addresses: Sequence[IpAddress], properties: dict[str, str]
    ) -> None:
        self.announced.append(properties)
        self.told.append(tuple(map(str, addresses)))
        self._news.unpark_all()

    async def wait_announced(self, count: int) -> None:
        while len(self.announced) < count:
            await self._news.park()

    async def rescan(self, adapters: tuple[Adapter, ...]) -> None:
        if self.broken.is_set():
            self.broken = trio.Event()
            raise MdnsError("network is down")

    async def look_up(self, name: str) -> Found | None:
        return self.services.get(name)


def found(*hosts: str) -> Found:
    return Found(17820, hosts, {b"name": b"b", b"v": b"1"})


@asynccontextmanager
async def running(
    wire: Wire, listening: Collection[str] = EVERYWHERE
) -> AsyncIterator[tuple[Discovery, trio.MemoryReceiveChannel[Seen | Gone]]]:
    """Run a discovery on virtual time that jumps only after threads had theirs."""
    discovery = Discovery(
        fingerprint=A, port=17820, name="a", listening=listening, open_node=wire.open_node
    )
    send, receive = trio.open_memory_channel[Seen | Gone](100)
    async with trio.open_nursery() as nursery:
        await nursery.start(discovery.run, send)
        yield discovery, receive
        nursery.cancel_scope.cancel()


@pytest.fixture
def wire() -> Wire:
    return Wire()


async def test_others_come_and_go(autojump_clock: trio.testing.MockClock, wire: Wire) -> None:
    wire.services[B] = found("10.0.0.2")
    async with running(wire) as (discovery, changes):
        assert await changes.receive() == Seen(B, "b", (("10.0.0.2", 17820),), None, 1)
        wire.services[C] = found("10.0.0.3")
        wire.say("somebody's printer")
        wire.say(C)
        assert await changes.receive() == Seen(C, "b", (("10.0.0.3", 17820),), None, 1)
        wire.say(B, gone=True)
        assert await changes.receive() == Gone(B)
        assert discovery.working
        assert "announced" in discovery.status


async def test_pairing_number_is_announced_and_taken_back(
    autojump_clock: trio.testing.MockClock, wire: Wire
) -> None:
    async with running(wire) as (discovery, _):
        await wire.wait_announced(1)
        discovery.set_pairing_number(4711)
        await wire.wait_announced(2)
        discovery.set_pairing_number(None)
        await wire.wait_announced(3)
    assert [told.get("n") for told in wire.announced] == [None, "4711", None]
    assert len({told["s"] for told in wire.announced}) == 3


@pytest.mark.parametrize("error", [MdnsError("no interface is up"), ZeroDivisionError("secret")])
async def test_failures_are_told_once_and_tried_again(
    autojump_clock: trio.testing.MockClock,
    wire: Wire,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    wire.failures += [error, error, error]
    wire.services[B] = found("10.0.0.2")
    async with running(wire) as (discovery, changes):
        assert discovery.status == "not started"
        assert isinstance(await changes.receive(), Seen)
        assert wire.opened == 4
        await wire.wait_announced(1)
        await trio.testing.wait_all_tasks_blocked()
        assert discovery.working
    assert len([r for r in caplog.records if "tried again" in r.message]) == 1
    assert "mDNS does not work" in caplog.text
    assert "secret" not in caplog.text


async def test_who_was_seen_before_a_failure_is_seen_anew(
    autojump_clock: trio.testing.MockClock, wire: Wire
) -> None:
    """Nobody's goodbye is heard meanwhile."""
    wire.services[B] = found("10.0.0.2")
    async with running(wire) as (_, changes):
        assert isinstance(await changes.receive(), Seen)
        wire.services.clear()
        wire.services[C] = found("10.0.0.3")
        wire.broken.set()
        assert await changes.receive() == Gone(B)
        again = await changes.receive()
        assert isinstance(again, Seen)
        assert again.fingerprint == C


@pytest.mark.parametrize(
    ("listening", "told", "working", "status"),
    [
        ("127.0.0.1", ("127.0.0.1",), True, "announced on this machine only: `listen` says so"),
        ("10.0.0.7", ("10.0.0.7",), True, "announced with 1 addresses"),
        ("10.0.0.99", (), False, "not announced: no interface has the address of `listen` now"),
    ],
)
async def test_only_where_it_listens_it_is_announced(
    autojump_clock: trio.testing.MockClock,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
    listening: str,
    told: tuple[str, ...],
    working: bool,
    status: str,
) -> None:
    lo, eth = (
        Adapter(name, tuple(map(ipaddress.ip_address, addresses)), ())
        for name, addresses in (("lo", ["127.0.0.1"]), ("eth0", ["10.0.0.1", "10.0.0.7"]))
    )
    monkeypatch.setattr(discovery_module, "adapters", lambda: (eth, lo))
    async with running(wire, [listening]) as (discovery, _):
        await wire.wait_announced(1)
        await trio.testing.wait_all_tasks_blocked()
        assert wire.told == [told]
        assert (discovery.working, discovery.status) == (working, status)
