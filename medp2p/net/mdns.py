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
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import trio
from zeroconf import (  # type: ignore[attr-defined]  # some names are left out of its __all__
    DNSAddress,
    DNSOutgoing,
    DNSPointer,
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
from medp2p.net.beside import addresses_beside
from medp2p.net.interfaces import Adapter, IpAddress

T = TypeVar("T")
log = logging.getLogger(__name__)

TYPE: Final = "_medp2p._tcp.local."
#: After a change of networks: who was known and has not answered within this is gone. Questions
#: go out 0.1, 1, 5 and 14 s after it. Without that a record counts for 75 minutes.
SILENT_SECONDS: Final = 16.0
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
    """Tells each interface, and who asks there, only the addresses that belong to it.

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
            near: tuple[Any, ...] = (addr, port, *v6_flow_scope) if addr else sender.sock_name
            own = addresses_beside(self.adapters, str(near[0]), near[3] if len(near) == 4 else 0)
            super().async_send(_without(out, own), addr, port, v6_flow_scope, sender)


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


class _Browser:
    """Asks who is there and tells what comes and goes; lives in zeroconf's thread.

    It asks often at first and rarely soon; who has been there for long says nothing unasked.
    """

    def __init__(self, zeroconf: Zeroconf, tell: Callable[[Change], None]) -> None:
        self._zeroconf, self._tell = zeroconf, tell
        self._asking: AsyncServiceBrowser | None = None
        #: Who was known on another network, and until when an answer is waited for.
        self._unsure: dict[str, float] = {}

    async def ask(self) -> None:
        """Ask from the beginning; who was known and stays silent is told as gone.

        What was known is forgotten first: a question says what is known already, so that
        others need not answer it. Source: RFC 6762, 7.1 and 10.3.
        """
        if self._asking is not None:
            await self._asking.async_cancel()
            self._forget()
        self._asking = AsyncServiceBrowser(
            self._zeroconf,
            TYPE,
            handlers=[self._changed],
            question_type=DNSQuestionType.QM,
        )

    async def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            await self._asking.async_cancel()

    def _forget(self) -> None:
        cache, loop = self._zeroconf.cache, asyncio.get_running_loop()
        until = loop.time() + SILENT_SECONDS
        for record in cache.entries_with_name(TYPE):
            if isinstance(record, DNSPointer):
                self._unsure.setdefault(_instance(record.alias), until)
        cache.async_remove_records(
            [record for name in cache.names() for record in cache.entries_with_name(name)]
        )
        loop.call_later(SILENT_SECONDS, self._let_go)

    def _let_go(self) -> None:
        now = asyncio.get_running_loop().time()
        for name in [name for name, until in self._unsure.items() if until <= now]:
            del self._unsure[name]
            self._tell(Change(name, gone=True))

    def _changed(
        self, service_type: str, name: str, state_change: ServiceStateChange, **_: object
    ) -> None:
        self._unsure.pop(_instance(name), None)
        gone = state_change is ServiceStateChange.Removed
        self._tell(Change(_instance(name), gone))


def _instance(name: str) -> str:
    return name.removesuffix(f".{TYPE}")


class Mdns:
    """Multicast DNS while it works; made by open_mdns.

    Attributes:
        changes: What happens to services; a flood loses the newest.
        name: Our instance name, once announced; a taken one gets a suffix.
    """

    def __init__(
        self,
        zeroconf: _PerInterface,
        browser: _Browser,
        changes: trio.MemoryReceiveChannel[Change],
    ) -> None:
        if zeroconf.loop is None:
            raise MdnsError("multicast DNS did not start")
        self._zeroconf, self._browser = zeroconf, browser
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
        self.name = _instance(info.name)

    async def rescan(self, adapters: tuple[Adapter, ...]) -> None:
        """Follow a change of our interfaces; after one who is there is asked anew.

        Raises:
            MdnsError: It did not work.
        """
        before = (self._zeroconf.adapters, self._bound())
        self._zeroconf.adapters = adapters
        await _on_loop(self._loop, self._zeroconf.async_update_interfaces())
        if before != (adapters, self._bound()):
            await _on_loop(self._loop, self._browser.ask())

    def _bound(self) -> frozenset[object]:
        """Return where questions leave from: an address can be used seconds after it is listed."""
        return frozenset(sender.sock_name for sender in self._zeroconf.engine.senders)

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

    def tell(change: Change) -> None:  # in zeroconf's thread
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(deliver, change)

    def start() -> _PerInterface:
        # It warns of each address that is not ready yet, with a traceback. It sets its level to
        # WARNING itself when it is imported; any other one somebody has chosen.
        foreign = logging.getLogger("zeroconf")
        if foreign.level in (logging.NOTSET, logging.WARNING):
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
        browser = _Browser(zeroconf, tell)
        mdns = Mdns(zeroconf, browser, receive)
        await _on_loop(mdns._loop, browser.ask())
        try:
            yield mdns
        finally:
            with trio.move_on_after(limits.CLEANUP_SECONDS / 2, shield=True), suppress(MdnsError):
                await _on_loop(mdns._loop, browser.stop())
    finally:
        # Goodbyes (three, 125 ms apart), then zeroconf's loop and thread end.
        with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True), suppress(*_FOREIGN):
            await trio.to_thread.run_sync(zeroconf.close, abandon_on_cancel=True)
        send.close()
        receive.close()
