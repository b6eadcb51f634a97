"""Audit records with their acts, strangers within bounds, alarms that are counted."""

import itertools
import sqlite3
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medp2p import limits
from medp2p.audit import chain
from medp2p.errors import AuditError, ConflictError, NotFoundError
from medp2p.vault import log, meta
from medp2p.vault.log import HOUR_MS, OTHERS
from medp2p.vault.store import Store, Tx
from tests.unit.vault.stores import NOW_MS

HOUR = NOW_MS - NOW_MS % HOUR_MS


def append(tx: Tx, number: int, sealed: bytes | None = None) -> int:
    return log.append(tx, chain.encode_record({"n": number}, sealed), sealed, chain.link)


def verified(tx: Tx) -> chain.VerifyResult:
    return chain.verify(log.records(tx), head=log.head(tx))


# --- records ------------------------------------------------------------------------------


def test_records_are_numbered_and_linked(store: Store) -> None:
    with store.write() as tx:
        assert log.head(tx) == (0, chain.GENESIS)
        assert [append(tx, n, b"sealed" if n == 2 else None) for n in (1, 2, 3)] == [1, 2, 3]
        first = log.entries(tx)[0]
        assert first.record == b'{"n":1}'
        assert first.hash == chain.link(chain.GENESIS, first.record)
        assert log.head(tx) == (3, log.entries(tx)[-1].hash)
        assert verified(tx).ok
        assert verified(tx).count == 3


def test_an_act_that_is_taken_back_takes_its_record_along(store: Store) -> None:
    with store.write() as tx:
        append(tx, 1)

    def act() -> None:
        with store.write() as tx:
            meta.put(tx, "act", "done")
            append(tx, 2)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        act()
    with store.write() as tx:
        assert log.head(tx)[0] == 1
        assert append(tx, 3) == 2
        assert verified(tx).ok


def test_a_record_must_name_its_sealed_part(store: Store) -> None:
    with store.write() as tx, pytest.raises(AuditError, match="name the digest"):
        log.append(tx, chain.encode_record({"n": 1}), b"sealed", chain.link)


def test_records_are_paged_both_ways(store: Store) -> None:
    with store.write() as tx:
        for number in range(1, 8):
            append(tx, number)

        def seqs(**terms: Any) -> list[int]:
            return [row.seq for row in log.entries(tx, **terms)]

        assert seqs() == [1, 2, 3, 4, 5, 6, 7]
        assert seqs(after_seq=3, limit=2) == [4, 5]
        assert seqs(after_seq=7) == []
        assert seqs(after_seq=None, limit=3) == [7, 6, 5]
        assert [seq for seq, *_ in log.records(tx, after_seq=5)] == [6, 7]


def test_sealed_parts_may_be_erased_and_nothing_else(store: Store) -> None:
    with store.write() as tx:
        append(tx, 1, b"patient")
        append(tx, 2, b"other")
        tx.execute("UPDATE audit SET sealed = NULL WHERE seq = 1")
        assert [row.sealed for row in log.entries(tx)] == [None, b"other"]
        result = verified(tx)
        assert result.ok
        assert result.erased == 1
    for sql in (
        "UPDATE audit SET record = x'00' WHERE seq = 1",
        "UPDATE audit SET hash = zeroblob(32) WHERE seq = 2",
        "UPDATE audit SET sealed = x'01' WHERE seq = 1",
        "UPDATE audit SET seq = 5 WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
    ):
        with (
            pytest.raises(ConflictError, match="audit records are never"),
            store.write() as tx,
        ):
            tx.execute(sql)


def test_records_cut_off_at_the_end_are_missed(store: Store) -> None:
    """By someone who holds the file and forgets the head beside the chain."""
    with store.write() as tx:
        for number in (1, 2, 3):
            append(tx, number)
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TRIGGER audit_append_only")
        connection.execute("DELETE FROM audit WHERE seq = 3")
    connection.close()
    with store.read() as tx:
        result = verified(tx)
    assert result.broken_at == 3
    assert result.text == "records after 2 are missing: there were 3"


# --- strangers ----------------------------------------------------------------------------


def test_attempts_are_counted_by_address_reason_and_hour(store: Store) -> None:
    with store.write() as tx:
        log.note_stranger(tx, "192.0.2.1", "unknown-key", HOUR)
        log.note_stranger(tx, "192.0.2.1", "unknown-key", HOUR + 5, count=3)
        log.note_stranger(tx, "192.0.2.1", "junk", HOUR + 6)
        log.note_stranger(tx, "192.0.2.1", "unknown-key", HOUR + HOUR_MS)
        rows = [(row.reason, row.first_ms - HOUR, row.count) for row in log.strangers(tx)]
        assert rows == [("unknown-key", HOUR_MS, 1), ("junk", 6, 1), ("unknown-key", 0, 4)]
        assert len(log.strangers(tx, limit=1)) == 1


def test_an_hour_that_is_over_is_summarised_once(store: Store) -> None:
    with store.write() as tx:
        log.note_stranger(tx, "192.0.2.1", "unknown-key", HOUR, count=4)
        log.note_stranger(tx, "192.0.2.1", "junk", HOUR)
        log.note_stranger(tx, "192.0.2.2", "junk", HOUR)
        assert log.hourly_summaries(tx, HOUR + HOUR_MS - 1) == []
        summaries = log.hourly_summaries(tx, HOUR + HOUR_MS)
        assert summaries == [
            log.StrangerSummary(
                address="192.0.2.1", hour_ms=HOUR, reasons={"unknown-key": 4, "junk": 1}
            ),
            log.StrangerSummary(address="192.0.2.2", hour_ms=HOUR, reasons={"junk": 1}),
        ]
        assert log.hourly_summaries(tx, HOUR + 2 * HOUR_MS) == []
        assert len(log.strangers(tx)) == 3, "they stay to be looked at"


