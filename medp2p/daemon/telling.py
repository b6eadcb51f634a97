"""News for those who watch: new audit records and alarms, and who is nearby.

Records are written in the transactions of many acts, some of them in worker threads; here they
are told once those are durable, a little later and together.
"""

import trio

from medp2p import limits
from medp2p.daemon.station import Station
from medp2p.vault import peers

Alarms = dict[object, dict[str, object]]


async def run_news(station: Station) -> None:
    """Tell what is new, until cancelled."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_log, station)
        nursery.start_soon(_nearby, station)


async def _log(station: Station) -> None:
    ledger = station.ledger
    known = await _alarms(station)
    records, changes = ledger.records, ledger.alarm_changes
    while True:
        await station.news_bell.wait()
        if not station.events.watched:
            continue
        if ledger.alarm_changes != changes:
            changes = ledger.alarm_changes
            before, known = known, await _alarms(station)
            for number, alarm in known.items():
                if before.get(number) != alarm:
                    station.events.publish({"event": "alarm", "alarm": alarm})
        if ledger.records != records:
            records = ledger.records
            newest = await station.read(ledger.list, limits.OVERVIEW_AUDIT, in_clear=True)
            station.events.publish({"event": "audit", "audit": newest})
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
