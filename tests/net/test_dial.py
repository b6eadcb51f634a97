"""Reaching a peer: several candidate addresses, wrong daemons, versions, ourselves.

Real sockets and the real clock where the operating system decides; memory streams and virtual
time where only waiting is tested.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from medp2p import limits
from medp2p.errors import (
    HandshakeError,
    LinkLostError,
    LocalProtocolError,
    UnreachableError,
    VersionError,
)
from medp2p.net import handshake
from medp2p.net.dial import DialError, Route, _is_self, _why, connect, dial, dial_pairing, tcp_route
from medp2p.net.handshake import Identity
from medp2p.net.link import Link, ReceivedChunk, open_link
from medp2p.net.listen import open_listeners, serve
from medp2p.net.stream import ByteStream, SocketByteStream
from medp2p.proto.messages import Facts, PairRefused, PairStart, encode
from tests.helpers.links import A, B, C, TrioByteStream, answer, hello

DONE = Facts(facts=[], last=True)


class MemoryRoute:
    """A route over memory streams; ``respond`` plays the other end."""

    def __init__(
        self,
        nursery: trio.Nursery,
        address: str,
        respond: Callable[[ByteStream], Awaitable[None]],
    ) -> None:
        self.address = address
        self.closed = trio.Event()
        self._nursery = nursery
        self._respond = respond

    async def __call__(self) -> ByteStream:
        left, right = trio.testing.memory_stream_pair()
        left.receive_stream.close_hook = self.closed.set
        self._nursery.start_soon(self._respond, TrioByteStream(right))
        return TrioByteStream(left, self.address)


async def silent(stream: ByteStream) -> None:
    """Accept and say nothing, as a daemon that hangs does."""
    await trio.sleep_forever()


async def stranger(stream: ByteStream, late: float = 0) -> None:
    """Accept, say nothing and close in the end, as whoever does not know us does."""
    await trio.sleep(limits.HANDSHAKE_SECONDS + late)
    await stream.aclose()


async def dies(stream: ByteStream) -> None:
    """Be the peer, and close before a hello."""
    preamble = await handshake.read_preamble(stream)
    await handshake.answer_session(
        stream,
        preamble,
        identity=B,
        is_pinned=lambda key: True,
        lowest_version=lambda key: 1,
        on_version=lambda key, error: None,
    )
    await stream.aclose()


async def responder(
    stream: ByteStream,
    *,
    identity: Identity = B,
    lowest: int = 1,
    versions: tuple[int, int] = (1, 1),
    seen: list[str] | None = None,
    answering: Callable[[Link], Awaitable[None]] | None = None,
) -> None:
    """Be a peer that knows A, until the other side goes."""
    log = [] if seen is None else seen
    try:
        preamble = await handshake.read_preamble(stream)
        link = await handshake.answer_session(
            stream,
            preamble,
            identity=identity,
            is_pinned=lambda key: key == A.noise_public,
            lowest_version=lambda key: lowest,
            on_version=lambda key, error: log.append(error.hint or ""),
            versions=versions,
        )
        await handshake.hear_hello(link)
        log.append("hello")
        await (answering or answer_rightly)(link)
        async with open_link(link):
            await link.receive()
    except HandshakeError:
        await stranger(stream)
    except (LinkLostError, VersionError):
        pass
    await trio.sleep_forever()


async def answer_rightly(link: Link) -> None:
    await handshake.answer_hello(link, answer)


@asynccontextmanager
async def routes(
    *responders: Callable[[ByteStream], Awaitable[None]],
) -> AsyncIterator[list[MemoryRoute]]:
    async with trio.open_nursery() as nursery:
        yield [MemoryRoute(nursery, f"r{i}:1", each) for i, each in enumerate(responders)]
        nursery.cancel_scope.cancel()


async def reach(candidates: Sequence[Route], **options: object) -> Link:
    given = {"identity": A, "peer_key": B.noise_public, "hello": hello("facts"), "name": "ward-b"}
    return await dial(candidates, **{**given, **options})  # type: ignore[arg-type]


async def test_right_one_among_silent_and_foreign_wins_at_once(autojump_clock: MockClock) -> None:
    foreign = partial(responder, identity=C)
    with trio.fail_after(3600):
        async with routes(silent, foreign, responder, silent) as candidates:
            start = trio.current_time()
            link = await reach(candidates)
            assert trio.current_time() == start
            assert link.address == "r2:1"
            assert link.hello.name == "b"
            for loser in (0, 1, 3):
                await candidates[loser].closed.wait()
            await link.stream.aclose()


async def test_only_one_of_several_right_routes_says_hello(autojump_clock: MockClock) -> None:
    """The responder lets a second session of the same conversation replace the first."""
    seen: list[str] = []
    peer = partial(responder, seen=seen)
    with trio.fail_after(3600):
        async with routes(*[peer] * 8) as candidates:
            link = await reach(candidates)
            await trio.testing.wait_all_tasks_blocked()
            assert seen == ["hello"]
            await link.stream.aclose()


async def test_next_route_says_hello_when_the_first_dies_in_it(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with routes(dies, responder) as candidates:
            link = await reach(candidates)
            assert link.address == "r1:1"
            await link.stream.aclose()


async def test_nobody_there_names_every_address_and_why(autojump_clock: MockClock) -> None:
    class Refused:
        address = "10.0.0.1:17820"

        async def __call__(self) -> ByteStream:
            raise ConnectionRefusedError(111, "Connection refused")

    class Nowhere:
        address = "10.0.0.2:17820"

        async def __call__(self) -> ByteStream:
            await trio.sleep_forever()
            raise AssertionError

    with trio.fail_after(3600):
        async with routes(stranger, partial(responder, identity=C)) as candidates:
            with pytest.raises(DialError) as caught:
                await reach([Refused(), Nowhere(), *candidates])
    assert caught.value.wrong_identity == ("r0:1", "r1:1")
    lines = "\n".join(sorted(caught.value.tried))
    assert "10.0.0.1:17820: refused: nothing listens there" in lines
    assert "10.0.0.2:17820: no answer within 5 s" in lines
    unknown = "answers, but is not ward-b, or does not know this workstation"
    assert f"r0:1: {unknown}" in lines
    assert f"r1:1: {unknown}" in lines
    assert caught.value.retryable


async def test_who_hangs_is_not_taken_for_someone_else(autojump_clock: MockClock) -> None:
    """Its kernel takes the connection; who does not know us closes it a little later."""
    late = partial(stranger, late=limits.HANDSHAKE_GRACE_SECONDS / 2)
    with trio.fail_after(3600):
        async with routes(silent, late, answers_no_hello, dies) as candidates:
            start = trio.current_time()
            with pytest.raises(DialError) as caught:
                await reach(candidates)
            assert trio.current_time() - start < 2 * limits.HANDSHAKE_SECONDS
            for candidate in candidates:
                await candidate.closed.wait()
    assert caught.value.tried == (
        "r0:1: takes the connection, but does not answer",
        "r1:1: answers, but is not ward-b, or does not know this workstation",
        "r2:1: takes the connection, but does not answer",
        "r3:1: is ward-b, but ended the connection",
    )
    assert caught.value.wrong_identity == ("r1:1",)
    assert caught.value.retryable


async def answers_no_hello(stream: ByteStream) -> None:
    """Be the peer, and hang when it is time to say hello."""

    async def hangs(link: Link) -> None:
        await trio.sleep_forever()

    await responder(stream, answering=hangs)


async def test_no_address_at_all_is_an_error_of_its_own() -> None:
    with pytest.raises(DialError, match="ward-b cannot be reached: no address is known"):
        await reach([])


async def test_more_addresses_than_allowed_are_not_dialled(autojump_clock: MockClock) -> None:
    async with routes(*[silent] * (limits.MAX_ROUTES + 5)) as candidates:
        with pytest.raises(DialError) as caught:
            await reach(candidates)
    assert len(caught.value.tried) == limits.MAX_ROUTES


@pytest.mark.parametrize(
    ("ours", "theirs", "our_hint", "their_hint"),
    [
        ((1, 1), (2, 3), "this workstation", "the other workstation"),
        ((3, 4), (1, 2), "ward-b", "this workstation"),
    ],
)
async def test_no_common_version_says_on_both_sides_which_one_to_update(
    autojump_clock: MockClock,
    ours: tuple[int, int],
    theirs: tuple[int, int],
    our_hint: str,
    their_hint: str,
) -> None:
    seen: list[str] = []
    with trio.fail_after(3600):
        async with routes(partial(responder, versions=theirs, seen=seen), silent) as candidates:
            with pytest.raises(VersionError) as caught:
                await reach(candidates, versions=ours)
    assert caught.value.hint == f"update medp2p on {our_hint}"
    assert seen == [f"update medp2p on {their_hint}"]


@pytest.mark.parametrize(
    ("ours", "our_lowest", "theirs", "their_lowest", "our_hint", "their_hint"),
    [
        # they were put back to an older program
        ((1, 2), 2, (1, 1), 2, "ward-b", "this workstation"),
        ((1, 2), 2, (1, 1), 1, "ward-b", "this workstation"),
        # we were: nothing is even sent
        ((1, 1), 2, (1, 2), 2, "this workstation", None),
        # we were, and have forgotten it
        ((1, 1), 1, (1, 2), 2, "this workstation", "the other workstation"),
    ],
)
async def test_a_version_once_spoken_is_never_undercut(
    autojump_clock: MockClock,
    ours: tuple[int, int],
    our_lowest: int,
    theirs: tuple[int, int],
    their_lowest: int,
    our_hint: str,
    their_hint: str | None,
) -> None:
    seen: list[str] = []
    peer = partial(responder, versions=theirs, lowest=their_lowest, seen=seen)
    with trio.fail_after(3600):
        async with routes(peer) as candidates:
            with pytest.raises(VersionError) as caught:
                await reach(candidates, versions=ours, lowest_version=our_lowest)
    assert caught.value.hint == f"update medp2p on {our_hint}"
    assert seen == ([f"update medp2p on {their_hint}"] if their_hint else [])


async def test_highest_common_version_is_taken(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with routes(partial(responder, versions=(1, 5))) as candidates:
            link = await reach(candidates, versions=(2, 3))
            assert link.version == 3
            await link.stream.aclose()


async def test_hello_that_answers_something_else_is_refused(autojump_clock: MockClock) -> None:
    async def wrongly(link: Link) -> None:
        link._queue.put_message(encode(hello("ping", "b")))
        await link._queue.send_first()

    with trio.fail_after(3600):
        async with routes(partial(responder, answering=wrongly)) as candidates:
            with pytest.raises(DialError, match="hello for 'ping'"):
                await reach(candidates)


async def test_cancelled_dial_closes_every_connection(autojump_clock: MockClock) -> None:
    with trio.fail_after(3600):
        async with routes(silent, silent) as candidates:
            with trio.move_on_after(1):
                await reach(candidates)
            for candidate in candidates:
                await candidate.closed.wait()


async def test_own_key_is_never_dialled() -> None:
    with pytest.raises(LocalProtocolError, match="dial itself"):
        await reach([], peer_key=A.noise_public)


# --- sockets --------------------------------------------------------------------------------


@asynccontextmanager
async def listening(**options: object) -> AsyncIterator[int]:
    """Run B's listener on a free port of all addresses."""
    given: dict[str, object] = {
        "identity": B,
        "is_pinned": lambda key: key == A.noise_public,
        "make_hello": answer,
        "on_session": echo,
    }
    listeners = await open_listeners(None, 0)
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve, listeners, **{**given, **options}))  # type: ignore[arg-type]
        yield port
        nursery.cancel_scope.cancel()


