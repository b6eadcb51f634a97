"""Who is on the local network: a hint where peers may be, never proof of who or whether.

Each workstation announces one service. Its instance name is the key fingerprint, so equal host
names do not clash; the name for people, the protocol version and, while one waits for pairing,
the public number of the code are in the TXT record.

Discovery may fail in any way (no interface, a blocked port, a hostile network): it says so in its
status, tries again, and stops nothing else.
"""

import ipaddress
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from medp2p import limits
from medp2p.net.guard import bug_text
from medp2p.net.interfaces import Adapter, IpAddress, adapters, watch_addresses
from medp2p.net.mdns import Found, Mdns, MdnsError, open_mdns
from medp2p.proto.messages import PROTOCOL_HIGHEST

log = logging.getLogger(__name__)

#: A fingerprint; the suffix is what a responder adds when the name is taken.
_INSTANCE: Final = re.compile(r"([a-z2-7]{26})(?:-[0-9]{1,4})?\Z")
_MAX_NUMBER: Final = 9999


@dataclass(frozen=True, slots=True)
class Seen:
    """A workstation says it is there. All of it is unproved.

    Attributes:
        fingerprint: 26 characters, as identity.fingerprint_text.
        name: What it calls itself, at most MAX_TOLD_CHARS; escape it.
        addresses: (host, port) to dial, best first, MAX_ROUTES at most.
        number: Public number of its pairing code, while it waits for one.
        version: Highest protocol version, or None.
    """

    fingerprint: str
    name: str
    addresses: tuple[tuple[str, int], ...]
    number: int | None
    version: int | None


