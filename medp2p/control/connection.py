"""One HTTP/1.1 connection: Hypercorn's protocol over a trio stream, with sends that end.

Hypercorn 0.18's own connection (trio/tcp_server.py) shields each send without a deadline, so one
client that stops reading holds up the end of the daemon for ever; it keeps an idle timer after
its client has gone, and it can be talked into HTTP/2. Its parts below are not documented API:
they are used in this module only, and Hypercorn is pinned below its next minor version.
"""

import logging
import math
from collections.abc import Awaitable, Callable

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import TrioSingleTask, WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    Scope,
)
from starlette.types import ASGIApp

from medp2p import limits

log = logging.getLogger(__name__)

_RECEIVE_BYTES = 64 * limits.KIB


class Connections:
    """Serves streams with one application; holds what all its connections share."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = ASGIWrapper(app)  # type: ignore[arg-type]
        self.context = WorkerContext(None)
        self.config = Config()
        self.config.include_server_header = False
        self.config.errorlog = log
        self.config.accesslog = None

    async def serve(self, stream: trio.SocketStream, state: dict[str, object]) -> None:
        """Serve one stream until either side ends it; closes it.

        Args:
            stream: A fresh connection.
            state: Becomes each request's ``scope["state"]``.

        Cancellation: the connection is cut.
        """
        try:
            await _Connection(self, stream).run(ConnectionState(state))
        finally:
            stream.socket.close()


class _Requests(TaskGroup):
    """Hypercorn's tasks, but that a request that is cut off is not answered for.

    Hypercorn answers 500 for an application that ends without an answer, and takes one whose
    head could not leave for that. When the connection is cut the head may be out all the same,
    and a second one is an error of the protocol.
    """

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start a request as Hypercorn does; None, the end of its answer, stays here when cut."""

        async def send_unless_cut(message: ASGISendEvent | None) -> None:
            cut = trio.current_effective_deadline() == -math.inf
            if message is not None or not cut:
                await send(message)

        return await super().spawn_app(app, config, scope, send_unless_cut)


class _Connection:
    """What Hypercorn's protocol calls back."""

    def __init__(self, shared: Connections, stream: trio.SocketStream) -> None:
        self._shared = shared
        self._stream = stream
        self._send_lock = trio.Lock()
        self._idle = TrioSingleTask()
        self._tasks = _Requests()

    async def run(self, state: ConnectionState) -> None:
        """Read requests until the end; returns once what they started has ended too."""
        shared = self._shared
        async with self._tasks:
            self._protocol = H11Protocol(
                shared.app,
                shared.config,
                shared.context,
                self._tasks,
                state,
                False,
                None,
                None,
                self._send,
            )
            await self._idle.restart(self._tasks, self._close_when_idle)
            await self._read()
            await self._idle.stop()
            await self._protocol.handle(Closed())

    async def _read(self) -> None:
        while True:
            try:
                data = await self._stream.receive_some(_RECEIVE_BYTES)
                await self._protocol.handle(RawData(bytes(data)))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            except (H2CProtocolRequiredError, H2ProtocolAssumedError):
                self._stream.socket.close()
                return
            if not data:
                return

    async def _send(self, event: Event) -> None:
        """Take an event of the protocol: bytes to send, the end, or busy and idle."""
        if isinstance(event, RawData):
            await self._send_bytes(event.data)
        elif isinstance(event, Closed):
            self._stream.socket.close()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated) and event.idle:
            await self._idle.restart(self._tasks, self._close_when_idle)
        else:
            await self._idle.stop()

    async def _send_bytes(self, data: bytes) -> None:
        """Send; a client that takes nothing for API_SEND_SECONDS is cut off."""
        async with self._send_lock:
            sent = False
            try:
                with trio.move_on_after(limits.API_SEND_SECONDS):
                    await self._stream.send_all(data)
                    sent = True
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                if not sent:  # a part may be out: nothing can follow it
                    self._stream.socket.close()
        if not sent:
            await self._protocol.handle(Closed())

    async def _close_when_idle(self) -> None:
        await trio.sleep(limits.API_IDLE_SECONDS)
        self._stream.socket.close()
