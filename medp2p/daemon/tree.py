"""The tree of tasks: everything that runs while the daemon does, and how it ends.

``run`` is the whole life of a daemon. Services (the API) come as callables, so that nothing
here knows what serves them.
"""

import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio

from medp2p import limits
from medp2p.daemon import expiring, keeping, notify, releasing, telling, views, withdrawing
from medp2p.daemon.book import Book
from medp2p.daemon.config import Config, load_config
from medp2p.daemon.desk import Desk
from medp2p.daemon.discovering import run_discovery
from medp2p.daemon.events import Events
from medp2p.daemon.home import Home, Lock, check_keys, open_home, write_daemon_json
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.notices import run_notices
from medp2p.daemon.outbox import Outbox
from medp2p.daemon.pairing import PairingDesk
from medp2p.daemon.peering import Peering
from medp2p.daemon.scans import Scans
from medp2p.daemon.sessions import Sessions
from medp2p.daemon.station import Station
from medp2p.daemon.tending import tend
from medp2p.errors import MedP2PError
from medp2p.groups import find_error
from medp2p.model import RULE
from medp2p.net.congestion import Sockets
from medp2p.net.dial import Identity
from medp2p.net.guard import bug_text
from medp2p.net.listen import open_listeners, serve
from medp2p.net.stream import format_address, place_of
from medp2p.proto.messages import PROTOCOL_LOWEST
from medp2p.vault.durable import Files
from medp2p.vault.keyfiles import Keys
from medp2p.vault.sealing import SpoolBox, VaultBox
from medp2p.vault.store import Store

log = logging.getLogger(__name__)

#: Serves the desk for this home until cancelled; reports where through task_status.
Service = Callable[..., Awaitable[None]]


