"""The tables of store.db and how an older file becomes a newer one.

A migration is never changed once it is released: a new one is added. ``user_version`` holds the
number of the last one that ran. Columns hold what may lie in clear: ids, keys, counts, times,
states. Names of files, labels, notes and paths are patient data and go into ``blobs`` and
``audit.sealed``, sealed by the caller. Folders that a person has named as a target, or in a rule
of a peer, are settings, and stand here in clear.

Source: docs/VAULT.md, "Database".
"""

import sqlite3
from collections.abc import Sequence

#: "MP2P" in the file header, so that another program's database is told apart (sqlite.org
#: fileformat2, offset 68).
APPLICATION_ID = 0x4D503250

_FIRST: tuple[str, ...] = (
    """CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE peers (
        name TEXT PRIMARY KEY,
        noise_key BLOB NOT NULL UNIQUE CHECK (length(noise_key) = 32),
        sign_key BLOB CHECK (length(sign_key) = 32),
        source TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        verified_ms INTEGER,
        verified_by TEXT,
        told_name TEXT NOT NULL,
        told_department TEXT NOT NULL,
        told_place TEXT NOT NULL,
        software TEXT NOT NULL,
        highest_version INTEGER NOT NULL,
        addresses TEXT NOT NULL,
        settings TEXT NOT NULL,
        last_run BLOB,
        last_seen_ms INTEGER
    )""",
    """CREATE TABLE scans (
        id TEXT PRIMARY KEY,
        created_ms INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        files INTEGER NOT NULL,
        file_bytes INTEGER NOT NULL,
        skipped INTEGER NOT NULL
    )""",
    # The number is short for the journal and tells the order in which transfers came.
    """CREATE TABLE transfers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE CHECK (length(id) = 26),
        direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
        peer_key BLOB NOT NULL CHECK (length(peer_key) = 32),
        peer_name TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        held TEXT,
        priority TEXT NOT NULL,
        entries INTEGER NOT NULL,
        files INTEGER NOT NULL,
        file_bytes INTEGER NOT NULL,
        length INTEGER NOT NULL,
        offer BLOB CHECK (length(offer) = 32),
        root BLOB CHECK (length(root) = 32),
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        decided_ms INTEGER,
        sealed_ms INTEGER,
        released_ms INTEGER,
        finished_ms INTEGER,
        chunks_done INTEGER NOT NULL,
        scan_id TEXT REFERENCES scans (id) ON DELETE SET NULL,
        error TEXT,
        skipped INTEGER NOT NULL,
        erasing INTEGER NOT NULL CHECK (erasing IN (0, 1))
    )""",
    "CREATE INDEX transfers_by_state ON transfers (state, peer_key)",
    "CREATE INDEX transfers_by_peer ON transfers (peer_key, state)",
    "CREATE INDEX transfers_by_scan ON transfers (scan_id)",
    "CREATE INDEX transfers_erasing ON transfers (erasing) WHERE erasing",
    # Owner: the id of a transfer or of a scan.
    """CREATE TABLE blobs (
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        key_kind TEXT NOT NULL CHECK (key_kind IN ('spool', 'vault')),
        blob BLOB NOT NULL,
        PRIMARY KEY (owner, name)
    )""",
    # State 0: claimed, 1: done. A row a chunk, millions of them: clustered by the key.
    """CREATE TABLE journal (
        transfer INTEGER NOT NULL REFERENCES transfers (number) ON DELETE CASCADE,
        chunk INTEGER NOT NULL CHECK (chunk >= 0),
        state INTEGER NOT NULL CHECK (state IN (0, 1)),
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        PRIMARY KEY (transfer, chunk)
    ) WITHOUT ROWID""",
    """CREATE TABLE facts (
        peer_key BLOB NOT NULL CHECK (length(peer_key) = 32),
        direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
        number INTEGER NOT NULL CHECK (number >= 1),
        transfer TEXT NOT NULL,
        kind TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        statement BLOB NOT NULL,
        signature BLOB NOT NULL CHECK (length(signature) = 64),
        acked INTEGER NOT NULL CHECK (acked IN (0, 1)),
        PRIMARY KEY (peer_key, direction, number)
    ) WITHOUT ROWID""",
    "CREATE INDEX facts_by_transfer ON facts (transfer)",
    "CREATE INDEX facts_pending ON facts (peer_key, number) WHERE direction = 'out' AND acked = 0",
    """CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        record BLOB NOT NULL,
        sealed BLOB,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    )""",
    # Beside the chain, so that a chain whose end was cut off does not look whole.
    """CREATE TABLE audit_head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        count INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    )""",
    "INSERT INTO audit_head VALUES (1, 0, zeroblob(32))",
    # Against our own mistakes, not against someone who holds the file.
    """CREATE TRIGGER audit_append_only BEFORE DELETE ON audit
    BEGIN SELECT RAISE (ABORT, 'audit records are never deleted'); END""",
    """CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
    WHEN new.seq IS NOT old.seq OR new.record IS NOT old.record OR new.hash IS NOT old.hash
        OR new.sealed IS NOT NULL
    BEGIN SELECT RAISE (ABORT, 'audit records are never changed'); END""",
    """CREATE TABLE strangers (
        id INTEGER PRIMARY KEY,
        address TEXT NOT NULL,
        reason TEXT NOT NULL,
        hour_ms INTEGER NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        count INTEGER NOT NULL,
        reported INTEGER NOT NULL CHECK (reported IN (0, 1)),
        UNIQUE (address, reason, hour_ms, reported)
    )""",
    """CREATE TABLE alarms (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        peer TEXT,
        text TEXT NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        count INTEGER NOT NULL,
        acknowledged INTEGER NOT NULL CHECK (acknowledged IN (0, 1))
    )""",
)

