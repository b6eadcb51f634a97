"""Following through a restart of the daemon, at whatever moment that comes."""

from collections.abc import Iterator
from typing import Any, cast

import pytest

from medp2p import limits
from medp2p.cli import follow
from medp2p.control.client import Client
from medp2p.errors import NoDaemonError

Json = dict[str, Any]
SEALED = {"id": "a", "state": "sealed"}


class Restarting:
    """A daemon that is not there for its first calls."""

    def __init__(self, away: int) -> None:
        self.away = away

    def events(self) -> Iterator[Json]:
        self.away -= 1
        if self.away >= 0:
            raise NoDaemonError("no daemon answers")
        yield {"event": "status"}

    def get(self, *parts: str, **query: str) -> Json:
        return SEALED


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_PAUSE_SECONDS", 0.01)


def test_a_daemon_that_restarts_right_after_a_send_is_waited_for() -> None:
    client = cast(Client, Restarting(2))
    assert [*follow.transfer_changes(client, "a", "out")] == [SEALED]


def test_it_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DAEMON_RETURN_SECONDS", 0.05)
    with pytest.raises(NoDaemonError):
        [*follow.transfer_changes(cast(Client, Restarting(1000)), "a", "out")]


def test_where_none_has_answered_yet_none_is_waited_for() -> None:
    with pytest.raises(NoDaemonError):
        next(iter(follow.changes(cast(Client, Restarting(1)))))
