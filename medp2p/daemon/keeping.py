"""What must be done without anyone asking: after a crash, after an end, after a while."""

import logging

import trio

from medp2p import limits
from medp2p.daemon import endings, opening, papers, recalling, room, statements, withdrawing
from medp2p.daemon.station import RULE, Station
from medp2p.errors import MedP2PError, TransferAbortedError
from medp2p.model import ENDED, Direction, Reason, State
from medp2p.text import format_duration
from medp2p.vault import journal, meta, transfers
from medp2p.vault.erase import erase_sealed
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)


class Janitor:
    """Carries out erasures that a transaction has ordered, and redoes interrupted ones."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._dirty = False

    async def run(self) -> None:
        """Erase whenever the bell rings; never returns."""
        while True:
            again = await self.sweep()
            # A ring can be lost with the task that should have rung it.
            pause = limits.ERASE_AGAIN_SECONDS if again else limits.ERASE_LOOK_SECONDS
            with trio.move_on_after(pause):
                await self._station.erase_bell.wait()

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
            await trio.to_thread.run_sync(opening.recover, station, row)
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


# --- now and then -------------------------------------------------------------------------


async def keep_house(station: Station) -> None:
    """Once in a while: waits that were too long, papers that are old, summaries of strangers."""
    while True:
        changed = await station.write(_tidy, station)
        for transfer in changed:
            await station.touch(transfer)
        await withdrawing.look_after(station)
        await trio.sleep(limits.HOUSEKEEPING_SECONDS)


def _tidy(tx: Tx, station: Station) -> list[str]:
    now = station.now_ms()
    station.ledger.summarise_strangers(tx)
    changed = []
    oldest = now - station.config.wait_for_peer_seconds * 1000
    for row in transfers.list(tx, Direction.OUT, [State.QUEUED, State.WAITING]):
        since = row.reason.since_ms if row.reason is not None else row.created_ms
        if since < oldest:
            _give_up(tx, station, row)
            changed.append(row.id)
    _forget_details(tx, station, now - station.config.keep_details_seconds * 1000)
    withdrawing.forget(tx, now - station.config.keep_details_seconds * 1000)
    return changed


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
