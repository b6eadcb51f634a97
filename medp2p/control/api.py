"""The HTTP JSON API: a table of routes, each a small function over the Desk.

Prefix /v1. An answer is JSON; an error is ``{"error": {code, text, hint, retryable,
exit_code}}`` with a 4xx or 5xx status. The Unix socket serves it to the command line, 127.0.0.1
to the page: there every request needs a session (page/gate.py).

Source: docs/CLI.md, "The API".
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from medp2p import limits
from medp2p.control.answers import answer, error_answer, safely
from medp2p.control.bodies import (
    Accept,
    AddPeer,
    AddTarget,
    AnswerDestroy,
    Call,
    Check,
    Decline,
    JoinPairing,
    Preview,
    QueueTransfer,
    Recall,
    Release,
    Reveal,
    SetPeer,
    StartScan,
)
from medp2p.control.desk import Desk
from medp2p.control.guard import Guard
from medp2p.control.page.gate import Gate
from medp2p.control.page.page import Page
from medp2p.control.page.routes import page_routes
from medp2p.control.stream import EventStream
from medp2p.control.words import AsSent, WordRoute
from medp2p.errors import NoSessionError, NotFoundError, UsageError
from medp2p.model import Actor

PREFIX = "/v1"

Handler = Callable[[Desk, Call], Awaitable[Any]]


def _direction(call: Call) -> str | None:
    direction = call.query.get("direction")
    if direction not in (None, "in", "out"):
        raise UsageError("direction is in or out")
    return direction


async def _transfers(desk: Desk, call: Call) -> Any:
    direction = _direction(call)
    if direction is not None:
        return await desk.transfers(direction)
    return await desk.transfers("out") + await desk.transfers("in")


async def _add_peer(desk: Desk, call: Call) -> Any:
    body = call.body(AddPeer)
    return await desk.add_peer(call.actor, body.name, body.peer_id, body.addresses)


async def _join(desk: Desk, call: Call) -> Any:
    body = call.body(JoinPairing)
    return await desk.pairing_join(call.actor, body.code, body.at)


async def _scan(desk: Desk, call: Call) -> Any:
    body = call.body(StartScan)
    return await desk.scan(call.actor, body.peer, body.paths_b64, body.wishes)


async def _check(desk: Desk, call: Call) -> Any:
    body = call.body(Check)
    return await desk.check(call.actor, call.path["id"], body.part, body.confirmation)


async def _send(desk: Desk, call: Call) -> Any:
    body = call.body(QueueTransfer)
    return await desk.send(
        call.actor,
        body.scan,
        body.peer,
        body.note,
        body.priority,
        body.part,
        body.confirmation,
    )


def _alarm(word: str) -> int:
    """Return the number of an alarm; one that no database can hold is none."""
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise NotFoundError("no alarm has that number")
    return int(word)


async def _answer(desk: Desk, call: Call) -> Any:
    body = call.body(AnswerDestroy)
    return await desk.answer(call.actor, call.path["id"], body.destroyed, body.by)


async def _release(desk: Desk, call: Call) -> Any:
    body = call.body(Release)
    order = {name: getattr(body, name) for name in ("target", "allow", "expect", "for_seconds")}
    return await desk.release(call.actor, call.path["id"], {"to": body.to_b64, **order})


async def _add_target(desk: Desk, call: Call) -> Any:
    body = call.body(AddTarget)
    return await desk.add_target(call.actor, body.name, body.target)


async def _overview(desk: Desk, call: Call) -> Any:
    limit = call.number("limit", limits.OVERVIEW_ROWS)
    return await desk.overview(min(max(limit, 1), limits.MAX_OVERVIEW_ROWS))


async def _folders(desk: Desk, call: Call) -> Any:
    return await desk.folders(call.octets("path_b64"))


async def _audit(desk: Desk, call: Call) -> Any:
    limit = min(max(call.number("limit", 100), 1), limits.MAX_AUDIT_PAGE)
    return await desk.audit(limit, call.number("after", -1))


#: (method, address, handler); the order matters where an address fits two.
TABLE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/status", lambda desk, call: desk.status()),
    ("GET", "/overview", _overview),
    ("GET", "/search", lambda desk, call: desk.search(call.query)),
    ("GET", "/folders", _folders),
    ("GET", "/identity", lambda desk, call: desk.identity()),
    ("GET", "/config", lambda desk, call: desk.config()),
    ("POST", "/reload", lambda desk, call: desk.reload(call.actor)),
    ("GET", "/nearby", lambda desk, call: desk.nearby()),
    ("GET", "/peers", lambda desk, call: desk.peers()),
    ("POST", "/peers", _add_peer),
    ("GET", "/peers/{name}", lambda desk, call: desk.peer(call.path["name"])),
    (
        "PATCH",
        "/peers/{name}",
        lambda desk, call: desk.set_peer(
            call.actor, call.path["name"], call.body(SetPeer).settings
        ),
    ),
    (
        "DELETE",
        "/peers/{name}",
        lambda desk, call: desk.remove_peer(call.actor, call.path["name"]),
    ),
    (
        "POST",
        "/peers/{name}/verify",
        lambda desk, call: desk.verify_peer(call.actor, call.path["name"]),
    ),
    ("GET", "/pairing", lambda desk, call: desk.pairing_state()),
    ("POST", "/pairing", lambda desk, call: desk.pairing_open(call.actor)),
    ("DELETE", "/pairing", lambda desk, call: desk.pairing_close(call.actor)),
    ("POST", "/pairing/join", _join),
    ("POST", "/scans", _scan),
    ("GET", "/scans/{id}", lambda desk, call: desk.scan_state(call.path["id"], call.flag("wait"))),
    ("POST", "/scans/{id}/check", _check),
    (
        "POST",
        "/scans/{id}/reveal",
        lambda desk, call: desk.reveal(call.actor, call.path["id"], call.body(Reveal).part),
    ),
    ("GET", "/transfers", _transfers),
    ("POST", "/transfers", _send),
    (
        "GET",
        "/transfers/{id}",
        lambda desk, call: desk.transfer(_direction(call), call.path["id"], call.flag("entries")),
    ),
    (
        "POST",
        "/transfers/{id}/cancel",
        lambda desk, call: desk.cancel(call.actor, call.path["id"]),
    ),
    (
        "POST",
        "/transfers/{id}/recall",
        lambda desk, call: desk.recall(call.actor, call.path["id"], call.body(Recall).reason),
    ),
    ("POST", "/transfers/{id}/answer", _answer),
    (
        "GET",
        "/transfers/{id}/proof",
        lambda desk, call: desk.proof(call.path["id"], call.flag("label")),
    ),
    (
        "POST",
        "/transfers/{id}/accept",
        lambda desk, call: desk.accept(call.actor, call.path["id"], call.body(Accept).release_to),
    ),
    (
        "POST",
        "/transfers/{id}/decline",
        lambda desk, call: desk.decline(call.actor, call.path["id"], call.body(Decline).reason),
    ),
    ("POST", "/transfers/{id}/release", _release),
    (
        "POST",
        "/transfers/{id}/verify",
        lambda desk, call: desk.verify(call.actor, call.path["id"]),
    ),
    (
        "POST",
        "/transfers/{id}/previews",
        lambda desk, call: desk.previews(call.actor, call.path["id"], call.body(Preview).series),
    ),
    (
        "POST",
        "/transfers/{id}/discard",
        lambda desk, call: desk.discard(call.actor, call.path["id"]),
    ),
    ("GET", "/released", lambda desk, call: desk.released()),
    ("GET", "/targets", lambda desk, call: desk.targets()),
    ("POST", "/targets", _add_target),
    (
        "DELETE",
        "/targets/{name}",
        lambda desk, call: desk.remove_target(call.actor, call.path["name"]),
    ),
    ("GET", "/audit", _audit),
    ("GET", "/audit/verify", lambda desk, call: desk.audit_verify()),
    ("GET", "/alarms", lambda desk, call: desk.alarms()),
    (
        "POST",
        "/alarms/{id}/acknowledge",
        lambda desk, call: desk.acknowledge(call.actor, _alarm(call.path["id"])),
    ),
    ("GET", "/doctor", lambda desk, call: desk.doctor()),
)


def _endpoint(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        state = request.scope["state"]
        call = Call(
            actor=Actor(os_user=state["os_user"], via=state["via"]),
            path={name: str(value) for name, value in request.path_params.items()},
            query=dict(request.query_params),
            raw_body=await request.body(),
        )

        async def give() -> Response:
            value = await handler(desk, call)
            session = state.get("session")
            if session is not None and session.ended is not None:
                raise NoSessionError("the session has ended meanwhile")
            return answer(value)

        return await safely(request, give, desk.count_bug)

    return endpoint


def _not_routed(_: Request, error: Exception) -> Response:
    """Answer 404 and 405 of the router in our form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return error_answer(NotFoundError("the API has no such address"))
    return error_answer(UsageError("the API has no such method for that address"), status)


def build_app(desk: Desk, page: Page) -> Starlette:
    """Return the ASGI application over a desk.

    Each connection's scope state holds ``via`` (CLI or PAGE) and, for CLI, ``os_user``.
    """
    routes: list[Route] = [
        WordRoute(PREFIX + path, _endpoint(desk, handler), methods=[method])
        for method, path, handler in TABLE
    ]
    routes.append(Route(PREFIX + "/events", EventStream(desk, page)))
    routes += page_routes(page, desk)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard), Middleware(AsSent), Middleware(Gate, page)],
        exception_handlers={HTTPException: _not_routed},
    )
    app.router.redirect_slashes = False  # an address is there or it is not
    return app
