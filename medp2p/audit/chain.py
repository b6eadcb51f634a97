"""The chain of audit records: h_i = SHA-256(h_(i-1) || SHA-256(record_i)), h_0 = 32 zero bytes.

Plain SHA-256 over plain JSON, so that anyone can follow the links with standard tools. A record
names the digest of its sealed part, so that the patient facts in it may be erased later without
breaking the chain. Pure: no files, no clock.

Source: docs/VAULT.md, "Audit chain".
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medp2p.errors import AuditError

HASH_BYTES = 32
#: The hash before the first record.
GENESIS = bytes(HASH_BYTES)
#: Field of a record that names the SHA-256 of its sealed part, in hex.
SEALED_FIELD = "sealed_sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What a verification found.

    Attributes:
        count: Records that are good, from the first on.
        head: Hash of the last good one.
        broken_at: Number of the first bad one, or None when all are good.
        text: One sentence for a person.
        erased: Good records whose patient facts were erased.
    """

    count: int
    head: bytes
    broken_at: int | None
    text: str
    erased: int = 0

    @property
    def ok(self) -> bool:
        """Whether the whole chain is good."""
        return self.broken_at is None


def encode_record(fields: Mapping[str, object], sealed: bytes | None = None) -> bytes:
    """Return the canonical bytes of a record: JSON, keys sorted, ASCII, no blanks.

    Args:
        fields: JSON values; nothing that names a patient.
        sealed: The record's sealed part; its digest becomes part of the record.

    Raises:
        AuditError: A value is not JSON, or the field for the digest is in use.
    """
    whole = dict(fields)
    if SEALED_FIELD in whole:
        raise AuditError(f"the field {SEALED_FIELD} of an audit record is set by the chain")
    if sealed is not None:
        whole[SEALED_FIELD] = hashlib.sha256(sealed).hexdigest()
    return canonical(whole)


def decode_record(record: bytes) -> dict[str, object]:
    """Return the fields of a record.

    Raises:
        AuditError: Not the canonical bytes of a record.
    """
    try:
        fields = json.loads(record)
    except (ValueError, RecursionError) as error:
        raise AuditError("an audit record is not JSON") from error
    if not isinstance(fields, dict) or canonical(fields) != record:
        raise AuditError("an audit record is not in canonical form")
    return fields


def link(previous: bytes, record: bytes) -> bytes:
    """Return the hash of a record: it covers this one and all before it."""
    return hashlib.sha256(previous + hashlib.sha256(record).digest()).digest()


def verify(
    rows: Iterable[tuple[int, bytes, bytes | None, bytes]],
    *,
    head: tuple[int, bytes] | None = None,
    start: tuple[int, bytes] = (0, GENESIS),
) -> VerifyResult:
    """Follow the chain and stop at the first record that does not fit.

    Args:
        rows: (seq, record, sealed, hash), ascending; read one at a time.
        head: (count, hash) of the last record as kept elsewhere: beside the chain, or by a
            witness. Without it a chain whose end was cut off looks whole.
        start: (count, hash) to begin after: all before it are taken as good.
    """
    count, before = start
    erased = 0

    def broken(text: str) -> VerifyResult:
        return VerifyResult(count=count, head=before, broken_at=count + 1, text=text, erased=erased)

    for seq, record, sealed, digest in rows:
        if seq != count + 1:
            return broken(f"record {count + 1} is missing: {seq} comes in its place")
        if link(before, record) != digest:
            return broken(f"record {seq} was changed, or the one before it removed or swapped")
        try:
            named = decode_record(record).get(SEALED_FIELD)
        except AuditError as error:
            return broken(f"record {seq}: {error.text}")
        if sealed is not None and hashlib.sha256(sealed).hexdigest() != named:
            return broken(f"the sealed part of record {seq} was changed")
        erased += named is not None and sealed is None
        count, before = seq, digest
    if head is not None and head != (count, before):
        if head[0] > count:
            return broken(f"records after {count} are missing: there were {head[0]}")
        return broken(f"the chain does not end in the hash that was kept for record {head[0]}")
    return VerifyResult(
        count=count, head=before, broken_at=None, text=f"{count} records, all good", erased=erased
    )


def canonical(fields: Mapping[str, object]) -> bytes:
    """Return JSON values as a record has them: keys sorted, ASCII, no blanks.

    Raises:
        AuditError: A value is not JSON.
    """
    try:
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise AuditError(f"not a value for an audit record: {error}") from error
    return text.encode("ascii")
