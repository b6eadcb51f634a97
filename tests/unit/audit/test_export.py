"""The export: lines that verify on their own, damaged records included."""

import json

import pytest

from medp2p.audit import chain, export
from medp2p.errors import AuditError

Row = tuple[int, bytes, None, bytes]


def made() -> list[Row]:
    rows: list[Row] = []
    before = chain.GENESIS
    for seq, sealed in ((1, None), (2, b"\xff sealed"), (3, b"")):
        record = chain.encode_record({"n": seq, "text": "line\nend ü \udcff"}, sealed)
        before = chain.link(before, record)
        rows.append((seq, record, None, before))
    return rows


def lines_of(rows: list[Row]) -> list[str]:
    return [json.dumps(export.to_json(seq, record, end)) for seq, record, _, end in rows]


def test_an_export_verifies_on_its_own() -> None:
    rows = made()
    assert list(export.read_lines(lines_of(rows))) == rows
    assert chain.verify(export.read_lines(lines_of(rows)), head=(3, rows[-1][3])).ok


def test_patient_facts_beside_a_record_are_no_part_of_it() -> None:
    lines = [json.dumps(json.loads(line) | {"label": {"n": 1}}) for line in lines_of(made())]
    assert list(export.read_lines(lines)) == made()


def test_a_damaged_record_is_exported_as_it_is() -> None:
    rows = made()
    rows[1] = (2, b'\xff{"n":2}', None, rows[1][3])
    lines = lines_of(rows)
    assert json.loads(lines[1])["damaged"] is True
    assert list(export.read_lines(lines)) == rows
    assert chain.verify(export.read_lines(lines)).broken_at == 2


@pytest.mark.parametrize("change", [{"n": 7}, {"more": 1}, {"sealed_sha256": "00"}])
def test_a_changed_line_is_found(change: dict[str, object]) -> None:
    lines = lines_of(made())
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    assert chain.verify(export.read_lines(lines)).broken_at == 2


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "[]",
        "1",
        "{}",
        '{"n": 1, "seq": "x", "hash": ""}',
        '{"n": 1, "seq": 1, "hash": "zz"}',
        '{"n": 1, "seq": 1, "hash": 5}',
        '{"record_b64": "*", "seq": 1, "hash": ""}',
        '{"record_b64": "ü", "seq": 1, "hash": ""}',
        '{"n": NaN, "seq": null, "hash": ""}',
        '{"n": 1, "seq": 1e999, "hash": ""}',
        '{"n": 1, "seq": 1.5, "hash": ""}',
        '{"n": 1, "seq": true, "hash": ""}',
        "[" * 100_000,
    ],
)
def test_what_is_not_an_export_is_refused(line: str) -> None:
    with pytest.raises(AuditError, match="line 1 is not a line of an audit export"):
        list(export.read_lines([line]))
