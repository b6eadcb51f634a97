"""Journal: claims lead, done follows, one digest per chunk; many rows; against a plain model."""

import itertools
import random
import tempfile
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from medp2p.errors import ConflictError, NotFoundError
from medp2p.vault import journal, transfers
from medp2p.vault.store import Store, Tx
from tests.unit.vault.stores import NOW_MS, digest, transfer, transfer_id

ID = transfer_id(1)
OTHER = transfer_id(2)


@pytest.fixture
def tx_store(store: Store) -> Store:
    """A database with two transfers."""
    with store.write() as tx:
        transfers.add(tx, transfer(1))
        transfers.add(tx, transfer(2))
    return store


def pairs(indexes: Iterable[int]) -> list[tuple[int, bytes]]:
    return [(index, digest(index)) for index in indexes]


def test_a_chunk_is_claimed_then_done(tx_store: Store) -> None:
    with tx_store.write() as tx:
        assert journal.claim(tx, ID, pairs([4, 2])) == []
        assert journal.claims(tx, ID) == dict(pairs([2, 4]))
        assert journal.done_ranges(tx, ID) == []
        assert journal.done(tx, ID, [2]) == 1
        assert journal.claims(tx, ID) == dict(pairs([4]))
        assert journal.done_ranges(tx, ID) == [(2, 3)]
        assert journal.done_count(tx, ID) == 1
        assert journal.digest_map(tx, ID) == dict(pairs([2, 4]))


def test_another_digest_is_told_and_changes_nothing(tx_store: Store) -> None:
    with tx_store.write() as tx:
        journal.claim(tx, ID, pairs([0, 1, 2]))
        journal.done(tx, ID, [1])
        changed = [(0, digest(90)), (1, digest(91)), (2, digest(2)), (3, digest(3))]
        assert journal.claim(tx, ID, changed) == [0, 1]
        assert journal.digest_map(tx, ID) == dict(pairs([0, 1, 2, 3]))
        assert journal.claims(tx, ID) == dict(pairs([0, 2, 3]))


def test_one_call_with_two_digests_for_a_chunk_is_told(tx_store: Store) -> None:
    with tx_store.write() as tx:
        assert journal.claim(tx, ID, [(7, digest(1)), (7, digest(2))]) == [7]
        assert journal.digest_map(tx, ID) == {7: digest(1)}


def test_claiming_again_with_the_same_digest_is_no_conflict(tx_store: Store) -> None:
    with tx_store.write() as tx:
        journal.claim(tx, ID, pairs([0, 1]))
        journal.done(tx, ID, [0])
        assert journal.claim(tx, ID, pairs([0, 1, 2])) == []
        assert journal.done_ranges(tx, ID) == [(0, 1)], "a done chunk stays done"


def test_what_was_never_claimed_cannot_be_done(tx_store: Store) -> None:
    with tx_store.write() as tx:
        journal.claim(tx, ID, pairs([0]))
    with (
        pytest.raises(ConflictError, match=f"chunk 5 of transfer {ID} was never claimed"),
        tx_store.write() as tx,
    ):
        journal.done(tx, ID, [0, 5])
    with tx_store.read() as tx:
        assert journal.claims(tx, ID) == dict(pairs([0])), "rolled back as a whole"


def test_done_again_counts_nothing(tx_store: Store) -> None:
    with tx_store.write() as tx:
        journal.claim(tx, ID, pairs([0, 1]))
        assert journal.done(tx, ID, [0]) == 1
        assert journal.done(tx, ID, [0, 1]) == 1
        assert journal.done(tx, ID, [0, 1]) == 0


def test_nothing_to_do_is_fine(tx_store: Store) -> None:
    with tx_store.write() as tx:
        assert journal.claim(tx, ID, []) == []
        assert journal.put_sent(tx, ID, []) == []
        assert journal.done(tx, ID, []) == 0
        assert journal.missing_ranges(tx, ID, 0) == []
        assert journal.missing_ranges(tx, ID, 3) == [(0, 3)]
        assert list(journal.digests(tx, ID)) == []


def test_the_sender_keeps_what_it_sent(tx_store: Store) -> None:
    with tx_store.write() as tx:
        assert journal.put_sent(tx, ID, pairs([0, 1])) == []
        assert journal.put_sent(tx, ID, [(1, digest(1)), (2, digest(2)), (0, digest(9))]) == [0]
        assert list(journal.digests(tx, ID)) == [digest(0), digest(1), digest(2)]


def test_transfers_do_not_mix(tx_store: Store) -> None:
    with tx_store.write() as tx:
        journal.claim(tx, ID, pairs([0, 1]))
        journal.claim(tx, OTHER, [(0, digest(50))])
        journal.done(tx, ID, [0, 1])
        assert journal.done_ranges(tx, OTHER) == []
        journal.forget(tx, ID)
        assert journal.digest_map(tx, ID) == {}
        assert journal.claims(tx, OTHER) == {0: digest(50)}


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33)])
def test_a_digest_has_32_bytes(tx_store: Store, bad: bytes) -> None:
    with pytest.raises(ConflictError, match="refused a record"), tx_store.write() as tx:
        journal.claim(tx, ID, [(0, bad)])


def test_an_unknown_transfer_is_said(tx_store: Store) -> None:
    with tx_store.write() as tx, pytest.raises(NotFoundError, match="no transfer"):
        journal.claim(tx, transfer_id(3), pairs([0]))


