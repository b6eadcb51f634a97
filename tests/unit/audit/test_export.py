"""The export: lines that verify on their own, damaged records included."""

import json

import pytest

from medp2p.audit import chain, export
from medp2p.errors import AuditError

Row = tuple[int, bytes, bytes | None, bytes]


def made() -> list[Row]:
    rows: list[Row] = []
    before = chain.GENESIS
    for seq, sealed in ((1, None), (2, b"\xff sealed"), (3, b"")):
        record = chain.encode_record({"n": seq, "text": "line\nend ü \udcff"}, sealed)
        before = chain.link(before, record)
        rows.append((seq, record, sealed, before))
    return rows


def test_an_export_verifies_on_its_own() -> None:
    rows = made()
    lines = list(export.to_lines(rows))
    assert list(export.read_lines(lines)) == rows
    assert chain.verify(export.read_lines(lines), head=(3, rows[-1][3])).ok


def test_a_line_is_one_json_object_in_ascii() -> None:
    line = next(export.to_lines(made()))
    assert line.endswith("}\n")
    assert line.isascii()
    assert line.count("\n") == 1
    fields = json.loads(line)
    assert set(fields) == {"seq", "hash", "record", "sealed_b64"}
    assert fields["record"]["n"] == 1


def test_a_damaged_record_is_exported_as_it_is() -> None:
    rows = made()
    rows[1] = (2, b'\xff{"n":2}', None, rows[1][3])
    lines = list(export.to_lines(rows))
    assert "record_b64" in json.loads(lines[1])
    assert list(export.read_lines(lines)) == rows
    assert chain.verify(export.read_lines(lines)).broken_at == 2


def test_a_changed_line_is_found() -> None:
    lines = list(export.to_lines(made()))
    lines[1] = lines[1].replace('"n": 2', '"n": 7')
    assert chain.verify(export.read_lines(lines)).broken_at == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "[]",
        "1",
        "{}",
        '{"record": {}, "seq": "x", "hash": "", "sealed_b64": null}',
        '{"record": {}, "seq": 1, "hash": "zz", "sealed_b64": null}',
        '{"record": {}, "seq": 1, "hash": "", "sealed_b64": "*"}',
        '{"record_b64": "*", "seq": 1, "hash": "", "sealed_b64": null}',
        '{"record": NaN, "seq": null, "hash": "", "sealed_b64": null}',
        "[" * 100_000,
    ],
)
def test_what_is_not_an_export_is_refused(line: str) -> None:
    with pytest.raises(AuditError, match="line 1 is not a line of an audit export"):
        list(export.read_lines([line]))
