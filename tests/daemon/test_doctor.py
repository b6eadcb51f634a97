import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.daemon import views
from medp2p.daemon.book import Book
from medp2p.daemon.config import load_config
from medp2p.daemon.doctor import examine, examine_home
from medp2p.daemon.events import Events
from medp2p.daemon.home import Home, Lock, init_home, open_home, write_daemon_json
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.station import Station
from medp2p.model import Actor
from medp2p.net.discovery import Discovery
from medp2p.vault import peers
from medp2p.vault.durable import Files
from medp2p.vault.peers import PeerRow
from medp2p.vault.sealing import SpoolBox, VaultBox
from medp2p.vault.store import Store

NOW = 1_700_000_000_000
KEY = b"k" * 32
ANNA = Actor(os_user="anna", via="cli")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = init_home(tmp_path / "home", name="a", department="", place="", now_ms=NOW)
    set_reserve(home, "0")
    return home


def set_reserve(home: Home, value: str) -> None:
    text = home.config_file.read_text().replace('#reserve = "1 GiB"', f"reserve = {value}")
    home.config_file.write_text(text)


def found(rows: list[dict[str, object]]) -> dict[object, object]:
    assert all(row.keys() == {"check", "ok", "text", "hint"} for row in rows)
    assert all(row["hint"] for row in rows if row["ok"] is False and row["check"] != "home")
    return {row["check"]: row["ok"] for row in rows}


def row(rows: list[dict[str, object]], check: str) -> dict[str, object]:
    return next(row for row in rows if row["check"] == check and row["ok"] is not True)


# --- without a daemon ---------------------------------------------------------------------


def test_a_good_home(home: Home) -> None:
    assert found(examine_home(home.path)) == {
        "home": True,
        "keys": True,
        "config": True,
        "database": True,
        "disk": True,
        "vault key": None,
        "daemon": None,
    }


def test_no_home(tmp_path: Path) -> None:
    (only,) = examine_home(tmp_path / "none")
    assert only["ok"] is False
    assert "medp2p init" in str(only["hint"])


def test_one_finding_does_not_hide_the_others(home: Home, tmp_path: Path) -> None:
    other = init_home(tmp_path / "other", name="b", department="", place="", now_ms=NOW)
    home.vault.chmod(0o755)
    home.config_file.write_text("mdns = 1")
    (home.keys / "sign.key").write_bytes((other.keys / "sign.key").read_bytes())
    rows = examine_home(home.path)
    assert row(rows, "home")["hint"] == f"chmod 700 {home.vault}"
    assert "'mdns'" in str(row(rows, "config")["text"])
    assert "sign.key belongs to another home" in str(row(rows, "database")["text"])
    (home.keys / "sign.key").unlink()
    assert "sign.key" in str(row(examine_home(home.path), "keys")["text"])


def test_a_damaged_database_is_told(home: Home) -> None:
    home.store.write_bytes(b"x" * 8192)
    finding = row(examine_home(home.path), "database")
    assert finding["ok"] is False
    assert str(home.store) in str(finding["text"])


def test_too_little_room_comes_with_numbers(home: Home) -> None:
    home.config_file.write_text('reserve = "15 TiB"')
    finding = row(examine_home(home.path), "disk")
    assert "free, reserve 16.5 TB" in str(finding["text"])
    home.vault.rmdir()
    assert row(examine_home(home.path), "disk")["ok"] is False


def test_a_daemon_that_holds_the_home_but_does_not_answer(home: Home) -> None:
    with Lock(home):
        write_daemon_json(home, listen=[":1"], since_ms=NOW)
        rows = examine_home(home.path)
        assert row(rows, "database")["ok"] is None
        assert f"pid {os.getpid()}" in str(row(rows, "daemon")["text"])


# --- with one -----------------------------------------------------------------------------


def shown(working: bool | None, status: str) -> Discovery:
    """Return discovery in a given condition; it does not run."""
    discovery = Discovery(fingerprint="a" * 26, port=1, name="here")
    discovery.working, discovery.status = working, status
    return discovery


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[Station]:
    _, keys = open_home(home.path)
    store = Store.open(home.store, create=False, now_ms=NOW)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    vault = VaultBox([keys.vault_recipient], keys.vault_identity)
    station = Station(
        home=home, keys=keys, config=load_config(home.config_file), store=store, files=Files(),
        spool=SpoolBox(keys.spool), vault=vault, ledger=Ledger(vault, lambda: NOW),
        events=Events(), book=Book(lambda: NOW), run=bytes(16), now_ms=lambda: NOW,
        random_bytes=os.urandom, describe=views.transfer, describe_peer=views.peer,
    )  # fmt: skip
    station.addresses = [f"0.0.0.0:{listeners[0].socket.getsockname()[1]}"]
    station.listening = True
    station.discovery = shown(True, "announced on eth0")
    try:
        yield station
    finally:
        store.close()
        for listener in listeners:
            await listener.aclose()


