"""Release: a sealed transfer becomes files and folders; verify: the same reading without them.

Every byte is checked twice over: the age file authenticates each piece, and chunk digests, root
and tar headers are computed anew and must be those that sender and receiver agreed to. Nothing
has its final name before all of it is right and durable; if anything fails, nothing is left.

No path of the transfer is in any error: paths are patient data, and errors are logged and sent.

Source: docs/VAULT.md, "Release".
"""

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from medp2p import limits
from medp2p.errors import (
    LocalProtocolError,
    MedP2PError,
    NoSpaceError,
    ReleaseError,
)
from medp2p.layout import FilePart, Layout
from medp2p.manifest import Kind
from medp2p.text import format_bytes
from medp2p.vault.durable import Files, disk_errors
from medp2p.vault.names import NameRules
from medp2p.vault.stage import Stage, is_unpublished, remove_tree, stages_of
from medp2p.vault.unpack import Unpacker
from medp2p.vault.unsealing import Unsealing
from medp2p.vault.withdrawal import Kept

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_EMPTY = blake3().digest()


@dataclass(frozen=True, slots=True)
class Released:
    """What a release has made.

    Attributes:
        path: The new folder, absolute.
        mapped: (path in the manifest, path below the folder) of names that the target could not
            hold; the contents of a renamed folder are not listed again.
    """

    path: bytes
    mapped: list[tuple[bytes, bytes]]


