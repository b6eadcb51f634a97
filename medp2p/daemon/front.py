"""What is only looked at: the part of the desk that changes nothing, but for the page's records."""

import os
import shutil
from collections.abc import AsyncGenerator

from medp2p import __version__, limits
from medp2p.daemon import doctor, policy, recalling, views, withdrawing
from medp2p.daemon.station import Station
from medp2p.daemon.views import Json
from medp2p.identity import encode_peer_id, key_words
from medp2p.model import ENDED, WHOLE, Actor, Direction, State
from medp2p.vault import peers, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


class Front:
    """See the module; the rest of the desk is in daemon/desk.py."""

    def __init__(self, station: Station) -> None:
        self._station = station

    # --- this workstation -------------------------------------------------------------

    async def status(self) -> Json:
        """Return what runs, who is there, what is under way."""
        return await self._station.read(self._status)

    def _status(self, tx: Tx) -> Json:
        station = self._station
        under_way = [s for s in State if s not in ENDED and s not in WHOLE]
        rows = transfers.list(tx, None, under_way)
        return {
            "version": __version__,
            "name": station.config.name,
            "peer_id": encode_peer_id(station.keys.noise_public),
            "sign_key": station.keys.sign_public.hex(),
            "pid": os.getpid(),
            "home": str(station.home.path),
            "since": views.when(station.started_ms),
            "listen": station.addresses,
            "accepting": station.listening,
            "mdns": station.mdns,
            "vault": {
                "locked": station.vault.locked,
                "key_in_clear": not station.vault.locked,
                "free_bytes": shutil.disk_usage(station.home.vault).free,
            },
            "peers": [self._presence(row) for row in peers.all(tx)],
            "transfers": [views.transfer(station, row) for row in rows],
            "undecided": sum(row.state is State.OFFERED for row in rows if _incoming(row)),
            "destroy_asked": recalling.count_asked(tx),
            "expiring": transfers.count(tx, state=State.EXPIRING),
            "held": [views.transfer(station, row) for row in _held(tx)],
            "released": withdrawing.counts(tx, station),
            "alarms": len(station.ledger.alarms(tx, open_only=True)),
            "bugs": station.bugs,
        }

    def _presence(self, row: peers.PeerRow) -> Json:
        seen = self._station.book.presence(row.noise_key)
        auto = policy.automatic(row.settings, self._station.now_ms())
        return {"name": row.name, "settings": dict(row.settings), "auto": auto, **seen}

    async def identity(self) -> Json:
        """Return who this workstation is."""
        station = self._station
        return {
            "peer_id": encode_peer_id(station.keys.noise_public),
            "name": station.config.name,
            "key_words": key_words(station.keys.noise_public),
            "vault_recipient": station.keys.vault_recipient,
        }

    async def doctor(self) -> list[Json]:
        """Return what was checked and what to do."""
        return await doctor.examine(self._station)

    # --- the page ---------------------------------------------------------------------

    def page_rules(self) -> Json:
        """Return what tells this start of the daemon from others, and when sessions end."""
        station = self._station
        return {"run": station.run.hex()[:16], "idle_seconds": station.config.page_idle_seconds}

    async def note_page(self, actor: Actor, event: str, outcome: str, detail: Json) -> None:
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

    async def events(self) -> AsyncGenerator[Json, None]:
        """Yield a first snapshot of the status, then what changes."""
        with self._station.events.subscribe() as changes:
            yield {"event": "status", "status": await self.status()}
            async for change in changes:
                yield change


def _held(tx: Tx) -> list[TransferRow]:
    """Return what waits here for a person because something holds it."""
    return transfers.held(tx, limits.MAX_HELD_SHOWN)


def _incoming(row: TransferRow) -> bool:
    return row.direction is Direction.IN
