"""Multicast DNS under trio: announce one service, follow those of others.

The only importer of ``zeroconf``; whatever it raises comes out as MdnsError. It runs an asyncio
loop in a thread of its own. Its callbacks hand over with ``run_sync_soon``, which never blocks
that thread; trio awaits its coroutines with ``_on_loop``.

Facts it rests on (measured with zeroconf 0.154): questions must be QM, since the answer to a QU
question reaches only one of the programs that share port 5353; interfaces are looked at only when
it is told to; the scope of a link-local address is that of ``parsed_scoped_addresses``.

Source: RFC 6762, RFC 6763.
"""

import asyncio
import errno
import ipaddress
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import trio
from zeroconf import (  # type: ignore[attr-defined]  # three names are left out of its __all__
    DNSAddress,
    DNSOutgoing,
    DNSQuestionType,
    DNSRecord,
    Error,
    InterfaceChoice,
    IPVersion,
    ServiceInfo,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser

from medp2p import limits
from medp2p.net.interfaces import Adapter, IpAddress

T = TypeVar("T")
log = logging.getLogger(__name__)

TYPE: Final = "_medp2p._tcp.local."
_FOREIGN: Final = (OSError, RuntimeError, Error, ValueError, asyncio.TimeoutError)


class MdnsError(Exception):
    """Multicast DNS does not work just now; the text says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a service of others, or to ours.

    Attributes:
        name: Instance name, without the type.
        gone: It said goodbye, or its records have run out.
    """

    name: str
    gone: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a service says of itself; anyone may say anything.

    Attributes:
        port: TCP port.
        addresses: Link-local ones with their zone.
        properties: The TXT record.
    """

    port: int
    addresses: tuple[str, ...]
    properties: dict[bytes, bytes | None]


class _PerInterface(Zeroconf):
    """Tells each interface only the addresses that belong to it.

    What Docker or a VPN has is of no use on the hospital's wire, and misleads where the same
    private range exists twice.
    """

    adapters: tuple[Adapter, ...] = ()

    def async_send(
        self,
        out: DNSOutgoing,
        addr: str | None = None,
        port: int = 5353,
        v6_flow_scope: tuple[()] | tuple[int, int] = (),
        transport: Any = None,
    ) -> None:
        """Send as the base class does, once per interface where addresses are in it."""
        records = [record for record, _ in out.answers]
        records += [*out.authorities, *out.additionals]
        if not any(isinstance(record, DNSAddress) for record in records):
            super().async_send(out, addr, port, v6_flow_scope, transport)
            return
        for sender in [transport] if transport else list(self.engine.senders):
            own = _addresses_beside(self.adapters, addr or str(sender.sock_name[0]))
            super().async_send(_without(out, own), addr, port, v6_flow_scope, sender)


def _addresses_beside(adapters: Iterable[Adapter], host: str) -> frozenset[bytes] | None:
    """Return the addresses of the interface that has, or reaches, a host; None: all of them."""
    address = ipaddress.ip_address(host.partition("%")[0])
    for adapter in adapters:
        if adapter.loopback:
            continue
        own = address in adapter.addresses
        if own or (not address.is_link_local and any(address in n for n in adapter.networks)):
            return frozenset(each.packed for each in adapter.addresses)
    return None


def _without(out: DNSOutgoing, own: frozenset[bytes] | None) -> DNSOutgoing:
    """Return a packet without the address records that are not in ``own``."""
    if own is None:
        return out

    def fits(record: DNSRecord) -> bool:
        return not isinstance(record, DNSAddress) or record.address in own

    rest = DNSOutgoing(out.flags, out.multicast, out.id)
    rest.questions = out.questions
    rest.answers = [pair for pair in out.answers if fits(pair[0])]
    rest.authorities = [record for record in out.authorities if fits(record)]
    rest.additionals = [record for record in out.additionals if fits(record)]
    return rest


class Mdns:
    """Multicast DNS while it works; made by open_mdns.

    Attributes:
        changes: What happens to services; a flood loses the newest.
        name: Our instance name, once announced; a taken one gets a suffix.
    """

    def __init__(self, zeroconf: _PerInterface, changes: trio.MemoryReceiveChannel[Change]) -> None:
        if zeroconf.loop is None:
            raise MdnsError("multicast DNS did not start")
        self._zeroconf = zeroconf
        self._loop = zeroconf.loop
        self._info: ServiceInfo | None = None
        self.changes = changes
        self.name = ""

    async def announce(
        self, name: str, port: int, addresses: Sequence[IpAddress], properties: dict[str, str]
    ) -> None:
        """Announce our service, or what has changed of it.

        The first time takes about 0.7 s, in which others may object to the name.

        Raises:
            MdnsError: It did not work.
        """
        first = self._info is None
        info = ServiceInfo(
            TYPE,
            f"{self.name or name}.{TYPE}",
            port=port,
            properties=properties,
            server=f"{name}.local.",
            parsed_addresses=[str(address) for address in addresses],
        )
        if first:
            work = self._zeroconf.async_register_service(info, allow_name_change=True)
        else:
            work = self._zeroconf.async_update_service(info)
        await _on_loop(self._loop, work)
        self._info = info
        self.name = info.name.removesuffix(f".{TYPE}")

    async def rescan(self, adapters: tuple[Adapter, ...]) -> None:
        """Follow a change of our interfaces.

        Raises:
            MdnsError: It did not work.
        """
        self._zeroconf.adapters = adapters
        await _on_loop(self._loop, self._zeroconf.async_update_interfaces())

    async def look_up(self, name: str) -> Found | None:
        """Ask a service where it is; None if it does not answer in MDNS_LOOKUP_SECONDS.

        Raises:
            MdnsError: It did not work.
        """
        info = await _on_loop(
            self._loop,
            self._zeroconf.async_get_service_info(
                TYPE,
                f"{name}.{TYPE}",
                int(limits.MDNS_LOOKUP_SECONDS * 1000),
                DNSQuestionType.QM,
            ),
        )
        if info is None or not info.port:
            return None
        return Found(info.port, tuple(info.parsed_scoped_addresses()), dict(info.properties))


async def _on_loop(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Await, in trio, a coroutine that runs on the asyncio loop of zeroconf's thread."""
    token = trio.lowlevel.current_trio_token()
    done = trio.Event()

    def finished(_: object) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    try:
        future = asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError as error:  # the loop has ended
        work.close()
        raise MdnsError(str(error)) from error
    future.add_done_callback(finished)
    try:
        await done.wait()
    except trio.Cancelled:
        future.cancel()
        raise
    try:
        return future.result()
    except _FOREIGN as error:
        raise MdnsError(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def open_mdns(adapters: tuple[Adapter, ...]) -> AsyncIterator[Mdns]:
    """Run multicast DNS on all interfaces; says goodbye for our service at the end.

    Raises:
        MdnsError: No interface is up, or port 5353 cannot be shared.
    """
    token = trio.lowlevel.current_trio_token()
    send, receive = trio.open_memory_channel[Change](limits.MDNS_WAITING)

    def deliver(change: Change) -> None:  # in trio; must not raise
        with suppress(trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            send.send_nowait(change)

    def changed(
        service_type: str, name: str, state_change: ServiceStateChange, **_: object
    ) -> None:
        gone = state_change is ServiceStateChange.Removed
        change = Change(name.removesuffix(f".{TYPE}"), gone)
        with suppress(trio.RunFinishedError):  # in zeroconf's thread
            token.run_sync_soon(deliver, change)

    async def browse(zeroconf: Zeroconf) -> AsyncServiceBrowser:
        return AsyncServiceBrowser(
            zeroconf,
            TYPE,
            handlers=[changed],
            question_type=DNSQuestionType.QM,
        )

    def start() -> _PerInterface:
        foreign = logging.getLogger("zeroconf")
        if foreign.level == logging.NOTSET:  # it warns of each address that is not ready yet
            foreign.setLevel(logging.ERROR)
        try:
            zeroconf = _PerInterface(
                InterfaceChoice.All, ip_version=IPVersion.All, use_asyncio=False
            )
        except _FOREIGN as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                raise MdnsError("another program keeps UDP port 5353 to itself") from error
            raise MdnsError(str(error)) from error
        zeroconf.adapters = adapters
        return zeroconf

    zeroconf = await trio.to_thread.run_sync(start)
    try:
        mdns = Mdns(zeroconf, receive)
        browser = await _on_loop(mdns._loop, browse(zeroconf))
        try:
            yield mdns
        finally:
            with trio.move_on_after(limits.CLEANUP_SECONDS / 2, shield=True), suppress(MdnsError):
                await _on_loop(mdns._loop, browser.async_cancel())
    finally:
        # Goodbyes (three, 125 ms apart), then zeroconf's loop and thread end.
        with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True), suppress(*_FOREIGN):
            await trio.to_thread.run_sync(zeroconf.close, abandon_on_cancel=True)
        send.close()
        receive.close()
