"""Every step that makes something durable, by name and in one place.

All creating, writing, syncing, renaming and removing of the vault, of the keys and of releases
goes through `Files`. Each passes a named point first: nothing happens there in earnest, but a
test may replace the point and stop the program, or let the disk be full, exactly there.

Source: docs/VAULT.md, "Write order".
"""

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Sequence

from medp2p.errors import LocalProtocolError, MedP2PError, NoSpaceError
from medp2p.vault import kernel
from medp2p.vault.direct import DirectFile

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

#: Every named point. A test walks through all of them, so a new one is put in here first.
STEPS = frozenset(
    {
        # files in general
        "create",
        "mkdir",
        "write",
        "fdatasync",
        "sync-folder",
        "rename",
        "unlink",
        "keys",
        # the way of a transfer through the vault, in this order
        "accept",
        "reserve",
        "header",
        "claim",
        "journal",
        "commit",
        "state",
        "receipt",
        # release
        "release-stage",
        "release-write",
        "release-sync",
        "release-rename",
        "release-sweep",
        # erase
        "erase-mark",
        "erase-overwrite",
        "erase-unlink",
        "erase-rows",
    }
)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def nothing(step: str) -> None:
    """Do nothing: what every step is in earnest."""


def free_bytes(path: AnyPath | int) -> int:
    """Return the bytes that an ordinary account may still write below a path or descriptor."""
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


class disk_errors:
    """Turn what the file system says within a block into an error of ours.

    A full disk is NoSpaceError. The path that Python puts into an OSError is left out on purpose:
    it may hold a patient's name, and errors are logged and sent. (A class, for it stands around
    each write of a small file: a generator takes a microsecond longer.)

    Args:
        kind: Class to raise.
        what: Begin of its text, without paths.
    """

    __slots__ = ("_kind", "_what")

    def __init__(self, kind: type[MedP2PError], what: str) -> None:
        self._kind, self._what = kind, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        bare = OSError(error.errno, error.strerror)
        if error.errno in _FULL:
            raise NoSpaceError(f"{self._what}: {error.strerror}") from bare
        raise self._kind(f"{self._what}: {error.strerror or 'failed'}") from bare


class _Passing:
    """Pass a named point, then do what is in the block; a full disk is NoSpaceError, with numbers.

    Args:
        files: Whose points they are.
        name: Of the point.
        descriptor: Of a file or folder on that disk, if one is at hand.
    """

    __slots__ = ("_descriptor", "_files", "_name")

    def __init__(self, files: "Files", name: str, descriptor: int | None = None) -> None:
        self._files, self._name, self._descriptor = files, name, descriptor

    def __enter__(self) -> None:
        try:
            self._files.step(self._name)
        except OSError as error:
            self.__exit__(None, error, None)
            raise

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError) or error.errno not in _FULL:
            return
        at = self._descriptor
        left = "" if at is None else f", {free_bytes(at)} bytes are free"
        bare = OSError(error.errno, error.strerror)
        raise NoSpaceError(f"no space left to write to{left}") from bare


