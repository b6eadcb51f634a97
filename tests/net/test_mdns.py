"""What we ask, tell and let go of on the local network: the real zeroconf, but nothing leaves it.

tests/netns has the same between two network namespaces.
"""

import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from zeroconf import (  # type: ignore[attr-defined]  # as in net.mdns
    DNSAddress,
    DNSIncoming,
    DNSOutgoing,
    ServiceInfo,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser

from medp2p.net import mdns
from medp2p.net.beside import addresses_beside
from medp2p.net.interfaces import Adapter, adapters
from medp2p.net.mdns import TYPE, Change, Mdns, open_mdns

A, B, C = "a" * 26, "b" * 26, "c" * 26
RESPONSE = 0x8400


class Line:
    """A multicast DNS whose packets go nowhere."""

    def __init__(self, node: Mdns) -> None:
        self.node = node

    async def hear(self, name: str) -> None:
        """Let a service announce itself to it."""
        info = ServiceInfo(
            TYPE, f"{name}.{TYPE}", port=1, server=f"{name}.local.", parsed_addresses=["10.0.0.2"]
        )
        said = DNSOutgoing(RESPONSE)
        for record in (info.dns_pointer(), info.dns_service(), info.dns_text()):
            said.add_answer_at_time(record, 0)
        heard = DNSIncoming(said.packets()[0])

        async def take() -> None:
            self.node._zeroconf.record_manager.async_updates_from_response(heard)

        await mdns._on_loop(self.node._loop, take())

    async def told(self, *, gone: bool) -> set[str]:
        """Return the names of the next changes of a kind, until none comes for a moment."""
        names: set[str] = set()
        with trio.move_on_after(3):
            while True:
                change = await self.node.changes.receive()
                if change.gone is gone:
                    names.add(change.name)
                    with trio.move_on_after(0.3):
                        while True:
                            change = await self.node.changes.receive()
                            names |= {change.name} if change.gone is gone else set()
                    return names
        return names


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[DNSOutgoing]:
    """Questions who is there, as they would leave."""
    questions: list[DNSOutgoing] = []

    def keep(self: object, out: DNSOutgoing, *rest: object, **more: object) -> None:
        if any(question.name == TYPE for question in out.questions):
            questions.append(out)

    monkeypatch.setattr(mdns._PerInterface, "async_send", keep)
    return questions


@pytest.fixture
def browsers(monkeypatch: pytest.MonkeyPatch) -> list[AsyncServiceBrowser]:
    made: list[AsyncServiceBrowser] = []

    class Counted(AsyncServiceBrowser):
        def __init__(self, *args: Any, **more: Any) -> None:
            made.append(self)
            super().__init__(*args, **more)

    monkeypatch.setattr(mdns, "AsyncServiceBrowser", Counted)
    return made


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Line, tuple[Adapter, ...]]]:
    found = adapters()
    async with open_mdns(found) as node:
        yield Line(node), found


def elsewhere(found: tuple[Adapter, ...]) -> tuple[Adapter, ...]:
    """Another network than the one before."""
    address = ipaddress.ip_address("10.99.0.7")
    return (*found, Adapter("eth9", (address,), (ipaddress.ip_network("10.99.0.0/24"),)))


# --- another network ------------------------------------------------------------------------


async def test_after_a_change_of_networks_it_asks_anew(
    asked: list[DNSOutgoing], browsers: list[AsyncServiceBrowser]
) -> None:
    """Questions become rare soon, and who is there already says nothing unasked."""
    with trio.fail_after(20):
        async with opened() as (line, found):
            await line.hear(B)
            assert await line.told(gone=False) == {B}
            await line.node.rescan(found)
            assert len(browsers) == 1
            before = len(asked)
            await line.node.rescan(elsewhere(found))
            assert len(browsers) == 2
            assert browsers[0].done
            while len(asked) == before:  # noqa: ASYNC110 - no event says it
                await trio.sleep(0.02)
            # Nothing is said to be known already: who is, would not answer.
            assert asked[before].answers == []
            await line.node.rescan(elsewhere(found))
            assert len(browsers) == 2


