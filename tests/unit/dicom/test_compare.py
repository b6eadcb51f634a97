"""Expectations and typed confirmations."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.dicom.compare import (
    Domain,
    Expectation,
    can_confirm,
    confirms,
    masked,
    parse_expectation,
    unmet,
)
from medp2p.dicom.facts import Patient, Study
from medp2p.errors import UsageError

JANE = Patient("AB-1234", "", "Doe^Jane", "19700203", "F")
STUDY = Study(uid="1.2", accessions=("A1", "A2"))


def fields(found: Patient, domain: Domain = "internal", **expected: str) -> list[str]:
    parsed = parse_expectation(json.dumps(expected).encode())
    return [one.field for one in unmet(parsed, [found], [STUDY], domain=domain)]


def test_expectation_that_is_met() -> None:
    assert fields(JANE, patient_id="AB-1234") == []
    assert fields(JANE, patient_name="doe, jane", birth_date="1970-02-03") == []
    names = {"patient_id": " AB-1234 ", "patient_name": "DOE^JANE", "birth_date": "19700203"}
    rest = {"sex": "F", "accession": "A2", "study_uid": "1.2"}
    assert fields(JANE, "internal", **names, **rest) == []


def test_each_difference_is_named() -> None:
    assert fields(JANE, patient_id="AB-1235") == ["patient_id"]
    assert fields(JANE, patient_id="ab-1234") == ["patient_id"]
    assert fields(JANE, patient_id="AB-1234", patient_name="Doe^John") == ["patient_name"]
    assert fields(JANE, patient_id="AB-1234", patient_name="Jane^Doe") == ["patient_name"]
    assert fields(JANE, patient_id="AB-1234", birth_date="1970-02-04") == ["birth_date"]
    assert fields(JANE, patient_id="AB-1234", sex="M") == ["sex"]
    assert fields(JANE, patient_id="AB-1234", sex="O") == ["sex"]
    assert fields(Patient(id="AB-1234"), patient_id="AB-1234", sex="F") == ["sex"]
    assert fields(Patient(id="1", sex="O"), patient_id="1", sex="o") == []
    assert fields(JANE, patient_id="AB-1234", accession="A9") == ["accession"]
    assert fields(JANE, patient_id="AB-1234", study_uid="1.3") == ["study_uid"]
    assert fields(Patient(id="AB-1234"), patient_id="AB-1234", birth_date="1970-02-03") == [
        "birth_date"
    ]


def test_issuers() -> None:
    issued = Patient("1", "A", "Doe^Jane", "19700203")
    assert fields(issued, patient_id="1") == []
    assert fields(issued, patient_id="1", issuer="A") == []
    assert fields(issued, patient_id="1", issuer="B") == ["patient_id", "issuer"]
    assert fields(Patient(id="1"), patient_id="1", issuer="A") == ["issuer"]


def test_ids_of_an_external_peer_need_their_issuer_or_name_and_birth_date() -> None:
    issued = Patient("1", "A", "Doe^Jane", "19700203")
    person = {"patient_name": "Doe^Jane", "birth_date": "19700203"}
    assert fields(issued, "external", patient_id="1", issuer="A") == []
    assert fields(issued, "external", patient_id="1", issuer="B") == ["patient_id"]
    assert fields(issued, "external", patient_id="1") == ["patient_id"]
    assert fields(issued, "external", patient_id="9", **person) == []
    assert fields(issued, "external", patient_id="9", patient_name="Doe^Jane") == ["patient_id"]
    assert fields(issued, "external", **{**person, "birth_date": "19710203"}) == ["birth_date"]


def test_no_patient_and_several() -> None:
    expected = Expectation(patient_id="1")
    assert [one.field for one in unmet(expected, [])] == ["patient"]
    assert len(unmet(expected, [Patient(id="1"), Patient(id="2")])) == 1
    assert unmet(Expectation(patient_id="1", study_uid="1.2"), [Patient(id="1")])


def test_differences_are_harmless_text() -> None:
    found = unmet(Expectation(patient_id="1\x1b"), [Patient(id="2", issuer="X")])
    assert found[0].text == "patient id: expected 1\\x1b, found 2 (X)"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"patient_id": 5}',
        b'{"patient_id": "1", "name": "x"}',
        b'{"patient_id": ""}',
        b'{"patient_name": "Doe^Jane"}',
        b'{"birth_date": "19700203"}',
        b'{"patient_id": "1", "birth_date": "yesterday"}',
        b'{"patient_id": "1", "birth_date": "2025-02-29"}',
        b'{"patient_id": "1", "birth_date": "19701332"}',
        b"\xff",
        b" " * (limits.MAX_EXPECTATION_BYTES + 1),
    ],
)
def test_what_is_no_expectation(data: bytes) -> None:
    with pytest.raises(UsageError) as caught:
        parse_expectation(data)
    assert "yesterday" not in caught.value.text


@given(st.binary(max_size=60))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    with suppress(UsageError):
        parse_expectation(data)


@pytest.mark.parametrize("typed", ["1970", "1234", " 1234 "])
def test_typed_confirmation(typed: str) -> None:
    assert confirms(typed, JANE)


@pytest.mark.parametrize("typed", ["", " ", "y", "234", "AB-1234", "1971", "?"])
def test_what_confirms_nothing(typed: str) -> None:
    assert not confirms(typed, JANE)


def test_short_ids_and_nothing_to_type() -> None:
    assert confirms("A7", Patient(id="a-7"))
    assert not confirms("", Patient())
    assert not can_confirm(Patient(id="---"))
    assert can_confirm(Patient(name="Doe^Jane"))
    assert confirms("doe jane", Patient(id="-", name="Doe^Jane"))
    assert not confirms("doe", Patient(name="Doe^Jane"))
    assert not confirms("Doe^Jane", JANE)
    assert can_confirm(JANE)


def test_mask_hides_what_is_typed_and_nothing_else() -> None:
    hidden = masked(JANE)
    assert (hidden.id, hidden.birth_date, hidden.name) == ("AB-••••", "••••0203", "Doe^Jane")
    assert masked(Patient(id="1-2", birth_date="x")) == Patient(id="•-•", birth_date="x")


@given(st.text("0aB-\\ é", max_size=8), st.dates())
def test_the_mask_never_shows_what_confirms(patient_id: str, date: object) -> None:
    hidden = masked(Patient(id=patient_id, birth_date=str(date)))
    assert str(date)[:4] not in hidden.birth_date
    assert sum(char.isalnum() for char in hidden.id) == max(
        0, sum(char.isalnum() for char in patient_id) - 4
    )
