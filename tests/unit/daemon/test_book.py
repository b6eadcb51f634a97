from dataclasses import dataclass

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from medp2p import limits
from medp2p.daemon.book import Book, Place
from medp2p.errors import UnreachableError
from medp2p.identity import fingerprint_text
from medp2p.vault.peers import PeerRow

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


@dataclass(frozen=True)
class Seen:
    fingerprint: str
    name: str = "a"
    addresses: tuple[Place, ...] = ()
    number: int | None = None


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return int(self.now * 1000)


def peer(*addresses: str, key: bytes = KEY) -> PeerRow:
    return PeerRow(name="ward-a", noise_key=key, source="code", created_ms=0, addresses=addresses)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def book(clock: Clock) -> Book:
    return Book(clock.now_ms, clock)


def test_order_of_addresses(book: Book) -> None:
    row = peer("10.0.0.1:1", "[fd00::1]:1")
    assert book.addresses_of(row) == [("10.0.0.1", 1), ("fd00::1", 1)]
    book.seen(Seen(fingerprint_text(KEY), addresses=(("10.0.0.2", 2), ("fd00::1", 1))))
    assert book.addresses_of(row) == [("10.0.0.1", 1), ("fd00::1", 1), ("10.0.0.2", 2)]
    book.online(KEY, "10.0.0.2:2", ours=True)
    assert book.addresses_of(row) == [("10.0.0.2", 2), ("10.0.0.1", 1), ("fd00::1", 1)]
    book.away(KEY, UnreachableError("refused"))
    assert book.addresses_of(row)[0] == ("10.0.0.1", 1)
    book.gone(fingerprint_text(KEY))
    assert book.addresses_of(row) == [("10.0.0.1", 1), ("fd00::1", 1)]
    assert [route.address for route in book.routes(row)] == ["10.0.0.1:1", "[fd00::1]:1"]


def test_a_peer_that_calls_from_a_new_address_is_tried_there(book: Book) -> None:
    book.online(KEY, "10.0.0.9:51234", ours=False)
    assert book.addresses_of(peer("10.0.0.1:99")) == [("10.0.0.1", 99), ("10.0.0.9", 99)]
    assert book.addresses_of(peer()) == [("10.0.0.9", limits.DEFAULT_PORT)]
    assert book.addresses_of(peer(key=OTHER)) == []


def test_addresses_are_bounded_and_unusable_ones_left_out(book: Book) -> None:
    book.seen(Seen(fingerprint_text(KEY), addresses=tuple(("10.0.0.1", n) for n in range(1, 99))))
    found = book.addresses_of(peer("nonsense:x", "10.0.0.1:1"))
    assert len(found) == limits.MAX_ROUTES
    assert found[0] == ("10.0.0.1", 1)


def test_seen_tells_whether_there_is_somewhere_new_to_dial(book: Book) -> None:
    mark = fingerprint_text(KEY)
    assert book.seen(Seen(mark, addresses=(("a", 1),)))
    assert not book.seen(Seen(mark, addresses=(("a", 1),), number=5))
    assert book.seen(Seen(mark, addresses=(("a", 2),)))
    assert book.visible(KEY)
    assert not book.visible(OTHER)


def test_nearby_names_the_paired_ones(book: Book) -> None:
    book.seen(Seen(fingerprint_text(OTHER), name="b", number=7))
    book.seen(Seen(fingerprint_text(KEY), name="a", addresses=(("fd00::1", 5),)))
    assert book.nearby([peer()]) == [
        {
            "name": "a",
            "fingerprint": fingerprint_text(KEY),
            "addresses": ["[fd00::1]:5"],
            "peer": "ward-a",
            "pairing": None,
        },
        {
            "name": "b",
            "fingerprint": fingerprint_text(OTHER),
            "addresses": [],
            "peer": None,
            "pairing": 7,
        },
    ]
    assert [item.name for item in book.waiting_with(7)] == ["b"]
    assert book.waiting_with(8) == []


def test_another_identity_at_an_address(book: Book) -> None:
    book.seen(Seen(fingerprint_text(OTHER), addresses=(("10.0.0.1", 1),)))
    assert book.other_identity_at(KEY, "10.0.0.1:1") == fingerprint_text(OTHER)
    assert book.other_identity_at(KEY, "10.0.0.1:2") is None
    assert book.other_identity_at(OTHER, "10.0.0.1:1") is None


