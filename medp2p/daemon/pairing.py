"""Showing a pairing code, and what becomes of it.

A code is good for one guess: whoever sends a confirmation, right or wrong, uses it up. After a
wrong guess, or a run that broke off behind a confirmation, another code is shown; after
PAIRING_GUESSES wrong ones, or PAIRING_SECONDS, pairing is closed.

Source: docs/PROTOCOL.md, "Pairing"; docs/THREATS.md.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from medp2p import limits
from medp2p.daemon.address import format_address, parse_address
from medp2p.daemon.joining import find_waiting, hear, in_thread, prove, reach
from medp2p.daemon.pins import Proof, pin_by_code
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError, PairingError
from medp2p.identity import new_code, parse_code
from medp2p.model import PEER, Actor, AuditEvent
from medp2p.net.dial import Identity, Route, tcp_route
from medp2p.net.guard import guard
from medp2p.net.handshake import PairingChannel
from medp2p.net.link import Link
from medp2p.net.stream import host_of
from medp2p.proto.messages import PairConfirm, PairDone, PairRefused, PairStart
from medp2p.proto.pairing import Waiter
from medp2p.text import rfc3339
from medp2p.vault.store import Tx

log = logging.getLogger(__name__)

Json = dict[str, object]


@dataclass(eq=False)
class _Code:
    """One code: one guess."""

    text: str
    number: int
    words: str = field(repr=False)
    used: bool = False

    @classmethod
    def fresh(cls, random_bytes: Callable[[int], bytes], taken: Callable[[int], bool]) -> "_Code":
        """Make a code whose number nobody nearby shows now."""
        for _ in range(8):
            text = new_code(random_bytes)
            number, words = parse_code(text)
            if not taken(number):
                break
        return cls(text, number, words)


@dataclass(eq=False)
class _Waiting:
    """An open pairing."""

    actor: Actor
    code: _Code
    deadline: float
    expires_ms: int
    wrong: int = 0
    #: The code was right and is being pinned: nothing but that ends it any more.
    settled: bool = False


class PairingDesk:
    """Everything about pairing by code at this workstation; lives in the trio thread.

    Attributes:
        on_number: Called with the public number to announce, or None, at each change.
    """

    def __init__(
        self,
        station: Station,
        nursery: trio.Nursery,
        *,
        route_to: Callable[[str, int], Route] | None = None,
    ) -> None:
        """Make a desk with nothing open.

        Args:
            station: Whose keys, book and ledger are used.
            nursery: Lives as long as the desk; runs the clock of an open pairing.
            route_to: Way to an address that somebody named or mDNS shows; None: over TCP.
        """
        self.on_number: Callable[[int | None], None] = lambda number: None
        self._station = station
        self._spawn = nursery.start_soon
        self._route_to = route_to or self._tcp_route
        self._waiting: _Waiting | None = None
        self._outcome: Json = {"state": "closed", "text": "no pairing was open", "peer": None}
        self._burnt: dict[bytes, None] = {}

    # --- the person's side ----------------------------------------------------------------

    async def open(self, actor: Actor) -> Json:
        """Show a code for PAIRING_SECONDS; one that is open already stays as it is."""
        await self._record("pairing-open", actor)
        if self._waiting is None:
            self._waiting = _Waiting(
                actor=actor,
                code=self._fresh_code(),
                deadline=trio.current_time() + limits.PAIRING_SECONDS,
                expires_ms=self._station.now_ms() + int(limits.PAIRING_SECONDS * 1000),
            )
            self._spawn(self._expire, self._waiting)
            self._changed()
        return self.state()

    async def close(self, actor: Actor) -> Json:
        """Take the code back; nothing happens when none is shown."""
        if self._waiting is not None and not self._waiting.settled:
            self._end("closed", "it was closed")
            await self._record("pairing-close", actor)
        return self.state()

    def is_open(self) -> bool:
        """Tell whether pairing is answered at all now."""
        return self._waiting is not None

    @property
    def number(self) -> int | None:
        """The public number to announce, or None."""
        return None if self._waiting is None else self._waiting.code.number

    def state(self) -> Json:
        """Return the pairing that is open, or was last.

        Returns:
            ``state`` ("open", "paired", "closed"), ``code, number, expires, guesses_left,
            peer, text``.
        """
        waiting = self._waiting
        if waiting is None:
            blank = {"code": None, "number": None, "expires": None, "guesses_left": 0}
            return {**blank, **self._outcome}
        return {
            "state": "open",
            "code": waiting.code.text,
            "number": waiting.code.number,
            "expires": rfc3339(waiting.expires_ms),
            "guesses_left": limits.PAIRING_GUESSES - waiting.wrong,
            "peer": None,
            "text": "wrong guesses so far: another code is shown now" if waiting.wrong else "",
        }

    # --- the waiting side of a run --------------------------------------------------------

    async def waiter(self, link: Link, handshake_hash: bytes, remote_static: bytes) -> None:
        """Answer someone who may know the code (net.listen calls this).

        Raises:
            PairingError, LinkLostError, RemoteProtocolError: It came to nothing.
            KeyAlarmError: It is a known peer with another signing key.
        """
        start = await hear(link, PairStart)
        waiting = self._waiting
        if waiting is None or start.number != waiting.code.number or waiting.code.used:
            await link.send(PairRefused("not-open"))
            return
        code, own = waiting.code, self._station.keys.noise_public
        run = Waiter(code.words, code.number, handshake_hash, own, remote_static)
        await link.send(await in_thread(run.start, start))
        confirm = await hear(link, PairConfirm)
        if self._waiting is not waiting or waiting.code is not code or code.used:
            await link.send(PairRefused("not-open"))  # another run was faster: no second guess
            return
        code.used = True
        await self._use_up(waiting, run, confirm, link)

    async def _use_up(
        self, waiting: _Waiting, run: Waiter, confirm: PairConfirm, link: Link
    ) -> None:
        """Check the one guess of a code; however it ends, the code is gone."""
        wrong = False
        try:
            mine = await in_thread(_checked, run, confirm)
            if mine is None:
                wrong = True
                waiting.wrong += 1
                await self._note_wrong(waiting, link)
                await link.send(PairRefused("wrong-code"))
                return
            await link.send(mine)
            await link.send(self._introduction())
            await self._pin_joiner(waiting, link, await hear(link, PairDone))
        finally:
            self._renew(waiting, wrong=wrong)

    async def _pin_joiner(self, waiting: _Waiting, link: Link, told: PairDone) -> None:
        if self._waiting is not waiting:
            raise PairingError("pairing was closed meanwhile")
        station, key, address = self._station, link.peer_key, None
        if told.port and not station.book.visible(key):
            address = format_address(host_of(link.address), told.port)
        waiting.settled = True
        try:
            name = await self._pin(
                waiting.actor,
                Proof(noise_key=key, told=told, version=link.version, address=address),
            )
        except MedP2PError as error:
            self._end("closed", error.text)
            raise
        except BaseException:
            self._end("closed", "the daemon stopped meanwhile")
            raise
        self._end("paired", f"paired with {name}", peer=name)

    def _renew(self, waiting: _Waiting, *, wrong: bool) -> None:
        """Show another code in place of a used one, or none after too many wrong guesses."""
        if self._waiting is not waiting:
            return
        if waiting.wrong >= limits.PAIRING_GUESSES:
            self._end("closed", f"{waiting.wrong} wrong guesses: pairing is closed")
            return
        if not wrong:
            self._spawn(self._note_broken_off)
        waiting.code = self._fresh_code()
        self._changed()

    async def _note_wrong(self, waiting: _Waiting, link: Link) -> None:
        """Record a wrong guess; the last one is an alarm."""
        station, host = self._station, host_of(link.address)
        log.warning("wrong guess at the pairing code, %d so far", waiting.wrong)

        def note(tx: Tx) -> None:
            detail: Json = {"address": host, "guess": waiting.wrong}
            station.ledger.record(tx, event="pair", actor=PEER, outcome="wrong-code", detail=detail)
            if waiting.wrong >= limits.PAIRING_GUESSES:
                text = f"{waiting.wrong} wrong guesses at a pairing code, the last from {host}"
                station.ledger.alarm(tx, kind="pairing-guesses", text=text, actor=PEER)

        await station.write(note)

    async def _note_broken_off(self) -> None:
        """In a task of its own: what fails here must not end the daemon."""
        note = partial(self._record, "pair", PEER, "broken-off")
        await guard("record of a pairing", note, self._station.count_bug)

    async def _expire(self, waiting: _Waiting) -> None:
        await trio.sleep_until(waiting.deadline)
        if self._waiting is waiting and not waiting.settled:
            self._end("closed", "the code has expired")

    # --- the joining side -----------------------------------------------------------------

    async def join(self, actor: Actor, code: str, at: str | None) -> str:
        """Use a code that another workstation shows; return our name for it.

        Args:
            actor: Who typed it.
            code: "NUMBER-word-word".
            at: "ADDR:PORT" of the other workstation, or None to look in mDNS.

        Raises:
            UsageError: Not a code, or not an address.
            PairingError: Nobody found, several found, wrong or used code, broken off.
            KeyAlarmError: It is a known peer with another signing key; nothing is changed.
        """
        number, words = parse_code(code)
        mark = hashlib.sha256(f"{number}-{words}".encode()).digest()
        if mark in self._burnt:
            raise PairingError(
                "this code was used already", hint="ask for a new one on the other workstation"
            )
        channel = await self._reach(number, at)
        told = await self._prove(actor, channel, number, words, lambda: self._burn(mark))
        address = None if at is None else format_address(*parse_address(at))
        proof = Proof(
            noise_key=channel.remote_static,
            told=told,
            version=channel.link.version,
            address=address,
        )
        return await self._pin(actor, proof)

    async def _reach(self, number: int, at: str | None) -> PairingChannel:
        keys = self._station.keys
        identity = Identity(keys.noise_private, keys.noise_public)
        if at is not None:
            return await reach([self._route_to(*parse_address(at))], identity, None)
        if not self._station.config.mdns:
            raise PairingError("mDNS is switched off here", hint="name the address: --at ADDR:PORT")
        places, fingerprint = await find_waiting(self._station.book, number)
        return await reach([self._route_to(*place) for place in places], identity, fingerprint)

    def _tcp_route(self, host: str, port: int) -> Route:
        """Return a way that knows our own address: while no pairing is open here it is silent."""
        return tcp_route(host, port, own_ports=frozenset(self._station.book.own_ports))

    async def _prove(
        self,
        actor: Actor,
        channel: PairingChannel,
        number: int,
        words: str,
        burn: Callable[[], None],
    ) -> PairDone:
        failure: PairingError
        try:
            return await prove(
                channel,
                number=number,
                words=words,
                my_static=self._station.keys.noise_public,
                me=self._introduction(),
                burn=burn,
            )
        except PairingError as error:
            failure = error
        await self._record("pair", actor, "failure")
        raise failure

    def _burn(self, mark: bytes) -> None:
        self._burnt[mark] = None
        while len(self._burnt) > limits.MAX_BURNT_CODES:
            del self._burnt[next(iter(self._burnt))]

    # --- both sides -----------------------------------------------------------------------

    async def _pin(self, actor: Actor, proof: Proof) -> str:
        station = self._station
        pinned = await station.write(pin_by_code, station.ledger, actor, proof, station.now_ms())
        if pinned.alarm is not None:
            raise pinned.alarm
        await station.refresh_pins()
        await station.touch_peer(proof.noise_key)
        return pinned.name

    def _introduction(self) -> PairDone:
        station = self._station
        return PairDone(
            sign_key=station.keys.sign_public,
            name=station.config.name,
            department=station.config.department,
            place=station.config.place,
            port=station.port,
        )

    def _fresh_code(self) -> _Code:
        station = self._station
        return _Code.fresh(station.random_bytes, lambda n: bool(station.book.waiting_with(n)))

    def _end(self, state: str, text: str, peer: str | None = None) -> None:
        self._waiting = None
        self._outcome = {"state": state, "text": text, "peer": peer}
        self._changed()

    def _changed(self) -> None:
        self.on_number(self.number)
        self._station.events.publish({"event": "pairing", "pairing": self.state()})

    async def _record(self, event: AuditEvent, actor: Actor, outcome: str = "ok") -> None:
        def note(tx: Tx) -> None:
            self._station.ledger.record(tx, event=event, actor=actor, outcome=outcome)

        await self._station.write(note)


def _checked(run: Waiter, confirm: PairConfirm) -> PairConfirm | None:
    """Return our confirmation if theirs is right."""
    try:
        return run.confirm(confirm)
    except PairingError:
        return None
