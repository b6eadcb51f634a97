"""Facts: numbered without gaps, repeated until acknowledged, applied once; against a model."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from medp2p.errors import ConflictError
from medp2p.vault import facts
from medp2p.vault.store import Store
from tests.unit.vault.stores import NOW_MS, key, transfer_id


def fact(number: int, direction: str = "out", **changes: Any) -> facts.FactRow:
    values: dict[str, Any] = {
        "peer_key": key(1),
        "direction": direction,
        "number": number,
        "transfer": transfer_id(number % 3),
        "kind": "sealed",
        "time_ms": NOW_MS + number,
        "statement": b"statement %d" % number,
        "signature": b"%064d" % number,
        "acked": direction == "in",
    }
    return facts.FactRow(**{**values, **changes})


def test_our_facts_wait_until_acknowledged(store: Store) -> None:
    with store.write() as tx:
        assert facts.next_number(tx, key(1)) == 1
        for number in (1, 2, 3):
            facts.add_out(tx, fact(number))
        assert facts.next_number(tx, key(1)) == 4
        assert facts.pending(tx, key(1), 10) == [fact(1), fact(2), fact(3)]
        assert facts.pending(tx, key(1), 2) == [fact(1), fact(2)]
        assert facts.acknowledge(tx, key(1), 2) == 2
        assert facts.pending(tx, key(1), 10) == [fact(3)]
        assert facts.acknowledge(tx, key(1), 1) == 0, "an older one takes nothing back"
        assert facts.acknowledge(tx, key(1), 99) == 1
        assert facts.pending(tx, key(1), 10) == []
        assert facts.next_number(tx, key(1)) == 4, "numbers go on"


@pytest.mark.parametrize("number", [1, 3])
def test_a_number_that_is_not_the_next_is_refused(store: Store, number: int) -> None:
    with store.write() as tx:
        facts.add_out(tx, fact(1))
        with pytest.raises(ConflictError, match="whose next one is 2"):
            facts.add_out(tx, fact(number))


def test_their_facts_are_applied_once(store: Store) -> None:
    with store.write() as tx:
        assert facts.last_in(tx, key(1)) == 0
        assert facts.add_in(tx, fact(1, "in"))
        assert not facts.add_in(tx, fact(1, "in"))
        assert facts.add_in(tx, fact(2, "in"))
        assert not facts.add_in(tx, fact(1, "in"))
        assert facts.last_in(tx, key(1)) == 2


def test_a_gap_is_let_pass_and_may_be_filled_later(store: Store) -> None:
    with store.write() as tx:
        assert facts.add_in(tx, fact(5, "in"))
        assert facts.add_in(tx, fact(4, "in"))
        assert not facts.add_in(tx, fact(4, "in"))
        assert facts.last_in(tx, key(1)) == 5


def test_one_number_for_two_statements_is_said(store: Store) -> None:
    with store.write() as tx:
        facts.add_in(tx, fact(1, "in"))
        with pytest.raises(ConflictError, match="fact number 1 for two different") as caught:
            facts.add_in(tx, fact(1, "in", signature=bytes(64)))
        assert "restored from a backup" in (caught.value.hint or "")


def test_the_same_fact_sealed_anew_is_the_same_fact(store: Store) -> None:
    with store.write() as tx:
        facts.add_in(tx, fact(1, "in"))
        assert not facts.add_in(tx, fact(1, "in", statement=b"sealed with another nonce"))


def test_a_number_that_the_peer_has_seen_is_never_used_again(store: Store) -> None:
    """This home was put back to an older state, and the peer acknowledges more than it knows."""
    with store.write() as tx:
        facts.add_out(tx, fact(1))
        assert not facts.raise_floor(tx, key(1), 0)
        assert not facts.raise_floor(tx, key(1), 1)
        assert facts.raise_floor(tx, key(1), 5)
        assert facts.next_number(tx, key(1)) == 6
        assert facts.next_number(tx, key(2)) == 1
        assert not facts.raise_floor(tx, key(1), 5), "told once"
        facts.add_out(tx, fact(6))
        assert facts.next_number(tx, key(1)) == 7


def test_a_statement_may_be_sealed_in_another_way(store: Store) -> None:
    with store.write() as tx:
        facts.add_out(tx, fact(1))
        facts.add_out(tx, fact(2))
        facts.add_in(tx, fact(1, "in"))
        facts.replace_statement(tx, fact(1), b"sealed to the vault")
        assert facts.pending(tx, key(1)) == [fact(1, statement=b"sealed to the vault"), fact(2)]
        assert fact(1, "in") in facts.of_transfer(tx, key(1), transfer_id(1))


def test_peers_and_directions_do_not_mix(store: Store) -> None:
    with store.write() as tx:
        facts.add_out(tx, fact(1))
        facts.add_out(tx, fact(1, peer_key=key(2)))
        facts.add_in(tx, fact(7, "in"))
        assert facts.next_number(tx, key(1)) == 2
        assert facts.last_in(tx, key(2)) == 0
        facts.acknowledge(tx, key(2), 1)
        assert facts.pending(tx, key(1), 10) == [fact(1)]
        assert facts.pending(tx, key(2), 10) == []


def test_all_facts_of_a_transfer_are_found(store: Store) -> None:
    with store.write() as tx:
        for number in (1, 2, 3, 4):
            facts.add_out(tx, fact(number))
        facts.add_in(tx, fact(4, "in", time_ms=NOW_MS))
        assert facts.of_transfer(tx, key(1), transfer_id(1)) == [
            fact(4, "in", time_ms=NOW_MS),
            fact(1),
            fact(4),
        ]
        assert facts.of_transfer(tx, key(1), transfer_id(9)) == []
        assert facts.count_in(tx, key(1), transfer_id(1)) == 1


def test_what_another_peer_says_of_a_transfer_is_no_fact_about_it(store: Store) -> None:
    with store.write() as tx:
        facts.add_in(tx, fact(1, "in", peer_key=key(2), kind="opened"))
        assert facts.of_transfer(tx, key(1), transfer_id(1)) == []
        assert facts.count_in(tx, key(1), transfer_id(1)) == 0
        assert facts.first_time(tx, key(1), transfer_id(1), "opened") is None


def test_few_are_noted_of_what_is_not_kept(store: Store) -> None:
    with store.write() as tx:
        facts.add_in(tx, fact(1, "in"))
        for number in (2, 9, 8, 7, 3):
            facts.add_in(tx, fact(number, "in", transfer=""))
            facts.drop_noted(tx, key(1), 2)
            facts.drop_noted(tx, key(2), 2)
        assert [row.number for row in facts.of_transfer(tx, key(1), "")] == [8, 9]
        assert facts.last_in(tx, key(1)) == 9
        assert facts.count_in(tx, key(1), transfer_id(1)) == 1


def test_the_first_time_of_a_kind_is_found(store: Store) -> None:
    with store.write() as tx:
        facts.add_out(tx, fact(1, kind="sealed"))
        facts.add_out(tx, fact(2, transfer=transfer_id(1), kind="opened", time_ms=NOW_MS + 9))
        facts.add_out(tx, fact(3, transfer=transfer_id(1), kind="opened", time_ms=NOW_MS + 5))
        facts.add_out(tx, fact(4, transfer=transfer_id(2), kind="previewed"))
        assert facts.first_time(tx, key(1), transfer_id(1), "opened") == NOW_MS + 5
        assert facts.first_time(tx, key(1), transfer_id(1), "previewed") is None


@pytest.mark.parametrize("changes", [{"signature": bytes(63)}, {"peer_key": b""}])
def test_a_malformed_fact_is_refused(store: Store, changes: dict[str, Any]) -> None:
    with pytest.raises(ConflictError, match="refused a record"), store.write() as tx:
        facts.add_in(tx, fact(1, "in", **changes))


class FactsMachine(RuleBasedStateMachine):
    """Two workstations and a line that loses, repeats and delays; both restart."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.stores = [self._open(side, create=True) for side in (0, 1)]
        self.said: list[int] = []
        self.applied: list[int] = []
        self.on_the_way: list[list[facts.FactRow]] = []
        self.answers: list[int] = []
        self.acked = 0

    def _open(self, side: int, *, create: bool) -> Store:
        path = Path(self.folder.name) / f"{side}.db"
        return Store.open(path, create=create, now_ms=NOW_MS)

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    @rule()
    def say(self) -> None:
        with self.stores[0].write() as tx:
            number = facts.next_number(tx, key(1))
            facts.add_out(tx, fact(number))
        self.said.append(number)

    @rule(limit=st.integers(1, 3))
    def send(self, limit: int) -> None:
        with self.stores[0].read() as tx:
            self.on_the_way.append(facts.pending(tx, key(1), limit))

    @rule(data=st.data(), keep=st.booleans())
    def arrive(self, data: st.DataObject, keep: bool) -> None:
        if not self.on_the_way:
            return
        at = data.draw(st.integers(0, len(self.on_the_way) - 1))
        rows = self.on_the_way[at] if keep else self.on_the_way.pop(at)
        with self.stores[1].write() as tx:
            for row in rows:
                if facts.add_in(tx, row):
                    self.applied.append(row.number)
            self.answers.append(facts.last_in(tx, key(1)))

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if self.answers:
            number = data.draw(st.sampled_from(self.answers))
            with self.stores[0].write() as tx:
                facts.acknowledge(tx, key(1), number)
            self.acked = max(self.acked, number)

    @rule(side=st.integers(0, 1))
    def restart(self, side: int) -> None:
        self.stores[side].close()
        self.stores[side] = self._open(side, create=False)

    @invariant()
    def in_order_and_once(self) -> None:
        assert self.applied == self.said[: len(self.applied)]
        with self.stores[0].read() as tx:
            waiting = [row.number for row in facts.pending(tx, key(1), 1000)]
        assert waiting == self.said[self.acked :]
        assert self.acked <= len(self.applied), "acknowledged is applied"


TestFactsMachine = FactsMachine.TestCase
TestFactsMachine.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
