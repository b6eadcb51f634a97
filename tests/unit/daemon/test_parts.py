"""What becomes of a scan: parts, what stops them, what may pass."""

from array import array

import pytest

from medp2p.daemon.parts import Part, TypedPatient, Wishes, make_parts, without
from medp2p.dicom.facts import Patient
from medp2p.dicom.patients import Item
from medp2p.errors import CheckRefusedError, SourceError, UsageError
from medp2p.manifest import Entry, Kind
from medp2p.parcel.record import Scan, Skipped
from tests.helpers.dicoms import JANE, image, other

JOHN = Patient(id="2", name="Roe^John", birth_date="19500101")
TODAY = "20260101"


def scan_of(*paths: str, skipped: tuple[Skipped, ...] = ()) -> Scan:
    """A scan of paths; those that end with "/" are folders."""
    entries = tuple(
        Entry(path.rstrip("/").encode(), *((Kind.DIRECTORY, 0) if path.endswith("/") else
                                           (Kind.FILE, 10)), 0)
        for path in paths
    )  # fmt: skip
    count = len(entries)
    files = sum(entry.kind is Kind.FILE for entry in entries)
    return Scan(
        roots=(b"/d",),
        entries=entries,
        root_of=array("I", [0] * count),
        ctime_ns=array("q", range(count)),
        device=array("Q", [1] * count),
        inode=array("Q", range(count)),
        skipped=skipped,
        files=files,
        file_bytes=10 * files,
    )


def parts_of(
    found: Scan, items: list[Item], settings: dict[str, str] | None = None, **wishes: object
) -> list[Part]:
    asked = Wishes(**wishes).check()  # type: ignore[arg-type]
    return make_parts(found, items, asked, settings or {}, TODAY)


def paths_of(part: Part) -> list[str]:
    return [entry.path.decode() for entry in part.found.entries]


def codes(part: Part) -> list[str]:
    return [one.code for one in part.stops]


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ((), ["d", "d/a.dcm", "d/b.txt", "d/e", "d/e/c.dcm"]),
        (("*.txt",), ["d", "d/a.dcm", "d/e", "d/e/c.dcm"]),
        (("e",), ["d", "d/a.dcm", "d/b.txt"]),
        (("d/e/",), ["d", "d/a.dcm", "d/b.txt"]),
        (("a.dcm", "[b]*"), ["d", "d/e", "d/e/c.dcm"]),
        (("A.DCM", "nothing"), ["d", "d/a.dcm", "d/b.txt", "d/e", "d/e/c.dcm"]),
    ],
)
def test_patterns_leave_files_and_whole_folders_out(
    patterns: tuple[str, ...], left: list[str]
) -> None:
    skipped = (Skipped(b"d/e/link", "symlink"), Skipped(b"d/other.txt", "symlink"))
    found = scan_of("d/", "d/a.dcm", "d/b.txt", "d/e/", "d/e/c.dcm", skipped=skipped)
    kept = without(found, patterns)
    assert [entry.path.decode() for entry in kept.entries] == left
    assert kept.files == sum("." in path for path in left)
    for number, entry in enumerate(kept.entries):  # the columns go with their entries
        assert kept.inode[number] == found.entries.index(entry)
    named = {item.path.decode() for item in kept.skipped}
    assert ("d/e/link" in named) is ("d/e" in left)


@pytest.mark.parametrize("patterns", [(), ("nothing",)])
def test_folders_alone_are_an_error(patterns: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match="no files"):
        without(scan_of("d/", "d/e/"), patterns)


@pytest.mark.parametrize("patterns", [("*.dcm",), ("?.dcm", "[x]*"), ("*",)])
def test_nothing_but_folders_left_is_an_error(patterns: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match="nothing is left"):
        without(scan_of("d/", "d/a.dcm"), patterns)


