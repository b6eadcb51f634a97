"""Whole workstations in one process: real homes, stores, Noise and TCP over loopback.

A workstation can be stopped and started again on the same home and port, like a daemon. What it
sends passes a wire that counts, holds and cuts at an exact byte. Waits are on conditions, with a
deadline; the clock is the real one.
"""

import atexit
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.daemon import (
    assembly,
    keeping,
    recalling,
)
from medp2p.daemon.assembly import Assembly
from medp2p.daemon.book import Book
from medp2p.daemon.config import load_config
from medp2p.daemon.desk import Desk
from medp2p.daemon.home import Home, check_keys, init_home, open_home
from medp2p.daemon.inspecting import Inspectors
from medp2p.daemon.outbox import Outbox
from medp2p.daemon.sessions import Sessions
from medp2p.daemon.station import Station
from medp2p.daemon.tending import tend
from medp2p.dicom.worker import Inspector
from medp2p.identity import encode_peer_id
from medp2p.model import ENDED, WHOLE, Actor, Direction, State
from medp2p.net.dial import Route
from medp2p.net.listen import open_listeners
from medp2p.net.stream import ByteStream
from medp2p.vault import facts, journal, log, transfers
from medp2p.vault.durable import nothing
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Store, Tx
from medp2p.vault.transfers import TransferRow
from tests.tools import free_port

ANNA = Actor(os_user="anna", via="cli")
#: For whatever must happen, on a machine that may be very busy.
SOON_SECONDS = 30.0
#: Nothing left to do, or whole there.
OVER = (*ENDED, *WHOLE)
Step = Callable[[str], None]
#: What reads headers for all workstations: starting one takes longer than most tests.
READERS = [Inspector() for _ in range(limits.DICOM_CHILDREN)]
for _reader in READERS:
    atexit.register(_reader.close)
#: When the files of a test were written last.
OLD_NS = 1_700_000_000_123_456_789


