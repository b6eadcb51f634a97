"""What a send wants before it is queued, for every setting of a peer."""

from array import array

import pytest

from medp2p.daemon.confirming import Confirmation, check_confirmed, hidden, wanted
from medp2p.daemon.parts import Part
from medp2p.dicom.compare import Expectation
from medp2p.dicom.facts import Directory, FileFacts, Patient
from medp2p.dicom.finding import Finding
from medp2p.dicom.label import build_label
from medp2p.dicom.patients import Item
from medp2p.errors import CheckRefusedError, MedP2PError, UsageError
from medp2p.parcel.record import Scan
from tests.helpers.dicoms import image, other

JANE = Patient(id="123456", name="Doe^Jane", birth_date="19700203", sex="F")
JOHN = Patient(id="777888", name="Roe^John", birth_date="19500101")
NAMELESS = Patient()
EMPTY = Scan(
    roots=(), entries=(), root_of=array("I"), ctime_ns=array("q"), device=array("Q"),
    inode=array("Q"), skipped=(), files=0, file_bytes=0,
)  # fmt: skip


def part_of(
    *items: Item,
    stops: tuple[Finding, ...] = (),
    no_patient_data: bool = False,
    typed: Patient | None = None,
    strangers: tuple[Patient, ...] = (),
) -> Part:
    label = build_label(items, no_patient_data=no_patient_data, typed=typed)
    return Part(found=EMPTY, label=label, findings=stops, stops=stops, strangers=strangers)


IMAGES = part_of(image("d/a", JANE))
BARE = part_of(other("a"))
NOBODY = part_of(other("a"), no_patient_data=True)
REMOVED = part_of(image("d/a", NAMELESS))
NAME_ONLY = part_of(image("d/a", Patient(name="Doe^Jane")))
NO_LETTERS = part_of(image("d/a", Patient(id="---")))
DIRECTORY = Item(b"d/DICOMDIR", FileFacts(kind="dicomdir", directory=Directory(patients=(JANE,))))
STRANGER = part_of(image("d/a", JANE), strangers=(JOHN,))
YES = Confirmation(yes=True)
TYPED = Confirmation(answers=("1970",))
EXPECTED = Confirmation(expect=(Expectation(patient_id="123456"),))
WRONG = Confirmation(expect=(Expectation(patient_id="123457"),), yes=True)
REFUSED, USAGE = CheckRefusedError, UsageError


@pytest.mark.parametrize(
    ("mode", "part", "given", "outcome"),
    [
        ("typed", IMAGES, YES, REFUSED),
        ("typed", IMAGES, TYPED, "typed"),
        ("typed", IMAGES, EXPECTED, "expect"),
        ("typed", IMAGES, WRONG, REFUSED),
        ("typed", IMAGES, Confirmation(answers=("1971",)), REFUSED),
        ("typed", IMAGES, Confirmation(answers=("1970", "1970")), REFUSED),
        ("typed", IMAGES, Confirmation(answers=("1971",), yes=True), REFUSED),
        ("typed", IMAGES, Confirmation(), USAGE),
        ("typed", BARE, YES, REFUSED),
        ("typed", BARE, EXPECTED, REFUSED),
        ("typed", NOBODY, YES, "yes"),
        ("typed", NOBODY, Confirmation(), USAGE),
        ("typed", NOBODY, EXPECTED, REFUSED),
        ("typed", REMOVED, YES, REFUSED),
        ("typed", part_of(image("d/a", NAMELESS), no_patient_data=True), YES, "yes"),
        ("typed", NAME_ONLY, YES, REFUSED),
        ("typed", NAME_ONLY, Confirmation(answers=("Doe Jane",)), "typed"),
        ("typed", NO_LETTERS, YES, REFUSED),
        ("typed", NO_LETTERS, Confirmation(answers=("",)), REFUSED),
        ("typed", NO_LETTERS, Confirmation(expect=(Expectation(patient_id="---"),)), "expect"),
        ("typed", part_of(other("a"), typed=JANE), YES, REFUSED),
        ("typed", part_of(other("a"), typed=JANE), TYPED, "typed"),
        ("typed", part_of(other("a"), typed=JANE), EXPECTED, "expect"),
        ("typed", part_of(DIRECTORY), YES, REFUSED),
        ("none", STRANGER, EXPECTED, REFUSED),
        ("typed", STRANGER, TYPED, REFUSED),
        ("typed", STRANGER, Confirmation(answers=("1970", "1950")), "typed"),
        ("expect", IMAGES, YES, REFUSED),
        ("expect", IMAGES, TYPED, REFUSED),
        ("expect", IMAGES, EXPECTED, "expect"),
        ("expect", NOBODY, YES, REFUSED),
        ("none", IMAGES, YES, "none"),
        ("none", IMAGES, Confirmation(), USAGE),
        ("none", IMAGES, WRONG, REFUSED),
        ("none", IMAGES, Confirmation(answers=("1971",), yes=True), REFUSED),
        ("none", BARE, YES, "none"),
        ("", IMAGES, YES, REFUSED),
        ("unknown", IMAGES, YES, REFUSED),
    ],
)
def test_how_a_send_is_confirmed(
    mode: str, part: Part, given: Confirmation, outcome: str | type[MedP2PError]
) -> None:
    settings = {"confirm": mode}
    if isinstance(outcome, str):
        assert check_confirmed(part, given, settings) == outcome
        return
    with pytest.raises(outcome) as error:
        check_confirmed(part, given, settings)
    for word in ("Doe", "123456", "1970"):
        assert word not in error.value.text


