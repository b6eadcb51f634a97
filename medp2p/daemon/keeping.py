"""What must be done without anyone asking: after a crash, after an end, after a while.

Also what comes of a release: noted at once if that works, and else by the janitor, who asks the
target what has become of it.
"""

import json
import logging
from collections import Counter
from contextlib import suppress
from functools import partial

import msgspec
import trio

from medp2p import limits
from medp2p.daemon import (
    checking,
    endings,
    papers,
    recalling,
    room,
    scanning,
    statements,
    sweeping,
    withdrawing,
)
from medp2p.daemon.openings import Plan, claim, keep_plan, plan_of
from medp2p.daemon.station import Station
from medp2p.daemon.tending import Tasks
from medp2p.errors import MedP2PError, ReleaseError, TransferAbortedError
from medp2p.model import ENDED, RULE, Direction, Reason, State, short_id
from medp2p.text import format_duration, path_text, rfc3339
from medp2p.vault import journal, meta, transfers
from medp2p.vault import release as releasing
from medp2p.vault.erase import erase_sealed
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)

#: Reason of a release that is not over: nobody can tell now whether its folder is there.
TARGET_AWAY = "target-away"
#: Targets that are asked at a time; more than that may hang on a dead mount only if all do.
_ASKED_AT_A_TIME = 4


class Janitor:
    """Carries out erasures that a transaction has ordered, and redoes interrupted ones.

    Releases whose end is not noted, too.
    """

    def __init__(self, station: Station) -> None:
        self._station = station
        self._dirty = False
        self._limiter = trio.CapacityLimiter(_ASKED_AT_A_TIME)

    async def run(self) -> None:
        """Work whenever the bell rings; never returns."""
        async with trio.open_nursery() as nursery:
            tasks = Tasks(nursery, self._station.count_bug)
            while True:
                again = await self.sweep()
                again = await self._settle(tasks) or again
                # A ring can be lost with the task that should have rung it.
                pause = limits.ERASE_AGAIN_SECONDS if again else limits.ERASE_LOOK_SECONDS
                with trio.move_on_after(pause):
                    await self._station.erase_bell.wait()

    async def _settle(self, tasks: Tasks) -> bool:
        """Begin to settle releases that nobody is at; return whether any is not over.

        Each in a task of its own: a dead mount holds up neither erasing nor other targets.
        """
        rows = await self._station.read(transfers.list, Direction.IN, [State.RELEASING])
        for row in rows:
            tasks.begin(row.id, f"end of the release of {row.id}", partial(self._settle_one, row))
        return bool(rows)

    async def _settle_one(self, row: TransferRow) -> None:
        station = self._station
        try:
            if not await trio.to_thread.run_sync(
                recover_release, station, row.id, limiter=self._limiter
            ):
                return
        except MedP2PError:
            await station.touch(row.id)  # it may say why
            raise
        await station.touch(row.id)
        station.call_peer(row.peer_key)

    async def sweep(self) -> bool:
        """Erase every transfer that is marked; rows go only after the file.

        Returns:
            Whether something is left to be tried again.
        """
        failed = False
        station = self._station
        rows = await station.read(transfers.erasing)
        for row in rows:
            try:
                await trio.to_thread.run_sync(self._erase, row)
            except MedP2PError as error:
                log.warning("erasing of %s is tried again: %s", row.id, error.code)
                failed = True
                continue
            await station.write(_erased, station, row)
            await station.touch(row.id)
            station.call_peer(row.peer_key)
        if rows:
            self._dirty = True
        if self._dirty:  # a reader may hold it up: then at the next ring, or the next start
            self._dirty = not await trio.to_thread.run_sync(station.store.checkpoint)
        return failed or self._dirty

    def _erase(self, row: TransferRow) -> None:
        """Blocking: overwrite header and nonce, unlink, sync; both names it may have."""
        home = self._station.home
        erase_sealed(self._station.files, home.part(row.id))
        erase_sealed(self._station.files, home.sealed(row.id))


def _erased(tx: Tx, station: Station, row: TransferRow) -> None:
    station.files.step("erase-rows")
    journal.forget(tx, row.id)
    papers.drop_work(tx, row.id)
    transfers.update(tx, row.id, erasing=False)
    recalling.erased(tx, station, row)


# --- at start -----------------------------------------------------------------------------


async def recover(station: Station) -> None:
    """Bring every transfer that a crash or a stop left in the middle to where it goes on."""
    for row in await station.write(_recover, station):
        try:
            await trio.to_thread.run_sync(recover_release, station, row.id)
        except MedP2PError as error:
            log.warning("release of %s cannot be cleared up now: %s", row.id, error.code)
    await trio.to_thread.run_sync(_put_in_order, station)


