"""Opening what is sealed: a release, from the decision to the folder.

The decision is one transaction: state, label, expectation and what a person lets pass are judged
there, and ``releasing`` is durable before the first plain byte. Whatever fails afterwards leaves
nothing at the target and the transfer as it was; what cannot be noted now is noted later, as
after a crash (keeping.py).

Source: docs/VAULT.md, "Release".
"""

import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from medp2p import digest, limits
from medp2p.daemon import (
    checking,
    endings,
    judging,
    keeping,
    papers,
    recalling,
    scanning,
    statements,
)
from medp2p.daemon.openings import Plan, claim, keep_plan
from medp2p.daemon.station import Station
from medp2p.errors import (
    CheckRefusedError,
    ConflictError,
    MedP2PError,
    ReleaseError,
    StoreError,
)
from medp2p.layout import Layout
from medp2p.model import WHOLE, Actor, Direction, State, short_id
from medp2p.net.guard import guard
from medp2p.vault import release as releasing
from medp2p.vault import transfers
from medp2p.vault.age import SealReader
from medp2p.vault.stage import RANDOM_BYTES
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow
from medp2p.vault.unsealing import Unsealing
from medp2p.vault.withdrawal import Kept

log = logging.getLogger(__name__)

#: Somebody else decides about a release of the same transfer, or notes its end: a transaction.
_CLAIM_AGAIN_SECONDS = 0.05
#: States in which a release may begin.
RELEASABLE = (State.SEALED, State.RELEASED, State.EXPIRING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What reading a sealed transfer needs."""

    row: TransferRow
    geometry: Layout
    key: bytes
    offer: bytes
    root: bytes

    @contextmanager
    def unsealing(self, station: Station, cancelled: Callable[[], bool]) -> Iterator[Unsealing]:
        """Open the file for the block: to release it, or to prove it by `run` alone.

        Raises:
            SealBrokenError: It is damaged.
        """
        path = station.home.sealed(self.row.id)
        with SealReader.open(path, station.keys.vault_identity) as reader:
            yield Unsealing(
                reader=reader,
                layout=self.geometry,
                key=self.key,
                offer=self.offer,
                root=self.root,
                cancelled=cancelled,
            )


def not_sealed(transfer: str, state: State) -> ConflictError:
    """Return the error of an act that needs all of a transfer, with what comes first."""
    hint = None
    if state is State.OFFERED:
        hint = f"accept it first: medp2p inbox accept {short_id(transfer)}"
    elif state in (State.ACCEPTED, State.RECEIVING, State.PAUSED):
        hint = "wait until all of it has come: `medp2p inbox`"
    return ConflictError(f"transfer {transfer} is {state.value}, not sealed", hint=hint)


def sealed(tx: Tx, station: Station, prefix: str) -> Sealed:
    """Return what is needed to read a whole transfer.

    Raises:
        ConflictError: It is not whole.
        VaultLockedError: The vault key is not at hand.
    """
    row = transfers.find(tx, prefix, Direction.IN)
    if row.state not in WHOLE or row.root is None or row.offer is None:
        raise not_sealed(row.id, row.state)
    offer = papers.summary(tx, station, row.id)
    return Sealed(
        row=row,
        geometry=papers.layout(tx, station, row.id),
        key=digest.stream_key(offer.salt),
        offer=row.offer,
        root=row.root,
    )


async def verify(station: Station, actor: Actor, prefix: str) -> TransferRow:
    """Read a sealed transfer again as a whole and authenticate every byte.

    Raises:
        SealBrokenError, IntegrityError: The file is damaged; audited, held, and an alarm.
    """
    found = await station.read(sealed, station, prefix)

    def read() -> None:
        with found.unsealing(station, station.is_stopping) as stream:
            stream.run()

    try:
        await trio.to_thread.run_sync(read, limiter=station.whole_limiter)
    except MedP2PError as error:
        await station.write(checking.unproved, station, actor, found.row, error)
        await station.touch(found.row.id)
        raise
    await station.write(endings.record, station, found.row, "verify", actor)
    return found.row


async def release(
    station: Station,
    actor: Actor,
    prefix: str,
    order: judging.Order,
    agreed: Callable[[Tx, TransferRow], None] | None = None,
) -> tuple[TransferRow, releasing.Released]:
    """Open a sealed transfer into a new folder below a target.

    Waits until the transfer has been looked at.

    Args:
        station: Ours.
        actor: Whose decision it is.
        prefix: Of the transfer.
        order: What is wanted.
        agreed: Asked in the transaction of the decision; what it raises ends it.

    Raises:
        CheckRefusedError: It is not what was promised or expected, or the command that looks
            over the staged folder refuses it; audited.
        ReleaseError, IntegrityError, NoSpaceError: With the reason.
    """
    mount = await trio.to_thread.run_sync(_mount, station, order.target)
    wanted = await station.read(transfers.find, prefix, Direction.IN)
    await checking.settled(station, wanted.id)
    found = await station.read(sealed, station, wanted.id)
    row = found.row
    try:
        while True:
            with claim(station, row.id) as ours:
                if ours:
                    act = (station, actor, row.id, order, agreed, mount)
                    plan, refused = await station.write(_begin, *act)
                    if refused is not None:
                        raise refused
                    return row, await _carry_out(station, found, plan)
            _refuse_state(await station.read(transfers.get, row.id))
            await trio.sleep(_CLAIM_AGAIN_SECONDS)
    except BaseException:
        station.erase_bell.ring()  # the janitor goes on with what could not be noted
        raise


def _mount(station: Station, target: bytes) -> bytes:
    """Refuse a target within the home; return what is mounted where it lies. Blocking."""
    station.home.refuse_clear(target)
    return releasing.mount_point(target)


async def _carry_out(station: Station, found: Sealed, plan: Plan) -> releasing.Released:
    """Unpack what it was decided to release, and note what has come of it."""
    row, left = found.row, threading.Event()
    stopped = _stopper(station, row.id)

    def run() -> releasing.Released:
        listing: list[Kept] | None = [] if plan.for_seconds is not None else None
        with found.unsealing(station, stopped) as stream:
            return releasing.release(
                stream,
                target=plan.target,
                name=short_id(row.id),
                files=station.files,
                examine=scanning.examiner(station, stopped),
                listing=listing,
                publishing=partial(_publishing, station, row.id, plan, listing),
                leaving=left.set,
                random_bytes=lambda count: plan.random[:count],
            )

    async def undo(error: BaseException) -> bool:
        if left.is_set():
            act = partial(keeping.settle, station, row.id, error)
            released = await trio.to_thread.run_sync(act, abandon_on_cancel=True)
            if released is None:  # the transfer has ended; what lies in clear is still there
                await station.write(keeping.note_left, station, row, plan)
            return bool(released)
        await station.write(keeping.failed, station, row.id, plan, error)
        return False

    async def note(done: releasing.Released) -> bool:
        what = (done.path, len(done.mapped), left.is_set())
        await station.write(keeping.done, station, row.id, *what)
        return True

    try:
        await station.touch(row.id)
        done = await trio.to_thread.run_sync(run, limiter=station.whole_limiter)
    except MedP2PError as error:
        if await _noted(station, row, partial(undo, error)):
            text = f"{error.text}; but its folder is there, and it counts as released"
            raise ReleaseError(text) from error
        raise
    except BaseException as error:
        with trio.move_on_after(limits.SEND_SECONDS, shield=True):
            await _noted(station, row, partial(undo, error))
        raise
    if not await _noted(station, row, partial(note, done)):
        raise StoreError(
            "all files are in their folder, but that could not be noted yet",
            hint="it is noted as soon as that works: do not release it once more",
        )
    return done


async def _noted(station: Station, row: TransferRow, note: Callable[[], Awaitable[bool]]) -> bool:
    """Note what has come of a release, also while the caller is cancelled; tell the peer.

    Returns:
        Whether that is noted, and the transfer is released.
    """
    released = False

    async def work() -> None:
        nonlocal released
        with trio.move_on_after(limits.SEND_SECONDS, shield=True) as scope:
            released = await note()
            await station.touch(row.id)
        station.call_peer(row.peer_key)  # there are facts for it, whatever the caller is told
        if scope.cancelled_caught:
            log.warning("the end of the release of %s is not noted yet", row.id)

    await guard(f"end of the release of {row.id}", work, station.count_bug)
    return released


# --- the decision -------------------------------------------------------------------------


def _begin(
    tx: Tx,
    station: Station,
    actor: Actor,
    transfer: str,
    order: judging.Order,
    agreed: Callable[[Tx, TransferRow], None] | None,
    mount: bytes,
) -> tuple[Plan, CheckRefusedError | None]:
    """Decide, and make it durable; a refusal is audited, so it must be committed too."""
    row = transfers.get(tx, transfer)
    if agreed is not None:
        agreed(tx, row)
    _refuse_state(row)
    if row.checked_ms is None:
        raise ConflictError(f"the files of transfer {row.id} were not looked at yet")
    recalling.check_release(row)
    before = State.SEALED if row.released_ms is None else row.state
    before = row.state if row.state is State.EXPIRING else before
    plan = Plan(
        order.target,
        None,
        actor.os_user,
        actor.via,
        actor.operator,
        before.value,
        order.for_seconds,
        random=station.random_bytes(RANDOM_BYTES),
        mount=mount,
    )
    refused = judging.refusal(tx, station, actor, row, order)
    if refused is not None:
        return plan, refused
    keep_plan(tx, station, row.id, plan)
    transfers.update(tx, row.id, state=State.RELEASING, updated_ms=station.now_ms())
    endings.record(tx, station, row, "release-begin", actor, detail=judging.ordered(row, order))
    if row.released_ms is None:
        statements.queue_fact(tx, station, row, "opened", {"by": actor.name})
    return plan, None


def _refuse_state(row: TransferRow) -> None:
    if row.state not in RELEASABLE:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; it cannot be released now")


# --- while it is under way ----------------------------------------------------------------


def _publishing(
    station: Station, transfer: str, plan: Plan, listing: list[Kept] | None, final: bytes
) -> None:
    """In the release's thread: the folder gets this name in the next moment.

    Raises:
        ConflictError: Its sender has taken it back meanwhile, or it has ended: it does not get it.
    """
    whole = msgspec.structs.replace(plan, final=final, listing=tuple(listing or ()))
    with station.store.write() as tx:
        row = transfers.get(tx, transfer)
        recalling.check_release(row)
        if row.state is not State.RELEASING:
            raise ConflictError(f"transfer {transfer} is {row.state.value} meanwhile")
        keep_plan(tx, station, transfer, whole)


def _stopper(station: Station, transfer: str) -> Callable[[], bool]:
    """Return what tells whether a release that is under way must end; asked from its thread.

    It is asked for every chunk, and looks into the store now and then. What it misses at the end
    is found in the transaction before the folder gets its name.
    """
    looked = -limits.RELEASE_STOP_SECONDS

    def stopped() -> bool:
        """Return whether the daemon ends.

        Raises:
            ConflictError: Its sender has taken it back.
        """
        nonlocal looked
        if time.monotonic() - looked >= limits.RELEASE_STOP_SECONDS:
            with station.store.read() as tx:
                recalling.check_release(transfers.get(tx, transfer))
            looked = time.monotonic()
        return station.is_stopping()

    return stopped
