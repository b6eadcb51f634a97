"""Facts: signed statements about a transfer, which outlive the connection that carried them.

A statement names the transfer, what was agreed (``offer``), both peers, what happened and
when. It is signed with the Ed25519 key of the side that says it, and the other side keeps it
whole, so that a third party can check a receipt with nothing but the public key.

A statement is canonical: the same facts always give the same bytes, and any other bytes are
refused, whoever signed them.

Source: docs/PROTOCOL.md, "Facts".
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgpack
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.messages import U53, Fact, Hash, Id, Key, Word

#: Signed along with each statement, so that no other signature of that key can pass for one.
DOMAIN: Final = b"medp2p fact 1\0"

#: Said by the side that receives the transfer; by the one that sends it; by either.
RECEIVER_FACTS: Final = frozenset(
    {
        *("sealed", "previewed", "opened", "released", "declined", "discarded"),
        *("recalled", "recall-late", "destroyed", "kept", "expiring"),
    }
)
SENDER_FACTS: Final = frozenset({"cancelled", "recall"})
EITHER_FACTS: Final = frozenset({"expired", "failed"})
FACT_KINDS: Final = RECEIVER_FACTS | SENDER_FACTS | EITHER_FACTS
#: These say that the stream is whole at the receiver: they carry its root.
WHOLE_FACTS: Final = frozenset({"sealed", "previewed", "opened", "released"})
#: Kinds that protocol 1 does not have, and the feature with which a peer says that it has them.
FEATURE_FACTS: Final = {
    **dict.fromkeys(("recall", "recalled", "recall-late", "destroyed", "kept"), "recall"),
    "expiring": "expiring",
    "previewed": "previewed",
}


def understood(kind: str, features: Collection[str]) -> bool:
    """Return whether a peer that lists these features knows facts of this kind."""
    feature = FEATURE_FACTS.get(kind)
    return feature is None or feature in features


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a fact says.

    Attributes:
        transfer: 16 bytes.
        offer: The offer digest that was agreed on, 32 bytes.
        fact: One of FACT_KINDS.
        number: Place in the queue of its signer towards the other side, from 1.
        time_ms: The signer's wall clock when it happened, milliseconds since 1970 UTC.
        sender: X25519 key of the side that sends the transfer, 32 bytes.
        receiver: X25519 key of the side that receives it, 32 bytes.
        root: Digest over the whole stream; always there in WHOLE_FACTS.
        detail: More for a person (a reason, a count); a reason may name a patient, so both sides
            keep it sealed.

    Raises:
        LocalProtocolError: A value is out of bounds.
    """

    transfer: bytes
    offer: bytes
    fact: str
    number: int
    time_ms: int
    sender: bytes
    receiver: bytes
    root: bytes | None = None
    detail: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fact not in FACT_KINDS:
            raise LocalProtocolError(f"fact of unknown kind {self.fact!r}")
        if self.number < 1 or self.time_ms < 0:
            raise LocalProtocolError("fact with a number or time out of bounds")
        if self.fact in WHOLE_FACTS and self.root is None:
            raise LocalProtocolError(f"fact {self.fact!r} without a root")
        if len(self.detail) > limits.MAX_FACT_DETAILS:
            raise LocalProtocolError(f"fact with {len(self.detail)} details")

    def encode(self) -> bytes:
        """Return the canonical bytes: a msgpack array, details as pairs ascending by name."""
        return bytes(
            msgpack.packb(
                [
                    self.transfer,
                    self.offer,
                    self.fact,
                    self.number,
                    self.time_ms,
                    self.sender,
                    self.receiver,
                    self.root,
                    [[name, self.detail[name]] for name in sorted(self.detail)],
                ],
                use_bin_type=True,
            )
        )


class _Wire(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The types of a statement's array."""

    transfer: Id
    offer: Hash
    fact: Word
    number: U53
    time_ms: U53
    sender: Key
    receiver: Key
    root: Hash | None
    detail: Annotated[list[tuple[Word, str]], Meta(max_length=limits.MAX_FACT_DETAILS)]


def sign(statement: Statement, private: bytes) -> Fact:
    """Return the statement with its signature.

    Args:
        statement: What happened.
        private: Our Ed25519 private key, 32 bytes.

    Raises:
        LocalProtocolError: The peer would refuse the statement.
    """
    raw = statement.encode()
    try:
        _decode_untrusted(raw)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"fact that no peer takes: {error}") from error
    return Fact(raw, Ed25519PrivateKey.from_private_bytes(private).sign(DOMAIN + raw))


def verify_untrusted(fact: Fact, public: bytes) -> Statement:
    """Return what a fact says, once its signature holds.

    Args:
        fact: From the peer, or from the store.
        public: The Ed25519 key pinned for whoever is said to have signed it, 32 bytes.

    Raises:
        RemoteProtocolError: Not signed by that key, or not a canonical statement.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(public)
        key.verify(fact.signature, DOMAIN + fact.statement)
    except (InvalidSignature, ValueError):
        raise RemoteProtocolError("fact with a wrong signature") from None
    return _decode_untrusted(fact.statement)


def read_statement(raw: bytes) -> Statement:
    """Return what a kept statement says, without its signature.

    Raises:
        RemoteProtocolError: It is none.
    """
    return _decode_untrusted(raw)


def check_parties_untrusted(statement: Statement, *, signer: bytes, other: bytes) -> None:
    """Refuse a statement about others, or one that its signer is not the one to make.

    Args:
        statement: Verified with the signer's key.
        signer: X25519 key of the side that signed it.
        other: X25519 key of the side it was made to.

    Raises:
        RemoteProtocolError: The two are not its two sides, or it is for the other to say.
    """
    by_receiver = (statement.sender, statement.receiver) == (other, signer)
    by_sender = (statement.sender, statement.receiver) == (signer, other)
    if not by_receiver and not by_sender:
        raise RemoteProtocolError("fact about other peers")
    if statement.fact in (SENDER_FACTS if by_receiver else RECEIVER_FACTS):
        raise RemoteProtocolError(f"fact {statement.fact!r} from the wrong side")


def _decode_untrusted(raw: bytes) -> Statement:
    if len(raw) > limits.MAX_FACT_BYTES:
        raise RemoteProtocolError("fact too long")
    try:
        tree = msgpack.unpackb(
            raw,
            raw=False,
            max_str_len=limits.MAX_FACT_BYTES,
            max_bin_len=32,
            max_array_len=limits.MAX_FACT_DETAILS,
            max_map_len=0,
            max_ext_len=0,
        )
        wire = msgspec.convert(tree, _Wire, strict=True, builtin_types=(bytes,))
        statement = Statement(
            transfer=wire.transfer,
            offer=wire.offer,
            fact=wire.fact,
            number=wire.number,
            time_ms=wire.time_ms,
            sender=wire.sender,
            receiver=wire.receiver,
            root=wire.root,
            detail=dict(wire.detail),
        )
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise RemoteProtocolError(f"malformed fact ({type(error).__name__})") from None
    except LocalProtocolError as error:
        raise RemoteProtocolError(str(error)) from None
    if statement.encode() != raw:
        raise RemoteProtocolError("fact that is not canonical")
    return statement
