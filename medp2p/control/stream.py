"""Server-sent events: what the daemon reports, to one reader, until either side goes.

Source: WHATWG HTML, "Server-sent events".
"""

import json
from collections import OrderedDict
from contextlib import aclosing

import trio
from starlette.types import Receive, Scope, Send

from medp2p import limits
from medp2p.control.answers import error_answer
from medp2p.control.desk import Desk, Json
from medp2p.control.page.page import Page
from medp2p.control.page.sessions import Session
from medp2p.errors import ControlError, MedP2PError, UsageError


class EventStream:
    """ASGI application of GET /v1/events.

    Not Starlette's StreamingResponse: a time-out around the next item would end an async
    generator, so the ticks come from a task of their own.
    """

    def __init__(self, desk: Desk, page: Page) -> None:
        self._desk, self._page = desk, page
        self._lines = _Lines()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one reader; returns when it has gone or the events have ended."""
        session: Session | None = scope["state"].get("session")
        if scope["method"] != "GET":
            error: MedP2PError = UsageError("events are read with GET")
            await error_answer(error, 405)(scope, receive, send)
        elif session is None:
            await self._serve(None, receive, send)
        elif self._page.readers >= limits.MAX_PAGE_READERS:
            error = ControlError("too many tabs read events at once", hint="close some of them")
            await error_answer(error, 503)(scope, receive, send)
        else:
            with self._page.reading():
                await self._serve(session, receive, send)

    async def _serve(self, session: Session | None, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ticks, send)
            nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
            if session is not None:
                nursery.start_soon(self._until_over, session, nursery.cancel_scope)
            await self._events(session, send)
            nursery.cancel_scope.cancel()
        if session is not None and session.ended is not None:
            await _write(send, _line({"event": "session", "session": {"ended": session.ended}}))
        await send({"type": "http.response.body", "body": b""})

    async def _until_over(self, session: Session, scope: trio.CancelScope) -> None:
        """End the events of a session that has ended: nothing more of them leaves."""
        await self._page.over(session).wait()
        scope.cancel()

    async def _events(self, session: Session | None, send: Send) -> None:
        async with aclosing(self._desk.events(page=session is not None)) as events:
            async for batch in events:
                if session is not None and session.ended is not None:
                    return  # it ended while these came; who is to cancel this has not run yet
                await _write(send, b"".join(map(self._lines.of, batch)))


class _Lines:
    """Events as they are sent; what several readers get is put into words once."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Json, bytes]] = OrderedDict()

    def of(self, event: Json) -> bytes:
        """Return an event as a line of the stream."""
        known = self._known.get(id(event))
        if known is not None:  # the same object: it is kept here, so its id is its own
            return known[1]
        line = _line(event)
        self._known[id(event)] = event, line
        if len(self._known) > limits.MAX_PENDING_EVENTS:
            self._known.popitem(last=False)
        return line


def _line(event: Json) -> bytes:
    text = json.dumps(event, separators=(",", ":"), allow_nan=False)
    return b"data: " + text.encode("ascii") + b"\n\n"


async def _ticks(send: Send) -> None:
    """Say something now and then: a reader looks again, a dead one is noticed."""
    while True:
        await _write(send, b": tick\n\n")
        await trio.sleep(limits.API_TICK_SECONDS)


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _write(send: Send, data: bytes) -> None:
    """Send a piece of the body; Hypercorn's connection keeps pieces whole (one lock)."""
    await send({"type": "http.response.body", "body": data, "more_body": True})
