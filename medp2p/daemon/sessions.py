"""Sessions with paired peers: who they are, which connections they hold, how each begins.

A session begins with hello (net has done that), then the facts of both sides; only then what
it was opened for. Source: docs/PROTOCOL.md, "Sessions".
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from medp2p import limits
from medp2p.daemon import greeting
from medp2p.daemon.exchange import Exchange
from medp2p.daemon.receiving import Receiving
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError, RemoteProtocolError, UntrustedPeerError
from medp2p.model import transfer_id_from_bytes
from medp2p.net.dial import DialError, Identity, dial
from medp2p.net.guard import guard
from medp2p.net.link import Link, open_link
from medp2p.proto.messages import PROTOCOL_LOWEST, Bye, Hello
from medp2p.vault import peers
from medp2p.vault.peers import PeerRow

Place = tuple[bytes, str, str | None, bool]


@dataclass(eq=False)
class Session:
    """One authenticated connection and the pinned peer at its other end."""

    link: Link
    peer: PeerRow
    ours: bool
    facts: Exchange
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)

    @property
    def place(self) -> Place:
        """Return what only one connection at a time may be."""
        hello = self.link.hello
        transfer = None if hello.transfer is None else transfer_id_from_bytes(hello.transfer)
        return (self.peer.noise_key, hello.kind, transfer, self.ours)


class Sessions:
    """All connections of this daemon with paired peers."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._held: dict[Place, Session] = {}
        self.on_arrival: Callable[[bytes, str], None] = lambda key, kind: None

    # --- opening ----------------------------------------------------------------------

    async def peer(self, key: bytes) -> PeerRow | None:
        """Return the pinned peer with this key, or None."""
        return await self._station.read(peers.by_key, key)

    async def open(self, peer: PeerRow, kind: str, transfer: str | None) -> Session:
        """Dial a peer on all its known addresses; the first that is it wins.

        Raises:
            UnreachableError: With a line per address.
            VersionError, KeyAlarmError: It answered, but not as we can go on with.
        """
        station = self._station
        await station.read(greeting.refuse_clones, peer)
        try:
            link = await dial(
                station.book.routes(peer),
                identity=Identity(station.keys.noise_private, station.keys.noise_public),
                peer_key=peer.noise_key,
                hello=station.hello(peer.noise_key, kind, transfer),
                lowest_version=max(PROTOCOL_LOWEST, peer.highest_version),
                name=peer.name,
            )
        except MedP2PError as error:
            station.book.away(peer.noise_key, error)
            if isinstance(error, DialError):
                await self._look_who_is_there(peer, error)
            await station.touch_peer(peer.noise_key)
            raise
        try:
            return await self._greeted(link, peer, ours=True)
        except BaseException:
            with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True):
                await link.close(goodbye=False)
            raise

    async def _look_who_is_there(self, peer: PeerRow, error: DialError) -> None:
        """Raise an alarm where mDNS shows another key at an address of this peer."""
        for address in error.wrong_identity:
            if self._station.book.other_identity_at(peer.noise_key, address) is not None:
                await self._station.write(greeting.note_other, self._station, peer, address)

    async def incoming(self, link: Link) -> None:
        """Serve a session that a pinned peer has opened (net.listen calls this)."""
        peer = await self.peer(link.peer_key)
        if peer is None:
            raise UntrustedPeerError("its pin was removed meanwhile", key=link.peer_key)
        await self._station.read(greeting.refuse_clones, peer)
        session = await self._greeted(link, peer, ours=False)
        self.on_arrival(peer.noise_key, link.hello.kind)
        await self._run(session, lambda: self._serve(session))

    async def _greeted(self, link: Link, peer: PeerRow, *, ours: bool) -> Session:
        """Keep what hello told; a changed signing key ends it here."""
        station = self._station
        alarm = await station.write(greeting.note, station, peer, link.hello, link.version)
        if alarm is not None:
            raise alarm
        station.versions[peer.noise_key] = max(peer.highest_version, link.version)
        station.book.online(peer.noise_key, link.address, ours=ours)
        station.book.note_clock(peer.noise_key, link.hello.clock_ms - station.now_ms())
        await station.touch_peer(peer.noise_key)
        fresh = await self.peer(peer.noise_key) or peer
        return Session(link, fresh, ours, Exchange(link, station, fresh))

    # --- running ----------------------------------------------------------------------

    async def conduct(self, session: Session, run: Callable[[], Awaitable[None]]) -> bool:
        """Run a conversation that we have opened; its failure ends it alone.

        Returns:
            Whether it ended without an error.
        """
        ended_well = False

        async def whole() -> None:
            nonlocal ended_well
            async with open_link(session.link):
                await self._run(session, run)
            ended_well = True

        await guard(f"conversation with {session.peer.name}", whole, self._station.count_bug)
        return ended_well

    async def _run(self, session: Session, run: Callable[[], Awaitable[None]]) -> None:
        """Take the session's place, exchange facts, then do what it is for."""
        async with self._hold(session):
            with session.scope, self._station.book.session(session.peer.noise_key):
                if session.link.hello.kind != "ping":
                    await session.facts.run()
                await run()

    @asynccontextmanager
    async def _hold(self, session: Session) -> AsyncIterator[None]:
        """Take the session's place; an older connection of the same conversation goes first.

        Raises:
            RemoteProtocolError: The peer's identity runs twice; nothing is delivered.
        """
        try:
            await self._retire_older(session)
            while (same := self._held.get(session.place)) is not None:
                same.scope.cancel()
                await same.over.wait()
            # No await from here to the entry: of two that waited, the later one retires the other.
            if session.peer.noise_key not in self._station.pins:
                raise UntrustedPeerError(
                    "its pin was removed meanwhile", key=session.peer.noise_key
                )
            self._held[session.place] = session
            yield
        finally:
            session.over.set()
            if self._held.get(session.place) is session:
                del self._held[session.place]

    async def _retire_older(self, session: Session) -> None:
        mine = [s for s in self._held.values() if s.peer.noise_key == session.peer.noise_key]
        for older in mine:
            if older.link.hello.run != session.link.hello.run:
                if await _answers(older.link):
                    await self._cloned(session)
                older.scope.cancel()
                await older.over.wait()

    async def _cloned(self, session: Session) -> None:
        station, peer = self._station, session.peer
        await station.write(greeting.note_clone, station, peer)
        await self.end_all(peer.noise_key)
        raise RemoteProtocolError("two running daemons share this identity")

    async def _serve(self, session: Session) -> None:
        """Do what an incoming session was opened for."""
        hello: Hello = session.link.hello
        if hello.kind == "transfer":
            await Receiving(self._station, session.link, session.peer, session.facts).run()
            return
        while not isinstance(message := await session.link.receive(), Bye):
            if not await session.facts.handled(message):  # type: ignore[arg-type]
                raise RemoteProtocolError("a message out of turn")

    # --- presence ---------------------------------------------------------------------

    def connected(self, key: bytes) -> bool:
        """Tell whether a connection with this peer is open now."""
        return any(session.peer.noise_key == key for session in self._held.values())

    def conversing(self, key: bytes, transfer: str) -> bool:
        """Tell whether a peer is sending us this transfer, or rests on its offer, now."""
        return (key, "transfer", transfer, False) in self._held

    async def end_all(self, key: bytes) -> None:
        """End every connection with a peer: its pin was removed, or two daemons share its key."""
        for session in [s for s in self._held.values() if s.peer.noise_key == key]:
            session.scope.cancel()
            await session.over.wait()


async def _answers(link: Link) -> bool:
    """Tell whether the daemon behind an older connection is still alive."""
    try:
        with trio.fail_after(limits.CLONE_PING_SECONDS):
            await link.ping()
    except (MedP2PError, trio.TooSlowError):
        return False
    return True


def jitter(seconds: float) -> float:
    """Spread a waiting time, so that workstations that woke together do not dial together."""
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
