"""Released folders afterwards: where they lie, how old they are, and the end of those for a time.

What was released for a time is removed when that is over, and only as far as it is unchanged. The
time is over when the clock says so, or when the daemon has run for so long: a clock that is set
back keeps nothing. The sealed transfer stays, so a clock that runs ahead loses nothing.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import msgspec
import trio

from medp2p import limits
from medp2p.daemon import endings, papers, recalling
from medp2p.daemon.station import Station
from medp2p.daemon.sweeping import Sweeper
from medp2p.daemon.tending import Tasks
from medp2p.errors import ConflictError, MedP2PError, SealBrokenError, VaultLockedError
from medp2p.model import RULE, Direction
from medp2p.text import path_text, rfc3339
from medp2p.vault import releases, transfers
from medp2p.vault.releases import ReleaseRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow
from medp2p.vault.withdrawal import Kept, Withdrawn, is_there, withdraw

log = logging.getLogger(__name__)

_T = TypeVar("_T")
#: Folders that are removed at a time.
_AT_A_TIME = 4

Json = dict[str, object]


class Timed(msgspec.Struct, array_like=True, frozen=True):
    """A released folder, as it is kept until its time is over. Only appended to.

    Attributes:
        folder: Absolute.
        entries: What was made in it.
        mount: What is mounted where it lies; b"": an older version has not noted that.
    """

    folder: bytes
    entries: tuple[Kept, ...] = ()
    mount: bytes = b""


def note_folder(
    tx: Tx, station: Station, row: TransferRow, by: str, for_seconds: int | None, made: Timed
) -> tuple[int, int | None]:
    """Keep where the clear files of a release lie, and how long.

    Args:
        tx: Write transaction.
        station: Ours.
        row: Of the transfer.
        by: Whose decision it was.
        for_seconds: How long; None: until somebody removes them.
        made: The folder.

    Returns:
        Number of the release, and until when.
    """
    now = station.now_ms()
    until_ms = None if for_seconds is None else now + 1000 * for_seconds
    number = releases.add(
        tx,
        ReleaseRow(
            transfer=row.id,
            peer_name=row.peer_name,
            released_ms=now,
            released_by=by,
            files=row.files,
            until_ms=until_ms,
        ),
    )
    owner = releases.owner(number)
    papers.put_vault(tx, station, owner, papers.FOLDER, made.folder)
    if until_ms is not None:  # removed at its time, also while the vault is locked
        papers.put_spool(tx, station, owner, papers.LISTING, msgspec.msgpack.encode(made))
    return number, until_ms


class Withdrawals:
    """Removes what was released for a time once that is over, and what releases left staged."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)
        #: Numbers of releases; monotonic times.
        self._due_at: dict[int, float] = {}
        self._again_at: dict[int, float] = {}

    async def run(self) -> None:
        """Work for ever; each folder in a task of its own: a dead mount holds up no other."""
        async with trio.open_nursery() as nursery:
            tasks = Tasks(nursery, self._station.count_bug)
            sweeper = Sweeper(self._station, tasks)
            while True:
                await sweeper.look()
                pause = await self._look(tasks)
                with trio.move_on_after(pause):
                    await self._station.withdraw_bell.wait()

    async def _look(self, tasks: Tasks) -> float:
        """Begin what is due; return in how many seconds something else may be."""
        pause, now = limits.WITHDRAW_LOOK_SECONDS, trio.current_time()
        for row in await self._station.read(releases.timed):
            due = now + _left_seconds(self._station, row)
            self._due_at[row.number] = min(self._due_at.get(row.number, due), due)
            ready = max(self._due_at[row.number], self._again_at.get(row.number, now))
            if ready > now:
                pause = min(pause, ready - now)
            else:
                tasks.begin(
                    row.number, f"removal of release {row.number}", partial(self._remove, row)
                )
        return pause

    async def _remove(self, row: ReleaseRow) -> None:
        self._again_at[row.number] = trio.current_time() + limits.WITHDRAW_AGAIN_SECONDS
        try:
            await _withdraw(self._station, row, self._limiter)
        except MedP2PError as error:
            what = (row.number, row.transfer, error.code)
            log.warning("release %d of %s cannot be removed: %s", *what)
        finally:
            self._station.withdraw_bell.ring()  # there is another time to wait for


