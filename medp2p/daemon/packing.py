"""Compression of what one transfer sends: whether, how, and doing it (docs/PROTOCOL.md).

Asked and told in the trio thread; ``pack`` itself runs in worker threads.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from medp2p import limits
from medp2p.daemon.compressing import Content, Pace
from medp2p.layout import FilePart, Layout
from medp2p.net.buffers import scratch
from medp2p.parcel.packed import is_packed
from medp2p.parcel.reader import Reader
from medp2p.proto.frames import Packing
from medp2p.proto.packing import Packer


@dataclass
class Room:
    """Memory that one worker call at a time uses.

    Attributes:
        plain: The chunk, as it was read.
        packer: Made when the first chunk is compressed: without that it costs nothing.
    """

    plain: bytearray
    packer: Packer | None = None


@contextmanager
def rooms() -> Iterator[list[Room]]:
    """Make room for each worker of a transfer; its memory is free at the end of the block."""
    with scratch(*[limits.CHUNK_BYTES] * limits.WORKERS) as buffers:
        made = [Room(buffer) for buffer in buffers]
        try:
            yield made
        finally:
            for room in made:
                room.packer = None


@dataclass(frozen=True, slots=True)
class Packed:
    """What came of a chunk that was to be compressed.

    Attributes:
        asked: How.
        packing: How it was; NONE: not at all.
        body: What travels.
        seconds: What that took.
    """

    asked: Packing
    packing: Packing
    body: memoryview
    seconds: float


class ChunkPacking:
    """Decides for the chunks of one transfer, and learns from each."""

    def __init__(self, reader: Reader, geometry: Layout, pace: Pace, *, allowed: bool) -> None:
        self._reader, self._geometry, self._allowed = reader, geometry, allowed
        self.pace = pace
        self._content = Content()
        #: The last file that was larger than a chunk, and whether it is compressed already.
        self._large: tuple[int, bool] = (-1, False)

    def next(self) -> Packing | None:
        """Return how the next chunk is to be compressed; NONE: by a sample; None: not at all."""
        return self._content.next() if self._allowed and self.pace.on else None

    def learn(self, packed: Packed) -> None:
        """Take in what came of a chunk."""
        self._content.learn(packed.asked, packed.packing)
        if packed.packing is not Packing.NONE:
            self.pace.packed(packed.seconds)

    def pack(self, index: int, room: Room, length: int, asked: Packing) -> Packed:
        """Compress a chunk if that is worth it. Blocking; for worker threads.

        Args:
            index: Number of the chunk.
            room: Holds the chunk, and then what comes out.
            length: Bytes of the chunk.
            asked: From ``next``.

        Raises:
            SourceChangedError, SourceError: As Reader.read_head.
        """
        began = time.perf_counter()
        packing, body = Packing.NONE, None
        if not self._packed_already(index, room.plain, length):
            if room.packer is None:
                room.packer = Packer()
            packing = asked or room.packer.choose(room.plain, length)
            if packing is not Packing.NONE:
                body = room.packer.pack(room.plain, length, packing)
        if body is None:
            packing, body = Packing.NONE, memoryview(room.plain)[:length]
        return Packed(asked, packing, body, time.perf_counter() - began)

    def _packed_already(self, index: int, plain: bytearray, length: int) -> bool:
        """Tell whether most of a chunk is of files that are compressed already."""
        start, at, count = index * limits.CHUNK_BYTES, 0, 0
        for part in self._geometry.segments(start, start + length):
            if isinstance(part, FilePart):
                count += part.length if self._is_packed(part, plain, at) else 0
                at += part.length
            else:
                at += len(part.data)
        return count > length // 2

    def _is_packed(self, part: FilePart, plain: bytearray, at: int) -> bool:
        last, answer = self._large
        if part.index == last:
            return answer
        if part.offset:
            answer = is_packed(self._reader.read_head(part.index))
        else:
            answer = is_packed(plain[at : at + min(part.length, limits.COMPRESSION_HEAD_BYTES)])
        if part.length < self._geometry.entries[part.index].size:
            self._large = (part.index, answer)
        return answer
