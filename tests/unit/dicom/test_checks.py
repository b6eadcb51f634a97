"""Findings: each code is raised by what it is about, and by nothing harmless."""

import unicodedata
from typing import Any

import msgspec
import pytest

from medp2p import limits
from medp2p.dicom.checks import check, describe, to_digest
from medp2p.dicom.facts import Directory, FileFacts, Kind, Patient, Series, Study
from medp2p.dicom.finding import LEVELS, Finding, cut
from medp2p.dicom.patients import Item
from medp2p.dicom.slices import find_gaps
from tests.helpers.dicoms import DISC, SMALL, image, inspected, items_of, other

TODAY = "20261125"
BOB = Patient("2", "H", "Smith^Bob", "19500101", "M")


def found(*items: Item) -> dict[str, Finding]:
    return {one.code: one for one in check(items, today=TODAY)}


def codes(*items: Item) -> list[str]:
    return [one.code for one in check(items, today=TODAY)]


def changed(item: Item, **facts: Any) -> Item:
    return item._replace(facts=msgspec.structs.replace(item.facts, **facts))


def stack(places: list[float], series: str = "1.2.1") -> list[Item]:
    return [
        image(f"s/{series}/{number}", place=place, series=series)
        for number, place in enumerate(places)
    ]


def test_nothing_to_say() -> None:
    assert codes() == []
    assert codes(image("a")) == []
    assert codes(*stack([float(place) for place in range(50)])) == []
    assert codes(other("prog.exe", "executable")) == []


def test_two_patients_block_and_the_odd_files_are_named() -> None:
    one = found(image("a/1"), image("a/2"), image("a/odd", BOB, study="1.3"))
    assert list(one) == ["mixed-patients"]
    assert one["mixed-patients"].level == "block"
    assert one["mixed-patients"].files == ("a/odd",)
    assert "Doe^Jane" in one["mixed-patients"].text
    assert "Smith^Bob, id 2 of H, born 19500101" in one["mixed-patients"].text


def test_many_patients_name_some() -> None:
    many = [image(str(number), Patient(id=str(number), name=f"N{number}")) for number in range(9)]
    assert found(*many)["mixed-patients"].text.endswith("and 5 more")


def test_one_study_under_two_patients() -> None:
    both = found(image("a/1"), image("a/2"), image("a/odd", BOB))
    assert list(both) == ["mixed-patients", "study-two-patients"]
    assert both["study-two-patients"].files == ("a/odd",)


def test_disc_with_two_patients() -> None:
    paths = sorted(path for path in DISC.glob("[79]*/**/*") if path.is_file())
    whole = found(*items_of(DISC, [*paths, DISC / "DICOMDIR"]))
    assert "mixed-patients" in whole
    assert "directory-missing" not in whole
    short = found(*items_of(DISC, [*paths[1:], DISC / "DICOMDIR"]))
    assert short["directory-missing"].text.startswith("1 of 31 files promised by DICOMDIR missing")
    peter = [path for path in paths if "9889" in str(path)]
    part = found(*items_of(DISC, [*peter, DISC / "DICOMDIR"]))
    assert "Doe^Archibald" in part["directory-patients"].text


def test_directory_at_the_top_of_a_selection_points_outside_in_vain() -> None:
    facts = FileFacts(kind="dicomdir", directory=Directory(files=("A", "../../secret\x1b")))
    one = found(Item(b"DICOMDIR", facts), image("a"))
    assert one["directory-missing"].text == (
        "1 of 2 files promised by DICOMDIR missing: ../../secret\\x1b"
    )


def test_two_directories_and_images_without_study() -> None:
    facts = FileFacts(kind="dicomdir", directory=Directory(files=("x",)))
    items = (Item(b"a/DICOMDIR", facts), Item(b"a/X", facts), image("a/X2"))
    assert codes(*items) == []
    without = [changed(image(str(number)), study=None) for number in range(2)]
    assert codes(*without) == []


def test_spellings_and_missing_identifiers() -> None:
    jane = image("a")
    assert codes(jane, image("b", Patient("1", "", "DOE^JANE", "19700203"))) == []
    for other_form in (
        Patient("1", "", "Jane^Doe", "19700203"),
        Patient("1", "X", "Doe^Jane", "19700203"),
        Patient("", "", "Doe^Jane", "19700203"),
    ):
        assert codes(jane, image("b", other_form)) == ["patient-spelling"]
    first = image("a", Patient("a", "", "Doe^Jane", "19700203"))
    assert codes(first, image("b", Patient("A", "", "Doe^Jane", "19700203"))) == [
        "patient-spelling"
    ]
    assert codes(image("a", None)) == ["no-patient"]
    assert codes(image("a", Patient(id="1"))) == ["no-second-identifier"]
    assert codes(image("a", Patient(id="1", name="Doe"))) == []
    assert describe(Patient()) == "no name, no id, no birth date"


def test_same_instance() -> None:
    one, two = image("x.dcm", instance="1.5"), image("x(1).dcm", instance="1.5")
    assert to_digest([image("a"), one, two]) == [1, 2]
    assert codes(one, two) == ["same-instance"]
    assert codes(one._replace(digest=b"1"), two._replace(digest=b"2")) == ["same-instance"]
    copies = found(one._replace(digest=b"1"), two._replace(digest=b"1"))
    assert copies["duplicate"].files == ("x(1).dcm",)


def test_wholeness() -> None:
    assert codes(image("a", truncated=True)) == ["truncated"]
    assert codes(image("a", truncated=None)) == ["whole-untold"]
    assert codes(image("a")._replace(growing=True)) == ["growing"]
    damaged = Item(b"a", FileFacts(kind="unverified", reason="damaged", truncated=None))
    assert found(damaged)["label-unverified"].text.endswith("its header is damaged")
    assert codes(*items_of(SMALL, [SMALL / "MR_truncated.dcm"]))[0] == "truncated"


