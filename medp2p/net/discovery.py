"""Who is on the local network: a hint where peers may be, never proof of who or whether.

Each workstation announces one service. Its instance name is the key fingerprint, so equal host
names do not clash; the name for people, the protocol version and, while one waits for pairing,
the public number of the code are in the TXT record.

Discovery may fail in any way (no interface, a blocked port, a hostile network): it says so in its
status, tries again, and stops nothing else.
"""

import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from medp2p import limits
from medp2p.groups import leaves
from medp2p.net.guard import bug_text
from medp2p.net.interfaces import Adapter, IpAddress, adapters, watch_addresses
from medp2p.net.mdns import Change, Found, MdnsError, open_mdns
from medp2p.net.sightings import (
    EVERYWHERE,
    Gone,
    Lookups,
    Seen,
    merge,
    parse_instance_untrusted,
    read_untrusted,
    worth_telling,
)
from medp2p.proto.messages import PROTOCOL_HIGHEST

__all__ = ["Discovery", "Gone", "Seen"]

log = logging.getLogger(__name__)


class Node(Protocol):
    """What Mdns offers, see there."""

    changes: trio.MemoryReceiveChannel[Change]

    async def announce(
        self, name: str, port: int, addresses: Sequence[IpAddress], properties: dict[str, str]
    ) -> None:
        """Announce our service, or what has changed of it."""

    async def rescan(self, adapters: tuple[Adapter, ...]) -> None:
        """Follow a change of our interfaces."""

    async def look_up(self, name: str) -> Found | None:
        """Ask a service where it is."""


OpenNode = Callable[[tuple[Adapter, ...]], AbstractAsyncContextManager[Node]]


