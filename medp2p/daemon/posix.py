"""What only POSIX has, for this package: modes, owners, locks.

A port to another system begins here.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from medp2p.errors import HomeError
from medp2p.vault.durable import Files


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """Make everything that is created meanwhile private to this account.

    The umask belongs to the whole process: for `init`, which has one thread.
    """
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def our_account() -> int:
    """Return the number of the account that this process acts as."""
    return os.geteuid()


def check_private(path: Path, *, folder: bool) -> None:
    """Refuse what another account could read or change, links, and what is not ours.

    Args:
        path: A folder or a regular file of the home.
        folder: Which of the two it must be.

    Raises:
        HomeError: It is missing, a link, of another kind, of another account, or open to
            others. Names the path.
    """
    try:
        found = os.lstat(path)
    except OSError as error:
        raise HomeError(f"{path}: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise HomeError(f"{path} is a link", hint="put the real folder or file in its place")
    if not (stat.S_ISDIR if folder else stat.S_ISREG)(found.st_mode):
        raise HomeError(f"{path} is not a {'folder' if folder else 'regular file'}")
    if found.st_uid != our_account():
        raise HomeError(
            f"{path} belongs to account {found.st_uid}, not to this one ({our_account()})",
            hint="run medp2p as the account that owns the home",
        )
    if found.st_mode & 0o077:
        mode = "700" if folder else "600"
        raise HomeError(
            f"{path} is open to other accounts (mode {found.st_mode & 0o777:03o})",
            hint=f"chmod {mode} {path}",
        )


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600, whole or not at all, and make it durable.

    A file of that name is replaced. Nothing is left of one that could not be written.
    """
    staged = path.with_name(f"{path.name}.{os.getpid()}.new")
    fd = os.open(
        staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    Files().fsync_folder(path.parent)


def open_lock_file(path: Path) -> int:
    """Open (and make, 0600) the file that a daemon locks; links are not followed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    os.fchmod(fd, 0o600)
    return fd


def try_lock(fd: int) -> bool:
    """Take the lock if it is free; it goes with the process, however that ends."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