def test_finding_of_many_files_names_some() -> None:
    one = found(*[image(f"{number}", truncated=True) for number in range(1000)])["truncated"]
    assert (one.count, len(one.files)) == (1000, limits.FINDING_FILES)


# --- slices -------------------------------------------------------------------------------


def test_missing_slice_is_found_by_place() -> None:
    places = [float(place) for place in range(50) if place != 25]
    one = found(*stack(places))["slice-gap"]
    assert one.text == "series 1 Thorax: 1 slice seems to be missing at 25.0 mm"
    assert one.files == ("s/1.2.1/24", "s/1.2.1/25")
    assert "3 slices seem" in found(*stack([0, 1, 2, 3, 7, 8, 9]))["slice-gap"].text


def test_doubled_place_and_time_series() -> None:
    assert codes(*stack([0, 1, 2, 2, 3, 4])) == ["slice-doubled"]
    assert codes(*stack([0, 1, 2, 3, 4] * 3)) == []


def test_too_few_slices_and_several_series_say_nothing() -> None:
    assert codes(*stack([0, 1, 9])) == []
    assert codes(*stack([0, 2, 4, 6], "1.1"), *stack([1, 3, 5, 7], "1.2")) == []
    assert find_gaps([image("a")]) == []


def test_order_and_instance_number_prove_nothing() -> None:
    shuffled = [image(str(place), place=float(place), number="7") for place in (3, 0, 2, 1, 4)]
    assert codes(*shuffled) == []


def test_unnamed_series_is_called_by_its_uid() -> None:
    items = [changed(image(str(z), place=z), series=Series(uid="1.7")) for z in (0, 1, 2, 3, 7)]
    assert found(*items)["slice-gap"].text.startswith("series 1.7:")


def test_parts_of_an_image() -> None:
    parts = [image(str(number), concatenation=("1.7", 4)) for number in range(4)]
    assert codes(*parts) == []
    assert found(*parts[:3])["parts-missing"].text == "an image in 4 parts, of which 3 are here"


# --- headers and names --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"burned_in": "YES"}, "burned-in"),
        ({"encapsulated": True}, "encapsulated"),
        ({"preamble": "executable"}, "executable-preamble"),
        ({"preamble": "script"}, "executable-preamble"),
        ({"preamble": "other"}, "odd-preamble"),
    ],
)
def test_header_flags(facts: dict[str, Any], code: str) -> None:
    assert codes(image("a", **facts)) == [code]


def test_future_dates_and_untold_burned_in_text() -> None:
    assert codes(image("a", Patient("1", "", "A", "20270101"))) == ["future-date"]
    tomorrow = FileFacts(kind="dicom", study=Study(uid="1", date="20261126"), patient=BOB)
    assert codes(Item(b"a", tomorrow)) == ["future-date"]
    sound = changed(image("a", rows=5), series=Series(uid="1", modality="US"))
    assert codes(sound) == ["burned-in-untold"]


def test_no_header_at_all_in_facts() -> None:
    assert codes(Item(b"a", FileFacts(kind="dicom", rows=3))) == []


@pytest.mark.parametrize(
    ("path", "content", "code"),
    [
        ("cd/AUTORUN.INF", "text", "autorun"),
        ("cd/Viewer.EXE", "", "executable-file"),
        ("cd/viewer", "executable", "executable-file"),
        ("cd/run", "script", "executable-file"),
        ("cd/.DS_Store", "", "hidden-file"),
        ("cd/.git/config", "text", "hidden-file"),
        ("cd/Thumbs.db", "", "hidden-file"),
        ("cd/report.pdf", "pdf", "no-header"),
        ("cd/exe", "", "no-header"),
    ],
)
def test_files_among_images(path: str, content: str, code: str) -> None:
    assert codes(image("cd/1"), other(path, content)) == [code]


def test_image_with_a_program_suffix_is_an_image() -> None:
    assert codes(image("1.2.3.com")) == []


def test_names_that_are_one_name_elsewhere() -> None:
    assert codes(image("a/X"), image("a/x")) == ["path-collision"]
    assert codes(image("A/1"), image("a/2")) == ["path-collision"]
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert codes(image(nfc), image(nfd)) == ["path-collision"]
    assert codes(image("a/x"), image("b/x"), other(b"\xff"), other(b"\xfe")) == ["no-header"]


def test_findings_are_bounded_and_sorted() -> None:
    many = [
        image(f"{series}-{place}", place=float(place), series=f"1.{series}")
        for series in range(30)
        for place in (0, 1, 2, 3, 9)
    ]
    findings = check([*many, image("x", truncated=True)], today=TODAY)
    assert findings[0].code == "truncated"
    assert len(findings) == 1 + limits.FINDINGS_PER_CODE + 1
    assert findings[-1].text == "and 10 more of this kind, in 20 files"
    assert {one.level for one in findings} <= set(LEVELS.values())


@pytest.mark.parametrize("kind", ["unverified", "dicomdir"])
def test_a_program_in_the_preamble_of_what_is_no_image(kind: Kind) -> None:
    facts = FileFacts(kind=kind, preamble="executable", truncated=False)
    assert "executable-preamble" in codes(Item(b"a", facts))


def test_long_text_is_cut() -> None:
    assert len(cut("x" * 5000)) == limits.FINDING_CHARS


def test_real_ultrasound_shows_text() -> None:
    item = Item(b"a", inspected(SMALL / "examples_ybr_color.dcm"))
    assert "burned-in-untold" in codes(item)
