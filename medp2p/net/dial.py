"""Reach a peer by its key, over all the ways there may be at once.

Source: docs/PROTOCOL.md, "Handshake".
"""

import errno
import os
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from medp2p import limits
from medp2p.errors import (
    HandshakeError,
    LinkLostError,
    LocalProtocolError,
    MedP2PError,
    RemoteProtocolError,
    UnreachableError,
    VersionError,
)
from medp2p.net.handshake import (
    VERSIONS,
    Identity,
    PairingChannel,
    Versions,
    prove_responder,
    say_hello,
    start_pairing,
)
from medp2p.net.link import Link
from medp2p.net.stream import ByteStream, SocketByteStream, format_address
from medp2p.proto.messages import PROTOCOL_LOWEST, Hello

__all__ = ["DialError", "Identity", "Route", "TcpRoute", "dial", "dial_pairing", "tcp_route"]


class Route(Protocol):
    """A way to a peer: called, it returns a connected stream."""

    @property
    def address(self) -> str:
        """As a person would type it."""

    async def __call__(self) -> ByteStream:
        """Connect, under the caller's limit.

        Raises:
            OSError: Nobody there, or no way there.
            UnreachableError: It leads nowhere; the text says why.
        """


@dataclass(frozen=True, slots=True)
class TcpRoute:
    """A TCP address.

    Attributes:
        host: Name or address; IPv6 link-local with its zone ("fe80::1%eth0").
        port: TCP port.
        own_ports: Ports that we listen on, to recognise ourselves.
    """

    host: str
    port: int
    own_ports: Collection[int] = ()

    @property
    def address(self) -> str:
        """See Route."""
        return format_address(self.host, self.port)

    async def __call__(self) -> ByteStream:
        """See Route."""
        try:
            stream = SocketByteStream(await trio.open_tcp_stream(self.host, self.port))
        except socket.gaierror as error:
            _, zoned, zone = self.host.partition("%")
            if zoned:
                raise UnreachableError(f"there is no network interface {zone!r}") from error
            raise
        if _is_self(stream, self.own_ports):
            await stream.aclose()
            raise UnreachableError("that is this workstation itself")
        return stream


def tcp_route(host: str, port: int, *, own_ports: Collection[int] = ()) -> Route:
    """Return the route to a TCP address; see TcpRoute."""
    return TcpRoute(host, port, own_ports)


def _is_self(stream: SocketByteStream, own_ports: Collection[int]) -> bool:
    """Whether a socket leads to our own listener, or to itself (TCP allows that).

    The kernel gives both ends of a connection to an own address that same address.
    """
    if stream.local == stream.remote:
        return True
    return stream.remote[1] in own_ports and stream.remote[0] == stream.local[0]


_MUTE: Final = "takes the connection, but does not answer"


class DialError(UnreachableError):
    """No address of the peer answered as that peer.

    Attributes:
        tried: A line per address.
        wrong_identity: Addresses where something answers that is not the peer, or is the
            peer and does not know us: from outside both look the same. Not those where
            nothing answers.
    """

    def __init__(self, name: str, tried: Sequence[str], wrong_identity: Sequence[str]) -> None:
        lines = "; ".join(tried) if tried else "no address is known"
        super().__init__(f"{name} cannot be reached: {lines}")
        self.tried = tuple(tried)
        self.wrong_identity = tuple(wrong_identity)


class _Dial:
    """One dial: all routes side by side, one winner."""

    def __init__(
        self, name: str, identity: Identity, peer_key: bytes, hello: Hello, versions: Versions
    ) -> None:
        self.name = name
        self.versions = versions
        self.identity = identity
        self.peer_key = peer_key
        self.hello = hello
        self.link: Link | None = None
        self.version_error: VersionError | None = None
        self.tried: dict[int, str] = {}
        self.wrong: set[int] = set()
        # Only one connection at a time says hello: the responder lets a second one of the
        # same conversation replace the first.
        self.turn = trio.Lock()

    async def run_route(
        self, index: int, route: Route, lowest: int, scope: trio.CancelScope
    ) -> None:
        """Try one route; the first to end its hello cancels the others."""
        stream = await self._connect(index, route)
        if stream is None:
            return
        try:
            with trio.fail_after(_patience()):
                link = await prove_responder(
                    stream, self.identity, self.peer_key, lowest, self.versions
                )
            async with self.turn:
                if self.link is None and await self._greet(index, link):
                    self.link = link
                    scope.cancel()
        except VersionError as error:
            self.version_error = error
        except RemoteProtocolError as error:
            self.tried[index] = error.text
        except trio.TooSlowError:
            self.tried[index] = _MUTE
        except (HandshakeError, LinkLostError):
            self.wrong.add(index)
            self.tried[index] = (
                f"answers, but is not {self.name}, or does not know this workstation"
            )
        finally:
            if self.link is None or self.link.stream is not stream:
                await stream.aclose()

    async def _greet(self, index: int, link: Link) -> bool:
        """Say hello to who has proved to be the peer; False: it has gone."""
        try:
            with trio.fail_after(limits.HANDSHAKE_SECONDS):
                await say_hello(link, self.hello)
        except LinkLostError:
            self.tried[index] = f"is {self.name}, but ended the connection"
            return False
        return True

    async def _connect(self, index: int, route: Route) -> ByteStream | None:
        try:
            return await connect(route)
        except UnreachableError as error:
            self.tried[index] = error.text
        return None


