"""Opening what is sealed: a release, from the decision to the folder, and back after a crash.

The decision is one transaction: state, label, expectation and what a person lets pass are judged
there, and ``releasing`` is durable before the first plain byte. Whatever fails afterwards leaves
nothing at the target and the transfer as it was.

Source: docs/VAULT.md, "Release".
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from medp2p import digest, limits
from medp2p.daemon import checking, endings, judging, papers, recalling, scanning, statements
from medp2p.daemon.openings import who
from medp2p.daemon.station import Station
from medp2p.errors import (
    CheckRefusedError,
    ConflictError,
    MedP2PError,
    ReleaseError,
)
from medp2p.layout import Layout
from medp2p.model import WHOLE, Actor, Direction, State, short_id
from medp2p.text import path_text, rfc3339
from medp2p.vault import release as releasing
from medp2p.vault import releases, transfers
from medp2p.vault.age import SealReader
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow
from medp2p.vault.unsealing import Unsealing
from medp2p.vault.withdrawal import Kept

#: States in which a release may begin.
RELEASABLE = (State.SEALED, State.RELEASED, State.EXPIRING)


class _Plan(msgspec.Struct, array_like=True, kw_only=False):
    """A release that is under way, as it is kept for after a crash. Only appended to.

    Attributes:
        target: Folder to release into.
        final: The folder that the release is about to become, once it is whole.
        os_user: Whose decision, with ``via`` and ``operator``; see model.Actor.
        before: State to go back to.
        for_seconds: See Order.
        listing: What the folder holds, where it matters later.
    """

    target: bytes
    final: bytes | None = None
    os_user: str | None = None
    via: str = "rule"
    operator: str | None = None
    before: str = State.SEALED.value
    for_seconds: int | None = None
    listing: tuple[Kept, ...] = ()

    @property
    def actor(self) -> Actor:
        """Whose decision it was."""
        return Actor(os_user=self.os_user, via=self.via, operator=self.operator)


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


def sealed(tx: Tx, station: Station, prefix: str) -> Sealed:
    """Return what is needed to read a whole transfer.

    Raises:
        ConflictError: It is not whole.
        VaultLockedError: The vault key is not at hand.
    """
    row = transfers.find(tx, prefix, Direction.IN)
    if row.state not in WHOLE or row.root is None or row.offer is None:
        raise ConflictError(f"transfer {row.id} is {row.state.value}, not sealed")
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
    await trio.to_thread.run_sync(station.home.refuse_clear, order.target)
    wanted = await station.read(transfers.find, prefix, Direction.IN)
    await checking.settled(station, wanted.id)
    found = await station.read(sealed, station, wanted.id)
    plan, refused = await station.write(_begin, station, actor, found.row.id, order, agreed)
    row = found.row
    if refused is not None:
        raise refused
    await station.touch(row.id)

    stopped = _stopper(station, row.id)

    def run() -> releasing.Released:
        listing: list[Kept] | None = [] if order.for_seconds is not None else None
        with found.unsealing(station, stopped) as stream:
            return releasing.release(
                stream,
                target=order.target,
                name=short_id(row.id),
                files=station.files,
                examine=scanning.examiner(station, stopped),
                listing=listing,
                publishing=partial(_publishing, station, row.id, plan, listing),
            )

    try:
        done = await trio.to_thread.run_sync(run, limiter=station.whole_limiter)
    except BaseException as error:
        with trio.move_on_after(limits.SEND_SECONDS, shield=True):
            await station.write(_failed, station, row.id, plan, error)
            await station.touch(row.id)
        raise
    with trio.move_on_after(limits.SEND_SECONDS, shield=True):
        await station.write(_done, station, row.id, done.path, len(done.mapped))
        await station.touch(row.id)
    return row, done


# --- the decision -------------------------------------------------------------------------


def _begin(
    tx: Tx,
    station: Station,
    actor: Actor,
    transfer: str,
    order: judging.Order,
    agreed: Callable[[Tx, TransferRow], None] | None,
) -> tuple[_Plan, CheckRefusedError | None]:
    """Decide, and make it durable; a refusal is audited, so it must be committed too."""
    row = transfers.get(tx, transfer)
    if agreed is not None:
        agreed(tx, row)
    if row.state not in RELEASABLE:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; it cannot be released now")
    if row.checked_ms is None:
        raise ConflictError(f"the files of transfer {row.id} were not looked at yet")
    recalling.check_release(row)
    before = State.SEALED if row.released_ms is None else row.state
    before = row.state if row.state is State.EXPIRING else before
    plan = _Plan(
        order.target,
        None,
        actor.os_user,
        actor.via,
        actor.operator,
        before.value,
        order.for_seconds,
    )
    refused = judging.refusal(tx, station, actor, row, order)
    if refused is not None:
        return plan, refused
    _keep_plan(tx, station, row.id, plan)
    transfers.update(tx, row.id, state=State.RELEASING, updated_ms=station.now_ms())
    endings.record(tx, station, row, "release-begin", actor, detail=judging.ordered(row, order))
    if row.released_ms is None:
        statements.queue_fact(tx, station, row, "opened", {"by": who(actor)})
    return plan, None


# --- what comes of it ---------------------------------------------------------------------


def _keep_plan(tx: Tx, station: Station, transfer: str, plan: _Plan) -> None:
    """Remember a release, so that a crash in its middle can be cleared up."""
    papers.put_vault(tx, station, transfer, papers.TARGET, msgspec.msgpack.encode(plan))


def _publishing(
    station: Station, transfer: str, plan: _Plan, listing: list[Kept] | None, final: bytes
) -> None:
    """In the release's thread: the folder gets this name in the next moment.

    Raises:
        ConflictError: Its sender has taken it back meanwhile: it does not get it.
    """
    whole = msgspec.structs.replace(plan, final=final, listing=tuple(listing or ()))
    with station.store.write() as tx:
        recalling.check_release(transfers.get(tx, transfer))
        _keep_plan(tx, station, transfer, whole)


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


def _failed(tx: Tx, station: Station, transfer: str, plan: _Plan, error: BaseException) -> None:
    """Back to the state before; what failed is said to the caller and in the audit log."""
    row, now = transfers.get(tx, transfer), station.now_ms()
    transfers.delete_blobs(tx, row.id, [papers.TARGET])
    transfers.update(tx, row.id, state=State(plan.before), updated_ms=now)
    code = error.code if isinstance(error, MedP2PError) else "bug"
    endings.record(tx, station, row, "release", plan.actor, "failure", {"code": code})
    if isinstance(error, scanning.ScanRefusedError) and row.held is None:
        held = checking.held(scanning.HELD, error.text, now)
        transfers.update(tx, row.id, held=held)
    checking.note_damage(tx, station, row.id, error)


def _done(tx: Tx, station: Station, transfer: str, path: bytes, mapped: int) -> None:
    row, now = transfers.get(tx, transfer), station.now_ms()
    plan = _plan(tx, station, row)
    earlier = papers.get(tx, station, row.id, papers.RELEASED)
    paths = json.loads(earlier) if earlier else []
    paths.append(path_text(path))
    papers.put_vault(tx, station, row.id, papers.RELEASED, json.dumps(paths).encode())
    transfers.delete_blobs(tx, row.id, [papers.TARGET, papers.RELEASE_TO])
    first = row.released_ms is None
    transfers.update(
        tx,
        row.id,
        state=State.RELEASED,
        released_ms=now if first else row.released_ms,
        held=_still_held(row),
        updated_ms=now,
    )
    number, until_ms = _note_folder(tx, station, row, plan, path)
    detail: dict[str, object] = {"mapped": mapped, "release": number}
    if until_ms is not None:
        detail["until"] = rfc3339(until_ms)
    endings.record(tx, station, row, "release", plan.actor, detail=detail)
    if first:
        statements.queue_fact(tx, station, row, "released", {"by": who(plan.actor)})


def _still_held(row: TransferRow) -> str | None:
    """What a label does not keep holds the next release too; a failure of the last one is over."""
    code = checking.held_code(row)
    return row.held if code in (checking.LABEL_DIFFERS, recalling.DESTROY_ASKED) else None


def _note_folder(
    tx: Tx, station: Station, row: TransferRow, plan: _Plan, path: bytes
) -> tuple[int, int | None]:
    """Keep where the clear files lie, and how long."""
    now = station.now_ms()
    until_ms = None if plan.for_seconds is None else now + 1000 * plan.for_seconds
    number = releases.add(
        tx,
        releases.ReleaseRow(
            transfer=row.id,
            peer_name=row.peer_name,
            released_ms=now,
            released_by=who(plan.actor),
            files=row.files,
            until_ms=until_ms,
        ),
    )
    owner = releases.owner(number)
    papers.put_vault(tx, station, owner, papers.FOLDER, path)
    if until_ms is not None:  # removed at its time, also while the vault is locked
        data = msgspec.msgpack.encode((path, plan.listing))
        papers.put_spool(tx, station, owner, papers.LISTING, data)
    return number, until_ms


def _plan(tx: Tx, station: Station, row: TransferRow) -> _Plan:
    return msgspec.msgpack.decode(papers.need(tx, station, row.id, papers.TARGET), type=_Plan)


def recover(station: Station, row: TransferRow) -> None:
    """After a crash amid a release: done if its folder has its name, else as it was before.

    Blocking. Left-overs at the target are removed.

    Raises:
        ReleaseError: The target cannot be read now; the transfer stays as it is.
    """
    with station.store.read() as tx:
        plan = _plan(tx, station, row)
    name = short_id(row.id)
    final = plan.final
    if final is not None and not releasing.was_released(plan.target, name, final):
        final = None
    with station.store.write() as tx:
        if final is not None:
            _done(tx, station, row.id, final, 0)
        else:
            error = ReleaseError("the daemon ended amid the release")
            _failed(tx, station, row.id, plan, error)
    releasing.sweep_stages(plan.target, name, station.files)
