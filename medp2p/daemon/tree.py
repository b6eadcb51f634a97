"""The tree of tasks: everything that runs while the daemon does, and how it ends.

``run`` is the whole life of a daemon. Services (the API) come as callables, so that nothing
here knows what serves them.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trio

from medp2p import limits
from medp2p.daemon import keeping, notify
from medp2p.daemon.assembly import Assembly, make_station
from medp2p.daemon.config import load_config
from medp2p.daemon.desk import Desk
from medp2p.daemon.home import Lock, check_keys, open_home, write_daemon_json
from medp2p.daemon.station import Station
from medp2p.daemon.tending import tend
from medp2p.errors import MedP2PError
from medp2p.groups import find_error
from medp2p.model import RULE
from medp2p.net.congestion import Sockets
from medp2p.net.guard import bug_text
from medp2p.net.listen import open_listeners
from medp2p.net.stream import format_address, place_of
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
        station = make_station(home, keys, config, store, step=step, now_ms=now_ms)
        stack.callback(station.inspectors.close)
        await _run(station, services)


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
    async with trio.open_nursery() as nursery:
        parts = Assembly.of(station, nursery)
        await nursery.start(parts.listen, listeners)
        page = await _start_services(nursery, parts.desk, station, services)
        for name, work in parts.tasks().items():
            nursery.start_soon(tend, station, name, work)
        nursery.start_soon(notify.run_watchdog)
        write_daemon_json(
            station.home, listen=station.addresses, since_ms=station.started_ms, page=page
        )
        notify.ready(f"listening on {', '.join(station.addresses)}")
        await _signals(parts.desk)
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


def _end_in_time() -> None:
    """A thread stuck in a dead file system must not hold up the end: the store is crash-safe."""
    watchdog = threading.Timer(limits.STOP_SECONDS, os._exit, [0])
    watchdog.daemon = True
    watchdog.start()


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
