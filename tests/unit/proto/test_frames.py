import contextlib
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.frames import (
    CHUNK_HEADER_BYTES,
    PACKED_HEADER_BYTES,
    ChunkHeader,
    ChunkStart,
    ControlFrame,
    ControlHeader,
    FrameReader,
    Packing,
    decode_frame_header_untrusted,
    encode_control,
)
from medp2p.proto.records import ReceiveCipher, SendCipher, record_count, sealed_bytes

KEY = bytes(range(32))
DIGEST = bytes(32)
HELLO = b"hello"


class Sender:
    """Turns messages and chunks into the bytes of the wire."""

    def __init__(self) -> None:
        self.cipher = SendCipher(KEY)

    def body(self, plain: bytes) -> bytes:
        out = bytearray(sealed_bytes(len(plain)))
        nonce = self.cipher.reserve(record_count(len(plain)))
        self.cipher.seal_into(nonce, memoryview(plain), memoryview(out))
        return bytes(out)

    def control(self, message: bytes) -> bytes:
        return self.body(encode_control(message))

    def chunk(self, index: int, data: bytes) -> bytes:
        return self.body(ChunkHeader(index, len(data), DIGEST).encode()) + self.body(data)

    def packed(self, index: int, length: int, data: bytes) -> bytes:
        """A compressed chunk: it has the nonces of its plain length, and uses the first ones."""
        header = ChunkHeader(index, length, DIGEST, Packing.ZSTD, len(data))
        wire = self.body(header.encode()) + self.body(data)
        if unused := record_count(length) - record_count(len(data)):
            self.cipher.reserve(unused)
        return wire


class Receiver:
    """Reads the wire as a link does: at most what the reader wants, or whatever is given."""

    def __init__(self, *, pairing: bool = False) -> None:
        self.cipher = ReceiveCipher(KEY)
        self.reader = FrameReader(self.cipher, pairing=pairing)
        self.got: list[bytes | tuple[int, bytes]] = []
        self.chunk: tuple[ChunkStart, bytearray] | None = None

    def feed(self, data: bytes) -> None:
        while data:
            if self.chunk is None:
                self._take(self.reader.receive_data_untrusted(data))
                data = b""
            else:
                start, sealed = self.chunk
                missing = start.sealed_bytes - len(sealed)
                sealed += data[:missing]
                data = data[missing:]
            self._finish()

    def _take(self, frames: Sequence[ControlFrame | ChunkStart]) -> None:
        for frame in frames:
            if isinstance(frame, ControlFrame):
                self.got.append(frame.body)
            else:
                sealed = bytearray(frame.sealed_bytes)
                assert self.reader.want == 0
                count = self.reader.take_buffered(memoryview(sealed))
                self.chunk = frame, sealed[:count]

    def _finish(self) -> None:
        while self.chunk is not None and len(self.chunk[1]) == self.chunk[0].sealed_bytes:
            start, sealed = self.chunk
            out = bytearray(start.header.body)
            self.cipher.open_into(start.first_nonce, memoryview(sealed), memoryview(out))
            self.got.append((start.header.index, bytes(out)))
            self.chunk = None
            self._take(self.reader.chunk_taken())


def sample() -> tuple[bytes, list[bytes | tuple[int, bytes]]]:
    sender = Sender()
    sent: list[bytes | tuple[int, bytes]] = []
    wire = sender.control(HELLO)
    sent.append(HELLO)
    for index, size in enumerate((1, 65519, 65520)):
        wire += sender.chunk(index, bytes([index]) * size)
        sent.append((index, bytes([index]) * size))
        wire += sender.control(b"m" * size)
        sent.append(b"m" * size)
    for index, (length, size) in enumerate(((limits.CHUNK_BYTES, 1), (65520, 65519), (2, 1)), 3):
        wire += sender.packed(index, length, b"p" * size) + sender.control(b"after")
        sent += [(index, b"p" * size), b"after"]
    wire += sender.chunk(9, b"a") + sender.chunk(8, b"b")
    return wire, [*sent, (9, b"a"), (8, b"b")]


