"""What mDNS shows, into the book; what we show, from the pairing desk. Only ever a hint."""

import trio

from medp2p.daemon.outbox import Outbox
from medp2p.daemon.pairing import PairingDesk
from medp2p.daemon.station import Station
from medp2p.identity import fingerprint_text
from medp2p.net.discovery import Discovery, Gone, Seen
from medp2p.net.stream import host_of


async def run_discovery(station: Station, outbox: Outbox, pairing: PairingDesk) -> None:
    """Keep the book up to date while mDNS works; wake the courier of a peer that moved."""
    if not station.config.mdns:
        return
    discovery = Discovery(
        fingerprint=fingerprint_text(station.keys.noise_public),
        port=station.port,
        name=station.config.name,
        listening=[host_of(address) for address in station.addresses],
        is_paired=lambda shown: shown in _fingerprints(station).values(),
        on_moved=outbox.wake,
    )
    station.discovery = discovery
    pairing.on_number = discovery.set_pairing_number
    send, receive = trio.open_memory_channel[Seen | Gone](0)  # a flood holds back discovery
    async with trio.open_nursery() as nursery:
        nursery.start_soon(discovery.run, send)
        async with receive:
            async for change in receive:
                _note(station, outbox, change)


def _note(station: Station, outbox: Outbox, change: Seen | Gone) -> None:
    if isinstance(change, Gone):
        station.book.gone(change.fingerprint)
        return
    if station.book.seen(change):
        for key, shown in _fingerprints(station).items():
            if shown == change.fingerprint:
                outbox.wake(key)


def _fingerprints(station: Station) -> dict[bytes, str]:
    return {key: fingerprint_text(key) for key in station.pins}