def test_a_clock_set_back_loses_and_doubles_nothing(store: Store) -> None:
    with store.write() as tx:
        log.note_stranger(tx, "a", "junk", HOUR + 2 * HOUR_MS, count=2)
        assert log.hourly_summaries(tx, HOUR)[0].reasons == {"junk": 2}
        log.note_stranger(tx, "a", "junk", HOUR + 2 * HOUR_MS, count=5)
        assert log.hourly_summaries(tx, HOUR)[0].reasons == {"junk": 5}
        assert log.hourly_summaries(tx, HOUR) == []


def test_a_full_ring_gives_up_what_was_summarised(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_STRANGER_ROWS", 3)
    with store.write() as tx:
        for address in "abc":
            log.note_stranger(tx, address, "junk", HOUR)
        log.hourly_summaries(tx, HOUR + HOUR_MS)
        log.note_stranger(tx, "d", "junk", HOUR + HOUR_MS)
        assert {row.address for row in log.strangers(tx)} == {"b", "c", "d"}


def test_a_ring_full_of_news_counts_the_rest_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_STRANGER_ROWS", 3)
    with store.write() as tx:
        for number in range(50):
            log.note_stranger(tx, f"10.0.0.{number}", "junk", HOUR)
        log.note_stranger(tx, "10.0.0.1", "junk", HOUR)
        rows = {row.address: row.count for row in log.strangers(tx)}
        assert rows == {"10.0.0.0": 1, "10.0.0.1": 2, "10.0.0.2": 1, OTHERS: 47}


def test_summaries_of_an_hour_are_bounded_and_name_the_busiest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_STRANGER_SUMMARIES", 3)
    with store.write() as tx:
        for number in range(10):
            log.note_stranger(tx, f"10.0.0.{number}", "junk", HOUR, count=number + 1)
        log.note_stranger(tx, OTHERS, "unknown-key", HOUR, count=100)
        summaries = log.hourly_summaries(tx, HOUR + HOUR_MS)
        counts = {row.address: row.reasons for row in summaries}
        assert counts == {
            "10.0.0.9": {"junk": 10},
            "10.0.0.8": {"junk": 9},
            OTHERS: {"junk": 36, "unknown-key": 100},
        }


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    attempts=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["junk", "key"]), st.integers(0, 2))
    )
)
def test_no_attempt_is_lost_whatever_the_bounds(
    store: Store, attempts: list[tuple[int, str, int]]
) -> None:
    """Summaries hold every attempt exactly once, and the ring never outgrows its bound."""
    with pytest.MonkeyPatch.context() as patch, store.write() as tx:
        patch.setattr(log, "MAX_STRANGER_ROWS", 4)
        patch.setattr(log, "MAX_STRANGER_SUMMARIES", 2)
        tx.execute("DELETE FROM strangers")
        told = 0
        for address, reason, hour in sorted(attempts, key=lambda attempt: attempt[2]):
            now_ms = HOUR + hour * HOUR_MS
            told += total(log.hourly_summaries(tx, now_ms))
            log.note_stranger(tx, str(address), reason, now_ms)
            # At most one more for each reason.
            assert len(log.strangers(tx)) <= 4 + 2
        told += total(log.hourly_summaries(tx, HOUR + 9 * HOUR_MS))
        assert told == len(attempts)


def total(summaries: list[log.StrangerSummary]) -> int:
    return sum(itertools.chain.from_iterable(row.reasons.values() for row in summaries))


# --- alarms -------------------------------------------------------------------------------


def test_an_alarm_stays_until_acknowledged(store: Store) -> None:
    with store.write() as tx:
        first = log.add_alarm(tx, "key-alarm", "ward-a", "another key", NOW_MS)
        second = log.add_alarm(tx, "bug", None, "something", NOW_MS + 1)
        assert [row.id for row in log.alarms(tx)] == [second, first]
        log.acknowledge_alarm(tx, first)
        log.acknowledge_alarm(tx, first)
        assert [row.id for row in log.alarms(tx, unacknowledged_only=True)] == [second]
        assert [row.acknowledged for row in log.alarms(tx)] == [False, True]


def test_the_same_alarm_again_is_counted(store: Store) -> None:
    with store.write() as tx:
        first = log.add_alarm(tx, "bug", None, "something", NOW_MS)
        assert log.add_alarm(tx, "bug", None, "something", NOW_MS + 9) == first
        assert log.add_alarm(tx, "bug", "ward-a", "something", NOW_MS) != first
        (row,) = [row for row in log.alarms(tx) if row.id == first]
        assert (row.count, row.first_ms, row.last_ms) == (2, NOW_MS, NOW_MS + 9)
        log.acknowledge_alarm(tx, first)
        assert log.add_alarm(tx, "bug", None, "something", NOW_MS) != first, "a new one"


def test_alarms_are_bounded_acknowledged_ones_go_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_ALARMS", 3)
    with store.write() as tx:
        ids = [log.add_alarm(tx, "bug", None, str(number), NOW_MS) for number in range(3)]
        log.acknowledge_alarm(tx, ids[1])
        ids.append(log.add_alarm(tx, "bug", None, "3", NOW_MS))
        assert [row.id for row in log.alarms(tx)] == [ids[3], ids[2], ids[0]]
        ids.append(log.add_alarm(tx, "bug", None, "4", NOW_MS))
        assert [row.id for row in log.alarms(tx)] == [ids[4], ids[3], ids[2]]
    assert limits.MAX_ALARMS > 3


def test_an_unknown_alarm_is_said(store: Store) -> None:
    with store.write() as tx, pytest.raises(NotFoundError, match="no alarm 5"):
        log.acknowledge_alarm(tx, 5)