@pytest.mark.parametrize(
    ("done", "ranges", "missing"),
    [
        ([], [], [(0, 8)]),
        ([0], [(0, 1)], [(1, 8)]),
        ([7], [(7, 8)], [(0, 7)]),
        ([0, 7], [(0, 1), (7, 8)], [(1, 7)]),
        ([0, 2, 4], [(0, 1), (2, 3), (4, 5)], [(1, 2), (3, 4), (5, 8)]),
        ([1, 2, 3, 6], [(1, 4), (6, 7)], [(0, 1), (4, 6), (7, 8)]),
        (range(8), [(0, 8)], []),
        (range(9), [(0, 9)], []),
        ([8, 9], [(8, 10)], [(0, 8)]),
    ],
)
def test_ranges(
    tx_store: Store,
    done: Iterable[int],
    ranges: list[tuple[int, int]],
    missing: list[tuple[int, int]],
) -> None:
    with tx_store.write() as tx:
        journal.claim(tx, ID, pairs(range(10)))
        journal.done(tx, ID, list(done))
        assert journal.done_ranges(tx, ID) == ranges
        assert journal.missing_ranges(tx, ID, 8) == missing


def test_two_hundred_thousand_chunks(tx_store: Store) -> None:
    """A stream of 200 GB: quick, and streamed without holding it."""
    count = 200_000
    holes = set(random.Random(1).sample(range(count), 300))
    rows = pairs(range(count))
    start = time.perf_counter()
    with tx_store.write() as tx:
        assert journal.claim(tx, ID, rows) == []
        assert journal.done(tx, ID, [i for i in range(count) if i not in holes]) == count - 300
    with tx_store.read() as tx:
        missing = journal.missing_ranges(tx, ID, count)
        assert {index for first, end in missing for index in range(first, end)} == holes
        assert set(journal.claims(tx, ID)) == holes
        tracemalloc.start()
        try:
            taken = sum(1 for _ in journal.digests(tx, ID))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken == count - 300
        assert peak < 2_000_000
    with tx_store.write() as tx:
        journal.forget(tx, ID)
    # About 1.5 s on a slow machine; what this would catch is work per pair of chunks.
    assert time.perf_counter() - start < 30


def test_a_group_costs_one_commit(tx_store: Store) -> None:
    before = tx_store.commits
    with tx_store.write() as tx:
        journal.claim(tx, ID, pairs(range(64)))
    assert tx_store.commits == before + 1


class JournalMachine(RuleBasedStateMachine):
    """The journal of a transfer against two dicts, with rollbacks and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store.db"
        self.store = Store.open(self.path, create=True, now_ms=NOW_MS)
        self.digests: dict[int, bytes] = {}
        self.done: set[int] = set()

    @initialize()
    def add(self) -> None:
        with self.store.write() as tx:
            transfers.add(tx, transfer(1))

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    groups = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), max_size=8)

    def _take(self, group: list[tuple[int, int]], done: bool) -> tuple[list[int], list[int]]:
        """Return (indexes in conflict, indexes that are new), changing the model."""
        conflicts, fresh = [], []
        for index, variant in group:
            if index not in self.digests:
                self.digests[index] = digest(index + 100 * variant)
                fresh.append(index)
                if done:
                    self.done.add(index)
            if self.digests[index] != digest(index + 100 * variant):
                conflicts.append(index)
        return conflicts, fresh

    @rule(group=groups, sent=st.booleans())
    def claim(self, group: list[tuple[int, int]], sent: bool) -> None:
        act = journal.put_sent if sent else journal.claim
        with self.store.write() as tx:
            got = act(tx, ID, [(index, digest(index + 100 * v)) for index, v in group])
        assert got == self._take(group, sent)[0]

    @rule(indexes=st.sets(st.integers(0, 22), max_size=8))
    def finish(self, indexes: set[int]) -> None:
        if not indexes <= self.digests.keys():
            with pytest.raises(ConflictError), self.store.write() as tx:
                journal.done(tx, ID, indexes)
            return
        with self.store.write() as tx:
            assert journal.done(tx, ID, indexes) == len(indexes - self.done)
        self.done |= indexes

    @rule(group=groups)
    def roll_back(self, group: list[tuple[int, int]]) -> None:
        def act() -> None:
            with self.store.write() as tx:
                journal.claim(tx, ID, [(index, digest(index)) for index, _ in group])
                journal.done(tx, ID, {index for index, _ in group})
                raise InterruptedError

        with pytest.raises(InterruptedError):
            act()

    @rule()
    def forget(self) -> None:
        with self.store.write() as tx:
            journal.forget(tx, ID)
        self.digests.clear()
        self.done.clear()

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store.open(self.path, create=False, now_ms=NOW_MS)

    @invariant()
    def same(self) -> None:
        with self.store.read() as tx:
            if transfers.maybe(tx, ID) is not None:
                self._compare(tx)

    def _compare(self, tx: Tx) -> None:
        assert journal.digest_map(tx, ID) == self.digests
        open_claims = {i: d for i, d in self.digests.items() if i not in self.done}
        assert journal.claims(tx, ID) == open_claims
        assert list(journal.digests(tx, ID)) == [self.digests[i] for i in sorted(self.done)]
        ranges = journal.done_ranges(tx, ID)
        assert [i for first, end in ranges for i in range(first, end)] == sorted(self.done)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(ranges))
        missing = journal.missing_ranges(tx, ID, 15)
        whole = [i for first, end in missing for i in range(first, end)]
        assert whole == [i for i in range(15) if i not in self.done]


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
