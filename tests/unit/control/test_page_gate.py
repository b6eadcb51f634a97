"""What counts as a person at the page, and when the page looks again at what has ended."""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from medp2p import limits
from medp2p.control.guard import CLI, PAGE
from medp2p.control.page.gate import Gate
from medp2p.control.page.page import Page
from medp2p.control.places import Place, Places
from tests.helpers.desk import MemoryDesk


class Door:
    """A page with one session, and a gate whose application answers everything."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.desk = MemoryDesk()
        self.page = Page(self.desk, folder, clock=lambda: self.now)
        self.opened = self.page.sessions.open([], "anna")
        self.seen: list[dict[str, Any]] = []
        self.answered: dict[bytes, bytes] = {}
        self.place = Place()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        via: str = PAGE,
        secret: str = "",
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> bool:
        """Return whether a request got through."""
        cookie = f"{self.page.cookie}={self.opened.cookie}"
        headers = [
            (b"cookie", cookie.encode()),
            (b"x-medp2p-session", (secret or self.opened.secret).encode()),
            *more,
        ]
        state = {"via": via, "place": self.place}
        scope = {"method": method, "path": path, "headers": headers, "state": state}
        before = len(self.seen)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.seen.append(scope["state"])
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            self.answered = dict(message.get("headers", []))

        await Gate(app, self.page)(scope | {"type": "http"}, trio.sleep_forever, send)
        return len(self.seen) > before


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.mark.parametrize(
    ("method", "path", "counts"),
    [
        ("GET", "/v1/events", False),
        ("GET", "/v1/transfers", False),
        ("HEAD", "/v1/status", False),
        ("POST", "/v1/transfers/a/accept", True),
        ("PATCH", "/v1/peers/b", True),
        ("DELETE", "/v1/pairing", True),
        ("DELETE", "/session", False),
    ],
)
async def test_what_counts_as_a_person(door: Door, method: str, path: str, counts: bool) -> None:
    door.now = 100.0
    assert await door.ask(method, path)
    assert door.opened.session.active == (100.0 if counts else 0.0)


async def test_who_asks_is_known_behind_the_gate(door: Door) -> None:
    known = []
    for secret in ("x", "", "x"):
        assert await door.ask("GET", "/v1/status", secret=secret) is not bool(secret)
        known.append(door.place.known)
    assert known == [False, True, False]
    assert door.seen[0]["os_user"] == "anna"
    assert door.seen[0]["session"] is door.opened.session


async def test_a_page_can_tell_that_it_is_still_us(door: Door) -> None:
    """Whoever has got our port since has seen the secret at most when it was sent to him."""
    challenge = b"0123456789abcdef" * 2
    assert await door.ask("GET", "/v1/events", more=[(b"x-medp2p-challenge", challenge)])
    key = hashlib.sha256(door.opened.secret.encode()).digest()
    expected = hmac.new(key, challenge, "sha256").hexdigest().encode()
    assert door.answered == {b"x-medp2p-proof": expected}


@pytest.mark.parametrize(
    "more",
    [
        [],
        [(b"x-medp2p-challenge", b"x" * (limits.MAX_CHALLENGE_BYTES + 1))],
        [(b"x-medp2p-challenge", b"x"), (b"x-medp2p-challenge", b"y")],
    ],
)
async def test_what_is_no_challenge_is_not_answered(
    door: Door, more: Sequence[tuple[bytes, bytes]]
) -> None:
    assert await door.ask("GET", "/v1/events", more=more)
    assert door.answered == {}
    assert not await door.ask("GET", "/v1/events", secret="x", more=[(b"x-medp2p-challenge", b"x")])
    assert b"x-medp2p-proof" not in door.answered


async def test_the_command_line_needs_no_session(door: Door) -> None:
    assert await door.ask("POST", "/v1/reload", via=CLI, secret="x")


async def test_only_the_shell_its_files_and_the_beginning_are_open(door: Door) -> None:
    for method, path in (
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/static/x"),
        ("POST", "/session"),
    ):
        assert await door.ask(method, path, secret="x"), path
    for method, path in (
        ("POST", "/"),
        ("POST", "/static/x"),
        ("GET", "/session"),
        ("PUT", "/session"),
        ("POST", "/session/"),
        ("POST", "/session/alive"),
        ("GET", "/static"),
        ("GET", "//"),
        ("GET", "/v1/static/x"),
        ("OPTIONS", "/v1/status"),
        ("get", "/"),
    ):
        assert not await door.ask(method, path, secret="x"), path


async def test_sessions_end_by_themselves_also_after_a_sleep(
    door: Door, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The clock of sessions goes on while the machine sleeps; timers do not."""
    await nursery.start(door.page.run)
    over = door.page.over(door.opened.session)
    await wait_all_tasks_blocked()
    assert not over.is_set()
    door.now = 600.0
    with trio.fail_after(2 * limits.PAGE_LOOK_SECONDS):
        await over.wait()
    await wait_all_tasks_blocked()
    assert door.desk.page_notes[-1][2] == {"why": "idle"}


async def test_a_page_that_nobody_has_open_does_nothing(
    tmp_path: Path, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    looked = 0

    def clock() -> float:
        nonlocal looked
        looked += 1
        return trio.current_time()

    page = Page(MemoryDesk(), tmp_path, clock=clock)
    await nursery.start(page.run)
    await trio.sleep(5)
    before = looked
    await trio.sleep(10_000)
    assert looked == before


async def test_the_end_of_the_daemon_ends_all(door: Door) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(door.page.run)
        nursery.cancel_scope.cancel()
    assert door.opened.session.ended == "stopped"


async def test_places_go_to_newer_strangers_never_from_those_who_are_known() -> None:
    places = Places(3)
    first, second, third = (places.take() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    first.known = True
    fourth = places.take()
    assert fourth is not None
    assert [place.scope.cancel_called for place in (first, second, third)] == [False, True, False]
    places.leave(second)  # its task ends now; its place was given away
    third.known = fourth.known = True
    assert places.take() is None
    places.leave(first)
    assert places.take() is not None
