"""Who connects: pinned peers get sessions, all others silence, in bounded number and time."""

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from medp2p import limits
from medp2p.errors import LinkLostError, RemoteProtocolError, VaultLockedError, VersionError
from medp2p.net import handshake
from medp2p.net.handshake import Identity
from medp2p.net.link import Link, open_link
from medp2p.net.listen import ListenStats, serve
from medp2p.net.stream import ByteStream, send_all
from medp2p.proto.messages import Bye
from medp2p.proto.noise import Handshake
from medp2p.proto.preamble import Preamble, Purpose
from tests.helpers.links import A, B, C, TrioByteStream, answer, hello

PREAMBLE = Preamble(Purpose.SESSION, 1, 1).encode()


class MemoryListener:
    """Hands out one end of memory streams; errors can be put in their place."""

    def __init__(self) -> None:
        self._send, self._accepted = trio.open_memory_channel[ByteStream | OSError](1000)

    async def accept(self) -> ByteStream:
        accepted = await self._accepted.receive()
        if isinstance(accepted, OSError):
            raise accepted
        return accepted

    async def aclose(self) -> None:
        await self._accepted.aclose()

    def fail(self, number: int) -> None:
        self._send.send_nowait(OSError(number, "accept failed"))

    def connect(self, host: str = "10.0.0.1") -> TrioByteStream:
        """Return the other end of a new connection, from that address."""
        left, right = trio.testing.memory_stream_pair()
        self._send.send_nowait(TrioByteStream(right, f"{host}:4711"))
        return TrioByteStream(left)


@dataclass
class Serving:
    listener: MemoryListener
    stats: ListenStats = field(default_factory=ListenStats)
    strangers: list[tuple[str, str]] = field(default_factory=list)
    sessions: list[Link] = field(default_factory=list)

    async def idle_session(self, link: Link) -> None:
        self.sessions.append(link)
        await link.receive()


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[Serving]:
    """Run B's listener over memory streams."""
    here = Serving(MemoryListener())
    given: dict[str, object] = {
        "identity": B,
        "is_pinned": lambda key: key == A.noise_public,
        "make_hello": answer,
        "on_session": here.idle_session,
        "on_stranger": lambda address, reason, key: here.strangers.append((address, reason)),
        "stats": here.stats,
    }
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, [here.listener], **{**given, **options}))  # type: ignore[arg-type]
        yield here
        nursery.cancel_scope.cancel()


async def arrive(stream: ByteStream, who: Identity = A) -> Link:
    """Be a real peer."""
    link = await handshake.prove_responder(stream, who, B.noise_public, 1)
    await handshake.say_hello(link, hello("facts"))
    return link


async def said(stream: ByteStream) -> bytes:
    """Return all that the other side says until it closes."""
    got = b""
    buffer = memoryview(bytearray(4096))
    with suppress(trio.BrokenResourceError):
        while count := await stream.receive_into(buffer):
            got += bytes(buffer[:count])
    return got


def first_message(who: Identity, wanted: bytes = B.noise_public) -> bytes:
    """Return preamble and first Noise message of an initiator."""
    message = Handshake.session_initiator(who.noise_private, wanted, PREAMBLE).write()
    return PREAMBLE + len(message).to_bytes(2, "big") + message


# --- what strangers see ---------------------------------------------------------------------

STRANGERS = {
    "silent": (b"", "silent"),
    "half a preamble": (PREAMBLE[:5], "silent"),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", "junk"),
    "unknown purpose": (PREAMBLE[:-3] + b"\x09\x01\x01", "junk"),
    "no version range": (PREAMBLE[:-2] + b"\x02\x01", "junk"),
    "junk message": (PREAMBLE + b"\x00\x60" + bytes(96), "wrong-key"),
    "empty message": (PREAMBLE + b"\x00\x00", "wrong-key"),
    "huge message": (PREAMBLE + b"\xff\xff" + bytes(65535), "wrong-key"),
    "more junk than is read": (b"x" * (limits.MAX_STRANGER_BYTES * 3), "junk"),
    "message for someone else": (first_message(A, C.noise_public), "wrong-key"),
    "key that is not pinned": (first_message(C), "unknown-key"),
    "our own key": (first_message(B), "unknown-key"),
    "pairing, which is not open": (
        Preamble(Purpose.PAIRING, 1, 1).encode() + b"\x00\x20" + bytes(32),
        "junk",
    ),
    "other version range in clear": (
        Preamble(Purpose.SESSION, 1, 2).encode() + first_message(A)[len(PREAMBLE) :],
        "wrong-key",
    ),
}


