"""Taking a released folder back: what is still as it was released goes, all else stays.

A file goes only if its content is, byte for byte, what was released; a changed file, a file of
somebody else and a folder that holds one are left alone. No link is followed.

Source: docs/VAULT.md, "Release".
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec
from blake3 import blake3

from medp2p import limits
from medp2p.errors import ReleaseError
from medp2p.vault.durable import Files, disk_errors

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NOT_OURS = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
#: Somebody has shut it since: that one stays, and holds up no other.
_SHUT = (errno.EACCES, errno.EPERM)


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One entry of a released folder.

    Attributes:
        path: Below the folder, as it was made there.
        size: Bytes; -1 for a folder.
        digest: BLAKE3 of the content.
    """

    path: bytes
    size: int
    digest: bytes = b""


@dataclass(slots=True)
class Withdrawn:
    """What was done.

    Attributes:
        removed: Files that went.
        changed: Files that are others than were released; they stay.
        gone: Files that were not there any more.
        left: Whether the folder still holds something.
    """

    removed: int = 0
    changed: int = 0
    gone: int = 0
    left: bool = False


def withdraw(
    folder: bytes,
    entries: Sequence[Kept],
    files: Files,
    cancelled: Callable[[], bool],
    mount: bytes = b"",
) -> Withdrawn:
    """Remove the unchanged files of a released folder, then folders that are empty. Blocking.

    Interrupted, it can be called again.

    Args:
        folder: Absolute.
        entries: What was made in it.
        files: Where durable steps go through.
        cancelled: Asked now and then.
        mount: What was mounted where it lies; b"": nobody knows.

    Raises:
        ReleaseError: The folder cannot be read or written, what it lay in is not there (a drive
            that is away), or cancelled() said so.
    """
    done = Withdrawn()
    with disk_errors(ReleaseError, "what was released for a time cannot be removed"):
        try:
            top = os.open(folder, _FOLDER)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                raise
            _need_drive(folder, mount)
            done.gone = sum(entry.size >= 0 for entry in entries)
            return done  # moved away, or something else has its name now
        try:
            _remove_files(top, entries, files, cancelled, done)
            _remove_folders(top, entries, files)
            done.left = bool(os.listdir(top))
        finally:
            os.close(top)
        if not done.left:
            files.step("release-sweep")
            os.rmdir(folder)
            with suppress(PermissionError):
                files.fsync_folder(os.path.dirname(folder))
    return done


def _need_drive(folder: bytes, mount: bytes) -> None:
    """Refuse to call a folder gone while the drive may be away that it lies on.

    Raises:
        OSError: What it lay in is not there.
    """
    if mount and not os.path.ismount(mount):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not stat.S_ISDIR(os.stat(os.path.dirname(folder)).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def is_there(folder: bytes) -> bool:
    """Tell whether a released folder can still be seen. Blocking.

    Raises:
        ReleaseError: Nobody can tell now.
    """
    with disk_errors(ReleaseError, "a released folder cannot be looked at"):
        try:
            return stat.S_ISDIR(os.stat(folder, follow_symlinks=False).st_mode)
        except OSError as error:
            if error.errno in _NOT_OURS:
                return False
            raise


def _remove_files(
    top: int,
    entries: Sequence[Kept],
    files: Files,
    cancelled: Callable[[], bool],
    done: Withdrawn,
) -> None:
    for entry in entries:
        if entry.size < 0:
            continue
        if cancelled():
            raise ReleaseError("stopped before it was done")
        parent, _, name = entry.path.rpartition(b"/")
        try:
            folder = _open_below(top, parent)
        except OSError as error:
            if error.errno in _SHUT:
                done.changed += 1
            elif error.errno in _NOT_OURS:
                done.gone += 1
            else:
                raise
            continue
        try:
            _remove_file(folder, name, entry, files, done)
        finally:
            os.close(folder)


def _remove_file(folder: int, name: bytes, entry: Kept, files: Files, done: Withdrawn) -> None:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno not in (*_NOT_OURS, *_SHUT):
            raise
        if error.errno == errno.ENOENT:
            done.gone += 1
        else:
            done.changed += 1  # a link, a socket, or shut: somebody has changed it
        return
    try:
        before = os.fstat(descriptor)
        same = (
            stat.S_ISREG(before.st_mode)
            and before.st_size == entry.size
            and _digest(descriptor) == entry.digest
        )
        # Nobody may have put another one in its place, or written to it, while it was read.
        after = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not same or _identity(before) != _identity(after):
            done.changed += 1
            return
        try:
            files.unlink(name, folder=folder, step="release-sweep")
            done.removed += 1
        except OSError as error:
            if error.errno not in _SHUT:
                raise
            done.changed += 1  # its folder is shut for writing
    finally:
        os.close(descriptor)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _digest(descriptor: int) -> bytes:
    content, offset = blake3(), 0
    while piece := os.pread(descriptor, limits.CHUNK_BYTES, offset):
        content.update(piece)
        offset += len(piece)
    return content.digest()


def _remove_folders(top: int, entries: Sequence[Kept], files: Files) -> None:
    """Remove the folders that are ours and empty: each one, then those above it.

    The names of folders above are not kept: a path of 4 KiB can have 2,000 of them.
    """
    for path in {e.path if e.size < 0 else e.path.rpartition(b"/")[0] for e in entries}:
        with suppress(OSError):  # not empty: it holds what stays
            found = _as_far_as_there(top, path)
            while found:
                _remove_folder(top, found, files)
                found = found.rpartition(b"/")[0]


def _remove_folder(top: int, path: bytes, files: Files) -> None:
    parent, _, name = path.rpartition(b"/")
    folder = _open_below(top, parent)
    try:
        files.step("release-sweep")
        os.rmdir(name, dir_fd=folder)
    finally:
        os.close(folder)


def _as_far_as_there(top: int, path: bytes) -> bytes:
    """Return how much of a path leads through folders that are there, following no link."""
    at, parts = os.dup(top), path.split(b"/")
    try:
        for count, part in enumerate(parts):
            try:
                inner = os.open(part, _FOLDER, dir_fd=at)
            except OSError:
                return b"/".join(parts[:count])
            os.close(at)
            at = inner
        return path
    finally:
        os.close(at)


def _open_below(top: int, path: bytes) -> int:
    """Open a folder below another one, following no link on the way."""
    at = os.dup(top)
    try:
        for part in filter(None, path.split(b"/")):
            inner = os.open(part, _FOLDER, dir_fd=at)
            os.close(at)
            at = inner
    except BaseException:
        os.close(at)
        raise
    return at