def release(
    stream: Unsealing,
    *,
    target: bytes | str | Path,
    name: str,
    files: Files,
    rules: NameRules | None = None,
    examine: Callable[[bytes], None] | None = None,
    listing: list[Kept] | None = None,
    publishing: Callable[[bytes], None] | None = None,
    leaving: Callable[[], None] | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Released:
    """Unpack a sealed transfer into a new folder of its own. Blocks until it is durable.

    Args:
        stream: Sealed, with what was agreed to.
        target: Absolute path of the folder to release into; made if missing.
        name: Wanted name of the new folder, such as the short id.
        files: Where durable steps go through.
        rules: Names that the target can hold; None: found out by trying.
        examine: Is told the absolute path of the folder while it is staged, whole and checked:
            what it raises ends the release. It must leave the files as they are.
        listing: Is filled with what was made, before `publishing` is called.
        publishing: Is told the absolute path that the folder is about to get, just before:
            whoever keeps that can ask was_released after a crash.
        leaving: Is called if the stage stays, whatever else is raised: it cannot be removed, or
            `publishing` was told a name, and what was told is to be taken back before it goes.
            Whoever is called asks was_released and sweep_stages.
        random_bytes: Source of the stage's name.

    Returns:
        Where it lies.

    Raises:
        IntegrityError: The stream is not what was agreed to.
        SealBrokenError: The sealed file is damaged.
        NoSpaceError: The target has not room enough.
        ReleaseError: The target cannot be written, or the stream's cancelled() said so.

    After an error nothing is left there, unless `leaving` was called.
    """
    if not _NAME.match(name):
        raise LocalProtocolError("a release needs a plain name")
    where = os.path.normpath(os.fsencode(target))
    if not os.path.isabs(where):
        raise ReleaseError("the folder to release into must be given by its whole path")
    with _target_folder(files, where) as folder:
        _check_room(folder, stream.layout)
        with disk_errors(ReleaseError, "the folder to release into cannot be used"):
            stage = Stage(files, folder, name, random_bytes)
        told: list[bytes] = []

        def tell(found: bytes) -> None:
            if publishing is not None:
                publishing(os.path.join(where, found))
            told.append(found)

        try:
            with disk_errors(ReleaseError, "the release cannot be written"):
                mapped = _unpack(stage, stream, files, rules, listing)
                if examine is not None:
                    _examine(stage, where, examine)
                final = stage.publish(name, tell)
        except BaseException:
            _take_back(stage, leaving, named=bool(told))
            raise
        try:
            stage.close()
        except OSError:  # an empty folder harms nobody, and can be swept later
            if leaving is not None:
                leaving()
    return Released(os.path.join(where, final), mapped)


def _take_back(stage: Stage, leaving: Callable[[], None] | None, *, named: bool) -> None:
    """Undo a release that has failed; what fails here is not the error to tell."""
    with suppress(OSError, MedP2PError):
        if leaving is None or not named:
            stage.remove()
            return
        try:
            stage.unpublish()
        finally:
            stage.shut()
    if leaving is not None:
        leaving()


def mount_point(path: bytes | str | Path) -> bytes:
    """Return what is mounted nearest above a path that need not be there yet. Blocking."""
    at = os.path.realpath(os.fsencode(path))
    while not os.path.ismount(at):
        at = os.path.dirname(at)
    return at


def was_released(
    target: bytes | str | Path, name: str, path: bytes, *, random: bytes = b"", mount: bytes = b""
) -> bool:
    """Tell after a crash whether a release was done; ask before sweep_stages.

    Args:
        target: As given to release.
        name: As given to release.
        path: What `publishing` was told last.
        random: What random_bytes gave to release. Then a stage that is gone is an answer, too: it
            goes only once the folder has its name, which somebody may have moved away meanwhile.
        mount: What mount_point said of the target before.

    Raises:
        ReleaseError: The folder is not there or cannot be read: ask again when it can.
    """
    with (
        disk_errors(ReleaseError, "the folder that was released into cannot be read"),
        _at_hand(target, mount) as folder,
    ):
        # A stage that still holds its files was not renamed: what has the name is not ours.
        if any(is_unpublished(folder, stage) for stage in stages_of(folder, name, random)):
            return False
        return bool(random) or os.path.isdir(path)


def sweep_stages(
    target: bytes | str | Path, name: str, files: Files, *, random: bytes = b"", mount: bytes = b""
) -> int:
    """Remove what an interrupted release has left in a folder.

    Only folders that a release of this account makes are touched.

    Args:
        target: As given to release.
        name: As given to release.
        files: Where durable steps go through.
        random: What random_bytes gave to release; b"": all stages of this name, of which none may
            be under way.
        mount: What mount_point said of the target before.

    Returns:
        How many there were.

    Raises:
        ReleaseError: The folder is not there, or cannot be read or written.
    """
    with (
        disk_errors(ReleaseError, "what an interrupted release has left cannot be removed"),
        _at_hand(target, mount) as folder,
    ):
        found = stages_of(folder, name, random)
        for each in found:
            remove_tree(files, folder, each)
        return len(found)


@contextmanager
def _at_hand(target: bytes | str | Path, mount: bytes) -> Iterator[int]:
    """Open a folder that was released into; the bare mount point of a drive is not that folder."""
    if mount and not os.path.ismount(mount):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    folder = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


def _unpack(
    stage: Stage,
    stream: Unsealing,
    files: Files,
    rules: NameRules | None,
    listing: list[Kept] | None,
) -> list[tuple[bytes, bytes]]:
    """Fill the stage from the checked stream; return the names that were changed."""
    entries = stream.layout.entries
    unpacker = Unpacker(stage, entries, files, rules or stage.probe())
    digests = _Digests()
    try:
        unpacker.make_folders()
        stream.run(unpacker.write, None if listing is None else digests.update)
        unpacker.finish()
    finally:
        unpacker.close()
    if listing is not None:
        for index, entry in enumerate(entries):
            path = unpacker.target(index)
            if entry.kind is Kind.DIRECTORY:
                listing.append(Kept(path, -1))
            else:
                listing.append(Kept(path, entry.size, digests.of(index)))
    return unpacker.mapped


class _Digests:
    """BLAKE3 of each file of a stream; the bytes of one come together and in order."""

    def __init__(self) -> None:
        self._done: dict[int, bytes] = {}
        self._index, self._content = -1, blake3()

    def update(self, part: FilePart, data: memoryview) -> None:
        if part.index != self._index:
            self._done[self._index] = self._content.digest()
            self._index, self._content = part.index, blake3()
        self._content.update(data)

    def of(self, index: int) -> bytes:
        if index == self._index:
            return self._content.digest()
        return self._done.get(index, _EMPTY)


def _examine(stage: Stage, where: bytes, examine: Callable[[bytes], None]) -> None:
    """Let somebody look at the staged files, who must not have touched them."""
    before = stage.snapshot()
    examine(os.path.join(where, stage.path))
    if stage.snapshot() != before:
        raise ReleaseError("the files were changed while they were staged")


@contextmanager
def _target_folder(files: Files, path: bytes) -> Iterator[int]:
    """Open the folder to release into, made if missing; it goes again if the block fails."""
    made: list[bytes] = []
    try:
        with disk_errors(ReleaseError, "the folder to release into cannot be used"):
            _make_folders(files, path, made)
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)
    except BaseException:
        for each in reversed(made):
            with suppress(OSError):  # no longer empty: somebody else uses it
                files.step("release-sweep")
                os.rmdir(each)
        raise


def _make_folders(files: Files, path: bytes, made: list[bytes]) -> None:
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        try:
            files.mkdir(each, 0o755, exact=False, step="release-stage")
        except FileExistsError:  # another release was quicker
            continue
        made.append(each)
        with suppress(PermissionError):  # a folder that may be gone through but not listed
            files.fsync_folder(os.path.dirname(each))


def _check_room(folder: int, layout: Layout) -> None:
    """Refuse what cannot fit, before anything is written.

    A sparse source needs its full size here. File systems that tell no size (ramfs, some
    network mounts) are believed to have room.
    """
    block = limits.DISK_BLOCK_BYTES
    needed = sum(-(-entry.size // block) * block for entry in layout.entries)
    room = os.fstatvfs(folder)
    free = room.f_bavail * room.f_frsize
    if room.f_blocks and needed > free:
        raise NoSpaceError(
            f"no space to release: {format_bytes(needed)} are needed, "
            f"{format_bytes(free)} are free there",
            hint="make room, or release into another folder",
        )
