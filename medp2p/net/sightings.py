"""What services on the local network say of themselves, held to bounds. All of it is unproved."""

import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

import trio

from medp2p import limits
from medp2p.net.interfaces import Adapter, IpAddress
from medp2p.net.mdns import Found

#: A fingerprint; the suffix is what a responder adds when the name is taken.
_INSTANCE: Final = re.compile(r"([a-z2-7]{26})(?:-[0-9]{1,4})?\Z")
_MAX_NUMBER: Final = 9999
#: What is listened on where nothing else is said.
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - compared only


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


class Lookups:
    """Names waiting to be looked up, paired ones first, bounded.

    Each change is looked at twice: for a second after it, old records still count beside new
    ones (RFC 6762, 10.2), and nothing tells when that second is over.
    """

    def __init__(self, is_paired: Callable[[str], bool]) -> None:
        self._is_paired = is_paired
        self._paired: OrderedDict[str, str] = OrderedDict()
        self._others: OrderedDict[str, str] = OrderedDict()
        self._again: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._added = trio.lowlevel.ParkingLot()
        self._fresh = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._paired) + len(self._others)

    def add(self, fingerprint: str, name: str) -> None:
        """Let a name be looked up now and again a little later; a flood loses the oldest."""
        self._look_at(fingerprint, name)
        self._again[name] = (fingerprint, trio.current_time() + limits.MDNS_SETTLE_SECONDS)
        self._again.move_to_end(name)
        if len(self._again) > limits.MDNS_WAITING:
            self._again.popitem(last=False)
        self._fresh.unpark()

    def _look_at(self, fingerprint: str, name: str) -> None:
        queue = self._paired if self._is_paired(fingerprint) else self._others
        queue[name] = fingerprint
        if len(queue) > limits.MDNS_WAITING:
            queue.popitem(last=False)
        self._added.unpark()

    def forget(self, name: str) -> None:
        """Drop a name that has gone."""
        for queue in (self._paired, self._others, self._again):
            queue.pop(name, None)

    async def next(self) -> tuple[str, str]:
        """Return the (fingerprint, name) to look up now, waiting for one."""
        while not len(self):
            await self._added.park()
        name, fingerprint = (self._paired or self._others).popitem(last=False)
        return fingerprint, name

    async def run_second_looks(self) -> None:
        """Queue names again when their time has come. Never ends."""
        while True:
            while not self._again:
                await self._fresh.park()
            name, (fingerprint, when) = next(iter(self._again.items()))
            if when > trio.current_time():
                await trio.sleep_until(when)
            elif self._again.pop(name, None) is not None:
                self._look_at(fingerprint, name)


def worth_telling(
    found: Iterable[Adapter], listening: Collection[str] = EVERYWHERE
) -> tuple[IpAddress, ...]:
    """Return the addresses to announce; loopback only where there is nothing else.

    Args:
        found: Our interfaces.
        listening: Addresses that are listened on; an unspecified one stands for all of its
            kind. Whoever would dial another one would be refused.
    """
    bound = [_ip(host) for host in listening]
    ours = [address for adapter in found for address in adapter.addresses]

    def answers(address: IpAddress) -> bool:
        return any(
            address == each or (each.is_unspecified and each.version == address.version)
            for each in bound
        )

    every = [each for each in ours or [ipaddress.IPv4Address("127.0.0.1")] if answers(each)]
    outside = [address for address in every if not address.is_loopback]
    return tuple(outside or every)


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