class Discovery:
    """Announces this workstation and follows the others.

    Attributes:
        status: A sentence for ``doctor``.
        working: Whether multicast DNS runs now; None before the first try.
    """

    def __init__(
        self,
        *,
        fingerprint: str,
        port: int,
        name: str,
        listening: Collection[str] = EVERYWHERE,
        is_paired: Callable[[str], bool] = lambda fingerprint: False,
        on_moved: Callable[[], None] = lambda: None,
        open_node: OpenNode = open_mdns,
    ) -> None:
        """Prepare; ``run`` does the work.

        Args:
            fingerprint: Ours.
            port: TCP port that peers dial.
            name: What we call ourselves.
            listening: Addresses that the port is open on; no other one is announced.
            is_paired: Fingerprints that are never crowded out by others.
            on_moved: Called when our addresses have changed.
            open_node: What runs multicast DNS; for tests.
        """
        self.status = "not started"
        self.working: bool | None = None
        self._fingerprint = fingerprint
        self._port = port
        self._name = name
        self._listening = listening
        self._is_paired = is_paired
        self._on_moved = on_moved
        self._open_node = open_node
        self._number: int | None = None
        self._stale = trio.Event()
        self._logged = ""
        self._heard = False
        self._told: tuple[IpAddress, ...] | None = None
        self._networked = False
        self._seen: OrderedDict[str, OrderedDict[str, Seen]] = OrderedDict()

    def set_pairing_number(self, number: int | None) -> None:
        """Announce that a pairing code with this public number waits, or no longer does."""
        self._number = number
        self._stale.set()

    async def run(
        self,
        changes: trio.MemorySendChannel[Seen | Gone],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Announce and follow until cancelled, whatever goes wrong. Closes ``changes``.

        Cancellation: says goodbye, within CLEANUP_SECONDS or so.
        """
        task_status.started()
        async with changes, trio.open_nursery() as nursery:
            nursery.start_soon(watch_addresses, self._moved)
            while True:
                await self._try_once(changes)
                while self._seen:  # what went meanwhile cannot say goodbye
                    await changes.send(Gone(self._seen.popitem()[0]))
                await trio.sleep(limits.MDNS_RETRY_SECONDS)

    def _moved(self) -> None:
        self._stale.set()
        self._on_moved()

    async def _try_once(self, changes: trio.MemorySendChannel[Seen | Gone]) -> None:
        try:
            await self._run_once(changes)
        except* MdnsError as group:
            self._failed(f"mDNS does not work: {next(leaves(group))}")
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            raise
        except* Exception as group:  # noqa: BLE001 - discovery is a hint, and stops nothing
            log.error("bug in discovery: %s", bug_text(group))
            self._failed("mDNS does not work: unexpected error, see the log")

    def _failed(self, text: str) -> None:
        self.working, self.status = False, text
        if text != self._logged:
            log.warning("%s; it is tried again", text)
            self._logged = text

    async def _run_once(self, changes: trio.MemorySendChannel[Seen | Gone]) -> None:
        self._heard, self._told = False, None
        found = await trio.to_thread.run_sync(adapters)
        lookups = Lookups(self._is_paired)
        async with self._open_node(found) as mdns, trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, mdns, lookups, changes)
            nursery.start_soon(lookups.run_second_looks)
            for _ in range(limits.MDNS_LOOKUPS):
                nursery.start_soon(self._look_up, mdns, lookups, changes)
            await self._announce(mdns, found)

    async def _announce(self, mdns: Node, found: tuple[Adapter, ...]) -> None:
        for serial in itertools.count(1):
            self._stale = trio.Event()
            addresses = worth_telling(found, self._listening)
            # The serial makes each record a new one: zeroconf calls it no change when a record
            # comes back that it has held before.
            properties = {"v": str(PROTOCOL_HIGHEST), "name": self._name, "s": str(serial)}
            if self._number is not None:
                properties["n"] = str(self._number)
            await mdns.announce(self._fingerprint, self._port, addresses, properties)
            self._told, self._networked = addresses, any(not each.loopback for each in found)
            self._tell_status()
            self._logged = ""
            # Records heard within a second of each other count together (RFC 6762, 10.2): an
            # announcement that followed at once would add to this one instead of replacing it.
            await trio.sleep(limits.MDNS_PAUSE_SECONDS)
            while not self._stale.is_set():
                # Also when nothing has changed: a fresh IPv6 address cannot be used at first.
                with trio.move_on_after(limits.MDNS_RESCAN_SECONDS):
                    await self._stale.wait()
                found = await trio.to_thread.run_sync(adapters)
                await mdns.rescan(found)

    def _tell_status(self) -> None:
        """Say what works; our own announcement comes back to us where multicast does."""
        if self._told is None:
            return
        self.working = self._heard and bool(self._told)
        if not self._told:
            self.status = "not announced: no interface has the address of `listen` now"
        elif all(address.is_loopback for address in self._told):
            why = "`listen` says so" if self._networked else "no network interface is up"
            self.status = f"announced on this machine only: {why}"
        elif self._heard:
            self.status = f"announced with {len(self._told)} addresses"
        else:
            self.status = "announced, but not heard: multicast (UDP port 5353) seems blocked"

    # --- the others -------------------------------------------------------------------------

    async def _follow(
        self, mdns: Node, lookups: "Lookups", changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        async for change in mdns.changes:
            fingerprint = parse_instance_untrusted(change.name)
            if fingerprint == self._fingerprint:
                self._heard = self._heard or not change.gone
                self._tell_status()
            elif fingerprint is None:
                continue
            elif change.gone:
                lookups.forget(change.name)
                await self._remove(fingerprint, change.name, changes)
            else:
                lookups.add(fingerprint, change.name)

    async def _look_up(
        self, mdns: Node, lookups: "Lookups", changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        while True:
            fingerprint, name = await lookups.next()
            found = await mdns.look_up(name)
            if found is not None:
                await self._add(name, read_untrusted(fingerprint, found), changes)

    async def _add(
        self, name: str, seen: Seen, changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        if seen.fingerprint not in self._seen:
            self._seen[seen.fingerprint] = OrderedDict()
        services = self._seen[seen.fingerprint]
        known = merge(services.values())
        services[name] = seen
        services.move_to_end(name)
        if len(services) > limits.MAX_SERVICES_PER_PEER:
            services.popitem(last=False)
        self._seen.move_to_end(seen.fingerprint)
        merged = merge(services.values())
        if merged is not None and merged != known:
            await changes.send(merged)
        strangers = [each for each in self._seen if not self._is_paired(each)]
        for each in strangers[: max(0, len(strangers) - limits.MAX_NEARBY)]:
            if self._seen.pop(each, None) is not None:
                await changes.send(Gone(each))

    async def _remove(
        self, fingerprint: str, name: str, changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        services = self._seen.get(fingerprint)
        if services is None or services.pop(name, None) is None:
            return
        merged = merge(services.values())
        if merged is None:
            del self._seen[fingerprint]
        await changes.send(merged if merged is not None else Gone(fingerprint))
