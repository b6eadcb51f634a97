"""Pins: unique, unchanging, and what may change beside them."""

from dataclasses import replace
from typing import Any

import pytest

from medp2p.errors import ConflictError, KeyAlarmError, UnknownPeerError
from medp2p.vault import peers
from medp2p.vault.store import Store
from tests.unit.vault.stores import NOW_MS, key, peer


def test_a_peer_comes_back_as_it_was_put_in(store: Store) -> None:
    row = peer(
        sign_key=key(9),
        verified_ms=NOW_MS,
        verified_by="ana",
        told_name="Ward A \x1b[31m",
        told_department="radiology",
        told_place="north",
        software="medp2p 1",
        highest_version=1,
        addresses=("192.0.2.1:17820", "[fe80::1%eth0]:17820"),
        settings={"accept": "auto", "release": "folder:/srv/ü"},
        last_run=bytes(16),
        last_seen_ms=NOW_MS + 1,
    )
    with store.write() as tx:
        peers.add(tx, row)
    with store.read() as tx:
        assert peers.get(tx, "ward-1") == row
        assert peers.by_key(tx, key(1)) == row
        assert peers.by_key(tx, key(2)) is None


def test_peers_are_listed_by_name(store: Store) -> None:
    with store.write() as tx:
        for number in (3, 1, 2):
            peers.add(tx, peer(number))
    with store.read() as tx:
        assert [row.name for row in peers.all(tx)] == ["ward-1", "ward-2", "ward-3"]


def test_a_name_or_key_is_pinned_once(store: Store) -> None:
    with store.write() as tx:
        peers.add(tx, peer(1))
    with (
        pytest.raises(ConflictError, match="name ward-1 belongs to another"),
        store.write() as tx,
    ):
        peers.add(tx, peer(2, name="ward-1"))
    with (
        pytest.raises(ConflictError, match="already pinned as ward-1"),
        store.write() as tx,
    ):
        peers.add(tx, peer(1, name="other"))
    with store.read() as tx:
        assert peers.all(tx) == [peer(1)]


def test_fields_beside_the_pin_change(store: Store) -> None:
    with store.write() as tx:
        peers.add(tx, peer(1))
        changed = peers.update(tx, "ward-1", settings={"accept": "block"}, last_seen_ms=5)
        assert changed == replace(peer(1), settings={"accept": "block"}, last_seen_ms=5)
        assert peers.update(tx, "ward-1") == changed


@pytest.mark.parametrize(
    "changes", [{"noise_key": key(2)}, {"name": "b"}, {"created_ms": 1}, {"colour": "red"}]
)
def test_a_pin_never_changes(store: Store, changes: dict[str, Any]) -> None:
    with store.write() as tx:
        peers.add(tx, peer(1))
        with pytest.raises(TypeError, match=next(iter(changes))):
            peers.update(tx, "ward-1", **changes)


def test_a_signing_key_is_set_once(store: Store) -> None:
    with store.write() as tx:
        peers.add(tx, peer(1))
        peers.update(tx, "ward-1", sign_key=key(8))
        peers.update(tx, "ward-1", sign_key=key(8))
        with pytest.raises(KeyAlarmError, match="another signing key"):
            peers.update(tx, "ward-1", sign_key=key(9))
        with pytest.raises(KeyAlarmError):
            peers.update(tx, "ward-1", sign_key=None)
        assert peers.get(tx, "ward-1").sign_key == key(8)


def test_the_highest_version_never_goes_down(store: Store) -> None:
    with store.write() as tx:
        peers.add(tx, peer(1))
        assert peers.update(tx, "ward-1", highest_version=3).highest_version == 3
        assert peers.update(tx, "ward-1", highest_version=2).highest_version == 3


def test_values_of_another_type_are_refused(store: Store) -> None:
    with store.write() as tx:
        peers.add(tx, peer(1))
        with pytest.raises(TypeError, match="type float"):
            peers.update(tx, "ward-1", last_seen_ms=1.5)


def test_who_is_unknown_is_said(store: Store) -> None:
    with store.write() as tx:
        for act in (peers.get, peers.update, peers.remove):
            with pytest.raises(UnknownPeerError, match="no peer is called nobody"):
                act(tx, "nobody")
            with pytest.raises(UnknownPeerError, match=r"no peer is called ''$"):
                act(tx, "")


def test_a_removed_peer_may_be_pinned_anew_with_another_key(store: Store) -> None:
    with store.write() as tx:
        peers.add(tx, peer(1))
        peers.remove(tx, "ward-1")
        peers.add(tx, peer(2, name="ward-1"))
        assert peers.by_key(tx, key(1)) is None
        assert peers.get(tx, "ward-1").noise_key == key(2)
