import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyrage import x25519

from medp2p import limits
from medp2p.daemon.ledger import Ledger
from medp2p.errors import AuditError, NotFoundError
from medp2p.identity import encode_peer_id
from medp2p.model import Actor
from medp2p.vault import log
from medp2p.vault.sealing import VaultBox
from medp2p.vault.store import Store

NOW = 1_700_000_000_000
ANNA = Actor(os_user="anna", via="cli")
KEY = bytes(range(32))
HOUR = 3_600_000


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store.db", create=True, now_ms=NOW)
    yield store
    store.close()


@pytest.fixture
def identity() -> x25519.Identity:
    return x25519.Identity.generate()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(identity: x25519.Identity, clock: Clock) -> Ledger:
    return Ledger(VaultBox([str(identity.to_public())], str(identity)), clock)


def test_record_has_who_what_when(store: Store, ledger: Ledger) -> None:
    with store.write() as tx:
        seq = ledger.record(
            tx, event="accept", actor=ANNA, peer="ward-a", peer_key=KEY, transfer="t" * 26,
            detail={"files": 3},
        )  # fmt: skip
    assert seq == 1
    with store.read() as tx:
        (row,) = ledger.list(tx, 10)
    assert row == {
        "seq": 1,
        "time": "2023-11-14T22:13:20.000Z",
        "event": "accept",
        "actor": {"os_user": "anna", "operator": None, "via": "cli"},
        "outcome": "ok",
        "peer": "ward-a",
        "peer_id": encode_peer_id(KEY),
        "transfer": "t" * 26,
        "detail": {"files": 3},
        "label": None,
        "hash": row["hash"],
    }


def test_patient_facts_are_sealed_and_shown_only_with_the_vault_key(
    store: Store, ledger: Ledger, identity: x25519.Identity, clock: Clock
) -> None:
    with store.write() as tx:
        ledger.record(tx, event="release", actor=ANNA, patient={"name": "CANARY^ANNA"})
    with store.read() as tx:
        assert ledger.list(tx, 10)[0]["label"] == {"name": "CANARY^ANNA"}
        locked = Ledger(VaultBox([str(identity.to_public())], None), clock)
        assert "label" not in locked.list(tx, 10)[0]
    store.checkpoint()
    assert b"CANARY" not in store.path.read_bytes()


def test_a_sealed_part_belongs_to_its_record(store: Store, ledger: Ledger) -> None:
    with store.write() as tx:
        ledger.record(tx, event="offer", actor=ANNA, patient={"n": 1})
        ledger.record(tx, event="accept", actor=ANNA, patient={"n": 2})
        rows = log.entries(tx)
        tx.execute("DROP TRIGGER audit_unchanged")
        tx.execute("UPDATE audit SET sealed = ? WHERE seq = 1", (rows[1].sealed,))
        shown = ledger.list(tx, 10)
        assert shown[0]["damaged"] is True
        assert shown[0]["label"] is None
        assert shown[1]["label"] == {"n": 2}
        verdict = ledger.verify(tx)
        assert verdict["ok"] is False
        assert verdict["broken_at"] == 1


def test_a_damaged_record_does_not_hide_the_others(store: Store, ledger: Ledger) -> None:
    with store.write() as tx:
        for outcome in "abc":
            ledger.record(tx, event="send", outcome=outcome, actor=ANNA)
        tx.execute("DROP TRIGGER audit_unchanged")
        tx.execute("UPDATE audit SET record = x'ff' WHERE seq = 2")
        for in_clear in (False, True):
            shown = ledger.list(tx, 10, in_clear=in_clear)
            assert [row.get("outcome") for row in shown] == ["a", None, "c"]
            assert shown[1]["damaged"] is True
            assert shown[1]["seq"] == 2
        assert ledger.verify(tx)["broken_at"] == 2


def test_an_act_that_fails_leaves_no_record(store: Store, ledger: Ledger) -> None:
    def act() -> None:
        with store.write() as tx:
            ledger.record(tx, event="offer", actor=ANNA)
            raise KeyError

    with pytest.raises(KeyError):
        act()
    with store.read() as tx:
        assert ledger.list(tx, 10) == []


