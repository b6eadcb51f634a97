"""Control messages: one typed model each, msgpack on the wire.

Rule for this package: a function whose name ends in ``_untrusted`` takes bytes from a peer
and raises RemoteProtocolError or nothing, whatever the bytes are.

Source: docs/PROTOCOL.md, "Messages".
"""

from typing import Annotated, Literal

import msgpack
import msgspec
from msgspec import Meta, Struct

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError

PROTOCOL_LOWEST = 1
PROTOCOL_HIGHEST = 1

U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U53 = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Percent = Annotated[int, Meta(ge=0, le=100)]
StreamBytes = Annotated[int, Meta(ge=0, le=limits.MAX_STREAM_BYTES)]
Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
Told = Annotated[str, Meta(max_length=limits.MAX_TOLD_CHARS)]
Text = Annotated[str, Meta(max_length=limits.MAX_TEXT_BYTES)]
Word = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9-]+$")]


class _Message(Struct, tag_field="t", frozen=True, forbid_unknown_fields=True):
    """Base: a map with its type under "t"; unknown fields are refused."""


class Hello(Struct, tag_field="t", tag="hello", frozen=True, kw_only=True):
    """First message of each side. Only here unknown fields are ignored: it carries features.

    Attributes:
        kind: What the initiator wants; the responder repeats it.
        transfer: The transfer of a "transfer" or "data" conversation.
        index: Which connection of that transfer; 0 for the only one.
        run: Random for each start of a daemon.
        sign_key: Ed25519 public key that signs this side's facts.
        clock_ms: Wall clock, for showing a difference; decides nothing.
    """

    software: Told
    features: Annotated[list[Word], Meta(max_length=limits.MAX_FEATURES)]
    run: Id
    sign_key: Key
    clock_ms: U53
    kind: Literal["transfer", "data", "facts", "ping"]
    transfer: Id | None = None
    index: Annotated[int, Meta(ge=0, le=255)] = 0
    name: Told = ""
    department: Told = ""
    place: Told = ""
    release_policy: Word = "manual"


