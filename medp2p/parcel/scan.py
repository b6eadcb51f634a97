"""Walk over the selected files and folders: the manifest, and what each file looked like.

Regular files and folders only, empty folders too. Links, sockets, FIFOs and devices are never
followed or opened, they are listed as skipped, and so is what cannot be read.

Order: the paths as selected; in each folder first its files, then its folders, both by the bytes
of their names. So files that lie side by side are neighbours in the stream.
"""

import errno
import os
import stat
from array import array
from collections.abc import Callable, Collection, Sequence

from medp2p import limits
from medp2p.errors import SourceError, TransferAbortedError
from medp2p.manifest import Entry, Kind
from medp2p.parcel.folders import Folders
from medp2p.parcel.record import (
    FileStat,
    Scan,
    Skipped,
    clamp_ns,
    decode_scan,
    encode_scan,
)
from medp2p.parcel.roots import find_roots
from medp2p.text import path_text

__all__ = ["FileStat", "Scan", "Skipped", "decode_scan", "encode_scan", "scan"]


def scan(
    paths: Sequence[bytes],
    progress: Callable[[int, int], None] = lambda files, file_bytes: None,
    cancelled: Callable[[], bool] = lambda: False,
    apart: Collection[tuple[int, int]] = (),
) -> Scan:
    """Walk over the selected paths. Blocking; runs in a worker thread.

    Args:
        paths: Files and folders as typed; each is sent under its own last name.
        progress: Called now and then with the files and bytes found so far.
        cancelled: Asked now and then.
        apart: Device and inode of folders that are never walked, by whatever name: ours.

    Raises:
        SourceError: The selection makes no sense (see `find_roots`), a selected path itself
            cannot be read, or there is more than one transfer may hold.
        TransferAbortedError: ``cancelled`` said so.
    """
    roots = find_roots(paths)
    folders = Folders(roots, limits.READER_FOLDERS)
    try:
        walk = _Walk(roots, folders, progress, cancelled, apart)
        for number in range(len(roots)):
            walk.walk_root(number)
    finally:
        folders.close()
    return walk.result()


class _Walk:
    """The columns of a scan while they grow."""

    def __init__(
        self,
        roots: tuple[bytes, ...],
        folders: Folders,
        progress: Callable[[int, int], None],
        cancelled: Callable[[], bool],
        apart: Collection[tuple[int, int]],
    ) -> None:
        self._apart = apart
        self._roots, self._folders = roots, folders
        self._progress, self._cancelled = progress, cancelled
        self._entries: list[Entry] = []
        self._skipped: list[Skipped] = []
        self._root_of, self._ctime_ns = array("I"), array("q")
        self._device, self._inode = array("Q"), array("Q")
        self._files = self._file_bytes = self._seen = 0

    def result(self) -> Scan:
        self._progress(self._files, self._file_bytes)
        return Scan(
            roots=self._roots,
            entries=tuple(self._entries),
            root_of=self._root_of,
            ctime_ns=self._ctime_ns,
            device=self._device,
            inode=self._inode,
            skipped=tuple(self._skipped),
            files=self._files,
            file_bytes=self._file_bytes,
        )

    def walk_root(self, root: int) -> None:
        """Walk over one selected path, depth first."""
        name = os.path.basename(self._roots[root])
        pending = [name]
        try:
            lease = self._folders.take(root, b"")
            try:
                is_folder = self._look(root, b"", name, lease.descriptor)
            finally:
                self._folders.release(lease)
        except OSError as error:
            raise SourceError(f"cannot read {path_text(name)}: {error.strerror}") from error
        if is_folder:
            while pending:
                self._list(root, pending)
        if self._skipped and self._skipped[-1].path == name:
            raise SourceError(f"cannot read {path_text(name)}: {self._skipped[-1].why}")

    def _list(self, root: int, pending: list[bytes]) -> None:
        """Take the last pending folder: its entry, its files; its folders become pending."""
        path = pending.pop()
        try:
            descriptor = self._folders.open_list(root, path)
        except OSError as error:
            self._skip(path, _why(error))
            return
        try:
            try:
                with os.scandir(descriptor) as listing:
                    names = sorted(os.fsencode(entry.name) for entry in listing)
                found = os.fstat(descriptor)
            except OSError as error:
                self._skip(path, _why(error))
                return
            self._add(root, path, Kind.DIRECTORY, found)
            prefix = path + b"/"
            inner = [prefix + name for name in names if self._look(root, prefix, name, descriptor)]
        finally:
            os.close(descriptor)
        pending.extend(reversed(inner))

    def _look(self, root: int, prefix: bytes, name: bytes, descriptor: int) -> bool:
        """Take up a file, or list what is none as skipped; return whether it is a folder."""
        path = prefix + name
        if len(path) > limits.MAX_PATH_BYTES:
            self._skip(path, "long-path")
            return False
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            ours = (found.st_dev, found.st_ino) in self._apart
            if stat.S_ISDIR(found.st_mode) and not ours:
                return True
            why = "medp2p-home" if ours else _special(found.st_mode)
            if why is None and not os.access(name, os.R_OK, dir_fd=descriptor, effective_ids=True):
                why = "unreadable"
        except OSError as error:
            why = _why(error)
        if why is not None:
            self._skip(path, why)
        else:
            self._add(root, path, Kind.FILE, found)
        return False

    def _add(self, root: int, path: bytes, kind: Kind, found: os.stat_result) -> None:
        size = found.st_size if kind is Kind.FILE else 0
        self._file_bytes += size
        self._files += kind is Kind.FILE
        if self._file_bytes > limits.MAX_STREAM_BYTES:
            raise SourceError("this is more than one transfer can hold", hint="send it in parts")
        self._entries.append(Entry(path, kind, size, clamp_ns(found.st_mtime_ns)))
        self._root_of.append(root)
        self._ctime_ns.append(clamp_ns(found.st_ctime_ns))
        self._device.append(found.st_dev)
        self._inode.append(found.st_ino)
        self._count()

    def _skip(self, path: bytes, why: str) -> None:
        self._skipped.append(Skipped(path, why))
        self._count()

    def _count(self) -> None:
        self._seen += 1
        if self._seen > limits.MAX_ENTRIES:
            raise SourceError(
                f"more than {limits.MAX_ENTRIES:,} files and folders", hint="send them in parts"
            )
        if self._seen % limits.SCAN_PROGRESS_ENTRIES == 0:
            self._progress(self._files, self._file_bytes)
            if self._cancelled():
                raise TransferAbortedError("the scan was cancelled")


def _special(mode: int) -> str | None:
    """Return the word for what is not a regular file."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISLNK(mode):
        return "symlink"
    if stat.S_ISSOCK(mode):
        return "socket"
    if stat.S_ISFIFO(mode):
        return "fifo"
    return "device"


def _why(error: OSError) -> str:
    """Return why something could not be looked at.

    A folder that turned into something else between two looks counts as vanished.
    """
    gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return "vanished" if gone else "unreadable"