def now_ms() -> int:
    """Return the wall clock, milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


async def until(ask: Callable[[], Any], what: str = "it", seconds: float = SOON_SECONDS) -> Any:
    """Return the first true answer; asks again and again, in the trio thread."""
    deadline = trio.current_time() + seconds
    while not (answer := ask()):
        assert trio.current_time() < deadline, f"waited {seconds:.0f} s for {what}"
        await trio.sleep(0.01)
    return answer


# --- the wire -----------------------------------------------------------------------------


class Wire:
    """What passes on the connections that one workstation has dialled.

    Attributes:
        sent: Bytes that it sent, over all connections.
        dials: Connections made or tried.
        hold_at: No byte beyond so many is taken; None: all are.
        cut_at: Once so many have passed, all is cut and stays down.
        pace: Bytes that pass in a second; None: as many as can.
        down: Nothing gets through, new connections neither.
        straight: Worker threads send, too, past all this: nothing of that is counted, held or cut.
        mute: Connections that end here stay open at the other side, which learns nothing.
        lost: Those connections; they are closed at the end of the test.
    """

    def __init__(self) -> None:
        self.sent = self.dials = 0
        self.hold_at: int | None = None
        self.cut_at: int | None = None
        self.pace: float | None = None
        self.down = self.mute = self.straight = False
        self.lost: list[ByteStream] = []
        self.streams: set[WiredStream] = set()
        self._change = trio.Event()

    async def cut(self) -> None:
        """Cut all connections."""
        for stream in tuple(self.streams):
            await stream.aclose()

    async def sever(self) -> None:
        """Cut all connections, and let no new one come about."""
        self.down = True
        await self.cut()

    def go(self) -> None:
        """End a hold."""
        self.hold_at = None
        self._change.set()

    def mend(self) -> None:
        """End a hold, and let connections come about again."""
        self.go()
        self.down = False

    async def wait_sent(self, count: int) -> None:
        """Wait until so many bytes have passed."""
        await until(lambda: self.sent >= count, f"{count} bytes on the wire")

    async def allow(self, count: int) -> int:
        """Return how many of so many bytes may pass now; waits while held."""
        while self.hold_at is not None and self.sent >= self.hold_at:
            self._change = trio.Event()
            await self._change.wait()
        for stop in (self.hold_at, self.cut_at):
            if stop is not None and stop > self.sent:
                count = min(count, stop - self.sent)
        return count


class WiredStream:
    """A stream that its wire watches."""

    def __init__(self, wire: Wire, inner: ByteStream) -> None:
        self._wire, self._inner = wire, inner
        wire.streams.add(self)

    @property
    def address(self) -> str:
        """See ByteStream."""
        return self._inner.address

    async def receive_into(self, view: memoryview) -> int:
        """See ByteStream."""
        return await self._inner.receive_into(view)

    def receive_ready(self, view: memoryview) -> int:
        """See ByteStream."""
        return self._inner.receive_ready(view)

    async def send_some(self, data: memoryview) -> int:
        """See ByteStream."""
        wire = self._wire
        count = await self._inner.send_some(data[: await wire.allow(len(data))])
        wire.sent += count
        if wire.pace is not None:
            await trio.sleep(count / wire.pace)
        if wire.cut_at is not None and wire.sent >= wire.cut_at:
            wire.cut_at, wire.down = None, True
            await wire.cut()
        return count

    def send_ready(self, data: memoryview, patience: float) -> tuple[int, float]:
        """See ByteStream. Else all that is sent passes by ``send_some``, which counts and cuts."""
        return self._inner.send_ready(data, patience) if self._wire.straight else (0, 0.0)

    async def aclose(self) -> None:
        """See ByteStream. Not while the wire is mute: then the other side hears nothing of it."""
        self._wire.streams.discard(self)
        if self._wire.mute:
            self._wire.lost.append(self._inner)
        else:
            await self._inner.aclose()


@dataclass(frozen=True)
class WiredRoute:
    """A route whose streams its wire watches."""

    wire: Wire
    route: Route

    @property
    def address(self) -> str:
        """See Route."""
        return self.route.address

    async def __call__(self) -> ByteStream:
        """See Route."""
        self.wire.dials += 1
        if self.wire.down:
            raise ConnectionRefusedError(111, "the wire is down")
        return WiredStream(self.wire, await self.route())


class WiredBook(Book):
    """A book whose routes lead over a wire."""

    wire: Wire

    def routes(self, peer: PeerRow) -> list[Route]:
        """See Book."""
        return [WiredRoute(self.wire, route) for route in super().routes(peer)]


# --- a workstation ------------------------------------------------------------------------


class Workstation:
    """A home, and the daemon that runs in it now.

    Attributes:
        step: Called at each durable step (vault.durable.STEPS), in whatever thread.
    """

    station: Station
    sessions: Sessions
    outbox: Outbox
    desk: Desk

    def __init__(self, home: Home, *, step: Step = nothing, port: int = 0) -> None:
        self.home = home
        self.step = step
        self.port = port or free_port()
        #: How far the clock of this workstation is off, milliseconds.
        self.ahead_ms = 0
        self.wire = Wire()
        self.scope = trio.CancelScope()
        self.up, self.stopped = trio.Event(), trio.Event()

    def now_ms(self) -> int:
        """Return what its clock shows."""
        return now_ms() + self.ahead_ms

    @property
    def name(self) -> str:
        """As it is told."""
        return self.station.config.name

    @property
    def key(self) -> bytes:
        """X25519 key."""
        return self.station.keys.noise_public

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def run(self) -> None:
        """Be the daemon of this home until ``scope`` is cancelled; see daemon.tree."""
        self.station = make_station(self.home, self.step, self.now_ms)
        try:
            with self.scope:
                await self._run()
        finally:
            self.station.store.close()
            self.stopped.set()

    async def _run(self) -> None:
        station = self.station
        listeners = await open_listeners("127.0.0.1", self.port)
        self.port = station.port = listeners[0].socket.getsockname()[1]
        station.book.own_ports = {self.port}
        assert isinstance(station.book, WiredBook)
        station.book.wire = self.wire
        await keeping.recover(station)
        await station.refresh_pins()
        async with trio.open_nursery() as nursery:
            parts = Assembly.of(station, nursery)
            self.sessions, self.outbox, self.desk = parts.sessions, parts.outbox, parts.desk
            nursery.start_soon(parts.listen, listeners)
            for name, work in parts.tasks().items():
                if name != "discovery":  # they know each other, and all are on one machine
                    nursery.start_soon(tend, station, name, work)
            self.up.set()

    async def stop(self) -> None:
        """End the daemon as SIGTERM does."""
        self.station.stopping = True
        self.scope.cancel()
        await self.stopped.wait()

    # --- what a person does -------------------------------------------------------------------

    async def send(self, peer: str, *paths: Path, note: str = "", priority: str = "routine") -> str:
        """Scan, confirm and queue; return the id."""
        view = await self.desk.scan(ANNA, peer, [os.fsencode(path) for path in paths])
        while view["state"] == "scanning":
            view = await self.desk.scan_state(view["scan"], wait=True)
        assert view["state"] == "done", view
        queued = await self.desk.send(
            ANNA, view["scan"], peer, note, priority, confirmation={"yes": True}
        )
        return str(queued["id"])

    async def set(self, peer: str, **settings: str) -> None:
        """Change settings of a peer."""
        await self.desk.set_peer(ANNA, peer, settings)

    # --- what can be seen -----------------------------------------------------------------------

    def row(self, transfer: str) -> TransferRow | None:
        """Return a transfer, if it is known here."""
        with self.station.store.read() as tx:
            return transfers.maybe(tx, transfer)

    def state(self, transfer: str) -> State | None:
        """Return its state, if it is known here."""
        row = self.row(transfer)
        return None if row is None else row.state

    def reason(self, transfer: str) -> str | None:
        """Return the code of its reason."""
        row = self.row(transfer)
        return None if row is None or row.reason is None else row.reason.code

    async def until(self, transfer: str, *states: State, seconds: float = SOON_SECONDS) -> State:
        """Wait until a transfer is in one of these states."""
        deadline = trio.current_time() + seconds
        while (state := self.state(transfer)) not in states:
            assert trio.current_time() < deadline, f"still {self.row(transfer)}"
            await trio.sleep(0.01)
        assert state is not None
        return state

    async def until_checked(self, transfer: str) -> TransferRow:
        """Wait until the receiver has looked at a sealed transfer."""

        def checked() -> TransferRow | None:
            row = self.row(transfer)
            return row if row is not None and row.checked_ms is not None else None

        row: TransferRow = await until(checked, "the look at the files")
        return row

    async def until_held(self, transfer: str) -> str:
        """Wait until something holds a transfer's release; return its code."""

        def held() -> str | None:
            row = self.row(transfer)
            return None if row is None else row.held

        return str(json.loads(await until(held, "something that holds it"))["code"])

    def facts(self, transfer: str) -> list[tuple[str, str, bool]]:
        """Return ("us" or "them", kind, acknowledged) of a transfer, in order."""
        who = {Direction.OUT: "us", Direction.IN: "them"}
        with self.station.store.read() as tx:
            row = transfers.get(tx, transfer)
            return [
                (who[Direction(fact.direction)], fact.kind, fact.acked)
                for fact in facts.of_transfer(tx, row.peer_key, transfer)
            ]

    def pending(self, peer: "Workstation") -> int:
        """Return how many facts wait for a peer."""
        with self.station.store.read() as tx:
            return len(facts.pending(tx, peer.key, 10_000))

    def audit(self, transfer: str | None = None) -> list[tuple[str, str]]:
        """Return (event, outcome) of all records, or of those about a transfer."""
        with self.station.store.read() as tx:
            return [
                (str(record["event"]), str(record["outcome"]))
                for record in self.station.ledger.list(tx, 10_000)
                if transfer is None or record["transfer"] == transfer
            ]

    def alarms(self) -> list[str]:
        """Return the kinds of all alarms."""
        with self.station.store.read() as tx:
            return [row.kind for row in log.alarms(tx)]

    def missing(self, transfer: str) -> list[tuple[int, int]]:
        """Return the ranges of chunks that the journal does not call done."""
        row = self.row(transfer)
        assert row is not None
        with self.station.store.read() as tx:
            return journal.missing_ranges(tx, transfer, -(-row.length // (1 << 20)))

    def journalled(self, transfer: str) -> dict[int, bytes]:
        """Return index -> digest of all that is claimed or done."""
        with self.station.store.read() as tx:
            return journal.digest_map(tx, transfer)

    def blobs(self, transfer: str) -> dict[str, str]:
        """Return name -> kind of key of what is sealed of a transfer."""
        with self.station.store.read() as tx:
            return transfers.blob_names(tx, transfer)

    def cancelled_before(self, act: Callable[..., None], patch: pytest.MonkeyPatch) -> None:
        """Have a transfer cancelled just before an act of its conversation.

        In one transaction: the conversation cannot hear of it in between.
        """
        write = self.station.write

        async def crossing(asked: Callable[..., Any], *args: Any) -> Any:
            def both(tx: Tx, *args: Any) -> Any:
                if getattr(asked, "__func__", None) is act:
                    transfer = asked.__self__.transfer  # type: ignore[attr-defined]
                    recalling.cancel(tx, self.station, ANNA, transfer)
                return asked(tx, *args)

            return await write(both, *args)

        patch.setattr(self.station, "write", crossing)

    def vault(self) -> list[str]:
        """Return the names in the vault."""
        return sorted(os.listdir(self.home.vault))

    async def released(self, transfer: str, target: Path) -> Path:
        """Release and return the folder."""
        view = await self.desk.release(ANNA, transfer, {"to": os.fsencode(target)})
        return Path(view["released_to"])


def make_station(home: Home, step: Step, now_ms: Callable[[], int]) -> Station:
    """Open the home of a stopped workstation; the caller closes the store."""
    home, keys = open_home(home.path)
    store = Store.open(home.store, create=False, now_ms=now_ms())
    with store.read() as tx:
        check_keys(tx, home, keys)
    return assembly.make_station(
        home,
        keys,
        load_config(home.config_file),
        store,
        step=step,
        now_ms=now_ms,
        book=WiredBook(now_ms),
        inspectors=Inspectors(READERS),
    )


# --- several ------------------------------------------------------------------------------


@dataclass
class Lab:
    """All workstations of a test, and what they send."""

    folder: Path
    nursery: trio.Nursery
    all: list[Workstation] = field(default_factory=list)

    def home(self, name: str, *, reserve: str = "0", compression: str = "off") -> Home:
        """Make a home. Tests that count bytes on the wire want each of them to count."""
        home = init_home(self.folder / name, name=name, department="", place="", now_ms=now_ms())
        set_reserve(home, reserve)
        with home.config_file.open("a") as config:
            config.write(f'compression = "{compression}"\n')
        return home

    async def start(self, it: Workstation | Home, *, step: Step | None = None) -> Workstation:
        """Start a daemon on a home, or start a stopped one again."""
        if isinstance(it, Home):
            it = Workstation(it)
        if step is not None:
            it.step = step
        if it not in self.all:
            self.all.append(it)
        it.scope, it.up, it.stopped = trio.CancelScope(), trio.Event(), trio.Event()
        self.nursery.start_soon(it.run)
        await it.up.wait()
        self.wake()
        return it

    def wake(self) -> None:
        """Let all daemons try again at once."""
        for each in self.all:
            if each.up.is_set() and not each.stopped.is_set():
                each.outbox.wake()

    async def add(
        self, name: str, *, step: Step = nothing, compression: str = "off"
    ) -> Workstation:
        """Make a home and start its daemon."""
        return await self.start(self.home(name, compression=compression), step=step)

    async def restart(self, it: Workstation, *, step: Step = nothing) -> None:
        """Stop a daemon and start a fresh one on its home and port."""
        await it.stop()
        await self.start(it, step=step)

    async def pair(self, a: Workstation, b: Workstation, *, accept: str = "ask") -> None:
        """Pin both with each other, under the names of their folders."""
        both = ((a, b), (b, a))
        for one, other in both:
            await one.desk.add_peer(ANNA, other.home.path.name, encode_peer_id(other.key), [])
        for one, other in both:  # a call before both are pinned would wait in vain
            name = other.home.path.name
            await one.set(name, accept=accept, confirm="none", address=other.address)

    def source(self, name: str, files: dict[str, bytes | int]) -> Path:
        """Make a folder to send; a number is the size of a sparse file."""
        return make_source(self.folder / "sources" / name, files)


def make_source(folder: Path, files: dict[str, bytes | int]) -> Path:
    """Make a folder with files; a number is the size of a sparse file."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            with path.open("wb") as file:
                file.truncate(content)
        else:
            path.write_bytes(content)
        os.utime(path, ns=(OLD_NS, OLD_NS))  # what was just written is looked at twice
    return folder


def set_reserve(home: Home, value: str) -> None:
    """Write the reserve into the configuration."""
    lines = home.config_file.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("reserve")]
    quoted = value if value.isdigit() else f'"{value}"'
    home.config_file.write_text("\n".join([*kept, f"reserve = {quoted}"]) + "\n")


@asynccontextmanager
async def lab(folder: Path, *, seconds: float = 2 * SOON_SECONDS) -> AsyncIterator[Lab]:
    """Give a lab; at its end all daemons are stopped, and none may have met a bug."""
    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            it = Lab(folder, nursery)
            yield it
            for each in it.all:
                if not each.stopped.is_set():
                    await each.stop()
            for stream in (stream for each in it.all for stream in each.wire.lost):
                await stream.aclose()
            nursery.cancel_scope.cancel()
    assert [each.station.bugs for each in it.all] == [0] * len(it.all)


@asynccontextmanager
async def pair_of(
    folder: Path, *, accept: str = "auto", compression: tuple[str, str] = ("off", "off")
) -> AsyncIterator[tuple[Lab, Workstation, Workstation]]:
    """Two paired workstations "a" and "b"."""
    async with lab(folder) as it:
        a, b = [
            await it.add(name, compression=value)
            for name, value in zip("ab", compression, strict=True)
        ]
        await it.pair(a, b, accept=accept)
        yield it, a, b


def tree_of(folder: Path) -> dict[str, str | None]:
    """Return path -> hash of each file below a folder, None for a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else hash_of(path)
        for path in sorted(folder.rglob("*"))
    }


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def random_bytes(size: int, seed: int = 1) -> bytes:
    """Return bytes that no compression and no luck makes equal; the same for one seed."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size)


async def all_of(*acts: Callable[[], Awaitable[object]]) -> None:
    """Do several things at once."""
    async with trio.open_nursery() as nursery:
        for act in acts:
            nursery.start_soon(act)


def ranges_bytes(ranges: Iterable[tuple[int, int]]) -> int:
    """Return how many bytes the chunks of these ranges have at most."""
    return sum(end - first for first, end in ranges) << 20
