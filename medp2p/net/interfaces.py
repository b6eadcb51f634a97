"""This machine's network interfaces and addresses, and when they change.

The only importer of ``ifaddr``.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

import ifaddr
import trio

from medp2p import limits

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Adapter:
    """A network interface with at least one address.

    Attributes:
        name: As the system calls it, such as "eth0".
        addresses: Of both families, without zones.
        networks: What is on the same wire, one per address.
    """

    name: str
    addresses: tuple[IpAddress, ...]
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]

    @property
    def loopback(self) -> bool:
        """Whether it leads to this machine only."""
        return all(address.is_loopback for address in self.addresses)


def adapters() -> tuple[Adapter, ...]:
    """Return the interfaces that have addresses, sorted by name. Blocking, about 1 ms."""
    found: dict[str, list[tuple[IpAddress, int]]] = {}
    for adapter in ifaddr.get_adapters():
        name = adapter.name.partition(":")[0]  # "eth0:1" is a second address of eth0
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            found.setdefault(name, []).append((address, ip.network_prefix))
    return tuple(
        Adapter(
            name,
            tuple(address for address, _ in sorted(pairs, key=lambda pair: str(pair[0]))),
            tuple(
                ipaddress.ip_network((str(address), prefix), strict=False)
                for address, prefix in sorted(pairs, key=lambda pair: str(pair[0]))
            ),
        )
        for name, pairs in sorted(found.items())
    )


def local_addresses() -> frozenset[str]:
    """Return "ADDRESS%INTERFACE" of all but loopback, to compare with an earlier look."""
    return frozenset(
        f"{address}%{adapter.name}"
        for adapter in adapters()
        for address in adapter.addresses
        if not address.is_loopback
    )


async def watch_addresses(
    changed: Callable[[], None], look: Callable[[], frozenset[str]] = local_addresses
) -> None:
    """Call ``changed`` after the addresses of this machine have changed and settled. Never ends.

    Args:
        changed: Must not raise.
        look: For tests.
    """
    known = await trio.to_thread.run_sync(look)
    while True:
        await trio.sleep(limits.ADDRESS_POLL_SECONDS)
        now = await trio.to_thread.run_sync(look)
        if now == known:
            continue
        while True:
            await trio.sleep(limits.ADDRESS_SETTLE_SECONDS)
            before, now = now, await trio.to_thread.run_sync(look)
            if now == before:
                break
        if now != known:
            known = now
            changed()
