"""The database of a home: opening it, transactions, checkpoints.

One connection writes, under a lock, so that writers of several threads queue and never see
"database is locked"; each reader has a connection of its own with a snapshot (WAL), so that it
neither waits for a writer nor holds one up. The tables are in ``schema``, the functions on them
in ``peers``, ``transfers``, ``journal``, ``facts``, ``log`` and ``meta``.

Source: docs/VAULT.md, "Database" and "Write order".
"""

import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from medp2p.errors import ConflictError, MedP2PError, NoSpaceError, StoreError
from medp2p.limits import STORE_BUSY_SECONDS, STORE_IDLE_READERS, STORE_WAL_BYTES
from medp2p.vault import schema
from medp2p.vault.durable import Files

Value = str | bytes | int | float | None

#: Of every connection. None of them reads the file.
_SETTINGS = (
    "foreign_keys = ON",
    "secure_delete = ON",
    "synchronous = FULL",
    # macOS: an ordinary fsync leaves data in the disk's cache. Without effect elsewhere.
    "fullfsync = ON",
    "checkpoint_fullfsync = ON",
    # Sorting never goes to a file outside the home.
    "temp_store = MEMORY",
)

_DAMAGED_HINT = (
    "move it away together with its -wal and -shm files and put a backup in its place; "
    "the sealed files beside it stay readable with age and keys/vault.key (docs/VAULT.md)"
)


class Tx:
    """An open transaction: valid inside its ``with`` block, in the thread that opened it.

    Cursors that it gave out are closed with it.
    """

    __slots__ = ("_connection", "_cursors")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()

    def execute(self, sql: str, values: Sequence[Value] = ()) -> sqlite3.Cursor:
        """Run one statement; iterate the cursor for its rows (tuples)."""
        cursor = self._open().execute(sql, values)
        self._cursors.add(cursor)
        return cursor

    def executemany(self, sql: str, rows: Iterable[Sequence[Value]]) -> int:
        """Run one statement for each row of values; return how many rows it changed in all."""
        return self._open().executemany(sql, rows).rowcount

    def insert(self, table: str, values: Mapping[str, Value]) -> int:
        """Insert one row; table and columns are names of our own. Return its rowid."""
        columns = ", ".join(values)
        marks = ", ".join("?" * len(values))
        # Names come from the code, values are bound.
        sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608
        return self.execute(sql, tuple(values.values())).lastrowid or 0

    def update(self, table: str, key: str, value: Value, values: Mapping[str, Value]) -> int:
        """Set columns of the rows whose ``key`` column is ``value``; return how many there are."""
        columns = ", ".join(f"{column} = ?" for column in values)
        # Names come from the code, values are bound.
        sql = f"UPDATE {table} SET {columns} WHERE {key} = ?"  # noqa: S608
        return self.execute(sql, (*values.values(), value)).rowcount

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("a transaction is used after its end")
        return self._connection

    def _end(self) -> None:
        for cursor in tuple(self._cursors):
            cursor.close()
        self._connection = None


