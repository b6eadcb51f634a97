"""What may be wrong with this workstation, and what to do about it.

`examine_home` needs no daemon; `examine` is asked by one and looks at what runs, too. Each row
is ``{check, ok, text, hint}``: ok is true, false, or null for what is worth a look but may be
meant. Nothing here changes anything, and no finding stops the others.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

from medp2p import limits
from medp2p.daemon import clock, posix
from medp2p.daemon.address import parse_address
from medp2p.daemon.config import Config, changed_keys, load_config
from medp2p.daemon.home import Home, check_home, check_keys, read_daemon_json
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError
from medp2p.text import format_bytes, format_duration
from medp2p.vault import log, peers
from medp2p.vault.keyfiles import Keys, load_keys
from medp2p.vault.store import Store, Tx

Row = dict[str, object]


def _row(check: str, ok: bool | None, text: str, hint: str | None = None) -> Row:
    return {"check": check, "ok": ok, "text": text, "hint": hint}


def _tried(check: str, look: Callable[[], Row]) -> Row:
    """Run one check; an error of ours, or of the system, is its finding."""
    try:
        return look()
    except MedP2PError as error:
        return _row(check, False, error.text, error.hint)
    except OSError as error:
        return _row(check, False, f"{error.filename or check}: {error.strerror}")


# --- without a daemon ---------------------------------------------------------------------


def examine_home(path: Path) -> list[Row]:
    """Check home, keys, settings, database and disk of a home on which no daemon answers."""
    home = Home(Path(os.path.realpath(path)))
    first = _tried("home", lambda: _home(path))
    if not os.path.isdir(home.keys):
        return [first]
    held = _is_held(home)
    return [
        first,
        _tried("keys", lambda: _keys(home)),
        _tried("config", lambda: _config(home)),
        _tried("database", lambda: _database(home, held)),
        _tried("disk", lambda: _disk(home, _config_or_default(home))),
        _tried("vault key", lambda: _vault_key(load_keys(home.keys))),
        _tried("daemon", lambda: _daemon(home, held)),
    ]


def _home(path: Path) -> Row:
    home = check_home(path)
    return _row("home", True, f"{home.path} is private to this account")


def _keys(home: Home) -> Row:
    load_keys(home.keys)
    return _row("keys", True, "all four key files are whole and private")


def _config(home: Home) -> Row:
    load_config(home.config_file)
    return _row("config", True, f"{home.config_file} is understood")


def _config_or_default(home: Home) -> Config:
    try:
        return load_config(home.config_file)
    except MedP2PError:
        return Config()


def _database(home: Home, held: bool) -> Row:
    if held:
        return _row("database", None, "not looked at: a daemon has it open")
    store = Store.open(home.store, create=False, now_ms=time.time_ns() // 1_000_000)
    try:
        with store.read() as tx:
            check_keys(tx, home, load_keys(home.keys))
    finally:
        store.close()
    return _row("database", True, "whole, and of the same home as the keys")


def _disk(home: Home, config: Config) -> Row:
    found = os.statvfs(home.vault)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    reserve = config.reserve_for(total)
    text = f"{format_bytes(free)} of {format_bytes(total)} free, reserve {format_bytes(reserve)}"
    if found.f_files and not found.f_favail:
        return _row("disk", False, f"{text}, but no file can be added", "remove files (inodes)")
    if free <= reserve:
        hint = "transfers wait until there is room: discard or move some, or lower `reserve`"
        return _row("disk", False, text, hint)
    return _row("disk", True, text)


def _vault_key(keys: Keys) -> Row:
    del keys  # whole, or the check has failed by now
    return _row(
        "vault key",
        None,
        "lies in clear in keys/vault.key",
        "sealing protects copies and backups of the vault, not a stolen disk: encrypt the disk",
    )


def _is_held(home: Home) -> bool:
    """Tell whether some process has the lock of the home."""
    try:
        fd = os.open(home.lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not posix.try_lock(fd)
    finally:
        os.close(fd)


def _daemon(home: Home, held: bool) -> Row:
    if not held:
        return _row("daemon", None, "none runs on this home", "start it with `medp2p daemon`")
    told = read_daemon_json(home) or {}
    return _row(
        "daemon",
        False,
        f"one holds this home (pid {told.get('pid', 'unknown')}), but does not answer",
        "it may just be starting or ending; else look at its log, then restart it",
    )


# --- with one -----------------------------------------------------------------------------


async def examine(station: Station) -> list[Row]:
    """Check everything, for a running daemon."""
    rows = await trio.to_thread.run_sync(_examine_files, station)
    rows += [await _port(address) for address in station.addresses]
    if not station.listening:
        rows.append(_row("listener", False, "takes no connections now", "restart the daemon"))
    rows.append(_mdns(station))
    rows += await station.read(_examine_store, station)
    rows.append(_bugs(station))
    return rows


def _examine_files(station: Station) -> list[Row]:
    home = station.home
    return [
        _tried("home", lambda: _home(home.path)),
        _tried("keys", lambda: _same_keys(station)),
        _tried("config", lambda: _same_config(station)),
        _tried("disk", lambda: _disk(home, station.config)),
        _tried("vault key", lambda: _vault_key(station.keys)),
    ]


def _same_keys(station: Station) -> Row:
    if load_keys(station.home.keys) != station.keys:
        return _row(
            "keys",
            False,
            f"the key files in {station.home.keys} are not those the daemon works with",
            "put the right ones back from a backup before the daemon is restarted",
        )
    return _keys(station.home)


def _same_config(station: Station) -> Row:
    fresh, now = load_config(station.home.config_file), station.config
    changed = [key for key in changed_keys(now, fresh) if now.sources.get(key) != "command line"]
    if changed or fresh.sources.keys() - now.sources.keys():
        return _row("config", None, "config.toml was changed since it was read", "medp2p reload")
    return _config(station.home)


async def _port(listen: str) -> Row:
    """Connect to one of our own listeners from this machine."""
    host, port = parse_address(listen)
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
    try:
        with trio.fail_after(limits.CONNECT_SECONDS):
            stream = await trio.open_tcp_stream(near, port)
    except (OSError, trio.TooSlowError) as error:
        return _row(
            "port",
            False,
            f"{listen} takes no connection from this machine ({type(error).__name__})",
            "a firewall rule, or a network that went away: restart the daemon",
        )
    await stream.aclose()
    text = f"{listen} takes connections; whether a firewall lets others in shows from a peer only"
    return _row("port", True, text)


def _mdns(station: Station) -> Row:
    text = str(station.mdns["text"])
    if not station.config.mdns:
        return _row("mdns", None, text, "peers need fixed addresses: `peers set NAME address=...`")
    if not station.mdns["on"]:
        hint = "UDP port 5353 must be open; fixed addresses and `pair --at` work without it"
        return _row("mdns", False, text, hint)
    return _row("mdns", True, text)


def _examine_store(tx: Tx, station: Station) -> list[Row]:
    rows = list(_clocks(station, {row.noise_key: row.name for row in peers.all(tx)}))
    rows.append(_own_clock(tx, station))
    count = len(log.alarms(tx, unacknowledged_only=True))
    if count:
        text = f"{count} not yet acknowledged"
        rows.append(
            _row(
                "alarms",
                False,
                text,
                "`medp2p audit alarms` lists them; find out why, then acknowledge",
            )
        )
    return rows


def _clocks(station: Station, names: dict[bytes, str]) -> Iterator[Row]:
    for key, ahead_ms in station.book.clocks().items():
        if key not in names:
            continue
        seconds = abs(ahead_ms) / 1000
        if seconds <= limits.CLOCK_SKEW_SECONDS:
            yield _row("clock", True, f"agrees with {names[key]} within {round(seconds)} s")
            continue
        way = "behind" if ahead_ms > 0 else "ahead of"
        yield _row(
            "clock",
            False,
            f"this clock is {format_duration(seconds)} {way} that of {names[key]}",
            "one of the two is wrong: set it by NTP; transfers work all the same",
        )


def _own_clock(tx: Tx, station: Station) -> Row:
    """Compare the clock with the audit records: time only goes on."""
    behind = clock.behind_ms(tx, station.now_ms())
    if behind:
        return _row(
            "clock",
            False,
            f"this clock is {format_duration(behind / 1000)} behind an audit record",
            "set it by NTP, then acknowledge the alarm: it was ahead before, or is behind now",
        )
    return _row("clock", True, "not behind any audit record")


def _bugs(station: Station) -> Row:
    if station.bugs:
        text = f"{station.bugs} unexpected errors since the start"
        return _row("errors", False, text, "the daemon's log says where; please report them")
    return _row("errors", True, "none unexpected since the start")
