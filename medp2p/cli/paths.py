"""Folders and files that a person names: made absolute, refused in the home, written anew."""

import os

from medp2p.cli.session import Session
from medp2p.control import private
from medp2p.errors import OutputError, ReleaseError, SourceError, UsageError


def absolute(path: str) -> bytes:
    """Return a path below the working directory, byte for byte: ".." and links stay in it.

    Raises:
        UsageError: It is empty: an unset variable, seldom the working directory.
        SourceError: The working directory has been removed.
    """
    if not path:
        raise UsageError("a path is empty", hint="an unset variable? `.` is the current folder")
    try:
        return os.path.join(os.getcwdb(), os.fsencode(path))
    except FileNotFoundError:
        raise SourceError("the working directory has been removed") from None


def expanded(path: str) -> bytes:
    """As absolute, with "~" for the user's folder: no shell expands it behind a "=" or ":"."""
    return absolute(os.path.expanduser(path))


def absolute_target(target: str) -> str:
    """Return a place to release into, as `folder:DIR`, with its folder made absolute.

    The daemon works elsewhere. What is no folder is left as it is, for the daemon to refuse.
    """
    if not target.startswith("folder:"):
        return target
    return f"folder:{os.fsdecode(expanded(target.removeprefix('folder:')))}"


def clear_place(session: Session, path: str) -> str:
    """Return where something is to lie in clear, as `expanded` does.

    Raises:
        ReleaseError: It lies in the home, whatever links lead there.
        UsageError, SourceError: As absolute.
    """
    place, home = os.fsdecode(expanded(path)), os.fspath(session.home)
    if os.path.commonpath([os.path.realpath(place), home]) == home:
        raise ReleaseError("nothing may lie in clear in the home", hint="name another place")
    return place


def write_new(path: str, data: bytes) -> None:
    """Write a private file; an error leaves nothing of it.

    Raises:
        FileExistsError: Something has that name.
        OutputError: It cannot be written.
    """
    try:
        private.write_new(path, data)
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from error
