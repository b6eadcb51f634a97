"""Inspection: against pydicom on its own files, and against bytes that are wrong on purpose."""

import warnings
import zlib
from pathlib import Path
from struct import pack

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.dicom import inspect as inspect_module
from medp2p.dicom.facts import FileFacts, Patient, Study, decode_facts, encode_facts
from medp2p.dicom.inspect import inspect
from medp2p.dicom.plain import inspect_plainly
from tests.helpers.dicoms import (
    BIG,
    BIGGER,
    DEFLATED,
    DEID,
    DISC,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    PYDICOM,
    SEQUENCE_END,
    SMALL,
    UNDEFINED,
    dataset,
    element,
    file_of,
    inspected,
    inspected_bytes,
    item,
    pixels,
    real_files,
)

#: Not readable by pydicom without force, or not telling which image they are.
BARE = {"ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "rtstruct.dcm", "OT-PAL-8-face.dcm"}
INCOMPLETE = {
    "empty_charset_LEI.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "no_meta_group_length.dcm",
    "priv_SQ.dcm",
    "UN_sequence.dcm",
    "chrSQEncoding.dcm",
    "chrSQEncoding1.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
}
#: Cut within an element, or before the study.
TRUNCATED = {
    "MR_truncated.dcm",
    "rtplan_truncated.dcm",
    "emri_small_jpeg_2k_lossless_too_short.dcm",
    "no_meta_group_length.dcm",
    "empty_charset_LEI.dcm",
}


def oracle(path: Path) -> pydicom.Dataset | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pydicom.dcmread(path, stop_before_pixels=True)
        except Exception:  # noqa: BLE001  whatever stops pydicom
            return None


def told(found: pydicom.Dataset, keyword: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = found.get(keyword)
        return "" if value is None else str(value).strip()


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_real_file_says_what_pydicom_says(path: Path) -> None:
    facts, found = inspected(path), oracle(path)
    assert bool(facts.truncated) == (path.name in TRUNCATED)
    if path.name in BARE:
        assert (facts.kind, facts.preamble) == ("dicom", "none")
    elif path.name == "no_meta.dcm":
        assert (facts.kind, facts.reason) == ("unverified", "no-header")
    elif path.name in INCOMPLETE:
        assert (facts.kind, facts.reason) == ("unverified", "incomplete")
    elif found is None:
        assert facts.kind == "other"
    elif path.name.startswith("DICOMDIR"):
        assert facts.kind == "dicomdir"
    else:
        assert facts.kind == "dicom"
        patient = facts.patient or Patient()
        assert patient.id == told(found, "PatientID")
        assert patient.name == told(found, "PatientName").rstrip("=")
        assert patient.birth_date == told(found, "PatientBirthDate")
        assert (facts.study.uid if facts.study else "") == told(found, "StudyInstanceUID")
        assert (facts.series.uid if facts.series else "") == told(found, "SeriesInstanceUID")
        assert str(facts.rows) == (told(found, "Rows") or "0")
        assert facts.number == told(found, "InstanceNumber") or facts.number.startswith("0")


def test_seventeen_character_sets() -> None:
    names = {
        path.name: (inspected(path).patient or Patient()).name
        for path in (PYDICOM / "charset_files").glob("*.dcm")
    }
    assert len(names) == 17
    assert names["chrGerm.dcm"] == "Äneas^Rüdiger"
    assert names["chrH32.dcm"] == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
    assert names["chrI2.dcm"] == "Hong^Gildong=洪^吉洞=홍^길동"
    assert names["chrRuss.dcm"] == "Люкceмбypг"  # noqa: RUF001  as in the file
    assert names["chrX1.dcm"] == "Wang^XiaoDong=王^小東"
    assert names["chrX2.dcm"] == "Wang^XiaoDong=王^小东"


def test_issuer_accession_and_secondary_capture() -> None:
    facts = inspected(DEID / "humans" / "ctbrain1.dcm")
    assert facts.patient is not None
    assert facts.study is not None
    assert facts.patient.issuer == "CCHS"
    assert facts.study.accessions
    assert facts.truncated is False


def test_burned_in_ultrasound_with_two_accession_numbers() -> None:
    facts = inspected(DEID / "ultrasounds" / "ultrasound-multiframe.dcm")
    assert facts.burned_in == "YES"
    assert facts.frames > 1
    assert facts.study is not None
    assert len(facts.study.accessions) == 2


def test_enhanced_multi_frame() -> None:
    facts = inspected(BIGGER / "eCT_Supplemental.dcm")
    assert (facts.kind, facts.frames, facts.burned_in) == ("dicom", 2, "NO")


def test_deflated() -> None:
    facts = inspected(SMALL / "image_dfl.dcm")
    assert (facts.kind, facts.transfer_syntax, facts.rows) == ("dicom", DEFLATED, 512)


def test_directory_is_no_image_and_names_files_and_patients() -> None:
    directory = inspected(DISC / "DICOMDIR").directory
    assert directory is not None
    assert len(directory.files) == 31
    assert "77654033/CR1/6154" in directory.files
    assert [patient.id for patient in directory.patients] == ["77654033", "98890234"]


@pytest.mark.parametrize("size", [400, 1000, 3000, 20000])
def test_cut_slice_is_truncated(size: int) -> None:
    data = (SMALL / "CT_small.dcm").read_bytes()[:size]
    assert inspect(data, len(data)).truncated


def test_slice_cut_anywhere_is_truncated_or_unverified() -> None:
    data = (SMALL / "MR_small.dcm").read_bytes()
    for size in (*range(132, 1500), len(data) // 2):
        facts = inspect(data[:size], size)
        assert facts.truncated is not False or facts.kind == "unverified", size


def test_any_head_of_a_whole_slice_asks_for_more_or_says_the_same() -> None:
    data = (SMALL / "CT_small.dcm").read_bytes()
    whole = inspect(data, len(data))
    for size in range(132, 8000, 7):
        facts = inspect(data[:size], len(data))
        assert facts == whole or facts.wanted_bytes > size


# --- made by hand -------------------------------------------------------------------------


def test_made_file() -> None:
    facts = inspected_bytes(file_of(dataset()))
    assert facts.kind == "dicom"
    assert facts.patient == Patient("123456", "", "Doe^Jane", "19700203", "F")
    assert decode_facts(encode_facts(facts)) == facts


def nested(depth: int, known: bool) -> bytes:
    if known:
        body = b""
        for _ in range(depth):
            body = element(0x00081140, "SQ", item(body))
        return body
    opened = element(0x00081140, "SQ", b"", UNDEFINED) + item(length=UNDEFINED)[:8]
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0" + SEQUENCE_END
    return opened * depth + closed * depth


@pytest.mark.parametrize("depth", [1, 10, limits.DICOM_DEPTH // 2])
def test_nesting(depth: int) -> None:
    body = dataset({0x00081140: ("UN", b"")})
    for nest in (nested(depth, False), nested(min(depth, 10), True)):
        made = body.replace(element(0x00081140, "UN", b""), nest)
        facts = inspected_bytes(file_of(made))
        assert (facts.kind, facts.patient) == ("dicom", inspected_bytes(file_of(body)).patient)


@pytest.mark.parametrize("depth", [limits.DICOM_DEPTH, 300, 10_000])
def test_too_deep_is_unverified(depth: int) -> None:
    made = dataset().replace(element(0x0020000D, "UI", "1.2.3"), nested(depth, False))
    facts = inspected_bytes(file_of(made))
    assert (facts.kind, facts.reason) == ("unverified", "deep")
    assert facts.patient is not None  # what stood before is kept, for the checks


def test_too_many_elements_are_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DICOM_ELEMENTS", 5)
    facts = inspected_bytes(file_of(dataset()))
    assert (facts.kind, facts.reason) == ("unverified", "damaged")


def test_deflate_bomb_is_bounded() -> None:
    bomb = file_of(dataset({0x00091001: ("UT", bytes(200 * limits.MIB))}), DEFLATED)
    assert len(bomb) < limits.MIB
    facts = inspected_bytes(bomb)
    assert (facts.kind, facts.reason, facts.truncated) == ("unverified", "deflated", None)


def test_bomb_behind_the_header_hides_nothing() -> None:
    bomb = file_of(dataset() + pixels(20 * limits.MIB), DEFLATED)
    assert inspected_bytes(bomb).kind == "dicom"


def test_damaged_and_cut_deflated_streams() -> None:
    whole = file_of(dataset() + pixels(), DEFLATED)
    assert inspected_bytes(whole).kind == "dicom"
    cut = inspected_bytes(whole[:-40])
    assert (cut.reason, cut.truncated) == ("deflated", True)
    damaged = file_of(b"", EXPLICIT).replace(
        element(0x00020010, "UI", EXPLICIT), element(0x00020010, "UI", DEFLATED)
    )
    assert inspected_bytes(damaged + b"\xff" * 100).reason == "deflated"


@pytest.mark.parametrize("count", [10_000, 100_000])
def test_deflated_file_longer_than_its_head_asks_for_more(count: int) -> None:
    import random

    noise = random.Random(1).randbytes(count)
    facts = inspected_bytes(file_of(element(0x00080001, "UT", noise) + dataset(), DEFLATED))
    assert facts.kind == "dicom"


@pytest.mark.parametrize(
    ("preamble", "kind"),
    [
        (b"", "zero"),
        (b"II*\0", "tiff"),
        (b"MZ\x90", "executable"),
        (b"\x7fELF", "executable"),
        (b"#!/bin/sh", "script"),
        (b"hello", "other"),
        (b"PK\x03\x04", "other"),
    ],
)
def test_preamble(preamble: bytes, kind: str) -> None:
    made = file_of(dataset(), preamble=preamble.ljust(128, b"\0"))
    assert inspected_bytes(made).preamble == kind


@pytest.mark.parametrize(
    ("head", "kind", "content"),
    [
        (b"", "other", "empty"),
        (b"\x89PNG\r\n", "other", "image"),
        (b"%PDF-1.7", "other", "pdf"),
        (b"hello", "other", "text"),
        (b"MZ\0", "other", "executable"),
        (bytes(500), "other", ""),
        (b"\x08\0" + bytes(500), "other", ""),
        (b"\0\x08\0\x05CS" + bytes(20), "other", ""),
        (b"see 1.2.840.10008.1.2", "other", "text"),
        (b"\0\x01 1.2.840.10008.1.2", "unverified", ""),
    ],
)
def test_other_content(head: bytes, kind: str, content: str) -> None:
    facts = inspect(head, len(head))
    assert (facts.kind, facts.content) == (kind, content)
    assert inspect_plainly(head) == (None if head[:2] in (b"\x08\0", b"\0\x08") else facts)


@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_no_real_file_is_no_dicom_at_first_sight(path: Path) -> None:
    head = path.read_bytes()[: limits.DICOM_HEAD_BYTES]
    plain = inspect_plainly(head)
    assert plain is None or plain == inspected(path)
    assert plain is None or plain.kind != "dicom"


def test_bare_data_sets() -> None:
    assert inspected_bytes(dataset()).kind == "dicom"
    assert inspected_bytes(file_of(dataset())[132:]).kind == "dicom"  # meta without preamble
    unknown = dataset({0x00080016: ("UI", "1.2.3")})
    assert inspected_bytes(unknown).kind == "unverified"  # other elements have UIDs' root
    assert inspected_bytes(dataset({0x00080018: None})).kind == "unverified"


def test_declared_implicit_but_explicit_and_the_other_way() -> None:
    assert inspected_bytes(file_of(dataset(), IMPLICIT)).kind == "dicom"
    assert inspected_bytes(file_of(dataset(), BIG)).kind == "dicom"
    implicit = b"".join(
        pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
        for tag, value in ((0x00080018, b"1.2.3\0"), (0x0020000D, b"1.2\0"))
    )
    assert inspected_bytes(file_of(implicit, EXPLICIT)).study == Study(uid="1.2")
    assert inspected_bytes(file_of(b"", EXPLICIT)).reason == "incomplete"


def test_repeated_identity_is_unverified_unless_equal() -> None:
    again = dataset() + element(0x00100020, "LO", "999")
    assert inspected_bytes(file_of(again)).reason == "repeated"
    same = dataset() + element(0x00100020, "LO", "123456")
    assert inspected_bytes(file_of(same)).kind == "dicom"


def test_patient_without_study_is_incomplete() -> None:
    """What is left of a file that was cut between two elements looks whole."""
    assert inspected_bytes(file_of(dataset({0x0020000D: None}))).reason == "incomplete"
    assert inspected_bytes(file_of(dataset()[:-80])).kind == "unverified"


def size_of(rows: int, columns: int, **more: tuple[str, bytes | str]) -> bytes:
    return dataset(
        {
            0x00280002: ("US", pack("<H", 1)),
            0x00280010: ("US", pack("<H", rows)),
            0x00280011: ("US", pack("<H", columns)),
            0x00280100: ("US", pack("<H", 16)),
            **{int(tag[1:], 16): value for tag, value in more.items()},
        }
    )


def test_pixels_shorter_than_rows_and_columns() -> None:
    assert inspected_bytes(file_of(size_of(2, 2) + pixels(8))).truncated is False
    assert inspected_bytes(file_of(size_of(2, 3) + pixels(8))).truncated is True
    assert inspected_bytes(file_of(size_of(2, 2) + pixels(8, 10))).truncated is True
    subsampled = size_of(2, 3, t00280004=("CS", "YBR_FULL_422"))
    assert inspected_bytes(file_of(subsampled + pixels(8))).truncated is False
    assert inspected_bytes(file_of(size_of(2, 3) + pixels(8), JPEG)).truncated is False


def test_image_without_pixels() -> None:
    """It may have been cut just there, or stripped on purpose."""
    assert inspected_bytes(file_of(size_of(2, 2))).truncated is None
    elsewhere = size_of(2, 2) + element(0x00287FE0, "UT", "http://pacs/x")
    assert inspected_bytes(file_of(elsewhere)).truncated is False


def test_compressed_pixels_end_with_their_delimiter() -> None:
    frames = item() + item(bytes(40_000))
    whole = file_of(size_of(9, 9) + element(0x7FE00010, "OB", frames, UNDEFINED), JPEG)
    whole += SEQUENCE_END
    assert inspected_bytes(whole).truncated is False
    assert inspected_bytes(whole[:-8]).truncated is True
    assert inspect(whole[:20_000], len(whole)).truncated is None


def test_encapsulated_and_flags() -> None:
    body = dataset(
        {
            0x00120062: ("CS", "yes"),
            0x00280302: ("CS", "YES"),
            0x00209161: ("UI", "1.7"),
            0x00209163: ("US", pack("<H", 4)),
        }
    )
    facts = inspected_bytes(file_of(body + element(0x00420011, "OB", b"%PDF")))
    assert facts.encapsulated
    assert (facts.identity_removed, facts.visual_features) == ("YES", "YES")
    assert facts.concatenation == ("1.7", 4)


def test_odd_numbers_do_not_matter() -> None:
    body = dataset(
        {
            0x00200013: ("IS", "ab"),
            0x00200032: ("DS", "1\\2"),
            0x00200037: ("DS", "1\\0\\0\\0\\x\\0"),
            0x00280008: ("IS", "many"),
            0x00280010: ("US", b""),
        }
    )
    facts = inspected_bytes(file_of(body))
    assert (facts.kind, facts.number, facts.slice, facts.frames) == ("dicom", "ab", None, 0)
    inf = dataset({0x00200032: ("DS", "1\\2\\inf"), 0x00200037: ("DS", "1\\0\\0\\0\\1\\0")})
    assert inspected_bytes(file_of(inf)).slice is None


def test_long_private_values_are_passed_by() -> None:
    private = element(0x00091001, "OB", bytes(300_000))
    facts = inspected_bytes(file_of(dataset({0x00091001: ("OB", private)})))
    assert facts.kind == "dicom"


def test_header_beyond_all_bounds_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DICOM_MAX_HEAD_BYTES", 64 * limits.KIB)
    made = file_of(dataset({0x00091001: ("OB", bytes(300_000))}))
    facts = inspected_bytes(made)
    assert (facts.kind, facts.reason, facts.wanted_bytes) == ("unverified", "long", 0)
    late = file_of(dataset() + element(0x00290010, "OB", bytes(300_000)) + pixels())
    facts = inspected_bytes(late)
    assert (facts.kind, facts.truncated) == ("dicom", None)


def test_long_text_is_cut_and_terminals_are_safe() -> None:
    body = dataset({0x00100020: ("LO", "x\x1b[31m"), 0x00100010: ("PN", "A" * 5000)})
    patient = inspected_bytes(file_of(body)).patient
    assert patient is not None
    assert patient.id == "x\\x1b[31m"
    assert patient.raw_id
    assert len(patient.name) == limits.DICOM_VALUE_CHARS


@pytest.mark.parametrize(
    "name", ["A=B=C=D", "A^B^C^D^E^F", "<img onerror=x>", "A\\B", "a & b", "A\u202eB"]
)
def test_unusual_name_is_shown_raw_and_no_error(name: str) -> None:
    body = dataset({0x00080005: ("CS", "ISO_IR 192"), 0x00100010: ("PN", name)})
    facts = inspected_bytes(file_of(body))
    assert facts.kind == "dicom"
    assert facts.patient is not None
    assert facts.patient.raw_name


@pytest.mark.parametrize(
    "charset", ["NotSupply", "ISO_IR 999", "zlib", "ISO 2022 IR 87", "a\0b", "\\\\", ""]
)
@pytest.mark.parametrize("name", ["Jérôme".encode(), b"\xff\xfe", b"\x1b$B;3", b"\x1b-Z\xe9", b"A"])
def test_odd_character_sets(charset: str, name: bytes) -> None:
    body = dataset({0x00080005: ("CS", charset), 0x00100010: ("PN", name)})
    facts = inspected_bytes(file_of(body))
    assert facts.kind == "dicom"
    assert facts.patient is not None
    assert facts.patient.raw_name or facts.patient.name


def test_utf8_under_another_name_is_odd() -> None:
    body = dataset({0x00080005: ("CS", "ISO_IR 100"), 0x00100010: ("PN", "Jérôme".encode())})
    patient = inspected_bytes(file_of(body)).patient
    assert patient is not None
    assert patient.raw_name == "Jérôme"


def test_sequences_that_are_none() -> None:
    wrong = element(0x00081140, "SQ", element(0x00080020, "DA", "20240101"), UNDEFINED)
    made = file_of(dataset().replace(element(0x00080060, "CS", "CT"), wrong))
    assert inspected_bytes(made).kind == "unverified"
    open_end = file_of(dataset() + element(0x00081140, "SQ", item(), UNDEFINED))
    assert inspected_bytes(open_end).truncated is True
    unknown = element(0x00091001, "UN", item(pack("<HHL", 9, 1, 2) + b"ab"), UNDEFINED)
    whole = file_of(dataset() + unknown + SEQUENCE_END + pixels())
    assert inspected_bytes(whole).truncated is False


def directory_of(records: bytes, length: int | None = None) -> FileFacts:
    meta = element(0x00020002, "UI", "1.2.840.10008.1.3.10")
    body = element(0x00041220, "SQ", records, length)
    return inspected_bytes(bytes(128) + b"DICM" + meta + body)


def test_directories_made_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    record = (
        element(0x00080005, "CS", "ISO_IR 100"),
        element(0x00041500, "CS", "A\\B"),
        element(0x00081140, "SQ", b"", UNDEFINED) + SEQUENCE_END,
    )
    for length in (None, UNDEFINED):
        records = item(*record, length=length)
        facts = directory_of(records + SEQUENCE_END, length)
        assert facts.directory is not None
        assert facts.directory.files == ("A/B",)
    assert directory_of(element(0x00080020, "DA", "2024")).kind == "unverified"
    assert directory_of(item(*record), UNDEFINED).kind == "dicomdir"
    assert directory_of(item(*record) * 3, 10_000).truncated
    monkeypatch.setattr(limits, "DICOM_REFERENCES", 1)
    monkeypatch.setattr(limits, "DICOM_DIRECTORY_PATIENTS", 0)
    patient = element(0x00100020, "LO", "1")
    many = directory_of(item(*record, patient) * 3).directory
    assert many is not None
    assert (many.files, many.more, many.patients) == (("A/B",), 2, ())


# --- no bytes stop it ---------------------------------------------------------------------

SEEDS = [
    (SMALL / "CT_small.dcm").read_bytes()[:7000],
    (SMALL / "MR_small_implicit.dcm").read_bytes()[:3000],
    (SMALL / "MR_small_bigendian.dcm").read_bytes()[:3000],
    (SMALL / "image_dfl.dcm").read_bytes(),
    (SMALL / "UN_sequence.dcm").read_bytes(),
    (SMALL / "rtstruct.dcm").read_bytes(),
    (DISC / "DICOMDIR").read_bytes(),
    (PYDICOM / "charset_files" / "chrH32.dcm").read_bytes(),
    file_of(dataset() + pixels(), DEFLATED),
]


@given(st.binary(max_size=600), st.integers(0, 2**63), st.binary(max_size=20))
def test_no_bytes_stop_the_inspector(head: bytes, size: int, tail: bytes) -> None:
    for data in (head, bytes(128) + b"DICM" + head):
        facts = inspect(data, size, tail)
        assert decode_facts(encode_facts(facts)) == facts
        assert inspect_plainly(data) in (None, facts)


@given(st.sampled_from(SEEDS), st.data())
def test_no_change_of_a_real_file_stops_the_inspector(seed: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed)
    for place, new in data.draw(
        st.lists(st.tuples(st.integers(0, len(seed) - 1), st.integers(0, 255)), max_size=8)
    ):
        changed[place] = new
    size = data.draw(st.integers(0, len(seed)))
    facts = inspect(bytes(changed[:size]), len(seed))
    assert facts.reason != "damaged" or facts.kind == "unverified"
    assert decode_facts(encode_facts(facts)) == facts


def test_a_bug_is_an_unverified_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(head: bytes, size: int, tail: bytes) -> FileFacts:
        raise zlib.error(str(len(head) + size + len(tail)))

    monkeypatch.setattr(inspect_module, "_inspect", broken)
    assert inspect(b"x", 1) == FileFacts(kind="unverified", reason="damaged", truncated=None)
