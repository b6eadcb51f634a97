"""Pairing between real desks: real Noise, SPAKE2, listener and store, over memory streams."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from medp2p import limits
from medp2p.daemon import views
from medp2p.daemon.book import Book, Place
from medp2p.daemon.config import Config
from medp2p.daemon.events import Events
from medp2p.daemon.home import init_home, open_home
from medp2p.daemon.joining import find_waiting
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.pairing import PairingDesk
from medp2p.daemon.station import Station
from medp2p.errors import KeyAlarmError, LinkLostError, NoSpaceError, PairingError, UsageError
from medp2p.identity import fingerprint_text, parse_code, words
from medp2p.model import Actor
from medp2p.net import handshake
from medp2p.net.dial import Identity, Route, dial_pairing
from medp2p.net.handshake import PairingChannel
from medp2p.net.link import Link, open_link
from medp2p.net.listen import ListenStats, open_listeners, serve
from medp2p.net.stream import ByteStream
from medp2p.proto.messages import (
    Message,
    PairConfirm,
    PairDone,
    PairRefused,
    PairReply,
    PairStart,
)
from medp2p.proto.pairing import Joiner, Waiter
from medp2p.vault import log, peers
from medp2p.vault.durable import Files
from medp2p.vault.peers import PeerRow
from medp2p.vault.sealing import SpoolBox, VaultBox
from medp2p.vault.store import Store
from tests.helpers.links import TrioByteStream

ANNA = Actor(os_user="anna", via="cli")
NOW = 1_700_000_000_000
ADDRESS = "10.0.0.1:17820"


class Listener:
    """Hands out streams that a test puts in."""

    def __init__(self) -> None:
        self.put, self._take = trio.open_memory_channel[ByteStream](10)

    async def accept(self) -> ByteStream:
        return await self._take.receive()

    async def aclose(self) -> None:
        self._take.close()


@dataclass
class Seen:
    fingerprint: str
    number: int | None
    addresses: tuple[Place, ...] = (("10.0.0.1", 17820),)
    name: str = "x"


@dataclass
class Workstation:
    """A station with its desk and listener."""

    station: Station
    desk: PairingDesk
    listener: Listener = field(default_factory=Listener)
    stats: ListenStats = field(default_factory=ListenStats)

    @property
    def identity(self) -> Identity:
        return Identity(self.station.keys.noise_private, self.station.keys.noise_public)

    def pins(self) -> list[PeerRow]:
        with self.station.store.read() as tx:
            return peers.all(tx)

    def records(self) -> list[tuple[object, object]]:
        with self.station.store.read() as tx:
            return [(r["event"], r["outcome"]) for r in self.station.ledger.list(tx, 100)]

    def alarms(self) -> list[str]:
        with self.station.store.read() as tx:
            return [row.kind for row in log.alarms(tx)]

    def code(self) -> str:
        return str(self.desk.state()["code"])


@dataclass
class MemoryRoute:
    """Leads to whatever listener the test has put at the address."""

    net: "Net"
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def __call__(self) -> ByteStream:
        listener = self.net.places.get((self.host, self.port))
        if listener is None:
            raise ConnectionRefusedError(111, "refused")
        near, far = trio.testing.memory_stream_pair()
        await listener.put.send(TrioByteStream(far, "192.0.2.7:40000"))
        return TrioByteStream(near, self.address)


@dataclass
class Net:
    """All workstations of a test; ``a`` listens at ADDRESS."""

    folder: Path
    nursery: trio.Nursery
    stack: AsyncExitStack
    places: dict[Place, Listener] = field(default_factory=dict)

    def route(self, host: str, port: int) -> Route:
        return MemoryRoute(self, host, port)

    def add(self, name: str, place: Place | None = None) -> Workstation:
        home, keys = open_home(
            init_home(self.folder / name, name=name, department="CT", place="", now_ms=NOW).path
        )
        store = Store.open(home.store, create=False, now_ms=NOW)
        self.stack.callback(store.close)
        vault = VaultBox([keys.vault_recipient], keys.vault_identity)
        station = Station(
            home=home, keys=keys, config=Config(name=name, department="CT"), store=store,
            files=Files(), spool=SpoolBox(keys.spool), vault=vault,
            ledger=Ledger(vault, lambda: NOW),
            events=Events(), book=Book(lambda: NOW), run=bytes(16), now_ms=lambda: NOW,
            random_bytes=os.urandom, describe=views.transfer, describe_peer=views.peer, port=4711,
        )  # fmt: skip
        made = Workstation(station, PairingDesk(station, self.nursery, route_to=self.route))
        if place is not None:
            self.places[place] = made.listener
        self.nursery.start_soon(self._serve, made)
        return made

    async def _serve(self, it: Workstation) -> None:
        await serve(
            [it.listener],
            identity=it.identity,
            is_pinned=lambda key: False,
            make_hello=it.station.answer,
            on_session=_no_session,
            on_pairing=it.desk.waiter,
            pairing_open=it.desk.is_open,
            stats=it.stats,
        )


@asynccontextmanager
async def network(folder: Path) -> AsyncIterator[tuple[Net, Workstation, Workstation]]:
    """Two workstations: "a" can be reached at ADDRESS, "b" joins."""
    async with AsyncExitStack() as stack:
        async with trio.open_nursery() as nursery:
            net = Net(folder, nursery, stack)
            a, b = net.add("a", ("10.0.0.1", 17820)), net.add("b")
            with trio.fail_after(3600):
                yield net, a, b
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert a.stats.bugs == b.stats.bugs == 0


async def _no_session(link: Link) -> None:
    await trio.lowlevel.checkpoint()
    raise AssertionError(link)


def wrong(code: str) -> str:
    """Return a code with the same number and other words."""
    number, right = parse_code(code)
    other = next(word for word in words() if word not in right)
    return f"{number}-{other}-{other}"


async def settle(it: Workstation, done: Callable[[], bool]) -> None:
    """Wait for what the waiting side does after its last message."""
    with it.station.events.subscribe() as changes:
        while not done():
            await anext(changes)


async def joiner_channel(net: Net, it: Workstation) -> PairingChannel:
    return await dial_pairing(net.route("10.0.0.1", 17820), identity=it.identity)


# --- what should happen -------------------------------------------------------------------


async def test_both_pin_each_other(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        announced: list[int | None] = []
        a.desk.on_number = announced.append
        shown = await a.desk.open(ANNA)
        assert shown["state"] == "open"
        assert shown["guesses_left"] == limits.PAIRING_GUESSES
        assert await b.desk.join(ANNA, a.code(), ADDRESS) == "a"
        (at_a,), (at_b,) = a.pins(), b.pins()
        assert (at_a.name, at_a.noise_key) == ("b", b.station.keys.noise_public)
        assert (at_b.name, at_b.noise_key) == ("a", a.station.keys.noise_public)
        assert at_a.sign_key == b.station.keys.sign_public
        assert at_b.sign_key == a.station.keys.sign_public
        for row in (at_a, at_b):
            assert (row.source, row.verified_ms, row.verified_by) == ("code", NOW, "anna")
            assert row.told_department == "CT"
        assert at_a.addresses == ("192.0.2.7:4711",)
        assert at_b.addresses == (ADDRESS,)
        state = a.desk.state()
        assert (state["state"], state["peer"], state["code"]) == ("paired", "b", None)
        assert announced == [shown["number"], None]
        assert not a.desk.is_open()
        assert a.records() == [("pairing-open", "ok"), ("pair", "ok")]
        assert b.records() == [("pair", "ok")]
        assert a.station.pins == {b.station.keys.noise_public}
        assert b.station.pins == {a.station.keys.noise_public}


async def test_joiner_finds_the_number_in_mdns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAIRING_SETTLE_SECONDS", 0.01)
    async with network(tmp_path) as (_, a, b):
        await a.desk.open(ANNA)
        mark = fingerprint_text(a.station.keys.noise_public)
        places = (("10.9.9.9", 1), ("10.0.0.1", 17820))
        b.station.book.seen(Seen(mark, a.desk.number, places))
        a.station.book.seen(Seen(fingerprint_text(b.station.keys.noise_public), None))
        await b.desk.join(ANNA, a.code().upper().replace("-", " "), None)
        assert a.pins()[0].addresses == ()
        assert b.pins()[0].addresses == ()


async def test_pairing_again_keeps_the_name(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        for _ in range(2):
            await a.desk.open(ANNA)
            assert await b.desk.join(ANNA, a.code(), ADDRESS) == "a"
        assert [row.name for row in a.pins()] == ["b"]


async def test_open_twice_shows_the_same_code_and_close_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.3)  # for how long silence is kept
    async with network(tmp_path) as (_, a, b):
        first = await a.desk.open(ANNA)
        assert await a.desk.open(ANNA) == first
        closed = await a.desk.close(ANNA)
        assert (closed["state"], closed["code"]) == ("closed", None)
        assert await a.desk.close(ANNA) == closed
        with pytest.raises(PairingError, match="does not pair now"):
            await b.desk.join(ANNA, str(first["code"]), ADDRESS)
        assert a.records()[-1] == ("pairing-close", "ok")


# --- wrong and broken-off runs ------------------------------------------------------------


async def test_a_wrong_guess_costs_the_code(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        await a.desk.open(ANNA)
        first = a.code()
        with pytest.raises(PairingError, match="the code was wrong"):
            await b.desk.join(ANNA, wrong(first), ADDRESS)
        await settle(a, lambda: a.code() != first)
        assert a.desk.state()["guesses_left"] == limits.PAIRING_GUESSES - 1
        assert not a.pins()
        assert not b.pins()
        assert a.records()[-1] == ("pair", "wrong-code")
        assert b.records()[-1] == ("pair", "failure")
        assert a.alarms() == []
        await b.desk.join(ANNA, a.code(), ADDRESS)
        assert a.pins()


async def test_three_wrong_guesses_close_pairing(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        await a.desk.open(ANNA)
        for guess in range(limits.PAIRING_GUESSES):
            code = a.code()
            with pytest.raises(PairingError, match="the code was wrong"):
                await b.desk.join(ANNA, wrong(code), ADDRESS)
            last = guess == limits.PAIRING_GUESSES - 1
            await settle(a, lambda code=code, last=last: (  # type: ignore[misc]
                not a.desk.is_open() if last else a.code() != code
            ))  # fmt: skip
        assert "3 wrong guesses" in str(a.desk.state()["text"])
        assert a.alarms() == ["pairing-guesses"]
        assert not a.pins()


async def test_wrong_number_costs_nothing(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        await a.desk.open(ANNA)
        number, right = parse_code(a.code())
        with pytest.raises(PairingError, match="does not wait for this code"):
            await b.desk.join(ANNA, f"{number % 9999 + 1}-{right}", ADDRESS)
        assert a.desk.state()["guesses_left"] == limits.PAIRING_GUESSES
        await b.desk.join(ANNA, a.code(), ADDRESS)


async def test_typing_errors_cost_nothing(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, _, b):
        for code in ("", "42", "42-nosuchword-word", "0-amber-amber"):
            with pytest.raises(UsageError):
                await b.desk.join(ANNA, code, ADDRESS)
        with pytest.raises(UsageError):
            await b.desk.join(ANNA, f"42-{words()[0]}-{words()[1]}", "no address")


async def test_nobody_there(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        await a.desk.open(ANNA)
        with pytest.raises(PairingError, match="refused") as caught:
            await b.desk.join(ANNA, a.code(), "10.0.0.2:1")
        assert caught.value.text.count("cannot be reached") == 1
        await b.desk.join(ANNA, a.code(), ADDRESS)


@asynccontextmanager
async def confirmed_by_us(net: Net, a: Workstation, b: Workstation) -> AsyncIterator[None]:
    """Let b join as far as the confirmation of a, and break off after the block."""
    channel = await joiner_channel(net, b)
    async with open_link(channel.link) as link:
        run = _joiner(a, b, channel)
        await link.send(run.start())
        reply = await link.receive()
        assert isinstance(reply, PairReply)
        await link.send(run.reply(reply))
        assert isinstance(await link.receive(), PairConfirm)
        yield


async def test_a_run_broken_off_before_a_confirmation_burns_nothing(tmp_path: Path) -> None:
    async with network(tmp_path) as (net, a, b):
        await a.desk.open(ANNA)
        code = a.code()
        channel = await joiner_channel(net, b)
        async with open_link(channel.link) as link:
            run = _joiner(a, b, channel)
            await link.send(run.start())
            assert isinstance(await link.receive(), PairReply)
        assert a.code() == code
        await b.desk.join(ANNA, code, ADDRESS)


async def test_a_run_broken_off_after_our_confirmation_burns_the_code(tmp_path: Path) -> None:
    async with network(tmp_path) as (net, a, b):
        await a.desk.open(ANNA)
        code = a.code()
        async with confirmed_by_us(net, a, b):
            pass
        await settle(a, lambda: a.code() != code)
        assert not a.pins()
        assert a.desk.state()["guesses_left"] == limits.PAIRING_GUESSES
        with pytest.raises(PairingError, match="does not wait for this code"):
            await b.desk.join(ANNA, code, ADDRESS)


async def test_a_run_broken_off_while_the_disk_is_full_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with network(tmp_path) as (net, a, b):
        await a.desk.open(ANNA)
        code = a.code()
        async with confirmed_by_us(net, a, b):
            asked = trio.Event()

            async def full(*args: object, **more: object) -> None:
                asked.set()
                raise NoSpaceError("no space left for the database")

            monkeypatch.setattr(a.station, "write", full)
        with trio.fail_after(10):
            await asked.wait()
        await settle(a, lambda: a.code() != code)
        monkeypatch.undo()
        await b.desk.join(ANNA, a.code(), ADDRESS)


async def test_two_runs_at_a_time_have_one_guess(tmp_path: Path) -> None:
    async with network(tmp_path) as (net, a, b):
        await a.desk.open(ANNA)
        channel = await joiner_channel(net, net.add("mallory"))
        async with open_link(channel.link) as link:
            await link.send(PairStart(a.desk.number or 0, _element()))
            assert isinstance(await link.receive(), PairReply)
            code = a.code()
            with pytest.raises(PairingError, match="the code was wrong"):
                await b.desk.join(ANNA, wrong(code), ADDRESS)
            await settle(a, lambda: a.code() != code)
            await link.send(PairConfirm(bytes(32)))
            assert await link.receive() == PairRefused("not-open")
        assert a.desk.state()["guesses_left"] == limits.PAIRING_GUESSES - 1


async def test_the_joiner_never_uses_a_code_twice(tmp_path: Path) -> None:
    async with network(tmp_path) as (net, a, b):
        await a.desk.open(ANNA)
        code = a.code()
        net.places["10.0.0.9", 9] = false = Listener()
        failed: list[PairingError] = []

        async def join() -> None:
            try:
                await b.desk.join(ANNA, code, "10.0.0.9:9")
            except PairingError as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            channel = await _answer(false, a.identity)
            async with open_link(channel.link) as link:
                start = await link.receive()
                assert isinstance(start, PairStart)
                run = Waiter(
                    parse_code(code)[1], start.number, channel.handshake_hash,
                    a.identity.noise_public, b.identity.noise_public,
                )  # fmt: skip
                await link.send(run.start(start))
                assert isinstance(await link.receive(), PairConfirm)
        assert "broken off" in failed[0].text
        with pytest.raises(PairingError, match="used already"):
            await b.desk.join(ANNA, code, ADDRESS)
        assert not b.pins()


async def test_someone_in_the_middle_gains_one_guess_and_nothing_else(tmp_path: Path) -> None:
    async with network(tmp_path) as (net, a, b):
        await a.desk.open(ANNA)
        code = a.code()
        mallory = net.add("mallory")
        net.places["10.0.0.9", 9] = false = Listener()
        failed: list[PairingError] = []

        async def join() -> None:
            try:
                await b.desk.join(ANNA, code, "10.0.0.9:9")
            except PairingError as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            to_b = await _answer(false, mallory.identity)
            to_a = await joiner_channel(net, mallory)
            async with open_link(to_a.link) as link_a, open_link(to_b.link) as link_b:
                await link_a.send(_message(await link_b.receive()))
                await link_b.send(_message(await link_a.receive()))
                await link_a.send(_message(await link_b.receive()))
                refused = await link_a.receive()
                assert refused == PairRefused("wrong-code")
                await link_b.send(PairConfirm(bytes(32)))
        assert failed[0].text == "the code was wrong"
        assert not a.pins()
        assert not b.pins()
        assert ("pair", "wrong-code") in a.records()


async def test_closing_while_a_run_is_under_way_pins_nobody(tmp_path: Path) -> None:
    async with network(tmp_path) as (net, a, b):
        await a.desk.open(ANNA)
        channel = await joiner_channel(net, b)
        async with open_link(channel.link) as link:
            run = _joiner(a, b, channel)
            await link.send(run.start())
            reply = await link.receive()
            assert isinstance(reply, PairReply)
            await link.send(run.reply(reply))
            assert isinstance(await link.receive(), PairConfirm)
            await a.desk.close(ANNA)
            assert isinstance(await link.receive(), PairDone)
            await link.send(PairDone(sign_key=bytes(32), name="b", department="", place="", port=1))
            with pytest.raises(LinkLostError):
                await link.receive()
        assert not a.pins()
        assert a.desk.state()["text"] == "it was closed"


async def test_a_changed_signing_key_is_an_alarm_on_both_sides(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        for it, other in ((a, b), (b, a)):
            row = PeerRow(
                name="old", noise_key=other.identity.noise_public, sign_key=b"z" * 32,
                source="hand", created_ms=1,
            )  # fmt: skip
            with it.station.store.write() as tx:
                peers.add(tx, row)
        await a.desk.open(ANNA)
        with pytest.raises(PairingError, match="did not say that it has pinned us"):
            await b.desk.join(ANNA, a.code(), ADDRESS)
        assert a.alarms() == ["key-alarm"]
        assert "another signing key" in str(a.desk.state()["text"])
        with a.station.store.write() as tx:
            peers.remove(tx, "old")
        await a.desk.open(ANNA)
        with pytest.raises(KeyAlarmError, match="old showed another signing key"):
            await b.desk.join(ANNA, a.code(), ADDRESS)
        assert b.alarms() == ["key-alarm"]
        assert b.pins()[0].sign_key == b"z" * 32


async def test_a_workstation_does_not_pair_with_itself(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, _):
        await a.desk.open(ANNA)
        with pytest.raises(PairingError):
            await a.desk.join(ANNA, a.code(), ADDRESS)
        assert not a.pins()


async def test_our_own_address_is_recognised_while_no_pairing_is_open_here(tmp_path: Path) -> None:
    """What does not pair is silent: it took seconds, and was called something else."""
    async with network(tmp_path) as (_, a, _b):
        station = a.station
        async with trio.open_nursery() as nursery:
            desk = PairingDesk(station, nursery)
            listeners = await open_listeners("127.0.0.1", 0)
            port = listeners[0].socket.getsockname()[1]
            station.book.own_ports = {port}
            nursery.start_soon(
                partial(
                    serve,
                    listeners,
                    identity=a.identity,
                    is_pinned=lambda key: False,
                    make_hello=station.answer,
                    on_session=_no_session,
                    on_pairing=desk.waiter,
                    pairing_open=desk.is_open,
                )
            )
            code = "-".join(["7", *words()[:2]])
            for _ in range(2):
                start = trio.current_time()
                with pytest.raises(PairingError, match="is this workstation itself"):
                    await desk.join(ANNA, code, f"127.0.0.1:{port}")
                assert trio.current_time() - start < 1
                await desk.open(ANNA)
            nursery.cancel_scope.cancel()


async def test_the_code_expires(tmp_path: Path, mock_clock: MockClock) -> None:
    async with network(tmp_path) as (_, a, _):
        shown = await a.desk.open(ANNA)
        assert shown["expires"] == "2023-11-14T22:23:20.000Z"
        mock_clock.jump(limits.PAIRING_SECONDS - 1)
        await trio.testing.wait_all_tasks_blocked()
        assert a.desk.is_open()
        with a.station.events.subscribe() as changes:
            mock_clock.jump(2)
            await anext(changes)
        assert a.desk.state()["text"] == "the code has expired"
        assert a.desk.number is None


# --- finding the number -------------------------------------------------------------------


async def test_numbers_in_mdns(autojump_clock: MockClock) -> None:
    book = Book(lambda: NOW)
    with pytest.raises(PairingError, match="no workstation nearby waits with the number 7"):
        await find_waiting(book, 7)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_show_later, book, Seen("f1", 7))
        assert await find_waiting(book, 7) == ((("10.0.0.1", 17820),), "f1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_show_later, book, Seen("f2", 7, (("10.0.0.2", 1),)))
        with pytest.raises(PairingError, match=r"10.0.0.1:17820 and 10.0.0.2:1") as caught:
            await find_waiting(book, 7)
    assert "--at" in str(caught.value.hint)


async def _show_later(book: Book, seen: Seen) -> None:
    await trio.sleep(limits.PAIRING_SETTLE_SECONDS / 2)
    book.seen(seen)


async def test_mdns_that_shows_another_key_gets_no_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAIRING_SETTLE_SECONDS", 0.01)
    async with network(tmp_path) as (_, a, b):
        await a.desk.open(ANNA)
        b.station.book.seen(Seen("somebody else", a.desk.number))
        with pytest.raises(PairingError, match="another workstation than the one that mDNS shows"):
            await b.desk.join(ANNA, a.code(), None)
        await b.desk.join(ANNA, a.code(), ADDRESS)


async def test_two_addresses_of_one_workstation_are_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAIRING_SETTLE_SECONDS", 0.01)
    async with network(tmp_path) as (net, a, b):
        net.places["10.0.0.2", 2] = a.listener
        await a.desk.open(ANNA)
        mark = fingerprint_text(a.identity.noise_public)
        places = (("10.0.0.1", 17820), ("10.0.0.2", 2))
        b.station.book.seen(Seen(mark, a.desk.number, places))
        await b.desk.join(ANNA, a.code(), None)
        assert a.records().count(("pair", "ok")) == 1


async def test_a_waiter_that_falls_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAIRING_STEP_SECONDS", 0.05)
    async with network(tmp_path) as (net, a, b):
        net.places["10.0.0.9", 9] = silent = Listener()
        async with trio.open_nursery() as nursery:

            async def say_nothing() -> None:
                channel = await _answer(silent, a.identity)
                async with open_link(channel.link):
                    await trio.sleep_forever()

            nursery.start_soon(say_nothing)
            code = f"7-{words()[0]}-{words()[1]}"
            with pytest.raises(PairingError, match="stopped answering"):
                await b.desk.join(ANNA, code, "10.0.0.9:9")
            nursery.cancel_scope.cancel()


async def test_without_mdns_an_address_is_needed(tmp_path: Path) -> None:
    async with network(tmp_path) as (_, a, b):
        await a.desk.open(ANNA)
        b.station.config = Config(mdns=False)
        with pytest.raises(PairingError, match="mDNS is switched off"):
            await b.desk.join(ANNA, a.code(), None)


# --- an end that does not keep to the rules -----------------------------------------------


def _joiner(a: Workstation, b: Workstation, channel: PairingChannel) -> Joiner:
    number, right = parse_code(a.code())
    keys = b.identity.noise_public, a.identity.noise_public
    return Joiner(right, number, channel.handshake_hash, *keys)


def _element() -> bytes:
    return Joiner("x", 1, bytes(32), bytes(32), bytes(32)).start().spake


def _message(received: object) -> Message:
    assert isinstance(received, PairStart | PairReply | PairConfirm | PairRefused)
    return received


async def _answer(listener: Listener, identity: Identity) -> PairingChannel:
    stream = await listener.accept()
    return await handshake.answer_pairing(stream, await handshake.read_preamble(stream), identity)
