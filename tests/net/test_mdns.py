"""What we ask, tell and let go of on the local network: the real zeroconf, but nothing leaves it.

tests/netns has the same between two network namespaces.
"""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from zeroconf import DNSIncoming, DNSOutgoing, ServiceInfo  # type: ignore[attr-defined]
from zeroconf.asyncio import AsyncServiceBrowser

from medp2p.net import mdns
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
