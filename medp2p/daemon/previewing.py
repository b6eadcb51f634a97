"""Previews: one small picture of each series of a sealed transfer, for a person who asks.

Nothing lies in clear on the disk: ranges of single files are decrypted in memory and go to a
bounded child over a pipe; a picture comes back. That somebody looks is decided, stated and audited
in one transaction before the first byte; whoever takes the transfer back in the meantime wins, and
no picture is handed out.

Source: docs/VAULT.md, "Previews".
"""

import base64
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import trio

from medp2p import limits
from medp2p.daemon import checking, opening, openings, recalling
from medp2p.daemon.looking import InspectorPool, inspect_sealed
from medp2p.daemon.opening import Sealed
from medp2p.daemon.station import Station
from medp2p.dicom.middle import Pick, pick_middles
from medp2p.dicom.picture import WHY, Picture, PictureMaker
from medp2p.errors import ConflictError, NotFoundError, ReleaseError
from medp2p.manifest import Kind
from medp2p.model import WHOLE, Actor, Direction
from medp2p.vault import transfers
from medp2p.vault.age import SealReader
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

Json = dict[str, Any]

MARK = "not for diagnosis"
#: DICOM Instances Accessed, as the audit log names it (PS3.15, A.5.3; code of PS3.16, annex D).
INSTANCES_ACCESSED = "110103"
_LATER = {
    "bound": f"{limits.PICTURE_SERIES} series are shown at a time: ask for this one by itself",
    "time": "there was no time left for it: ask for this one by itself",
}
_WHY = {**WHY, **_LATER}


async def previews(
    station: Station, actor: Actor, prefix: str, series: Sequence[str] | None = None
) -> Json:
    """Return a picture of each series, or why there is none; one caller at a time.

    Waits until the transfer has been looked at.

    Args:
        station: Ours.
        actor: Who looks.
        prefix: Of an incoming transfer.
        series: UIDs of those that are wanted; None for all.

    Returns:
        ``{previews, marked}``: docs/CLI.md, "Previews".

    Raises:
        ConflictError: It is not sealed, not looked at yet, or was taken back, also meanwhile.
        NotFoundError: It has no such series.
        VaultLockedError: The vault key is not at hand.
        SealBrokenError, StoreError: It cannot be read.
    """
    row = await station.read(transfers.find, prefix, Direction.IN)
    await checking.settled(station, row.id)
    async with station.picture_limiter:
        found = await station.read(opening.sealed, station, row.id)
        picks = await station.read(_picks, station, row.id)
        wanted = None if series is None else frozenset(series)
        await station.write(_begin, station, actor, row.id, picks, wanted)
        station.call_peer(row.peer_key)
        await station.touch(row.id)
        made = await trio.to_thread.run_sync(_make, station, found, picks, wanted)
        await station.read(_still_there, row.id)
    return {"previews": made, "marked": MARK}


def _picks(tx: Tx, station: Station, transfer: str) -> tuple[Pick, ...] | None:
    """Return what the look has chosen; None if it was made by an older version, or failed."""
    seen = checking.found(tx, station, transfer)
    return None if seen is None else seen.pictures


def _begin(
    tx: Tx,
    station: Station,
    actor: Actor,
    transfer: str,
    picks: Sequence[Pick] | None,
    wanted: frozenset[str] | None,
) -> None:
    """Let somebody look, state it and write it down: nothing is decrypted before."""
    row = _still_there(tx, transfer)
    chosen = None if picks is None else _chosen(picks, wanted)
    openings.state_preview(tx, station, row, actor)
    detail: dict[str, object] = {"dicom_event": INSTANCES_ACCESSED}
    patient: dict[str, object] | None = None
    if chosen is not None:
        detail["series"] = len(chosen)
        patient = {
            "studies": sorted({pick.study for pick in chosen}),
            "series": [pick.series.uid for pick in chosen],
        }
    station.ledger.record(
        tx,
        event="previewed",
        actor=actor,
        peer=row.peer_name,
        peer_key=row.peer_key,
        transfer=row.id,
        detail=detail,
        patient=patient,
    )


