"""Transfers: rows, prefixes, lists, ends, and their sealed blobs."""

from dataclasses import replace
from typing import Any

import pytest

from medp2p.errors import ConflictError, NotFoundError
from medp2p.model import ENDED, Direction, Priority, Reason, State
from medp2p.vault import meta, transfers
from medp2p.vault.store import Store
from tests.unit.vault.stores import NOW_MS, key, transfer, transfer_id

FULL = transfer(
    direction=Direction.OUT,
    state=State.WAITING,
    priority=Priority.STAT,
    reason=Reason(code="no-space", text="12 GB are needed, 3 GB are free", since_ms=NOW_MS),
    held='{"by":"rule"}',
    offer=key(5),
    root=key(6),
    decided_ms=1,
    sealed_ms=2,
    released_ms=3,
    finished_ms=4,
    chunks_done=7,
    scan_id=transfer_id(900),
    error={"code": "no-space", "text": "full", "hint": None, "retryable": True},
    skipped=1,
    erasing=True,
)


def scan(number: int = 900, **changes: Any) -> meta.ScanRow:
    values = {
        "id": transfer_id(number),
        "created_ms": NOW_MS,
        "entries": 3,
        "files": 2,
        "file_bytes": 5,
        "skipped": 1,
    }
    return meta.ScanRow(**{**values, **changes})


@pytest.mark.parametrize("row", [FULL, transfer()])
def test_a_transfer_comes_back_as_it_was_put_in(store: Store, row: transfers.TransferRow) -> None:
    with store.write() as tx:
        meta.add_scan(tx, scan())
        transfers.add(tx, row)
    with store.read() as tx:
        back = transfers.get(tx, row.id)
        assert back == row
        assert type(back.state) is State
        assert type(back.direction) is Direction
        assert type(back.priority) is Priority
        assert transfers.maybe(tx, row.id) == row


def test_an_unknown_id_is_said(store: Store) -> None:
    with store.read() as tx:
        assert transfers.maybe(tx, transfer_id(1)) is None
        with pytest.raises(NotFoundError, match=f"no transfer {transfer_id(1)}"):
            transfers.get(tx, transfer_id(1))


def test_an_id_is_used_once_whatever_its_direction_or_peer(store: Store) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer())
        with pytest.raises(ConflictError, match="already known"):
            transfers.add(tx, transfer(direction=Direction.OUT, peer_key=key(2)))


def test_a_unique_prefix_finds_its_transfer(store: Store) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer(id="abc" + "a" * 23))
        transfers.add(tx, transfer(id="abd" + "a" * 23, direction=Direction.OUT))
        assert transfers.find(tx, "abc").id == "abc" + "a" * 23
        assert transfers.find(tx, " ABD ").id == "abd" + "a" * 23
        assert transfers.find(tx, "abc" + "a" * 23).id == "abc" + "a" * 23
        assert transfers.find(tx, "ab", Direction.OUT).id == "abd" + "a" * 23
        with pytest.raises(NotFoundError, match=r"several.*: abca+, abda+$") as caught:
            transfers.find(tx, "ab")
        assert caught.value.hint == "type more of the id"


@pytest.mark.parametrize("prefix", ["", "b", "%", "_", "*", "~", "a'--", "ü", "abc" * 20])
def test_a_prefix_of_none_is_refused(store: Store, prefix: str) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer(id="a" * 26))
        with pytest.raises(NotFoundError, match="no transfer has an id that begins so"):
            transfers.find(tx, prefix)


@pytest.mark.parametrize(
    ("direction", "hint"),
    [
        (None, "`medp2p outbox` and `medp2p inbox` list them"),
        (Direction.OUT, "`medp2p outbox` lists them"),
        (Direction.IN, "`medp2p inbox` lists them"),
    ],
)
def test_the_hint_names_the_box(store: Store, direction: Direction | None, hint: str) -> None:
    with store.read() as tx, pytest.raises(NotFoundError) as caught:
        transfers.find(tx, "a", direction)
    assert caught.value.hint == hint


