"""Which chunks of a transfer are claimed, and which are done.

Receiver: a chunk is *claimed* with its digest before anything of it is written sealed, and *done*
once its data is durable. The claim is the one record that leads its data: age's nonce is the
chunk's place, so no two plaintexts of a place may ever be written sealed. Sender: a sent chunk's
digest is kept, as done (``put_sent``).

Rows are in the order of their chunks, so ranges and digests are one pass over them; nothing here
holds more than a group of rows in memory.

Source: docs/VAULT.md, "Write order".
"""

from collections.abc import Collection, Iterator, Sequence

from medp2p.errors import ConflictError, NotFoundError
from medp2p.vault.store import Tx

_CLAIMED, _DONE = 0, 1
#: Rows fetched at a time when digests stream: 64 KiB of digests.
_FETCH_ROWS = 2048


def claim(tx: Tx, transfer_id: str, chunks: Sequence[tuple[int, bytes]]) -> list[int]:
    """Claim chunks before they are written.

    Args:
        tx: Write transaction; commit it before writing any of them.
        transfer_id: A known transfer.
        chunks: (index, digest of 32 bytes) pairs, a group of them.

    Returns:
        Indexes that were claimed or done with another digest: the source has changed, these
        must not be written. The same digest again is no conflict.

    Raises:
        NotFoundError: No such transfer.
    """
    number = _number(tx, transfer_id)
    rows = [(number, index, _CLAIMED, digest) for index, digest in chunks]
    if _insert(tx, rows) == len(rows):
        return []
    return [index for index, digest in chunks if _digest(tx, number, index) != digest]


def done(tx: Tx, transfer_id: str, indexes: Collection[int]) -> int:
    """Record that the data of claimed chunks is durable; again for a done one is no error.

    Returns:
        How many were not done before.

    Raises:
        NotFoundError: No such transfer.
        ConflictError: One was never claimed: a record would lead its data.
    """
    number = _number(tx, transfer_id)
    rows = [(number, index) for index in indexes]
    changed = tx.executemany(
        "UPDATE journal SET state = 1 WHERE transfer = ? AND chunk = ? AND state = 0", rows
    )
    if changed != len(rows):
        lost = [index for index in indexes if _digest(tx, number, index) is None]
        if lost:
            raise ConflictError(f"chunk {lost[0]} of transfer {transfer_id} was never claimed")
    return changed if rows else 0


def put_sent(tx: Tx, transfer_id: str, chunks: Sequence[tuple[int, bytes]]) -> list[int]:
    """Keep the digests of chunks as they were sent (sender).

    Returns:
        Indexes that were sent before with another digest: the source has changed.

    Raises:
        NotFoundError: No such transfer.
    """
    number = _number(tx, transfer_id)
    rows = [(number, index, _DONE, digest) for index, digest in chunks]
    if _insert(tx, rows) == len(rows):
        return []
    return [index for index, digest in chunks if _digest(tx, number, index) != digest]


def claims(tx: Tx, transfer_id: str) -> dict[int, bytes]:
    """Return index -> digest of the chunks that are claimed and not done.

    As many as a crash can leave: those of the last group or second.
    """
    rows = tx.execute(
        "SELECT chunk, digest FROM journal WHERE transfer = ? AND state = 0 ORDER BY chunk",
        (_number(tx, transfer_id),),
    )
    return {int(chunk): bytes(digest) for chunk, digest in rows}


def done_count(tx: Tx, transfer_id: str) -> int:
    """Return how many chunks are done; counts rows, so ask at a start, not for each chunk."""
    (count,) = tx.execute(
        "SELECT count(*) FROM journal WHERE transfer = ? AND state = 1",
        (_number(tx, transfer_id),),
    ).fetchone()
    return int(count)


def done_ranges(tx: Tx, transfer_id: str) -> list[tuple[int, int]]:
    """Return the done chunks as [first, end) pairs: ascending, disjoint, not adjacent."""
    # Only rows at an edge of a range come out: one pass, no sorting, few rows.
    rows = tx.execute(
        "SELECT chunk, before, after FROM (SELECT chunk,"
        " lag(chunk) OVER (ORDER BY chunk) AS before,"
        " lead(chunk) OVER (ORDER BY chunk) AS after"
        " FROM journal WHERE transfer = ? AND state = 1)"
        " WHERE before IS NOT chunk - 1 OR after IS NOT chunk + 1",
        (_number(tx, transfer_id),),
    )
    ranges = []
    first = 0
    for chunk, before, after in rows:
        if before != chunk - 1:
            first = chunk
        if after != chunk + 1:
            ranges.append((first, chunk + 1))
    return ranges


def missing_ranges(tx: Tx, transfer_id: str, count: int) -> list[tuple[int, int]]:
    """Return the chunks below ``count`` that are not done, as [first, end) pairs.

    A chunk that is only claimed is missing: it must come again, with the same digest.
    """
    missing = []
    reached = 0
    for first, end in done_ranges(tx, transfer_id):
        if first >= count:
            break
        if first > reached:
            missing.append((reached, first))
        reached = end
    if reached < count:
        missing.append((reached, count))
    return missing


def digests(tx: Tx, transfer_id: str) -> Iterator[bytes]:
    """Yield the digests of the done chunks, ascending; take them inside the transaction.

    They are a whole stream's only if ``missing_ranges`` is empty.
    """
    cursor = tx.execute(
        "SELECT digest FROM journal WHERE transfer = ? AND state = 1 ORDER BY chunk",
        (_number(tx, transfer_id),),
    )
    while rows := cursor.fetchmany(_FETCH_ROWS):
        for (digest,) in rows:
            yield digest


def digest_map(tx: Tx, transfer_id: str) -> dict[int, bytes]:
    """Return index -> digest of all chunks, done or claimed: about 150 bytes of memory each."""
    rows = tx.execute(
        "SELECT chunk, digest FROM journal WHERE transfer = ? ORDER BY chunk",
        (_number(tx, transfer_id),),
    )
    return dict(rows.fetchall())


def forget(tx: Tx, transfer_id: str) -> None:
    """Delete all rows of a transfer: it is whole, or discarded together with its key."""
    tx.execute("DELETE FROM journal WHERE transfer = ?", (_number(tx, transfer_id),))


def _number(tx: Tx, transfer_id: str) -> int:
    row = tx.execute("SELECT number FROM transfers WHERE id = ?", (transfer_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no transfer {transfer_id}")
    return int(row[0])


def _insert(tx: Tx, rows: list[tuple[int, int, int, bytes]]) -> int:
    if not rows:
        return 0
    return tx.executemany(
        "INSERT INTO journal VALUES (?, ?, ?, ?) ON CONFLICT (transfer, chunk) DO NOTHING", rows
    )


def _digest(tx: Tx, number: int, index: int) -> bytes | None:
    row = tx.execute(
        "SELECT digest FROM journal WHERE transfer = ? AND chunk = ?", (number, index)
    ).fetchone()
    return None if row is None else bytes(row[0])