async def test_who_does_not_answer_on_the_new_network_is_let_go(
    asked: list[DNSOutgoing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records would count for 75 minutes; who answers was there all the time."""
    monkeypatch.setattr(mdns, "SILENT_SECONDS", 1.0)
    with trio.fail_after(20):
        async with opened() as (line, found):
            await line.hear(B)
            await line.hear(C)
            assert await line.told(gone=False) == {B, C}
            await line.node.rescan(elsewhere(found))
            await line.hear(C)
            assert await line.told(gone=True) == {B}
            await line.hear(B)
            assert await line.told(gone=False) == {B}


async def test_networks_that_change_all_the_time_keep_nobody_for_ever(
    asked: list[DNSOutgoing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mdns, "SILENT_SECONDS", 1.0)
    with trio.fail_after(20):
        async with opened() as (line, found):
            await line.hear(B)
            assert await line.told(gone=False) == {B}
            gone: list[Change] = []
            with trio.move_on_after(2.5):
                while not gone:
                    await line.node.rescan(elsewhere(found))
                    await trio.sleep(0.2)
                    await line.node.rescan(found)
                    await trio.sleep(0.2)
                    while line.node.changes.statistics().current_buffer_used:
                        gone.append(await line.node.changes.receive())
            assert gone == [Change(B, gone=True)]


# --- which addresses are told to whom -------------------------------------------------------


def adapter(name: str, *networks: str) -> Adapter:
    """Return an interface; "ADDRESS/BITS" each."""
    faces = [ipaddress.ip_interface(text) for text in networks]
    return Adapter(name, tuple(face.ip for face in faces), tuple(face.network for face in faces))


LO = adapter("lo", "127.0.0.1/8", "::1/128")
ETH = adapter("eth0", "10.91.0.1/24", "fd00::1/64", "fe80::1/64")
VPN = adapter("tun0", "10.92.0.1/24", "fe80::1/64")
WIFI = adapter("wlan0", "169.254.7.7/16", "fe80::3/64")
#: Its network holds others' addresses.
BRIDGE = adapter("br0", "10.90.0.1/8")
ALL = (LO, BRIDGE, ETH, VPN, WIFI)


def packed(*adapters: Adapter) -> frozenset[bytes]:
    return frozenset(address.packed for each in adapters for address in each.addresses)


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {2: "eth0", 3: "tun0", 4: "wlan0"}

    def name_of(index: int) -> str:
        if index not in names:
            raise OSError(6, "no such interface")
        return names[index]

    monkeypatch.setattr(socket, "if_indextoname", name_of)


@pytest.mark.parametrize(
    ("host", "scope", "beside"),
    [
        ("10.91.0.1", 0, ETH),  # a sender's own address
        ("10.91.0.3", 0, ETH),  # who asked
        ("::ffff:10.91.0.3", 0, ETH),  # the same, on a socket of both kinds
        ("::ffff:10.92.0.9", 0, VPN),
        ("10.90.0.9", 0, BRIDGE),
        ("fd00::7", 0, ETH),
        ("fe80::9", 2, ETH),
        ("fe80::9", 3, VPN),
        ("fe80::1", 3, VPN),  # an address that two interfaces have
        ("fe80::3%wlan0", 4, WIFI),
        ("fe80::3", 0, WIFI),
    ],
)
def test_only_what_is_on_the_askers_wire_is_told(
    zones: None, host: str, scope: int, beside: Adapter
) -> None:
    assert addresses_beside(ALL, host, scope) == packed(beside)


@pytest.mark.parametrize(("host", "scope"), [("fe80::9", 0), ("fe80::9", 77), ("169.254.1.1", 0)])
def test_who_is_somewhere_on_the_link_hears_link_local_addresses_only(
    zones: None, host: str, scope: int
) -> None:
    told = addresses_beside(ALL, host, scope) or ()
    assert set(told) == {
        ipaddress.ip_address(text).packed for text in ("fe80::1", "fe80::3", "169.254.7.7")
    }


@pytest.mark.parametrize("host", ["8.8.8.8", "::ffff:8.8.8.8", "2001:db8::1"])
def test_who_is_on_no_wire_of_ours_hears_no_address(host: str) -> None:
    assert addresses_beside(ALL, host) == frozenset()


@pytest.mark.parametrize("host", ["127.0.0.1", "::ffff:127.0.0.1", "::1"])
def test_this_machine_hears_all(host: str) -> None:
    assert addresses_beside(ALL, host) is None
    assert addresses_beside((), host) is None


async def test_an_answer_to_one_asker_holds_addresses_of_its_wire(
    zones: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str | None, set[str]]] = []

    def keep(
        self: object, out: DNSOutgoing, addr: str | None = None, *rest: object, **more: object
    ) -> None:
        records = [record for record, _ in out.answers if isinstance(record, DNSAddress)]
        sent.append((addr, {str(ipaddress.ip_address(record.address)) for record in records}))

    monkeypatch.setattr(Zeroconf, "async_send", keep)
    async with open_mdns(adapters()) as node:
        zeroconf = node._zeroconf
        zeroconf.adapters = ALL
        info = ServiceInfo(
            TYPE,
            f"{A}.{TYPE}",
            port=1,
            server=f"{A}.local.",
            parsed_addresses=[str(a) for each in (ETH, VPN) for a in each.addresses],
        )
        answer = DNSOutgoing(RESPONSE)
        for record in info.dns_addresses():
            answer.add_answer_at_time(record, 0)
        sent.clear()
        zeroconf.async_send(answer, "::ffff:10.91.0.3", 5353, (0, 0))
        assert sent
        assert all(told == {"10.91.0.1", "fd00::1", "fe80::1"} for _, told in sent)
        sent.clear()
        zeroconf.async_send(answer, "fe80::9", 5353, (0, 3))
        assert all(told == {"10.92.0.1", "fe80::1"} for _, told in sent)


# --- its log --------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [("NOTSET", "ERROR"), ("WARNING", "ERROR")])
async def test_what_the_library_warns_of_is_not_logged(
    asked: list[DNSOutgoing], before: str, after: str
) -> None:
    """It warns, with a traceback, of each interface that does not carry anything just now."""
    foreign = logging.getLogger("zeroconf")
    level = foreign.level
    try:
        foreign.setLevel(before)
        async with open_mdns(adapters()):
            assert logging.getLevelName(foreign.level) == after
        foreign.setLevel(logging.DEBUG)  # somebody who looks for an error
        async with open_mdns(adapters()):
            assert foreign.level == logging.DEBUG
    finally:
        foreign.setLevel(level)
