"""The outbox: one courier a peer, who dials as long as there is something to bring.

Order: stat before routine, then first come first served. A peer that is off is waited for.
"""

import logging
from collections import Counter

import trio

from medp2p import limits
from medp2p.daemon import undoing
from medp2p.daemon.absence import Absence
from medp2p.daemon.live import Bell
from medp2p.daemon.sending import Sending
from medp2p.daemon.sessions import Session, Sessions, jitter
from medp2p.daemon.station import Station
from medp2p.daemon.tending import tend
from medp2p.errors import MedP2PError, UnreachableError
from medp2p.model import ENDED, WHOLE, Direction, Priority, Reason, State
from medp2p.vault import facts, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)

#: States of an outgoing transfer that still want a connection.
OPEN = tuple(
    state
    for state in State
    if state not in ENDED and state not in WHOLE and state is not State.RECALLING
)


class Courier:
    """Brings everything that waits for one peer; lives as long as the peer is paired."""

    def __init__(self, station: Station, sessions: Sessions, peer_key: bytes) -> None:
        self._station, self._sessions, self._key = station, sessions, peer_key
        self._bell = Bell()
        self._running: dict[str, Sending] = {}
        #: When a transfer is tried again, and how often in a row its conversation failed.
        self._not_before: dict[str, float] = {}
        #: When an undecided offer without a connection is offered again, and when a new one may
        #: be, after the receiver was full. It calls when it has decided: until then no news.
        self._resting: dict[str, float] = {}
        self._full_until = 0.0
        #: When the grace time of a transfer is over.
        self._leaving: dict[str, float] = {}
        self._failed: Counter[str] = Counter()
        self._scopes: dict[str, trio.CancelScope] = {}
        self._movers = trio.CapacityLimiter(limits.MAX_RUNNING_PER_PEER)
        self._failures = 0
        self._rest_until = 0.0
        self._away = False
        self._absence = Absence()
        self._dialling: trio.CancelScope | None = None
        self._dialling_since = 0.0

    def wake(self) -> None:
        """Try again at once: a person asked for something, or an address is new."""
        self._rest_until = 0.0
        self._not_before.clear()
        self._drop_slow_dial()
        self._bell.ring()

    def _drop_slow_dial(self) -> None:
        """A dial that began before the news may wait in vain: it gets a short deadline."""
        if self._dialling is not None:
            soon = self._dialling_since + limits.DIAL_SLOW_SECONDS
            self._dialling.deadline = max(trio.current_time(), soon)

    def arrived(self, kind: str) -> None:
        """The peer has called: it is there. What failed otherwise keeps its pause.

        Args:
            kind: Of the conversation; with "facts" it may have decided something.
        """
        if self._away:
            self.wake()
        self._drop_slow_dial()
        if kind == "facts":
            self._resting.clear()
            self._full_until = 0.0
            self._bell.ring()

    async def run(self) -> None:
        """Work until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                if self._rest_until <= trio.current_time():
                    await self._round(nursery)
                with trio.move_on_after(self._pause()):
                    await self._bell.wait()

    def _pause(self) -> float:
        """Return how long there is nothing to do, in seconds."""
        now = trio.current_time()
        if self._rest_until > now:
            return self._rest_until - now
        noted = (self._not_before, self._resting, self._leaving)
        times = [self._full_until, *(at for one in noted for at in one.values())]
        waits = [at - now for at in times if at > now]
        return min([*waits, jitter(limits.BACKOFF_IDLE_SECONDS)])

    async def _round(self, nursery: trio.Nursery) -> None:
        """Start what can be started."""
        peer = await self._sessions.peer(self._key)
        if peer is None:
            return
        waiting = await self._station.read(_open_transfers, self._key)
        self._forget_all_but(waiting)
        await self._note_grace(peer, waiting)
        for row in waiting:
            if not self._may_start(row):
                continue
            if len(self._running) >= limits.MAX_COURIER_LINKS and not self._park_one():
                return
            if not await self._start(nursery, peer, row):
                return
        if await self._must_call(peer):
            self._note(await self._call(peer), busy=bool(waiting))

    def _forget_all_but(self, waiting: list[TransferRow]) -> None:
        """Let go of what was noted about transfers that are over."""
        for noted in (self._not_before, self._resting, self._failed, self._leaving):
            for transfer in noted.keys() - {row.id for row in waiting}:
                del noted[transfer]

    async def _note_grace(self, peer: PeerRow, waiting: list[TransferRow]) -> None:
        """Note until when new transfers can be taken back; by our own clock from then on."""
        for row in waiting:
            if row.id not in self._leaving:
                left = await trio.to_thread.run_sync(
                    undoing.remaining_seconds, self._station, peer, row
                )
                self._leaving[row.id] = trio.current_time() + left

    def _may_start(self, row: TransferRow) -> bool:
        """Tell whether it is time for this transfer."""
        if row.id in self._running:
            return False
        times = [noted.get(row.id, 0.0) for noted in (self._not_before, self._resting)]
        times.append(self._leaving.get(row.id, 0.0))
        if _is_new(row):
            times.append(self._full_until)
        return max(times) <= trio.current_time()

    def _note(self, well: bool, *, busy: bool) -> None:
        """After a failure pause, longer each time; after a success do not."""
        if well:
            self._failures, self._rest_until, self._away = 0, 0.0, False
            return
        self._failures += 1
        longest = limits.BACKOFF_BUSY_SECONDS if busy else limits.BACKOFF_AWAY_SECONDS
        pause = limits.BACKOFF_FIRST_SECONDS * 2 ** min(self._failures - 1, 10)
        self._rest_until = trio.current_time() + jitter(min(pause, longest))

    # --- transfers --------------------------------------------------------------------

    async def _start(self, nursery: trio.Nursery, peer: PeerRow, row: TransferRow) -> bool:
        """Dial for one transfer and start its conversation; False: the peer is not there."""
        try:
            session = await self._open(peer, "transfer", row.id)
        except MedP2PError as error:
            self._absence.note(peer.name, row.id, error)
            self._away = isinstance(error, UnreachableError)
            await self._mark_waiting(error)
            self._note(False, busy=True)
            return False
        if session is None:
            self._bell.ring()
            return False
        sending = Sending(
            self._station,
            session.link,
            session.peer,
            session.facts,
            row.id,
            self._movers,
            rests=self._bell.ring,  # its connection may be what another one waits for
            attempt=self._failed[row.id],
        )
        self._running[row.id] = sending
        await nursery.start(self._converse, session, sending)
        return True

    async def _converse(
        self,
        session: Session,
        sending: Sending,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run one conversation; however it ends, the courier looks again."""
        well = False
        try:
            with trio.CancelScope() as scope:
                self._scopes[sending.transfer] = scope
                task_status.started()
                well = await self._sessions.conduct(session, sending.run)
        finally:
            self._running.pop(sending.transfer, None)
            self._scopes.pop(sending.transfer, None)
        await self._station.write(_lost_link, self._station.now_ms(), sending)
        await self._station.touch(sending.transfer)
        self._retry(sending, well=well or sending.moved, parked=scope.cancelled_caught)
        self._note(True, busy=True)  # the peer is there, whatever became of this transfer
        self._bell.ring()

    def _retry(self, sending: Sending, *, well: bool, parked: bool) -> None:
        """Decide when this transfer gets a connection again; others do not wait for it."""
        transfer, now = sending.transfer, trio.current_time()
        if sending.full:
            self._full_until = now + jitter(limits.OFFER_AGAIN_SECONDS)
            return
        if sending.undecided:
            rest = limits.OFFER_REST_SECONDS if parked else limits.OFFER_AGAIN_SECONDS
            self._resting[transfer] = now + jitter(rest)
            return
        self._failed[transfer] = 0 if well else self._failed[transfer] + 1
        pause = limits.BACKOFF_FIRST_SECONDS * 2 ** min(self._failed[transfer], 10)
        pause = min(pause, limits.BACKOFF_BUSY_SECONDS)
        self._not_before[transfer] = now + jitter(pause)

    def _park_one(self) -> bool:
        """Take the connection of an undecided offer for another transfer."""
        for transfer, sending in self._running.items():
            if sending.undecided and transfer in self._scopes:
                self._scopes[transfer].cancel()
                return True
        return False

    async def _mark_waiting(self, error: MedP2PError) -> None:
        """Show on every waiting transfer of this peer why it waits; fail what waited too long."""
        ids = await self._station.write(_peer_away, self._station, self._key, error)
        for transfer in ids:
            await self._station.touch(transfer)

    # --- facts and presence -----------------------------------------------------------

    async def _must_call(self, peer: PeerRow) -> bool:
        """Facts to bring, an offer accepted whose sender has hung up, or not heard of lately."""
        if await self._station.read(facts.pending, peer.noise_key, 1):
            return True
        taken = await self._station.read(_taken, peer.noise_key)
        if any(not self._sessions.conversing(peer.noise_key, transfer) for transfer in taken):
            return True
        return not self._running and not self._station.book.heard_lately(peer.noise_key)

    async def _call(self, peer: PeerRow) -> bool:
        """Hold a short ``facts`` conversation: brings facts, and shows who is there."""
        try:
            session = await self._open(peer, "facts", None)
        except MedP2PError as error:
            log.debug("%s: not reached: %s", peer.name, error.code)
            self._away = isinstance(error, UnreachableError)
            return False
        if session is None:
            self._bell.ring()
            return True
        return await self._sessions.conduct(session, session.link.close)

    async def _open(self, peer: PeerRow, kind: str, transfer: str | None) -> Session | None:
        """Dial; None when news of the peer made this dial pointless."""
        self._dialling_since = trio.current_time()
        session = None
        with trio.CancelScope() as self._dialling:
            session = await self._sessions.open(peer, kind, transfer)
        self._dialling = None
        if session is not None:
            self._absence.over(peer.name)
        return session


