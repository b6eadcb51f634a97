"""Looking through folders of this machine, to choose what is sent. Nothing is opened or followed.

The daemon sees what its account may see, and that is what it could send.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import trio

from medp2p import limits
from medp2p.daemon.views import Json, named
from medp2p.errors import SourceError, UsageError
from medp2p.text import path_text, rfc3339


@dataclass(frozen=True, slots=True)
class _Found:
    """A name in a folder; a link to a folder counts as the folder that it leads to."""

    name: bytes
    path: bytes
    kind: str


async def folders(path: bytes | None, limiter: trio.CapacityLimiter) -> Json:
    """Return what lies in a folder.

    Args:
        path: Absolute; None: the home folder of the daemon's account.
        limiter: Of the threads that may hang in a dead mount.

    Returns:
        ``path, path_b64, parent_b64`` (null at the root), ``entries`` (list of ``{name, name_b64,
        path, path_b64, kind, bytes, mtime}``; kind is "folder", "file" or "other") and ``more``
        (whether there are others).

    Raises:
        UsageError: The path is not absolute.
        SourceError: It cannot be listed, or not in time.
    """
    folder = os.fsencode(Path.home()) if path is None else path
    if not folder.startswith(b"/") or b"\0" in folder:
        raise UsageError("a folder is named by its absolute path")
    with trio.move_on_after(limits.FOLDER_SECONDS):
        return await trio.to_thread.run_sync(
            _listed, folder, limiter=limiter, abandon_on_cancel=True
        )
    raise SourceError(
        f"{path_text(folder)} does not answer", hint="is it on a network drive that is away?"
    )


def _listed(path: bytes) -> Json:
    folder = os.path.normpath(path)
    try:
        found, more = _read(folder)
    except OSError as error:
        raise SourceError(f"cannot list {path_text(folder)}: {error.strerror}") from error
    found.sort(key=lambda one: (one.kind != "folder", one.name[:1] == b".", one.name.lower()))
    shown = found[: limits.MAX_FOLDER_ENTRIES]
    above = os.path.dirname(folder)
    return named(folder) | {
        "parent_b64": None if above == folder else named(above)["path_b64"],
        "entries": [_view(one) for one in shown],
        "more": more or len(found) > len(shown),
    }


def _read(folder: bytes) -> tuple[list[_Found], bool]:
    found: list[_Found] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(found) == limits.MAX_FOLDER_NAMES:
                return found, True
            found.append(_judged(entry))
    return found, False


def _judged(entry: os.DirEntry[bytes]) -> _Found:
    try:
        if entry.is_symlink():
            # Only a folder can be gone into; what is sent is its own path, not the link.
            if entry.is_dir():
                return _Found(entry.name, os.path.realpath(entry.path), "folder")
        elif entry.is_dir(follow_symlinks=False):
            return _Found(entry.name, entry.path, "folder")
        elif entry.is_file(follow_symlinks=False):
            return _Found(entry.name, entry.path, "file")
    except OSError:
        pass
    return _Found(entry.name, entry.path, "other")


def _view(one: _Found) -> Json:
    try:
        state = os.stat(one.path, follow_symlinks=False)
    except OSError:
        state = None
    shown = named(one.name)
    size = state.st_size if state is not None and stat.S_ISREG(state.st_mode) else None
    return {
        "name": shown["path"],
        "name_b64": shown["path_b64"],
        **named(one.path),
        "kind": one.kind,
        "bytes": size,
        "mtime": None if state is None else rfc3339(state.st_mtime_ns // 1_000_000),
    }
