"""Tokens, cookies and secrets of tabs: what is good, for how long, for whom, and how many."""

from collections.abc import Callable
from random import Random

import pytest

from medp2p import limits
from medp2p.control.page.sessions import Opened, Session, Sessions, Tokens

IDLE = 600.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Sessions with everything that they ask for."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.idle = IDLE
        self.ended: list[Session] = []
        self.sessions = Sessions(self.clock, randomness(), lambda: self.idle, self.ended.append)

    def open(self, *cookies: str, user: str = "anna") -> Opened:
        return self.sessions.open(cookies, user)

    def alive(self, opened: Opened, cookie: str | None = None) -> bool:
        cookie = cookie or opened.cookie
        assert cookie is not None
        return self.sessions.find_untrusted([cookie], opened.secret) is not None


def randomness() -> Callable[[int], bytes]:
    return Random(5).randbytes


# --- tokens -------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Tokens:
    return Tokens(clock, randomness())


def test_a_token_is_good_once(tokens: Tokens) -> None:
    token, ticket = tokens.issue("anna")
    assert len(token) == 43  # 256 bits
    assert tokens.redeem_untrusted(token) == ticket
    assert ticket.os_user == "anna"
    assert tokens.redeem_untrusted(token) is None


def test_a_token_is_good_for_a_minute(tokens: Tokens, clock: Clock) -> None:
    token, _ = tokens.issue("anna")
    late, _ = tokens.issue("anna")
    clock.now += limits.PAGE_TOKEN_SECONDS - 0.01
    assert tokens.redeem_untrusted(token) is not None
    clock.now += 0.01
    assert tokens.redeem_untrusted(late) is None


@pytest.mark.parametrize("wrong", ["", "x", "\0", "é", "\udc80", "x" * 100_000])
def test_a_wrong_token_opens_nothing_and_uses_none_up(tokens: Tokens, wrong: str) -> None:
    token, _ = tokens.issue("anna")
    assert tokens.redeem_untrusted(wrong) is None
    assert tokens.redeem_untrusted(token[:-1]) is None
    assert tokens.redeem_untrusted(token) is not None


def test_tokens_are_bounded_and_the_oldest_goes(tokens: Tokens) -> None:
    first, ticket = tokens.issue("anna")
    others = [tokens.issue("anna")[0] for _ in range(limits.MAX_PAGE_TOKENS)]
    assert tokens.lapsed() == [ticket]
    assert tokens.redeem_untrusted(first) is None
    assert all(tokens.redeem_untrusted(token) for token in others)


def test_lapsed_tokens_are_told_once(tokens: Tokens, clock: Clock) -> None:
    assert tokens.next_end() is None
    _, ticket = tokens.issue("anna")
    assert tokens.lapsed() == []
    assert tokens.next_end() == limits.PAGE_TOKEN_SECONDS
    clock.now += limits.PAGE_TOKEN_SECONDS
    assert tokens.lapsed() == [ticket]
    assert tokens.lapsed() == []


# --- sessions -----------------------------------------------------------------------------


def test_cookie_and_secret_go_together() -> None:
    desk = Desk()
    anna, berta = desk.open(user="anna"), desk.open(user="berta")
    assert anna.cookie is not None
    assert berta.cookie is not None
    assert len({anna.cookie, anna.secret, berta.cookie, berta.secret}) == 4
    find = desk.sessions.find_untrusted
    visit = find([anna.cookie], anna.secret)
    assert visit is not None
    assert (visit.session, visit.os_user) == (anna.session, "anna")
    assert find([anna.cookie], berta.secret) is None
    assert find([], anna.secret) is None
    assert find([anna.secret], anna.cookie) is None
    for wrong in ("", anna.cookie, anna.secret[:-1], "\udc80"):
        assert find([anna.cookie], wrong) is None