class Files:
    """The file system, as far as durable things need it.

    Paths may be relative to an open folder (`folder`, a descriptor), so that nobody can put a
    link in the way. Every method but the reading ones passes a step first.

    Every method raises OSError as the system gives it, but for a full disk or quota, which is
    NoSpaceError. An OSError raised by the step itself is treated alike.
    """

    def __init__(self, step: Callable[[str], None] = nothing) -> None:
        self._step = step

    def step(self, name: str) -> None:
        """Pass a named point.

        Raises:
            LocalProtocolError: STEPS has no such name.
        """
        if name not in STEPS:
            raise LocalProtocolError(f"no step is called {name!r}")
        self._step(name)

    def create(
        self,
        path: AnyPath,
        mode: int = 0o600,
        *,
        folder: int | None = None,
        exact: bool = True,
        step: str = "create",
    ) -> int:
        """Create a file that must not exist yet and return its descriptor, for reading too.

        Args:
            path: Name; its last component is never followed if it is a link.
            mode: Permissions.
            folder: Descriptor of the folder that path is relative to.
            exact: Exactly this mode; False: the umask of the process takes its bits off.
            step: Named point.

        Raises:
            FileExistsError: Something has that name, be it a dangling link.
        """
        with _Passing(self, step, folder):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, mode, dir_fd=folder)
            try:
                if exact:
                    os.fchmod(descriptor, mode)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def open_existing(self, path: AnyPath, *, writing: bool = False) -> int:
        """Open a regular file that is no link and return its descriptor.

        Raises:
            OSError: ELOOP for a link, EINVAL for what is no regular file.
        """
        access = os.O_RDWR if writing else os.O_RDONLY
        descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return descriptor

    def allocate(self, descriptor: int, size: int) -> None:
        """Give a file its whole size and its room on the disk, now.

        Raises:
            NoSpaceError: There is not room enough; the text has the numbers. What was
                allocated until then stays until the file is removed.
        """
        with _Passing(self, "reserve", descriptor):
            if size == 0:
                return
            try:
                if sys.platform == "darwin":
                    os.ftruncate(descriptor, size)
                else:
                    os.posix_fallocate(descriptor, 0, size)
            except OSError as error:
                if error.errno in _FULL:
                    free = free_bytes(descriptor)
                    raise NoSpaceError(
                        f"no space: {size} bytes are needed, {free} bytes are free"
                    ) from OSError(error.errno, error.strerror)
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
                os.ftruncate(descriptor, size)  # a file system that cannot reserve

    def pwrite_all(
        self,
        descriptor: int,
        data: bytes | bytearray | memoryview,
        offset: int,
        *,
        step: str = "write",
    ) -> None:
        """Write all of data at an offset; usually in one system call."""
        with _Passing(self, step, descriptor):
            _pwrite(descriptor, data, offset)

    def pwritev_all(
        self,
        descriptor: int,
        pieces: Sequence[memoryview],
        offset: int,
        direct: DirectFile,
        *,
        step: str = "write",
    ) -> None:
        """Write all of some pieces, one behind the other.

        Args:
            descriptor: Of the file.
            pieces: See DirectFile.pwritev.
            offset: Of the first one, in the file.
            direct: Of the same file: takes the whole pages, the rest goes through the cache.
            step: Named point, before each call that writes.
        """
        first = end = 0
        if direct.able:
            with _Passing(self, step, descriptor):
                first, end = direct.pwritev(pieces, offset)
        at = 0
        for piece in pieces:
            before = max(first - at, 0)
            behind = max(end - at, before)
            for rest, place in ((piece[:before], at), (piece[behind:], at + behind)):
                if len(rest):
                    with _Passing(self, step, descriptor):
                        _pwrite(descriptor, rest, offset + place)
            at += len(piece)

    def start_writeback(self, descriptor: int, offset: int, length: int) -> None:
        """Let a range of a file go to the disk already: no step, for nothing is durable by it."""
        kernel.start_writeback(descriptor, offset, length)

    def fdatasync(self, descriptor: int, *, step: str = "fdatasync") -> None:
        """Make the data of a file durable, and as much else as is needed to find it.

        After an error everything since the last good call counts as not written, even if a
        later call succeeds: the kernel may have dropped the pages.
        """
        with _Passing(self, step, descriptor):
            if sys.platform == "darwin":
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(descriptor)

    def sync_filesystem(self, folder: int, *, step: str = "release-sync") -> None:
        """Make everything below an open folder durable, however many files that is."""
        with _Passing(self, step, folder):
            if not kernel.sync_filesystem(folder):
                os.sync()

    def fsync_folder(self, path: AnyPath | int, *, step: str = "sync-folder") -> None:
        """Make the names in a folder durable; path may be an open descriptor."""
        with _Passing(self, step):
            if isinstance(path, int):
                _fsync_names(path)
                return
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _fsync_names(descriptor)
            finally:
                os.close(descriptor)

    def rename(
        self,
        old: AnyPath,
        new: AnyPath,
        *,
        old_folder: int | None = None,
        new_folder: int | None = None,
        step: str = "rename",
    ) -> None:
        """Rename, never over anything.

        Where the system cannot do that in one step (network file systems), the new name is
        looked for first; a folder made there in that very moment is replaced only if empty.

        Raises:
            FileExistsError: Something has the new name.
        """
        with _Passing(self, step):
            names = (os.fsencode(old), os.fsencode(new))
            if kernel.rename_noreplace(old_folder, names[0], new_folder, names[1]):
                return
            try:
                os.stat(new, dir_fd=new_folder, follow_symlinks=False)
            except FileNotFoundError:
                os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)
            else:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def unlink(self, path: AnyPath, *, folder: int | None = None, step: str = "unlink") -> None:
        """Remove a file."""
        with _Passing(self, step):
            os.unlink(path, dir_fd=folder)

    def mkdir(
        self,
        path: AnyPath,
        mode: int = 0o700,
        *,
        folder: int | None = None,
        exact: bool = True,
        step: str = "mkdir",
    ) -> None:
        """Create a folder; mode and exact as for create.

        Raises:
            FileExistsError: Something has that name.
        """
        with _Passing(self, step, folder):
            os.mkdir(path, mode, dir_fd=folder)
            if not exact:
                return
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags, dir_fd=folder)
            try:
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)


def _pwrite(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    if not len(data):
        return
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def _fsync_names(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot, and need not
            raise
