"""The HTTP JSON API: a table of routes, each a small function over the Desk.

Prefix /v1. An answer is JSON; an error is ``{"error": {code, text, hint, retryable,
exit_code}}`` with a 4xx or 5xx status. The Unix socket serves the API; 127.0.0.1 serves the
page only.

Source: docs/CLI.md, "The API".
"""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from medp2p import limits
from medp2p.control.bodies import (
    Accept,
    AddPeer,
    AddTarget,
    AnswerDestroy,
    Call,
    Check,
    Decline,
    JoinPairing,
    QueueTransfer,
    Recall,
    Release,
    Reveal,
    SetPeer,
    StartScan,
)
from medp2p.control.desk import Desk
from medp2p.control.guard import CLI, Guard
from medp2p.control.stream import EventStream
from medp2p.errors import ControlError, MedP2PError, NotFoundError, UsageError
from medp2p.model import Actor
from medp2p.net.guard import bug_text

log = logging.getLogger(__name__)

PREFIX = "/v1"

#: HTTP status of an error code; 422 for every other one.
_STATUS = {
    "usage": 400,
    "source": 400,
    "config": 400,
    "not-found": 404,
    "unknown-peer": 404,
    "conflict": 409,
    "check-refused": 409,
    "vault-locked": 423,
    "control": 500,
    "store": 500,
    "unreachable": 502,
    "no-space": 507,
}


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


async def _audit(desk: Desk, call: Call) -> Any:
    limit = min(max(call.number("limit", 100), 1), limits.MAX_AUDIT_PAGE)
    return await desk.audit(limit, call.number("after", -1))


#: (method, address, handler); the order matters where an address fits two.
TABLE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/status", lambda desk, call: desk.status()),
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
        "/alarms/{id:int}/acknowledge",
        lambda desk, call: desk.acknowledge(call.actor, int(call.path["id"])),
    ),
    ("GET", "/doctor", lambda desk, call: desk.doctor()),
)


def error_json(error: MedP2PError) -> dict[str, Any]:
    """Return the body that carries an error to the client."""
    return {"error": {**error.to_json(), "exit_code": error.exit_code}}


def answer(value: Any, status: int = 200) -> Response:
    """Return a JSON answer; ASCII only, so that lone surrogates cannot break it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Response(text.encode("ascii"), status, media_type="application/json")


def error_answer(error: MedP2PError) -> Response:
    """Return the answer for an error that a person can act on."""
    return answer(error_json(error), _STATUS.get(error.code, 422))


def find_error(group: BaseExceptionGroup[Any]) -> MedP2PError | None:
    """Return the first of our errors inside a group, or None when there is another in it."""
    ours, others = group.split(MedP2PError)
    if others is not None or ours is None:
        return None
    first: Any = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if isinstance(first, MedP2PError) else None


def _endpoint(desk: Desk, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        state = request.scope["state"]
        if state["via"] != CLI:
            return answer(error_json(_no_session()), 403)
        call = Call(
            actor=Actor(os_user=state["os_user"], via=CLI),
            path={name: str(value) for name, value in request.path_params.items()},
            query=dict(request.query_params),
            raw_body=await request.body(),
        )
        try:
            return answer(await handler(desk, call))
        except MedP2PError as error:
            return error_answer(error)
        except ExceptionGroup as group:
            if (error_inside := find_error(group)) is not None:
                return error_answer(error_inside)
            _log_bug(request, group)
        except Exception as error:  # noqa: BLE001 - one request must not end the daemon
            _log_bug(request, error)
        return error_answer(_bug())

    return endpoint


def _log_bug(request: Request, error: Exception) -> None:
    """Log types and places only: messages of foreign exceptions hold paths."""
    log.error("bug behind %s: %s", request.scope["route"].path, bug_text(error))


def _no_session() -> MedP2PError:
    return UsageError(
        "this address serves the page only",
        hint="use the `medp2p` command, which talks through run/control.sock",
    )


def _bug() -> MedP2PError:
    return ControlError(
        "the daemon made a mistake; nothing is known to have changed",
        hint="its log says more; please report it",
    )


def _not_routed(_: Request, error: Exception) -> Response:
    """Answer 404 and 405 of the router in our form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return error_answer(NotFoundError("the API has no such address"))
    return answer(error_json(UsageError("the API has no such method for that address")), status)


_SHELL = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>medp2p</title><link rel="icon" href="data:,">
<h1>medp2p</h1><p>The daemon runs. Use the <code>medp2p</code> command on this workstation.</p>
</html>
"""


async def _page(_: Request) -> Response:
    await trio.lowlevel.checkpoint()
    return HTMLResponse(_SHELL)


def build_app(desk: Desk) -> Starlette:
    """Return the ASGI application over a desk.

    Each connection's scope state holds ``via`` (CLI or PAGE) and, for CLI, ``os_user``.
    """
    routes = [
        Route(PREFIX + path, _endpoint(desk, handler), methods=[method])
        for method, path, handler in TABLE
    ]
    routes.append(Route(PREFIX + "/events", EventStream(desk)))
    routes.append(Route("/", _page, methods=["GET"]))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard)],
        exception_handlers={HTTPException: _not_routed},
    )