def _recover(tx: Tx, station: Station) -> list[TransferRow]:
    """Park what moved; return what was being released."""
    now = station.now_ms()
    reason = Reason("peer-away", "waits for the other workstation after a restart", now)
    moved_out = (State.OFFERED, State.ACCEPTED, State.SENDING, State.PAUSED)
    for row in transfers.list(tx, Direction.OUT, moved_out):
        transfers.update(tx, row.id, state=State.WAITING, reason=reason)
    for row in transfers.list(tx, Direction.IN, [State.RECEIVING]):
        done = journal.done_count(tx, row.id)
        transfers.update(tx, row.id, state=State.PAUSED, reason=reason, chunks_done=done)
    return transfers.list(tx, Direction.IN, [State.RELEASING])


def _put_in_order(station: Station) -> None:
    """Names that no row followed go back; files that belong to nothing are erased."""
    with station.store.read() as tx:
        rows = transfers.list(tx, Direction.IN, [State.PAUSED, State.ACCEPTED])
        known = {row.id for row in rows}
    for row in rows:
        room.name_back(station, row.id)
    for path in station.home.vault.glob("*.part"):
        if path.stem not in known:
            log.warning("a left-over of an ended transfer is erased: %s", path.name)
            erase_sealed(station.files, path)


# --- what comes of a release --------------------------------------------------------------


def failed(
    tx: Tx,
    station: Station,
    transfer: str,
    plan: Plan,
    error: BaseException,
    left: bool = False,
) -> None:
    """Back to the state before; what failed is said to the caller and in the audit log."""
    row, now = transfers.get(tx, transfer), station.now_ms()
    transfers.delete_blobs(tx, row.id, [papers.TARGET])
    if row.state is State.RELEASING:
        transfers.update(tx, row.id, state=State(plan.before), reason=None, updated_ms=now)
    detail: dict[str, object] = {"code": error.code if isinstance(error, MedP2PError) else "bug"}
    if left:
        detail["left"] = True
        note_left(tx, station, row, plan)
    endings.record(tx, station, row, "release", plan.actor, "failure", detail)
    if isinstance(error, scanning.ScanRefusedError) and row.held is None:
        held = checking.held(scanning.HELD, error.text, now)
        transfers.update(tx, row.id, held=held)
    checking.note_damage(tx, station, row.id, error)


def done(
    tx: Tx, station: Station, transfer: str, path: bytes, mapped: int, left: bool = False
) -> None:
    """It is released: the files lie in their folder; an empty stage may be left."""
    row, now = transfers.get(tx, transfer), station.now_ms()
    plan = plan_of(tx, station, row.id)
    if left:
        note_left(tx, station, row, plan)
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
        reason=None,
        released_ms=now if first else row.released_ms,
        held=_still_held(row),
        updated_ms=now,
    )
    number, until_ms = withdrawing.note_folder(
        tx,
        station,
        row,
        plan.actor.name,
        plan.for_seconds,
        withdrawing.Timed(path, plan.listing, plan.mount),
    )
    detail: dict[str, object] = {"mapped": mapped, "release": number}
    if until_ms is not None:
        detail["until"] = rfc3339(until_ms)
    endings.record(tx, station, row, "release", plan.actor, detail=detail)
    if first:
        statements.queue_fact(tx, station, row, "released", {"by": plan.actor.name})


def _still_held(row: TransferRow) -> str | None:
    """What a label does not keep holds the next release too; a failure of the last one is over."""
    code = checking.held_code(row)
    return row.held if code in (checking.LABEL_DIFFERS, recalling.DESTROY_ASKED) else None


def note_left(tx: Tx, station: Station, row: TransferRow, plan: Plan) -> None:
    """Keep that the stage of a release could not be removed."""
    left = sweeping.Left(plan.target, short_id(row.id), plan.random, plan.mount)
    sweeping.note_left(tx, station, left)


def recover_release(station: Station, transfer: str) -> bool:
    """Settle a release that a crash or a failed write has left. Blocking.

    Returns:
        False: Somebody is at it.

    Raises:
        MedP2PError: Target or database cannot be read or written now; the transfer stays as it
            is, with the reason if that can be written.
    """
    with claim(station, transfer) as ours:
        if ours:
            settle(station, transfer, ReleaseError("the daemon ended amid the release"))
        return ours


