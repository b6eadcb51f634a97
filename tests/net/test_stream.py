"""Sockets driven for bulk, and memory streams, through one suite."""

import hashlib
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
import trio.testing

from medp2p.errors import LinkLostError
from medp2p.net.stream import (
    ByteStream,
    SocketByteStream,
    place_of,
    plain_host,
    receive_exactly,
    send_all,
)
from tests.helpers.links import TrioByteStream, sockets

Pair = tuple[ByteStream, ByteStream]
Make = Callable[[], AbstractAsyncContextManager[Pair]]


@asynccontextmanager
async def memory() -> AsyncIterator[Pair]:
    left, right = trio.testing.memory_stream_pair()
    yield TrioByteStream(left), TrioByteStream(right)
    await left.aclose()
    await right.aclose()


both = pytest.mark.parametrize("make", [sockets, memory])


@both
async def test_bulk_arrives_whole_both_ways_at_once(make: Make) -> None:
    """More than any socket buffer holds, in views of odd sizes."""
    data = random.Random(1).randbytes(20_000_001)

    async def receive_all(stream: ByteStream) -> None:
        got = memoryview(bytearray(len(data)))
        filled = 0
        sizes = random.Random(2)
        while filled < len(got):
            view = got[filled : filled + sizes.randrange(1, 3_000_000)]
            filled += await stream.receive_into(view)
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()

    with trio.fail_after(60):
        async with make() as pair, trio.open_nursery() as nursery:
            for stream in pair:
                nursery.start_soon(send_all, stream, data)
                nursery.start_soon(receive_all, stream)


@both
async def test_end_of_stream(make: Make) -> None:
    with trio.fail_after(10):
        async with make() as (left, right):
            await send_all(left, b"last")
            await left.aclose()
            view = memoryview(bytearray(10))
            with pytest.raises(LinkLostError, match="closed the connection"):
                await receive_exactly(right, view)
            assert bytes(view[:4]) == b"last"
            assert await right.receive_into(view) == 0


@both
async def test_use_after_closing(make: Make) -> None:
    async with make() as (left, right):
        await left.aclose()
        await left.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await left.receive_into(memoryview(bytearray(1)))
        with pytest.raises(trio.ClosedResourceError):
            await left.send_some(memoryview(b"x"))
        await right.aclose()


@both
async def test_closing_wakes_who_waits(make: Make) -> None:
    async def wait(stream: ByteStream) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_into(memoryview(bytearray(1)))

    with trio.fail_after(10):
        async with make() as (left, _), trio.open_nursery() as nursery:
            nursery.start_soon(wait, left)
            await trio.testing.wait_all_tasks_blocked()
            await left.aclose()


@both
async def test_sending_to_who_has_gone_is_a_lost_link(make: Make) -> None:
    with trio.fail_after(10):
        async with make() as (left, right):
            await right.aclose()
            with pytest.raises(LinkLostError, match="network failed"):
                await send_all(left, bytes(20_000_000))


async def test_reset_is_a_broken_stream() -> None:
    with trio.fail_after(10):
        async with sockets() as (left, right):
            assert isinstance(right, SocketByteStream)
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # closing resets
            right._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            await right.aclose()
            with pytest.raises(trio.BrokenResourceError):
                await left.receive_into(memoryview(bytearray(1)))


async def test_cancelled_send_knows_what_was_taken() -> None:
    """So that the rest of a frame can still follow."""
    data = random.Random(3).randbytes(30_000_000)
    sent = 0
    with trio.fail_after(30):
        async with sockets() as (left, right):
            with trio.move_on_after(0.2):
                while True:
                    sent += await left.send_some(memoryview(data)[sent:])
            assert 0 < sent < len(data)
            got = bytearray(sent)
            await receive_exactly(right, memoryview(got))
            assert got == data[:sent]
            with trio.move_on_after(0.1) as scope:
                await right.receive_into(memoryview(bytearray(1)))
            assert scope.cancelled_caught


async def test_addresses_are_as_people_type_them() -> None:
    async with sockets() as (left, right):
        assert left.address.startswith("127.0.0.1:")
        assert right.address.startswith("127.0.0.1:")
    assert plain_host("::ffff:10.0.0.2") == "10.0.0.2"
    assert plain_host("fe80::1%eth0") == "fe80::1%eth0"
    assert plain_host("::ffff:a") == "::ffff:a"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (("10.0.0.1", 5), ("10.0.0.1", 5)),
        (("fd00::1", 5, 0, 0), ("fd00::1", 5)),
        (("fe80::1", 5, 0, 1), (f"fe80::1%{socket.if_indextoname(1)}", 5)),
        (("fe80::1", 5, 0, 999_999), ("fe80::1%999999", 5)),
        (("fe80::1%eth0", 5, 0, 1), ("fe80::1%eth0", 5)),
    ],
)
def test_a_link_local_address_keeps_its_interface(
    name: tuple[str | int, ...], place: tuple[str, int]
) -> None:
    """Without it who called from there could never be called back."""
    assert place_of(name) == place
