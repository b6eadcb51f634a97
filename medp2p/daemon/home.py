"""The home folder: making it, opening it, and holding it against a second daemon.

Everything in it is private to one account. An identity is never made anew silently: what is
damaged, missing or from another home stops the daemon with a sentence that names the file.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from medp2p import identity, limits
from medp2p.closing import Closing
from medp2p.daemon import posix
from medp2p.daemon.config import default_text
from medp2p.errors import AlreadyRunningError, HomeError, KeyFileError, ReleaseError
from medp2p.text import rfc3339
from medp2p.vault import meta
from medp2p.vault.durable import Files
from medp2p.vault.keyfiles import Keys, create_keys, load_keys
from medp2p.vault.store import Store, Tx

#: There from the first step of `init` to its last but one; what is found with it was never used.
_UNFINISHED = "init-unfinished"


@dataclass(frozen=True, slots=True)
class Home:
    """Where everything of a workstation lies."""

    path: Path

    def holds(self, path: bytes | str | Path) -> bool:
        """Tell whether a path is the home or leads into it, through whatever links. Blocks."""
        home = os.fsencode(os.path.realpath(self.path))
        real = os.fsencode(os.path.realpath(path))
        return os.path.commonpath([real, home]) == home

    def refuse_clear(self, path: bytes | str) -> None:
        """Nothing may lie in clear in the home, whatever links lead there. Blocks.

        Args:
            path: Absolute; another one is refused elsewhere.

        Raises:
            ReleaseError: It leads into the home.
        """
        raw = os.fsencode(path)
        if os.path.isabs(raw) and b"\0" not in raw and self.holds(raw):
            raise ReleaseError("nothing may lie in clear in the home", hint="name another place")

    def folders(self) -> frozenset[tuple[int, int]]:
        """Return device and inode of the home and its folders, which other names may lead to."""
        found = (os.stat(one) for one in (self.path, self.keys, self.vault, self.run))
        return frozenset((one.st_dev, one.st_ino) for one in found)

    @property
    def config_file(self) -> Path:
        """Settings, written by people."""
        return self.path / "config.toml"

    @property
    def keys(self) -> Path:
        """Folder of the four key files."""
        return self.path / "keys"

    @property
    def store(self) -> Path:
        """The database."""
        return self.path / "store.db"

    @property
    def vault(self) -> Path:
        """Folder of the sealed transfers."""
        return self.path / "vault"

    @property
    def run(self) -> Path:
        """Folder of what a running daemon leaves: nothing in it survives on purpose."""
        return self.path / "run"

    @property
    def lock(self) -> Path:
        """File that the daemon holds locked."""
        return self.run / "lock"

    @property
    def daemon_json(self) -> Path:
        """What the running daemon tells of itself."""
        return self.run / "daemon.json"

    @property
    def socket(self) -> Path:
        """Unix socket of the local API."""
        return self.run / "control.sock"

    def part(self, transfer: str) -> Path:
        """Return where a transfer lies while it is received."""
        return self.vault / f"{transfer}.part"

    def sealed(self, transfer: str) -> Path:
        """Return where a sealed transfer lies: a standard age file."""
        return self.vault / f"{transfer}.tar.age"


def default_home() -> Path:
    """Return the home in the user's data folder, absolute, links resolved; it need not exist."""
    return Path(os.path.realpath(platformdirs.user_data_dir("medp2p", appauthor=False)))


# --- making one ---------------------------------------------------------------------------


