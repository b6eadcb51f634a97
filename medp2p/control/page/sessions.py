"""Who may use the page: tokens that open it once, and the sessions that they begin. Pure.

A session is a cookie, which the browser keeps for all its tabs, and a secret for each tab, which
only the tab's own script sends: a cookie of 127.0.0.1 goes to every port of this machine, so it
proves nothing alone. Tokens, cookies and secrets are 256 random bits and kept as digests.

Source: docs/THREATS.md, "Local surfaces".
"""

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from medp2p import limits

Clock = Callable[[], float]
Random = Callable[[int], bytes]


def _fresh(random_bytes: Random) -> str:
    return base64.urlsafe_b64encode(random_bytes(limits.PAGE_SECRET_BYTES)).rstrip(b"=").decode()


def _digest(text: str) -> bytes:
    """Return what is kept of a secret: looking for it tells by its time nothing of the secret."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Ticket:
    """A token that waits to be used.

    Attributes:
        digest: Of the token; also its name here.
        os_user: The account that asked for it.
        until: When it ends, seconds of the clock.
    """

    digest: bytes
    os_user: str | None
    until: float


class Tokens:
    """Tokens that were given out and not yet used; bounded, each good for one use.

    Args:
        clock: Seconds that go on while the machine sleeps.
        random_bytes: Cryptographic randomness.
    """

    def __init__(self, clock: Clock, random_bytes: Random) -> None:
        self._clock, self._random = clock, random_bytes
        self._waiting: OrderedDict[bytes, Ticket] = OrderedDict()

    def issue(self, os_user: str | None) -> tuple[str, Ticket]:
        """Return a fresh token; see ``lapsed`` for one that had to make room for it."""
        token = _fresh(self._random)
        ticket = Ticket(_digest(token), os_user, self._clock() + limits.PAGE_TOKEN_SECONDS)
        self._waiting[ticket.digest] = ticket
        return token, ticket

    def redeem_untrusted(self, token: str) -> Ticket | None:
        """Use a token up; None when it is wrong, used or too old."""
        ticket = self._waiting.pop(_digest(token), None)
        return None if ticket is None or ticket.until <= self._clock() else ticket

    def waits(self, ticket: Ticket) -> bool:
        """Return whether a token can still be used."""
        return ticket.digest in self._waiting

    def lapsed(self) -> list[Ticket]:
        """Forget and return the tokens whose time is over, and the oldest beyond the bound."""
        now = self._clock()
        gone = [ticket for ticket in self._waiting.values() if ticket.until <= now]
        for ticket in gone:
            del self._waiting[ticket.digest]
        while len(self._waiting) > limits.MAX_PAGE_TOKENS:
            gone.append(self._waiting.popitem(last=False)[1])
        return gone

    def next_end(self) -> float | None:
        """Return in how many seconds the next token lapses, or None."""
        now = self._clock()
        return min((ticket.until - now for ticket in self._waiting.values()), default=None)


@dataclass(eq=False)
class Session:
    """What one browser may do: the cookie of all its tabs.

    Attributes:
        name: Tells it from others in the tabs of one browser; no secret.
        os_user: The account that opened it.
        begun: Seconds of the clock, as is ``active``.
        active: When a person last did something.
        ended: Why it is over ("idle", "left", "displaced", "stopped"), or None.
    """

    name: str
    os_user: str | None
    begun: float
    active: float
    ended: str | None = None
    #: Digest of each tab's secret -> the account whose token opened that tab.
    tabs: OrderedDict[bytes, str | None] = field(default_factory=OrderedDict)


@dataclass(frozen=True, slots=True)
class Opened:
    """A tab that may use the page.

    Attributes:
        cookie: Set in the browser; None when it has a good one.
        secret: For the tab.
    """

    session: Session
    cookie: str | None
    secret: str


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that showed cookie and secret of one session.

    Attributes:
        os_user: The account whose token opened the tab.
        key: Digest of the tab's secret.
    """

    session: Session
    os_user: str | None
    key: bytes

    def proof_untrusted(self, challenge: bytes) -> str:
        """Return what only this daemon and the tab can know: HMAC-SHA256 of a challenge, in hex.

        Another program may get our port after our end, and an open page ask it.
        """
        return hmac.new(self.key, challenge, "sha256").hexdigest()


class Sessions:
    """All sessions of this daemon; gone with it.

    Args:
        clock: Seconds that go on while the machine sleeps.
        random_bytes: Cryptographic randomness.
        idle_seconds: After how long without a person a session ends; asked each time.
        on_end: Told of each session that has ended.
    """

    def __init__(
        self,
        clock: Clock,
        random_bytes: Random,
        idle_seconds: Callable[[], float],
        on_end: Callable[[Session], None],
    ) -> None:
        self._clock, self._random = clock, random_bytes
        self._idle, self._on_end = idle_seconds, on_end
        self._by_cookie: dict[bytes, Session] = {}

    def open(self, cookies: Iterable[str], os_user: str | None) -> Opened:
        """Let one more tab in: into the session of its browser, if it has one, else a new one.

        Args:
            cookies: What the browser sent under our name.
            os_user: The account whose token was used.
        """
        session, cookie = self._known(cookies), None
        if session is None:
            cookie = _fresh(self._random)
            now = self._clock()
            session = Session(_fresh(self._random)[:16], os_user, begun=now, active=now)
            self._by_cookie[_digest(cookie)] = session
        secret = _fresh(self._random)
        session.tabs[_digest(secret)] = os_user
        session.active = self._clock()
        while len(session.tabs) > limits.MAX_PAGE_TABS:
            session.tabs.popitem(last=False)
        while len(self._by_cookie) > limits.MAX_PAGE_SESSIONS:
            self.end(min(self._by_cookie.values(), key=lambda one: one.active), "displaced")
        return Opened(session, cookie, secret)

    def find_untrusted(self, cookies: Iterable[str], secret: str) -> Visit | None:
        """Return the session of a request, or None: cookie and secret must belong together."""
        session = self._known(cookies)
        if session is None:
            return None
        shown = _digest(secret)
        for digest, os_user in session.tabs.items():
            if hmac.compare_digest(digest, shown):
                return Visit(session, os_user, digest)
        return None

    def _known(self, cookies: Iterable[str]) -> Session | None:
        self.sweep()
        for cookie in cookies:
            if (session := self._by_cookie.get(_digest(cookie))) is not None:
                return session
        return None

    def touch(self, session: Session) -> None:
        """Note that a person did something."""
        session.active = self._clock()

    def age(self, session: Session) -> float:
        """Return for how many seconds a session has been there."""
        return self._clock() - session.begun

    def left(self, session: Session) -> float:
        """Return after how many seconds a session ends unless a person does something."""
        return session.active + self._idle() - self._clock()

    def sweep(self) -> None:
        """End the sessions in which nobody has done anything for too long."""
        for session in [one for one in self._by_cookie.values() if self.left(one) <= 0]:
            self.end(session, "idle")

    def next_end(self) -> float | None:
        """Return in how many seconds the next session ends by itself, or None."""
        return min((self.left(session) for session in self._by_cookie.values()), default=None)

    def end(self, session: Session, why: str) -> None:
        """End a session; nothing happens when it has ended already."""
        if session.ended is not None:
            return
        session.ended = why
        session.tabs.clear()
        for digest in [key for key, one in self._by_cookie.items() if one is session]:
            del self._by_cookie[digest]
        self._on_end(session)

    def end_all(self, why: str) -> None:
        """End every session."""
        for session in list(self._by_cookie.values()):
            self.end(session, why)
