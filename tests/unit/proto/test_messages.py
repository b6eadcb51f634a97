"""What passes and what does not; the frozen bytes of each message are in test_vectors.py."""

from typing import Any, get_args

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.messages import (
    Abort,
    Fact,
    Facts,
    Hello,
    Message,
    Need,
    Page,
    Ping,
    Wait,
    decode_untrusted,
    encode,
)

HELLO: dict[str, Any] = {
    "t": "hello",
    "software": "medp2p 0.1",
    "features": ["a-feature"],
    "run": bytes(16),
    "sign_key": bytes(32),
    "clock_ms": 1_764_000_000_000,
    "kind": "ping",
}
OFFER: dict[str, Any] = {
    "t": "offer",
    "transfer": bytes(16),
    "offer": bytes(32),
    "layout": 1,
    "salt": bytes(32),
    "length": 10240,
    "manifest": bytes(32),
    "entries": 1,
    "files": 1,
    "file_bytes": 5,
    "priority": "stat",
    "created_ms": 0,
    "label": b"\xff",
    "note": "",
}


def pack(tree: object) -> bytes:
    return bytes(msgpack.packb(tree, use_bin_type=True))


def test_every_type_has_a_tag_of_its_own() -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(Message)]
    assert len(set(tags)) == len(tags) == 19
    assert all(kind.__struct_config__.frozen for kind in get_args(Message))


def test_unknown_fields_are_refused_but_in_hello() -> None:
    assert isinstance(decode_untrusted(pack({**HELLO, "later": 1})), Hello)
    for tree in ({"t": "ping", "later": 1}, {**OFFER, "later": 1}):
        with pytest.raises(RemoteProtocolError, match="malformed message"):
            decode_untrusted(pack(tree))


@pytest.mark.parametrize("field", [name for name in OFFER if name != "t"])
def test_no_field_of_an_offer_may_be_missing(field: str) -> None:
    tree = {name: value for name, value in OFFER.items() if name != field}
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_untrusted(pack(tree))


@pytest.mark.parametrize(
    "changes",
    [
        {"transfer": bytes(15)},
        {"transfer": "A" * 24},
        {"offer": bytes(33)},
        {"layout": 0},
        {"layout": True},
        {"layout": 1.0},
        {"layout": "1"},
        {"length": -1},
        {"length": limits.MAX_STREAM_BYTES + 1},
        {"entries": 0},
        {"entries": limits.MAX_ENTRIES + 1},
        {"priority": "urgent"},
        {"created_ms": 2**53},
        {"label": "text"},
        {"label": bytes(limits.MAX_LABEL_BYTES + 1)},
        {"note": b"bytes"},
        {"note": "x" * (limits.MAX_NOTE_BYTES + 1)},
        {"note": None},
    ],
    ids=str,
)
def test_fields_out_of_bounds_are_refused(changes: dict[str, object]) -> None:
    decode_untrusted(pack(OFFER))
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_untrusted(pack({**OFFER, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["Upper"]},
        {"features": ["a"] * (limits.MAX_FEATURES + 1)},
        {"name": "x" * (limits.MAX_TOLD_CHARS + 1)},
        {"kind": "pairing"},
        {"index": 256},
        {"run": None},
        {"release_policy": ""},
    ],
    ids=str,
)
def test_hellos_out_of_bounds_are_refused(changes: dict[str, object]) -> None:
    decode_untrusted(pack(HELLO))
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_untrusted(pack({**HELLO, **changes}))


