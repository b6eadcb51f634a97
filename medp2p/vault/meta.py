"""Small values of the home, and scans.

What a scan found (paths, roots, stats) lies sealed in a blob under the scan's id
(``transfers.put_blob``); here are its numbers only.
"""

from dataclasses import astuple, dataclass

from medp2p.errors import ConflictError
from medp2p.model import ENDED, WHOLE
from medp2p.vault.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRow:
    """One walk over sources.

    Attributes:
        id: Made like a transfer id.
        created_ms: Milliseconds since 1970 UTC.
        entries: Files and folders.
        files: Files.
        file_bytes: Bytes of all files.
        skipped: Entries left out (links, sockets, unreadable ...).
    """

    id: str
    created_ms: int
    entries: int
    files: int
    file_bytes: int
    skipped: int = 0


def get(tx: Tx, key: str) -> str | None:
    """Return the value under ``key``, or None."""
    row = tx.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def put(tx: Tx, key: str, value: str | None) -> None:
    """Set the value under ``key``; None removes it."""
    if value is None:
        tx.execute("DELETE FROM meta WHERE key = ?", (key,))
        return
    tx.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def names(tx: Tx, prefix: str) -> list[str]:
    """Return what follows a prefix in the keys that begin with it, ascending."""
    # "~" sorts after every character of our keys.
    rows = tx.execute(
        "SELECT key FROM meta WHERE key >= ? AND key < ? ORDER BY key", (prefix, prefix + "~")
    )
    return [str(key)[len(prefix) :] for (key,) in rows]


def add_scan(tx: Tx, row: ScanRow) -> None:
    """Add a scan.

    Raises:
        ConflictError: The id is taken.
    """
    if tx.execute("SELECT 1 FROM scans WHERE id = ?", (row.id,)).fetchone():
        raise ConflictError(f"scan {row.id} is already known")
    tx.execute("INSERT INTO scans VALUES (?, ?, ?, ?, ?, ?)", astuple(row))


def unused_scans(tx: Tx, before_ms: int) -> list[ScanRow]:
    """Return the scans made before ``before_ms`` that no unfinished transfer refers to."""
    done = (*ENDED, *WHOLE)
    marks = ", ".join("?" * len(done))
    rows = tx.execute(
        # Only question marks are put in.
        "SELECT id, created_ms, entries, files, file_bytes, skipped FROM scans"  # noqa: S608
        " WHERE created_ms < ? AND NOT EXISTS (SELECT 1 FROM transfers WHERE scan_id = scans.id"
        f" AND state NOT IN ({marks})) ORDER BY created_ms",
        (before_ms, *done),
    )
    return [_scan(row) for row in rows]


def remove_scan(tx: Tx, scan_id: str) -> None:
    """Remove a scan and its blobs; transfers that referred to it no longer do."""
    tx.execute("DELETE FROM blobs WHERE owner = ?", (scan_id,))
    tx.execute("DELETE FROM scans WHERE id = ?", (scan_id,))


def _scan(row: tuple[str, int, int, int, int, int]) -> ScanRow:
    scan_id, created_ms, entries, files, file_bytes, skipped = row
    return ScanRow(
        id=scan_id,
        created_ms=created_ms,
        entries=entries,
        files=files,
        file_bytes=file_bytes,
        skipped=skipped,
    )
