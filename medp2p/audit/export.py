"""The audit chain as JSON lines, for a security officer and for other programs.

Each line holds a record with its hash, so that the lines can be verified on their own
(``read_lines``, then ``chain.verify``), by hand too: the record's canonical form is its JSON
with sorted keys and no blanks.
"""

import base64
import json
from collections.abc import Iterable, Iterator

from medp2p.audit.chain import decode_record
from medp2p.errors import AuditError


def to_lines(rows: Iterable[tuple[int, bytes, bytes | None, bytes]]) -> Iterator[str]:
    """Yield one line of JSON per record, each with its line end.

    A record that is damaged is put out as it is, in base64: exporting is not verifying.

    Args:
        rows: (seq, record, sealed, hash), ascending; read one at a time.
    """
    for seq, record, sealed, digest in rows:
        line: dict[str, object] = {"seq": seq, "hash": digest.hex()}
        try:
            line["record"] = decode_record(record)
        except AuditError:
            line["record_b64"] = base64.b64encode(record).decode()
        line["sealed_b64"] = None if sealed is None else base64.b64encode(sealed).decode()
        yield json.dumps(line, sort_keys=True) + "\n"


def read_lines(lines: Iterable[str]) -> Iterator[tuple[int, bytes, bytes | None, bytes]]:
    """Yield (seq, record, sealed, hash) of exported lines, for ``chain.verify``.

    Raises:
        AuditError: A line was not made by ``to_lines``.
    """
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            if "record" in line:
                record = _canonical(line["record"])
            else:
                record = base64.b64decode(line["record_b64"], validate=True)
            sealed = line["sealed_b64"]
            yield (
                int(line["seq"]),
                record,
                None if sealed is None else base64.b64decode(sealed, validate=True),
                bytes.fromhex(line["hash"]),
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise AuditError(f"line {number} is not a line of an audit export") from error


def _canonical(fields: object) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")
