"""What a daemon is put together from: its station, its parts, and the tasks that never end.

Here is nothing about processes, signals and locks: see tree.py.
"""

import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import trio

from medp2p import limits
from medp2p.daemon import expiring, keeping, releasing, telling, views, withdrawing
from medp2p.daemon.book import Book
from medp2p.daemon.config import Config
from medp2p.daemon.desk import Desk
from medp2p.daemon.discovering import run_discovery
from medp2p.daemon.events import Events
from medp2p.daemon.home import Home
from medp2p.daemon.inspecting import Inspectors
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.notices import run_notices
from medp2p.daemon.outbox import Outbox
from medp2p.daemon.pairing import PairingDesk
from medp2p.daemon.peering import Peering
from medp2p.daemon.scans import Scans
from medp2p.daemon.sessions import Sessions
from medp2p.daemon.station import Station
from medp2p.net.dial import Identity
from medp2p.net.listen import serve
from medp2p.proto.messages import PROTOCOL_LOWEST
from medp2p.vault.durable import Files
from medp2p.vault.keyfiles import Keys
from medp2p.vault.sealing import SpoolBox, VaultBox
from medp2p.vault.store import Store

log = logging.getLogger(__name__)


def make_station(
    home: Home,
    keys: Keys,
    config: Config,
    store: Store,
    *,
    step: Callable[[str], None],
    now_ms: Callable[[], int],
    book: Book | None = None,
    inspectors: Inspectors | None = None,
) -> Station:
    """Return what every part of a daemon works with.

    Args:
        home: Ours.
        keys: Of this home.
        config: Of this home and the command line.
        store: Open; the caller closes it.
        step: Called before each durable step (vault.durable.STEPS).
        now_ms: Wall clock, milliseconds since 1970 UTC.
        book: In tests: with other routes to peers.
        inspectors: In tests: those of several daemons of one process.
    """
    vault = VaultBox([keys.vault_recipient], keys.vault_identity)
    return Station(
        home=home,
        keys=keys,
        config=config,
        store=store,
        files=Files(step),
        spool=SpoolBox(keys.spool, os.urandom),
        vault=vault,
        ledger=Ledger(vault, now_ms),
        events=Events(),
        book=book or Book(now_ms),
        run=secrets.token_bytes(16),
        now_ms=now_ms,
        random_bytes=os.urandom,
        describe=views.transfer,
        describe_peer=views.peer,
        inspectors=inspectors or Inspectors(),
        started_ms=now_ms(),
    )


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of one daemon."""

    station: Station
    sessions: Sessions
    outbox: Outbox
    pairing: PairingDesk
    desk: Desk

    @classmethod
    def of(cls, station: Station, nursery: trio.Nursery) -> Self:
        """Make them, wired with each other; they live in the nursery."""
        sessions = Sessions(station)
        outbox = Outbox(station, sessions)
        sessions.on_arrival = outbox.arrived
        pairing = PairingDesk(station, nursery)
        desk = Desk(
            station=station,
            sessions=sessions,
            outbox=outbox,
            scans=Scans(station, nursery),
            pairing=pairing,
            peering=Peering(station),
        )
        return cls(station, sessions, outbox, pairing, desk)

    async def listen(
        self,
        listeners: Sequence[trio.SocketListener],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the listeners; strangers are counted in memory and noted in groups."""
        station = self.station
        station.listening = True
        task_status.started()
        try:
            await serve(
                listeners,
                identity=Identity(station.keys.noise_private, station.keys.noise_public),
                is_pinned=lambda key: key in station.pins,
                make_hello=station.answer,
                on_session=self.sessions.incoming,
                on_pairing=self.pairing.waiter,
                pairing_open=self.pairing.is_open,
                on_version=lambda key, error: log.warning("a paired workstation: %s", error),
                lowest_version=lambda key: max(PROTOCOL_LOWEST, station.versions.get(key, 0)),
                on_stranger=station.ledger.note_stranger,
                stats=station.listen_stats,
            )
        finally:
            station.listening = False

    def tasks(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return by name what runs as long as the daemon does; to be tended."""
        station, wake = self.station, self.outbox.wake
        return {
            "janitor": keeping.Janitor(station).run,
            "housekeeping": partial(keeping.keep_house, station),
            "outbox": self.outbox.run,
            "releases": partial(releasing.run_rules, station, wake),
            "withdrawals": withdrawing.Withdrawals(station).run,
            "deadlines": partial(expiring.run_deadlines, station, wake),
            "progress": partial(_tell_progress, station),
            "news": partial(telling.run_news, station),
            "notices": partial(run_notices, station),
            "discovery": partial(run_discovery, station, self.outbox, self.pairing),
        }


async def _tell_progress(station: Station) -> None:
    """Tell it a few times a second, while anything moves."""
    while True:
        await trio.sleep(limits.TICK_SECONDS)
        moved = station.board.take_moved()
        if moved and station.events.watched:
            await station.tick(moved)