class Outbox:
    """All couriers."""

    def __init__(self, station: Station, sessions: Sessions) -> None:
        self._station, self._sessions = station, sessions
        self._couriers: dict[bytes, Courier] = {}
        station.call_peer = self.wake

    async def run(self) -> None:
        """Keep a courier for each paired peer; never returns."""
        async with trio.open_nursery() as nursery:
            scopes: dict[bytes, trio.CancelScope] = {}
            while True:
                keys = set(self._station.pins)
                for key in keys - scopes.keys():
                    scopes[key] = trio.CancelScope()
                    nursery.start_soon(self._employ, key, scopes[key])
                for key in scopes.keys() - keys:
                    scopes.pop(key).cancel()
                await self._station.pins_changed.wait()

    async def _employ(self, key: bytes, scope: trio.CancelScope) -> None:
        courier = self._couriers[key] = Courier(self._station, self._sessions, key)
        try:
            with scope:
                await tend(self._station, "courier", courier.run)
        finally:
            if self._couriers.get(key) is courier:
                del self._couriers[key]

    def wake(self, peer_key: bytes | None = None) -> None:
        """Look again at once: new work, a new address, a peer that came."""
        for key, courier in self._couriers.items():
            if peer_key in (None, key):
                courier.wake()

    def arrived(self, peer_key: bytes, kind: str) -> None:
        """A peer has called: what waited for it need not wait longer."""
        courier = self._couriers.get(peer_key)
        if courier is not None:
            courier.arrived(kind)