@pytest.mark.parametrize("mode", ["typed", "expect", "none"])
@pytest.mark.parametrize(("code", "level"), [("mixed-patients", "block"), ("growing", "hold")])
def test_findings_stop_under_every_setting(mode: str, code: str, level: str) -> None:
    stop = Finding(code, level, "words")  # type: ignore[arg-type]
    part = part_of(image("d/a", JANE), stops=(stop,))
    for given in (YES, TYPED, EXPECTED):
        with pytest.raises(CheckRefusedError, match=code):
            check_confirmed(part, given, {"confirm": mode})


def test_somebody_outside_wants_a_purpose() -> None:
    settings = {"confirm": "none", "domain": "external"}
    with pytest.raises(UsageError, match="purpose"):
        check_confirmed(IMAGES, YES, settings)
    with pytest.raises(UsageError, match="purpose"):
        check_confirmed(IMAGES, Confirmation(yes=True, purpose="fun"), settings)
    given = Confirmation(yes=True, purpose="research")
    assert check_confirmed(IMAGES, given, settings) == "none"


def test_each_of_several_patients_must_be_expected_or_typed() -> None:
    both = part_of(image("d/a", JANE), image("d/b", JOHN, study="1.3"))
    jane, john = Expectation(patient_id="123456"), Expectation(patient_id="777888")
    with pytest.raises(CheckRefusedError, match="patient_id"):
        check_confirmed(both, Confirmation(expect=(jane,)), {})
    assert check_confirmed(both, Confirmation(expect=(john, jane)), {}) == "expect"
    assert check_confirmed(both, Confirmation(answers=("3456", "1950")), {}) == "typed"
    with pytest.raises(CheckRefusedError):
        check_confirmed(both, Confirmation(answers=("1950", "3456")), {})
    with pytest.raises(UsageError, match="more than"):
        check_confirmed(both, Confirmation(expect=(jane,) * 101), {})
    with pytest.raises(UsageError, match="empty"):
        check_confirmed(both, Confirmation(expect=(Expectation(patient_id=" "),)), {})


def test_what_is_wanted_and_what_is_masked() -> None:
    assert wanted(IMAGES, {}) == "typed"
    assert wanted(BARE, {}) == "label"
    assert wanted(BARE, {"confirm": "none"}) == "yes"
    assert wanted(REMOVED, {}) == "label"
    assert wanted(IMAGES, {"confirm": "expect"}) == "expect"
    words = hidden(IMAGES)
    assert set(words) == {"123456", "19700203", "1970-02-03"}
    assert not [shown for shown in words.values() if "1970" in shown or "3456" in shown]
    assert hidden(part_of(image("d/a", Patient(id="1", name="x")))) == {}