def test_a_planted_cookie_does_not_hide_the_good_one() -> None:
    desk = Desk()
    opened = desk.open()
    assert opened.cookie is not None
    assert desk.sessions.find_untrusted(["planted", opened.cookie], opened.secret) is not None


def test_a_second_tab_shares_the_session_and_keeps_the_first() -> None:
    desk = Desk()
    first = desk.open(user="anna")
    assert first.cookie is not None
    second = desk.open(first.cookie, user="root")
    assert second.cookie is None
    assert second.session is first.session
    assert desk.alive(first)
    visit = desk.sessions.find_untrusted([first.cookie], second.secret)
    assert visit is not None
    assert visit.os_user == "root"  # who asked for this tab's token


def test_tabs_know_which_session_is_theirs() -> None:
    """By a name that is neither cookie nor secret, nor a part of one."""
    desk = Desk()
    first = desk.open()
    second, other = desk.open(first.cookie or ""), desk.open()
    name = first.session.name
    assert second.session.name == name != other.session.name
    assert len(name) >= 10
    assert not any(name in text for text in (first.cookie or "", first.secret, second.secret))


def test_a_cookie_that_is_not_ours_begins_a_new_session() -> None:
    desk = Desk()
    opened = desk.open("planted")
    assert opened.cookie not in (None, "planted")


def test_a_session_ends_when_nobody_is_there() -> None:
    desk = Desk()
    opened = desk.open()
    desk.clock.now += IDLE - 1
    assert desk.alive(opened)  # asking is not being there
    desk.sessions.touch(opened.session)
    desk.clock.now += IDLE - 1
    assert desk.alive(opened)
    desk.clock.now += 1
    assert not desk.alive(opened)
    assert desk.ended == [opened.session]
    assert opened.session.ended == "idle"
    desk.clock.now -= IDLE  # it does not come back
    assert not desk.alive(opened)


def test_a_shorter_time_counts_at_once() -> None:
    desk = Desk()
    opened = desk.open()
    desk.clock.now += 100
    desk.idle = 60
    assert not desk.alive(opened)


def test_an_old_cookie_gets_a_new_session() -> None:
    desk = Desk()
    old = desk.open()
    desk.clock.now += IDLE
    assert old.cookie is not None
    new = desk.open(old.cookie)
    assert new.cookie not in (None, old.cookie)
    assert new.session is not old.session


def test_an_end_is_told_once_and_takes_all_tabs() -> None:
    desk = Desk()
    first = desk.open()
    assert first.cookie is not None
    second = desk.open(first.cookie)
    other = desk.open()
    for why in ("left", "idle"):
        desk.sessions.end(first.session, why)
    assert desk.ended == [first.session]
    assert first.session.ended == "left"
    assert not desk.alive(first)
    assert not desk.alive(second, first.cookie)
    assert desk.alive(other)
    desk.sessions.end_all("stopped")
    assert desk.ended == [first.session, other.session]


def test_tabs_are_bounded_and_the_oldest_goes() -> None:
    desk = Desk()
    first = desk.open()
    assert first.cookie is not None
    tabs = [desk.open(first.cookie) for _ in range(limits.MAX_PAGE_TABS)]
    assert not desk.alive(first)
    assert all(desk.alive(tab, first.cookie) for tab in tabs)


def test_sessions_are_bounded_and_the_least_used_goes() -> None:
    desk = Desk()
    first, second = desk.open(), desk.open()
    desk.clock.now += 1
    desk.sessions.touch(first.session)
    others = [desk.open() for _ in range(limits.MAX_PAGE_SESSIONS - 1)]
    assert desk.ended == [second.session]
    assert second.session.ended == "displaced"
    assert desk.alive(first)
    assert all(desk.alive(one) for one in others)


def test_when_the_next_session_ends() -> None:
    desk = Desk()
    assert desk.sessions.next_end() is None
    desk.open()
    desk.clock.now += 100
    desk.open()
    assert desk.sessions.next_end() == IDLE - 100