class Fact(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A signed statement about a transfer; see facts.py for what is inside."""

    statement: Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_FACT_BYTES)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Facts(_Message, tag="facts", frozen=True):
    """Facts not yet acknowledged, ascending by number; ``last`` ends the exchange."""

    facts: Annotated[list[Fact], Meta(max_length=limits.MAX_FACTS)]
    last: bool


class FactsAck(_Message, tag="facts-ack", frozen=True):
    """All facts of the other side up to this number are applied and durable."""

    number: U53


class Offer(_Message, tag="offer", frozen=True):
    """The summary of a transfer; ``offer`` binds all of it (digest.offer_digest)."""

    transfer: Id
    offer: Hash
    layout: Annotated[int, Meta(ge=1, le=255)]
    salt: Annotated[bytes, Meta(min_length=32, max_length=32)]
    length: StreamBytes
    manifest: Hash
    entries: Annotated[int, Meta(ge=1, le=limits.MAX_ENTRIES)]
    files: Annotated[int, Meta(ge=0, le=limits.MAX_ENTRIES)]
    file_bytes: StreamBytes
    priority: Literal["stat", "routine"]
    created_ms: U53
    label: Annotated[bytes, Meta(max_length=limits.MAX_LABEL_BYTES)]
    note: Annotated[str, Meta(max_length=limits.MAX_NOTE_BYTES)]


class Answer(_Message, tag="answer", frozen=True):
    """What the receiver says to an offer; "undecided" may be followed by another answer.

    Attributes:
        state: "undecided", "full", "accepted", or "ended" (the facts tell how).
        pages: With "accepted": manifest pages already held.
    """

    state: Literal["undecided", "full", "accepted", "ended"]
    pages: U32 = 0


class Page(_Message, tag="page", frozen=True):
    """Manifest entries in canonical bytes (manifest.encode_entries)."""

    number: U32
    entries: Annotated[bytes, Meta(max_length=limits.MAX_PAGE_BYTES)]
    last: bool


class Wait(_Message, tag="wait", frozen=True):
    """The receiver cannot take data now; it will say Need when it can."""

    code: Word
    needed_bytes: U53
    free_bytes: U53


class Need(_Message, tag="need", frozen=True):
    """Chunks still missing: [first, end) pairs, ascending; ``last`` ends the list."""

    ranges: Annotated[list[tuple[U32, U32]], Meta(max_length=limits.MAX_RANGES)]
    last: bool


class Progress(_Message, tag="progress", frozen=True, omit_defaults=True):
    """How many chunks of the transfer are durable and journalled at the receiver.

    Attributes:
        waited: In which part of the time since the last progress the receiver has waited for
            bytes of the network, percent; only with the feature of compressed chunks.
    """

    chunks: U32
    waited: Percent | None = None


class Commit(_Message, tag="commit", frozen=True):
    """The sender has sent all that was needed; its root over all digests."""

    root: Hash


class Abort(_Message, tag="abort", frozen=True):
    """One side ends the transfer for good.

    Attributes:
        code: "source-changed", "cancelled", "integrity", "offer-mismatch", ...
    """

    code: Word
    text: Text


class Ping(_Message, tag="ping", frozen=True):
    """Heartbeat; answered by Pong."""


class Pong(_Message, tag="pong", frozen=True):
    """Answer to Ping."""


class Bye(_Message, tag="bye", frozen=True):
    """Clean end of a conversation."""


class PairStart(_Message, tag="pair-start", frozen=True):
    """Joiner to waiter: the public number of the code, and SPAKE2's first element."""

    number: U32
    spake: Annotated[bytes, Meta(min_length=33, max_length=33)]


class PairReply(_Message, tag="pair-reply", frozen=True):
    """Waiter to joiner: SPAKE2's second element."""

    spake: Annotated[bytes, Meta(min_length=33, max_length=33)]


class PairConfirm(_Message, tag="pair-confirm", frozen=True):
    """Key confirmation; the joiner sends his first."""

    mac: Hash


class PairDone(_Message, tag="pair-done", frozen=True):
    """Who we are, once the confirmation held; both sides pin after it.

    Sent by both sides, the waiter's following its confirmation.
    """

    sign_key: Key
    name: Told
    department: Told
    place: Told
    port: Annotated[int, Meta(ge=0, le=65535)]


class PairRefused(_Message, tag="pair-refused", frozen=True):
    """No pairing here for that number, or the guess was wrong."""

    code: Literal["not-open", "wrong-code"]


Message = (
    Hello
    | Facts
    | FactsAck
    | Offer
    | Answer
    | Page
    | Wait
    | Need
    | Progress
    | Commit
    | Abort
    | Ping
    | Pong
    | Bye
    | PairStart
    | PairReply
    | PairConfirm
    | PairDone
    | PairRefused
)


def encode(message: Message) -> bytes:
    """Return the msgpack bytes of a message.

    Raises:
        LocalProtocolError: The message is larger than a peer would take.
    """
    body = msgpack.packb(msgspec.to_builtins(message, builtin_types=(bytes,)), use_bin_type=True)
    if len(body) > limits.MAX_MESSAGE_BYTES:
        raise LocalProtocolError(f"message of {len(body)} bytes")
    return bytes(body)


def _no_duplicates(pairs: list[tuple[object, object]]) -> dict[object, object]:
    """Refuse a map that names a key twice; msgpack would keep the last one."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise RemoteProtocolError("message names a field twice")
    return fields


def _convert(tree: object) -> Message:
    # builtin_types: else a text would be taken for base64 where bytes belong.
    message: Message = msgspec.convert(tree, Message, strict=True, builtin_types=(bytes,))
    return message


def decode_untrusted(body: bytes | bytearray | memoryview) -> Message:
    """Return the message in these bytes.

    Args:
        body: Exactly one message, at most MAX_MESSAGE_BYTES.

    Raises:
        RemoteProtocolError: Not a message of protocol 1. The text repeats nothing of it.
    """
    if len(body) > limits.MAX_MESSAGE_BYTES:
        raise RemoteProtocolError("message too long")
    try:
        tree = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_no_duplicates,
            max_str_len=limits.MAX_SUMMARY_BYTES,
            max_bin_len=limits.MAX_MESSAGE_BYTES,
            max_array_len=limits.MAX_RANGES,
            max_map_len=64,
            max_ext_len=0,
        )
        return _convert(tree)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(f"malformed message ({type(error).__name__})") from None
