"""Identities that are not what they were: cloned, set back, changed, removed."""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from medp2p import limits
from medp2p.daemon.home import Home
from medp2p.errors import LinkLostError, UnknownPeerError
from medp2p.model import State
from medp2p.net.dial import DialError
from tests.helpers.puppets import Parcel, Puppet, id_of
from tests.helpers.stations import ANNA, Lab, Workstation, lab, pair_of, random_bytes, until

SMALL: dict[str, bytes | int] = {"x": b"x"}


def copy_of(it: Workstation, name: str) -> Home:
    """Return a copy of the home of a stopped workstation."""
    target = it.home.path.with_name(name)
    shutil.copytree(it.home.path, target)
    return Home(target)


async def test_a_cloned_identity_is_an_alarm_and_gets_nothing(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        await b.stop()
        clone = copy_of(b, "clone")
        await it.start(b)
        transfer = await a.send("b", it.source("study", SMALL))
        await b.until(transfer, State.OFFERED)
        other = await it.start(clone)
        await until(a.alarms, "the alarm")
        assert a.alarms() == ["cloned-identity"]
        assert ("alarm", "alarm") in a.audit()
        await b.desk.accept(ANNA, transfer)
        another = await a.send("b", it.folder / "sources" / "study")
        await until(lambda: a.reason(another) == a.reason(transfer) == "key-alarm")
        await other.stop()
        with trio.move_on_after(1):
            await b.until(transfer, State.SEALED)
        assert b.state(transfer) is State.ACCEPTED, "not before a person has looked"
        (alarm,) = await a.desk.alarms()
        await a.desk.acknowledge(ANNA, alarm["id"])
        await b.until(another, State.OFFERED)
        b.outbox.wake()
        await a.until(transfer, State.SEALED)


async def test_a_restart_is_no_clone(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", SMALL))
        await b.until(transfer, State.OFFERED)
        for _ in range(2):
            await it.restart(b)
            await it.restart(a)
        await b.desk.accept(ANNA, transfer)
        await a.until(transfer, State.SEALED)
        assert a.alarms() == b.alarms() == []


async def cancelled(it: Lab, a: Workstation) -> None:
    """Have a state a fact towards b."""
    transfer = await a.send("b", it.folder / "sources" / "study")
    await a.until(transfer, State.OFFERED, State.WAITING)
    await a.desk.cancel(ANNA, transfer)


@pytest.mark.parametrize("first", ["hears", "tells"])
async def test_a_home_put_back_from_a_backup_is_an_alarm(tmp_path: Path, first: str) -> None:
    """Its numbers of facts were used before: whichever side notices first says so."""
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        it.source("study", SMALL)
        await a.stop()
        backup = copy_of(a, "backup")
        await it.start(a)
        await cancelled(it, a)
        await until(lambda: a.pending(b) == 0)
        await a.stop()
        shutil.rmtree(a.home.path)
        backup.path.rename(a.home.path)
        if first == "tells":
            await b.stop()
        await it.start(a)
        if first == "tells":
            await cancelled(it, a)
            await it.start(b)
        side = a if first == "hears" else b
        await until(side.alarms, "the alarm")
        assert side.alarms() == ["set-back"]
        # What is stated from now on is heard.
        transfer = await a.send("b", it.folder / "sources" / "study")
        await b.until(transfer, State.OFFERED)
        await a.desk.cancel(ANNA, transfer)
        await b.until(transfer, State.CANCELLED)


@pytest.mark.parametrize("changed", [False, True])
async def test_a_sender_put_back_amid_a_transfer_proves_the_receipt(
    tmp_path: Path, changed: bool
) -> None:
    """It has lost its root, and the receiver's word alone is not enough."""
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        study = it.source("study", {"x": random_bytes(3 << 20)})
        transfer = await a.send("b", study)
        await a.until(transfer, State.WAITING)
        await a.stop()
        backup = copy_of(a, "backup")
        await it.start(b)
        await it.start(a)
        await a.until(transfer, State.SEALED)
        await until(lambda: b.facts(transfer) == [("us", "sealed", True)])
        root = b.row(transfer).root  # type: ignore[union-attr]
        await a.stop()
        shutil.rmtree(a.home.path)
        backup.path.rename(a.home.path)
        if changed:
            (study / "x").write_bytes(random_bytes(3 << 20, 2))
        await it.start(a)
        await a.until(transfer, State.FAILED if changed else State.SEALED)
        assert ("seal", "unproved") in a.audit(transfer)
        assert (a.row(transfer).root == root) is not changed  # type: ignore[union-attr]
        assert b.state(transfer) is State.SEALED


async def test_a_receiver_put_back_amid_a_transfer_takes_it_anew(tmp_path: Path) -> None:
    """Its database does not know the part that lies there; nobody can go on with it."""
    async with pair_of(tmp_path) as (it, a, b):
        await b.stop()
        backup = copy_of(b, "backup")
        await it.start(b)
        a.wire.hold_at = a.wire.sent + (4 << 20)
        transfer = await a.send("b", it.source("study", {"x": 8 << 20}))
        await b.until(transfer, State.RECEIVING)
        await a.wire.cut()
        await b.stop()
        shutil.copy2(b.home.part(transfer), backup.part(transfer))
        shutil.rmtree(b.home.path)
        backup.path.rename(b.home.path)
        a.wire.go()
        await it.start(b)
        await a.until(transfer, State.SEALED)
        await b.released(transfer, tmp_path / "out")


async def test_another_signing_key_is_an_alarm_and_never_an_update(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        b, puppet = await it.add("b"), Puppet()
        await puppet.meet(b)
        async with puppet.call(b, "facts") as talk:
            await talk.exchange()
        before, old = await b.desk.peer("puppet"), puppet.signing
        puppet.signing = Ed25519PrivateKey.generate().private_bytes_raw()
        offer = puppet.offer(b, Parcel.of(10))
        with pytest.raises(LinkLostError):
            async with puppet.offering(b, offer):
                pass
        assert b.alarms() == ["key-change"]
        assert b.row(id_of(offer)) is None
        puppet.signing = old
        async with puppet.call(b, "facts") as talk:
            await talk.exchange()
        assert (await b.desk.peer("puppet"))["peer_id"] == before["peer_id"]


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_a_peer_removed_amid_a_transfer(
    tmp_path: Path, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.5)
    async with pair_of(tmp_path) as (it, a, b):
        a.wire.hold_at = a.wire.sent + (8 << 20)
        transfer = await a.send("b", it.source("study", {"x": 16 << 20}))
        await b.until(transfer, State.RECEIVING)
        await a.wire.wait_sent(a.wire.hold_at)
        one, other, name = (a, b, "b") if side == "sender" else (b, a, "a")
        await one.desk.remove_peer(ANNA, name)
        a.wire.go()
        assert not one.sessions.connected(other.key)
        assert one.state(transfer) is State.CANCELLED
        if one is b:
            await until(lambda: b.vault() == [])
        with pytest.raises(UnknownPeerError):
            await one.desk.peer(name)
        assert other.key not in one.station.pins
        assert ("unpair", "ok") in one.audit()
        # The other side sees an address that answers nobody any more.
        await until(lambda: not other.sessions.connected(one.key))
        known = {"a": a, "b": b}[name]
        peer = await known.sessions.peer(one.key)
        assert peer is not None
        with pytest.raises(DialError):
            await known.sessions.open(peer, "ping", None)


@dataclass(frozen=True)
class Sighting:
    """What mDNS shows."""

    addresses: tuple[tuple[str, int], ...]
    fingerprint: str = "a" * 26
    name: str = "somebody"
    number: int | None = None


@pytest.mark.parametrize("who", ["nobody", "somebody"])
async def test_a_peer_that_hangs_is_away_and_no_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Its kernel still takes the connection; another workstation would end it after a while."""
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.3)
    async with lab(tmp_path) as it:
        a, puppet = await it.add("a"), Puppet()
        with socket.create_server(("127.0.0.1", 0)) as hung:
            somebody = await it.add("somebody")
            puppet.port = hung.getsockname()[1] if who == "nobody" else somebody.port
            a.station.book.seen(Sighting((("127.0.0.1", puppet.port),)))
            await puppet.meet(a)
            transfer = await a.send("puppet", it.source("study", SMALL))
            await until(lambda: a.reason(transfer) == "peer-away")
        text = str((await a.desk.transfer("out", transfer, entries=False))["reason"])
        if who == "nobody":
            assert "takes the connection, but does not answer" in text
            assert a.alarms() == []
        else:
            assert "answers, but is not puppet, or does not know this workstation" in text
            assert a.alarms() == ["key-alarm"]
