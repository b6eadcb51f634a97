"""Folders and files that a person names: made absolute, refused in the home, written anew."""

import os
from contextlib import suppress

from medp2p.cli.session import Session
from medp2p.errors import OutputError, SourceError, UsageError


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


def clear_place(session: Session, path: str) -> str:
    """Return where something is to lie in clear, absolute, with "~" for the user's folder.

    Raises:
        UsageError: It is empty, or lies in the home, whatever links lead there.
        SourceError: As absolute.
    """
    place = os.fsdecode(absolute(os.path.expanduser(path)))
    home = os.fspath(session.home)
    if os.path.commonpath([os.path.realpath(place), home]) == home:
        raise UsageError("nothing may lie in clear in the home", hint="name another place")
    return place


def write_new(path: str, data: bytes) -> None:
    """Write a private file that was not there; after an error there is none.

    Raises:
        FileExistsError: Something has that name.
        OutputError: It cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as stream:
                stream.write(data)
        except BaseException:
            with suppress(OSError):
                os.unlink(path)
            raise
    except FileExistsError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}") from error
