"""The folder beside the target in which a release is put together.

It belongs to this account only (0700) and holds nothing but what this module made, so every step
below it is taken relative to an open folder and follows no link. Only when everything is whole
and durable is its inner folder given the final name, in one step and over nothing.

Source: docs/VAULT.md, "Release".
"""

import errno
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from medp2p import limits
from medp2p.errors import ReleaseError
from medp2p.vault.durable import Files
from medp2p.vault.names import NameRules

_INNER = b"files"
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
RANDOM_BYTES = 8
#: Answers to a new name that say nothing about the name.
_DISK_TROUBLE = frozenset({errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_MOST_NAMES = 10_000  # "ID", "ID-2", ...: somebody releases in a loop


class Stage:
    """A folder `.medp2p-NAME-RANDOM` beside the target, and what is put into it.

    Args:
        files: Where durable steps go through.
        target: Descriptor of the folder that the release goes into; stays the caller's.
        name: Of the release.
        random_bytes: Source of the folder's name.
    """

    def __init__(
        self, files: Files, target: int, name: str, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._files = files
        self._target = target
        self._name = f".medp2p-{name}-{random_bytes(RANDOM_BYTES).hex()}".encode()
        self._folders: OrderedDict[bytes, int] = OrderedDict()
        self._creating = threading.Lock()
        self._published: bytes | None = None
        # Modes are left to the umask (and to the target's default ACL and group), which can
        # only take away; fchmod would take away a shared folder's setgid bit, too.
        files.mkdir(self._name, 0o700, folder=target, exact=False, step="release-stage")
        self._outer = os.open(self._name, _OPEN_FOLDER, dir_fd=target)
        try:
            files.mkdir(_INNER, 0o755, folder=self._outer, exact=False, step="release-stage")
            self.root = os.open(_INNER, _OPEN_FOLDER, dir_fd=self._outer)
        except BaseException:
            os.close(self._outer)
            with suppress(OSError):
                remove_tree(files, target, self._name)
            raise

    def probe(self) -> NameRules:
        """Find out what names the file system can hold, by trying some."""
        told = os.fstatvfs(self._outer).f_namemax
        longest = min(told or limits.MAX_NAME_BYTES, limits.MAX_NAME_BYTES)
        odd = (b"a:b", b"a?b", b'a"b', b"a|b", b"a\\b", b"a<b", b"a*b", b"dot.", b"blank ")
        return NameRules(
            windows=not all(map(self._holds, odd)),
            text_only=not self._holds(b"\xff\xfe"),
            folds_case=self._holds(b"case", also=b"CASE"),
            folds_form=self._holds("\u00e9".encode(), also="e\u0301".encode()),
            longest=longest,
        )

    def folder(self, path: bytes) -> int:
        """Return a descriptor of the folder at a path below the root, made if missing.

        It stays open as one of the last used ones; do not close it.
        """
        if not path:
            return self.root
        found = self._folders.get(path)
        if found is not None:
            self._folders.move_to_end(path)
            return found
        parts = path.split(b"/")
        known = len(parts)
        while known and b"/".join(parts[:known]) not in self._folders:
            known -= 1
        at = self._folders[b"/".join(parts[:known])] if known else self.root
        for i in range(known, len(parts)):
            at = self._step_into(at, parts[i], b"/".join(parts[: i + 1]))
        return at

    def create(self, path: bytes) -> int:
        """Create a file at a path below the root and return its descriptor, the caller's.

        Of this class only `create` may be called from several threads at a time.
        """
        folder, _, name = path.rpartition(b"/")
        with self._creating:  # the folder may be closed for another one; and it locks itself
            parent = self.folder(folder)
            return self._files.create(name, 0o644, folder=parent, exact=False, step="release-write")

    @property
    def path(self) -> bytes:
        """Where the files lie now, relative to the target."""
        return self._name + b"/" + _INNER

    def snapshot(self) -> dict[bytes, tuple[int, ...]]:
        """Return what tells whether something below the root was changed, added or removed."""
        found: dict[bytes, tuple[int, ...]] = {}
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            folder = self.folder(path)
            for name in map(os.fsencode, os.listdir(folder)):
                inner = path + b"/" + name if path else name
                it = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(it.st_mode):
                    waiting.append(inner)
                    found[inner] = (it.st_ino, it.st_mode)
                else:
                    times = it.st_mtime_ns, it.st_ctime_ns
                    found[inner] = (it.st_ino, it.st_mode, it.st_size, *times)
        return found

    def publish(self, name: str, publishing: Callable[[bytes], None]) -> bytes:
        """Give the root its final name in the target and make that durable.

        Args:
            name: Wanted; "-2", "-3" and so on are appended while it is taken.
            publishing: Is told each free name just before it is tried.

        Returns:
            The final name.

        Raises:
            ReleaseError: All names are taken.
        """
        self._files.sync_filesystem(self.root)
        for number in range(1, _MOST_NAMES):
            final = (name if number == 1 else f"{name}-{number}").encode()
            if exists(self._target, final):
                continue
            publishing(final)
            try:
                self._files.rename(
                    _INNER,
                    final,
                    old_folder=self._outer,
                    new_folder=self._target,
                    step="release-rename",
                )
            except FileExistsError:
                continue
            self._published = final
            self._files.fsync_folder(self._target)
            return final
        raise ReleaseError(f"{name} and {_MOST_NAMES} names like it are taken")

    def remove(self) -> None:
        """Close and remove everything, the published folder too: the release has failed."""
        try:
            self.unpublish()
        except BaseException:
            self.shut()
            raise
        self.close()

    def unpublish(self) -> None:
        """Take the root back from its final name."""
        if self._published is not None:
            self._files.rename(
                self._published,
                _INNER,
                old_folder=self._target,
                new_folder=self._outer,
                step="release-sweep",
            )
            self._published = None

    def close(self) -> None:
        """Close and remove what is left of the stage once the root has its final name."""
        self.shut()
        remove_tree(self._files, self._target, self._name)

    def shut(self) -> None:
        """Close, and leave what is there."""
        for descriptor in (*self._folders.values(), self.root, self._outer):
            os.close(descriptor)
        self._folders.clear()

    def _step_into(self, parent: int, name: bytes, path: bytes) -> int:
        try:
            descriptor = os.open(name, _OPEN_FOLDER, dir_fd=parent)
        except FileNotFoundError:
            self._files.mkdir(name, 0o755, folder=parent, exact=False, step="release-write")
            descriptor = os.open(name, _OPEN_FOLDER, dir_fd=parent)
        self._folders[path] = descriptor
        if len(self._folders) > limits.MAX_OPEN_FOLDERS:
            os.close(self._folders.popitem(last=False)[1])
        return descriptor

    def _holds(self, name: bytes, *, also: bytes | None = None) -> bool:
        """Tell whether a file of this name keeps it; with `also`, whether it has that one too."""
        try:
            made = self._files.create(name, folder=self._outer, exact=False, step="release-stage")
        except OSError as error:
            if error.errno in _DISK_TROUBLE:
                raise
            return False
        os.close(made)
        try:
            if also is None:
                return os.fsdecode(name) in os.listdir(self._outer)
            os.stat(also, dir_fd=self._outer, follow_symlinks=False)
        except OSError:
            return False
        finally:
            os.unlink(name, dir_fd=self._outer)
        return True


def stages_of(target: int, name: str, random: bytes = b"") -> list[bytes]:
    """Return the names of stage folders of a release that lie in a folder and are ours.

    Args:
        target: Descriptor of the folder.
        name: Of the release.
        random: What the name of the one that is meant was made of; b"": all of this name.
    """
    end = random.hex() or f"[0-9a-f]{{{2 * RANDOM_BYTES}}}"
    ours = re.compile(rf"\.medp2p-{re.escape(name)}-{end}\Z")
    found = []
    for each in os.listdir(target):
        if ours.match(each):
            status = os.stat(each, dir_fd=target, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                found.append(os.fsencode(each))
    return found


def is_unpublished(target: int, stage: bytes) -> bool:
    """Tell whether a stage folder still holds what was to get the final name."""
    return exists(target, stage + b"/" + _INNER)


def exists(folder: int, name: bytes) -> bool:
    """Tell whether something has a name in an open folder, be it a dangling link."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def remove_tree(files: Files, parent: int, name: bytes) -> None:
    """Remove a folder of ours and all below it, however deep, following no link.

    Folders inside are moved up and emptied there, so that depth costs neither descriptors nor
    recursion; interrupted, it can be called again.
    """
    files.step("release-sweep")
    top = os.open(name, _OPEN_FOLDER, dir_fd=parent)
    try:
        while names := os.listdir(top):
            for each in names:
                if not _unlinked(each, top):
                    _empty_into(top, each)
                    os.rmdir(each, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _empty_into(top: int, name: str) -> None:
    folder = os.open(name, _OPEN_FOLDER, dir_fd=top)
    try:
        for each in os.listdir(folder):
            if not _unlinked(each, folder):
                inode = os.stat(each, dir_fd=folder, follow_symlinks=False).st_ino
                # No two folders that exist have one inode number, so the name is free.
                os.rename(each, f".{inode}", src_dir_fd=folder, dst_dir_fd=top)
    finally:
        os.close(folder)


def _unlinked(name: str, folder: int) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError) as error:
        if error.errno == errno.EPERM or isinstance(error, IsADirectoryError):
            return False
        raise
    return True