def test_presence_comes_from_sessions_only_and_fades(book: Book, clock: Clock) -> None:
    assert book.presence(KEY) == {"online": False, "since": None, "away": None}
    book.seen(Seen(fingerprint_text(KEY), addresses=(("a", 1),)))
    assert not book.presence(KEY)["online"]
    assert book.online(KEY, "a:1", ours=True)
    assert not book.online(KEY, "a:1", ours=True)
    since = book.presence(KEY)["since"]
    assert since == "1970-01-01T00:16:40.000Z"
    assert book.heard_lately(KEY)
    clock.now += limits.PRESENCE_CALL_SECONDS
    assert not book.heard_lately(KEY)
    assert book.presence(KEY) == {"online": True, "since": since, "away": None}
    clock.now += limits.PRESENCE_SECONDS
    assert not book.presence(KEY)["online"]
    assert book.online(KEY, "a:1", ours=True)
    assert book.away(KEY, UnreachableError("refused"))
    assert not book.away(KEY, UnreachableError("still refused"))
    assert book.presence(KEY)["away"] == "still refused"
    assert not book.heard_lately(KEY)
    book.forget(KEY)
    assert book.presence(KEY)["since"] is None


def test_who_has_a_session_open_is_there_whether_we_reach_it_or_not(
    book: Book, clock: Clock
) -> None:
    """A firewall that lets through one way only; and a session longer than a word is believed."""
    row = peer("10.0.0.1:1")
    book.online(KEY, "10.0.0.9:51234", ours=False)
    with book.session(KEY):
        assert not book.away(KEY, UnreachableError("refused"))
        seen = book.presence(KEY)
        assert seen["online"]
        assert seen["away"] is None
        assert book.route(row) == "10.0.0.9"
        assert book.heard_lately(KEY)
        clock.now += 10 * limits.PRESENCE_SECONDS
        with book.session(KEY):
            assert book.presence(KEY)["online"]
        assert book.presence(KEY) == seen
        assert book.heard_lately(KEY)
    assert not book.presence(KEY)["online"]
    assert not book.heard_lately(KEY)
    assert book.away(KEY, UnreachableError("refused"))
    assert book.presence(KEY)["away"] == "refused"


def test_a_dial_that_fails_while_a_session_begins_does_not_count(book: Book) -> None:
    book.online(KEY, "10.0.0.9:51234", ours=False)
    book.away(KEY, UnreachableError("refused"))
    with book.session(KEY):
        assert book.presence(KEY)["online"]
        assert book.presence(KEY)["away"] is None
        book.forget(KEY)
    assert not book.presence(KEY)["online"]


async def test_presence_is_read_from_worker_threads_too() -> None:
    book = Book(lambda: 0)
    book.online(KEY, "a:1", ours=True)
    seen = await trio.to_thread.run_sync(book.presence, KEY)
    assert seen["online"] is True
    assert await trio.to_thread.run_sync(book.heard_lately, KEY)


def test_clocks(book: Book) -> None:
    book.note_clock(KEY, -5)
    book.online(OTHER, "a:1", ours=False)
    assert book.clocks() == {KEY: -5}


async def test_waiting_for_a_change(book: Book) -> None:
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.wait_changed)
            await wait_all_tasks_blocked()
            book.seen(Seen("x"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book.wait_changed)
            await wait_all_tasks_blocked()
            book.gone("nobody")
            book.gone("x")


def test_how_a_peer_is_reached(book: Book) -> None:
    row = peer("10.0.0.1:1")
    assert book.route(row) is None
    book.online(KEY, "10.0.0.1:1", ours=True)
    assert book.route(row) == "fixed"
    book.seen(Seen(fingerprint_text(KEY), addresses=(("10.0.0.2", 2),)))
    assert book.route(row) == "fixed"
    book.online(KEY, "10.0.0.2:2", ours=True)
    assert book.route(row) == "lan"
    book.gone(fingerprint_text(KEY))
    assert book.route(row) == "10.0.0.2:2"
    book.away(KEY, UnreachableError("refused"))
    assert book.route(row) is None
    # It called: from where is known, though not where it listens.
    book.online(KEY, "10.0.0.1:55555", ours=False)
    assert book.route(row) == "fixed"
    assert book.route(peer()) == "10.0.0.1"