async def echo(link: Link) -> None:
    """Give one message back."""
    message = await link.receive()
    assert not isinstance(message, ReceivedChunk)
    await link.send(message)
    await link.receive()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_dial_over_sockets_of_both_families(host: str) -> None:
    with trio.fail_after(10):
        async with listening() as port:
            link = await reach([tcp_route(host, port)])
            async with open_link(link):
                await link.send(DONE)
                assert await link.receive() == DONE


async def test_several_sockets_one_right_one_refused_one_foreign_one_silent() -> None:
    mute = socket.create_server(("127.0.0.1", 0))
    free = socket.create_server(("127.0.0.1", 0))
    refused = free.getsockname()[1]
    free.close()
    with mute, trio.fail_after(10):
        async with listening() as port, listening(identity=C) as foreign:
            start = trio.current_time()
            ports = [mute.getsockname()[1], refused, foreign, port]
            link = await reach([tcp_route("127.0.0.1", each) for each in ports])
            assert trio.current_time() - start < 1
            assert link.address == f"127.0.0.1:{port}"
            async with open_link(link):
                await link.send(DONE)
                assert await link.receive() == DONE


async def test_refused_port_and_unknown_name_are_told() -> None:
    with trio.fail_after(20):
        with pytest.raises(DialError) as caught:
            await reach([tcp_route("127.0.0.1", 1)])
        assert caught.value.tried == ("127.0.0.1:1: refused: nothing listens there",)
        assert caught.value.wrong_identity == ()
        with pytest.raises(DialError) as caught:
            await reach([tcp_route("no-such-host.invalid", 1)])
        assert len(caught.value.tried) == 1


