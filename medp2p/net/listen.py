"""Accept connections, find out who is there, and run a session for each pinned peer.

Wrong key, not pinned and junk look the same from outside: silence until HANDSHAKE_SECONDS
after the connection began, then it is closed.

Source: docs/PROTOCOL.md, "Handshake"; docs/THREATS.md, "Strangers".
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import trio

from medp2p import limits
from medp2p.errors import (
    HandshakeError,
    LinkLostError,
    RemoteProtocolError,
    UntrustedPeerError,
    VersionError,
)
from medp2p.net.guard import guard
from medp2p.net.handshake import (
    Identity,
    MakeHello,
    PairingChannel,
    answer_hello,
    answer_pairing,
    answer_session,
    hear_hello,
    read_preamble,
)
from medp2p.net.link import Link, open_link
from medp2p.net.ports import open_listeners
from medp2p.net.strangers import Stranger, Strangers
from medp2p.net.stream import ByteStream, SocketByteStream, host_of
from medp2p.proto.messages import PROTOCOL_LOWEST
from medp2p.proto.preamble import Purpose

__all__ = ["ListenStats", "Listener", "open_listeners", "serve"]

log = logging.getLogger(__name__)

#: Told of who was refused: host, a word for why, and the key that it showed, if any.
OnStranger = Callable[[str, str, bytes | None], None]


class Listener(Protocol):
    """What connections come from: a ``trio.SocketListener``, or a fake."""

    async def accept(self) -> trio.SocketStream | ByteStream:
        """Return the next connection. Raises OSError or trio.ClosedResourceError."""

    async def aclose(self) -> None:
        """Take no more."""


@dataclass
class ListenStats:
    """What happened so far, for status and tests.

    Attributes:
        sessions: Links now open, pairing included.
        bugs: Unexpected exceptions in links; 0 unless medp2p is wrong.
        accept_errors: Failed accepts.
    """

    sessions: int = 0
    bugs: int = 0
    accept_errors: int = 0


async def serve(
    listeners: Sequence[Listener],
    *,
    identity: Identity,
    is_pinned: Callable[[bytes], bool],
    make_hello: MakeHello,
    on_session: Callable[[Link], Awaitable[None]],
    on_pairing: Callable[[Link, bytes, bytes], Awaitable[None]] | None = None,
    pairing_open: Callable[[], bool] = lambda: True,
    on_stranger: OnStranger = lambda address, reason, key: None,
    on_version: Callable[[bytes, VersionError], None] = lambda peer_key, error: None,
    lowest_version: Callable[[bytes], int] = lambda peer_key: PROTOCOL_LOWEST,
    stats: ListenStats | None = None,
) -> None:
    """Serve all listeners until they are closed; owns and closes them.

    Args:
        listeners: Bound and listening.
        identity: Ours.
        is_pinned: Whether an X25519 key belongs to a paired peer.
        make_hello: What we tell a peer in answer to its hello.
        on_session: Runs one session; the link runs already and is closed afterwards. Its
            errors end that link only.
        on_pairing: The same for pairing: (link, handshake hash, the other's key). The whole of
            it takes PAIRING_LINK_SECONDS at most, and is cancelled when strangers crowd.
        pairing_open: Whether pairing is answered at all now; if not, it looks like junk.
        on_stranger: Told the host and a word for each connection that came to nothing:
            "silent", "gone", "junk", "wrong-key", "unknown-key", "no-hello", "version",
            "crowded"; and, with "unknown-key", the key.
        on_version: Told of a pinned key with which no version is in common; the handshake's
            first message, which this rests on, can be a replayed one.
        lowest_version: Highest version that was ever spoken with that peer.
        stats: Kept up to date.

    Cancellation: links are closed with a goodbye, within CLEANUP_SECONDS.
    """
    server = _Server(
        identity=identity,
        is_pinned=is_pinned,
        make_hello=make_hello,
        on_session=on_session,
        on_pairing=on_pairing,
        pairing_open=pairing_open,
        on_stranger=on_stranger,
        on_version=on_version,
        lowest_version=lowest_version,
        stats=stats if stats is not None else ListenStats(),
    )
    try:
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(server.accept_forever, listener, nursery)
    finally:
        with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True):
            for listener in listeners:
                await listener.aclose()


@dataclass(kw_only=True)
class _Server:
    identity: Identity
    is_pinned: Callable[[bytes], bool]
    make_hello: MakeHello
    on_session: Callable[[Link], Awaitable[None]]
    on_pairing: Callable[[Link, bytes, bytes], Awaitable[None]] | None
    pairing_open: Callable[[], bool]
    on_stranger: OnStranger
    on_version: Callable[[bytes, VersionError], None]
    lowest_version: Callable[[bytes], int]
    stats: ListenStats
    strangers: Strangers = field(default_factory=Strangers)
    sessions: Counter[bytes] = field(default_factory=Counter)

    async def accept_forever(self, listener: Listener, nursery: trio.Nursery) -> None:
        """Accept until the listener is closed, whatever else goes wrong."""
        pause = limits.ACCEPT_RETRY_SECONDS
        quiet_until = trio.current_time()
        while True:
            try:
                accepted = await listener.accept()
            except trio.ClosedResourceError:
                return
            except OSError as error:
                self.stats.accept_errors += 1
                if trio.current_time() >= quiet_until:
                    log.warning("cannot accept connections just now: %s", error.strerror)
                    quiet_until = trio.current_time() + limits.LOG_AGAIN_SECONDS
                await trio.sleep(pause)
                pause = min(2 * pause, limits.ACCEPT_RETRY_MAX_SECONDS)
                continue
            pause = limits.ACCEPT_RETRY_SECONDS
            stream = (
                SocketByteStream(accepted) if isinstance(accepted, trio.SocketStream) else accepted
            )
            nursery.start_soon(self.run_connection, stream)

    async def run_connection(self, stream: ByteStream) -> None:
        """Carry one connection from its first byte to its end."""
        try:
            work = partial(self._greet, stream)
            await guard(f"link from {stream.address}", work, self._count_bug)
        finally:
            await stream.aclose()

    def _count_bug(self) -> None:
        self.stats.bugs += 1

    async def _greet(self, stream: ByteStream) -> None:
        host = host_of(stream.address)
        attempt = _Attempt(stream)
        with self.strangers.admit(host) as attempt.stranger, attempt.stranger.scope:
            with trio.move_on_after(limits.HANDSHAKE_SECONDS):
                await self._identify(attempt)
            if attempt.channel is not None:
                await self._run_pairing(attempt.channel)
        if attempt.link is not None:
            await self._run_session(attempt.link)
        elif attempt.channel is None:
            reason = "crowded" if attempt.stranger.crowded else attempt.reason
            self.on_stranger(host, reason, attempt.key)

    async def _identify(self, attempt: "_Attempt") -> None:
        """Find out who is there; everyone but a pinned peer is met with silence."""
        try:
            await self._shake_hands(attempt)
            return
        except LinkLostError:
            attempt.reason = "gone"
            return
        except VersionError:
            attempt.reason = "version"
            return
        except UntrustedPeerError as error:
            attempt.reason, attempt.key = "unknown-key", error.key
        except HandshakeError:
            attempt.reason = "wrong-key"
        except RemoteProtocolError:
            attempt.reason = "junk" if attempt.reason == "silent" else attempt.reason
        await _stay_silent(attempt.stream)

    async def _shake_hands(self, attempt: "_Attempt") -> None:
        stream = attempt.stream
        preamble = await read_preamble(stream)
        if preamble[0].purpose is Purpose.PAIRING:
            if self.on_pairing is None or not self.pairing_open():
                raise RemoteProtocolError("pairing is not open")
            attempt.channel = await answer_pairing(stream, preamble, self.identity)
            return
        link = await answer_session(
            stream,
            preamble,
            identity=self.identity,
            is_pinned=self.is_pinned,
            lowest_version=self.lowest_version,
            on_version=self.on_version,
        )
        attempt.reason = "no-hello"
        await hear_hello(link)
        self.strangers.leave(attempt.stranger)
        attempt.link = link

    async def _run_session(self, link: Link) -> None:
        if self.sessions[link.peer_key] >= limits.MAX_SESSIONS_PER_PEER:
            raise RemoteProtocolError("too many sessions at a time")
        self.sessions[link.peer_key] += 1
        self.stats.sessions += 1
        try:
            await answer_hello(link, self.make_hello)
            async with open_link(link):
                await self.on_session(link)
        finally:
            self.stats.sessions -= 1
            self.sessions[link.peer_key] -= 1
            self.sessions += Counter()  # drops what is 0

    async def _run_pairing(self, channel: PairingChannel) -> None:
        self.stats.sessions += 1
        try:
            with trio.move_on_after(limits.PAIRING_LINK_SECONDS):
                async with open_link(channel.link):
                    await self._pair(channel.link, channel.handshake_hash, channel.remote_static)
        finally:
            self.stats.sessions -= 1

    async def _pair(self, link: Link, handshake_hash: bytes, remote_static: bytes) -> None:
        if self.on_pairing is not None:
            await self.on_pairing(link, handshake_hash, remote_static)


@dataclass
class _Attempt:
    """What is known so far of a connection.

    Attributes:
        reason: Why it would be refused if it ended now.
        link: A session, the initiator's hello heard.
        channel: A pairing channel.
        key: X25519 key that was proved and is not pinned.
    """

    stream: ByteStream
    stranger: Stranger = field(default_factory=partial(Stranger, ""))
    reason: str = "silent"
    key: bytes | None = None
    link: Link | None = None
    channel: PairingChannel | None = None


async def _stay_silent(stream: ByteStream) -> None:
    """Read and drop until the deadline, as if a handshake were still awaited."""
    scratch = memoryview(bytearray(limits.MAX_NOISE_BYTES))
    dropped = 0
    with suppress(trio.BrokenResourceError):
        while dropped < limits.MAX_STRANGER_BYTES:
            count = await stream.receive_into(scratch)
            if count == 0:
                return
            dropped += count
        await trio.sleep_forever()  # until the caller's deadline