def settle(station: Station, transfer: str, error: BaseException) -> bool | None:
    """End a release: done if its folder has got its name, else as it was before. Blocking.

    What it left at the target lies there in clear: it is removed before, or else noted with it.

    Returns:
        Whether it is released; None: it had ended.

    Raises:
        MedP2PError: See recover_release.
    """
    with station.store.read() as tx:
        row = transfers.get(tx, transfer)
    if row.state is not State.RELEASING:
        return None
    try:
        with station.store.read() as tx:
            plan = plan_of(tx, station, row.id)
        plan, left = _look(station, row, plan)
    except MedP2PError as why:
        with suppress(MedP2PError):
            _say_why(station, row, why)
        raise
    with station.store.write() as tx:
        if transfers.get(tx, transfer).state is not State.RELEASING:
            return None
        if plan.final is not None:
            done(tx, station, row.id, plan.final, 0, left)
        else:
            failed(tx, station, row.id, plan, error, left)
    return plan.final is not None


def _look(station: Station, row: TransferRow, plan: Plan) -> tuple[Plan, bool]:
    """Find out what a release has left at the target, and remove all but the folder.

    Returns:
        The plan, without the folder if that has not got its name; and whether something is left.
    """
    name, final, random, mount = short_id(row.id), plan.final, plan.random, plan.mount
    if final is not None and not releasing.was_released(
        plan.target, name, final, random=random, mount=mount
    ):
        # Durable before the stage goes: one that is gone tells that the folder had its name.
        plan = msgspec.structs.replace(plan, final=None)
        with station.store.write() as tx:
            keep_plan(tx, station, row.id, plan)
    try:
        releasing.sweep_stages(plan.target, name, station.files, random=random, mount=mount)
    except MedP2PError:
        if not random:  # its stage cannot be told from a later one: nothing is released before
            raise
        return plan, True
    return plan, False


def _say_why(station: Station, row: TransferRow, why: MedP2PError) -> None:
    """Say on the transfer why its release is not over."""
    code = TARGET_AWAY if isinstance(why, ReleaseError) else why.code
    if row.reason is not None and row.reason.code == code:
        return
    reason = Reason(
        code, f"what came of its release is not known yet: {why.text}", station.now_ms()
    )
    with station.store.write() as tx:
        if transfers.get(tx, row.id).state is State.RELEASING:
            transfers.update(tx, row.id, reason=reason)


# --- now and then -------------------------------------------------------------------------


async def keep_house(station: Station) -> None:
    """Once in a while: waits that were too long, papers that are old, summaries of strangers."""
    while True:
        changed, counted = await station.write(_tidy, station)
        station.ledger.forget_strangers(counted)
        for transfer in changed:
            await station.touch(transfer)
        await withdrawing.look_after(station)
        await trio.sleep(limits.HOUSEKEEPING_SECONDS)


def _tidy(tx: Tx, station: Station) -> tuple[list[str], Counter[tuple[str, str]]]:
    now = station.now_ms()
    counted = station.ledger.summarise_strangers(tx)
    changed = []
    oldest = now - station.config.wait_for_peer_seconds * 1000
    for row in transfers.list(tx, Direction.OUT, [State.QUEUED, State.WAITING]):
        since = row.reason.since_ms if row.reason is not None else row.created_ms
        if since < oldest:
            _give_up(tx, station, row)
            changed.append(row.id)
    _forget_details(tx, station, now - station.config.keep_details_seconds * 1000)
    withdrawing.forget(tx, now - station.config.keep_details_seconds * 1000)
    return changed, counted


def _give_up(tx: Tx, station: Station, row: TransferRow) -> None:
    waited = format_duration(station.config.wait_for_peer_seconds)
    error = TransferAbortedError(f"the other workstation was not there for {waited}")
    statements.queue_fact(tx, station, row, "failed", {"code": "peer-away"})
    endings.end(
        tx, station, row, State.FAILED, event="fail", actor=RULE, outcome="failure", error=error
    )


def _forget_details(tx: Tx, station: Station, before_ms: int) -> None:
    """Manifest, label and note of what ended long ago; id, peer, counts and facts stay."""
    over = [state for state in State if state in ENDED]
    ended = transfers.list(tx, Direction.OUT, [*over, State.SEALED, State.RELEASED])
    ended += transfers.list(tx, Direction.IN, over)
    for row in ended:
        if row.finished_ms is not None and row.finished_ms < before_ms:
            transfers.delete_blobs(tx, row.id)
    for scan in meta.unused_scans(tx, before_ms):
        meta.remove_scan(tx, scan.id)