async def test_our_own_listener_is_recognised() -> None:
    """MDNS may give our own address for a peer: no wait, no alarm."""
    with trio.fail_after(10):
        async with listening(identity=A) as port:
            for host in ("127.0.0.1", "::1"):
                with pytest.raises(DialError, match="this workstation itself") as caught:
                    await reach([tcp_route(host, port, own_ports={port})])
                assert caught.value.wrong_identity == ()


async def test_pairing_channel_binds_both_keys() -> None:
    found: list[tuple[bytes, bytes]] = []

    async def on_pairing(link: Link, handshake_hash: bytes, remote_static: bytes) -> None:
        found.append((handshake_hash, remote_static))
        message = await link.receive()
        assert not isinstance(message, ReceivedChunk)
        assert message == PairStart(number=7, spake=bytes(33))
        await link.send(PairRefused(code="not-open"))
        with suppress(LinkLostError):
            await link.receive()

    with trio.fail_after(10):
        async with listening(on_pairing=on_pairing) as port:
            channel = await dial_pairing(tcp_route("127.0.0.1", port), identity=C)
            async with open_link(channel.link) as link:
                await link.send(PairStart(number=7, spake=bytes(33)))
                assert await link.receive() == PairRefused(code="not-open")
            assert found == [(channel.handshake_hash, C.noise_public)]
            assert channel.remote_static == B.noise_public


