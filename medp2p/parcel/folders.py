"""Open folders below the roots of a scan, one path component at a time, no link followed.

It needs what only POSIX has: descriptors of folders.
"""

import os
from collections.abc import Callable, Sequence

from medp2p.closing import Closing
from medp2p.parcel.descriptors import Descriptors, Lease

#: A folder to look names up in needs no read permission where O_PATH exists (Linux).
_LOOK_UP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
#: A special file put in the place of a checked one must not block us (it is noticed afterwards).
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Folders:
    """The folders of a scan by the path that their entry has; thread-safe.

    Paths begin with the last name of their root; b"" is the folder that the root lies in.

    Args:
        roots: Absolute paths of the selected files and folders.
        limit: How many folders stay open.
    """

    def __init__(self, roots: Sequence[bytes], limit: int) -> None:
        self._parents = [os.path.dirname(root) for root in roots]
        self._open = Descriptors(limit)

    def take(self, root: int, folder: bytes) -> Lease:
        """Lease a folder's descriptor, for looking names up in it.

        Raises:
            OSError: A component is gone, is no folder (a link is none), or not ours to enter.
        """
        lease = self._open.take_open((root, folder))
        if lease is not None:
            return lease
        if not folder:
            flags = _LOOK_UP & ~os.O_NOFOLLOW
            return self._open.add((root, folder), os.open(self._parents[root], flags))
        # From the deepest folder that is open downwards: a loop, as paths may have 2,000 parts.
        missing = []
        while lease is None and folder:
            missing.append(folder)
            folder = os.path.dirname(folder)
            lease = self._open.take_open((root, folder))
        if lease is None:
            lease = self.take(root, b"")
        for path in reversed(missing):
            try:
                descriptor = os.open(os.path.basename(path), _LOOK_UP, dir_fd=lease.descriptor)
            finally:
                self._open.release(lease)
            lease = self._open.add((root, path), descriptor)
        return lease

    def release(self, lease: Lease) -> None:
        """Give a lease back."""
        self._open.release(lease)

    def look(self, root: int, path: bytes) -> os.stat_result:
        """Return what lies at a path, a link itself and not what it points to.

        Raises:
            OSError: It is gone, or a folder on the way is not ours to enter.
        """
        folder, _, name = path.rpartition(b"/")
        lease = self.take(root, folder)
        try:
            return os.stat(name, dir_fd=lease.descriptor, follow_symlinks=False)
        finally:
            self._open.release(lease)

    def open_list(self, root: int, path: bytes) -> int:
        """Open a folder for listing; the caller closes the descriptor.

        Raises:
            OSError: As for `take`, or it may not be listed.
        """
        folder, _, name = path.rpartition(b"/")
        lease = self.take(root, folder)
        try:
            return os.open(name, _LIST, dir_fd=lease.descriptor)
        finally:
            self._open.release(lease)

    def clear(self) -> None:
        """Close what nobody is at; the next look goes by the paths again."""
        self._open.clear()

    def close(self) -> None:
        """Close everything."""
        self._open.close()


class Neighbours(Closing):
    """Looks at files and opens them one after the other; for one thread.

    The folder of the last one stays at hand: of neighbours only the first one costs a search.

    Args:
        folders: Of the scan.
    """

    __slots__ = ("_folder", "_folders", "_lease", "_root")

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._root, self._folder = -1, b""
        self._lease: Lease | None = None

    def look(self, root: int, path: bytes) -> os.stat_result:
        """Return what lies at a path, a link itself and not what it points to.

        Raises:
            OSError: It is gone, or a folder on the way is not ours to enter.
        """
        descriptor, name = self._place(root, path)
        return os.stat(name, dir_fd=descriptor, follow_symlinks=False)

    def open_file(self, root: int, path: bytes, check: Callable[[os.stat_result], None]) -> int:
        """Open a file for reading; the caller closes the descriptor.

        It is looked at first: links, FIFOs, sockets and devices must not be opened, as opening
        one may already do something. What is put in its place between the look and the opening
        does not block, and fstat afterwards tells it apart.

        Args:
            root: Number of its root.
            path: As its entry has it.
            check: Gets what lies there; raises unless that may be opened.

        Raises:
            OSError: As for `look`, or it may not be read.
        """
        descriptor, name = self._place(root, path)
        check(os.stat(name, dir_fd=descriptor, follow_symlinks=False))
        return os.open(name, _READ, dir_fd=descriptor)

    def close(self) -> None:
        """Give the folder back."""
        if self._lease is not None:
            self._folders.release(self._lease)
            self._lease = None

    def _place(self, root: int, path: bytes) -> tuple[int, bytes]:
        """Return the descriptor of a file's folder, and its name there."""
        folder, _, name = path.rpartition(b"/")
        if self._lease is None or folder != self._folder or root != self._root:
            self.close()
            self._lease = self._folders.take(root, folder)
            self._root, self._folder = root, folder
        return self._lease.descriptor, name
