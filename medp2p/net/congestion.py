"""How TCP meets congestion: as it suits the path, as far as this machine lets us choose.

Over a long path one lost packet makes cubic halve its pace, and it takes many round trips to win
that back; BBR goes by what arrives, and is many times faster there. On a LAN only congestion loses
packets, and BBR costs: it paces by timers, which take a tenth of the processor's time. So a
connection begins without BBR, and gets it if its round trip turns out to be long. Which of both an
ordinary account may have, the machine decides; what it refuses stays as it was set up.

Source: tcp(7), TCP_CONGESTION and TCP_INFO; docs/PERFORMANCE.md, "Figures".
"""

import socket
import struct
from contextlib import suppress
from typing import Final

import trio

from medp2p import limits

_FOR_LAN: Final = b"cubic"
_FOR_LONG_PATHS: Final = b"bbr"
#: TCP_CA_NAME_MAX of linux/tcp.h.
_NAME_BYTES: Final = 16
#: tcpi_rtt of struct tcp_info, linux/tcp.h: microseconds, smoothed.
_ROUND_TRIP: Final = struct.Struct("=68xI")


def begin(sock: socket.socket) -> None:
    """Choose for a socket before it connects: who has begun to pace by timers goes on with it."""
    with suppress(OSError, AttributeError):  # the machine's choice, or another system
        name = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES)
        if name.rstrip(b"\0") == _FOR_LONG_PATHS:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _FOR_LAN)


def suit(sock: socket.socket) -> None:
    """Choose for a connection, by the round trip of its first packets."""
    with suppress(OSError, AttributeError):
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ROUND_TRIP.size)
        if _ROUND_TRIP.unpack(told)[0] > limits.LONG_PATH_SECONDS * 1e6:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _FOR_LONG_PATHS)


class Sockets(trio.abc.SocketFactory):
    """Makes the sockets of a daemon: see ``trio.socket.set_custom_socket_factory``."""

    def socket(
        self,
        family: socket.AddressFamily | int = socket.AF_INET,
        type: socket.SocketKind | int = socket.SOCK_STREAM,
        proto: int = 0,
    ) -> trio.socket.SocketType:
        """Return a new socket; it matters for those that connect by TCP."""
        made = socket.socket(family, type, proto)
        if type == socket.SOCK_STREAM and family in (socket.AF_INET, socket.AF_INET6):
            begin(made)
        return trio.socket.from_stdlib_socket(made)