async def test_pairing_with_ourselves_or_with_nobody_is_refused() -> None:
    with trio.fail_after(10):
        with pytest.raises(DialError, match="refused"):
            await dial_pairing(tcp_route("127.0.0.1", 1), identity=A)

        async def never(link: Link, handshake_hash: bytes, remote_static: bytes) -> None:
            raise AssertionError

        async with listening(on_pairing=never) as port:
            with pytest.raises(DialError, match="itself"):
                await dial_pairing(tcp_route("127.0.0.1", port), identity=B)


@pytest.mark.parametrize(
    ("waiter", "text", "wrong"),
    [
        (stranger, "answers, but does not pair now, or is not medp2p", ("r0:1",)),
        (silent, "takes the connection, but does not answer", ()),
    ],
)
async def test_pairing_with_who_does_not_pair(
    autojump_clock: MockClock,
    waiter: Callable[[ByteStream], Awaitable[None]],
    text: str,
    wrong: tuple[str, ...],
) -> None:
    with trio.fail_after(3600):
        async with routes(waiter) as candidates:
            with pytest.raises(DialError) as caught:
                await dial_pairing(candidates[0], identity=A)
            await candidates[0].closed.wait()
    assert caught.value.tried == (f"r0:1: {text}",)
    assert caught.value.wrong_identity == wrong


async def test_one_socket_that_meets_itself_is_recognised() -> None:
    """TCP connects a port to itself when both ends pick it at once."""
    with trio.fail_after(10):
        made = trio.socket.socket()
        await made.bind(("127.0.0.1", 0))
        await made.connect(made.getsockname())
        stream = SocketByteStream(trio.SocketStream(made))
        assert _is_self(stream, ())
        await stream.aclose()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("all tries failed"), "all tries failed"),
        (OSError(113, "x"), "no route to host"),
        (ExceptionGroup("x", [OSError(111, "x"), OSError(113, "y")]), "refused"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "no such name"),
        (socket.gaierror(socket.EAI_NODATA, "x"), "no such name"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "the name cannot be looked up now"),
        (socket.gaierror(socket.EAI_FAIL, "x"), "the name cannot be looked up"),
    ],
)
def test_what_the_system_said_is_told(error: Exception, text: str) -> None:
    assert text in _why(error)
    assert "[errno" not in _why(error).lower()


async def test_an_interface_that_is_not_there_is_no_name() -> None:
    with pytest.raises(UnreachableError, match="no network interface 'no-such0'"):
        await connect(tcp_route("fe80::1%no-such0", 1))
