"""A proof: the signed facts of one transfer in a file that anyone can check.

It holds the statements byte for byte, their signatures, and the keys of both sides. What it
shows is that the holder of a signing key stated something, when by its own clock, about one offer
between two workstations. Whose key that is, the file cannot say for itself: compare the peer IDs
and signing keys with what the two workstations show. With the offer in it (label and note, so
patient data) it also shows what was agreed on.

Source: docs/PROTOCOL.md, "Proofs".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from medp2p import limits
from medp2p.errors import IntegrityError, RemoteProtocolError
from medp2p.model import transfer_id_from_bytes
from medp2p.proto.binding import bound_digest
from medp2p.proto.facts import Statement, check_parties_untrusted, verify_untrusted
from medp2p.proto.messages import Fact, Hash, Key, Offer, decode_untrusted, encode

FORMAT: Final = "medp2p proof 1"


class Side(Struct, frozen=True, forbid_unknown_fields=True):
    """The two public keys of a workstation, and its names; the names prove nothing."""

    noise_key: Key
    sign_key: Key
    peer_id: str = ""
    name: str = ""


class Signed(Struct, frozen=True, forbid_unknown_fields=True):
    """One fact: which side signed it, and its bytes."""

    by: Literal["sender", "receiver"]
    statement: Annotated[bytes, Meta(min_length=1, max_length=limits.MAX_FACT_BYTES)]
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Proof(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is in the file. Bytes are base64 there.

    Attributes:
        format: FORMAT; another one belongs to another version.
        transfer: Id.
        offer: What every statement must name.
        sender: Its keys.
        receiver: Its keys.
        facts: In the order of their time.
        summary: The offer as it travelled, or None: it holds label and note.
    """

    format: Literal["medp2p proof 1"] = FORMAT
    transfer: str
    offer: Hash
    sender: Side
    receiver: Side
    facts: Annotated[list[Signed], Meta(max_length=limits.MAX_FACTS_ROUND)]
    summary: Annotated[bytes, Meta(max_length=limits.MAX_MESSAGE_BYTES)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A proof whose every signature holds.

    Attributes:
        proof: As read.
        statements: (who signed it, what it says), in the order of the file.
        summary: The offer that all of them bind, if the file has it.
    """

    proof: Proof
    statements: Sequence[tuple[str, Statement]]
    summary: Offer | None


def check_proof_untrusted(data: bytes) -> Checked:
    """Check everything in a proof that can be checked without trusting anyone.

    Raises:
        IntegrityError: It is no proof, or something in it does not hold; the text says what.
    """
    if len(data) > limits.MAX_PROOF_BYTES:
        raise IntegrityError("that file is too long for a proof")
    try:
        proof = msgspec.json.decode(data, type=Proof)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise IntegrityError(f"that file is no {FORMAT!r}, or it is damaged") from None
    if not proof.facts:
        raise IntegrityError("the proof has no facts in it")
    try:
        statements = [_statement(proof, number, fact) for number, fact in enumerate(proof.facts)]
        summary = None if proof.summary is None else _summary(proof, proof.summary)
    except RemoteProtocolError as error:
        raise IntegrityError(f"the proof does not hold: {error}") from error
    _check_roots(statements)
    return Checked(proof=proof, statements=statements, summary=summary)


def _statement(proof: Proof, number: int, fact: Signed) -> tuple[str, Statement]:
    side, other = proof.sender, proof.receiver
    if fact.by == "receiver":
        side, other = other, side
    where = f"fact {number + 1}"
    try:
        statement = verify_untrusted(Fact(fact.statement, fact.signature), side.sign_key)
        check_parties_untrusted(statement, signer=side.noise_key, other=other.noise_key)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(f"{where}: {error}") from error
    if statement.sender != proof.sender.noise_key:
        raise RemoteProtocolError(f"{where} is about a transfer in the other direction")
    if transfer_id_from_bytes(statement.transfer) != proof.transfer:
        raise RemoteProtocolError(f"{where} is about another transfer")
    if statement.offer != proof.offer:
        raise RemoteProtocolError(f"{where} is about another offer")
    return fact.by, statement


def _check_roots(statements: Sequence[tuple[str, Statement]]) -> None:
    roots = {said.root for by, said in statements if by == "receiver" and said.root is not None}
    if len(roots) > 1:
        raise IntegrityError("the proof does not hold: its receiver names two different roots")


def _summary(proof: Proof, raw: bytes) -> Offer:
    offer = decode_untrusted(raw)
    if not isinstance(offer, Offer) or encode(offer) != raw:
        raise RemoteProtocolError("its summary is none")
    parties = {"sender": proof.sender.noise_key, "receiver": proof.receiver.noise_key}
    bound = bound_digest(offer, **parties)
    if bound != proof.offer or transfer_id_from_bytes(offer.transfer) != proof.transfer:
        raise RemoteProtocolError("its summary is not what was agreed on")
    return offer
