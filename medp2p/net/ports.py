"""Bind the TCP port that peers dial, on IPv4 and IPv6 alike."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from medp2p.errors import ListenError
from medp2p.net.stream import format_address

_BACKLOG: Final = 128
#: Tries to find a free port that both families have, where any port will do.
_TRIES: Final = 16
#: This machine has no such family, or it is switched off.
_ABSENT: Final = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT, errno.ENOPROTOOPT}
_LISTENING: Final = "0A"
_PROC: Final = Path("/proc")


async def open_listeners(host: str | None, port: int) -> list[trio.SocketListener]:
    """Listen on one port.

    Args:
        host: An address of this machine, or None for all, IPv4 and IPv6.
        port: TCP port; 0 takes a free one, the same for both families.

    Returns:
        One listener per address; the caller closes them.

    Raises:
        ListenError: The port is taken (the text names the program, where it can be seen) or
            the address is not ours.
    """
    if host is not None:
        return [_listen(family, address, port) for family, address in await _resolve(host, port)]
    for _ in range(_TRIES):
        try:
            return _listen_everywhere(port)
        except ListenError:
            if port:
                raise
    raise ListenError("no free port that both IPv4 and IPv6 have")


def _listen_everywhere(port: int) -> list[trio.SocketListener]:
    listeners: list[trio.SocketListener] = []
    absent: OSError | None = None
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        try:
            listener = _listen(family, address, port)
        except ListenError as error:
            cause = error.__cause__
            if isinstance(cause, OSError) and cause.errno in _ABSENT:
                absent = cause
                continue
            for opened in listeners:
                opened.socket.close()
            raise
        port = listener.socket.getsockname()[1]
        listeners.append(listener)
    if not listeners:
        raise ListenError("this machine has neither IPv4 nor IPv6") from absent
    return listeners


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = await trio.socket.getaddrinfo(
            host.replace("%25", "%"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ListenError(f"{host} is not an address of this machine: {error.strerror}") from error
    family, _, _, _, address = found[0]
    zone = f"%{address[3]}" if len(address) == 4 and address[3] else ""
    return [(socket.AddressFamily(family), str(address[0]).partition("%")[0] + zone)]


def _listen(family: socket.AddressFamily, host: str, port: int) -> trio.SocketListener:
    where = format_address(host, port)
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"cannot listen on {where}: {os.strerror(error.errno or 0)}") from error
    try:
        if sys.platform != "win32":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(socket.getaddrinfo(host, port, family, flags=socket.AI_NUMERICHOST)[0][4])
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise _refusal(error, where, port) from error
    return trio.SocketListener(trio.socket.from_stdlib_socket(made))


def _refusal(error: OSError, where: str, port: int) -> ListenError:
    if error.errno != errno.EADDRINUSE:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        return ListenError(
            f"cannot listen on {where}: {reason}",
            hint="see `listen` in config.toml, or --listen ADDR:PORT",
        )
    holder = next(_holders(port), None)
    by = f" by {holder}" if holder else " by another program"
    return ListenError(
        f"cannot listen on {where}: port {port} is taken{by}",
        hint="stop that program, or set another port with `listen` in config.toml or --listen",
    )


def _holders(port: int) -> Iterator[str]:
    """Yield "pid N (name)" of processes that listen on a port, as far as /proc shows them."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not wanted:
        return
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # gone, or another account's
            name = (process / "comm").read_text().strip()
            if any(_target(entry) in wanted for entry in (process / "fd").iterdir()):
                yield f"pid {process.name} ({name})"


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""  # closed meanwhile


def _inodes(port: int) -> Iterator[str]:
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (_PROC / table).read_text().splitlines()[1:]
        except OSError:
            continue  # not Linux
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
