"""The database: opening, refusing, transactions of several threads, crashes, secure delete."""

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from medp2p.errors import ConflictError, NoSpaceError, StoreError
from medp2p.vault import meta, peers, schema, transfers
from medp2p.vault.store import Store
from tests.unit.vault.stores import NOW_MS, key, peer, transfer, transfer_id

FIRST = Path(__file__).with_name("store-1.sql")
#: Only against a hang: nothing here takes so long.
PATIENCE_SECONDS = 30


@pytest.fixture(params=[0o000, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    old = os.umask(request.param)
    yield request.param
    os.umask(old)


def reopen(path: Path) -> Store:
    return Store.open(path, create=False, now_ms=NOW_MS)


def filled(path: Path) -> Path:
    """Make a database with rows in most tables, closed; return its path."""
    with closing(Store.open(path, create=True, now_ms=NOW_MS)) as store, store.write() as tx:
        for number in range(1, 60):
            peers.add(tx, peer(number))
            transfers.add(tx, transfer(number))
    return path


# --- opening ------------------------------------------------------------------------------


def test_a_new_database_has_the_settings_of_the_design(store: Store) -> None:
    with store.write() as tx:
        values = {
            name: tx.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        }
        assert values == {
            "journal_mode": "wal",
            "synchronous": 2,
            "secure_delete": 1,
            "foreign_keys": 1,
        }
        assert meta.get(tx, "created_ms") == str(NOW_MS)


@pytest.mark.usefixtures("umask")
def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)) as store:
        with store.write() as tx:
            peers.add(tx, peer())
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_a_mode_that_was_loosened_is_tightened(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    path.chmod(0o644)
    reopen(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_closed_database_is_one_file(tmp_path: Path) -> None:
    filled(tmp_path / "store.db")
    assert [file.name for file in tmp_path.iterdir()] == ["store.db"]


def test_an_existing_file_is_never_made_anew(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"store\.db is already there"):
        Store.open(path, create=True, now_ms=NOW_MS)
    assert path.read_bytes() == before


def test_a_missing_database_is_not_made_silently(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store.db cannot be opened: No such file") as caught:
        reopen(tmp_path / "store.db")
    assert "backup" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be made: No such file"):
        Store.open(tmp_path / "no" / "store.db", create=True, now_ms=NOW_MS)


def test_links_and_folders_are_refused(tmp_path: Path) -> None:
    filled(tmp_path / "real.db")
    (tmp_path / "store.db").symlink_to("real.db")
    with pytest.raises(StoreError, match="not a regular file"):
        reopen(tmp_path / "store.db")
    with pytest.raises(StoreError, match="not a regular file"):
        reopen(tmp_path)
    with pytest.raises(StoreError, match="already there"):
        Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)


def test_a_home_path_may_hold_any_character(tmp_path: Path) -> None:
    folder = tmp_path / "a ?#%41 ü\udcff"
    folder.mkdir()
    reopen(filled(folder / "store.db")).close()
    assert [os.fsencode(file.name) for file in folder.iterdir()] == [b"store.db"]


def test_a_newer_schema_stops_with_a_sentence(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"has schema 99; this program knows \d+ and") as caught:
        reopen(path)
    assert "newer medp2p" in (caught.value.hint or "")
    assert path.read_bytes() == before


@pytest.mark.parametrize("sql", ["CREATE TABLE other (x)", "PRAGMA user_version = 1", ""])
def test_a_database_of_another_program_is_refused(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql)
    path.touch()
    with pytest.raises(StoreError, match="is not a database of medp2p"):
        reopen(path)


def _damage(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_damaged_page_anywhere_is_found_at_the_start(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    good = path.read_bytes()
    noise = random.Random(7).randbytes(4096)
    for page in range(len(good) // 4096):
        path.write_bytes(good)
        _damage(path, page * 4096, noise)
        with pytest.raises(StoreError, match=f"the database {path} is damaged: ") as caught:
            reopen(path)
        assert "backup" in (caught.value.hint or "")
        assert "age" in (caught.value.hint or "")
    path.write_bytes(good)
    reopen(path).close()


@pytest.mark.parametrize("left", [1, 100, 4096, 5000, -4096])
def test_a_file_cut_short_is_found_at_the_start(tmp_path: Path, left: int) -> None:
    path = filled(tmp_path / "store.db")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(StoreError, match=r"store\.db (is damaged|is not a database)"):
        reopen(path)


def test_a_file_system_that_cannot_hold_the_log_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system without shared memory: SQLite then keeps its old mode."""
    # A private in-memory database is the one thing that refuses WAL everywhere.
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _path, **more: real(":memory:", **more))
    with pytest.raises(StoreError, match="cannot hold a write-ahead log") as caught:
        Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)
    assert "local disk" in (caught.value.hint or "")


def test_a_database_that_another_program_holds_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medp2p.vault.store.STORE_BUSY_SECONDS", 0.01)
    path = filled(tmp_path / "store.db")
    with closing(reopen(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program holds"), store.write():
            pass
        other.rollback()
        with store.write() as tx:
            meta.put(tx, "a", "b")


def test_a_path_that_cannot_be_opened_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "store.db")
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda _path, **more: real(tmp_path, **more))
    with pytest.raises(StoreError, match="cannot be used: unable to open") as caught:
        reopen(path)
    assert "health of the disk" in (caught.value.hint or "")


# --- versions -----------------------------------------------------------------------------


def shape(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        ).fetchall()


@pytest.mark.parametrize("dump", sorted(FIRST.parent.glob("store-*.sql")))
def test_every_older_version_opens_and_becomes_the_newest(tmp_path: Path, dump: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text())
    with closing(reopen(path)) as store, store.read() as tx:
        assert peers.get(tx, "ward-1") == peer(settings={"accept": "auto"})
        assert transfers.get(tx, transfer_id(1)) == transfer()
        assert transfers.get_blob(tx, transfer_id(1), "summary") == ("spool", b"sealed")
    assert shape(path) == shape(filled(tmp_path / "new.db"))


def test_there_is_a_file_of_every_older_version() -> None:
    names = {dump.name for dump in FIRST.parent.glob("store-*.sql")}
    assert names == {f"store-{n}.sql" for n in range(1, len(schema.MIGRATIONS) + 1)}


def test_a_migration_happens_whole_or_not_at_all(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    good = ("CREATE TABLE second (x)", "INSERT INTO second VALUES (2)")
    bad = ("CREATE TABLE third (x)", "INSERT INTO nowhere VALUES (1)")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            schema.migrate(connection, [*schema.MIGRATIONS, good, bad])
        assert schema.version(connection) == len(schema.MIGRATIONS) + 1
        assert connection.execute("SELECT x FROM second").fetchall() == [(2,)]
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'third'").fetchall()
        schema.migrate(connection, [*schema.MIGRATIONS, good])
        assert connection.execute("SELECT x FROM second").fetchall() == [(2,)]


def test_a_full_disk_in_a_migration_leaves_the_version_before(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    big = ("CREATE TABLE second (x)", "INSERT INTO second VALUES (zeroblob(1000000))")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA max_page_count = 60")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            schema.migrate(connection, [*schema.MIGRATIONS, big])
        assert schema.version(connection) == len(schema.MIGRATIONS)
        assert not connection.in_transaction


# --- transactions -------------------------------------------------------------------------


def test_an_exception_takes_all_back(store: Store) -> None:
    before = store.commits

    def act() -> None:
        with store.write() as tx:
            peers.add(tx, peer())
            raise InterruptedError

    with pytest.raises(InterruptedError):
        act()
    with store.read() as tx:
        assert peers.all(tx) == []
    assert store.commits == before
    with store.write() as tx:
        peers.add(tx, peer())
    assert store.commits == before + 1


def test_a_transaction_ends_with_its_block(store: Store) -> None:
    with store.write() as tx:
        cursor = tx.execute("SELECT 1 UNION SELECT 2")
        assert next(cursor) == (1,)
    with pytest.raises(RuntimeError, match="after its end"):
        tx.execute("SELECT 1")
    with pytest.raises(RuntimeError, match="after its end"):
        tx.executemany("SELECT ?", [(1,)])
    with pytest.raises(sqlite3.ProgrammingError, match="closed cursor"):
        next(cursor)


def test_a_write_inside_a_write_is_refused(store: Store) -> None:
    with pytest.raises(RuntimeError, match="would wait for itself"), store.write(), store.write():
        pass
    with store.write() as tx:
        meta.put(tx, "still", "works")


def test_a_read_inside_a_write_sees_what_was_before(store: Store) -> None:
    with store.write() as tx:
        meta.put(tx, "a", "new")
        assert meta.get(tx, "a") == "new"
        with store.read() as inner:
            assert meta.get(inner, "a") is None
    with store.read() as outer, store.read() as inner:
        assert meta.get(outer, "a") == meta.get(inner, "a") == "new"


def test_a_read_is_one_snapshot(store: Store) -> None:
    with store.read() as tx:
        assert meta.get(tx, "a") is None
        with store.write() as writing:
            meta.put(writing, "a", "1")
        assert meta.get(tx, "a") is None
    with store.read() as tx:
        assert meta.get(tx, "a") == "1"


def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match="readonly"), store.read() as tx:
        meta.put(tx, "a", "1")


def test_a_constraint_is_a_conflict_and_a_bug_stays_a_bug(store: Store) -> None:
    with pytest.raises(ConflictError, match=r"refused a record: .*peer_key"), store.write() as tx:
        transfers.add(tx, transfer(peer_key=b"short"))
    with pytest.raises(sqlite3.ProgrammingError), store.write() as tx:
        tx.execute("SELECT ?", ())
    with store.write() as tx:
        meta.put(tx, "still", "works")


def test_a_full_disk_is_told_and_changes_nothing(store: Store) -> None:
    """SQLite's own page limit gives the same error as a full disk."""
    with store.write() as tx:
        (pages,) = tx.execute("PRAGMA page_count").fetchone()
        tx.execute(f"PRAGMA max_page_count = {pages}")

    def act() -> None:
        with store.write() as tx:
            meta.put(tx, "a", "1")
            transfers.put_blob(tx, transfer_id(1), "manifest", "spool", bytes(100_000))

    with pytest.raises(NoSpaceError, match="no space left for the database"):
        act()
    with store.write() as tx:
        assert meta.get(tx, "a") is None
        tx.execute("PRAGMA max_page_count = 1000000")
    with store.write() as tx:
        transfers.put_blob(tx, transfer_id(1), "manifest", "spool", bytes(100_000))


def test_writers_of_several_threads_queue(store: Store) -> None:
    """Read, add one, write: no increment is lost and nobody sees "locked"."""
    before = store.commits
    errors: list[Exception] = []

    def count() -> None:
        try:
            for _ in range(50):
                with store.write() as tx:
                    meta.put(tx, "n", str(int(meta.get(tx, "n") or 0) + 1))
        except Exception as error:  # noqa: BLE001 - shown by the assert below
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert errors == []
    with store.read() as tx:
        assert meta.get(tx, "n") == "400"
    assert store.commits == before + 400


def test_readers_never_wait_for_a_writer(store: Store) -> None:
    """Fifty readers begin and end while one write transaction stays open."""
    seen: list[str | None] = []

    def look() -> None:
        with store.read() as tx:
            seen.append(meta.get(tx, "a"))

    with store.write() as tx:
        meta.put(tx, "a", "uncommitted")
        threads = [threading.Thread(target=look) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert seen == [None] * 50


def test_a_writer_never_waits_for_readers(store: Store) -> None:
    with store.write() as tx:
        meta.put(tx, "a", "1")
    with store.read() as reading:
        rows = reading.execute("SELECT value FROM meta")
        next(rows)
        with store.write() as tx:
            meta.put(tx, "a", "2")
    with store.read() as tx:
        assert meta.get(tx, "a") == "2"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
def test_readers_do_not_use_up_descriptors(store: Store) -> None:
    """SQLite parks descriptors of closed connections and takes them again: no growth."""

    def look(barrier: threading.Barrier) -> None:
        with store.read() as tx:
            meta.get(tx, "a")
            barrier.wait(PATIENCE_SECONDS)

    counts = []
    for _ in range(4):
        barrier = threading.Barrier(20)
        threads = [threading.Thread(target=look, args=(barrier,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[-1] <= counts[0]


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)
    with store.read() as tx:
        meta.get(tx, "a")
    store.close()
    store.close()
    for act in (store.read, store.write):
        with pytest.raises(StoreError, match="is closed"), act():
            pass
    with pytest.raises(StoreError, match="is closed"):
        store.checkpoint()


def test_a_reader_under_way_survives_the_close(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)
    with store.read() as tx:
        meta.get(tx, "a")
        store.close()
        assert meta.get(tx, "created_ms") == str(NOW_MS)


# --- checkpoints and secure delete --------------------------------------------------------


def test_a_checkpoint_empties_the_log(store: Store) -> None:
    with store.write() as tx:
        peers.add(tx, peer())
    log = store.path.with_name("store.db-wal")
    assert log.stat().st_size > 0
    assert store.checkpoint()
    assert log.stat().st_size == 0


def test_a_checkpoint_that_a_reader_holds_up_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medp2p.vault.store.STORE_BUSY_SECONDS", 0.01)
    with closing(Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)) as store:
        with store.read() as tx:
            meta.get(tx, "a")
            with store.write() as writing:
                meta.put(writing, "a", "1")
            assert not store.checkpoint()
        assert store.checkpoint()


def canaries_in(folder: Path) -> bool:
    return any(b"CANARY^NAME" in file.read_bytes() for file in folder.iterdir())


def test_what_was_deleted_is_in_no_file(store: Store) -> None:
    """Blobs of all sizes, deleted, replaced and pushed about by other rows."""
    source = random.Random(3)
    sizes = [20, 200, 1000, 2000, 4000, 4096, 5000, 20_000]
    with store.write() as tx:
        peers.add(tx, peer(2, told_name="CANARY^NAME"))
        meta.put(tx, "k", "CANARY^NAME")
    for round_number in range(30):
        with store.write() as tx:
            for number in range(8):
                size = source.choice(sizes)
                fill = b"CANARY^NAME" if source.random() < 0.6 else b"other bytes"
                blob = (fill * (size // 11 + 1))[:size]
                owner = transfer_id(number + 20 * round_number)
                transfers.put_blob(tx, owner, "manifest", "spool", blob)
                transfers.put_blob(tx, transfer_id(number), "summary", "spool", blob)
            for number in source.sample(range(20 * round_number + 8), 4):
                transfers.delete_blobs(tx, transfer_id(number))
    assert canaries_in(store.path.parent), "the search finds what is there"
    with store.write() as tx:
        peers.update(tx, "ward-2", told_name="")
        meta.put(tx, "k", "")
        rows = tx.execute("SELECT owner, name, blob FROM blobs").fetchall()
        for owner, name, blob in rows:
            if b"CANARY" in blob:
                transfers.delete_blobs(tx, owner, [name])
    assert canaries_in(store.path.parent), "the log still holds it before the checkpoint"
    assert store.checkpoint()
    assert not canaries_in(store.path.parent)
    with store.read() as tx:
        (left,) = tx.execute("SELECT count(*) FROM blobs").fetchone()
        assert left > 0


def test_an_erasing_cut_off_before_its_checkpoint_is_finished_at_the_next_start(
    tmp_path: Path,
) -> None:
    """The files as kill -9 would have left them."""
    (tmp_path / "old").mkdir()
    with closing(Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)) as store:
        with store.write() as tx:
            transfers.put_blob(tx, transfer_id(1), "summary", "spool", b"CANARY^NAME" * 500)
        with store.write() as tx:
            transfers.delete_blobs(tx, transfer_id(1))
        for name in ("store.db", "store.db-wal"):
            shutil.copy(tmp_path / name, tmp_path / "old" / name)
    assert canaries_in(tmp_path / "old")
    with closing(reopen(tmp_path / "old" / "store.db")):
        assert not canaries_in(tmp_path / "old")


# --- crashes ------------------------------------------------------------------------------

_CHILD = """
import os, sys
from medp2p.vault.store import Store
from medp2p.vault import meta, transfers
path, how = sys.argv[1:]
store = Store.open(path, create=False, now_ms=0)
with store.write() as tx:
    meta.put(tx, "committed", "yes")
if how == "inside":
    with store.write() as tx:
        meta.put(tx, "a", "new")
        # Far more than the cache holds, so that pages are in the log before the commit.
        for number in range(200):
            transfers.put_blob(tx, "o", str(number), "spool", bytes(100_000))
        os._exit(9)
number = 0
while True:
    number += 1
    with store.write() as tx:
        meta.put(tx, "left", str(number))
        transfers.put_blob(tx, "o", str(number % 7), "spool", os.urandom(9000))
        meta.put(tx, "right", str(number))
    print(number, flush=True)
"""


def start_child(path: Path, how: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _CHILD, str(path), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_crash_inside_a_transaction_leaves_the_old_state(tmp_path: Path) -> None:
    path = filled(tmp_path / "store.db")
    with closing(reopen(path)) as store, store.write() as tx:
        meta.put(tx, "a", "old")
    with start_child(path, "inside") as child:
        assert child.wait(PATIENCE_SECONDS) == 9
    assert path.with_name("store.db-wal").stat().st_size > 1_000_000
    with closing(reopen(path)) as store, store.read() as tx:
        assert meta.get(tx, "a") == "old"
        assert meta.get(tx, "committed") == "yes"
        assert transfers.blob_names(tx, "o") == {}


@pytest.mark.parametrize("lines", [1, 2, 9, 40])
def test_kill_9_loses_nothing_that_was_committed(tmp_path: Path, lines: int) -> None:
    path = filled(tmp_path / "store.db")
    with start_child(path, "loop") as child:
        if child.stdout is None:
            raise AssertionError
        said = [int(child.stdout.readline()) for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    with closing(reopen(path)) as store, store.read() as tx:
        left, right = meta.get(tx, "left"), meta.get(tx, "right")
        assert left == right
        assert int(left or 0) in (said[-1], said[-1] + 1)


def test_a_lost_log_leaves_an_older_state_that_opens(tmp_path: Path) -> None:
    """Someone removed the -wal file: what was only there is gone, the rest is whole."""
    path = filled(tmp_path / "store.db")
    with closing(reopen(path)) as store:
        with store.write() as tx:
            meta.put(tx, "a", "only in the log")
        shutil.copy(path, tmp_path / "alone.db")
    with closing(reopen(tmp_path / "alone.db")) as store, store.read() as tx:
        assert meta.get(tx, "a") is None
        assert peers.by_key(tx, key(1)) is not None
