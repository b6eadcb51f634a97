"""Erasing a home: the keys first, so that what is still there when it is cut short is unreadable.

What snapshots, backups and flash memory keep is out of reach; docs/THREATS.md says so.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medp2p.errors import HomeError

_KEYS = "keys"
#: Everything else that medp2p makes in a home.
_FOLDERS = ("vault", "run")
_FILES = ("config.toml", "store.db", "store.db-wal", "store.db-shm", "init-unfinished")


def is_home(path: Path) -> bool:
    """Return whether a folder holds something of a home, whole or not."""
    return path.is_dir() and any((path / name).exists() for name in (_KEYS, *_FILES))


def erase_home(path: Path) -> list[str]:
    """Erase everything that medp2p made in a home.

    Args:
        path: The caller holds its lock.

    Returns:
        Names of what else lies there, which is left alone; [] when the folder is gone too.

    Raises:
        HomeError: Something could not be erased; names it.
    """
    with named_errors(path):
        _erase_keys(path / _KEYS)
        for name in _FILES:
            (path / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            _remove_folder(path / name)
        left = sorted(os.listdir(path))
        if not left:
            path.rmdir()
    return left


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn what the system refuses in a home into a HomeError that names the file."""
    try:
        yield
    except OSError as error:
        raise HomeError(f"{error.filename or path}: {error.strerror}") from error


def _erase_keys(folder: Path) -> None:
    """Overwrite each key file in place, then remove it; durable before anything else goes."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    for entry in sorted(folder.iterdir()):
        if stat.S_ISREG(entry.lstat().st_mode):
            _overwrite(entry)
            entry.unlink()
        else:
            _remove_folder(entry)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    folder.rmdir()


def _overwrite(path: Path) -> None:
    path.chmod(0o600)
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_folder(path: Path) -> None:
    """Remove a folder and what is in it; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
