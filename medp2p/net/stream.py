"""Byte streams under a link: a socket driven for bulk data, or any trio stream.

A stream is used by one sending and one receiving task. It has no deadlines of its own: whoever
waits on it puts the wait under a limit. What the network does comes out as
``trio.BrokenResourceError``, use after closing as ``trio.ClosedResourceError``.
"""

import contextlib
import select
import socket
import threading
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

import trio

from medp2p import limits
from medp2p.errors import LinkLostError
from medp2p.net import congestion


class ByteStream(Protocol):
    """What a route returns: bytes both ways, in order."""

    @property
    def address(self) -> str:
        """The other end as a person would type it; for logs and caps, never proof of anything."""

    async def receive_into(self, view: memoryview) -> int:
        """Fill the view from the start with what is there, waiting for the first byte only.

        Returns:
            Bytes written into the view; 0 means that the other side has ended.
        """

    def receive_ready(self, view: memoryview) -> int:
        """Fill a beginning of the view with what is there, in any thread, without waiting.

        Returns:
            Bytes written into the view; 0: nothing is there, or ``receive_into`` knows why.
        """

    async def send_some(self, data: memoryview) -> int:
        """Send a beginning of ``data``, waiting only until a first byte is taken.

        Returns:
            Bytes taken, at least 1.
        """

    def send_ready(self, data: memoryview, patience: float) -> tuple[int, float]:
        """Send a beginning of ``data`` in a worker thread, as far as the network takes it now.

        Args:
            data: What to send; no task may be sending meanwhile.
            patience: Seconds for which a full network is waited for, in all.

        Returns:
            Bytes taken; fewer than all where the network does not take more, or where
            ``send_some`` knows why. And the seconds that it was full.
        """

    async def aclose(self) -> None:
        """Close at once, also when cancelled. Idempotent.

        Tasks that wait on the stream get ``trio.ClosedResourceError``.
        """


def format_address(host: str, port: int) -> str:
    """Return ``host:port``, with brackets round an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: str) -> str:
    """Return the host of what ``format_address`` has made."""
    return address.rpartition(":")[0].strip("[]")


def plain_host(host: str) -> str:
    """Return the host of a socket address, an IPv4 address mapped into IPv6 as plain IPv4."""
    mapped = host.removeprefix("::ffff:")
    return mapped if "." in mapped else host


def place_of(name: Sequence[str | int]) -> tuple[str, int]:
    """Return host and port of a socket's name; link-local with its zone, or it leads nowhere.

    Args:
        name: As ``getsockname`` and ``getpeername`` return it, where the zone is a number apart.
    """
    host, port = str(name[0]), int(name[1])
    scope = int(name[3]) if len(name) == 4 else 0
    if not scope or "%" in host:
        return host, port
    try:
        return f"{host}%{socket.if_indextoname(scope)}", port
    except OSError:  # it has gone meanwhile
        return f"{host}%{scope}", port


class SocketByteStream:
    """A TCP socket, driven for bulk: as many system calls as make progress, then one wait.

    trio's own socket switches tasks for each call; at some 64 KiB a call that costs more than
    the copying. Taking over the descriptor keeps the kernel's automatic buffer sizes.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        """Take over the socket of ``stream``, which is unusable afterwards."""
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)
        self._closed = False
        #: A socket closed under another thread could be another one by the time that reads.
        self._using = threading.Lock()
        congestion.suit(self._socket)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError, AttributeError):
            # trio sets 16 KiB, which wakes a bulk sender for each 16 KiB acknowledged.
            self._socket.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.NOTSENT_BYTES
            )
        try:
            self.local = place_of(self._socket.getsockname())
            self.remote = place_of(self._socket.getpeername())
        except OSError:  # already reset by the other side; the first call will say so
            self.local = self.remote = ("?", 0)

    @property
    def address(self) -> str:
        """See ByteStream."""
        return format_address(plain_host(str(self.remote[0])), int(self.remote[1]))

    async def receive_into(self, view: memoryview) -> int:
        """See ByteStream. Does not switch tasks while data is there."""
        await trio.lowlevel.checkpoint_if_cancelled()
        filled = 0
        while filled < len(view):
            self._check()
            try:
                count = self._socket.recv_into(view[filled:])
            except (BlockingIOError, InterruptedError):
                if filled:
                    break
                await trio.lowlevel.wait_readable(self._socket)
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if count == 0:
                break
            filled += count
        return filled

    def receive_ready(self, view: memoryview) -> int:
        """See ByteStream."""
        with self._using:
            if self._closed:
                return 0
            try:
                return self._socket.recv_into(view)
            except OSError:
                return 0

    async def send_some(self, data: memoryview) -> int:
        """See ByteStream. Does not switch tasks while the kernel takes data."""
        await trio.lowlevel.checkpoint_if_cancelled()
        sent = 0
        while sent < len(data):
            self._check()
            try:
                sent += self._socket.send(data[sent:])
            except (BlockingIOError, InterruptedError):
                if sent:
                    break
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        return sent

    def send_ready(self, data: memoryview, patience: float) -> tuple[int, float]:
        """See ByteStream."""
        sent, waited, ready = 0, 0.0, select.poll()
        while sent < len(data) and waited < patience:
            with self._using:
                if self._closed:
                    break
                ready.register(self._socket, select.POLLOUT)
                try:
                    sent += self._socket.send(data[sent:])
                    continue
                except BlockingIOError:
                    pass
                except OSError:
                    break
            began = time.perf_counter()
            ready.poll(1000 * (patience - waited))
            waited += time.perf_counter() - began
        return sent, waited

    async def aclose(self) -> None:
        """See ByteStream."""
        with self._using:  # for no longer than one copy out of the kernel
            if not self._closed:
                self._closed = True
                trio.lowlevel.notify_closing(self._socket)
                self._socket.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError


async def receive_exactly(stream: ByteStream, view: memoryview) -> None:
    """Fill the whole view.

    The caller sets the limit for the whole of it: for short things, such as a handshake.

    Raises:
        LinkLostError: The stream ended or broke before.
    """
    filled = 0
    while filled < len(view):
        count = await _counted(stream.receive_into(view[filled:]))
        if count == 0:
            raise LinkLostError("the other side closed the connection")
        filled += count


async def send_all(stream: ByteStream, data: bytes) -> None:
    """Send all of some short data; the caller sets the limit.

    Raises:
        LinkLostError: The stream broke.
    """
    view = memoryview(data)
    while view:
        view = view[await _counted(stream.send_some(view)) :]


async def _counted(call: Awaitable[int]) -> int:
    try:
        return await call
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise LinkLostError("the network failed under the connection") from error
