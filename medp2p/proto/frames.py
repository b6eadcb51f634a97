"""Frames: what lies in the records. Control messages, and chunks of the stream.

A frame starts with a record, never inside one. The first byte says what it is:

- 0, control: a 4-byte length follows, then the message, all in one body.
- 1, chunk: the header fills a record of its own; the chunk's bytes are the next body, as they
  are or compressed (proto.packing).

So a reader knows the size of everything before it buffers any of it, and a chunk goes from
the wire into its own buffer without passing through here. A chunk has as many nonces as its
plain length takes, also where compression needs fewer records: so its place among the frames
can be given away before anyone knows how far it shrinks. What is left of them is used by nobody.

Source: docs/PROTOCOL.md, "Frames".
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.records import (
    FULL_RECORD_BYTES,
    LENGTH_BYTES,
    RECORD_OVERHEAD,
    ReceiveCipher,
    record_count,
    sealed_bytes,
)

CONTROL: Final = 0
CHUNK: Final = 1

_CONTROL: Final = struct.Struct(">BI")
_CHUNK: Final = struct.Struct(">BBII32s")
_PACKED: Final = struct.Struct(">I")
CONTROL_HEADER_BYTES: Final = _CONTROL.size
CHUNK_HEADER_BYTES: Final = _CHUNK.size
#: That of a compressed chunk, which tells the length of its body too.
PACKED_HEADER_BYTES: Final = CHUNK_HEADER_BYTES + _PACKED.size

#: Feature of hello: compressed chunks are understood.
PACKING_FEATURE: Final = "zstd"


class Packing(IntEnum):
    """How the body of a chunk holds its bytes: the flags of its header.

    Bit 0: as one zstd frame; bit 1: before that all bytes of even place, then all of odd place.
    """

    NONE = 0
    ZSTD = 1
    PLANES = 3


@dataclass(frozen=True, slots=True)
class ControlHeader:
    """First bytes of a control frame.

    Attributes:
        length: Bytes of the message, without this header.
    """

    length: int


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """First record of a chunk frame.

    Attributes:
        index: Which chunk of the stream.
        length: Its plain bytes, 1 to CHUNK_BYTES.
        digest: What digest.chunk_digest gives for them, 32 bytes.
        packing: How they travel.
        packed: Bytes of the body if that is compressed, at least 1 and less than ``length``;
            otherwise 0.

    Raises:
        LocalProtocolError: A value is out of bounds.
    """

    index: int
    length: int
    digest: bytes
    packing: Packing = Packing.NONE
    packed: int = 0

    def __post_init__(self) -> None:
        if (
            not 0 <= self.index < 2**32
            or not 1 <= self.length <= limits.CHUNK_BYTES
            or len(self.digest) != 32
            or not 0 <= self.packed < self.length
            or bool(self.packing) != bool(self.packed)
        ):
            raise LocalProtocolError("chunk header out of bounds")

    @property
    def body(self) -> int:
        """Bytes of the body that follows."""
        return self.packed or self.length

    @property
    def sealed(self) -> int:
        """Bytes that the chunk's records take on the wire, after the header's own."""
        return sealed_bytes(self.body)

    @property
    def wire_bytes(self) -> int:
        """Bytes that the whole frame takes on the wire."""
        head = PACKED_HEADER_BYTES if self.packed else CHUNK_HEADER_BYTES
        return sealed_bytes(head) + self.sealed

    def encode(self) -> bytes:
        """Return the bytes of it: CHUNK_HEADER_BYTES, or PACKED_HEADER_BYTES."""
        head = _CHUNK.pack(CHUNK, self.packing, self.index, self.length, self.digest)
        return head + _PACKED.pack(self.packed) if self.packed else head


@dataclass(frozen=True, slots=True)
class ControlFrame:
    """A whole control message, still encoded."""

    body: bytes


@dataclass(frozen=True, slots=True)
class ChunkStart:
    """A chunk begins: the next bytes of the wire are its records.

    Attributes:
        header: What it says it is.
        first_nonce: For ReceiveCipher.open_into; reserved already.
        sealed_bytes: How many bytes of the wire are its records.
    """

    header: ChunkHeader
    first_nonce: int
    sealed_bytes: int


Frame = ControlFrame | ChunkStart


def encode_control(body: bytes) -> bytes:
    """Return the plain bytes of a control frame.

    Raises:
        LocalProtocolError: No peer would take a message of that size.
    """
    if not 1 <= len(body) <= limits.MAX_MESSAGE_BYTES:
        raise LocalProtocolError(f"message of {len(body)} bytes")
    return _CONTROL.pack(CONTROL, len(body)) + body


def decode_frame_header_untrusted(record: bytes | memoryview) -> ControlHeader | ChunkHeader:
    """Return the header that the first record of a frame begins with.

    Args:
        record: The plain bytes of that record.

    Raises:
        RemoteProtocolError: Not a frame of protocol 1.
    """
    kind = record[0] if len(record) else -1
    if kind == CONTROL and len(record) > CONTROL_HEADER_BYTES:
        length = _CONTROL.unpack_from(record)[1]
        if not 1 <= length <= limits.MAX_MESSAGE_BYTES:
            raise RemoteProtocolError(f"message of {length} bytes")
        return ControlHeader(length)
    if kind == CHUNK and len(record) in (CHUNK_HEADER_BYTES, PACKED_HEADER_BYTES):
        return _chunk_header_untrusted(record)
    raise RemoteProtocolError("not a frame")


def _chunk_header_untrusted(record: bytes | memoryview) -> ChunkHeader:
    _, flags, index, length, digest = _CHUNK.unpack_from(record)
    packed = 0
    if len(record) == PACKED_HEADER_BYTES:
        packed = _PACKED.unpack_from(record, CHUNK_HEADER_BYTES)[0]
        if not packed:
            raise RemoteProtocolError("compressed chunk without a body")
    try:
        return ChunkHeader(index, length, digest, Packing(flags), packed)
    except (ValueError, LocalProtocolError):
        raise RemoteProtocolError("chunk header out of bounds") from None


class FrameReader:
    """Cut the peer's records into frames, however the network has split them.

    Holds at most one record and the control message it belongs to. After an error it only
    raises again. Not thread-safe: one reader a connection.

    Feed at most ``want`` bytes at a time and a chunk never passes through here; what was fed
    beyond is kept and given back by ``take_buffered``.

    Args:
        cipher: Opens the records; nobody else may reserve from it while this reader reads.
        pairing: The peer is a stranger all along: its messages stay small, chunks refused.

    Attributes:
        hello_done: Whether the peer's first message is whole. Until then messages are held
            to MAX_HELLO_BYTES and chunks are refused.
    """

    def __init__(self, cipher: ReceiveCipher, *, pairing: bool = False) -> None:
        self.hello_done = False
        self._pairing = pairing
        self._cipher = cipher
        self._buffer = bytearray()
        self._message = bytearray()
        self._missing = 0
        self._chunk: ChunkStart | None = None
        self._error: RemoteProtocolError | None = None

    @property
    def want(self) -> int:
        """Bytes that complete what is being read; 0 while a chunk is pending."""
        if self._chunk is not None:
            return 0
        if len(self._buffer) < LENGTH_BYTES:
            return LENGTH_BYTES - len(self._buffer)
        return LENGTH_BYTES + self._size() - len(self._buffer)

    @property
    def idle(self) -> bool:
        """Whether the stream may end here: nothing is half read."""
        return not self._buffer and not self._missing and self._chunk is None

    def receive_data_untrusted(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take bytes from the peer; return the frames they complete, in order.

        A ChunkStart is always the last one; call chunk_taken before feeding more.

        Raises:
            RemoteProtocolError: The records do not authenticate or are not frames.
            LocalProtocolError: A chunk is pending.
        """
        if self._error is not None:
            raise self._error
        if self._chunk is not None:
            raise LocalProtocolError("a chunk is pending")
        self._buffer += data
        try:
            return self._frames()
        except RemoteProtocolError as error:
            self._error = error
            raise

    def take_buffered(self, out: memoryview) -> int:
        """Move records of the pending chunk that were fed already into out.

        Args:
            out: Room for the chunk's records; a shorter one gets as many as it holds.

        Returns:
            Bytes written; the caller reads the rest off the wire.

        Raises:
            LocalProtocolError: No chunk is pending.
        """
        if self._chunk is None:
            raise LocalProtocolError("no chunk is pending")
        count = min(len(self._buffer), self._chunk.sealed_bytes, len(out))
        out[:count] = self._buffer[:count]
        del self._buffer[:count]
        return count

    def chunk_taken(self) -> list[Frame]:
        """Go on after a chunk whose records the caller has all taken.

        Returns:
            Frames completed by bytes that were fed behind the chunk.

        Raises:
            RemoteProtocolError: As receive_data_untrusted.
            LocalProtocolError: No chunk is pending.
        """
        if self._chunk is None:
            raise LocalProtocolError("no chunk is pending")
        self._chunk = None
        return self.receive_data_untrusted(b"")

    def _size(self) -> int:
        """Return the length that the record in the buffer gives, if it may have that."""
        size = int.from_bytes(self._buffer[:LENGTH_BYTES], "big")
        if self._missing:
            fits = size == min(self._missing, limits.MAX_RECORD_BYTES) + limits.NOISE_TAG_BYTES
        else:
            fits = limits.NOISE_TAG_BYTES < size <= self._max_first()
        if not fits:
            self._error = RemoteProtocolError("record of an unexpected length")
            raise self._error
        return size

    def _max_first(self) -> int:
        if self.hello_done:
            return FULL_RECORD_BYTES - LENGTH_BYTES
        return CONTROL_HEADER_BYTES + limits.MAX_HELLO_BYTES + limits.NOISE_TAG_BYTES

    def _frames(self) -> list[Frame]:
        frames: list[Frame] = []
        while self._chunk is None and len(self._buffer) >= LENGTH_BYTES:
            end = LENGTH_BYTES + self._size()
            if len(self._buffer) < end:
                break
            frame = self._record(self._open(end))
            if frame is not None:
                frames.append(frame)
        return frames

    def _open(self, end: int) -> bytearray:
        """Open the record that fills the buffer up to end, and drop it from there."""
        plain = bytearray(end - RECORD_OVERHEAD)
        with memoryview(self._buffer)[:end] as sealed, memoryview(plain) as out:
            self._cipher.open_into(self._cipher.reserve(1), sealed, out)
        del self._buffer[:end]
        return plain

    def _record(self, plain: bytearray) -> Frame | None:
        if not self._missing:
            header = decode_frame_header_untrusted(bytes(plain))
            if isinstance(header, ChunkHeader):
                return self._start_chunk(header)
            self._start_message(header, len(plain))
        self._message += plain
        self._missing -= len(plain)
        if self._missing:
            return None
        frame = ControlFrame(bytes(memoryview(self._message)[CONTROL_HEADER_BYTES:]))
        self._message = bytearray()
        self.hello_done = not self._pairing
        return frame

    def _start_message(self, header: ControlHeader, first_bytes: int) -> None:
        total = CONTROL_HEADER_BYTES + header.length
        if not self.hello_done and header.length > limits.MAX_HELLO_BYTES:
            raise RemoteProtocolError(f"first message of {header.length} bytes")
        if first_bytes != min(total, limits.MAX_RECORD_BYTES):
            raise RemoteProtocolError("record of an unexpected length")
        self._missing = total

    def _start_chunk(self, header: ChunkHeader) -> ChunkStart:
        if not self.hello_done:
            raise RemoteProtocolError("chunk before the first message")
        nonce = self._cipher.reserve(record_count(header.length))  # also where fewer follow
        self._chunk = ChunkStart(header, nonce, header.sealed)
        return self._chunk
