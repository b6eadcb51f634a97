"""What control needs of Unix: a local socket under a path of any length, and who is behind it.

Standard library only, because the command line imports it.
"""

import contextlib
import os
import pwd
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from medp2p import limits
from medp2p.errors import ControlError

#: macOS: <sys/un.h> LOCAL_PEERCRED at level SOL_LOCAL gives a struct xucred.
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 1
_XUCRED = struct.Struct("=IIh")


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name for a socket path that fits into an address, valid inside the block.

    A path that is too long is named through a descriptor of its folder. That works for bind and
    for connect, needs no change of the working directory and leaves nothing behind.

    Raises:
        OSError: The folder cannot be opened.
        ControlError: The path is too long and there is no /proc.
    """
    if len(os.fsencode(path)) <= limits.MAX_SOCKET_PATH_BYTES:
        yield os.fspath(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        through = f"/proc/self/fd/{folder}"
        if not os.path.isdir(through):
            raise ControlError(
                f"the path of {path.name} is longer than a socket address allows here",
                hint="choose a home with a shorter path",
            )
        yield f"{through}/{path.name}"
    finally:
        os.close(folder)


def connect_unix(path: Path, timeout: float) -> socket.socket:
    """Return a stream connected to the socket at a path.

    Args:
        path: Of any length.
        timeout: Seconds for this and each later operation.

    Raises:
        OSError: As connect() does; FileNotFoundError and ConnectionRefusedError mean that
            nobody serves it.
        ControlError: See short_path.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        with short_path(path) as name:
            sock.connect(name)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_unix(path: Path, backlog: int) -> socket.socket:
    """Return a socket that listens at a path, which only this account can connect to.

    What lies at the path is removed first: the caller holds the lock of the home, so it is a
    leftover. Nobody can connect before the mode is set, because listen() comes last.

    Raises:
        OSError: The folder is missing or cannot be written.
        ControlError: See short_path.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            sock.bind(name)
            os.chmod(name, 0o600)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


class HasOptions(Protocol):
    """A socket of the standard library or of trio."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes:
        """Return an option's bytes."""
        ...


def peer_uid(sock: HasOptions) -> int:
    """Return the user id of the process that connected.

    Raises:
        OSError: The system does not tell.
    """
    if sys.platform == "darwin":
        raw = sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
        return int(_XUCRED.unpack_from(raw)[1])
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", raw)[1])


def account_name(uid: int) -> str:
    """Return the name of an account, or "uid N"; may ask a directory server, so it may block."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
