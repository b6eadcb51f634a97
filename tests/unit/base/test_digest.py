import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from medp2p import digest
from medp2p.limits import CHUNK_BYTES

SALT = bytes(range(32))
KEY = digest.stream_key(SALT)
OFFER = bytes(range(32, 64))
OFFERED: dict[str, Any] = {
    "protocol": 1,
    "layout": 1,
    "sender": b"s" * 32,
    "receiver": b"r" * 32,
    "transfer": b"t" * 16,
    "salt": SALT,
    "length": 10240,
    "manifest": b"m" * 32,
    "entries": 3,
    "files": 2,
    "file_bytes": 1000,
    "priority": "routine",
    "created_ms": 1_795_611_600_123,
    "label": b"label",
    "note": "note",
}


def test_digests_are_frozen() -> None:
    assert KEY.hex() == ("c6598cb84dd2229ccd17e4bb6a625bbacb6c1c330f85cda76a040603aebb86c3")
    assert digest.chunk_digest(KEY, 7, b"data").hex() == (
        "fad4a4c89242bdf64a4995cf1b5498c280e0fa4336eb357846f48139cae25562"
    )
    assert digest.root_digest(KEY, OFFER, 4, [bytes(32)]).hex() == (
        "6d96e741dfdd25c626869d1f2fd79e875d6b7fd80af38efd3290e6adefc33307"
    )
    assert digest.offer_digest(**OFFERED).hex() == (
        "8db1674ef81cc71eac07ceed18dba30881cf21e2113f11a2e71dacd6cd5383da"
    )
    hasher = digest.ManifestHasher()
    hasher.update(b"entries")
    assert hasher.digest().hex() == (
        "59bb0c4b2cc7464fb95357fa4ba21d8177c995dd6a697ab3d4f4b53ef76c3e2f"
    )


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, CHUNK_BYTES - 1, CHUNK_BYTES])
def test_chunk_digest_is_what_the_document_says(size: int) -> None:
    data = random.Random(size).randbytes(size)
    expected = blake3((3).to_bytes(8, "big") + data, key=KEY).digest()
    assert digest.chunk_digest(KEY, 3, data) == expected
    assert digest.chunk_digest(KEY, 3, memoryview(bytearray(data))) == expected


def test_chunk_digest_is_bound_to_key_and_place() -> None:
    seen = {
        digest.chunk_digest(key, index, b"data")
        for key in (KEY, digest.stream_key(bytes(32)))
        for index in (0, 1, 2**32 - 1)
    }
    assert len(seen) == 6


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 5000])
def test_root_takes_any_iterable(count: int) -> None:
    digests = [random.Random(number).randbytes(32) for number in range(count)]
    root_key = blake3(KEY, derive_key_context="medp2p 1 root key").digest()
    message = OFFER + (count * 9).to_bytes(8, "big") + b"".join(digests)
    for shape in (digests, iter(digests)):
        root = digest.root_digest(KEY, OFFER, count * 9, shape)
        assert root == blake3(message, key=root_key).digest()


def test_root_depends_on_everything() -> None:
    def root(
        key: bytes = KEY,
        offer: bytes = OFFER,
        length: int = 5,
        digests: Iterable[bytes] = (b"a" * 32, b"b" * 32),
    ) -> bytes:
        return digest.root_digest(key, offer, length, digests)

    others = [
        root(key=bytes(32)),
        root(offer=bytes(32)),
        root(length=6),
        root(digests=(b"b" * 32, b"a" * 32)),
        root(digests=(b"a" * 32,)),
    ]
    assert len({root(), *others}) == 6


@given(st.binary(max_size=300), st.lists(st.integers(0, 300)))
def test_manifest_digest_is_the_same_however_cut(data: bytes, cuts: list[int]) -> None:
    whole, pieces = digest.ManifestHasher(), digest.ManifestHasher()
    whole.update(data)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(places):
        pieces.update(data[start:end])
    assert pieces.digest() == whole.digest()


@pytest.mark.parametrize("name", OFFERED)
def test_offer_depends_on_each_field(name: str) -> None:
    value = OFFERED[name]
    other = value + 1 if isinstance(value, int) else value[:-1]
    assert digest.offer_digest(**OFFERED) != digest.offer_digest(**{**OFFERED, name: other})


def test_offer_fields_do_not_run_into_each_other() -> None:
    one = digest.offer_digest(**{**OFFERED, "label": b"ab", "note": "c"})
    other = digest.offer_digest(**{**OFFERED, "label": b"a", "note": "bc"})
    assert one != other


def test_offer_takes_any_text() -> None:
    assert digest.offer_digest(**{**OFFERED, "note": "\ud800"})


def test_kinds_of_digests_are_apart() -> None:
    """The same bytes under each kind give digests that have nothing in common."""
    data = KEY
    hasher = digest.ManifestHasher()
    hasher.update(data)
    seen = {
        hasher.digest(),
        digest.stream_key(data),
        blake3(data).digest(),
        blake3(data, derive_key_context="medp2p 1 offer").digest(),
        blake3(data, derive_key_context="medp2p 1 root key").digest(),
    }
    assert len(seen) == 5