@pytest.mark.parametrize(
    "tree",
    [
        None,
        1,
        [],
        {},
        {"t": "eat"},
        {"t": 1},
        {1: 2},
        {"t": "ping", "x": float("nan")},
        {"t": "need", "ranges": [[0, 1, 2]], "last": True},
        {"t": "need", "ranges": [[0, 2**32]], "last": True},
        {"t": "need", "ranges": [[0, 1]] * (limits.MAX_RANGES + 1), "last": True},
        {"t": "need", "ranges": [], "last": 1},
        {"t": "facts", "facts": [[b"x", bytes(63)]], "last": True},
        {"t": "facts", "facts": [[b"x", bytes(64), 1]], "last": True},
        {"t": "facts", "facts": [[b"x", bytes(64)]] * (limits.MAX_FACTS + 1), "last": True},
        {"t": "page", "number": 0, "entries": bytes(limits.MAX_PAGE_BYTES + 1), "last": True},
        {"t": "pair-refused", "code": "other"},
        msgpack.ExtType(1, b"x"),
        {"t": "ping", "x": msgpack.Timestamp(0)},
    ],
    ids=lambda tree: repr(tree)[:40],
)
def test_nonsense_is_refused(tree: object) -> None:
    with pytest.raises(RemoteProtocolError, match="malformed"):
        decode_untrusted(pack(tree))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "malformed"),
        (b"\x81\xa1t\xa4ping\x00", "malformed"),
        (b"\x81\xa1t\xa4pin", "malformed"),
        (b"\x82\xa1t\xa4ping\xa1t\xa4pong", "names a field twice"),
        (b"\x81\xa1t\xa4p\xffng", "malformed"),
        (b"\xdd\xff\xff\xff\xff", "malformed"),
        (b"\xc6\xff\xff\xff\xff", "malformed"),
        (b"\x91" * 2000, "malformed"),
        (b"\x91" * 900 + b"\xc0", "malformed"),
        (b"\x81\xa1t" * 900 + b"\xc0", "malformed"),
        (bytes(limits.MAX_MESSAGE_BYTES + 1), "too long"),
    ],
)
def test_hostile_bodies_are_refused(body: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_untrusted(body)


def test_the_error_repeats_nothing_of_the_message() -> None:
    with pytest.raises(RemoteProtocolError) as error:
        decode_untrusted(pack({**OFFER, "note": 5, "label": b"DOE^JANE"}))
    assert "DOE" not in str(error.value)
    assert error.value.__suppress_context__


def test_the_largest_of_each_kind_fits() -> None:
    ranges = [(2**32 - 2, 2**32 - 1)] * limits.MAX_RANGES
    fact = Fact(bytes(limits.MAX_FACT_BYTES), bytes(64))
    for message in (
        Page(2**32 - 1, bytes(limits.MAX_PAGE_BYTES), last=False),
        Need(ranges, last=True),
        Facts([fact] * limits.MAX_FACTS, last=True),
    ):
        assert decode_untrusted(encode(message)) == message
    largest = {**HELLO, "features": ["f" * 32] * limits.MAX_FEATURES}
    largest |= dict.fromkeys(("software", "name", "department", "place"), "\U0001f3e5" * 64)
    assert len(pack(largest)) <= limits.MAX_HELLO_BYTES
    decode_untrusted(pack(largest))
    offer = {**OFFER, "label": bytes(limits.MAX_LABEL_BYTES), "note": "x" * limits.MAX_NOTE_BYTES}
    assert len(pack(offer)) <= limits.MAX_SUMMARY_BYTES


def test_a_message_that_nobody_takes_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError, match="message of"):
        encode(Page(0, bytes(limits.MAX_MESSAGE_BYTES), last=True))


def test_any_buffer_is_taken() -> None:
    body = encode(Ping())
    for buffer in (body, bytearray(body), memoryview(body)):
        assert decode_untrusted(buffer) == Ping()


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary()
    | st.text(max_size=40) | st.sampled_from(sorted({*HELLO, *OFFER, "ping", "need", "ranges"})),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(TREES)
def test_any_tree_gives_a_message_or_that_error(tree: object) -> None:
    _decode(pack(tree))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_give_a_message_or_that_error(body: bytes) -> None:
    _decode(body)


@settings(deadline=None)
@given(st.sampled_from([HELLO, OFFER]), st.data())
def test_any_damage_gives_a_message_or_that_error(
    tree: dict[str, Any], data: st.DataObject
) -> None:
    body = bytearray(pack(tree))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    _decode(bytes(body))


def _decode(body: bytes) -> None:
    try:
        message = decode_untrusted(body)
    except RemoteProtocolError:
        return
    assert decode_untrusted(encode(message)) == message


def test_texts_of_peers_are_kept_as_they_are() -> None:
    text = "\x1b[31m\u202e\n"
    assert decode_untrusted(encode(Abort("cancelled", text))) == Abort("cancelled", text)
    assert decode_untrusted(encode(Wait("no-space", 1, 0))) == Wait("no-space", 1, 0)