def _still_there(tx: Tx, transfer: str) -> TransferRow:
    """Return a transfer that may be looked at.

    Raises:
        ConflictError: It may not: it has ended, or its sender asks to destroy it.
    """
    row = transfers.get(tx, transfer)
    if row.state not in WHOLE:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; there is nothing to look at")
    recalling.check_release(row)
    return row


def _chosen(picks: Sequence[Pick], wanted: Collection[str] | None) -> list[Pick]:
    """Return the series that are wanted.

    Raises:
        NotFoundError: One of them is not there.
    """
    if wanted is None:
        return list(picks)
    chosen = [pick for pick in picks if pick.series.uid in wanted]
    if {pick.series.uid for pick in chosen} != set(wanted):
        raise NotFoundError("the transfer has no such series")
    return chosen


# --- in a worker thread -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """One sealed transfer that is being looked at."""

    station: Station
    found: Sealed
    reader: SealReader
    files: tuple[int, ...]

    def go_on(self) -> None:
        """End with the daemon, or when nobody waits for the answer any more."""
        trio.from_thread.check_cancelled()
        if self.station.is_stopping():
            raise ReleaseError("stopped before it was done")

    def picture(self, maker: PictureMaker, pick: Pick) -> Picture:
        """Return the picture of a series."""
        geometry = self.found.geometry
        index = self.files[pick.file]
        start = geometry.data_offset(index)

        def read(offset: int, count: int) -> bytes:
            self.go_on()
            data = bytearray(count)
            self.reader.read_into(start + offset, memoryview(data))
            return bytes(data)

        return maker.make(geometry.entries[index].size, pick.frame, read, self.go_on)


def _make(
    station: Station,
    found: Sealed,
    picks: Sequence[Pick] | None,
    wanted: frozenset[str] | None,
) -> list[Json]:
    """Make the pictures; between two of them somebody may have taken the transfer back."""
    deadline = time.monotonic() + limits.PICTURE_ALL_SECONDS
    made: list[Json] = []
    with ExitStack() as stack:
        reader = stack.enter_context(
            SealReader.open(station.home.sealed(found.row.id), station.keys.vault_identity)
        )
        entries = found.geometry.entries
        files = tuple(number for number, one in enumerate(entries) if one.kind is Kind.FILE)
        source = _Source(station, found, reader, files)
        if picks is None:
            picks = _look_again(source)
        maker = stack.enter_context(station.picture_maker())
        for pick in _chosen(picks, wanted):
            with station.store.read() as tx:
                _still_there(tx, found.row.id)
            shown = sum(one["png_b64"] is not None for one in made)
            if pick.why or pick.file >= len(files):
                picture = Picture(None, why=pick.why or "damaged")
            elif shown >= limits.PICTURE_SERIES:
                picture = Picture(None, why="bound")
            elif time.monotonic() > deadline:
                picture = Picture(None, why="time")
            else:
                picture = source.picture(maker, pick)
            made.append(_view(pick, picture))
    return made


def _look_again(source: _Source) -> tuple[Pick, ...]:
    """Choose as the look after the seal does: it was made by a version that did not."""
    inspectors = InspectorPool()
    try:
        items = inspect_sealed(
            source.reader,
            source.found.geometry,
            inspectors,
            source.station.is_stopping,
            limits.PICTURE_ALL_SECONDS / 2,
        )
    finally:
        inspectors.close()
    return pick_middles(items)


def _view(pick: Pick, picture: Picture) -> Json:
    png = picture.png
    return {
        "series": pick.series.uid,
        "description": pick.series.description,
        "modality": pick.series.modality,
        "images": pick.images,
        "shown": pick.shown if png is not None else None,
        "width": picture.width,
        "height": picture.height,
        "png_b64": None if png is None else base64.b64encode(png).decode(),
        "why": None if png is not None else _WHY[picture.why],
        "by_itself": picture.why in _LATER,
    }
