import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.records import (
    FULL_RECORD_BYTES,
    NONCE_LIMIT,
    RECORD_OVERHEAD,
    ReceiveCipher,
    SendCipher,
    record_count,
    sealed_bytes,
)

KEY = bytes(range(32))
#: One byte round each border of one and two records, and a chunk.
SIZES = [1, 2, 65518, 65519, 65520, 2 * 65519, 2 * 65519 + 1, limits.CHUNK_BYTES]


def body(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def seal(plain: bytes, nonce: int = 0, key: bytes = KEY) -> bytes:
    out = bytearray(sealed_bytes(len(plain)))
    written = SendCipher(key).seal_into(nonce, memoryview(plain), memoryview(out))
    assert written == len(out)
    return bytes(out)


def unseal(sealed: bytes, nonce: int = 0, key: bytes = KEY, room: int = 1 << 22) -> bytes:
    out = bytearray(room)
    return bytes(out[: ReceiveCipher(key).open_into(nonce, memoryview(sealed), memoryview(out))])


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens_again(size: int) -> None:
    sealed = seal(body(size), nonce=7)
    assert len(sealed) == sealed_bytes(size) == size + record_count(size) * RECORD_OVERHEAD
    assert unseal(sealed, nonce=7) == body(size)


@pytest.mark.parametrize(("size", "records"), [(1, 1), (65519, 1), (65520, 2), (1 << 20, 17)])
def test_a_body_fills_its_records(size: int, records: int) -> None:
    assert record_count(size) == records


def test_there_are_no_empty_bodies() -> None:
    for size in (0, -1):
        with pytest.raises(LocalProtocolError, match="a body of"):
            sealed_bytes(size)
    with pytest.raises(LocalProtocolError, match="a body of 0"):
        SendCipher(KEY).seal_into(0, memoryview(b""), memoryview(bytearray(99)))
    with pytest.raises(RemoteProtocolError, match="length"):
        unseal(b"")


def test_an_empty_record_is_refused_though_it_authenticates() -> None:
    sealed = bytearray(18)
    sealed[:2] = (16).to_bytes(2, "big")
    sealed[2:] = AESGCM(KEY).encrypt(bytes(12), b"", None)
    with pytest.raises(RemoteProtocolError, match="length"):
        unseal(bytes(sealed))


@pytest.mark.parametrize("size", SIZES)
def test_cut_or_lengthened_bodies_are_refused(size: int) -> None:
    sealed = seal(body(size))
    for damaged in (sealed[:-1], sealed + b"\0", sealed[:1], sealed + sealed):
        with pytest.raises(RemoteProtocolError):
            unseal(damaged)


@settings(deadline=None)
@given(st.integers(0, sealed_bytes(70_000) - 1), st.integers(0, 7))
def test_no_flipped_bit_goes_through(position: int, bit: int) -> None:
    sealed = bytearray(seal(body(70_000)))
    sealed[position] ^= 1 << bit
    with pytest.raises(RemoteProtocolError):
        unseal(bytes(sealed))


def test_order_and_key_are_authenticated() -> None:
    sealed = seal(body(2 * 65519), nonce=3)
    swapped = sealed[FULL_RECORD_BYTES:] + sealed[:FULL_RECORD_BYTES]
    for data, nonce, key in ((swapped, 3, KEY), (sealed, 4, KEY), (sealed, 3, bytes(32))):
        with pytest.raises(RemoteProtocolError, match="does not authenticate"):
            unseal(data, nonce, key)


@settings(deadline=None)
@given(st.binary(max_size=70_000))
def test_hostile_records_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        unseal(data)


def test_too_little_room_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError, match="room to seal 70000"):
        SendCipher(KEY).seal_into(
            0, memoryview(body(70_000)), memoryview(bytearray(sealed_bytes(70_000) - 1))
        )
    with pytest.raises(LocalProtocolError, match="room to open"):
        unseal(seal(body(70_000)), room=69_999)
    assert unseal(seal(body(70_000)), room=70_000) == body(70_000)


def test_nothing_is_written_beyond_the_body() -> None:
    room = bytearray(b"\xaa" * (sealed_bytes(100) + 5))
    written = SendCipher(KEY).seal_into(0, memoryview(body(100)), memoryview(room))
    assert room[written:] == b"\xaa" * 5
    out = bytearray(b"\xaa" * 105)
    ReceiveCipher(KEY).open_into(0, memoryview(room)[:written], memoryview(out))
    assert out == body(100) + b"\xaa" * 5


def test_nonces_end_before_the_last() -> None:
    cipher = SendCipher(KEY)
    with pytest.raises(LocalProtocolError, match="0 nonces"):
        cipher.reserve(0)
    assert cipher.reserve(NONCE_LIMIT - 1) == 0
    with pytest.raises(LocalProtocolError, match="used up"):
        cipher.reserve(2)
    assert cipher.reserve(1) == NONCE_LIMIT - 1
    with pytest.raises(LocalProtocolError, match="used up"):
        cipher.reserve(1)
    assert unseal(seal(b"x", NONCE_LIMIT - 1), NONCE_LIMIT - 1) == b"x"


def test_threads_never_get_the_same_nonce() -> None:
    cipher, start = SendCipher(KEY), threading.Barrier(4)

    def take(_: int) -> list[int]:
        start.wait()
        return [cipher.reserve(3) for _ in range(2000)]

    with ThreadPoolExecutor(4) as pool:
        taken = [nonce for part in pool.map(take, range(4)) for nonce in part]
    assert sorted(taken) == list(range(0, 3 * 8000, 3))


def test_one_cipher_seals_and_opens_in_many_threads() -> None:
    sender, receiver = SendCipher(KEY), ReceiveCipher(KEY)

    def work(number: int) -> bool:
        plain = bytes([number]) * limits.CHUNK_BYTES
        sealed, out = bytearray(sealed_bytes(len(plain))), bytearray(len(plain))
        nonce = number * record_count(len(plain))
        sender.seal_into(nonce, memoryview(plain), memoryview(sealed))
        receiver.open_into(nonce, memoryview(sealed), memoryview(out))
        return out == plain

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(24)))
