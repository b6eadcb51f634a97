"""Discovery between network namespaces: real zeroconf, real multicast, a veth as the cable."""

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.tools import need_network_namespaces

pytestmark = [pytest.mark.netns, pytest.mark.slow]

NODE = Path(__file__).with_name("node.py")
A, B, C = ("a" * 26, "b" * 26, "c" * 26)
Event = dict[str, object]
_numbers = itertools.count()


class Cable:
    """Two namespaces, "a" and "b", joined by eth0 on both sides."""

    def __init__(self, ip: str) -> None:
        self.ip = ip
        number = next(_numbers)
        self.names = {side: f"medp2p-{os.getpid()}-{number}-{side}" for side in "ab"}

    def run(self, *words: str) -> None:
        subprocess.run([self.ip, *words], check=True, capture_output=True)

    def on(self, side: str, *words: str) -> None:
        """Run ``ip`` inside a namespace."""
        self.run("-n", self.names[side], *words)

    def up(self) -> None:
        for side in "ab":
            self.run("netns", "add", self.names[side])
            self.on(side, "link", "set", "lo", "up")
        self.run(
            *["link", "add", "eth0", "netns", self.names["a"], "type", "veth"],
            *["peer", "name", "eth0", "netns", self.names["b"]],
        )

    def plug_in(self, side: str, address: str | None = None) -> None:
        if address is not None:
            self.on(side, "address", "add", address, "dev", "eth0")
        self.on(side, "link", "set", "eth0", "up")

    def down(self) -> None:
        for name in self.names.values():
            subprocess.run([self.ip, "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def bare_cable() -> Iterator[Cable]:
    cable = Cable(need_network_namespaces())
    try:
        cable.up()
        yield cable
    finally:
        cable.down()


@pytest.fixture
def cable(bare_cable: Cable) -> Cable:
    bare_cable.plug_in("a", "10.88.0.1/24")
    bare_cable.plug_in("b", "10.88.0.2/24")
    return bare_cable


class Node:
    """A running discovery."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.events: list[Event] = []
        self._changed = trio.Condition()

    async def read(self) -> None:
        assert self.process.stdout
        rest = b""
        async for data in self.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            self.events += [json.loads(line) for line in lines]
            async with self._changed:
                self._changed.notify_all()

    async def wait_for(self, fits: Callable[[Event], bool], seconds: float = 20) -> Event:
        """Return the first event, from now or before, that fits; and forget those before it."""
        with trio.move_on_after(seconds):
            async with self._changed:
                while True:
                    for index, event in enumerate(self.events):
                        if fits(event):
                            del self.events[: index + 1]
                            return event
                    await self._changed.wait()
        pytest.fail(f"not within {seconds} s; there was {self.events}")

    async def set_number(self, text: str) -> None:
        assert self.process.stdin
        await self.process.stdin.send_all(text.encode() + b"\n")

    async def end(self) -> None:
        """End it in an orderly way."""
        assert self.process.stdin
        await self.process.stdin.aclose()
        with trio.fail_after(10):
            assert await self.process.wait() == 0


@asynccontextmanager
async def node(cable: Cable, side: str, fingerprint: str, name: str) -> AsyncIterator[Node]:
    command = [cable.ip, "netns", "exec", cable.names[side], sys.executable, str(NODE)]
    process = await trio.lowlevel.open_process(
        [*command, fingerprint, "17820", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    running = Node(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.read)
            yield running
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.move_on_after(5, shield=True):
            await process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                await trio.aclose_forcefully(pipe)


def seen(fingerprint: str, **fields: object) -> Callable[[Event], bool]:
    def fits(event: Event) -> bool:
        return (
            event["event"] == "seen"
            and event["fingerprint"] == fingerprint
            and all(event[name] == value for name, value in fields.items())
        )

    return fits


def hosts(event: Event) -> set[str]:
    addresses = event["addresses"]
    assert isinstance(addresses, list)
    return {host for host, _ in addresses if ":" not in host}


def at(fingerprint: str, *expected: str) -> Callable[[Event], bool]:
    return lambda event: seen(fingerprint)(event) and hosts(event) == set(expected)


async def test_two_workstations_see_each_other_and_part(cable: Cable) -> None:
    async with node(cable, "a", A, "ward-a") as a:
        async with node(cable, "b", B, "Réception <b>") as b:
            event = await a.wait_for(seen(B))
            assert event["name"] == "Réception <b>"
            assert event["version"] == 1
            assert event["number"] is None
            assert hosts(event) == {"10.88.0.2"}
            assert event["addresses"][0] == ["10.88.0.2", 17820]  # type: ignore[index]
            await b.wait_for(at(A, "10.88.0.1"))
            await b.set_number("4711")
            await a.wait_for(seen(B, number=4711))
            await b.set_number("-")
            await a.wait_for(seen(B, number=None))
            await b.end()
            await a.wait_for(lambda event: event == {"event": "gone", "fingerprint": B}, 5)
        await a.end()


async def test_each_wire_hears_its_own_addresses_only(cable: Cable) -> None:
    """Not those of Docker or a VPN on the other side; two wires hear their own each."""
    cable.on("a", "link", "add", "docker0", "type", "bridge")
    cable.on("a", "address", "add", "172.17.0.1/16", "dev", "docker0")
    cable.on("a", "link", "set", "docker0", "up")
    async with node(cable, "a", A, "a") as a, node(cable, "b", B, "b") as b:
        event = await b.wait_for(seen(A))
        assert hosts(event) == {"10.88.0.1"}
        await a.wait_for(at(B, "10.88.0.2"))


async def test_changed_address_is_told(cable: Cable) -> None:
    async with node(cable, "a", A, "a") as a, node(cable, "b", B, "b") as b:
        await a.wait_for(at(B, "10.88.0.2"))
        await b.wait_for(seen(A))
        cable.on("b", "address", "delete", "10.88.0.2/24", "dev", "eth0")
        cable.on("b", "address", "add", "10.88.0.77/24", "dev", "eth0")
        await b.wait_for(lambda event: event["event"] == "moved", 15)
        await a.wait_for(at(B, "10.88.0.77"))


async def test_network_that_comes_later_is_used(bare_cable: Cable) -> None:
    """Started with loopback only, as before the network is up at boot."""
    bare_cable.plug_in("a", "10.88.0.1/24")
    async with node(bare_cable, "a", A, "a") as a, node(bare_cable, "b", B, "b") as b:
        await b.wait_for(lambda event: "no network interface is up" in str(event.get("text")))
        bare_cable.plug_in("b", "10.88.0.2/24")
        await a.wait_for(at(B, "10.88.0.2"), 15)
        await b.wait_for(at(A, "10.88.0.1"))


async def test_network_that_comes_late_shows_who_is_there(bare_cable: Cable) -> None:
    """Both have said all that they say unasked, and questions have become rare.

    The cable is in all the time, so that the other side notices nothing.
    """
    bare_cable.on("b", "link", "set", "eth0", "addrgenmode", "none")
    bare_cable.plug_in("b")
    bare_cable.plug_in("a", "10.88.0.1/24")
    async with node(bare_cable, "a", A, "a"), node(bare_cable, "b", B, "b") as b:
        await trio.sleep(15)
        bare_cable.plug_in("b", "10.88.0.2/24")
        await b.wait_for(at(A, "10.88.0.1"), 20)


async def test_who_stayed_on_another_network_is_forgotten(cable: Cable) -> None:
    async with node(cable, "a", A, "a") as a, node(cable, "b", B, "b") as b:
        await b.wait_for(at(A, "10.88.0.1"))
        a.process.send_signal(signal.SIGSTOP)  # out of reach, without a goodbye
        cable.on("b", "address", "delete", "10.88.0.2/24", "dev", "eth0")
        cable.on("b", "address", "add", "10.99.0.2/24", "dev", "eth0")
        await b.wait_for(lambda event: event == {"event": "gone", "fingerprint": A}, 40)
        a.process.send_signal(signal.SIGCONT)
        await b.wait_for(seen(A), 30)


async def test_no_interface_at_all_is_survived(bare_cable: Cable) -> None:
    bare_cable.plug_in("a", "10.88.0.1/24")
    bare_cable.on("b", "link", "set", "lo", "down")
    bare_cable.on("b", "address", "flush", "dev", "lo")
    async with node(bare_cable, "a", A, "a") as a, node(bare_cable, "b", B, "b") as b:
        event = await b.wait_for(lambda event: event.get("working") is False)
        assert "mDNS does not work" in str(event["text"])
        bare_cable.plug_in("b", "10.88.0.2/24")
        await a.wait_for(at(B, "10.88.0.2"), 15)


async def test_link_local_addresses_come_with_their_zone(bare_cable: Cable) -> None:
    """Two laptops on one cable, no DHCP."""
    for side in "ab":
        bare_cable.plug_in(side)
    async with node(bare_cable, "a", A, "a") as a, node(bare_cable, "b", B, "b"):
        event = await a.wait_for(seen(B), 30)
        addresses = event["addresses"]
        assert isinstance(addresses, list)
        assert addresses
        assert all(host.startswith("fe80::") and "%" in host for host, _ in addresses)


async def test_several_on_one_machine_and_equal_fingerprints(cable: Cable) -> None:
    """Two homes on one machine; and a cloned machine, which must not break anybody."""
    async with (
        node(cable, "a", A, "a") as a,
        node(cable, "b", B, "b"),
        node(cable, "b", C, "c"),
        node(cable, "b", A, "clone") as clone,
    ):
        await a.wait_for(at(B, "10.88.0.2"))
        a.events.clear()
        await clone.wait_for(at(C, "10.88.0.2"))
        await clone.wait_for(at(B, "10.88.0.2"))


async def test_cut_and_healed_cable(cable: Cable) -> None:
    async with node(cable, "a", A, "a") as a, node(cable, "b", B, "b") as b:
        await a.wait_for(seen(B))
        cable.on("b", "link", "set", "eth0", "down")
        await trio.sleep(3)
        cable.on("b", "link", "set", "eth0", "up")
        await b.set_number("5")
        await a.wait_for(seen(B, number=5), 30)
