import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from medp2p import limits
from medp2p.errors import HandshakeError, LocalProtocolError
from medp2p.proto.noise import MAX_PAYLOAD_BYTES, SESSION_SUITE, Handshake
from medp2p.proto.records import SendCipher, sealed_bytes

ALICE, BOB, MALLORY = (bytes([n]) * 32 for n in (1, 2, 3))


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def told(handshake: Handshake) -> bytes | None:
    return handshake.remote_static


def session(prologue: bytes = b"p", other: bytes = b"p") -> tuple[Handshake, Handshake]:
    return (
        Handshake.session_initiator(ALICE, public(BOB), prologue),
        Handshake.session_responder(BOB, other),
    )


def seal(cipher: SendCipher, plain: bytes) -> bytes:
    out = bytearray(sealed_bytes(len(plain)))
    cipher.seal_into(cipher.reserve(1), memoryview(plain), memoryview(out))
    return bytes(out)


def check_ciphers(left: Handshake, right: Handshake) -> None:
    assert left.done
    assert right.done
    assert left.handshake_hash == right.handshake_hash
    (left_send, left_receive), (right_send, right_receive) = left.split(), right.split()
    for send, receive in ((left_send, right_receive), (right_send, left_receive)):
        out = bytearray(5)
        sealed = seal(send, b"hello")
        receive.open_into(receive.reserve(1), memoryview(sealed), memoryview(out))
        assert out == b"hello"
    assert left.handshake_hash == right.handshake_hash


def test_session_between_pinned_peers() -> None:
    left, right = session()
    assert told(right) is None
    assert right.read_untrusted(left.write()) == b""
    assert right.remote_static == public(ALICE)
    assert left.read_untrusted(right.write(b"\1\1")) == b"\1\1"
    assert left.remote_static == public(BOB)
    check_ciphers(left, right)


def test_pairing_between_strangers() -> None:
    left, right = Handshake.pairing(True, ALICE, b"p"), Handshake.pairing(False, BOB, b"p")
    right.read_untrusted(left.write())
    assert left.read_untrusted(right.write(b"\1\1")) == b"\1\1"
    assert left.remote_static == public(BOB)
    assert told(right) is None
    right.read_untrusted(left.write())
    assert right.remote_static == public(ALICE)
    check_ciphers(left, right)


def test_messages_stay_within_the_bound() -> None:
    left, right = session()
    first = left.write()
    right.read_untrusted(first)
    second = right.write(bytes(MAX_PAYLOAD_BYTES))
    assert len(first) == 96
    assert len(second) <= limits.MAX_HANDSHAKE_BYTES
    left.read_untrusted(second)
    with pytest.raises(LocalProtocolError, match="payload"):
        session()[0].write(bytes(MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(HandshakeError, match="too long"):
        session()[1].read_untrusted(bytes(limits.MAX_HANDSHAKE_BYTES + 1))


def test_another_prologue_fails() -> None:
    left, right = session(b"one", b"two")
    with pytest.raises(HandshakeError, match="InvalidTag"):
        right.read_untrusted(left.write())


def test_a_responder_without_the_pinned_key_fails() -> None:
    left = Handshake.session_initiator(ALICE, public(BOB), b"p")
    with pytest.raises(HandshakeError):
        Handshake.session_responder(MALLORY, b"p").read_untrusted(left.write())


def test_after_a_failure_it_only_fails() -> None:
    left, right = session()
    good = left.write()
    with pytest.raises(HandshakeError):
        right.read_untrusted(b"junk")
    with pytest.raises(HandshakeError, match="failed before"):
        right.read_untrusted(good)
    with pytest.raises(HandshakeError, match="failed before"):
        right.write()
    assert not right.done


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little")])
def test_low_order_keys_fail(point: bytes) -> None:
    right = Handshake.pairing(False, BOB, b"p")
    right.read_untrusted(point)
    with pytest.raises(HandshakeError):
        right.write()
    with pytest.raises(HandshakeError):
        Handshake.session_initiator(ALICE, point, b"p").write()


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_hostile_messages_raise_only_handshake_errors(data: bytes) -> None:
    for handshake in (
        session()[1],
        Handshake.pairing(False, BOB, b"p"),
        _waiting(Handshake.session_initiator(ALICE, public(BOB), b"p")),
        _waiting(Handshake.pairing(True, ALICE, b"p")),
    ):
        try:
            handshake.read_untrusted(data)
            handshake.write()
        except HandshakeError:
            assert not handshake.done


def _waiting(handshake: Handshake) -> Handshake:
    handshake.write()
    return handshake


def test_bad_keys_of_ours_and_early_use_are_our_bugs() -> None:
    with pytest.raises(LocalProtocolError, match="keys"):
        Handshake.session_responder(b"short", b"p")
    with pytest.raises(LocalProtocolError, match="keys"):
        Handshake.session_initiator(ALICE, b"short", b"p")
    left, right = session()
    for use in (left.split, lambda: left.handshake_hash):
        with pytest.raises(LocalProtocolError, match="not done"):
            use()
    right.read_untrusted(left.write())
    left.read_untrusted(right.write())
    left.split()
    with pytest.raises(LocalProtocolError, match="split before"):
        left.split()


def test_interoperates_with_plain_noise_transport() -> None:
    theirs = NoiseConnection.from_name(SESSION_SUITE)
    theirs.set_as_responder()
    theirs.set_prologue(b"p")
    theirs.set_keypair_from_private_bytes(Keypair.STATIC, BOB)
    theirs.start_handshake()
    ours = Handshake.session_initiator(ALICE, public(BOB), b"p")
    theirs.read_message(ours.write())
    ours.read_untrusted(bytes(theirs.write_message()))
    send, receive = ours.split()
    for size in (1, 65519, 65520, limits.CHUNK_BYTES):
        plain = bytes(size)
        sealed = bytearray(sealed_bytes(size))
        count = -(-size // 65519)
        send.seal_into(send.reserve(count), memoryview(plain), memoryview(sealed))
        got, wire = b"", b""
        while sealed:
            end = 2 + int.from_bytes(sealed[:2], "big")
            got += theirs.decrypt(bytes(sealed[2:end]))
            del sealed[:end]
        assert got == plain
        for start in range(0, size, 65519):
            record = theirs.encrypt(plain[start : start + 65519])
            wire += len(record).to_bytes(2, "big") + record
        out = bytearray(size)
        receive.open_into(receive.reserve(count), memoryview(wire), memoryview(out))
        assert out == plain
