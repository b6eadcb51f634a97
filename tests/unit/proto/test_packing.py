import contextlib
import random
import tracemalloc
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.frames import Packing
from medp2p.proto.packing import Packer, Unpacker

CHUNK = limits.CHUNK_BYTES
WAYS = [Packing.ZSTD, Packing.PLANES]
PACKER, UNPACKER = Packer(), Unpacker()


def unpacked(packed: bytes | memoryview, length: int, packing: Packing) -> bytes:
    out = bytearray(CHUNK)
    UNPACKER.unpack_untrusted(memoryview(packed), out, length, packing)
    assert not any(out[length:])  # nothing is written beyond the chunk
    return bytes(out[:length])


def image(size: int, seed: int = 1) -> bytes:
    """Pixels of 16 bits: a noisy byte and a quiet one."""
    grain = (
        random.Random(seed).randbytes(size // 2 + 1).translate(bytes(x // 4 for x in range(256)))
    )
    data = bytearray(2 * len(grain))
    data[::2], data[1::2] = grain, b"\4" * len(grain)
    return bytes(data[:size])


def frame(data: bytes, **parameters: int) -> bytes:
    """A zstd frame made otherwise than ours."""
    made = zstandard.ZstdCompressionParameters(**parameters)
    return zstandard.ZstdCompressor(compression_params=made).compress(data)


# --- what we compress ---------------------------------------------------------------------


@pytest.mark.parametrize("packing", WAYS)
@pytest.mark.parametrize("length", [100, 101, 10_240, 65_537, CHUNK - 1, CHUNK])
def test_comes_back(length: int, packing: Packing) -> None:
    plain = bytearray(image(CHUNK))
    packed = PACKER.pack(plain, length, packing)
    assert packed is not None
    assert len(packed) <= limits.COMPRESSION_WORTH * length
    assert unpacked(packed, length, packing) == plain[:length]
    assert plain == image(CHUNK)


@given(st.binary(min_size=1, max_size=5000), st.integers(1, 40), st.sampled_from(WAYS))
@settings(deadline=None)
@example(b"\0", 1, Packing.PLANES)
def test_comes_back_or_is_not_worth_it(part: bytes, times: int, packing: Packing) -> None:
    plain = bytearray(part * times)
    packed = PACKER.pack(plain, len(plain), packing)
    if packed is None:
        return
    assert len(packed) < limits.COMPRESSION_WORTH * len(plain)
    assert unpacked(packed, len(plain), packing) == plain


@pytest.mark.parametrize("packing", WAYS)
def test_what_does_not_shrink_by_a_tenth_stays(packing: Packing) -> None:
    noise = random.Random(2).randbytes(CHUNK)
    assert PACKER.pack(bytearray(noise), CHUNK, packing) is None
    almost = bytearray(noise[: CHUNK * 92 // 100].ljust(CHUNK, b"\0"))
    assert PACKER.pack(almost, CHUNK, packing) is None
    enough = bytearray(noise[: CHUNK * 85 // 100].ljust(CHUNK, b"\0"))
    assert PACKER.pack(enough, CHUNK, packing) is not None


def test_a_context_is_used_again() -> None:
    first = bytes(PACKER.pack(bytearray(image(CHUNK)), CHUNK, Packing.PLANES) or b"")
    PACKER.pack(bytearray(image(5000, seed=3)), 5000, Packing.ZSTD)
    again = PACKER.pack(bytearray(image(CHUNK)), CHUNK, Packing.PLANES)
    assert again is not None
    assert bytes(again) == first


def test_standard_tools_read_it() -> None:
    """One frame of RFC 8878 that tells its size: no dictionary, and no form of our own."""
    packed = bytes(PACKER.pack(bytearray(image(CHUNK)), CHUNK, Packing.ZSTD) or b"")
    assert zstandard.ZstdDecompressor().decompress(packed) == image(CHUNK)
    told = zstandard.get_frame_parameters(packed)
    assert (told.content_size, told.dict_id) == (CHUNK, 0)
    assert told.window_size <= limits.COMPRESSION_WINDOW_BYTES
    planes = bytes(PACKER.pack(bytearray(image(CHUNK)), CHUNK, Packing.PLANES) or b"")
    whole = zstandard.ZstdDecompressor().decompress(planes)
    assert whole == image(CHUNK)[::2] + image(CHUNK)[1::2]
    assert len(planes) < 0.9 * len(packed)  # what planes are for


@pytest.mark.parametrize(
    ("length", "packing"), [(0, Packing.ZSTD), (101, Packing.ZSTD), (100, Packing.NONE)]
)
def test_nonsense_is_not_compressed(length: int, packing: Packing) -> None:
    with pytest.raises(LocalProtocolError, match="compressing"):
        PACKER.pack(bytearray(100), length, packing)


# --- the sample ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 7, 10_240, 200_001, CHUNK])
def test_a_sample_tells_what_shrinks(length: int) -> None:
    assert PACKER.choose(bytearray(random.Random(4).randbytes(CHUNK)), length) is Packing.NONE
    if length > 1000:
        assert PACKER.choose(bytearray(image(CHUNK)), length) is Packing.PLANES
        grain = random.Random(5)
        words = [grain.randbytes(grain.randrange(3, 12)) for _ in range(200)]
        text = b" ".join(grain.choices(words, k=CHUNK // 4))
        assert PACKER.choose(bytearray(text[:CHUNK]), length) is Packing.ZSTD


def test_a_sample_sees_more_than_the_rim() -> None:
    """Black at both ends and noise between them: not worth it."""
    noise = random.Random(5).randbytes(CHUNK)
    rim = bytearray(50_000)
    assert PACKER.choose(rim + noise[: CHUNK - 100_000] + rim, CHUNK) is Packing.NONE


# --- what others send ---------------------------------------------------------------------

PLAIN = image(20_000)
GOOD = bytes(PACKER.pack(bytearray(PLAIN), len(PLAIN), Packing.ZSTD) or b"")
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


def without_size(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


def with_dictionary(data: bytes) -> bytes:
    words = zstandard.ZstdCompressionDict(image(4000), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    trained = zstandard.train_dictionary(2000, [image(500, seed) for seed in range(100)])
    assert words.dict_id() == 0
    return zstandard.ZstdCompressor(dict_data=trained).compress(data)


def with_window(data: bytes, window_log: int) -> bytes:
    """A frame that tells size and window, each on its own."""
    made = zstandard.ZstdCompressionParameters(window_log=window_log)
    stream = zstandard.ZstdCompressor(compression_params=made).compressobj()
    body = stream.compress(data) + stream.flush()
    head = zstandard.get_frame_parameters(body)
    assert head.window_size == 1 << window_log
    # Frame header descriptor: content size of 4 bytes, window descriptor follows (RFC 8878, 3.1.1).
    return body[:4] + bytes([0x80, body[5]]) + len(data).to_bytes(4, "little") + body[6:]


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"\x28",
    "magic alone": GOOD[:4],
    "junk": random.Random(6).randbytes(3000),
    "cut short": GOOD[:-1],
    "cut in half": GOOD[: len(GOOD) // 2],
    "junk behind": GOOD + b"junk",
    "twice": GOOD + GOOD,
    "skippable behind": GOOD + SKIPPABLE,
    "an empty frame behind": GOOD + frame(b"", compression_level=1),
    "an empty frame without size behind": GOOD + zstandard.ZstdCompressor().compressobj().flush(),
    "many empty blocks": GOOD[: zstandard.frame_header_size(GOOD)] + bytes(3 * 100_000)
    + GOOD[zstandard.frame_header_size(GOOD) :],
    "a block of a kind that is kept for later": GOOD[: zstandard.frame_header_size(GOOD)]
    + b"\x06\0\0" + GOOD[zstandard.frame_header_size(GOOD) :],
    "skippable before": SKIPPABLE + GOOD,
    "skippable alone": SKIPPABLE,
    "gzip": b"\x1f\x8b" + GOOD,
    "one byte less": frame(PLAIN[:-1], compression_level=1),
    "one byte more": frame(PLAIN + b"x", compression_level=1),
    "no size": without_size(PLAIN),
    "a dictionary": with_dictionary(PLAIN),
    "a bomb": frame(bytes(64 * limits.MIB), compression_level=1),
    "a bomb that lies": GOOD[:4] + b"\xa0" + len(PLAIN).to_bytes(4, "little")
    + frame(bytes(64 * limits.MIB), compression_level=1)[9:],
    "a large window": with_window(PLAIN, 27),
}  # fmt: skip


@pytest.mark.parametrize("packing", WAYS)
@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name: str, packing: Packing) -> None:
    unpacker = Unpacker()
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="compressed chunk"):
            unpacker.unpack_untrusted(
                memoryview(HOSTILE[name]), bytearray(CHUNK), len(PLAIN), packing
            )
        assert tracemalloc.get_traced_memory()[1] < 3 * limits.MIB
    finally:
        tracemalloc.stop()
    assert unpacked(GOOD, len(PLAIN), Packing.ZSTD) == PLAIN


def test_a_checksum_is_part_of_the_frame() -> None:
    made = zstandard.ZstdCompressor(write_checksum=True).compress(PLAIN)
    assert unpacked(made, len(PLAIN), Packing.ZSTD) == PLAIN
    with pytest.raises(RemoteProtocolError):
        unpacked(made[:-1], len(PLAIN), Packing.ZSTD)


@pytest.mark.parametrize("level", [1, 3, 19])
@pytest.mark.parametrize("kind", [bytes, image, random.Random(7).randbytes])
def test_whole_chunks_of_other_encoders_are_taken(level: int, kind: Callable[[int], bytes]) -> None:
    """Blocks that are stored, repeated and compressed."""
    plain = kind(CHUNK)
    assert unpacked(frame(plain, compression_level=level), CHUNK, Packing.ZSTD) == plain


def test_a_window_within_bounds_is_taken() -> None:
    assert unpacked(with_window(PLAIN, 20), len(PLAIN), Packing.ZSTD) == PLAIN


@given(data=st.data(), packing=st.sampled_from(WAYS))
@settings(deadline=None, max_examples=300)
def test_damage_gives_an_error_or_the_promised_length(
    data: st.DataObject, packing: Packing
) -> None:
    """Other bytes of the right length are for the digest."""
    packed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([len(PLAIN), 1, len(PLAIN) - 1, CHUNK]))
    with contextlib.suppress(RemoteProtocolError):
        unpacked(bytes(packed), length, packing)


@given(st.binary(max_size=200), st.integers(1, CHUNK), st.sampled_from(WAYS))
@settings(deadline=None)
def test_anything_behind_the_magic(tail: bytes, length: int, packing: Packing) -> None:
    with contextlib.suppress(RemoteProtocolError):
        unpacked(GOOD[:4] + tail, length, packing)