def _open_transfers(tx: Tx, peer_key: bytes) -> list[TransferRow]:
    rows = [
        row
        for row in transfers.open_for_peer(tx, peer_key)
        if row.direction is Direction.OUT and row.state in OPEN
    ]
    return sorted(rows, key=lambda row: (row.priority is not Priority.STAT, row.created_ms))


def _is_new(row: TransferRow) -> bool:
    """Tell whether the receiver does not know this offer yet."""
    full = row.reason is not None and row.reason.code == "receiver-full"
    return full or row.state is State.QUEUED


def _taken(tx: Tx, peer_key: bytes) -> list[str]:
    """Return the accepted transfers of a peer of which nothing has come yet."""
    rows = transfers.list(tx, Direction.IN, [State.ACCEPTED], peer_key)
    return [row.id for row in rows]


def _peer_away(tx: Tx, station: Station, peer_key: bytes, error: MedP2PError) -> list[str]:
    now = station.now_ms()
    changed = []
    for row in _open_transfers(tx, peer_key):
        if row.state in (State.QUEUED, State.WAITING, State.OFFERED, State.PAUSED):
            code = "peer-away" if isinstance(error, UnreachableError) else error.code
            if row.state is State.WAITING and row.reason and row.reason.code == code:
                continue
            reason = Reason(code, error.text, now)
            transfers.update(tx, row.id, state=State.WAITING, reason=reason, updated_ms=now)
            changed.append(row.id)
    return changed


#: States that a lost link leaves behind as "waiting".
_MOVING = (State.QUEUED, State.OFFERED, State.ACCEPTED, State.SENDING, State.PAUSED)


def _lost_link(tx: Tx, now: int, sending: Sending) -> None:
    """Show what waits as waiting; an undecided offer stays one."""
    row = transfers.maybe(tx, sending.transfer)
    if row is None or row.direction is not Direction.OUT or row.state not in _MOVING:
        return
    if row.state is State.OFFERED and sending.undecided:
        return
    reason = Reason("link-lost", "the connection ended; it is tried again", now)
    if row.state is State.PAUSED:
        reason = row.reason or reason
    transfers.update(
        tx,
        row.id,
        state=State.WAITING,
        reason=reason,
        updated_ms=now,
        chunks_done=max(row.chunks_done, sending.chunks_done),
    )