def pieces(wire: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(wire), size):
        yield wire[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 65537, 65538, 1 << 30])
def test_any_cutting_gives_the_same_frames(size: int) -> None:
    wire, sent = sample()
    receiver = Receiver()
    for piece in pieces(wire, size):
        receiver.feed(piece)
    assert receiver.got == sent
    assert receiver.reader.idle


def test_feeding_what_it_wants_never_buffers_a_chunk() -> None:
    wire, sent = sample()
    receiver = Receiver()
    while wire:
        want = receiver.reader.want
        if receiver.chunk is not None:
            want = receiver.chunk[0].sealed_bytes - len(receiver.chunk[1])
        assert want > 0
        receiver.feed(wire[:want])
        wire = wire[want:]
        if receiver.chunk is not None and not receiver.chunk[1]:
            assert receiver.reader.take_buffered(memoryview(bytearray(10))) == 0
    assert receiver.got == sent


@pytest.mark.parametrize("size", [1, 65513, 65514, 65515, limits.MAX_MESSAGE_BYTES])
def test_messages_at_the_borders(size: int) -> None:
    sender, receiver = Sender(), Receiver()
    receiver.feed(sender.control(HELLO) + sender.control(b"x" * size) + sender.control(b"tail"))
    assert receiver.got == [HELLO, b"x" * size, b"tail"]


def test_an_end_inside_a_frame_is_seen() -> None:
    sender = Sender()
    wire = sender.control(HELLO)
    for cut in (1, 2, len(wire) - 1):
        receiver = Receiver()
        receiver.feed(wire[:cut])
        assert not receiver.reader.idle
        assert not receiver.got
    long = Sender().control(b"x" * 16000)
    receiver = Receiver()
    receiver.feed(long)
    assert receiver.reader.idle


def test_an_end_between_the_records_of_a_frame_is_seen() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.feed(sender.control(HELLO))
    receiver.feed(sender.control(b"x" * 70_000)[:65537])
    assert not receiver.reader.idle


def test_the_first_message_is_small() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.feed(sender.control(b"x" * limits.MAX_HELLO_BYTES))
    assert receiver.reader.hello_done
    for size in (limits.MAX_HELLO_BYTES + 1, limits.MAX_MESSAGE_BYTES):
        receiver = Receiver()
        with pytest.raises(RemoteProtocolError, match="unexpected length"):
            receiver.feed(Sender().control(b"x" * size)[:2])


def test_a_first_message_that_claims_more_is_refused_at_its_first_record() -> None:
    sender, receiver = Sender(), Receiver()
    record = sender.body(encode_control(b"x" * 20_000)[:1000])
    with pytest.raises(RemoteProtocolError, match="first message of 20000"):
        receiver.feed(record)


def test_a_chunk_cannot_come_first() -> None:
    with pytest.raises(RemoteProtocolError, match="chunk before"):
        Receiver().feed(Sender().chunk(0, b"x"))


def test_messages_of_pairing_stay_small_and_chunks_out() -> None:
    sender, receiver = Sender(), Receiver(pairing=True)
    receiver.feed(sender.control(b"start") + sender.control(b"x" * limits.MAX_HELLO_BYTES))
    assert len(receiver.got) == 2
    assert not receiver.reader.hello_done
    with pytest.raises(RemoteProtocolError, match="chunk before"):
        receiver.feed(sender.chunk(0, b"x"))