def _patience() -> float:
    """Return how long to wait for the first answer, or for the end of a stranger's silence."""
    return limits.HANDSHAKE_SECONDS + limits.HANDSHAKE_GRACE_SECONDS


async def connect(route: Route) -> ByteStream:
    """Connect one route within CONNECT_SECONDS.

    Raises:
        UnreachableError: The text says why, without the address.
    """
    try:
        with trio.fail_after(limits.CONNECT_SECONDS):
            return await route()
    except trio.TooSlowError:
        text = f"no answer within {limits.CONNECT_SECONDS:.0f} s"
        raise UnreachableError(text) from None
    except OSError as error:
        raise UnreachableError(_why(error)) from error


#: What the resolver means, in plain words.
_NAMES = {
    socket.EAI_NONAME: "no such name",
    socket.EAI_NODATA: "no such name",
    socket.EAI_AGAIN: "the name cannot be looked up now",
}


def _why(error: BaseException) -> str:
    """Return what the operating system said, below trio's summary of several tries."""
    if isinstance(error, BaseExceptionGroup):
        return _why(error.exceptions[0])
    if isinstance(error, OSError) and error.errno is None and error.__cause__ is not None:
        return _why(error.__cause__)
    if isinstance(error, socket.gaierror):
        return _NAMES.get(error.errno or 0, "the name cannot be looked up")
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "refused: nothing listens there"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error).lower() or type(error).__name__


async def dial(
    routes: Sequence[Route],
    *,
    identity: Identity,
    peer_key: bytes,
    hello: Hello,
    lowest_version: int = PROTOCOL_LOWEST,
    name: str = "the peer",
    versions: Versions = VERSIONS,
) -> Link:
    """Reach a peer over whichever route answers first as that peer.

    All are tried at once, MAX_ROUTES at most. Use the link inside ``open_link``.

    Args:
        routes: Ways there, best first.
        identity: Ours.
        peer_key: The pinned X25519 key of the peer.
        hello: What we tell it; its kind says what the conversation is.
        lowest_version: Highest protocol version ever spoken with that peer.
        name: Of the peer, for messages.
        versions: What this program speaks.

    Returns:
        The link, hellos exchanged, not running yet.

    Raises:
        DialError: An UnreachableError; nobody answered as that peer.
        VersionError: The peer did, but there is no version in common.

    Cancellation: all connections are closed.
    """
    if peer_key == identity.noise_public:
        raise LocalProtocolError("a workstation does not dial itself")
    candidates = list(routes)[: limits.MAX_ROUTES]
    attempt = _Dial(name, identity, peer_key, hello, versions)
    try:
        async with trio.open_nursery() as nursery:
            for index, route in enumerate(candidates):
                scope = nursery.cancel_scope
                nursery.start_soon(attempt.run_route, index, route, lowest_version, scope)
    except BaseException:
        if attempt.link is not None:  # won, and cancelled in the same moment
            await attempt.link.stream.aclose()
        raise
    if attempt.link is not None:
        return attempt.link
    if attempt.version_error is not None:
        error = attempt.version_error
        hint = (error.hint or "").replace("the other workstation", name)
        raise VersionError(error.text, hint=hint) from error
    lines = [f"{each.address}: {attempt.tried[i]}" for i, each in enumerate(candidates)]
    raise DialError(name, lines, [candidates[i].address for i in sorted(attempt.wrong)])


async def dial_pairing(route: Route, *, identity: Identity) -> PairingChannel:
    """Reach a workstation that waits for pairing; who that is, pairing itself must prove.

    Returns:
        The channel; its link is used inside ``open_link``.

    Raises:
        DialError: Nobody there, or nobody who pairs.
        VersionError: No version in common.

    Cancellation: the connection is closed.
    """
    try:
        stream = await connect(route)
    except UnreachableError as error:
        raise DialError("the other workstation", [f"{route.address}: {error.text}"], []) from error
    channel: PairingChannel | None = None
    try:
        with trio.fail_after(_patience()):
            channel = await start_pairing(stream, identity)
    except VersionError:
        raise
    except HandshakeError as error:
        text = f"{route.address}: {error.text}"
        raise DialError("the other workstation", [text], [route.address]) from error
    except trio.TooSlowError as error:
        text = f"{route.address}: {_MUTE}"
        raise DialError("the other workstation", [text], []) from error
    except MedP2PError as error:
        text = f"{route.address}: answers, but does not pair now, or is not medp2p"
        raise DialError("the other workstation", [text], [route.address]) from error
    finally:
        if channel is None:
            await stream.aclose()
    return channel
