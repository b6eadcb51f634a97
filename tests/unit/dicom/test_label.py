"""Labels: what they hold, their bytes, and what differs."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.dicom import patients
from medp2p.dicom.checks import check
from medp2p.dicom.facts import FileFacts, Patient, Series, Study
from medp2p.dicom.finding import Finding
from medp2p.dicom.label import (
    Label,
    LeftOut,
    PatientLine,
    StudyLine,
    build_label,
    decode_label_untrusted,
    encode_label,
    not_of,
    same_label,
)
from medp2p.dicom.patients import Item, one_person
from medp2p.errors import RemoteProtocolError
from tests.helpers.dicoms import DEID, DISC, image, items_of, other

BOB = Patient("2", "H", "Smith^Bob", "19500101", "M")


def test_label_of_a_real_study() -> None:
    items = items_of(DEID, sorted((DEID / "humans").glob("*.dcm")))
    label = build_label(items, check(items, today="20261125"))
    assert [line.patient.name for line in label.patients] == ["SIMPSON^HOMER^J^"] or label.patients
    assert label.images == 2
    assert sum(line.images for line in label.series) == 2
    assert not label.needs_typing
    assert decode_label_untrusted(encode_label(label)) == label


def test_label_of_a_disc() -> None:
    paths = sorted(path for path in DISC.glob("[79]*/**/*") if path.is_file())
    label = build_label(items_of(DISC, [*paths, DISC / "DICOMDIR"]))
    assert (label.images, label.directories, label.loose) == (31, 1, 0)
    assert [line.images for line in label.patients] == [7, 24]
    assert {line.patient for line in label.studies} == {0, 1}
    assert sum(line.images for line in label.studies) == 31


def test_files_without_header_inherit_or_want_typing() -> None:
    assert not build_label([image("a/1"), other("a/x")]).needs_typing
    alone = [other("a/x"), other("a/y")]
    assert build_label(alone).needs_typing
    assert build_label(alone).loose == 2
    assert not build_label(alone, no_patient_data=True).needs_typing
    typed = build_label(alone, typed=BOB)
    assert not typed.needs_typing
    assert typed.persons == (BOB,)
    assert build_label([image("a", BOB)], typed=BOB).persons == (BOB,)


def test_flags_institutions_and_images_without_series() -> None:
    items = [
        image("a", institution="H", burned_in="YES", visual_features="YES"),
        image("b", institution="H", identity_removed="YES", encapsulated=True),
        Item(b"c", FileFacts(kind="dicom", patient=BOB)),
        Item(b"d", FileFacts(kind="unverified", reason="damaged")),
    ]
    untold = Finding("burned-in-untold", "info", "x")
    label = build_label(items, [untold], allowed=["truncated"])
    assert label.flags == (
        "burned-in",
        "burned-in-untold",
        "encapsulated",
        "identity-removed",
        "visual-features",
    )
    assert label.institutions == ("H",)
    assert (label.images, label.unverified, label.allowed) == (3, 1, ("truncated",))
    assert label.studies[1].study.uid == ""


def huge(count: int) -> Label:
    items = [
        image(
            f"f{number}",
            Patient(id=f"{number // 50}", name="N" * 200),
            study=f"1.{number // 5}",
            series=f"1.2.{number}" + "9" * 40,
            institution=f"I{number}" * 20,
        )
        for number in range(count)
    ]
    findings = [Finding("slice-gap", "warn", "x" * 500, ("é" * 500,) * 5, 5)] * 300
    return build_label(items, findings)


@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_a_label_always_fits_and_counts_what_is_left_out(count: int) -> None:
    label = huge(count)
    assert len(encode_label(label)) <= limits.MAX_LABEL_BYTES
    assert len(label.series) + label.left_out.series == count
    assert len(label.patients) + label.left_out.patients == count // 50
    assert len(label.findings) + label.left_out.findings == 300
    assert decode_label_untrusted(encode_label(label)) == label
    assert all(line.patient < len(label.patients) for line in label.studies)


def test_hostile_labels() -> None:
    for data in (
        b"",
        b"\xff",
        bytes(limits.MAX_LABEL_BYTES + 1),
        msgspec.msgpack.encode({"images": "many"}),
        msgspec.msgpack.encode([]),
        encode_label(Label(studies=(StudyLine(0, image("a").facts.study or 1),))),  # type: ignore[arg-type]
        encode_label(Label(studies=(StudyLine(-2, image("a").facts.study or 1),))),  # type: ignore[arg-type]
    ):
        with pytest.raises(RemoteProtocolError):
            decode_label_untrusted(data)


def test_told_text_is_harmless_and_unknown_fields_pass() -> None:
    patient = Patient(id="1\x1b[31m", name="\u202eeoD")
    told = msgspec.to_builtins(Label(patients=(PatientLine(patient),)))
    label = decode_label_untrusted(msgspec.msgpack.encode({**told, "newer": 1}))
    assert label.patients[0].patient == Patient(id="1\\x1b[31m", name="\\u202eeoD")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_decoder(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_label_untrusted(data)


# --- promised and found -------------------------------------------------------------------

STUDY = [image(f"a/{number}", series=f"1.2.{number % 3}") for number in range(9)]


def differences(items: list[Item]) -> list[str]:
    return [one.field for one in same_label(build_label(STUDY), build_label(items))]


def test_equal_files_have_the_same_label() -> None:
    assert differences(STUDY) == []
    promised = build_label(STUDY, check(STUDY, today="20261125"), typed=BOB, allowed=["x"])
    assert same_label(promised, build_label(STUDY)) == []


def test_each_difference_is_listed() -> None:
    assert "images" in differences(STUDY[1:])
    assert "series" in differences([*STUDY[1:], image("a/0", series="1.2.1")])
    assert "series" in differences([*STUDY[1:], image("a/0", series="1.2.9")])
    assert "studies" in differences([*STUDY[1:], image("a/0", study="1.9", series="1.2.0")])
    assert "patients" in differences([*STUDY[1:], image("a/0", BOB, series="1.2.0")])
    assert differences([*STUDY, other("x")]) == ["without_header", "loose"]
    odd = Item(b"x", FileFacts(kind="unverified"))
    assert differences([*STUDY, odd]) == ["unverified", "loose"]
    assert differences([*STUDY, Item(b"D", FileFacts(kind="dicomdir"))]) == ["directories"]
    swapped = [
        image(item.path.decode(), BOB, series=(item.facts.series or Series()).uid) for item in STUDY
    ]
    texts = [one.text for one in same_label(build_label(STUDY), build_label(swapped))]
    assert any("Smith^Bob" in text and "promised none" in text for text in texts)


def test_every_word_that_a_header_gave_is_compared() -> None:
    """A label is shown before the files are there: no word in it may be the sender's own."""
    facts = FileFacts(
        kind="dicom",
        patient=Patient(id="1", issuer="H", name="Doe^Jane", birth_date="19700203"),
        study=Study(uid="1.2", date="20260101", time="1000", description="CT HEAD"),
        series=Series(uid="1.3", number="1", modality="CT", description="axial"),
        institution="H",
        burned_in="YES",
    )
    real = build_label([Item(b"d/a", facts)])
    study, series, patient = real.studies[0], real.series[0], real.patients[0]
    change = msgspec.structs.replace

    def kinds(**changes: Any) -> set[str]:
        return {one.field for one in same_label(change(real, **changes), real)}

    assert kinds() == set()
    for text in ({"description": "MR KNEE"}, {"time": "2359"}, {"date": "20250101"}):
        assert kinds(studies=(change(study, study=change(study.study, **text)),)) == {"studies"}
    for line in ({"modalities": ("MR",)}, {"series": 9}):
        assert kinds(studies=(change(study, **line),)) == {"studies"}
    for word in ({"number": "9"}, {"description": "other"}, {"modality": "MR"}):
        assert kinds(series=(change(series, **word),)) == {"series"}
    for who in ({"id": "1 of H", "issuer": ""}, {"raw_name": "Roe^Eve"}, {"sex": "M"}):
        assert kinds(patients=(change(patient, patient=change(patient.patient, **who)),)) == {
            "patients"
        }
    assert kinds(institutions=("OTHER",)) == {"institutions"}
    assert kinds(flags=()) == {"flags"}
    assert kinds(loose=5) == {"loose"}


