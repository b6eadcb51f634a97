"""Looking for transfers: by direction, peer, date, state and, with the vault open, patient."""

import re
import unicodedata
from datetime import datetime, timedelta

import msgspec

from medp2p import limits
from medp2p.daemon import papers, views
from medp2p.daemon.station import Station
from medp2p.daemon.views import Json
from medp2p.dicom.facts import Patient
from medp2p.dicom.label import decode_label_untrusted
from medp2p.errors import (
    NotFoundError,
    RemoteProtocolError,
    SealBrokenError,
    StoreError,
    UsageError,
    VaultLockedError,
)
from medp2p.model import Direction, State
from medp2p.vault import transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
#: Rows taken from the database at a time while labels are looked through.
_PORTION = 200


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for.

    Attributes:
        direction: Only this box.
        states: Only these; () for any.
        peer: Name of the peer, as it was then.
        since_ms: Made at that time or later, milliseconds since 1970 UTC.
        until_ms: Made before it.
        words: All of them stand in the name or the ID of one patient of the label.
        limit: At most so many.
        before: Go on after this transfer.
    """

    direction: Direction | None = None
    states: tuple[State, ...] = ()
    peer: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    words: tuple[str, ...] = ()
    limit: int = limits.SEARCH_ROWS
    before: str | None = None


def wanted(query: dict[str, str]) -> Wanted:
    """Read a query: ``direction, peer, state, from, to, patient, limit, before``.

    Raises:
        UsageError: A value cannot be understood; the text names it.
    """
    patient = query.get("patient", "")
    if len(patient) > limits.MAX_SEARCH_CHARS:
        raise UsageError(f"patient has more than {limits.MAX_SEARCH_CHARS} characters")
    direction = query.get("direction")
    if direction not in (None, "", "in", "out"):
        raise UsageError("direction is in or out")
    number = query.get("limit") or str(limits.SEARCH_ROWS)
    if not (number.isascii() and number.isdigit() and len(number) < 9):
        raise UsageError("limit is a whole number")
    return Wanted(
        direction=Direction(direction) if direction else None,
        states=_states(query.get("state", "")),
        peer=query.get("peer") or None,
        since_ms=_moment("from", query.get("from", "")),
        until_ms=_moment("to", query.get("to", "")),
        words=tuple(_plain(patient).split()),
        limit=min(max(int(number), 1), limits.MAX_SEARCH_ROWS),
        before=query.get("before") or None,
    )


def _states(text: str) -> tuple[State, ...]:
    try:
        return tuple(State(word) for word in text.split(",") if word)
    except ValueError:
        raise UsageError("that is no state", hint=f"states: {', '.join(State)}") from None


def _moment(key: str, text: str) -> int | None:
    """Return a time; of a day its begin here, or, as an end, the begin of the next one."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if _DAY.fullmatch(text):
            moment += timedelta(days=key == "to")
        elif moment.tzinfo is None:
            raise ValueError("no offset")
        return int(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"{key} is a date, YYYY-MM-DD, or a time as in RFC 3339") from None


def search(tx: Tx, station: Station, it: Wanted) -> Json:
    """Return ``{transfers, next}``: the newest that fit, and from where to go on, or null.

    A search for a patient opens a bounded number of labels: an answer may hold few transfers, or
    none, and yet name a place to go on from.

    Raises:
        VaultLockedError: A patient is looked for, and labels cannot be opened.
        NotFoundError: ``before`` is not known.
    """
    if it.words and station.vault.locked:
        raise VaultLockedError("patients can be looked for with the vault open only")
    if it.before is not None and transfers.maybe(tx, it.before) is None:
        raise NotFoundError("before is no transfer")
    found, last = _found(tx, station, it)
    shown = [views.with_papers(tx, station, row) for row in found]
    return {"transfers": shown, "next": last}


def _found(tx: Tx, station: Station, it: Wanted) -> tuple[list[TransferRow], str | None]:
    """Return what fits, and the last row that was looked at if there are more."""
    found: list[TransferRow] = []
    before, looked = it.before, 0
    while True:
        portion = min(_PORTION, limits.MAX_SEARCH_LABELS - looked) if it.words else it.limit
        rows = _rows(tx, it, before, portion + 1)
        for row in rows[:portion]:
            before, looked = row.id, looked + 1
            if not it.words or _is_of(tx, station, row, it.words):
                found.append(row)
                if len(found) == it.limit:
                    return found, before if row is not rows[-1] else None
        if len(rows) <= portion:
            return found, None
        if looked >= limits.MAX_SEARCH_LABELS:
            return found, before


def _rows(tx: Tx, it: Wanted, before: str | None, limit: int) -> list[TransferRow]:
    return transfers.list(
        tx,
        it.direction,
        it.states or None,
        limit=limit,
        before=before,
        peer_name=it.peer,
        since_ms=it.since_ms,
        until_ms=it.until_ms,
    )


def _is_of(tx: Tx, station: Station, row: TransferRow, words: tuple[str, ...]) -> bool:
    """Return whether a label names a patient with all these words; damaged ones name nobody."""
    try:
        if transfers.get_blob(tx, row.id, papers.SUMMARY) is None:
            return False
        label = papers.summary(tx, station, row.id).label
        persons = decode_label_untrusted(label).persons if label else ()
    except (SealBrokenError, StoreError, RemoteProtocolError):
        return False
    return any(all(word in _known_as(person) for word in words) for person in persons)


def _known_as(person: Patient) -> str:
    return _plain(f"{person.name} {person.id}")


def _plain(text: str) -> str:
    """Return text as it is compared: case folded, the carets of a DICOM name as blanks."""
    return unicodedata.normalize("NFKC", text).casefold().replace("^", " ").replace("=", " ")