class Store:
    """The open database. Its methods may be called from any thread.

    Attributes:
        path: The file.
        commits: Write transactions committed since opening.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use ``Store.open``."""
        self.path = path
        self.commits = 0
        self._writer = connection
        self._write_lock = threading.Lock()
        self._write_owner: int | None = None
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool, now_ms: int) -> "Store":
        """Open the database, check it and bring its schema up to date.

        Args:
            path: The file; its -wal and -shm lie beside it.
            create: Make a new one, which must not be there yet; else it must be there.
            now_ms: Kept as the time of creation.

        Raises:
            StoreError: Missing, already there, damaged, made by a newer program, not ours. The
                text names the file.
            NoSpaceError: The file system is full.
        """
        file = Path(path)
        _make_file(file) if create else _check_file(file)
        with _turning_errors(file):
            connection = _connect(file)
            try:
                if not create:
                    _check_kind(connection, file)
                    _check_pages(connection, file)
                _set_up_writer(connection, file)
                schema.migrate(connection)
                if create:
                    sql = "INSERT INTO meta VALUES ('created_ms', ?)"
                    connection.execute(sql, (str(now_ms),))
                # A crash may have come between an erasing and its checkpoint.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except BaseException:
                connection.close()
                raise
        return cls(file, connection)

    def close(self) -> None:
        """Close; waits for a write under way. A read under way goes on to its end."""
        with self._write_lock:
            if self._closed:
                return
            with self._readers_lock:
                self._closed = True
                readers, self._readers = self._readers, []
            for reader in readers:
                reader.close()
            self._writer.close()

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """Give the one write transaction: committed at the end, rolled back on any exception.

        Waits for its turn. It is durable when the block has been left (synchronous=FULL). Keep
        it short: no network, no file work, no waiting inside. A ``write`` inside a ``write`` of
        the same thread is refused; a ``read`` inside sees what was before it.

        Raises:
            StoreError: The database is closed, damaged or cannot be written.
            NoSpaceError: The file system is full; nothing was changed.
            ConflictError: A constraint refused a row; nothing was changed.
        """
        me = threading.get_ident()
        if self._write_owner == me:
            raise RuntimeError("a write transaction inside another one would wait for itself")
        with self._write_lock:
            if self._closed:
                raise StoreError(f"{self.path} is closed")
            self._write_owner = me
            try:
                with _turning_errors(self.path), _transaction(self._writer) as tx:
                    yield tx
                self.commits += 1
            finally:
                self._write_owner = None

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """Give a read transaction: one snapshot of the last commit, from its first statement on.

        Never waits for a writer. May be nested (each has its own connection and snapshot). End
        it soon: while it is open the write-ahead log cannot be emptied.

        Raises:
            StoreError: The database is closed or damaged.
        """
        with _turning_errors(self.path):
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                tx = Tx(connection)
                try:
                    yield tx
                finally:
                    tx._end()
                    connection.execute("ROLLBACK")
            finally:
                self._give_reader(connection)

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the file and cut the log to nothing.

        After deletes, what was deleted is then in neither (secure_delete).

        Returns:
            False when a reader held the log for all of STORE_BUSY_SECONDS: try again later.

        Raises:
            StoreError: The database is closed, damaged or cannot be written.
        """
        with self._write_lock:
            if self._closed:
                raise StoreError(f"{self.path} is closed")
            with _turning_errors(self.path):
                row = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return bool(row[0] == 0)

    def _take_reader(self) -> sqlite3.Connection:
        with self._readers_lock:
            if self._closed:
                raise StoreError(f"{self.path} is closed")
            if self._readers:
                return self._readers.pop()
        connection = _connect(self.path)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _give_reader(self, connection: sqlite3.Connection) -> None:
        with self._readers_lock:
            keep = not self._closed and len(self._readers) < STORE_IDLE_READERS
            if keep and not connection.in_transaction:
                self._readers.append(connection)
                return
        connection.close()


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[Tx]:
    connection.execute("BEGIN IMMEDIATE")
    tx = Tx(connection)
    try:
        yield tx
        tx._end()
        connection.execute("COMMIT")
    except BaseException:
        tx._end()
        # SQLite has rolled back by itself after some errors, such as a full disk.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _turning_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # A bug of ours, not the state of the file.
    except sqlite3.Error as error:
        raise _turned(error, path) from error


def _turned(error: sqlite3.Error, path: Path) -> MedP2PError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(f"the database {path} is damaged: {error}", hint=_DAMAGED_HINT)
    if code == sqlite3.SQLITE_FULL:
        return NoSpaceError(f"no space left for the database {path}")
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ConflictError(f"the database refused a record: {error}")
    if code == sqlite3.SQLITE_BUSY:
        return StoreError(f"another program holds the database {path}", hint="close that program")
    return StoreError(
        f"the database {path} cannot be used: {error}",
        hint="check the rights of the folder and the health of the disk",
    )


def _connect(path: Path) -> sqlite3.Connection:
    # Threads take turns under our locks; autocommit, because transactions are spelt out.
    connection = sqlite3.connect(
        path, timeout=STORE_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up_writer(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreError(
            f"the file system of {path} cannot hold a write-ahead log",
            hint="keep the home on a local disk",
        )
    connection.execute(f"PRAGMA journal_size_limit = {STORE_WAL_BYTES}")


def _make_file(path: Path) -> None:
    files = Files()
    try:
        # 0600 whatever the umask; SQLite gives -wal and -shm the mode of the file.
        os.close(files.create(path))
        files.fsync_folder(path.parent)
    except FileExistsError as error:
        raise StoreError(f"the database {path} is already there") from error
    except OSError as error:
        raise StoreError(f"the database {path} cannot be made: {error.strerror}") from error


def _check_file(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise StoreError(
            f"the database {path} cannot be opened: {error.strerror}",
            hint="put a backup in its place, or make a new home with `medp2p init`",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a regular file")
    if stat.S_IMODE(status.st_mode) != 0o600:
        path.chmod(0o600)


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    number = schema.version(connection)
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != schema.APPLICATION_ID or number < 1:
        raise StoreError(
            f"{path} is not a database of medp2p, or its creation was cut short",
            hint="put a backup in its place, or make a new home with `medp2p init`",
        )
    newest = len(schema.MIGRATIONS)
    if number > newest:
        raise StoreError(
            f"the database {path} has schema {number}; this program knows {newest} and older",
            hint="install the newer medp2p again: a database never goes back",
        )


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    if rows != [("ok",)]:
        raise StoreError(f"the database {path} is damaged: {rows[0][0]}", hint=_DAMAGED_HINT)
