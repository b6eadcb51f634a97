"""The audit chain as JSON lines: what `medp2p audit export` prints, and how it is read again.

A line has the fields of a record and, beside them, ``seq``, ``hash`` and what could be opened of
its patient facts (``label``). Without these its JSON with sorted keys and no blanks is the record
itself, so that anyone can follow the chain by hand. The chain covers the patient facts in their
sealed form only, which stays in the vault.

Source: docs/CLI.md, "Audit".
"""

import base64
import json
from collections.abc import Iterable, Iterator

from medp2p.audit.chain import canonical, decode_record
from medp2p.errors import AuditError

#: What a line has beside the fields of its record.
_BESIDE = frozenset({"seq", "hash", "label", "damaged"})


def to_json(seq: int, record: bytes, digest: bytes) -> dict[str, object]:
    """Return a record as a line of an export has it, without its patient facts.

    One that is damaged is put out as it is, ``record_b64``: exporting is not verifying.

    Args:
        seq: Its number, from 1.
        record: Its canonical bytes.
        digest: Its hash in the chain.
    """
    ends = {"seq": seq, "hash": digest.hex()}
    try:
        return {**decode_record(record), **ends}
    except AuditError:
        return {**ends, "record_b64": base64.b64encode(record).decode(), "damaged": True}


def read_lines(lines: Iterable[str]) -> Iterator[tuple[int, bytes, None, bytes]]:
    """Yield (seq, record, None, hash) of exported lines, for ``chain.verify``.

    Raises:
        AuditError: A line is none of an export.
    """
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            yield _number(line["seq"]), _record(line), None, bytes.fromhex(line["hash"])
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
            AuditError,
        ) as error:
            raise AuditError(f"line {number} is not a line of an audit export") from error


def _number(value: object) -> int:
    """Return a number as exports have it: 1e999 and 1.5 are none, nor is true."""
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


def _record(line: dict[str, object]) -> bytes:
    if "record_b64" in line:
        return base64.b64decode(str(line["record_b64"]), validate=True)
    fields = {key: value for key, value in line.items() if key not in _BESIDE}
    return canonical(fields)