@pytest.mark.parametrize(("data", "reason"), STRANGERS.values(), ids=STRANGERS)
async def test_all_strangers_see_the_same(
    autojump_clock: MockClock, data: bytes, reason: str
) -> None:
    """Not one byte, and the end of the connection after HANDSHAKE_SECONDS."""
    with trio.fail_after(3600):
        async with serving() as here:
            start = trio.current_time()
            stream = here.listener.connect()
            await send_all(stream, data)
            assert await said(stream) == b""
            assert trio.current_time() - start == pytest.approx(limits.HANDSHAKE_SECONDS)
            await trio.testing.wait_all_tasks_blocked()
            assert here.strangers == [("10.0.0.1", reason)]
            assert here.stats == ListenStats()


async def test_who_goes_by_himself_frees_his_place_at_once(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with serving() as here:
            start = trio.current_time()
            for data in (b"", first_message(C)):
                stream = here.listener.connect()
                await send_all(stream, data)
                await trio.testing.wait_all_tasks_blocked()
                await stream.aclose()
                await trio.testing.wait_all_tasks_blocked()
            assert trio.current_time() == start
            assert here.strangers == [("10.0.0.1", "gone"), ("10.0.0.1", "unknown-key")]


async def test_the_key_of_a_stranger_is_told(autojump_clock: MockClock) -> None:
    """It was proved: who has paired the two by now knows that it was no stranger."""
    keys: list[bytes | None] = []
    with trio.fail_after(3600):
        async with serving(on_stranger=lambda *told: keys.append(told[2])) as here:
            for data in (first_message(C), first_message(A), b"x" * 50):
                stream = here.listener.connect()
                await send_all(stream, data)
                await said(stream)
                await trio.testing.wait_all_tasks_blocked()
    assert keys == [C.noise_public, None, None]


@pytest.mark.parametrize("data", [first_message(A), first_message(C), b"x" * 50])
async def test_trickle_is_cut_in_time(autojump_clock: MockClock, data: bytes) -> None:
    """A byte each 10 seconds, or each half second: the limit is on the whole handshake."""
    with trio.fail_after(3600):
        async with serving() as here:
            for pause in (10, 0.5):
                start = trio.current_time()
                stream = here.listener.connect()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_trickle, stream, data, pause)
                    assert await said(stream) == b""
                    assert trio.current_time() - start == pytest.approx(limits.HANDSHAKE_SECONDS)
                    nursery.cancel_scope.cancel()


async def _trickle(stream: ByteStream, data: bytes, pause: float) -> None:
    with suppress(LinkLostError):
        for byte in data:
            await send_all(stream, bytes([byte]))
            await trio.sleep(pause)


async def test_nothing_but_the_noise_message_before_the_hello(autojump_clock: MockClock) -> None:
    """A replayed first message of a pinned peer gets one message and no session."""
    with trio.fail_after(3600):
        async with serving() as here:
            stream = here.listener.connect()
            await send_all(stream, first_message(A))
            answered = await said(stream)
            size = int.from_bytes(answered[:2], "big")
            assert len(answered) == 2 + size
            assert size == 32 + 16 + 2  # ephemeral key, tag, version range
            assert here.sessions == []
            await trio.testing.wait_all_tasks_blocked()
            assert here.strangers == [("10.0.0.1", "no-hello")]


