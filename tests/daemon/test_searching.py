"""Looking for transfers, page by page, and in labels as far as they can be opened."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from medp2p import limits
from medp2p.daemon.searching import search, wanted
from medp2p.daemon.station import Station
from medp2p.dicom.facts import Patient
from medp2p.errors import NotFoundError, UsageError, VaultLockedError
from medp2p.model import Direction, State
from medp2p.vault import transfers
from medp2p.vault.sealing import VaultBox
from tests.helpers.filled import add, idle_station

JANE = Patient(id="MRN-0042", name="Müller^Jane^^Dr.")
JOHN = Patient(id="777", name="Novak^John")
DAY_MS = 86_400_000


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with idle_station(tmp_path) as one:
        yield one


def found(station: Station, **query: str) -> dict[str, Any]:
    query = {name.removesuffix("_"): value for name, value in query.items()}
    with station.store.read() as tx:
        return search(tx, station, wanted(query))


def ids(station: Station, **query: str) -> list[str]:
    return [row["id"] for row in found(station, **query)["transfers"]]


def test_by_what_lies_in_clear(station: Station) -> None:
    with station.store.write() as tx:
        one = add(tx, station, patients=(JANE,))
        two = add(tx, station, direction=Direction.OUT, state=State.SEALED)
        three = add(tx, station, peer_name="c", state=State.RELEASED)
    assert ids(station) == [three, two, one]
    assert ids(station, direction="in") == [three, one]
    assert ids(station, peer="b") == [two, one]
    assert ids(station, state="sealed") == [two]
    assert ids(station, state="sealed,released") == [three, two]
    assert ids(station, direction="in", peer="b", state="offered") == [one]
    assert ids(station, direction="out", peer="c") == []
    assert found(station)["transfers"][2]["label"]["patients"][0]["id"] == "MRN-0042"
    # An empty field of a form asks for nothing.
    assert ids(station, direction="", peer="", state="", from_="", to="", patient="") == ids(
        station
    )


def test_by_day_and_by_time(station: Station) -> None:
    noon = datetime(2026, 3, 28, 12).astimezone()
    with station.store.write() as tx:
        days = [
            add(tx, station, created_ms=int(noon.timestamp() * 1000) + day * DAY_MS)
            for day in range(3)
        ]
    assert ids(station, from_="2026-03-29") == [days[2], days[1]]
    assert ids(station, to="2026-03-29") == [days[1], days[0]]
    assert ids(station, from_="2026-03-28", to="2026-03-28") == [days[0]]
    exact = noon.isoformat()
    assert ids(station, from_=exact) == days[::-1]
    assert ids(station, to=exact) == []


@pytest.mark.parametrize(
    "patient",
    [
        "müller",
        "MÜLLER",
        "mu\u0308ller",
        "jane",
        "ller^ja",
        "Jane Müller",
        "mrn-0042",
        "0042",
        "Müller 42",
    ],
)
def test_by_patient(station: Station, patient: str) -> None:
    with station.store.write() as tx:
        jane = add(tx, station, patients=(JANE,))
        both = add(tx, station, patients=(JOHN, JANE))
        typed = add(tx, station, typed=JANE)
        add(tx, station, patients=(JOHN,))
        add(tx, station, patients=None)
    assert ids(station, patient=patient) == [typed, both, jane]


def test_the_words_are_of_one_patient(station: Station) -> None:
    with station.store.write() as tx:
        add(tx, station, patients=(JANE, JOHN))
    assert ids(station, patient="jane novak") == []
    assert ids(station, patient="nobody") == []


def test_a_damaged_label_hides_no_other(station: Station) -> None:
    with station.store.write() as tx:
        jane = add(tx, station, patients=(JANE,))
        broken = add(tx, station, patients=(JANE,))
        transfers.put_blob(tx, broken, "summary", "vault", b"junk")
    assert ids(station, patient="jane") == [jane]


def test_a_locked_vault_says_so(station: Station) -> None:
    with station.store.write() as tx:
        one = add(tx, station, patients=(JANE,))
    station.vault = VaultBox([station.keys.vault_recipient], None)
    with pytest.raises(VaultLockedError, match="with the vault open only"):
        found(station, patient="jane")
    assert ids(station, peer="b") == [one]


# --- page by page -------------------------------------------------------------------------


def walk(station: Station, **query: str) -> tuple[list[str], int]:
    """Return all ids, and how many answers that took."""
    all_, answers = [], 0
    while True:
        answer = found(station, **query)
        all_ += [row["id"] for row in answer["transfers"]]
        answers += 1
        if answer["next"] is None:
            return all_, answers
        query["before"] = answer["next"]


@pytest.mark.parametrize(("count", "answers"), [(0, 1), (9, 1), (10, 1), (11, 2), (25, 3)])
def test_pages(station: Station, count: int, answers: int) -> None:
    with station.store.write() as tx:
        added = [add(tx, station, patients=None) for _ in range(count)]
    assert walk(station, limit="10") == (added[::-1], answers)


def test_labels_opened_for_one_answer_are_bounded(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_SEARCH_LABELS", 10)
    with station.store.write() as tx:
        first = add(tx, station, patients=(JANE,))
        for _ in range(34):
            add(tx, station, patients=(JOHN,))
    assert found(station, patient="jane")["transfers"] == []
    assert walk(station, patient="jane") == ([first], 4)
    with_all, answers = walk(station, patient="john", limit="7")
    assert len(with_all) == 34
    assert answers == 5


def test_the_limit_is_bounded(station: Station) -> None:
    assert wanted({"limit": "99999"}).limit == limits.MAX_SEARCH_ROWS
    assert wanted({"limit": "0"}).limit == 1
    assert wanted({}).limit == limits.SEARCH_ROWS


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"direction": "up"}, "direction is in or out"),
        ({"state": "sent"}, "no state"),
        ({"state": "sealed,,x"}, "no state"),
        ({"from": "yesterday"}, "from is a date"),
        ({"to": "2026-02-30"}, "to is a date"),
        ({"from": "2026-01-01T10:00:00"}, "from is a date"),  # no offset: whose clock?
        ({"to": "9999-12-31"}, "to is a date"),
        ({"from": "0001-01-01"}, "from is a date"),
        ({"limit": "-1"}, "limit is a whole number"),
        ({"limit": "²"}, "limit is a whole number"),
        ({"patient": "x" * 201}, "patient has more than 200 characters"),
    ],
)
def test_what_cannot_be_understood(query: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        wanted(query)


def test_going_on_from_nowhere(station: Station) -> None:
    with pytest.raises(NotFoundError):
        found(station, before="a" * 26)
