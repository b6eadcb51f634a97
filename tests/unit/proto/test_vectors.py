"""The frozen bytes of tests/vectors/proto: read, never written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from medp2p.proto.facts import FEATURE_FACTS, Statement, sign, verify_untrusted
from medp2p.proto.frames import (
    ChunkHeader,
    ChunkStart,
    ControlFrame,
    Frame,
    FrameReader,
    Packing,
    decode_frame_header_untrusted,
)
from medp2p.proto.messages import (
    Fact,
    Message,
    PairConfirm,
    PairReply,
    PairStart,
    decode_untrusted,
    encode,
)
from medp2p.proto.noise import Handshake
from medp2p.proto.packing import Unpacker
from medp2p.proto.pairing import Joiner, Waiter
from medp2p.proto.preamble import Preamble, decode_preamble_untrusted, encode_versions
from medp2p.proto.records import ReceiveCipher, SendCipher, sealed_bytes

#: The library says so of every known ephemeral key, which is what a vector is.
KNOWN_KEYS = pytest.mark.filterwarnings("ignore:One of ephemeral keypairs is already set")
VECTORS = Path(__file__).parents[2] / "vectors" / "proto"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


def with_bytes(tree: Any) -> Any:
    """Turn {"hex": ...} back into bytes."""
    if isinstance(tree, list):
        return [with_bytes(item) for item in tree]
    if isinstance(tree, dict):
        if set(tree) == {"hex"}:
            return bytes.fromhex(tree["hex"])
        return {name: with_bytes(value) for name, value in tree.items()}
    return tree


def tree_of(message: Message) -> Any:
    """Return a message as its map, with lists where msgpack has arrays."""
    return msgspec.to_builtins(message, builtin_types=(bytes,))


def as_lists(tree: Any) -> Any:
    if isinstance(tree, list | tuple):
        return [as_lists(item) for item in tree]
    if isinstance(tree, dict):
        return {name: as_lists(value) for name, value in tree.items()}
    return tree


@pytest.mark.parametrize("line", load("messages.json"), ids=lambda line: line["message"]["t"])
def test_messages(line: dict[str, Any]) -> None:
    raw = bytes.fromhex(line["bytes"])
    message = decode_untrusted(raw)
    assert as_lists(tree_of(message)) == with_bytes(line["message"])
    assert encode(message) == raw


def test_every_message_has_a_vector() -> None:
    tags = {line["message"]["t"] for line in load("messages.json")}
    assert tags == {kind.__struct_config__.tag for kind in Message.__args__}


def test_a_hello_from_a_newer_version_is_read() -> None:
    line = load("hello-later.json")
    message = decode_untrusted(bytes.fromhex(line["bytes"]))
    assert as_lists(tree_of(message)) == with_bytes(line["reads_as"])


@pytest.mark.parametrize("name", ["facts.json", "facts-recall.json"])
def test_facts(name: str) -> None:
    vectors = load(name)
    private, public = bytes.fromhex(vectors["private"]), bytes.fromhex(vectors["public"])
    for line in vectors["facts"]:
        statement = Statement(**with_bytes(line["statement"]))
        fact = Fact(bytes.fromhex(line["bytes"]), bytes.fromhex(line["signature"]))
        assert sign(statement, private) == fact
        assert verify_untrusted(fact, public) == statement


def test_every_fact_of_a_feature_has_a_vector() -> None:
    kinds = {line["statement"]["fact"] for line in load("facts-recall.json")["facts"]}
    assert kinds == set(FEATURE_FACTS)


@pytest.mark.parametrize("line", load("packed.json")["chunks"], ids=lambda line: line["what"])
def test_compressed_chunks(line: dict[str, Any]) -> None:
    raw, body, plain = (bytes.fromhex(line[name]) for name in ("header", "body", "plain"))
    packing = Packing(line["packing"])
    digest = bytes.fromhex(line["digest"])
    header = ChunkHeader(line["index"], line["length"], digest, packing, line["packed"])
    assert decode_frame_header_untrusted(raw) == header
    assert header.encode() == raw
    assert (header.body, header.length) == (len(body), len(plain))
    out = bytearray(header.length)
    Unpacker().unpack_untrusted(memoryview(body), out, header.length, packing)
    assert out == plain


def test_records_of_a_compressed_chunk() -> None:
    vector = load("packed.json")
    key = bytes.fromhex(vector["key"])
    reader, cipher = FrameReader(receive := ReceiveCipher(key)), SendCipher(key)
    frames: list[Frame] = []
    for line in vector["records"]:
        plain, wire = bytes.fromhex(line["plain"]), bytes.fromhex(line["wire"])
        sealed = bytearray(sealed_bytes(len(plain)))
        cipher.seal_into(line["nonce"], memoryview(plain), memoryview(sealed))
        assert sealed == wire
        if frames and isinstance(start := frames[-1], ChunkStart):
            assert start.sealed_bytes == len(wire)
            out = bytearray(len(plain))
            receive.open_into(start.first_nonce, memoryview(wire), memoryview(out))
            assert out == plain
            frames += [*reader.chunk_taken(), ControlFrame(b"taken")]
        else:
            frames += reader.receive_data_untrusted(wire)
    assert [type(each) for each in frames] == [
        *(ControlFrame, ChunkStart, ControlFrame, ControlFrame)
    ]


def check_frames(lines: list[dict[str, str]], send: SendCipher, receive: ReceiveCipher) -> None:
    for line in lines:
        plain, wire = bytes.fromhex(line["plain"]), bytes.fromhex(line["wire"])
        sealed, out = bytearray(sealed_bytes(len(plain))), bytearray(len(plain))
        send.seal_into(send.reserve(1), memoryview(plain), memoryview(sealed))
        assert sealed == wire
        receive.open_into(receive.reserve(1), memoryview(wire), memoryview(out))
        assert out == plain


def run_handshake(vector: dict[str, Any], *, pairing: bool) -> tuple[bytes, bytes, bytes]:
    """Run a handshake of known keys; return its hash and both public keys."""
    preamble = bytes.fromhex(vector["preamble"])
    parsed: Preamble = decode_preamble_untrusted(preamble)
    assert parsed.encode() == preamble
    left_private, left_ephemeral, right_private, right_ephemeral = (
        bytes.fromhex(vector[f"{side}_{key}"])
        for side in ("initiator", "responder")
        for key in ("private", "ephemeral")
    )
    left_public, right_public = (
        X25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()
        for key in (left_private, right_private)
    )
    if pairing:
        left = Handshake.pairing(True, left_private, preamble, ephemeral=left_ephemeral)
        right = Handshake.pairing(False, right_private, preamble, ephemeral=right_ephemeral)
    else:
        left = Handshake.session_initiator(
            left_private, right_public, preamble, ephemeral=left_ephemeral
        )
        right = Handshake.session_responder(right_private, preamble, ephemeral=right_ephemeral)
    sides = [(left, right, b""), (right, left, encode_versions(1, 1)), (left, right, b"")]
    for (writer, reader, payload), text in zip(sides, vector["messages"], strict=pairing):
        message = writer.write(payload)
        assert message == bytes.fromhex(text)
        assert reader.read_untrusted(message) == payload
    assert left.handshake_hash == right.handshake_hash
    assert left.handshake_hash.hex() == vector["handshake_hash"]
    assert (left.remote_static, right.remote_static) == (right_public, left_public)
    (left_send, left_receive), (right_send, right_receive) = left.split(), right.split()
    check_frames(vector["from_initiator"], left_send, right_receive)
    check_frames(vector["from_responder"], right_send, left_receive)
    return left.handshake_hash, left_public, right_public


@KNOWN_KEYS
def test_session() -> None:
    run_handshake(load("session.json"), pairing=False)


def counting(first: int) -> Callable[[int], bytes]:
    return lambda count: bytes((first + place) % 256 for place in range(count))


@KNOWN_KEYS
def test_pairing() -> None:
    vector = load("pairing.json")
    channel, joins, waits = run_handshake(vector, pairing=True)
    code = vector["code"]
    words, number = code["words"], code["number"]
    joiner = Joiner(words, number, channel, joins, waits, counting(code["joiner_randomness_from"]))
    waiter = Waiter(words, number, channel, waits, joins, counting(code["waiter_randomness_from"]))
    start = joiner.start()
    assert start == PairStart(number, bytes.fromhex(code["start"]))
    reply = waiter.start(start)
    assert reply == PairReply(bytes.fromhex(code["reply"]))
    confirm = joiner.reply(reply)
    assert confirm == PairConfirm(bytes.fromhex(code["joiner_confirms"]))
    answer = waiter.confirm(confirm)
    assert answer == PairConfirm(bytes.fromhex(code["waiter_confirms"]))
    joiner.confirm(answer)