def _left_seconds(station: Station, row: ReleaseRow) -> float:
    """Return what the clock leaves of a time; never more than the whole of it."""
    until_ms = row.until_ms or 0
    return min(until_ms - station.now_ms(), until_ms - row.released_ms) / 1000


async def _withdraw(station: Station, row: ReleaseRow, limiter: trio.CapacityLimiter) -> None:
    """Remove one folder's unchanged files.

    Raises:
        ReleaseError: That is not possible now.
    """

    def act() -> Withdrawn:
        with station.store.read() as tx:
            data = papers.need(tx, station, releases.owner(row.number), papers.LISTING)
        it = msgspec.msgpack.decode(data, type=Timed)
        return withdraw(it.folder, it.entries, station.files, station.is_stopping, it.mount)

    done = await trio.to_thread.run_sync(act, limiter=limiter)
    await station.write(_withdrawn, station, row, done)
    await station.touch(row.transfer)


def _withdrawn(tx: Tx, station: Station, row: ReleaseRow, done: Withdrawn) -> None:
    """Note what was removed; the list of the files goes, for nothing is left to do with it."""
    gone = not done.left and not done.removed
    over = releases.KEPT if done.left else releases.GONE if gone else releases.REMOVED
    releases.finish(tx, row.number, over, station.now_ms())
    transfers.delete_blobs(tx, releases.owner(row.number), [papers.LISTING])
    detail: dict[str, object] = {
        "release": row.number,
        "removed": done.removed,
        "changed": done.changed,
        "gone": done.gone,
        "left": done.left,
    }
    outcome = "kept" if done.left else "ok"
    endings.record(tx, station, transfers.get(tx, row.transfer), "withdraw", RULE, outcome, detail)


# --- where they lie -----------------------------------------------------------------------


async def released(station: Station) -> list[Json]:
    """Return every folder released, the newest first; those that are gone for a while yet.

    Only looks: what it finds gone is noted when the house is kept.
    """
    station.gone_folders = await _look(station)
    return await station.read(newest, station)


def newest(tx: Tx, station: Station, limit: int = -1) -> list[Json]:
    """Return the folders released last, as they were when somebody last looked."""
    return [_view(tx, station, _seen(station, row)) for row in releases.all(tx, limit)]


def _seen(station: Station, row: ReleaseRow) -> ReleaseRow:
    """Return a row as the last look found it, though that may not be noted yet."""
    if row.number not in station.gone_folders or row.over not in (None, releases.KEPT):
        return row
    return replace(row, over=releases.GONE, over_ms=station.now_ms())


def _view(tx: Tx, station: Station, row: ReleaseRow) -> Json:
    age = max(0, station.now_ms() - row.released_ms) // 1000
    old = age > station.config.released_old_seconds
    there = row.over in (None, releases.KEPT)
    view: Json = {
        "release": row.number,
        "transfer": row.transfer,
        "peer": row.peer_name,
        "state": "there" if row.over is None else row.over,
        "released": rfc3339(row.released_ms),
        "by": row.released_by,
        "files": row.files,
        "age_seconds": age,
        "old": old and there,
        "until": None if row.until_ms is None else rfc3339(row.until_ms),
        "over": None if row.over_ms is None else rfc3339(row.over_ms),
    }
    try:
        folder = papers.get(tx, station, releases.owner(row.number), papers.FOLDER)
    except (VaultLockedError, SealBrokenError):
        folder = None
    view["folder"] = None if folder is None else path_text(folder)
    return view