def test_a_label_nested_too_deeply_is_damaged() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_label_untrusted(b"\x81\xa1x" + b"\x91" * 40_000 + b"\xc0")


def test_many_persons_without_id_are_not_all_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [0]

    def counted(one: Patient, other: Patient) -> bool:
        calls[0] += 1
        return one_person(one, other)

    monkeypatch.setattr(patients, "one_person", counted)
    one, other = [
        Label(patients=tuple(PatientLine(Patient(name=f"{name}{n}^X")) for n in range(300)))
        for name in "ab"
    ]
    assert len(not_of(one, other)) == 300
    assert calls[0] <= limits.MAX_PERSONS_COMPARED


def test_lines_left_out_prove_nothing() -> None:
    label = huge(2000)
    shorter = msgspec.structs.replace(
        label,
        series=label.series[:3],
        left_out=msgspec.structs.replace(label.left_out, series=2000 - 3),
    )
    assert same_label(label, shorter) == []
    assert same_label(shorter, label) == []


def test_a_patient_who_is_left_out_is_never_excused() -> None:
    label = build_label(STUDY)
    nothing = LeftOut(patients=1, studies=1, series=3)
    empty = msgspec.structs.replace(label, patients=(), studies=(), series=(), left_out=nothing)
    for promised, came in ((empty, label), (label, empty), (empty, empty)):
        assert "patients" in [one.field for one in same_label(promised, came)]


def test_whether_the_headers_speak_for_all_files() -> None:
    label = build_label(STUDY)
    assert label.speaks_for_all
    unknown = PatientLine(Patient(birth_date="19700203"), 9)
    for changes in (
        {"images": 0},
        {"patients": ()},
        {"patients": (*label.patients, unknown)},
        {"loose": 1},
        {"unverified": 1},
        {"left_out": LeftOut(patients=1)},
    ):
        assert not msgspec.structs.replace(label, **changes).speaks_for_all
    assert not build_label([*STUDY, Item(b"x", FileFacts(kind="unverified"))]).speaks_for_all
    assert not build_label([other("x")]).speaks_for_all