async def test_junk_in_place_of_the_hello_makes_no_session(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with serving() as here:
            stream = here.listener.connect()
            await send_all(stream, first_message(A) + b"\x00\x30" + bytes(48))
            answered = await said(stream)
            assert len(answered) == 2 + 32 + 16 + 2
            assert here.sessions == []
            await trio.testing.wait_all_tasks_blocked()
            assert here.strangers == [("10.0.0.1", "no-hello")]


async def test_hello_before_the_responders_own(autojump_clock: MockClock) -> None:
    """The session begins when the initiator's hello is decrypted, and only then."""
    with trio.fail_after(3600):
        async with serving() as here:
            stream = here.listener.connect()
            link = await handshake.prove_responder(stream, A, B.noise_public, 1)
            await trio.testing.wait_all_tasks_blocked()
            assert (here.sessions, here.stats.sessions) == ([], 0)
            await handshake.say_hello(link, hello("facts"))
            await trio.testing.wait_all_tasks_blocked()
            assert [s.hello.name for s in here.sessions] == ["a"]
            assert here.stats.sessions == 1
            await link.close()
            await trio.testing.wait_all_tasks_blocked()
            assert here.stats.sessions == 0
            assert here.strangers == []


async def test_version_trouble_is_told_here_and_there(autojump_clock: MockClock) -> None:
    """This workstation was put back to an older program."""
    told: list[tuple[bytes, str | None]] = []

    def on_version(peer_key: bytes, error: VersionError) -> None:
        told.append((peer_key, error.hint))

    with trio.fail_after(3600):
        async with serving(lowest_version=lambda key: 2, on_version=on_version) as here:
            with pytest.raises(VersionError, match="no protocol version in common"):
                await handshake.prove_responder(
                    here.listener.connect(), A, B.noise_public, 2, (1, 2)
                )
            await trio.testing.wait_all_tasks_blocked()
            assert told == [(A.noise_public, "update medp2p on this workstation")]
            assert here.strangers == [("10.0.0.1", "version")]
            assert here.sessions == []


# --- many of them ---------------------------------------------------------------------------


async def test_idle_strangers_do_not_stop_a_real_peer(autojump_clock: MockClock) -> None:
    """Neither from many addresses nor from its own; the oldest of them goes."""
    with trio.fail_after(3600):
        async with serving() as here:
            crowd = [here.listener.connect(f"10.0.{n}.1") for n in range(limits.MAX_STRANGERS)]
            await trio.testing.wait_all_tasks_blocked()
            assert here.strangers == []
            start = trio.current_time()
            link = await arrive(here.listener.connect("10.1.0.1"))
            assert here.strangers == [("10.0.0.1", "crowded")]
            assert await said(crowd[0]) == b""
            assert trio.current_time() == start
            async with open_link(link):
                assert await link.ping() < 1


async def test_one_address_cannot_crowd_out_others(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with serving() as here:
            honest = here.listener.connect("10.0.0.9")
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(500):
                here.listener.connect("10.0.0.1")
                await trio.testing.wait_all_tasks_blocked()
            assert set(here.strangers) == {("10.0.0.1", "crowded")}
            assert len(here.strangers) == 500 - limits.MAX_STRANGERS_PER_ADDRESS
            link = await arrive(honest)
            await link.close()


async def test_busiest_address_makes_room_first(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with serving() as here:
            lonely = here.listener.connect("10.9.9.9")
            for address in range(8):
                for _ in range(limits.MAX_STRANGERS_PER_ADDRESS - 1):
                    here.listener.connect(f"10.0.0.{address}")
                    await trio.testing.wait_all_tasks_blocked()
            assert ("10.9.9.9", "crowded") not in here.strangers
            await (await arrive(lonely)).close()


async def test_sessions_of_one_peer_are_bounded(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with serving() as here:
            links = [
                await arrive(here.listener.connect()) for _ in range(limits.MAX_SESSIONS_PER_PEER)
            ]
            with pytest.raises(LinkLostError):
                await arrive(here.listener.connect())
            await links.pop().close()
            await trio.testing.wait_all_tasks_blocked()
            links.append(await arrive(here.listener.connect()))
            for link in links:
                await link.stream.aclose()


# --- what goes wrong ------------------------------------------------------------------------


async def test_accept_survives_errors(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No descriptors left, then a dead network: logged once, no busy loop, goes on."""
    with trio.fail_after(3600):
        async with serving() as here:
            for _ in range(20):
                here.listener.fail(errno.EMFILE)
                here.listener.fail(errno.ENETDOWN)
            start = trio.current_time()
            link = await arrive(here.listener.connect())
            assert 10 < trio.current_time() - start < 40 * limits.ACCEPT_RETRY_MAX_SECONDS + 1
            assert here.stats.accept_errors == 40
            await link.close()
    logged = [record for record in caplog.records if "cannot accept" in record.message]
    assert 1 <= len(logged) <= 3


@pytest.mark.parametrize(
    ("error", "bugs"),
    [(VaultLockedError("the vault of Doe^Jane"), 0), (ValueError("patient Doe^Jane"), 1)],
)
async def test_failing_session_ends_alone_and_tells_no_secrets(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, error: Exception, bugs: int
) -> None:
    caplog.set_level(logging.DEBUG)
    fail = True

    async def on_session(link: Link) -> None:
        if fail:
            raise error
        await link.receive()

    with trio.fail_after(3600):
        async with serving(on_session=on_session) as here:
            async with open_link(await arrive(here.listener.connect())) as link:
                with pytest.raises(LinkLostError):
                    await link.receive()
            fail = False
            async with open_link(await arrive(here.listener.connect())) as link:
                assert await link.ping() < 1
            assert here.stats.bugs == bugs
    assert "Doe" not in caplog.text
    assert ("bug in link from 10.0.0.1:4711: ValueError at" in caplog.text) == bool(bugs)


async def test_grouped_errors_are_told_apart_too(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def on_session(link: Link) -> None:
        async def fail(error: Exception) -> None:
            raise error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, RemoteProtocolError("offer of another transfer"))
            nursery.start_soon(fail, KeyError("Doe^Jane"))

    with trio.fail_after(3600):
        async with serving(on_session=on_session) as here:
            link = await arrive(here.listener.connect())
            await said(link.stream)
            await trio.testing.wait_all_tasks_blocked()
            assert here.stats.bugs == 1
    assert "offer of another transfer" in caplog.text
    assert "Doe" not in caplog.text


async def test_stopping_says_goodbye(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with serving() as here:
            link = await arrive(here.listener.connect())
            await trio.testing.wait_all_tasks_blocked()
        # The other side of the stream has all that was said; nothing is lost by stopping.
        async with open_link(link):
            assert isinstance(await link.receive(), Bye)


# --- pairing --------------------------------------------------------------------------------


async def test_pairing_is_bounded_in_time(autojump_clock: MockClock) -> None:
    """A stranger that only keeps the line busy is cut."""

    async def on_pairing(link: Link, handshake_hash: bytes, remote_static: bytes) -> None:
        await link.receive()

    with trio.fail_after(3600):
        async with serving(on_pairing=on_pairing) as here:
            start = trio.current_time()
            channel = await handshake.start_pairing(here.listener.connect(), C)
            await said(channel.link.stream)
            expected = limits.PAIRING_LINK_SECONDS
            assert trio.current_time() - start == pytest.approx(expected, abs=3)
            await trio.testing.wait_all_tasks_blocked()
            assert here.strangers == []
            assert here.stats.sessions == 0


async def test_pairing_is_answered_only_while_open(autojump_clock: MockClock) -> None:
    open_now = False
    paired: list[bytes] = []

    async def on_pairing(link: Link, handshake_hash: bytes, remote_static: bytes) -> None:
        paired.append(remote_static)

    with trio.fail_after(3600):
        async with serving(on_pairing=on_pairing, pairing_open=lambda: open_now) as here:
            with pytest.raises(LinkLostError):
                await handshake.start_pairing(here.listener.connect(), C)
            assert here.strangers == [("10.0.0.1", "junk")]
            open_now = True
            channel = await handshake.start_pairing(here.listener.connect(), C)
            await said(channel.link.stream)
            assert paired == [C.noise_public]
