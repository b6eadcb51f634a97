"""Compressed chunks: zstd, each chunk on its own, with or without its bytes sorted into planes.

Images of 16-bit pixels hold a noisy byte and a quiet one in turn. With all bytes of even place
first and then all of odd place, zstd shrinks them a third further, in less time than without.

Nothing here is trusted: a frame may be hostile. What it may grow to and the memory it may take
are fixed before it is decoded, and a frame that does not give exactly the promised length is
refused. Whether the bytes are the right ones is for the chunk's digest.

Source: RFC 8878; docs/PROTOCOL.md, "Compressed chunks".
"""

from typing import Final

import zstandard

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.frames import Packing

#: First bytes of a zstd frame. A skippable frame, which holds nothing, has others.
_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_BLOCK_HEADER_BYTES: Final = 3
_CHECKSUM_BYTES: Final = 4
#: Kinds of blocks: one byte that is repeated, and one that no encoder may write.
_REPEATED: Final = 1
_RESERVED: Final = 3


class Packer:
    """Compresses chunks. Holds contexts and buffers for one thread at a time."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdCompressor(level=limits.COMPRESSION_LEVEL)
        self._planes = bytearray(limits.CHUNK_BYTES)
        self._packed = bytearray(limits.CHUNK_BYTES)

    def choose(self, plain: bytearray, length: int) -> Packing:
        """Return by a sample how a chunk shrinks best; NONE if not to COMPRESSION_WORTH.

        Args:
            plain: The chunk is its beginning.
            length: Bytes of the chunk.
        """
        sample = _sample(plain, length)
        best, size = Packing.NONE, len(sample) * limits.COMPRESSION_WORTH
        for packing in (Packing.ZSTD, Packing.PLANES):
            data = sample if packing is Packing.ZSTD else sample[::2] + sample[1::2]
            if (shrunk := len(self._zstd.compress(data))) < size:
                best, size = packing, shrunk
        return best

    def pack(self, plain: bytearray, length: int, packing: Packing) -> memoryview | None:
        """Compress a chunk. Blocking; releases the GIL for most of it.

        Args:
            plain: The chunk is its beginning.
            length: Bytes of the chunk.
            packing: Not NONE.

        Returns:
            A view of the packer's own memory, good until the next call; None if the chunk does
            not shrink to COMPRESSION_WORTH of itself.

        Raises:
            LocalProtocolError: There is nothing to compress, or a chunk is not that long.
        """
        if packing is Packing.NONE or not 1 <= length <= min(len(plain), limits.CHUNK_BYTES):
            raise LocalProtocolError(f"compressing {length} bytes of a chunk")
        planes = packing is Packing.PLANES
        source = self._split(plain, length) if planes else memoryview(plain)[:length]
        room = memoryview(self._packed)[: int(length * limits.COMPRESSION_WORTH)]
        count: int = self._zstd.stream_reader(source, size=length).readinto(room)
        return room[:count] if count < len(room) else None

    def _split(self, plain: bytearray, length: int) -> memoryview:
        """Sort bytes into planes. Slices of bytearrays: those of views take ten times as long."""
        half = (length + 1) // 2
        self._planes[:half] = plain[:length:2]
        self._planes[half:length] = plain[1:length:2]
        return memoryview(self._planes)[:length]


def _sample(plain: bytearray, length: int) -> bytearray:
    pieces, size = limits.COMPRESSION_SAMPLE_PIECES, limits.COMPRESSION_SAMPLE_BYTES
    if length <= pieces * size:
        return plain[:length]
    part = length // pieces
    starts = (number * part + (part - size) // 2 for number in range(pieces))
    # Of even place, so that planes stay planes.
    return bytearray().join(plain[start & ~1 : (start & ~1) + size] for start in starts)


class Unpacker:
    """Decompresses chunks. Holds a context and a buffer for one thread at a time.

    They are made for the first chunk: where nothing is compressed it costs nothing.
    """

    def __init__(self) -> None:
        self._zstd: zstandard.ZstdDecompressor | None = None
        self._planes = bytearray()

    def unpack_untrusted(
        self, packed: memoryview, out: bytearray, length: int, packing: Packing
    ) -> None:
        """Decompress a chunk into the beginning of ``out``.

        Blocking; releases the GIL for most of it. Takes COMPRESSION_WINDOW_BYTES and one more
        chunk of memory at most, whatever the frame asks for.

        Args:
            packed: The body, decrypted.
            out: As long as the chunk or longer. After an error its contents are void.
            length: What the header promises, 1 to CHUNK_BYTES.
            packing: Not NONE.

        Raises:
            RemoteProtocolError: Not one whole zstd frame of that content, that tells its size,
                with a window in bounds and without a dictionary.
        """
        _check_frame(packed, length)
        if self._zstd is None:
            window = limits.COMPRESSION_WINDOW_BYTES
            self._zstd = zstandard.ZstdDecompressor(max_window_size=window)
        planes = packing is Packing.PLANES
        if planes and not self._planes:
            self._planes = bytearray(limits.CHUNK_BYTES)
        target = self._planes if planes else out
        try:
            count = self._zstd.stream_reader(packed).readinto(memoryview(target)[:length])
        except (zstandard.ZstdError, MemoryError):
            raise RemoteProtocolError("compressed chunk that is damaged") from None
        if count != length:
            raise RemoteProtocolError("compressed chunk of another length than it says")
        if planes:
            half = (length + 1) // 2
            out[:length:2] = target[:half]
            out[1:length:2] = target[half:length]


def _check_frame(packed: memoryview, length: int) -> None:
    """Look at a frame's header and its length before any memory is given for it.

    Raises:
        RemoteProtocolError: It may not be decoded.
    """
    if bytes(packed[: len(_MAGIC)]) != _MAGIC:
        raise RemoteProtocolError("compressed chunk that is no zstd frame")
    try:
        frame = zstandard.get_frame_parameters(packed)
    except zstandard.ZstdError:
        raise RemoteProtocolError("compressed chunk that is no zstd frame") from None
    if frame.content_size != length:
        raise RemoteProtocolError("compressed chunk of another length than it says")
    if frame.window_size > limits.COMPRESSION_WINDOW_BYTES or frame.dict_id:
        raise RemoteProtocolError("compressed chunk out of bounds")
    if _frame_length(packed, frame.has_checksum) != len(packed):
        raise RemoteProtocolError("compressed chunk that is not one zstd frame")


def _frame_length(packed: memoryview, has_checksum: bool) -> int:
    """Return where a frame ends as the headers of its blocks say; 0 if they make no sense.

    The decoder stops at the end of a frame without a word about what follows.

    Source: RFC 8878, 3.1.1.2.
    """
    at = zstandard.frame_header_size(packed)
    for _ in range(limits.COMPRESSION_BLOCKS):
        header = int.from_bytes(packed[at : at + _BLOCK_HEADER_BYTES], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        at += _BLOCK_HEADER_BYTES + (1 if kind == _REPEATED else size)
        if kind == _RESERVED or at > len(packed):
            break
        if last:
            return at + (_CHECKSUM_BYTES if has_checksum else 0)
    return 0
