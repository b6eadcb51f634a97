from collections.abc import Iterator
from pathlib import Path

import pytest
from pyrage import x25519

from medp2p import limits
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.pins import Pinned, Proof, pin_by_code
from medp2p.model import Actor
from medp2p.proto.messages import PairDone
from medp2p.vault import peers
from medp2p.vault.peers import PeerRow
from medp2p.vault.sealing import VaultBox
from medp2p.vault.store import Store

NOW = 1_700_000_000_000
ANNA = Actor(os_user="anna", via="cli")
KEY, OTHER = b"k" * 32, b"o" * 32
SIGN, SIGN_2 = b"s" * 32, b"t" * 32


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store.db", create=True, now_ms=NOW)
    yield store
    store.close()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(VaultBox([str(x25519.Identity.generate().to_public())], None), lambda: NOW)


def proof(
    key: bytes = KEY, sign: bytes = SIGN, name: str = "Ward A", address: str | None = None
) -> Proof:
    told = PairDone(sign_key=sign, name=name, department="CT", place="2nd floor", port=0)
    return Proof(noise_key=key, told=told, version=1, address=address)


def pin(store: Store, ledger: Ledger, wanted: Proof, now_ms: int = NOW) -> Pinned:
    with store.write() as tx:
        return pin_by_code(tx, ledger, ANNA, wanted, now_ms)


def test_a_new_key_is_pinned_under_a_name_of_what_it_told(store: Store, ledger: Ledger) -> None:
    assert pin(store, ledger, proof(address="10.0.0.1:5")) == Pinned("ward-a")
    with store.read() as tx:
        assert peers.get(tx, "ward-a") == PeerRow(
            name="ward-a", noise_key=KEY, sign_key=SIGN, source="code", created_ms=NOW,
            verified_ms=NOW, verified_by="anna", told_name="Ward A", told_department="CT",
            told_place="2nd floor", highest_version=1, addresses=("10.0.0.1:5",),
        )  # fmt: skip
        (record,) = ledger.list(tx, 10)
    assert (record["event"], record["outcome"], record["peer"]) == ("pair", "ok", "ward-a")


def test_another_key_never_takes_a_pinned_name(store: Store, ledger: Ledger) -> None:
    pin(store, ledger, proof())
    assert pin(store, ledger, proof(key=OTHER)) == Pinned("ward-a-2", taken="ward-a")
    with store.read() as tx:
        assert peers.get(tx, "ward-a").noise_key == KEY
        assert peers.get(tx, "ward-a-2").noise_key == OTHER
        assert ledger.list(tx, 10)[1]["detail"] == {"source": "code", "name_taken": "ward-a"}


def test_pairing_again_keeps_name_and_settings_and_refreshes(store: Store, ledger: Ledger) -> None:
    with store.write() as tx:
        peers.add(
            tx,
            PeerRow(name="reader", noise_key=KEY, source="hand", created_ms=1,
                    settings={"accept": "auto"}, addresses=("a:1",)),
        )  # fmt: skip
    assert pin(store, ledger, proof(address="b:2")) == Pinned("reader")
    with store.read() as tx:
        row = peers.get(tx, "reader")
    assert (row.source, row.verified_ms, row.sign_key) == ("code", NOW, SIGN)
    assert (row.created_ms, row.settings) == (1, {"accept": "auto"})
    assert (row.told_name, row.addresses) == ("Ward A", ("a:1", "b:2"))
    pin(store, ledger, proof(address="b:2"))
    with store.read() as tx:
        assert peers.get(tx, "reader").addresses == ("a:1", "b:2")


def test_another_signing_key_is_an_alarm_and_changes_nothing(store: Store, ledger: Ledger) -> None:
    pin(store, ledger, proof())
    with store.read() as tx:
        before = peers.get(tx, "ward-a")
    for _ in range(2):
        pinned = pin(store, ledger, proof(sign=SIGN_2), NOW + 5)
        assert pinned.alarm is not None
        assert "another signing key" in pinned.alarm.text
        assert "peers remove ward-a" in str(pinned.alarm.hint)
    with store.read() as tx:
        assert peers.get(tx, "ward-a") == before
        (alarm,) = ledger.alarms(tx)
        assert (alarm["kind"], alarm["peer"], alarm["count"]) == ("key-alarm", "ward-a", 2)
        assert [row["event"] for row in ledger.list(tx, 10)] == ["pair", "alarm"]


def test_addresses_are_bounded(store: Store, ledger: Ledger) -> None:
    for number in range(limits.MAX_ADDRESSES_PER_PEER + 3):
        pin(store, ledger, proof(address=f"10.0.0.{number}:1"))
    with store.read() as tx:
        assert len(peers.get(tx, "ward-a").addresses) == limits.MAX_ADDRESSES_PER_PEER