def test_listing_pages(store: Store, ledger: Ledger) -> None:
    with store.write() as tx:
        for _ in range(5):
            ledger.record(tx, event="send", actor=ANNA)
    with store.read() as tx:
        assert [row["seq"] for row in ledger.list(tx, 2)] == [4, 5]
        assert [row["seq"] for row in ledger.list(tx, 2, 0)] == [1, 2]
        assert [row["seq"] for row in ledger.list(tx, 2, 4)] == [5]
        assert ledger.list(tx, 2, 5) == []


def test_verify_tells_a_change(store: Store, ledger: Ledger) -> None:
    with store.write() as tx:
        for number in range(3):
            ledger.record(tx, event="send", outcome=f"e{number}", actor=ANNA)
        good = ledger.verify(tx)
        assert good["ok"] is True
        assert good["count"] == 3
        assert json.dumps(good)
        tx.execute("DROP TRIGGER audit_unchanged")
        changed = log.entries(tx)[1].record.replace(b"e1", b"e9")
        tx.execute("UPDATE audit SET record = ? WHERE seq = 2", (changed,))
        bad = ledger.verify(tx)
        assert (bad["ok"], bad["broken_at"]) == (False, 2)


def test_detail_that_is_not_json_is_a_bug(store: Store, ledger: Ledger) -> None:
    with pytest.raises(AuditError), store.write() as tx:
        ledger.record(tx, event="offer", actor=ANNA, detail={"path": b"x"})


def test_an_alarm_is_chained_once_until_it_is_acknowledged(store: Store, ledger: Ledger) -> None:
    with store.write() as tx:
        for _ in range(3):
            number = ledger.alarm(tx, kind="key-alarm", text="changed", peer="a", peer_key=KEY)
        assert len(ledger.list(tx, 10)) == 1
        assert ledger.alarms(tx, open_only=True)[0]["count"] == 3
        seen = ledger.acknowledge(tx, ANNA, number)
        assert seen["acknowledged"] is True
        assert ledger.alarms(tx, open_only=True) == []
        ledger.alarm(tx, kind="key-alarm", text="changed", peer="a", peer_key=KEY)
        events = [row["event"] for row in ledger.list(tx, 10)]
        assert events == ["alarm", "acknowledge", "alarm"]
        with pytest.raises(NotFoundError):
            ledger.acknowledge(tx, ANNA, 99)


def test_strangers_are_counted_in_memory_and_chained_by_the_hour(
    store: Store, ledger: Ledger, clock: Clock
) -> None:
    commits = store.commits
    for _ in range(50):
        ledger.note_stranger("10.0.0.9", "unknown-key")
    ledger.note_stranger("10.0.0.9", "junk")
    assert store.commits == commits
    with store.write() as tx:
        ledger.forget_strangers(ledger.summarise_strangers(tx))
        assert ledger.list(tx, 10) == []
        assert [(row.reason, row.count) for row in log.strangers(tx)] == [
            ("junk", 1),
            ("unknown-key", 50),
        ]
        clock.now += HOUR
        ledger.forget_strangers(ledger.summarise_strangers(tx))
        ledger.forget_strangers(ledger.summarise_strangers(tx))
        (row,) = ledger.list(tx, 10)
        assert row["event"] == "strangers"
        assert row["detail"] == {
            "address": "10.0.0.9",
            "hour": "2023-11-14T22:00:00.000Z",
            "reasons": {"unknown-key": 50, "junk": 1},
        }


def test_strangers_that_could_not_be_written_count_later(store: Store, ledger: Ledger) -> None:
    def act() -> None:
        with store.write() as tx:
            ledger.summarise_strangers(tx)
            raise KeyError

    ledger.note_stranger("10.0.0.9", "junk")
    with pytest.raises(KeyError):
        act()
    ledger.note_stranger("10.0.0.9", "junk")
    with store.write() as tx:
        counted = ledger.summarise_strangers(tx)
    ledger.forget_strangers(counted)
    with store.write() as tx:
        assert not ledger.summarise_strangers(tx)
        assert [row.count for row in log.strangers(tx)] == [2]


def test_a_flood_of_strangers_is_bounded_in_memory(ledger: Ledger) -> None:
    for number in range(limits.MAX_STRANGER_ROWS + 100):
        ledger.note_stranger(f"a{number}", "junk")
    assert len(ledger._strangers) == limits.MAX_STRANGER_ROWS + 1
    assert ledger._strangers["*", "junk"] == 100
