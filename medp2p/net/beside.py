"""Which of our addresses are told towards whom: those of the interface that reaches him."""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from medp2p.net.interfaces import Adapter, IpAddress


def addresses_beside(
    adapters: Sequence[Adapter], host: str, scope: int = 0
) -> frozenset[bytes] | None:
    """Return what may be told towards a host: the addresses of the interface that reaches it.

    Args:
        adapters: Of this machine.
        host: Ours, that a packet leaves from, or of the one who asked; IPv4 may be mapped.
        scope: Index of the interface of a link-local address; 0 for none.

    Returns:
        Packed. None: all of them, for this machine itself. Only link-local ones where nothing
        says on which link the host is; none where it is on no network of ours.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:
        return None
    outside = [adapter for adapter in adapters if not adapter.loopback]
    if address.is_link_local:
        return _addresses_on_link(outside, address, scope)
    for adapter in outside:
        if address in adapter.addresses:
            return _packed(adapter.addresses)
    narrow = [
        (network.prefixlen, index)  # the narrowest counts, as in a routing table
        for index, adapter in enumerate(outside)
        for network in adapter.networks
        if address in network
    ]
    return _packed(outside[max(narrow)[1]].addresses) if narrow else frozenset()


def _addresses_on_link(
    adapters: Sequence[Adapter], address: IpAddress, scope: int
) -> frozenset[bytes]:
    """Return the same towards a link-local address, which any interface may have."""
    name = ""
    with suppress(OSError):
        name = socket.if_indextoname(scope) if scope else ""
    named = [adapter for adapter in adapters if adapter.name == name]
    for adapter in named or (adapter for adapter in adapters if address in adapter.addresses):
        return _packed(adapter.addresses)
    every = [each for adapter in adapters for each in adapter.addresses]
    return _packed(each for each in every if each.is_link_local)


def _packed(addresses: Iterable[IpAddress]) -> frozenset[bytes]:
    return frozenset(address.packed for address in addresses)