def init_home(
    path: Path,
    *,
    name: str,
    department: str,
    place: str,
    now_ms: int,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Home:
    """Make a home: keys, settings, empty database and vault; private whatever the umask.

    Args:
        path: Missing, or an empty folder of this account.
        name: Told to peers, like department and place.
        department: See name.
        place: See name.
        now_ms: Milliseconds since 1970 UTC.
        random_bytes: Source of the keys.

    Raises:
        HomeError: There is a home already, the folder is not empty, or it cannot be made.
        ConfigError: A told text cannot be used.
        KeyFileError, StoreError, NoSpaceError: See create_keys and Store.open.
    """
    home = Home(Path(os.path.realpath(path)))
    config = default_text(name=name, department=department, place=place)
    try:
        with posix.private_umask():
            _claim_folder(home)
            _fill(home, config, now_ms, random_bytes)
    except OSError as error:
        raise HomeError(f"{error.filename or home.path}: {error.strerror}") from error
    return home


def _claim_folder(home: Home) -> None:
    """Take the folder for us, or refuse it untouched."""
    path = home.path
    if os.path.lexists(path):
        if not path.is_dir():
            raise HomeError(f"{path} is not a folder")
        found = sorted(os.listdir(path))
        _refuse_unfinished(home)
        if home.config_file.name in found or home.keys.name in found:
            raise HomeError(f"{path} is a home already", hint="`medp2p id` shows whose")
        if found:
            raise HomeError(
                f"{path} is not empty (it holds {found[0]!r})", hint="choose an empty folder"
            )
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    marker = os.open(path / _UNFINISHED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(marker)
    Files().fsync_folder(path)


def _fill(home: Home, config: bytes, now_ms: int, random_bytes: Callable[[int], bytes]) -> None:
    """Put everything into the claimed folder; the marker goes last."""
    posix.write_private(home.config_file, config)
    for folder in (home.keys, home.vault, home.run):
        folder.mkdir(mode=0o700)
    create_keys(home.keys, Files(), random_bytes, now_ms)
    store = Store.open(home.store, create=True, now_ms=now_ms)
    try:
        with store.write() as tx:
            record_keys(tx, load_keys(home.keys))
        store.checkpoint()
    finally:
        store.close()
    Files().fsync_folder(home.path)
    (home.path / _UNFINISHED).unlink()
    Files().fsync_folder(home.path)


def _refuse_unfinished(home: Home) -> None:
    if os.path.lexists(home.path / _UNFINISHED):
        raise HomeError(
            f"{home.path}: its `medp2p init` was broken off (incomplete init)",
            hint=f"nothing was received there yet: remove {home.path}, then run `medp2p init`",
        )


# --- opening one --------------------------------------------------------------------------


def check_home(path: Path) -> Home:
    """Return the home at a path once it is known to be whole, ours and private.

    Raises:
        HomeError: There is none, its init was broken off, or a part of it is missing, a link,
            of another account, or open to others. Names the part and what to do.
    """
    home = Home(Path(os.path.realpath(path)))
    if not os.path.lexists(home.path):
        raise HomeError(f"there is no home at {home.path}", hint="make one with `medp2p init`")
    posix.check_private(home.path, folder=True)
    _refuse_unfinished(home)
    if not os.path.lexists(home.config_file) and not os.path.lexists(home.keys):
        raise HomeError(f"{home.path} is not a home of medp2p", hint="`medp2p init` makes one")
    for folder in (home.keys, home.vault):
        posix.check_private(folder, folder=True)
    if not os.path.lexists(home.run):
        home.run.mkdir(mode=0o700)  # a restored backup may leave it out
    posix.check_private(home.run, folder=True)
    for file in (home.config_file, home.store):
        posix.check_private(file, folder=False)
    return home


def open_home(path: Path) -> tuple[Home, Keys]:
    """Return a home and its keys, checked as far as that goes without the database.

    Whoever opens the database calls check_keys next: only that tells another home's keys.

    Raises:
        HomeError: See check_home.
        KeyFileError: A key file is missing, damaged, of another kind, or open to others.
    """
    home = check_home(path)
    return home, load_keys(home.keys)


def _key_marks(keys: Keys) -> dict[str, str]:
    """Return, by key file, what tells a key without telling it."""
    return {
        "noise.key": identity.fingerprint_text(keys.noise_public),
        "sign.key": identity.fingerprint_text(keys.sign_public),
        "spool.key": identity.fingerprint_text(keys.spool),
        "vault.key": keys.vault_recipient,
    }


def record_keys(tx: Tx, keys: Keys) -> None:
    """Note in the database which keys belong to it."""
    for file, mark in _key_marks(keys).items():
        meta.put(tx, f"key:{file}", mark)


def check_keys(tx: Tx, home: Home, keys: Keys) -> None:
    """Refuse keys that are not those with which this home was made.

    Raises:
        KeyFileError: One belongs to another home, or the database does. Names the file.
    """
    marks = _key_marks(keys)
    foreign = [file for file, mark in marks.items() if meta.get(tx, f"key:{file}") != mark]
    if not foreign:
        return
    if len(foreign) == len(marks):
        raise KeyFileError(
            f"{home.store} and the keys in {home.keys} belong to different homes",
            hint="put back the database, or the keys folder, from a backup of this home",
        )
    named = " and ".join(str(home.keys / file) for file in foreign)
    raise KeyFileError(
        f"{named} belong{'s' if len(foreign) == 1 else ''} to another home",
        hint="put back the file from a backup of this home",
    )


# --- one daemon per home ------------------------------------------------------------------


class Lock(Closing):
    """The right to be the daemon of a home; given back at the end of the process, however it ends.

    Use as a context manager, or call close.
    """

    def __init__(self, home: Home) -> None:
        """Take the lock.

        Raises:
            AlreadyRunningError: Another process has it; names its pid, since when, and where
                it listens, as far as it has told.
            HomeError: The lock file cannot be made.
        """
        self._home = home
        try:
            self._fd = posix.open_lock_file(home.lock)
        except OSError as error:
            raise HomeError(f"{home.lock}: {error.strerror}") from error
        if not posix.try_lock(self._fd):
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise AlreadyRunningError(
                _name_holder(home, holder), hint="`medp2p status` shows what it does"
            )
        home.daemon_json.unlink(missing_ok=True)  # of a daemon that was killed
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the lock back and take daemon.json away."""
        if self._fd >= 0:
            self._home.daemon_json.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def _name_holder(home: Home, pid: str) -> str:
    told = read_daemon_json(home) or {}
    parts = [f"pid {told.get('pid') or pid or 'unknown'}"]
    if told.get("since"):
        parts.append(f"since {told['since']}")
    listen = told.get("listen")
    if isinstance(listen, list) and listen:
        parts.append(f"listening on {', '.join(map(str, listen))}")
    return f"a daemon is running on {home.path} already ({', '.join(parts)})"


def write_daemon_json(
    home: Home, *, listen: list[str], since_ms: int, page: str | None = None
) -> None:
    """Tell the command line, and a second daemon, about the running one. Mode 0600.

    Args:
        home: Locked by the caller.
        listen: "addr:port" of each listener.
        since_ms: Start of the daemon, milliseconds since 1970 UTC.
        page: "127.0.0.1:port" of the page, if it is served.
    """
    fields = {"pid": os.getpid(), "since": rfc3339(since_ms), "listen": listen, "page": page}
    posix.write_private(home.daemon_json, json.dumps(fields, indent=1).encode() + b"\n")


def read_daemon_json(home: Home) -> dict[str, object] | None:
    """Return what the last daemon told of itself, or None; proves nothing about its being there."""
    try:
        with home.daemon_json.open("rb") as file:
            fields = json.loads(file.read(limits.MAX_DAEMON_JSON_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