def test_many_candidates_are_cut(store: Store) -> None:
    with store.write() as tx:
        for letter in "abcdefg":
            transfers.add(tx, transfer(id="a" + letter * 25))
        with pytest.raises(NotFoundError, match=r"aeeeee.* and more$") as caught:
            transfers.find(tx, "a")
        assert "affff" not in caught.value.text


def test_lists_are_filtered_and_paged_newest_first(store: Store) -> None:
    with store.write() as tx:
        for number in range(1, 7):
            out = number % 2 == 0
            transfers.add(
                tx,
                transfer(
                    number,
                    direction=Direction.OUT if out else Direction.IN,
                    state=State.SEALED if number < 4 else State.OFFERED,
                    peer_key=key(number // 4),
                ),
            )

        def numbers(**terms: Any) -> list[int]:
            ids = [row.id for row in transfers.list(tx, **terms)]
            return [number for one in ids for number in range(1, 7) if transfer_id(number) == one]

        assert numbers() == [6, 5, 4, 3, 2, 1]
        assert numbers(direction=Direction.OUT) == [6, 4, 2]
        assert numbers(states=[State.SEALED]) == [3, 2, 1]
        assert numbers(states=ENDED) == []
        assert numbers(states=[]) == []
        assert numbers(peer_key=key(1)) == [6, 5, 4]
        assert numbers(limit=2) == [6, 5]
        assert numbers(limit=2, before=transfer_id(5)) == [4, 3]
        assert numbers(direction=Direction.IN, states=[State.OFFERED], peer_key=key(1)) == [5]


def test_urgent_ones_are_first_among_the_open_ones(store: Store) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer(1))
        transfers.add(tx, transfer(2, priority=Priority.STAT))
        transfers.add(tx, transfer(3, state=State.DECLINED))
        transfers.add(tx, transfer(4, state=State.RELEASED))
        transfers.add(tx, transfer(5, peer_key=key(2)))
        transfers.add(tx, transfer(6, state=State.SEALED, direction=Direction.OUT))
        ids = [row.id for row in transfers.open_for_peer(tx, key(1))]
        assert ids == [transfer_id(2), transfer_id(1), transfer_id(6)]
        (outgoing,) = transfers.open_for_peer(tx, key(1), Direction.OUT)
        assert outgoing.id == transfer_id(6)


def test_transfers_are_counted(store: Store) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer(1))
        transfers.add(tx, transfer(2, peer_key=key(2)))
        transfers.add(tx, transfer(3, state=State.SEALED, direction=Direction.OUT))
        assert transfers.count(tx) == 3
        assert transfers.count(tx, peer_key=key(1), state=State.OFFERED) == 1
        assert transfers.count(tx, direction=Direction.IN) == 2


def test_an_update_changes_what_it_names(store: Store) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer())
        reason = Reason(code="peer-away", text="away", since_ms=3)
        changed = transfers.update(
            tx, transfer_id(1), state=State.PAUSED, reason=reason, erasing=True
        )
        assert changed == replace(transfer(), state=State.PAUSED, reason=reason, erasing=True)
        assert [row.id for row in transfers.erasing(tx)] == [transfer_id(1)]
        assert transfers.update(tx, transfer_id(1), reason=None).reason is None
        assert transfers.update(tx, transfer_id(1)) == replace(changed, reason=None)


@pytest.mark.parametrize("changes", [{"id": "x"}, {"peer_key": key(2)}, {"number": 3}])
def test_what_identifies_a_transfer_never_changes(store: Store, changes: dict[str, Any]) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer())
        with pytest.raises(TypeError, match="not a field of a transfer that changes"):
            transfers.update(tx, transfer_id(1), **changes)
        with pytest.raises(TypeError, match="type float"):
            transfers.update(tx, transfer_id(1), chunks_done=0.5)