async def test_a_healthy_daemon(home: Home) -> None:
    async with running(home) as station:
        assert found(await examine(station)) == {
            "home": True,
            "keys": True,
            "config": True,
            "disk": True,
            "vault key": None,
            "port": True,
            "mdns": True,
            "clock": True,
            "errors": True,
        }


async def test_a_listener_that_is_gone(home: Home) -> None:
    async with running(home) as station:
        pass
    async with running(home) as other:
        other.addresses, other.listening = station.addresses, False
        rows = await examine(other)
        assert "takes no connection" in str(row(rows, "port")["text"])
        assert row(rows, "listener")["ok"] is False


async def test_mdns_that_fails_and_mdns_that_is_off(home: Home) -> None:
    async with running(home) as station:
        station.discovery = shown(False, "no interface is up")
        assert row(await examine(station), "mdns")["ok"] is False
        station.config = station.config.with_command_line(mdns=False)
        assert row(await examine(station), "mdns")["ok"] is None


async def test_clocks_of_peers_that_are_still_paired(home: Home) -> None:
    async with running(home) as station:
        skew = int(limits.CLOCK_SKEW_SECONDS * 1000)
        station.book.note_clock(KEY, skew + 1000)
        station.book.note_clock(b"x" * 32, skew + 1000)
        assert found(await examine(station))["clock"] is True
        with station.store.write() as tx:
            peers.add(tx, PeerRow(name="ward-a", noise_key=KEY, source="hand", created_ms=1))
        assert "behind that of ward-a" in str(row(await examine(station), "clock")["text"])
        station.book.note_clock(KEY, -skew - 1000)
        assert "ahead of that of ward-a" in str(row(await examine(station), "clock")["text"])
        station.book.note_clock(KEY, skew)
        assert found(await examine(station))["clock"] is True


async def test_a_clock_behind_the_audit_log(home: Home) -> None:
    async with running(home) as station:
        with station.store.write() as tx:
            station.ledger.record(tx, event="offer", actor=ANNA)
        station.now_ms = lambda: NOW - 3_600_000
        assert "1 h 00 min behind an audit" in str(row(await examine(station), "clock")["text"])
        with station.store.write() as tx:  # as the alarm about it does, and all that follows
            station.ledger.record(tx, event="accept", actor=ANNA)
        assert "behind an audit" in str(row(await examine(station), "clock")["text"])


async def test_files_that_changed_under_the_daemon(home: Home, tmp_path: Path) -> None:
    other = init_home(tmp_path / "other", name="b", department="", place="", now_ms=NOW)
    async with running(home) as station:
        (home.keys / "noise.key").write_bytes((other.keys / "noise.key").read_bytes())
        home.config_file.write_text('name = "b"\nreserve = 0')
        rows = await examine(station)
        assert "not those the daemon works with" in str(row(rows, "keys")["text"])
        assert row(rows, "config")["hint"] == "medp2p reload"
        home.config_file.write_text("name = 5")
        assert row(await examine(station), "config")["ok"] is False


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ('name = "b"', 'name = "c"'),
        ('department = "CT"', 'department = "MR"'),
        ('listen = "127.0.0.1:1"', 'listen = "127.0.0.1:2"'),
        ("mdns = false", "mdns = true"),
        ('compression = "off"', 'compression = "auto"'),
        ("reserve = 0", 'reserve = "1 MiB"'),
        ('wait-for-peer = "1 day"', 'wait-for-peer = "2 days"'),
        ('keep-details = "1 day"', 'keep-details = "2 days"'),
        ('expire-after = "8 days"', 'expire-after = "9 days"'),
        ('undecided-stat = "1 minute"', 'undecided-stat = "2 minutes"'),
        ('undecided-routine = "1 hour"', 'undecided-routine = "2 hours"'),
        ('page-idle = "10 minutes"', 'page-idle = "11 minutes"'),
        ("notify = false", "notify = true"),
        ('[release]\nscan = ["a"]', '[release]\nscan = ["b"]'),
        ('[release]\nscan-time = "1 minute"', '[release]\nscan-time = "2 minutes"'),
        ('[release]\nold-after = "1 day"', '[release]\nold-after = "2 days"'),
    ],
)
async def test_a_setting_is_in_force_until_it_is_changed(
    home: Home, given: str, other: str
) -> None:
    home.config_file.write_text(given)
    async with running(home) as station:
        assert found(await examine(station))["config"] is True
        home.config_file.write_text(other)
        assert row(await examine(station), "config")["hint"] == "medp2p reload"


async def test_what_the_command_line_decides_is_no_change(home: Home) -> None:
    async with running(home) as station:
        station.config = station.config.with_command_line(listen="127.0.0.1:5", mdns=False)
        assert found(await examine(station))["config"] is True


async def test_alarms_and_bugs_are_told(home: Home) -> None:
    async with running(home) as station:
        with station.store.write() as tx:
            station.ledger.alarm(tx, kind="key-alarm", text="x")
        station.own_bugs = 2
        rows = await examine(station)
        assert row(rows, "alarms")["ok"] is False
        assert "2 unexpected" in str(row(rows, "errors")["text"])
