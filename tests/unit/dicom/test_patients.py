"""Which files are of one patient, and the split of a selection."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.dicom import patients
from medp2p.dicom.facts import Directory, FileFacts, Patient
from medp2p.dicom.patients import Item, by_patient, one_person, split_by_patient, strangers
from tests.helpers.dicoms import DISC, image, items_of, other

JANE = Patient("1", "", "Doe^Jane", "19700203", "F")


def changed(**fields: str) -> Patient:
    values = {"id": "1", "name": "Doe^Jane", "birth_date": "19700203", "sex": "F", **fields}
    return Patient(**values)


@pytest.mark.parametrize(
    ("second", "patients"),
    [
        (changed(), 1),
        (changed(name="DOE^JANE^^"), 1),
        (changed(name="Jane^Doe"), 1),
        (changed(issuer="A"), 1),
        (changed(name=""), 1),
        (changed(birth_date=""), 1),
        (changed(id=""), 1),
        (changed(id="2"), 2),
        (changed(name="Smith^Bob"), 2),
        (changed(birth_date="19710203"), 2),
        (changed(id="", birth_date=""), 2),
        (changed(id="", name="Doe^J"), 2),
        (Patient(), 2),
        (Patient(sex="F"), 2),
        (None, 2),
    ],
)
def test_one_patient_or_two(second: Patient | None, patients: int) -> None:
    for pair in ((JANE, second), (second, JANE)):
        groups = by_patient([image(f"{number}", one) for number, one in enumerate(pair)])
        assert len(groups) == patients
        assert sorted(number for group in groups for number in group.files) == [0, 1]


def test_a_form_without_issuer_glues_no_two_issuers_together() -> None:
    forms = (changed(issuer="A"), changed(), changed(issuer="B"))
    groups = by_patient([image(str(number), one) for number, one in enumerate(forms)])
    assert [group.files for group in groups] == [(0,), (1,), (2,)] or len(groups) == 3


def test_the_fullest_form_stands_for_the_patient() -> None:
    groups = by_patient([image("a", changed(birth_date="")), image("b", changed())])
    assert groups[0].patient == changed()
    assert groups[0].spellings == (changed(birth_date=""), changed())


def test_files_of_two_patients_on_a_disc() -> None:
    paths = sorted(path for path in DISC.glob("[79]*/**/*") if path.is_file())
    groups = by_patient(items_of(DISC, paths))
    assert {group.patient.name for group in groups if group.patient} == {
        "Doe^Archibald",
        "Doe^Peter",
    }
    assert sum(len(group.files) for group in groups) == len(paths) == 31


def test_split_puts_files_without_header_beside_their_patient() -> None:
    bob = changed(id="2", name="Smith^Bob")
    items = [
        image("disc/jane/1"),
        other("disc/jane/report.pdf"),
        other("disc/jane/deep/er/note.txt"),
        image("disc/bob/1", bob),
        Item(b"disc/bob/bad", FileFacts(kind="unverified", reason="damaged")),
        other("disc/readme"),
        other("top"),
    ]
    jane, robert, nobody = split_by_patient(items)
    assert (jane.patient, jane.files) == (items[0].facts.patient, (0, 1, 2))
    assert (robert.patient, robert.files) == (bob, (3, 4))
    assert (nobody.patient, nobody.files) == (None, (5, 6))


def test_one_patient_takes_all_and_nobody_takes_the_rest() -> None:
    assert [group.files for group in split_by_patient([other("s/a/b"), image("s/c/d")])] == [(0, 1)]
    assert [group.patient for group in split_by_patient([other("a/b")])] == [None]
    assert split_by_patient([]) == []


def test_what_was_selected_beside_says_nothing() -> None:
    groups = split_by_patient([image("study/1"), other("letters/x.pdf"), other("top.pdf")])
    assert [group.files for group in groups] == [(0,), (1, 2)]
    assert groups[1].patient is None


def directory(path: str, *patients: Patient) -> Item:
    return Item(path.encode(), FileFacts(kind="dicomdir", directory=Directory(patients=patients)))


PATHS = st.lists(st.sampled_from(["a", "b", "a!", "ab"]), min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(PATHS, st.sampled_from([None, "1", "2"]), max_size=12))
def test_files_without_header_go_with_the_nearest_folder_that_has_images(
    told: dict[str, str | None],
) -> None:
    """Against all folders spelled out."""
    items = [
        other(path) if who is None else image(path, Patient(id=who)) for path, who in told.items()
    ]
    groups = split_by_patient(items)
    for number, (path, who) in enumerate(told.items()):
        (mine,) = [group for group in groups if number in group.files]
        if who is not None:
            continue
        parts = path.split("/")[:-1]
        above = ["/".join(parts[:count]) + "/" for count in range(len(parts), 0, -1)]
        lying = [{one for at, one in told.items() if one and at.startswith(f)} for f in above]
        near = next((found for found in lying if found), set())
        assert (mine.patient and mine.patient.id) == (near.pop() if len(near) == 1 else None)


def test_many_headers_without_id_are_grouped_in_few_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = [0]

    def counted(one: Patient, known: Patient) -> bool:
        calls[0] += 1
        return one_person(one, known)

    monkeypatch.setattr(patients, "one_person", counted)
    items = [image(f"d/{n}", Patient(name=f"N{n}^X")) for n in range(1000)]
    assert len(by_patient(items)) == 1000
    assert calls[0] <= limits.MAX_FORMS_COMPARED**2


def test_deep_folders_are_grouped_in_the_memory_of_the_paths() -> None:
    items = [image(f"{n:07}" + "/a" * 2000, Patient(id="1")) for n in range(20)]
    tracemalloc.start()
    try:
        split_by_patient([*items, other("0000001/a/b")])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * sum(len(item.path) for item in items)


def test_directory_that_names_others_goes_with_nobody() -> None:
    bob = changed(id="2", name="Smith^Bob")
    own, both = directory("a/DICOMDIR", Patient(id="1")), directory("a/X", Patient(id="1"), bob)
    groups = split_by_patient([image("a/1"), own, both])
    assert [group.files for group in groups] == [(0, 1), (2,)]
    assert strangers(both, by_patient([image("a/1")])) == [bob]
    assert strangers(image("a/1"), []) == []


PATIENTS = st.builds(
    Patient,
    id=st.sampled_from(["", "1", "2", "a", "A"]),
    issuer=st.sampled_from(["", "X", "Y"]),
    name=st.sampled_from(["", "Doe^Jane", "DOE^JANE", "Doe^Bob"]),
    birth_date=st.sampled_from(["", "19700101", "19710101"]),
)


@given(st.lists(PATIENTS, max_size=8))
def test_each_file_is_in_one_group_and_groups_contain_no_two_persons(forms: list[Patient]) -> None:
    items = [image(str(number), one) for number, one in enumerate(forms)]
    groups = by_patient(items)
    assert sorted(number for group in groups for number in group.files) == list(range(len(forms)))
    for group in groups:
        dates = {one.birth_date for one in group.spellings} - {""}
        names = {one.name.casefold() for one in group.spellings} - {""}
        ids = {one.id.casefold() for one in group.spellings} - {""}
        issuers = {one.issuer for one in group.spellings if one.id} - {""}
        assert max(map(len, (dates, names, ids, issuers))) <= 1


def test_ten_thousand_patients_take_no_time() -> None:
    items = [image(str(number), Patient(id=str(number))) for number in range(10_000)]
    assert len(by_patient(items)) == 10_000