@pytest.mark.parametrize("header", [b"", b"\0\0\0\0\5", b"\2\0\0\0\1x", b"\0\0\0\0\0x", b"\1"])
def test_records_that_are_no_frames(header: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_frame_header_untrusted(header)


@pytest.mark.parametrize(
    ("flags", "length"), [(1, 1), (0, 0), (0, limits.CHUNK_BYTES + 1), (0, 2**32 - 1)]
)
def test_chunk_headers_out_of_bounds(flags: int, length: int) -> None:
    raw = bytes((1, flags)) + bytes(4) + length.to_bytes(4, "big") + DIGEST
    assert len(raw) == CHUNK_HEADER_BYTES
    with pytest.raises(RemoteProtocolError, match="out of bounds"):
        decode_frame_header_untrusted(raw)
    with pytest.raises(LocalProtocolError, match="out of bounds"):
        ChunkHeader(0, length, DIGEST, Packing(flags))


@pytest.mark.parametrize(
    ("flags", "length", "packed"),
    [
        *((0, 9, 8), (1, 9, 9), (1, 9, 10), (1, 9, 0), (1, 9, 2**32 - 1), (1, 1, 1)),
        *((2, 9, 8), (4, 9, 8), (5, 9, 8), (255, 9, 8)),
        *((1, 0, 1), (1, limits.CHUNK_BYTES + 1, 8), (3, 2**32 - 1, 2**31)),
    ],
)
def test_headers_of_compressed_chunks_out_of_bounds(flags: int, length: int, packed: int) -> None:
    raw = bytes((1, flags)) + bytes(4) + length.to_bytes(4, "big") + DIGEST
    raw += packed.to_bytes(4, "big")
    assert len(raw) == PACKED_HEADER_BYTES
    with pytest.raises(RemoteProtocolError, match=r"out of bounds|without a body"):
        decode_frame_header_untrusted(raw)


@pytest.mark.parametrize("packing", [Packing.ZSTD, Packing.PLANES])
def test_headers_of_compressed_chunks_round_trip(packing: Packing) -> None:
    header = ChunkHeader(7, limits.CHUNK_BYTES, bytes(range(32)), packing, 70_000)
    raw = header.encode()
    assert len(raw) == PACKED_HEADER_BYTES
    assert decode_frame_header_untrusted(raw) == header
    assert header.sealed == sealed_bytes(70_000)
    assert header.wire_bytes == sealed_bytes(PACKED_HEADER_BYTES) + sealed_bytes(70_000)
    with pytest.raises(RemoteProtocolError, match="not a frame"):
        decode_frame_header_untrusted(raw[:-1])
    with pytest.raises(RemoteProtocolError, match="out of bounds"):
        decode_frame_header_untrusted(raw[:CHUNK_HEADER_BYTES])
    with pytest.raises(LocalProtocolError, match="out of bounds"):
        ChunkHeader(7, 10, DIGEST, packing)
    with pytest.raises(LocalProtocolError, match="out of bounds"):
        ChunkHeader(7, 10, DIGEST, Packing.NONE, 5)


def test_unused_nonces_of_a_compressed_chunk_open_nothing() -> None:
    """They are skipped by both sides: what is sealed with one of them is not taken."""
    sender, receiver = Sender(), Receiver()
    receiver.feed(sender.control(HELLO))
    header = ChunkHeader(0, limits.CHUNK_BYTES, DIGEST, Packing.ZSTD, 5)
    receiver.feed(sender.body(header.encode()) + sender.body(b"tight"))
    assert receiver.got == [HELLO, (0, b"tight")]
    with pytest.raises(RemoteProtocolError, match="does not authenticate"):
        receiver.feed(sender.control(b"with the nonce after the body's"))


def test_headers_round_trip() -> None:
    header = ChunkHeader(2**32 - 1, limits.CHUNK_BYTES, bytes(range(32)))
    assert decode_frame_header_untrusted(header.encode()) == header
    assert header.sealed == sealed_bytes(limits.CHUNK_BYTES)
    assert decode_frame_header_untrusted(encode_control(b"x" * 9)) == ControlHeader(9)


def test_messages_that_nobody_takes_are_not_sent() -> None:
    for size in (0, limits.MAX_MESSAGE_BYTES + 1):
        with pytest.raises(LocalProtocolError, match="message of"):
            encode_control(b"x" * size)


def test_a_short_record_inside_a_message_is_refused() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.feed(sender.control(HELLO))
    plain = encode_control(b"x" * 70_000)
    with pytest.raises(RemoteProtocolError, match="unexpected length"):
        receiver.feed(sender.body(plain[:65518]))
    sender, receiver = Sender(), Receiver()
    receiver.feed(sender.control(HELLO) + sender.body(plain[:65519]))
    with pytest.raises(RemoteProtocolError, match="unexpected length"):
        receiver.feed(sender.body(plain[65519:] + b"more"))


def test_an_error_stays() -> None:
    sender, receiver = Sender(), Receiver()
    good = sender.control(HELLO)
    with pytest.raises(RemoteProtocolError) as first:
        receiver.feed(b"\0\0")
    with pytest.raises(RemoteProtocolError) as second:
        receiver.feed(good)
    assert first.value is second.value


def test_the_caller_keeps_the_order() -> None:
    sender, receiver = Sender(), Receiver()
    reader = receiver.reader
    receiver.feed(sender.control(HELLO))
    for call in (reader.chunk_taken, lambda: reader.take_buffered(memoryview(bytearray(1)))):
        with pytest.raises(LocalProtocolError, match="no chunk"):
            call()
    reader.receive_data_untrusted(sender.chunk(0, b"x" * 10)[: CHUNK_HEADER_BYTES + 18])
    with pytest.raises(LocalProtocolError, match="a chunk is pending"):
        reader.receive_data_untrusted(b"x")


def test_buffered_records_are_handed_over_in_parts() -> None:
    sender, reader = Sender(), FrameReader(ReceiveCipher(KEY))
    wire = sender.control(HELLO) + sender.chunk(0, b"x" * 10) + sender.control(b"tail")
    _, start = reader.receive_data_untrusted(wire)
    assert isinstance(start, ChunkStart)
    sealed = bytearray(start.sealed_bytes)
    assert reader.take_buffered(memoryview(sealed)[:20]) == 20
    assert reader.take_buffered(memoryview(sealed)[20:]) == 8
    assert reader.chunk_taken() == [ControlFrame(b"tail")]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    receiver = Receiver()
    try:
        receiver.feed(data)
    except RemoteProtocolError:
        return
    assert not receiver.got


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_hostile_plain_records_raise_nothing_else(plain: bytes, hello: bool) -> None:
    sender, receiver = Sender(), Receiver()
    if hello:
        receiver.feed(sender.control(HELLO))
    with contextlib.suppress(RemoteProtocolError):
        receiver.feed(sender.body(plain))


class Wire(RuleBasedStateMachine):
    """What arrives is what was sent, in order, however the network cuts it."""

    def __init__(self) -> None:
        super().__init__()
        self.sender, self.receiver = Sender(), Receiver()
        self.wire = self.sender.control(HELLO)
        self.sent: list[bytes | tuple[int, bytes]] = [HELLO]

    @rule(size=st.sampled_from([1, 300, 65514, 65515, 70_000]))
    def message(self, size: int) -> None:
        self.wire += self.sender.control(b"m" * size)
        self.sent.append(b"m" * size)

    @rule(size=st.sampled_from([1, 300, 65519, 65520]), index=st.integers(0, 2**32 - 1))
    def chunk(self, size: int, index: int) -> None:
        self.wire += self.sender.chunk(index, b"c" * size)
        self.sent.append((index, b"c" * size))

    @rule(count=st.one_of(st.integers(1, 70), st.integers(60_000, 200_000)))
    def deliver(self, count: int) -> None:
        self.receiver.feed(self.wire[:count])
        self.wire = self.wire[count:]

    @invariant()
    def prefix(self) -> None:
        assert self.receiver.got == self.sent[: len(self.receiver.got)]

    def teardown(self) -> None:
        self.receiver.feed(self.wire)
        assert self.receiver.got == self.sent


TestWire = Wire.TestCase
