"""The two listeners of the API, as a service of the daemon's nursery."""

import contextlib
import errno
import json
import logging
import math
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio
from starlette.types import Receive, Scope, Send

from medp2p import limits
from medp2p.control.answers import error_json
from medp2p.control.api import build_app
from medp2p.control.connection import Connections
from medp2p.control.desk import Desk
from medp2p.control.guard import CLI, PAGE
from medp2p.control.page.page import Page
from medp2p.control.places import Place, Places
from medp2p.control.unix import account_name, listen_unix, peer_uid
from medp2p.errors import ControlError
from medp2p.net.guard import guard

log = logging.getLogger(__name__)


_BUSY_BODY = json.dumps(
    error_json(ControlError("the daemon serves too many commands at once", hint="try again"))
).encode()
_BUSY = (
    b"HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BUSY_BODY), _BUSY_BODY)
)


class SocketHome(Protocol):
    """The part of a home that this module needs."""

    @property
    def socket(self) -> Path:
        """Where the control socket lies."""
        ...


class _Server:
    """What the connections of both listeners share."""

    def __init__(self, desk: Desk, page: Page) -> None:
        app = build_app(desk, page)

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            # Whoever serves the application would log what a bug says, which may name files.
            await guard("a request", partial(app, scope, receive, send), desk.count_bug)

        self._connections = Connections(guarded)
        self._count_bug = desk.count_bug
        self._open: dict[str, Places] = {
            CLI: Places(limits.MAX_CONTROL_CLIENTS),
            PAGE: Places(limits.MAX_PAGE_CLIENTS),
        }
        self._accounts: dict[int, str] = {}

    async def serve(self, via: str, stream: trio.SocketStream) -> None:
        """Serve one connection; its failure ends it and nothing else."""
        place = self._open[via].take()
        if place is None:
            await _turn_away(via, stream)
            return
        try:
            work = partial(self._requests, via, stream, place)
            await guard(f"a connection of {via}", work, self._count_bug)
        finally:
            self._open[via].leave(place)
            stream.socket.close()

    async def _requests(self, via: str, stream: trio.SocketStream, place: Place) -> None:
        try:
            with place.scope:
                state: dict[str, Any] = {"via": via, "place": place}
                if via == CLI:
                    place.known = True
                    state["os_user"] = await self._account(stream)
                await self._connections.serve(stream, state)
        except* OSError as group:
            log.debug("connection of %s ended: %s", via, group.exceptions[0])

    async def _account(self, stream: trio.SocketStream) -> str:
        """Return the name of the account that connected, or "uid N"."""
        uid = peer_uid(stream.socket)
        if uid not in self._accounts:
            with trio.move_on_after(limits.ACCOUNT_SECONDS):
                name = await trio.to_thread.run_sync(account_name, uid, abandon_on_cancel=True)
                self._accounts[uid] = name
        return self._accounts.get(uid, f"uid {uid}")


async def _turn_away(via: str, stream: trio.SocketStream) -> None:
    """Close a connection beyond the limit; tell the command line why."""
    with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(limits.CLEANUP_SECONDS):
        if via == CLI:
            await stream.receive_some()
            await stream.send_all(_BUSY)
    stream.socket.close()


async def serve_control(
    desk: Desk,
    home: SocketHome,
    *,
    task_status: trio.TaskStatus[dict[str, Any]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the API on the control socket and the page on 127.0.0.1, until cancelled.

    Args:
        desk: What the requests ask of.
        home: Its ``socket`` is made anew, mode 0600, and removed at the end.
        task_status: Told ``{"page": "127.0.0.1:PORT"}`` once both listen, for run/daemon.json.

    Raises:
        ControlError: A listener cannot be opened.

    Cancellation: what the desk was doing for open connections is cancelled, and they are cut;
    pages are told first that it is over, within LAST_WORDS_SECONDS.
    """
    page = Page(desk, home.socket.parent)
    server = _Server(desk, page)
    unix = _listen_unix(home.socket)
    try:
        tcp = await _listen_page()
        page.address = "{}:{}".format(*tcp.socket.getsockname()[:2])
        listening = {
            CLI: trio.SocketListener(trio.socket.from_stdlib_socket(unix)),
            PAGE: tcp,
        }
        async with trio.open_nursery() as nursery:
            await nursery.start(page.run)
            pages = await nursery.start(_outlive, page)
            for via, listener in listening.items():
                serve = partial(trio.serve_listeners, partial(server.serve, via), [listener])
                outliving = pages if via == PAGE else None
                await nursery.start(partial(serve, handler_nursery=outliving))
            task_status.started({"page": page.address})
    finally:
        unix.close()
        _remove_socket(home.socket)


async def _outlive(
    page: Page, *, task_status: trio.TaskStatus[trio.Nursery] = trio.TASK_STATUS_IGNORED
) -> None:
    """Hold the connections of pages until these know that the daemon ends."""

    async def tell(connections: trio.CancelScope) -> None:
        try:
            await trio.sleep_forever()
        finally:
            page.sessions.end_all("stopped")
            connections.deadline = trio.current_time() + limits.LAST_WORDS_SECONDS
            with trio.CancelScope(shield=True, deadline=connections.deadline):
                await page.readers_gone()
            connections.cancel()

    async with trio.open_nursery() as telling:
        # The deadline comes with the end.
        with trio.CancelScope(shield=True, deadline=math.inf) as connections:
            telling.start_soon(tell, connections)
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await trio.sleep_forever()


def _listen_unix(path: Path) -> socket.socket:
    try:
        sock = listen_unix(path, limits.MAX_CONTROL_CLIENTS)
    except OSError as error:
        raise ControlError(f"cannot serve {path}: {error.strerror}") from error
    sock.setblocking(False)
    return sock


async def _listen_page() -> trio.SocketListener:
    try:
        listeners = await trio.open_tcp_listeners(
            0, host="127.0.0.1", backlog=limits.MAX_PAGE_CLIENTS
        )
    except OSError as error:
        raise ControlError(f"cannot listen on 127.0.0.1: {error.strerror}") from error
    return listeners[0]


def _remove_socket(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            log.warning("the control socket stays behind: %s", error.strerror)
