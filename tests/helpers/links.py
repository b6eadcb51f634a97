"""Links between two workstations of a test, over memory streams: real Noise, real messages."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Literal

import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from medp2p import limits
from medp2p.net import handshake
from medp2p.net.handshake import Identity
from medp2p.net.link import Link, ReceivedChunk, open_link
from medp2p.net.stream import ByteStream, SocketByteStream
from medp2p.proto.frames import ChunkHeader
from medp2p.proto.messages import (
    PROTOCOL_LOWEST,
    Answer,
    Facts,
    FactsAck,
    Hello,
    Need,
    Offer,
    Page,
)

TRANSFER = b"\x07" * 16


class TrioByteStream:
    """Any trio stream as a ByteStream, for tasks only: memory streams."""

    def __init__(self, stream: trio.abc.Stream, address: str = "memory") -> None:
        self._stream = stream
        self._address = address

    @property
    def address(self) -> str:
        """See ByteStream."""
        return self._address

    async def receive_into(self, view: memoryview) -> int:
        """See ByteStream."""
        data = await self._stream.receive_some(len(view))
        view[: len(data)] = data
        return len(data)

    def receive_ready(self, view: memoryview) -> int:
        """See ByteStream."""
        return 0

    async def send_some(self, data: memoryview) -> int:
        """See ByteStream."""
        piece = bytes(data[: limits.MAX_NOISE_BYTES])
        await self._stream.send_all(piece)
        return len(piece)

    def send_ready(self, data: memoryview, patience: float) -> tuple[int, float]:
        """See ByteStream."""
        return 0, 0.0

    async def aclose(self) -> None:
        """See ByteStream."""
        await trio.aclose_forcefully(self._stream)


Kind = Literal["transfer", "facts", "ping"]


def identity(seed: int) -> Identity:
    """Return the keys of workstation number ``seed``."""
    private = X25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Identity(private.private_bytes_raw(), private.public_key().public_bytes_raw())


A, B, C = identity(1), identity(2), identity(3)


def hello(kind: Kind = "transfer", name: str = "a", features: Sequence[str] = ()) -> Hello:
    """Return what a workstation tells."""
    return Hello(
        software="medp2p test",
        features=list(features),
        run=b"\x01" * 16,
        sign_key=b"\x02" * 32,
        clock_ms=1,
        kind=kind,
        transfer=TRANSFER if kind == "transfer" else None,
        name=name,
    )


def answer(peer_key: bytes, theirs: Hello, features: Sequence[str] = ()) -> Hello:
    """Answer a hello as workstation "b"."""
    return Hello(
        software="medp2p test",
        features=list(features),
        run=b"\x03" * 16,
        sign_key=b"\x04" * 32,
        clock_ms=1,
        kind=theirs.kind,
        transfer=theirs.transfer,
        index=theirs.index,
        name="b",
    )


@asynccontextmanager
async def sockets() -> AsyncIterator[tuple[SocketByteStream, SocketByteStream]]:
    """Both ends of a TCP connection on loopback."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    left = SocketByteStream(await trio.open_tcp_stream("127.0.0.1", port))
    right = SocketByteStream(await listener.accept())
    await listener.aclose()
    try:
        yield left, right
    finally:
        await left.aclose()
        await right.aclose()


async def shake_hands(
    left: ByteStream,
    right: ByteStream,
    kind: Kind = "transfer",
    features: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> tuple[Link, Link]:
    """Return both ends of a session, hellos exchanged, not running."""
    links: list[Link] = []

    async def respond() -> None:
        link = await handshake.answer_session(
            right,
            await handshake.read_preamble(right),
            identity=B,
            is_pinned=lambda key: key == A.noise_public,
            lowest_version=lambda key: PROTOCOL_LOWEST,
            on_version=lambda key, error: None,
        )
        await handshake.hear_hello(link)
        await handshake.answer_hello(link, partial(answer, features=features[1]))
        links.append(link)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(respond)
        link = await handshake.prove_responder(left, A, B.noise_public, PROTOCOL_LOWEST)
        await handshake.say_hello(link, hello(kind, features=features[0]))
    return link, links[0]


@asynccontextmanager
async def linked(
    kind: Kind = "transfer",
    *,
    unbuffered: bool = False,
    features: tuple[Sequence[str], Sequence[str]] = ((), ()),
) -> AsyncIterator[tuple[Link, Link]]:
    """Run both ends of a session over a pair of memory streams.

    Unbuffered, a byte leaves one side only when the other takes it, as with full sockets.
    """
    left: trio.abc.Stream
    right: trio.abc.Stream
    if unbuffered:
        left, right = trio.testing.lockstep_stream_pair()
    else:
        left, right = trio.testing.memory_stream_pair()
    pair = await shake_hands(TrioByteStream(left), TrioByteStream(right), kind, features)
    async with AsyncExitStack() as stack:
        for link in pair:
            await stack.enter_async_context(open_link(link))
        yield pair


async def to_pages(sender: Link, receiver: Link, length: int) -> None:
    """Lead a transfer conversation to where the manifest may flow."""
    offer = Offer(
        transfer=TRANSFER,
        offer=b"\x05" * 32,
        layout=1,
        salt=b"\x06" * 32,
        length=length,
        manifest=b"\x08" * 32,
        entries=1,
        files=1,
        file_bytes=max(length - 1024, 0),
        priority="routine",
        created_ms=1,
        label=b"",
        note="",
    )
    ack = FactsAck(number=0)
    done = Facts(facts=[], last=True)
    await sender.send(done)
    await receiver.send(done)
    for link in (sender, receiver):
        assert await link.receive() == done
        await link.send(ack)
    for link in (sender, receiver):
        assert await link.receive() == ack
    await sender.send(offer)
    assert await receiver.receive() == offer
    await receiver.send(Answer(state="accepted"))
    await sender.receive()


async def to_streaming(sender: Link, receiver: Link, length: int) -> None:
    """Lead a transfer conversation to where chunks may flow, all of them needed."""
    await to_pages(sender, receiver, length)
    chunks = -(-length // limits.CHUNK_BYTES)
    await sender.send(Page(number=0, entries=b"x", last=True))
    await receiver.receive()
    await receiver.send(Need(ranges=[(0, chunks)], last=True))
    await sender.receive()


def header(index: int, data: bytes | bytearray) -> ChunkHeader:
    """Return the header of a chunk whose digest does not matter."""
    return ChunkHeader(index, len(data), bytes([index % 256]) * 32)


async def send_chunk(link: Link, index: int, data: bytes | bytearray) -> None:
    """Reserve, seal and push one chunk; sealing here, in the trio thread, keeps tests exact."""
    slot = await link.reserve_chunk(len(data))
    slot.seal(header(index, data), memoryview(data))
    slot.push()


async def take_chunk(link: Link) -> tuple[int, bytes]:
    """Receive and open one chunk."""
    chunk = await link.receive()
    assert isinstance(chunk, ReceivedChunk), chunk
    out = bytearray(chunk.header.length)
    chunk.open_into(memoryview(out))
    chunk.release()
    return chunk.header.index, bytes(out)
