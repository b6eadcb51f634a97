import dataclasses
from typing import Any

import msgpack
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from medp2p import limits
from medp2p.errors import LocalProtocolError, RemoteProtocolError
from medp2p.proto.facts import (
    DOMAIN,
    EITHER_FACTS,
    FACT_KINDS,
    RECEIVER_FACTS,
    SENDER_FACTS,
    WHOLE_FACTS,
    Statement,
    check_parties_untrusted,
    sign,
    verify_untrusted,
)
from medp2p.proto.messages import Fact

PRIVATE = bytes(range(32))
PUBLIC = Ed25519PrivateKey.from_private_bytes(PRIVATE).public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
SENDER, RECEIVER, STRANGER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
SEALED = Statement(
    transfer=bytes(16),
    offer=bytes([4]) * 32,
    fact="sealed",
    number=7,
    time_ms=1_764_000_000_000,
    sender=SENDER,
    receiver=RECEIVER,
    root=bytes([5]) * 32,
    detail={"entries": "600", "by": "rule"},
)


def signed(tree: object) -> Fact:
    raw = msgpack.packb(tree, use_bin_type=True)
    return Fact(raw, Ed25519PrivateKey.from_private_bytes(PRIVATE).sign(DOMAIN + raw))


def array(**changes: object) -> list[Any]:
    statement: dict[str, object] = {**dataclasses.asdict(SEALED), "detail": [["by", "rule"]]}
    return list({**statement, **changes}.values())


@pytest.mark.parametrize("kind", sorted(FACT_KINDS))
def test_a_signed_fact_reads_back(kind: str) -> None:
    for root in {SEALED.root, None if kind not in WHOLE_FACTS else SEALED.root}:
        statement = dataclasses.replace(SEALED, fact=kind, root=root)
        assert verify_untrusted(sign(statement, PRIVATE), PUBLIC) == statement


def test_every_kind_has_a_side_that_says_it() -> None:
    assert FACT_KINDS == RECEIVER_FACTS | SENDER_FACTS | EITHER_FACTS
    assert not RECEIVER_FACTS & SENDER_FACTS
    assert not (RECEIVER_FACTS | SENDER_FACTS) & EITHER_FACTS


def test_the_same_facts_give_the_same_bytes() -> None:
    other = dataclasses.replace(SEALED, detail={"by": "rule", "entries": "600"})
    assert sign(other, PRIVATE) == sign(SEALED, PRIVATE)


def test_another_key_or_statement_or_domain_is_refused() -> None:
    fact = sign(SEALED, PRIVATE)
    bare = Ed25519PrivateKey.from_private_bytes(PRIVATE).sign(fact.statement)
    for bad, key in (
        (fact, OTHER),
        (fact, bytes(31)),
        (Fact(fact.statement + b"\0", fact.signature), PUBLIC),
        (Fact(fact.statement, bytes(64)), PUBLIC),
        (Fact(fact.statement, bare), PUBLIC),
    ):
        with pytest.raises(RemoteProtocolError, match="wrong signature"):
            verify_untrusted(bad, key)


@pytest.mark.parametrize(
    "tree",
    [
        [],
        {},
        b"",
        array()[:-1],
        [*array(), 1],
        array(transfer=bytes(15)),
        array(offer="x" * 32),
        array(fact="eaten"),
        array(number=0),
        array(number=2**53),
        array(number=True),
        array(time_ms=-1),
        array(time_ms=1.0),
        array(sender=bytes(31)),
        array(root=None),
        array(root=bytes(31)),
        array(detail=[["by", 1]]),
        array(detail=[["by"]]),
        array(detail=[["BY", "x"]]),
        array(detail=[[str(n), ""] for n in range(17)]),
    ],
    ids=str,
)
def test_signed_nonsense_is_refused(tree: object) -> None:
    with pytest.raises(RemoteProtocolError):
        verify_untrusted(signed(tree), PUBLIC)


def test_only_canonical_bytes_are_taken() -> None:
    for detail in ([["b", ""], ["a", ""]], [["a", "1"], ["a", "2"]]):
        with pytest.raises(RemoteProtocolError, match="not canonical"):
            verify_untrusted(signed(array(detail=detail)), PUBLIC)
    raw = sign(SEALED, PRIVATE).statement
    wide = raw.replace(b"\x07", b"\xcc\x07", 1)
    assert wide != raw
    signature = Ed25519PrivateKey.from_private_bytes(PRIVATE).sign(DOMAIN + wide)
    with pytest.raises(RemoteProtocolError, match="not canonical"):
        verify_untrusted(Fact(wide, signature), PUBLIC)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_hostile_signed_bytes_raise_nothing_else(raw: bytes) -> None:
    signature = Ed25519PrivateKey.from_private_bytes(PRIVATE).sign(DOMAIN + raw)
    with pytest.raises(RemoteProtocolError):
        verify_untrusted(Fact(raw, signature), PUBLIC)


@pytest.mark.parametrize(
    "changes",
    [
        {"fact": "eaten"},
        {"number": 0},
        {"time_ms": -1},
        {"root": None},
        {"detail": {str(n): "" for n in range(17)}},
    ],
)
def test_statements_are_checked_when_made(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="fact"):
        dataclasses.replace(SEALED, **changes)


@pytest.mark.parametrize(
    "changes", [{"offer": b""}, {"detail": {"reason": "x" * limits.MAX_FACT_BYTES}}]
)
def test_what_no_peer_takes_is_not_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="no peer takes"):
        sign(dataclasses.replace(SEALED, **changes), PRIVATE)


@pytest.mark.parametrize("kind", sorted(FACT_KINDS))
def test_each_side_says_what_is_its_to_say(kind: str) -> None:
    statement = dataclasses.replace(SEALED, fact=kind)
    for signer, other, kinds in (
        (RECEIVER, SENDER, RECEIVER_FACTS | EITHER_FACTS),
        (SENDER, RECEIVER, SENDER_FACTS | EITHER_FACTS),
    ):
        if kind in kinds:
            check_parties_untrusted(statement, signer=signer, other=other)
        else:
            with pytest.raises(RemoteProtocolError, match="wrong side"):
                check_parties_untrusted(statement, signer=signer, other=other)


def test_facts_about_others_are_refused() -> None:
    for signer, other in ((STRANGER, SENDER), (RECEIVER, STRANGER), (SENDER, SENDER)):
        with pytest.raises(RemoteProtocolError, match="other peers"):
            check_parties_untrusted(SEALED, signer=signer, other=other)
