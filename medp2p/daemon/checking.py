"""The receiver's own look at what was sealed: whose images they are, compared with the promise.

After the seal, and before what the spool key opens is erased, every file is inspected through the
sealed file: heads of files go in memory to a bounded child, nothing lies in clear on the disk.
Until that is done, and done again after a crash, nothing is released. What differs from the label
that was promised holds every release.

Source: docs/VAULT.md, "The look after the seal".
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import trio

from medp2p import limits
from medp2p.daemon import endings, papers
from medp2p.daemon.labels import label_view
from medp2p.daemon.looking import InspectorPool, inspect_sealed
from medp2p.daemon.station import Station
from medp2p.dicom import checks
from medp2p.dicom.compare import Difference
from medp2p.dicom.label import (
    Label,
    build_label,
    decode_label_untrusted,
    encode_label,
    same_label,
)
from medp2p.dicom.middle import Pick, pick_middles
from medp2p.dicom.patients import Item
from medp2p.errors import (
    ConflictError,
    IntegrityError,
    MedP2PError,
    RemoteProtocolError,
    SealBrokenError,
)
from medp2p.model import RULE, WHOLE, Actor, short_id
from medp2p.text import rfc3339
from medp2p.vault import transfers
from medp2p.vault.age import SealReader
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

#: Results (``TransferRow.check_result``).
AGREES, DIFFERS, NO_LABEL, BROKEN = "agrees", "differs", "no-label", "broken"
#: Codes of ``held``.
LABEL_DIFFERS, UNCHECKED = "label-differs", "unchecked"


class Found(msgspec.Struct, frozen=True, array_like=True):
    """What the look has found; kept sealed.

    Attributes:
        label: Of the files as they came, encoded; b"" if they could not be read.
        differences: From the label that was promised, limits.CHECK_DIFFERENCES at most.
        more: How many more there are.
        pictures: Series, and what to show of each; None if an older version looked.
    """

    label: bytes
    differences: tuple[Difference, ...] = ()
    more: int = 0
    pictures: tuple[Pick, ...] | None = None


def judge(promised: bytes, items: Sequence[Item], today: str) -> tuple[str, Found]:
    """Compare files with the label that an offer promised; return result and what was found.

    Args:
        promised: The label of the offer; b"" if it has none.
        items: Of inspect_sealed.
        today: YYYYMMDD, see checks.check.
    """
    label = build_label(items, checks.check(items, today=today))
    encoded, pictures = encode_label(label), pick_middles(items)
    if not promised:
        return NO_LABEL, Found(encoded, pictures=pictures)
    try:
        differences = same_label(decode_label_untrusted(promised), label)
    except RemoteProtocolError as error:
        differences = [Difference("label", "", "", f"the label promised is none: {error.text}")]
    most = limits.CHECK_DIFFERENCES
    more = max(0, len(differences) - most)
    found = Found(encoded, tuple(differences[:most]), more, pictures)
    return (DIFFERS if differences else AGREES), found


async def check(station: Station, inspectors: InspectorPool, transfer: str) -> TransferRow:
    """Look at one sealed transfer and keep what was found, in one transaction with its audit.

    Raises:
        VaultLockedError: It was sealed for good and the vault key is not at hand.
        StoreError: It cannot be read now.
    """

    def look() -> tuple[str, Found]:
        with station.store.read() as tx:
            promised = papers.summary(tx, station, transfer).label
            geometry = papers.layout(tx, station, transfer)
            kept = papers.file_key(tx, station, transfer)
        identity = station.keys.vault_identity if kept is None else kept[0]
        seconds = limits.CHECK_SECONDS + limits.CHECK_FILE_SECONDS * len(geometry.entries)
        try:
            with SealReader.open(station.home.sealed(transfer), identity) as reader:
                if reader.size != geometry.size:
                    raise IntegrityError("the sealed file has another length than was agreed to")
                items = inspect_sealed(reader, geometry, inspectors, station.is_stopping, seconds)
        except (SealBrokenError, IntegrityError):
            return BROKEN, Found(b"")
        now = datetime.fromtimestamp(station.now_ms() / 1000, UTC).astimezone()
        return judge(promised, items, now.strftime("%Y%m%d"))

    result, found = await trio.to_thread.run_sync(look, limiter=station.check_limiter)
    return await station.write(_checked, station, transfer, result, found)


def _checked(tx: Tx, station: Station, transfer: str, result: str, found: Found) -> TransferRow:
    row = transfers.get(tx, transfer)
    if row.state not in WHOLE or row.checked_ms is not None:
        return row
    now = station.now_ms()
    papers.put_vault(tx, station, row.id, papers.CHECK, msgspec.msgpack.encode(found))
    papers.close_papers(tx, station, row)
    fields = sorted({one.field for one in found.differences})
    detail: dict[str, object] = {"result": result} | ({"fields": fields} if fields else {})
    outcome = "ok" if result in (AGREES, NO_LABEL) else result
    endings.record(tx, station, row, "check", RULE, outcome, detail)
    held = _held_text(row, result, fields, now)
    transfers.update(tx, row.id, checked_ms=now, check_result=result, held=held, updated_ms=now)
    if result == DIFFERS:
        text = f"transfer {short_id(row.id)} is not what its label promised; its release is held"
        _alarm(tx, station, row, LABEL_DIFFERS, text)
    elif result == BROKEN:
        _alarm_damage(tx, station, row)
    return transfers.get(tx, row.id)


def _alarm(tx: Tx, station: Station, row: TransferRow, kind: str, text: str) -> None:
    station.ledger.alarm(
        tx,
        kind=kind,
        text=text,
        peer=row.peer_name,
        peer_key=row.peer_key,
        detail={"transfer": row.id},
    )


def _alarm_damage(tx: Tx, station: Station, row: TransferRow) -> None:
    text = f"the sealed file of transfer {short_id(row.id)} is damaged"
    _alarm(tx, station, row, SealBrokenError.code, text)


def note_damage(tx: Tx, station: Station, transfer: str, error: BaseException) -> None:
    """Hold a transfer whose sealed file turns out to be damaged after the look, with an alarm."""
    row, now = transfers.get(tx, transfer), station.now_ms()
    known = held_code(row) == SealBrokenError.code
    if known or row.state not in WHOLE or not isinstance(error, SealBrokenError | IntegrityError):
        return
    transfers.update(tx, row.id, held=_held_by_damage(now), updated_ms=now)
    _alarm_damage(tx, station, row)


def unproved(tx: Tx, station: Station, actor: Actor, row: TransferRow, error: MedP2PError) -> None:
    """Record that verifying a transfer has failed."""
    endings.record(tx, station, row, "verify", actor, "failure", {"code": error.code})
    note_damage(tx, station, row.id, error)


def _held_text(row: TransferRow, result: str, fields: Sequence[str], now_ms: int) -> str | None:
    """Return what holds a release after the look; a hold of somebody else stays."""
    if held_code(row) not in (None, UNCHECKED):
        return row.held
    if result == DIFFERS:
        text = f"the files are not what the label promised: {', '.join(fields)}"
        return held(LABEL_DIFFERS, text, now_ms)
    if result == BROKEN:
        return _held_by_damage(now_ms)
    return None


def _held_by_damage(now_ms: int) -> str:
    return held(SealBrokenError.code, "the sealed file is damaged", now_ms)


def held(code: str, text: str, now_ms: int) -> str:
    """Return why a release is held, as a row keeps it; nothing in it names a patient."""
    return json.dumps({"code": code, "text": text, "since": rfc3339(now_ms)})


def held_code(row: TransferRow) -> str | None:
    """Return the code of what holds a release; None: nothing does."""
    return None if row.held is None else str(json.loads(row.held)["code"])


# --- when ---------------------------------------------------------------------------------


def due(tx: Tx) -> list[str]:
    """Return the transfers that are whole and were not looked at yet, the oldest first."""
    return [row.id for row in transfers.unchecked(tx)]


def failed(tx: Tx, station: Station, transfer: str, code: str) -> None:
    """Say that a look was not possible now; it is tried again."""
    row = transfers.get(tx, transfer)
    if row.state in WHOLE and row.checked_ms is None and row.held is None:
        text = f"the files could not be looked at yet: {code}"
        transfers.update(tx, row.id, held=held(UNCHECKED, text, station.now_ms()))


async def settled(station: Station, transfer: str) -> None:
    """Wait until a whole transfer has been looked at.

    Raises:
        ConflictError: It cannot be looked at now, or has ended.
    """
    with station.board.listen(transfer) as bell:
        while True:
            row = await station.read(transfers.get, transfer)
            if row.checked_ms is not None or row.state not in WHOLE:
                return
            if held_code(row) == UNCHECKED:
                raise ConflictError(
                    f"the files of transfer {row.id} were not looked at yet; "
                    "nothing is released before",
                    hint="the log of the daemon says why; it tries again by itself",
                )
            station.release_bell.ring()
            await bell.wait()


def found(tx: Tx, station: Station, transfer: str) -> Found | None:
    """Return what the look has found, or None before it.

    Raises:
        VaultLockedError: The vault key is not at hand.
        SealBrokenError: The record is damaged.
    """
    data = papers.get(tx, station, transfer, papers.CHECK)
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=Found)
    except msgspec.MsgspecError as error:
        raise SealBrokenError("what the look has found is damaged") from error


def label_of(found: Found) -> Label | None:
    """Return the label of the files as they came."""
    return decode_label_untrusted(found.label) if found.label else None


def view(tx: Tx, station: Station, row: TransferRow) -> dict[str, Any] | None:
    """Return the look in JSON: ``result, time, differences, more, label``; None before it."""
    seen = found(tx, station, row.id)
    if row.checked_ms is None or seen is None:
        return None
    label = label_of(seen)
    return {
        "result": row.check_result,
        "time": rfc3339(row.checked_ms),
        "differences": [msgspec.structs.asdict(one) for one in seen.differences],
        "more": seen.more,
        "label": None if label is None else label_view(label),
    }