#: What the receiver's own look at the sealed files found; targets with a name; what was released
#: where, and for how long.
_SECOND: tuple[str, ...] = (
    "ALTER TABLE transfers ADD COLUMN checked_ms INTEGER",
    "ALTER TABLE transfers ADD COLUMN check_result TEXT",
    """CREATE TABLE targets (
        name TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        created_by TEXT NOT NULL
    )""",
    # The folder, and the files of a release for a time: sealed in blobs, owner "release N".
    """CREATE TABLE releases (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        transfer TEXT NOT NULL,
        peer_name TEXT NOT NULL,
        released_ms INTEGER NOT NULL,
        released_by TEXT NOT NULL,
        files INTEGER NOT NULL,
        until_ms INTEGER,
        over TEXT,
        over_ms INTEGER
    )""",
    "CREATE INDEX releases_open ON releases (released_ms) WHERE over IS NULL",
    "CREATE INDEX releases_by_transfer ON releases (transfer)",
)

_THIRD: tuple[str, ...] = (
    # What was begun because a time had passed; ran_ms is running time of the daemon.
    """CREATE TABLE deadlines (
        transfer TEXT NOT NULL REFERENCES transfers (id),
        kind TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        ran_ms INTEGER NOT NULL CHECK (ran_ms >= 0),
        PRIMARY KEY (transfer, kind)
    ) WITHOUT ROWID""",
)

#: Migration n (from 1) is at n - 1.
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND, _THIRD)


def version(connection: sqlite3.Connection) -> int:
    """Return the number of the last migration that ran on this file; 0 for an empty one."""
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    return int(number)


def migrate(
    connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the file up to the newest schema, one transaction per migration.

    A crash between two of them leaves the file at the version reached; the next start goes on.

    Args:
        connection: In autocommit mode, no transaction open.
        migrations: All of them, the first one first.

    Raises:
        sqlite3.Error: A statement failed; the file is at the version before it.
    """
    for number in range(version(connection) + 1, len(migrations) + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in migrations[number - 1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
