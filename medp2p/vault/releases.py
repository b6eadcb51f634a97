"""What was released where: a row for each folder, as long as it is there and a while longer.

The folder itself, and the files of a release for a time, lie in sealed blobs of the owner that
``owner`` names.

Source: docs/VAULT.md, "Release".
"""

from dataclasses import dataclass, fields

from medp2p.vault import transfers
from medp2p.vault.store import Tx

#: Why a folder counts no more, or is left alone although its time is over.
REMOVED, GONE, KEPT = "removed", "gone", "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseRow:
    """One released folder.

    Attributes:
        number: Of the release; 0 before it is added.
        transfer: Id.
        peer_name: Who had sent it.
        released_ms: Milliseconds since 1970 UTC, as all times here.
        released_by: Account, or "rule".
        files: How many.
        until_ms: When its unchanged files are to be removed; None: never.
        over: "removed", "gone", "kept" (some were changed, or are not ours) or None.
        over_ms: When that was found.
    """

    transfer: str
    peer_name: str
    released_ms: int
    released_by: str
    files: int
    until_ms: int | None = None
    over: str | None = None
    over_ms: int | None = None
    number: int = 0


_COLUMNS = tuple(column.name for column in fields(ReleaseRow))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM releases"  # noqa: S608 - names from the dataclass
_THERE = "(over IS NULL OR over = 'kept')"


def owner(number: int) -> str:
    """Return the owner of the blobs of a release."""
    return f"release {number}"


def add(tx: Tx, row: ReleaseRow) -> int:
    """Add a release; return its number."""
    fields_of_row = {name: getattr(row, name) for name in _COLUMNS if name != "number"}
    return tx.insert("releases", fields_of_row)


def all(tx: Tx, limit: int = -1) -> list[ReleaseRow]:
    """Return all releases, or at most so many, the newest first."""
    rows = tx.execute(f"{_SELECT} ORDER BY number DESC LIMIT ?", (limit,))
    return [_decode(row) for row in rows]


def of_transfer(tx: Tx, transfer: str) -> list[ReleaseRow]:
    """Return all releases of one transfer, the oldest first."""
    rows = tx.execute(f"{_SELECT} WHERE transfer = ? ORDER BY number", (transfer,))
    return [_decode(row) for row in rows]


def there(tx: Tx) -> list[ReleaseRow]:
    """Return those whose folder is there as far as is known, the oldest first."""
    rows = tx.execute(f"{_SELECT} WHERE {_THERE} ORDER BY number")
    return [_decode(row) for row in rows]


def timed(tx: Tx) -> list[ReleaseRow]:
    """Return those whose files are still to be removed, the next one first."""
    rows = tx.execute(f"{_SELECT} WHERE over IS NULL AND until_ms IS NOT NULL ORDER BY until_ms")
    return [_decode(row) for row in rows]


def count(tx: Tx, before_ms: int) -> tuple[int, int]:
    """Return how many folders there are, and how many of them are older than a time."""
    row = tx.execute(
        f"SELECT count(*), coalesce(sum(released_ms < ?), 0) FROM releases WHERE {_THERE}",  # noqa: S608
        (before_ms,),
    ).fetchone()
    return int(row[0]), int(row[1])


def finish(tx: Tx, number: int, over: str, now_ms: int) -> None:
    """Note what became of a folder."""
    tx.update("releases", "number", number, {"over": over, "over_ms": now_ms})


def forget(tx: Tx, before_ms: int) -> None:
    """Remove the rows of folders that were over before a time, and their blobs."""
    rows = tx.execute(
        "SELECT number FROM releases WHERE over IN ('removed', 'gone') AND over_ms < ?",
        (before_ms,),
    ).fetchall()
    for (number,) in rows:
        transfers.delete_blobs(tx, owner(int(number)))
        tx.execute("DELETE FROM releases WHERE number = ?", (number,))


def _decode(row: tuple[object, ...]) -> ReleaseRow:
    values = dict(zip(_COLUMNS, row, strict=True))
    return ReleaseRow(**values)  # type: ignore[arg-type] # the columns are the fields, in order
