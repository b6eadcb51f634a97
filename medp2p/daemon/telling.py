"""News: new audit records and alarms, who is nearby; and alarms about refused handshakes.

Records are written in the transactions of many acts, some of them in worker threads; here they
are told once those are durable, a little later and together. What is new is what the database
says: a count kept beside it would run ahead of the commit.
"""

import logging

import trio

from medp2p import limits
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError
from medp2p.vault import peers

log = logging.getLogger(__name__)

Alarms = dict[object, dict[str, object]]


async def run_news(station: Station) -> None:
    """Tell what is new, until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_log, station)
        nursery.start_soon(_nearby, station)
        nursery.start_soon(_refusals, station)


async def _log(station: Station) -> None:
    ledger = station.ledger
    records, alarms = await station.read(ledger.marks)
    known = await _alarms(station)
    while True:
        await station.news_bell.wait()
        if not (station.events.watched or station.config.notify):
            continue
        seen = await station.read(ledger.marks)
        if seen[1] != alarms:
            before, known = known, await _alarms(station)
            for number, alarm in known.items():
                if before.get(number) != alarm:
                    station.events.publish({"event": "alarm", "alarm": alarm})
        if seen[0] != records:
            newest = await station.read(ledger.list, limits.OVERVIEW_AUDIT, in_clear=True)
            station.events.publish({"event": "audit", "audit": newest})
        records, alarms = seen
        await trio.sleep(limits.NEWS_SECONDS)


async def _alarms(station: Station) -> Alarms:
    return {alarm["id"]: alarm for alarm in await station.read(station.ledger.alarms)}


async def _nearby(station: Station) -> None:
    told: object = None
    while True:
        change = station.book.change
        if station.events.watched:
            now = station.book.nearby(await station.read(peers.all))
            if now != told:
                told = now
                station.events.publish({"event": "nearby", "nearby": now})
        await change.wait()
        await trio.sleep(limits.NEARBY_SECONDS)


async def _refusals(station: Station) -> None:
    """Raise alarms about refused handshakes, a few together: the listener cannot wait for it."""

    def is_known(key: bytes) -> bool:
        return key in station.pins or key == station.keys.noise_public

    texts: list[str] = []
    while True:
        await trio.sleep(limits.REFUSED_LOOK_SECONDS)
        texts += station.ledger.refusals.take(is_known)
        if texts:
            try:
                await station.write(station.ledger.alarm_refusals, texts)
            except MedP2PError as error:  # they are taken once a day only
                log.warning("alarms about refused handshakes have to wait: %s", error.code)
            else:
                texts = []