def test_two_patients_stop_unless_permitted_and_asked_for() -> None:
    found, items = scan_of("d/", "d/a", "d/b"), [image("d/a"), image("d/b", JOHN, study="1.3")]
    (part,) = parts_of(found, items)
    assert codes(part) == ["mixed-patients"]
    asked = ("mixed-patients",)
    assert codes(parts_of(found, items, allow=asked)[0]) == ["mixed-patients"]
    permitted = {"allow-mixed": "yes"}
    assert codes(parts_of(found, items, permitted)[0]) == ["mixed-patients"]
    (part,) = parts_of(found, items, permitted, allow=asked)
    assert (codes(part), part.label.allowed) == ([], asked)
    (part,) = parts_of(found, items, {"allow": "mixed-patients"}, allow=asked)
    assert codes(part) == []


def test_a_hold_passes_when_asked_for_a_block_does_not() -> None:
    found = scan_of("d/", "d/a", "d/b")
    items = [image("d/a", truncated=True), image("d/b", JOHN)]
    (part,) = parts_of(found, items)
    assert set(codes(part)) == {"truncated", "mixed-patients", "study-two-patients"}
    everything = ("truncated", "mixed-patients", "study-two-patients")
    (part,) = parts_of(found, items, allow=everything)
    assert set(codes(part)) == {"mixed-patients", "study-two-patients"}
    assert part.label.allowed == ("truncated",)


def test_one_transfer_for_each_patient() -> None:
    found = scan_of("d/", "d/j/", "d/j/a", "d/j/n.txt", "d/r/", "d/r/b", "d/DICOMDIR", "d/empty/")
    items = [image("d/j/a"), other("d/j/n.txt"), image("d/r/b", JOHN, study="1.3"),
             other("d/DICOMDIR")]  # fmt: skip
    jane, john = parts_of(found, items, split=True)
    assert paths_of(jane) == ["d", "d/j", "d/j/a", "d/j/n.txt"]
    assert paths_of(john) == ["d", "d/r", "d/r/b"]
    assert jane.found.skipped == (Skipped(b"d/DICOMDIR", "no-patient"),)
    assert john.found.skipped == ()
    assert (codes(jane), codes(john)) == ([], [])
    assert [len(part.label.persons) for part in (jane, john)] == [1, 1]


def test_without_patients_a_split_is_one_transfer() -> None:
    (part,) = parts_of(scan_of("a"), [other("a")], split=True, no_patient_data=True)
    assert paths_of(part) == ["a"]
    assert part.label.no_patient_data


def test_what_is_typed_is_about_files_of_nobody() -> None:
    typed = TypedPatient(id="7", name="Doe^Jane", birth_date="1970-02-03")
    (part,) = parts_of(scan_of("a"), [other("a")], typed=typed)
    assert part.label.typed == Patient(id="7", name="Doe^Jane", birth_date="19700203")
    # Beside images of that patient it says nothing new; of somebody else it is a mistake.
    found, items = scan_of("d/", "d/a", "d/n"), [image("d/a"), other("d/n")]
    same = TypedPatient(id="1", birth_date="1970-02-03")
    assert parts_of(found, items, typed=same)[0].label.typed is None
    with pytest.raises(CheckRefusedError, match="somebody else"):
        parts_of(found, items, typed=typed)
    assert parts_of(found, items, no_patient_data=True)[0].label.no_patient_data is False
    assert JANE in parts_of(found, items)[0].label.persons


@pytest.mark.parametrize(
    "wishes",
    [
        Wishes(allow=("nonsense",)),
        Wishes(exclude=("",)),
        Wishes(exclude=("x",) * 101),
        Wishes(typed=TypedPatient(id="1")),
        Wishes(typed=TypedPatient(id="1", birth_date="1970-02-30")),
        Wishes(typed=TypedPatient(id="1", birth_date="1970")),
        Wishes(typed=TypedPatient(id="1", name=" ")),
        Wishes(typed=TypedPatient(id="1" * 300, name="x")),
        Wishes(typed=TypedPatient(id="1", name="x"), no_patient_data=True),
    ],
)
def test_wishes_that_make_no_sense(wishes: Wishes) -> None:
    with pytest.raises(UsageError):
        wishes.check()
