"""Addresses of the page beside /v1: shell, files, session; and the one that opens it."""

import time
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from medp2p.control.answers import answer, error_answer, safely
from medp2p.control.bodies import Call, OpenPage, OpenSession
from medp2p.control.desk import Desk
from medp2p.control.guard import CLI, PAGE
from medp2p.control.page.files import StaticFile
from medp2p.control.page.page import Page
from medp2p.control.page.sessions import Session
from medp2p.errors import NoSessionError, NotFoundError, UsageError
from medp2p.model import Actor
from medp2p.text import rfc3339

Answer = Callable[[Page, Desk, Request], Awaitable[Response]]


async def _shell(page: Page, desk: Desk, request: Request) -> Response:
    del desk
    await trio.lowlevel.checkpoint()
    # Not even the empty page is kept: a browser would keep what was filled in with it.
    shell = page.shell()
    return Response(shell.content, media_type=shell.media_type)


async def _static(page: Page, desk: Desk, request: Request) -> Response:
    del desk
    await trio.lowlevel.checkpoint()
    found = page.static.get(request.path_params["name"])
    if found is None:
        raise NotFoundError("the page has no such file")
    return _file(found, request)


def _file(found: StaticFile, request: Request) -> Response:
    """Return a file, or that the browser has it: it asks each time, so an update shows at once."""
    headers = {"cache-control": "no-cache", "etag": found.etag}
    if request.headers.get("if-none-match") == found.etag:
        return Response(None, 304, headers)
    return Response(found.content, 200, headers, found.media_type)


async def _open_page(page: Page, desk: Desk, request: Request) -> Response:
    """Give out a token; on the Unix socket only, where the kernel says who asks."""
    state = request.scope["state"]
    if state["via"] != CLI:
        return answer_usage("only the command line opens a page", "run `medp2p web`")
    body = (await _call(request)).body(OpenPage)
    address, file, seconds = await page.openings.make(
        page.address, state["os_user"], file=body.file
    )
    page.changed()
    expires = rfc3339(time.time_ns() // 1_000_000 + int(seconds * 1000))
    shown = None if file is None else str(file)
    return answer({"address": address, "file": shown, "expires": expires})


async def _begin(page: Page, desk: Desk, request: Request) -> Response:
    """Trade a token for a session, or for one more tab of it."""
    if request.scope["state"]["via"] != PAGE:
        return answer_usage("sessions are for the page", "this socket needs none")
    token = (await _call(request)).body(OpenSession).token
    ticket = await page.openings.redeem_untrusted(token)
    if ticket is None:
        await page.refuse()
        error = NoSessionError("this address was used already, or is too old")
        return error_answer(error, status=403)
    actor = Actor(os_user=ticket.os_user, via=PAGE)
    await desk.note_page(actor, "page-opened", "ok", {})
    opened = page.sessions.open(page.cookies_untrusted(request.scope["headers"]), ticket.os_user)
    page.changed()
    told = answer(
        {
            "secret": opened.secret,
            "session": opened.session.name,
            "cookie_age": round(page.sessions.age(opened.session)),
            "idle_seconds": round(page.idle_seconds()),
            "os_user": ticket.os_user,
        }
    )
    if opened.cookie is not None:
        told.set_cookie(page.cookie, opened.cookie, path="/", httponly=True, samesite="strict")
    return told


async def _alive(page: Page, desk: Desk, request: Request) -> Response:
    """Note that somebody is at the page."""
    del desk
    await trio.lowlevel.checkpoint()
    session: Session = request.scope["state"]["session"]
    page.sessions.touch(session)
    return answer({"idle_seconds": round(page.idle_seconds())})


async def _end(page: Page, desk: Desk, request: Request) -> Response:
    """End the session of this browser, in all its tabs."""
    del desk
    await trio.lowlevel.checkpoint()
    page.sessions.end(request.scope["state"]["session"], "left")
    told = answer({"ended": "left"})
    told.delete_cookie(page.cookie, path="/", httponly=True, samesite="strict")
    return told


async def _call(request: Request) -> Call:
    actor = Actor(os_user=None, via=PAGE)
    return Call(actor=actor, path={}, query={}, raw_body=await request.body())


def answer_usage(text: str, hint: str) -> Response:
    """Return the answer to a request at the wrong listener."""
    return error_answer(UsageError(text, hint=hint), status=403)


#: (method, address, answer).
TABLE: tuple[tuple[str, str, Answer], ...] = (
    ("GET", "/", _shell),
    ("GET", "/static/{name}", _static),
    ("POST", "/session", _begin),
    ("DELETE", "/session", _end),
    ("POST", "/session/alive", _alive),
    ("POST", "/v1/web", _open_page),
)


def page_routes(page: Page, desk: Desk) -> list[Route]:
    """Return the routes of the page and the one of the command line that opens it."""

    async def endpoint(give: Answer, request: Request) -> Response:
        return await safely(request, partial(give, page, desk, request), desk.count_bug)

    return [Route(path, partial(endpoint, give), methods=[method]) for method, path, give in TABLE]
