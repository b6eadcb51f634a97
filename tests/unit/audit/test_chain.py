"""The chain: whatever is changed, removed, swapped or inserted is found, and where."""

import hashlib
import json
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p.audit import chain
from medp2p.errors import AuditError

Row = tuple[int, bytes, bytes | None, bytes]

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def made(count: int, sealed_at: frozenset[int] = frozenset()) -> list[Row]:
    """Return a good chain; some records have sealed parts."""
    rows: list[Row] = []
    before = chain.GENESIS
    for seq in range(1, count + 1):
        sealed = b"sealed %d" % seq if seq in sealed_at else None
        record = chain.encode_record({"event": "offer", "n": seq}, sealed)
        before = chain.link(before, record)
        rows.append((seq, record, sealed, before))
    return rows


def head(rows: list[Row]) -> tuple[int, bytes]:
    return (rows[-1][0], rows[-1][3]) if rows else (0, chain.GENESIS)


def test_a_record_is_canonical() -> None:
    one = chain.encode_record({"b": 1, "a": ["ü", None, True], "c": "\udcff"})
    assert one == rb'{"a":["\u00fc",null,true],"b":1,"c":"\udcff"}'
    assert chain.decode_record(one) == {"a": ["ü", None, True], "b": 1, "c": "\udcff"}


def test_a_record_names_the_digest_of_its_sealed_part() -> None:
    fields = json.loads(chain.encode_record({"a": 1}, b"sealed"))
    assert fields == {"a": 1, "sealed_sha256": hashlib.sha256(b"sealed").hexdigest()}
    with pytest.raises(AuditError, match="is set by the chain"):
        chain.encode_record({"sealed_sha256": "x"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", object(), {1, 2}])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(AuditError, match="not a value for an audit record"):
        chain.encode_record({"a": value})


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "canonical"),
        (b'{"a": 1}', "canonical"),
        (b'{"b":1,"a":1}', "canonical"),
        (b'{"a":1,"a":1}', "canonical"),
        (b'{"a":NaN}', "not a value"),
    ],
)
def test_what_is_not_a_record_is_refused(record: bytes, text: str) -> None:
    with pytest.raises(AuditError, match=text):
        chain.decode_record(record)


@given(st.dictionaries(st.text().filter(lambda key: key != chain.SEALED_FIELD), JSON_VALUES))
def test_any_record_comes_back(fields: dict[str, Any]) -> None:
    record = chain.encode_record(fields)
    assert chain.decode_record(record) == fields
    assert chain.encode_record(chain.decode_record(record)) == record


def test_the_links_are_plain_sha_256() -> None:
    """Checked with the standard tool, as a security officer would."""
    rows = made(2)
    tool = shutil.which("sha256sum") or shutil.which("shasum")
    if tool is None:
        pytest.skip("no sha256sum here")

    def tool_digest(data: bytes) -> bytes:
        done = subprocess.run([tool], input=data, capture_output=True, check=True)
        return bytes.fromhex(done.stdout.split()[0].decode())

    first = tool_digest(bytes(32) + tool_digest(rows[0][1]))
    assert rows[0][3] == first
    assert rows[1][3] == tool_digest(first + tool_digest(rows[1][1]))


def test_an_empty_chain_is_good() -> None:
    result = chain.verify([], head=(0, chain.GENESIS))
    assert (result.ok, result.count, result.head) == (True, 0, chain.GENESIS)


def test_a_good_chain_is_good() -> None:
    rows = made(5, frozenset({2, 4}))
    result = chain.verify(rows, head=head(rows))
    assert result == chain.VerifyResult(
        count=5, head=rows[-1][3], broken_at=None, text="5 records, all good"
    )


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_missing_record_is_named(at: int) -> None:
    rows = made(5)
    del rows[at]
    result = chain.verify(rows)
    assert result.broken_at == at + 1
    assert result.text == f"record {at + 1} is missing: {at + 2} comes in its place"