async def look_after(station: Station) -> None:
    """Note which folders are gone, as somebody has moved or removed them."""
    gone = await _look(station)
    if gone:
        await station.write(_gone, station, gone)
    station.gone_folders = {}


async def _look(station: Station) -> dict[int, int]:
    """Find out which folders are gone: their numbers, and when each was released."""

    def look(gone: dict[int, int]) -> None:
        with station.store.read() as tx:
            rows = [(row, _folder(tx, station, row)) for row in releases.there(tx)]
        for row, folder in rows:
            # What waits for its time is looked for again then: it may lie on a mount that is away.
            if folder is None or (row.until_ms is not None and row.over is None):
                continue
            if _is_there(folder) is False:
                gone[row.number] = row.released_ms

    return await _found(look, station.look_limiter)


async def check_destroyed(station: Station, prefix: str) -> frozenset[int]:
    """Refuse to sign that all is destroyed while a folder that was released can be seen.

    Args:
        station: Ours.
        prefix: Of the transfer.

    Returns:
        Numbers of the releases that were looked at.

    Raises:
        ConflictError: One is there, or recalling.refuse_unasked.
        NotFoundError: There is no such transfer.
    """

    def ask(tx: Tx) -> dict[int, bytes | None]:
        transfer = transfers.find(tx, prefix, Direction.IN)
        recalling.refuse_unasked(tx, transfer)
        # Those that were gone, too: a drive may be back.
        rows = releases.of_transfer(tx, transfer.id)
        return {row.number: _folder(tx, station, row) for row in rows}

    folders = await station.read(ask)

    def look(there: dict[int, bytes]) -> None:
        for number, folder in folders.items():
            if folder is not None and _is_there(folder):
                there[number] = folder

    # A limiter of its own: walks that hang elsewhere must not keep it from looking.
    found = list((await _found(look, trio.CapacityLimiter(1))).values())
    if found:
        more = f", and {len(found) - 1} more" if found[1:] else ""
        raise ConflictError(
            f"what was released is still there: {path_text(found[0])}{more}",
            hint="destroy it and every copy first, or answer that it is kept",
        )
    return frozenset(folders)


async def _found(
    look: Callable[[dict[int, _T]], None], limiter: trio.CapacityLimiter
) -> dict[int, _T]:
    """Return what a look at the disk has found by the time that it may take.

    A dead mount holds nobody up, nor does it hide what was found before.
    """
    found: dict[int, _T] = {}
    with trio.move_on_after(limits.RELEASED_LOOK_SECONDS):
        await trio.to_thread.run_sync(look, found, limiter=limiter, abandon_on_cancel=True)
    return dict(found)


def _is_there(folder: bytes) -> bool | None:
    """Tell whether a folder is there; None: nobody knows, on a drive that is away, say."""
    try:
        return is_there(folder)
    except MedP2PError:
        return None


def _folder(tx: Tx, station: Station, row: ReleaseRow) -> bytes | None:
    try:
        return papers.get(tx, station, releases.owner(row.number), papers.FOLDER)
    except (VaultLockedError, SealBrokenError):
        return None


def _gone(tx: Tx, station: Station, numbers: Iterable[int]) -> None:
    known = {row.number for row in releases.there(tx)}
    for number in known.intersection(numbers):
        releases.finish(tx, number, releases.GONE, station.now_ms())


def forget(tx: Tx, before_ms: int) -> None:
    """Forget the folders that were over before a time."""
    releases.forget(tx, before_ms)


def counts(tx: Tx, station: Station) -> Json:
    """Return how many folders there are, and how many are old; without looking at the disk."""
    before = station.now_ms() - 1000 * station.config.released_old_seconds
    there, old = releases.count(tx, before)
    gone = station.gone_folders.values()
    return {
        "folders": max(0, there - len(gone)),
        "old": max(0, old - sum(released_ms < before for released_ms in gone)),
    }
