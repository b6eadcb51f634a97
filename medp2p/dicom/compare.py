"""What somebody expects, or types, against what the files say.

An ``Expectation`` comes from a script or a request form. Inside one organisation the id decides,
and every other field that is given must agree. For an external peer an id says something only
together with its issuer; then name and birth date must be given and agree.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from medp2p import limits
from medp2p.dicom.agreement import (
    Agreement,
    compare_dates,
    compare_ids,
    compare_names,
    date_digits,
    id_key,
    is_date,
)
from medp2p.dicom.facts import Patient, Study
from medp2p.errors import UsageError
from medp2p.text import escape_text

Domain = Literal["internal", "external"]
_LAST = 4
_YEAR = 4
_HIDDEN = "\u2022"


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whose images are meant. All fields are text; "" is not allowed, leave a field out.

    Attributes:
        patient_id: As on the request form.
        issuer: Of the id.
        patient_name: DICOM form, or typed: "Doe, Jane".
        birth_date: YYYY-MM-DD or YYYYMMDD.
        sex: M, F or O.
        accession: One of the accession numbers of each study.
        study_uid: The one study.
    """

    patient_id: str | None = None
    issuer: str | None = None
    patient_name: str | None = None
    birth_date: str | None = None
    sex: str | None = None
    accession: str | None = None
    study_uid: str | None = None

    @property
    def patient(self) -> Patient:
        """Return the patient that is expected; what is not given is empty."""
        return Patient(
            id=self.patient_id or "",
            issuer=self.issuer or "",
            name=self.patient_name or "",
            birth_date=self.birth_date or "",
            sex=self.sex or "",
        )


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not as expected.

    Attributes:
        field: Field of the expectation or of the label.
        expected: Escaped; "" if nothing was.
        found: Escaped; "" if there is nothing.
        text: A sentence for a person. Holds patient data, as the others do.
    """

    field: str
    expected: str
    found: str
    text: str


def parse_expectation(data: bytes) -> Expectation:
    """Read an expectation from JSON.

    Raises:
        UsageError: It is no JSON object of known fields with text, or does not name a person.
            The text repeats no value.
    """
    if len(data) > limits.MAX_EXPECTATION_BYTES:
        raise UsageError("an expectation is a few fields of JSON; this is too long")
    try:
        found = msgspec.json.decode(data, type=Expectation)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        fields = ", ".join(Expectation.__struct_fields__)
        hint = f"a JSON object with text in some of: {fields}"
        raise UsageError("the expectation is not as it must be", hint=hint) from error
    return check_expectation(found)


def check_expectation(found: Expectation) -> Expectation:
    """Return an expectation that names a person.

    Raises:
        UsageError: A field is empty or no date, or neither an id nor name and birth date are
            given.
    """
    for field, value in msgspec.structs.asdict(found).items():
        if value is not None and not value.strip():
            raise UsageError(f"{field} of the expectation is empty; leave it out")
    if found.birth_date is not None and not is_date(found.birth_date):
        raise UsageError("birth_date of the expectation is a day of the calendar, YYYY-MM-DD")
    if found.patient_id is None and (found.patient_name is None or found.birth_date is None):
        raise UsageError("an expectation needs patient_id, or patient_name and birth_date")
    return found


def unmet(
    expected: Expectation,
    patients: Sequence[Patient],
    studies: Sequence[Study] = (),
    *,
    domain: Domain = "internal",
) -> list[Difference]:
    """Return what is not as expected; an empty list means that all of it is.

    Args:
        expected: Of ``parse_expectation``.
        patients: All patients of the label. None at all is a difference.
        studies: All studies, if accession or study_uid are expected.
        domain: Of the peer from which the files come, or to which they go: "external" at the
            receiver of an external peer, whose ids are not ours.
    """
    if not patients:
        return [_difference("patient", expected.patient.id or expected.patient.name, "")]
    found: list[Difference] = []
    for patient in patients:
        found += _unmet_patient(expected, patient, domain)
    for study in studies or (Study(),):
        uid, accession = expected.study_uid, expected.accession
        if uid is not None and study.uid != uid:
            found.append(_difference("study_uid", uid, study.uid))
        if accession is not None and accession.strip() not in study.accessions:
            found.append(_difference("accession", accession, ", ".join(study.accessions)))
    return found


def _unmet_patient(expected: Expectation, found: Patient, domain: Domain) -> list[Difference]:
    wanted = expected.patient
    unmet_fields = []
    ids = compare_ids(wanted, found, one_domain=domain == "internal")
    if domain == "external" and ids is Agreement.UNKNOWN and wanted.id:
        # Their id is not ours: the person must be known by name and birth date instead.
        if not (wanted.name and wanted.birth_date):
            unmet_fields.append(_difference("patient_id", wanted.id, found.id, _FOREIGN))
    elif wanted.id and ids is not Agreement.SAME:
        unmet_fields.append(_difference("patient_id", _named(wanted), _named(found)))
    checks: tuple[tuple[str, str, str, Callable[[str, str], Agreement]], ...] = (
        ("patient_name", wanted.name, found.name, compare_names),
        ("birth_date", wanted.birth_date, found.birth_date, compare_dates),
    )
    for field, want, have, compare in checks:
        if want and compare(want, have) is not Agreement.SAME:
            unmet_fields.append(_difference(field, want, have))
    # What is expected must stand there: nothing said is a difference too.
    if domain == "internal" and id_key(wanted.issuer) not in ("", id_key(found.issuer)):
        unmet_fields.append(_difference("issuer", wanted.issuer, found.issuer))
    if wanted.sex and _sex(wanted.sex) != _sex(found.sex):
        unmet_fields.append(_difference("sex", wanted.sex, found.sex))
    return unmet_fields


def _sex(value: str) -> str:
    return value.strip().upper()[:1]


_FOREIGN = (
    "ids of another organisation say nothing without the same issuer: "
    "give patient_name and birth_date"
)


def _named(patient: Patient) -> str:
    return f"{patient.id} ({patient.issuer})" if patient.issuer else patient.id


def _difference(field: str, expected: str, found: str, text: str | None = None) -> Difference:
    wanted, have = escape_text(expected), escape_text(found)
    if text is None:
        text = f"{field.replace('_', ' ')}: expected {wanted}, found {have or 'none'}"
    return Difference(field, wanted, have, text)


# --- typed confirmation -------------------------------------------------------------------


def confirms(typed: str, patient: Patient) -> bool:
    """Return whether typed text is the birth year or the last four of the patient's id.

    Of an id with fewer than four letters and digits all of it is wanted; of a patient with neither
    of them, the whole name. Nothing typed confirms nothing.
    """
    given = _plain(typed)
    allowed = _answers(patient)
    return any(hmac.compare_digest(given.encode(), answer.encode()) for answer in allowed)


def can_confirm(patient: Patient) -> bool:
    """Return whether there is anything that could be typed for this patient."""
    return bool(_answers(patient))


def _answers(patient: Patient) -> list[str]:
    found = [answer for answer in (_last_four(patient), _birth_year(patient)) if answer]
    return found or list(filter(None, [_plain(patient.name)]))


def masked(patient: Patient) -> Patient:
    """Return a patient to show before the typing: id and birth date without what is typed."""
    hidden, shown = 0, []
    for char in reversed(patient.id):
        counts = char.isalnum() and hidden < _LAST
        hidden += counts
        shown.append(_HIDDEN if counts else char)
    date = patient.birth_date
    return msgspec.structs.replace(
        patient,
        id="".join(reversed(shown)),
        birth_date=_HIDDEN * _YEAR + date[_YEAR:] if _birth_year(patient) else date,
        raw_id="",
    )


def _last_four(patient: Patient) -> str:
    return _plain(patient.id)[-_LAST:]


def _birth_year(patient: Patient) -> str:
    return date_digits(patient.birth_date)[:_YEAR]


def _plain(value: str) -> str:
    return "".join(char for char in value if char.isalnum()).casefold()