def test_verifying_goes_on_after_a_known_record() -> None:
    rows = made(5)
    assert chain.verify(rows[3:], start=(3, rows[2][3]), head=head(rows)).ok
    assert chain.verify(rows[3:], start=(3, rows[1][3])).broken_at == 4


def test_an_erased_sealed_part_is_counted_not_blamed() -> None:
    rows = made(3, frozenset({1, 2}))
    rows[0] = (*rows[0][:2], None, rows[0][3])
    result = chain.verify(rows, head=head(rows))
    assert result.ok
    assert result.erased == 1


def test_a_sealed_part_that_was_changed_or_put_in_is_found() -> None:
    for at in (0, 1):
        rows = made(3, frozenset({1}))
        rows[at] = (*rows[at][:2], b"other", rows[at][3])
        result = chain.verify(rows)
        assert result.broken_at == at + 1
        assert "sealed part" in result.text


def test_a_chain_forged_with_records_that_are_not_canonical_is_found() -> None:
    record = b'{"a": 1}'
    result = chain.verify([(1, record, None, chain.link(chain.GENESIS, record))])
    assert result.broken_at == 1
    assert "canonical" in result.text


def test_without_a_witness_a_cut_end_looks_whole_with_one_it_does_not() -> None:
    rows = made(5)
    assert chain.verify(rows[:3]).ok
    result = chain.verify(rows[:3], head=head(rows))
    assert (result.broken_at, result.count) == (4, 3)
    assert result.text == "records after 3 are missing: there were 5"


def test_a_chain_made_anew_does_not_fit_its_witness() -> None:
    rows = made(3)
    forged = made(4)
    result = chain.verify(forged[:3], head=(3, b"x" * 32))
    assert "does not end in the hash" in result.text
    assert chain.verify(forged, head=head(rows)).broken_at == 5


@st.composite
def tampered(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """A good chain and the same with one thing changed, removed, swapped or inserted."""
    count = draw(st.integers(1, 8))
    rows = made(count, draw(st.frozensets(st.integers(1, count))))
    bad = list(rows)
    at = draw(st.integers(0, count - 1))
    how = draw(st.sampled_from(["record", "sealed", "hash", "remove", "swap", "insert", "double"]))
    seq, record, sealed, digest = bad[at]
    if how == "remove":
        del bad[at]
        if draw(st.booleans()):
            bad = [(n, *row[1:]) for n, row in enumerate(bad, 1)]
    elif how == "swap":
        other = draw(st.integers(0, count - 1).filter(lambda n: n != at or count == 1))
        bad[at], bad[other] = (seq, *bad[other][1:]), (bad[other][0], *bad[at][1:])
        if count == 1:
            bad = []
    elif how in ("insert", "double"):
        new = record if how == "double" else chain.encode_record({"n": draw(st.integers())})
        bad.insert(at, (seq, new, None, draw(st.sampled_from([digest, chain.GENESIS]))))
        bad = [(n, *row[1:]) for n, row in enumerate(bad, 1)]
    elif how == "sealed":
        bad[at] = (seq, record, (sealed or b"") + b"x", digest)
    else:
        whole = bytearray(record if how == "record" else digest)
        place = draw(st.integers(0, len(whole) - 1))
        whole[place] ^= draw(st.integers(1, 255))
        changed = bytes(whole)
        bad[at] = (
            (seq, changed, sealed, digest) if how == "record" else (seq, record, sealed, changed)
        )
    return rows, bad


@given(tampered())
def test_any_tampering_is_found(case: tuple[list[Row], list[Row]]) -> None:
    rows, bad = case
    result = chain.verify(bad, head=head(rows))
    assert not result.ok
    assert result.broken_at == result.count + 1
    for good, one in zip(rows, bad[: result.count], strict=False):
        # An inserted double of a record that lacks its sealed part looks erased.
        assert (one[0], one[1], one[3]) == (good[0], good[1], good[3]), "all before are good"
