"""The page of one daemon: its files, who may open it, who has it open, what is noted of it."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

import trio

from medp2p import limits
from medp2p.control.desk import Desk
from medp2p.control.guard import PAGE
from medp2p.control.page.files import StaticFile, load_shell, load_static, package_files
from medp2p.control.page.opening import Openings
from medp2p.control.page.sessions import Session, Sessions, Visit
from medp2p.errors import ControlError, MedP2PError
from medp2p.model import Actor

log = logging.getLogger(__name__)


def waking_clock() -> float:
    """Return seconds that go on while the machine sleeps, where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class Page:
    """See the module.

    Attributes:
        address: "127.0.0.1:PORT" once it is served.
        readers: Tabs that read events.
    """

    def __init__(
        self,
        desk: Desk,
        folder: Path,
        *,
        clock: Callable[[], float] = waking_clock,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Make a page that nobody has open.

        Args:
            desk: Gives ``page_rules`` and notes what happens.
            folder: The home's run folder.
            clock: Seconds that go on while the machine sleeps.
            random_bytes: Cryptographic randomness.
        """
        rules = desk.page_rules()
        self._desk, self._clock = desk, clock
        self.address = ""
        self.cookie = f"medp2p-{rules['run']}"
        self.openings = Openings(folder, clock, random_bytes)
        self.readers = 0
        self._no_reader = trio.Event()
        self.sessions = Sessions(clock, random_bytes, self.idle_seconds, self._ended)
        self._over: WeakKeyDictionary[Session, trio.Event] = WeakKeyDictionary()
        self._to_note: list[Session] = []
        self._changed = trio.Event()
        self._refused, self._refused_noted = 0, -limits.PAGE_REFUSED_SECONDS
        self.static = load_static(package_files())
        self._shell: StaticFile | ControlError
        try:
            self._shell = load_shell(package_files())
        except ControlError as error:  # everything else works without the page
            log.error("no page: %s", error)
            self._shell = error

    def shell(self) -> StaticFile:
        """Return the page without data.

        Raises:
            ControlError: It is missing from the installation.
        """
        if isinstance(self._shell, ControlError):
            raise self._shell
        return self._shell

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count a reader of events for as long as the block runs."""
        self.readers += 1
        try:
            yield
        finally:
            self.readers -= 1
            if not self.readers:
                self._no_reader.set()

    async def readers_gone(self) -> None:
        """Wait until nobody reads events."""
        while self.readers:
            self._no_reader = trio.Event()
            await self._no_reader.wait()

    def idle_seconds(self) -> float:
        """Return after how long without a person a session ends."""
        return float(self._desk.page_rules()["idle_seconds"])

    # --- sessions -------------------------------------------------------------------------

    def visit_untrusted(
        self, headers: Iterable[tuple[bytes, bytes]], secret: bytes
    ) -> Visit | None:
        """Return the session that a request belongs to, or None."""
        return self.sessions.find_untrusted(
            self.cookies_untrusted(headers), secret.decode("latin-1")
        )

    def cookies_untrusted(self, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
        """Return the cookies of our name, a few of them: another port can plant some."""
        found = []
        for name, value in headers:
            if name == b"cookie":
                for pair in value.decode("latin-1").split(";"):
                    key, _, text = pair.strip().partition("=")
                    if key == self.cookie:
                        found.append(text)
        return found[: limits.MAX_PAGE_COOKIES]

    def changed(self) -> None:
        """Look again at what ends when: a token or a session has come."""
        self._changed.set()

    def over(self, session: Session) -> trio.Event:
        """Return what is set once a session has ended."""
        event = self._over.setdefault(session, trio.Event())
        if session.ended is not None:
            event.set()
        return event

    def _ended(self, session: Session) -> None:
        self.over(session).set()
        self._to_note.append(session)
        self.changed()

    async def refuse(self) -> None:
        """Note that a token was wrong; often ones are counted and noted together."""
        self._refused += 1
        if self._clock() - self._refused_noted >= limits.PAGE_REFUSED_SECONDS:
            count, self._refused = self._refused, 0
            self._refused_noted = self._clock()
            nobody = Actor(os_user=None, via=PAGE)
            await self._desk.note_page(nobody, "page-refused", "refused", {"count": count})

    # --- its life -------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """End what has had its time, until cancelled; then everything ends.

        Cancellation: no session and no opening file is left.
        """
        self.openings.remove_all()
        task_status.started()
        try:
            while True:
                self._changed = trio.Event()
                self.sessions.sweep()
                await self.openings.tidy()
                await self._note_ends()
                with trio.move_on_after(self._pause()):
                    await self._changed.wait()
        finally:
            self.sessions.end_all("stopped")
            self.openings.remove_all()

    def _pause(self) -> float:
        ends = [self.sessions.next_end(), self.openings.tokens.next_end()]
        soon = [max(0.0, end) for end in ends if end is not None]
        return min(*soon, limits.PAGE_LOOK_SECONDS) if soon else float("inf")

    async def _note_ends(self) -> None:
        while self._to_note:
            session = self._to_note.pop(0)
            actor = Actor(os_user=session.os_user, via=PAGE)
            try:
                await self._desk.note_page(actor, "page-ended", "ok", {"why": session.ended})
            except MedP2PError as error:
                log.error("the end of a session of the page is not in the audit log: %s", error)
