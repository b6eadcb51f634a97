"""What a request on 127.0.0.1 needs before it reaches a route: a session, but for the shell."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medp2p import limits
from medp2p.control.answers import error_answer
from medp2p.control.guard import PAGE, READING
from medp2p.control.page.page import Page
from medp2p.control.page.sessions import Visit
from medp2p.control.places import Place
from medp2p.errors import NoSessionError

SHELL = "/"
STATIC = "/static/"
SESSION = "/session"
#: Header with the secret of a tab.
SECRET = b"x-medp2p-session"
#: A page that had lost us asks for a proof that we are who it was with.
CHALLENGE, PROOF = b"x-medp2p-challenge", b"x-medp2p-proof"


def is_open(method: str, path: str) -> bool:
    """Return whether an address of the page answers without a session.

    The empty shell and its files show nothing; a session has to begin somewhere. Everything else
    is closed, whether there is such an address or not.
    """
    if method in READING:
        return path == SHELL or path.startswith(STATIC)
    return method == "POST" and path == SESSION


class Gate:
    """ASGI middleware behind the guard: on 127.0.0.1 nothing is done without a session.

    A request that passes carries ``session`` and ``os_user`` in its state.
    """

    def __init__(self, app: ASGIApp, page: Page) -> None:
        self._app, self._page = app, page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        method, path, state = scope["method"], scope["path"], scope["state"]
        if state["via"] != PAGE or is_open(method, path):
            await self._app(scope, receive, send)
            return
        secrets = [value for name, value in scope["headers"] if name == SECRET]
        visit = None
        if len(secrets) == 1:
            visit = self._page.visit_untrusted(scope["headers"], secrets[0])
        place: Place = state["place"]
        place.known = visit is not None
        if visit is None:
            await error_answer(NoSessionError("there is no session here"))(scope, receive, send)
            return
        if method not in READING and not path.startswith(SESSION):
            self._page.sessions.touch(visit.session)  # somebody decided something
        state |= {"session": visit.session, "os_user": visit.os_user}
        await self._app(scope, receive, _proving(visit, scope, send))


def _proving(visit: Visit, scope: Scope, send: Send) -> Send:
    """Answer the challenge of a request, if it holds one."""
    found = [value for name, value in scope["headers"] if name == CHALLENGE]
    if len(found) != 1 or len(found[0]) > limits.MAX_CHALLENGE_BYTES:
        return send
    proof = visit.proof_untrusted(found[0]).encode()

    async def prove(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), (PROOF, proof)]}
        await send(message)

    return prove