@dataclass(frozen=True, slots=True)
class Gone:
    """A workstation said goodbye, or was not heard of for long."""

    fingerprint: str


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
        is_paired: Callable[[str], bool] = lambda fingerprint: False,
        on_moved: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; ``run`` does the work.

        Args:
            fingerprint: Ours.
            port: TCP port that peers dial.
            name: What we call ourselves.
            is_paired: Fingerprints that are never crowded out by others.
            on_moved: Called when our addresses have changed.
        """
        self.status = "not started"
        self.working: bool | None = None
        self._fingerprint = fingerprint
        self._port = port
        self._name = name
        self._is_paired = is_paired
        self._on_moved = on_moved
        self._number: int | None = None
        self._stale = trio.Event()
        self._logged = ""
        self._seen: OrderedDict[str, dict[str, Seen]] = OrderedDict()

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
            self._failed(f"mDNS does not work: {_first(group)}")
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
        found = await trio.to_thread.run_sync(adapters)
        lookups = Lookups(self._is_paired)
        async with open_mdns(found) as mdns, trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, mdns, lookups, changes)
            for _ in range(limits.MDNS_LOOKUPS):
                nursery.start_soon(self._look_up, mdns, lookups, changes)
            await self._announce(mdns, found)

    async def _announce(self, mdns: Mdns, found: tuple[Adapter, ...]) -> None:
        while True:
            self._stale = trio.Event()
            addresses = worth_telling(found)
            properties = {"v": str(PROTOCOL_HIGHEST), "name": self._name}
            if self._number is not None:
                properties["n"] = str(self._number)
            await mdns.announce(self._fingerprint, self._port, addresses, properties)
            self.working = True
            self.status = f"announced with {len(addresses)} addresses"
            if all(address.is_loopback for address in addresses):
                self.status = "announced on this machine only: no network interface is up"
            self._logged = ""
            await self._stale.wait()
            found = await trio.to_thread.run_sync(adapters)
            await mdns.rescan(found)

    # --- the others -------------------------------------------------------------------------

    async def _follow(
        self, mdns: Mdns, lookups: "Lookups", changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        async for change in mdns.changes:
            fingerprint = parse_instance_untrusted(change.name)
            if fingerprint is None or fingerprint == self._fingerprint:
                continue
            if change.gone:
                lookups.forget(change.name)
                await self._remove(fingerprint, change.name, changes)
            else:
                lookups.add(fingerprint, change.name)

    async def _look_up(
        self, mdns: Mdns, lookups: "Lookups", changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        while True:
            fingerprint, name = await lookups.next()
            found = await mdns.look_up(name)
            seen = None if found is None else read_untrusted(fingerprint, found)
            if seen is not None and seen.addresses:
                await self._add(name, seen, changes)

    async def _add(
        self, name: str, seen: Seen, changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        services = self._seen.setdefault(seen.fingerprint, {})
        known = merge(services.values())
        services[name] = seen
        self._seen.move_to_end(seen.fingerprint)
        if (merged := merge(services.values())) != known and merged is not None:
            await changes.send(merged)
        strangers = [each for each in self._seen if not self._is_paired(each)]
        for each in strangers[: max(0, len(strangers) - limits.MAX_NEARBY)]:
            del self._seen[each]
            await changes.send(Gone(each))

    async def _remove(
        self, fingerprint: str, name: str, changes: trio.MemorySendChannel[Seen | Gone]
    ) -> None:
        services = self._seen.get(fingerprint, {})
        if services.pop(name, None) is None:
            return
        merged = merge(services.values())
        if merged is None:
            del self._seen[fingerprint]
        await changes.send(merged if merged is not None else Gone(fingerprint))


class Lookups:
    """Names waiting to be looked up, paired ones first, bounded."""

    def __init__(self, is_paired: Callable[[str], bool]) -> None:
        self._is_paired = is_paired
        self._waiting: OrderedDict[str, str] = OrderedDict()
        self._paired: OrderedDict[str, str] = OrderedDict()
        self._idle = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._paired)

    def add(self, fingerprint: str, name: str) -> None:
        """Let a name be looked up soon; a flood of them loses the oldest."""
        queue = self._paired if self._is_paired(fingerprint) else self._waiting
        queue[name] = fingerprint
        if len(queue) > limits.MDNS_WAITING:
            queue.popitem(last=False)
        self._idle.unpark()

    def forget(self, name: str) -> None:
        """Drop a name that has gone."""
        self._waiting.pop(name, None)
        self._paired.pop(name, None)

    async def next(self) -> tuple[str, str]:
        """Return the (fingerprint, name) to look up now, waiting for one."""
        while not len(self):
            await self._idle.park()
        name, fingerprint = (self._paired or self._waiting).popitem(last=False)
        return fingerprint, name


def worth_telling(found: Iterable[Adapter]) -> tuple[IpAddress, ...]:
    """Return the addresses to announce; loopback only where there is nothing else."""
    every = [address for adapter in found for address in adapter.addresses]
    outside = [address for address in every if not address.is_loopback]
    return tuple(outside or every or [ipaddress.IPv4Address("127.0.0.1")])


def parse_instance_untrusted(name: str) -> str | None:
    """Return the fingerprint in an instance name, or None if it is not one of ours."""
    match = _INSTANCE.match(name)
    return match.group(1) if match else None


def read_untrusted(fingerprint: str, found: Found) -> Seen:
    """Return what a service says of itself, held to bounds."""
    text = (found.properties.get(b"name") or b"").decode(errors="replace")
    usable = [host for host in found.addresses if _dialable(host)]
    outside = [host for host in usable if not _ip(host).is_loopback]
    hosts = sorted(outside or usable, key=_rank)[: limits.MAX_ROUTES]
    return Seen(
        fingerprint=fingerprint,
        name=text[: limits.MAX_TOLD_CHARS],
        addresses=tuple((host, found.port) for host in hosts),
        number=_number(found.properties.get(b"n"), _MAX_NUMBER),
        version=_number(found.properties.get(b"v"), 255),
    )


def merge(services: Iterable[Seen]) -> Seen | None:
    """Return what several services of one fingerprint say together; None for none."""
    every = list(services)
    if not every:
        return None
    newest = every[-1]
    addresses = dict.fromkeys(address for seen in reversed(every) for address in seen.addresses)
    return Seen(
        fingerprint=newest.fingerprint,
        name=newest.name,
        addresses=tuple(addresses)[: limits.MAX_ROUTES],
        number=newest.number,
        version=newest.version,
    )


def _ip(host: str) -> IpAddress:
    return ipaddress.ip_address(host.partition("%")[0])


def _dialable(host: str) -> bool:
    try:
        address = _ip(host)
    except ValueError:
        return False
    if address.is_unspecified or address.is_multicast:
        return False
    return "%" in host or not (address.version == 6 and address.is_link_local)


def _rank(host: str) -> tuple[bool, bool]:
    """Sort plain IPv4 first, link-local last: what people recognise."""
    return _ip(host).is_link_local, _ip(host).version == 6


def _number(value: bytes | None, highest: int) -> int | None:
    if value is None or not value.isdigit() or len(value) > 4:
        return None
    number = int(value)
    return number if 1 <= number <= highest else None


def _first(group: BaseExceptionGroup[MdnsError]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
