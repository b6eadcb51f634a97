"""What is only looked at: the part of the desk that changes nothing, but for the page's records."""

import math
from collections.abc import AsyncGenerator

import trio

from medp2p import limits
from medp2p.daemon import browsing, doctor, overview, searching, views
from medp2p.daemon.pairing import PairingDesk
from medp2p.daemon.station import Station
from medp2p.daemon.views import Json
from medp2p.model import Actor, AuditEvent
from medp2p.vault import peers


class Front:
    """See the module; the rest of the desk is in daemon/desk.py."""

    def __init__(self, station: Station, pairing: PairingDesk) -> None:
        self._station, self._pairing = station, pairing
        self._folder_limiter = trio.CapacityLimiter(limits.FOLDER_THREADS)
        #: Searches read for a while: one at a time leaves threads for everything else.
        self._search_limiter = trio.CapacityLimiter(1)

    # --- this workstation -------------------------------------------------------------

    async def status(self) -> Json:
        """Return what runs, who is there, what is under way."""
        return await self._station.read(overview.status, self._station)

    async def identity(self) -> Json:
        """Return who this workstation is."""
        await trio.lowlevel.checkpoint()
        return overview.identity(self._station)

    async def overview(self, limit: int) -> Json:
        """Return what stands on the page at first sight."""
        shown = await self._station.read(overview.overview, self._station, limit)
        return shown | {"nearby": await self.nearby(), "pairing": self._pairing.state()}

    async def search(self, query: dict[str, str]) -> Json:
        """Return the transfers that fit, newest first, and where to go on."""
        wanted = searching.wanted(query)
        async with self._search_limiter:
            return await self._station.read(searching.search, self._station, wanted)

    async def folders(self, path: bytes | None) -> Json:
        """Return what lies in a folder of this machine."""
        return await browsing.folders(path, self._folder_limiter)

    async def doctor(self) -> list[Json]:
        """Return what was checked and what to do."""
        return await doctor.examine(self._station)

    def count_bug(self) -> None:
        """Count a mistake of the program that a request has met."""
        self._station.count_bug()

    # --- the page ---------------------------------------------------------------------

    def page_rules(self) -> Json:
        """Return what tells this start of the daemon from others, and when sessions end."""
        station = self._station
        return {"run": station.run.hex()[:16], "idle_seconds": station.config.page_idle_seconds}

    async def note_page(self, actor: Actor, event: AuditEvent, outcome: str, detail: Json) -> None:
        """Put what happened to the page's sessions into the audit log."""
        await self._station.write(
            self._station.ledger.record, event=event, actor=actor, outcome=outcome, detail=detail
        )

    # --- peers ------------------------------------------------------------------------

    async def nearby(self) -> list[Json]:
        """Return who mDNS shows, paired or not."""
        return self._station.book.nearby(await self._station.read(peers.all))

    async def peers(self) -> list[Json]:
        """Return all paired workstations by name."""
        rows = await self._station.read(peers.all)
        return [views.peer(self._station, row) for row in rows]

    async def peer(self, name: str) -> Json:
        """Return one paired workstation."""
        return views.peer(self._station, await self._station.read(peers.get, name))

    # --- audit ------------------------------------------------------------------------

    async def audit(self, limit: int, after: int) -> list[Json]:
        """Return records of the audit log, ascending."""
        return await self._station.read(self._station.ledger.list, limit, after)

    async def audit_verify(self) -> Json:
        """Follow the chain of the audit log from its beginning."""
        return await self._station.read(self._station.ledger.verify)

    async def alarms(self) -> list[Json]:
        """Return all alarms, newest first."""
        return list(await self._station.read(self._station.ledger.alarms))

    async def events(self, *, page: bool = False) -> AsyncGenerator[list[Json], None]:
        """Yield a first snapshot of the status, then what changes, in batches.

        A page gets a batch at most every PAGE_EVENT_SECONDS, each thing in it once, as it is then;
        and the status now and then.
        """
        station = self._station
        first = overview.brief if page else overview.status
        with station.events.subscribe() as changes:
            yield [{"event": "status", "status": await station.read(first, station)}]
            told = trio.current_time()
            while True:
                found: list[Json] = []
                quiet = told + limits.STATUS_SECONDS if page else math.inf
                with trio.move_on_at(quiet):
                    found = list(await changes.batch())
                    if not found:
                        return
                if trio.current_time() >= quiet:
                    found.append({"event": "status", "status": await station.read(first, station)})
                    told = trio.current_time()
                yield found
                if page:
                    await trio.sleep(limits.PAGE_EVENT_SECONDS)