def now_ms() -> int:
    """Return the wall clock, milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


async def run(
    path: Path,
    *,
    listen: str | None = None,
    mdns: bool | None = None,
    services: Sequence[Service] = (),
    step: Callable[[str], None] = lambda name: None,
) -> None:
    """Run the daemon of a home until SIGTERM or SIGINT.

    Args:
        path: The home; made by ``init``.
        listen: "ADDR:PORT" in place of the configured one.
        mdns: Whether to use mDNS, in place of the configured choice.
        services: Each is started with (desk, home).
        step: Called before each durable step (vault.durable.STEPS); tests stop there.

    Raises:
        HomeError, KeyFileError, ConfigError, StoreError: Named in one line each.
        AlreadyRunningError: Another daemon has this home.
        ListenError: The address is taken.
    """
    home, keys = open_home(path)
    with ExitStack() as stack:
        stack.enter_context(Lock(home))
        config = load_config(home.config_file).with_command_line(listen=listen, mdns=mdns)
        store = Store.open(home.store, create=False, now_ms=now_ms())
        stack.callback(store.close)
        with store.read() as tx:
            check_keys(tx, home, keys)
        station = _station(home, keys, config, store, step)
        stack.callback(station.inspectors.close)
        await _run(station, services)


def _station(
    home: Home, keys: Keys, config: Config, store: Store, step: Callable[[str], None]
) -> Station:
    spool = SpoolBox(keys.spool, os.urandom)
    vault = VaultBox([keys.vault_recipient], keys.vault_identity)
    return Station(
        home=home,
        keys=keys,
        config=config,
        store=store,
        files=Files(step),
        spool=spool,
        vault=vault,
        ledger=Ledger(vault, now_ms),
        events=Events(),
        book=Book(now_ms),
        run=secrets.token_bytes(16),
        now_ms=now_ms,
        random_bytes=os.urandom,
        describe=views.transfer,
        describe_peer=views.peer,
        started_ms=now_ms(),
    )


async def _run(station: Station, services: Sequence[Service]) -> None:
    """Start everything, wait for a signal, park everything."""
    trio.socket.set_custom_socket_factory(Sockets())
    listeners = await open_listeners(*station.config.listen)
    names = [place_of(listener.socket.getsockname()) for listener in listeners]
    station.addresses = [format_address(*name) for name in names]
    station.port = names[0][1]
    station.book.own_ports = {station.port}
    await keeping.recover(station)
    await station.refresh_pins()
    sessions = Sessions(station)
    outbox = Outbox(station, sessions)
    sessions.on_arrival = outbox.arrived
    async with trio.open_nursery() as nursery:
        pairing = PairingDesk(station, nursery)
        desk = Desk(
            station=station,
            sessions=sessions,
            outbox=outbox,
            scans=Scans(station, nursery),
            pairing=pairing,
            peering=Peering(station),
        )
        await nursery.start(_listen, station, sessions, pairing, listeners)
        page = await _start_services(nursery, desk, station, services)
        tended: dict[str, Callable[[], Awaitable[None]]] = {
            "janitor": keeping.Janitor(station).run,
            "housekeeping": partial(keeping.keep_house, station),
            "outbox": outbox.run,
            "releases": partial(releasing.run_rules, station, outbox.wake),
            "withdrawals": withdrawing.Withdrawals(station).run,
            "deadlines": partial(expiring.run_deadlines, station, outbox.wake),
            "progress": partial(_ticker, station),
            "news": partial(telling.run_news, station),
            "notices": partial(run_notices, station),
            "discovery": partial(run_discovery, station, outbox, pairing),
        }
        for name, work in tended.items():
            nursery.start_soon(tend, station, name, work)
        nursery.start_soon(notify.run_watchdog)
        write_daemon_json(
            station.home, listen=station.addresses, since_ms=station.started_ms, page=page
        )
        notify.ready(f"listening on {', '.join(station.addresses)}")
        await _signals(desk)
        _end_in_time()
        notify.stopping()
        station.listening, station.stopping = False, True
        nursery.cancel_scope.cancel()


async def _start_services(
    nursery: trio.Nursery, desk: Desk, station: Station, services: Sequence[Service]
) -> str | None:
    told: dict[str, Any] = {}
    for service in services:
        told |= await nursery.start(service, desk, station.home) or {}
    return told.get("page")


async def _listen(
    station: Station,
    sessions: Sessions,
    pairing: PairingDesk,
    listeners: Sequence[trio.SocketListener],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the listeners; strangers are counted in memory and noted in groups."""
    stats = station.listen_stats
    station.listening = True
    task_status.started()
    try:
        await serve(
            listeners,
            identity=Identity(station.keys.noise_private, station.keys.noise_public),
            is_pinned=lambda key: key in station.pins,
            make_hello=station.answer,
            on_session=sessions.incoming,
            on_pairing=pairing.waiter,
            pairing_open=pairing.is_open,
            on_version=lambda key, error: log.warning("a paired workstation: %s", error),
            lowest_version=lambda key: max(PROTOCOL_LOWEST, station.versions.get(key, 0)),
            on_stranger=station.ledger.note_stranger,
            stats=stats,
        )
    finally:
        station.listening = False


def _end_in_time() -> None:
    """A thread stuck in a dead file system must not hold up the end: the store is crash-safe."""
    watchdog = threading.Timer(limits.STOP_SECONDS, os._exit, [0])
    watchdog.daemon = True
    watchdog.start()


async def _ticker(station: Station) -> None:
    """Tell progress on, a few times a second, while anything moves."""
    while True:
        await trio.sleep(limits.TICK_SECONDS)
        moved = station.board.take_moved()
        if moved and station.events.watched:
            await station.tick(moved)


async def _signals(desk: Desk) -> None:
    """Return at SIGTERM or SIGINT; SIGHUP reads the configuration again."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            if number != signal.SIGHUP:
                return
            notify.reloading()
            try:
                await desk.reload(RULE)
            except MedP2PError as error:
                log.error("config.toml is not taken over: %s", error)
            notify.ready("configuration read again")


def why_ended(error: Exception) -> MedP2PError:
    """Return what a person reads of an error that ``run`` has raised; a bug is logged.

    Python would print all that an unexpected error says, which may name files.
    """
    found = find_error(error) if isinstance(error, ExceptionGroup) else None
    if found is not None:
        return found
    log.critical("the daemon ends, bug: %s", bug_text(error))
    return MedP2PError(
        "the daemon has ended by a mistake of the program",
        hint="its log says where; please report it",
    )