@pytest.mark.parametrize("end", sorted(ENDED))
def test_nothing_leaves_an_end(store: Store, end: State) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer(state=end))
        with pytest.raises(ConflictError, match=f"has ended: it is {end}"):
            transfers.update(tx, transfer_id(1), state=State.RECEIVING)
        assert transfers.update(tx, transfer_id(1), state=end, finished_ms=9).finished_ms == 9


def test_a_blob_replaces_the_one_of_its_name(store: Store) -> None:
    owner = transfer_id(1)
    with store.write() as tx:
        transfers.put_blob(tx, owner, "manifest", "spool", b"one")
        transfers.put_blob(tx, owner, "manifest", "vault", b"two")
        transfers.put_blob(tx, owner, "summary", "vault", b"")
        transfers.put_blob(tx, transfer_id(2), "summary", "spool", b"of another")
        assert transfers.get_blob(tx, owner, "manifest") == ("vault", b"two")
        assert transfers.get_blob(tx, owner, "summary") == ("vault", b"")
        assert transfers.get_blob(tx, owner, "sources") is None
        assert transfers.blob_names(tx, owner) == {"manifest": "vault", "summary": "vault"}


def test_blobs_are_deleted_by_name_or_all(store: Store) -> None:
    owner = transfer_id(1)
    with store.write() as tx:
        for name in ("manifest", "summary", "filekey"):
            transfers.put_blob(tx, owner, name, "spool", b"x")
        transfers.put_blob(tx, transfer_id(2), "summary", "spool", b"of another")
        transfers.delete_blobs(tx, owner, ["filekey", "released"])
        assert set(transfers.blob_names(tx, owner)) == {"manifest", "summary"}
        transfers.delete_blobs(tx, owner)
        assert transfers.blob_names(tx, owner) == {}
        assert transfers.get_blob(tx, transfer_id(2), "summary") == ("spool", b"of another")


def test_an_unknown_kind_of_key_is_refused(store: Store) -> None:
    with pytest.raises(ConflictError, match="key_kind"), store.write() as tx:
        transfers.put_blob(tx, transfer_id(1), "summary", "clear", b"x")


def test_meta_values_are_set_replaced_and_removed(store: Store) -> None:
    with store.write() as tx:
        assert meta.get(tx, "keys") is None
        meta.put(tx, "keys", "a")
        meta.put(tx, "keys", "b")
        assert meta.get(tx, "keys") == "b"
        meta.put(tx, "keys", None)
        assert meta.get(tx, "keys") is None


def test_a_scan_comes_back_and_is_used_once(store: Store) -> None:
    with store.write() as tx:
        meta.add_scan(tx, scan())
        assert meta.unused_scans(tx, scan().created_ms + 1) == [scan()]
        with pytest.raises(ConflictError, match="already known"):
            meta.add_scan(tx, scan())


def test_scans_that_nothing_needs_are_found_and_removed_with_their_blobs(store: Store) -> None:
    with store.write() as tx:
        for number in (900, 901, 902, 903):
            meta.add_scan(tx, scan(number, created_ms=number))
            transfers.put_blob(tx, transfer_id(number), "sources", "spool", b"x")
        transfers.add(tx, transfer(1, scan_id=transfer_id(900)))
        transfers.add(tx, transfer(2, scan_id=transfer_id(901), state=State.CANCELLED))
        unused = [row.id for row in meta.unused_scans(tx, before_ms=903)]
        assert unused == [transfer_id(901), transfer_id(902)]
        for one in unused:
            meta.remove_scan(tx, one)
        assert transfers.get_blob(tx, transfer_id(901), "sources") is None
        assert transfers.get(tx, transfer_id(2)).scan_id is None
        assert transfers.get(tx, transfer_id(1)).scan_id == transfer_id(900)


def test_what_is_whole_never_becomes_unfinished_again(store: Store) -> None:
    with store.write() as tx:
        transfers.add(tx, transfer(1, state=State.SEALED))
        with pytest.raises(ConflictError, match="is whole"):
            transfers.update(tx, transfer(1).id, state=State.RECEIVING)
        assert transfers.update(tx, transfer(1).id, state=State.DISCARDED).state is State.DISCARDED
