"""What a person must check before images go to somebody: patients, studies, series, findings.

The sender builds a label and shows it; it is promised in the offer. The receiver builds its own
one of the files that came, and ``same_label`` tells what differs. All text in a label is harmless
and bounded, at both ends. Lists are cut so that a label fits into an offer; what was left out is
counted.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from medp2p import limits
from medp2p.dicom.checks import describe
from medp2p.dicom.compare import Difference
from medp2p.dicom.facts import FileFacts, Patient, Study
from medp2p.dicom.finding import Finding
from medp2p.dicom.patients import Item, by_patient, not_among, split_by_patient
from medp2p.errors import RemoteProtocolError
from medp2p.text import escape_text

_VERSION = 1


class PatientLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One patient and the number of their images."""

    patient: Patient
    images: int = 0


class StudyLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One study of one patient.

    Attributes:
        patient: Number of the patient in the label; -1 if that line was left out.
        study: UID, date, description, accession numbers.
        modalities: Of its series, in the order of the files.
        series: How many series.
        images: How many images.
    """

    patient: int
    study: Study
    modalities: tuple[str, ...] = ()
    series: int = 0
    images: int = 0


class SeriesLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One series of one study; study is its UID, not a number."""

    study: str
    uid: str
    number: str = ""
    modality: str = ""
    description: str = ""
    images: int = 0


class LeftOut(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many lines of each kind a label does not hold."""

    patients: int = 0
    studies: int = 0
    series: int = 0
    institutions: int = 0
    findings: int = 0


class Label(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The label of a transfer.

    Attributes:
        version: Of this form.
        patients: As the headers name them.
        studies: Of all patients.
        series: Of all studies.
        institutions: (0008,0080), each once.
        flags: "burned-in", "burned-in-untold", "encapsulated", "visual-features" (a face may be
            recognised), "identity-removed".
        images: Files with a DICOM header, without DICOMDIRs.
        directories: DICOMDIRs.
        without_header: Other files.
        unverified: Files that seem to be DICOM and cannot be relied on.
        loose: Files that belong to no patient of the label: their label must be typed.
        typed: The patient that a person typed for those.
        no_patient_data: A person says that those hold none.
        findings: Of ``checks.check``.
        allowed: Codes of findings that a person let pass.
        addendum_of: Id of the transfer that this one adds to; "" for none. Who does not know
            the field overlooks it.
        left_out: Lines not in this label.
    """

    version: int = _VERSION
    patients: tuple[PatientLine, ...] = ()
    studies: tuple[StudyLine, ...] = ()
    series: tuple[SeriesLine, ...] = ()
    institutions: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    images: int = 0
    directories: int = 0
    without_header: int = 0
    unverified: int = 0
    loose: int = 0
    typed: Patient | None = None
    no_patient_data: bool = False
    findings: tuple[Finding, ...] = ()
    allowed: tuple[str, ...] = ()
    addendum_of: str = ""
    left_out: LeftOut = LeftOut()

    @property
    def needs_typing(self) -> bool:
        """Return whether a person must still say whose the loose files are."""
        return self.loose > 0 and self.typed is None and not self.no_patient_data

    @property
    def speaks_for_all(self) -> bool:
        """Return whether the headers alone tell whose every file is: what a rule wants."""
        known = all(line.patient.id or line.patient.name for line in self.patients)
        left_over = self.loose or self.unverified or self.left_out.patients
        return self.images > 0 and bool(self.patients) and known and not left_over

    @property
    def persons(self) -> tuple[Patient, ...]:
        """Return all patients: of the headers and typed."""
        named = tuple(line.patient for line in self.patients)
        return named if self.typed is None or self.typed in named else (*named, self.typed)


def build_label(
    items: Sequence[Item],
    findings: Sequence[Finding] = (),
    *,
    typed: Patient | None = None,
    no_patient_data: bool = False,
    allowed: Sequence[str] = (),
    addendum_of: str = "",
) -> Label:
    """Return the label of a selection; ``encode_label`` of it always fits into an offer."""
    kinds = Counter(item.facts.kind for item in items)
    patients, studies, series = _lines(items)
    institutions = dict.fromkeys(item.facts.institution for item in items if item.facts.institution)
    whole = Label(
        patients=tuple(patients),
        studies=tuple(studies),
        series=tuple(series),
        institutions=tuple(institutions),
        flags=_flags(items, findings),
        images=kinds["dicom"],
        directories=kinds["dicomdir"],
        without_header=kinds["other"],
        unverified=kinds["unverified"],
        loose=_count_loose(items),
        typed=typed,
        no_patient_data=no_patient_data,
        findings=tuple(findings),
        allowed=tuple(allowed),
        addendum_of=addendum_of,
    )
    return _fitting(whole)


def _lines(
    items: Sequence[Item],
) -> tuple[list[PatientLine], list[StudyLine], list[SeriesLine]]:
    patients: list[PatientLine] = []
    studies: list[StudyLine] = []
    series: list[SeriesLine] = []
    for place, group in enumerate(by_patient(items)):
        found = [items[number].facts for number in group.files]
        patients.append(PatientLine(group.patient or Patient(), len(found)))
        of_study: dict[str, list[FileFacts]] = {}
        for facts in found:
            of_study.setdefault(facts.study.uid if facts.study else "", []).append(facts)
        for uid, members in of_study.items():
            lines = _series_lines(uid, members)
            study = members[0].study or Study()
            modalities = tuple(dict.fromkeys(line.modality for line in lines if line.modality))
            studies.append(StudyLine(place, study, modalities, len(lines), len(members)))
            series += lines
    return patients, studies, series


def _series_lines(study: str, members: Sequence[FileFacts]) -> list[SeriesLine]:
    of_series: dict[str, list[FileFacts]] = {}
    for facts in members:
        of_series.setdefault(facts.series.uid if facts.series else "", []).append(facts)
    lines = []
    for uid, images in of_series.items():
        one = images[0].series
        if one is None:
            lines.append(SeriesLine(study, uid, images=len(images)))
        else:
            told = (one.number, one.modality, one.description)
            lines.append(SeriesLine(study, uid, *told, images=len(images)))
    return lines


def _flags(items: Sequence[Item], findings: Sequence[Finding]) -> tuple[str, ...]:
    flags = {
        "visual-features": any(item.facts.visual_features == "YES" for item in items),
        "identity-removed": any(item.facts.identity_removed == "YES" for item in items),
        "encapsulated": any(item.facts.encapsulated for item in items),
        "burned-in": any(item.facts.burned_in == "YES" for item in items),
        "burned-in-untold": any(one.code == "burned-in-untold" for one in findings),
    }
    return tuple(sorted(flag for flag, there in flags.items() if there))


def _count_loose(items: Sequence[Item]) -> int:
    """Count the files of which no header says whose they are.

    A DICOMDIR is one only where it is alone: what it names besides is a finding.
    """
    loose = 0
    groups = split_by_patient(items)
    alone = not any(group.patient for group in groups)
    for group in groups:
        if group.patient is None:
            kinds = [items[number].facts.kind for number in group.files]
            loose += len(kinds) if alone else len(kinds) - kinds.count("dicomdir")
        elif group.patient.anonymous:
            loose += len(group.files)
    return loose


# --- as bytes -----------------------------------------------------------------------------

#: The lists, with their greatest length, and how willingly each is cut when bytes are short: who
#: the patients are goes last.
_LISTS = (
    ("series", limits.LABEL_SERIES, 4),
    ("findings", limits.LABEL_FINDINGS, 2),
    ("institutions", limits.LABEL_INSTITUTIONS, 4),
    ("studies", limits.LABEL_STUDIES, 2),
    ("patients", limits.LABEL_PATIENTS, 1),
)


def _fitting(label: Label) -> Label:
    for name, most, _ in _LISTS:
        label = _shortened(label, name, most)
    while len(encode_label(label)) > limits.MAX_LABEL_BYTES:
        costs = [
            (len(msgspec.msgpack.encode(getattr(label, name))) * weight, name)
            for name, _, weight in _LISTS
        ]
        name = max(costs)[1]
        label = _shortened(label, name, len(getattr(label, name)) * 3 // 4)
    return label


def _shortened(label: Label, name: str, most: int) -> Label:
    lines = getattr(label, name)
    if len(lines) <= most:
        return label
    left_out = {name: getattr(label.left_out, name) + len(lines) - most}
    changes: dict[str, Any] = {
        name: lines[:most],
        "left_out": msgspec.structs.replace(label.left_out, **left_out),
    }
    if name == "patients":
        changes["studies"] = tuple(
            msgspec.structs.replace(line, patient=-1) if line.patient >= most else line
            for line in label.studies
        )
    return msgspec.structs.replace(label, **changes)


def encode_label(label: Label) -> bytes:
    """Return a label as an offer carries it (msgpack)."""
    return msgspec.msgpack.encode(label)


def decode_label_untrusted(data: bytes) -> Label:
    """Read the label of an offer; all text in it is harmless afterwards.

    Raises:
        RemoteProtocolError: It is too long, no label, or points at lines that it does not have.
    """
    if len(data) > limits.MAX_LABEL_BYTES:
        raise RemoteProtocolError("the label is too long")
    try:
        label = msgspec.msgpack.decode(data, type=Label)
        label = msgspec.convert(_escaped(msgspec.to_builtins(label)), type=Label)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError("the label is damaged") from error
    if any(not -1 <= line.patient < len(label.patients) for line in label.studies):
        raise RemoteProtocolError("the label does not fit together")
    return label


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escape_text(value)
    if isinstance(value, dict):
        return {key: _escaped(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(part) for part in value]
    return value


def not_of(label: Label, earlier: Label) -> list[Patient]:
    """Return the persons of a label whom an earlier one does not name; all, if nobody can tell."""
    if label.left_out.patients or earlier.left_out.patients:
        return list(label.persons)
    return not_among(label.persons, earlier.persons)


# --- promised and found -------------------------------------------------------------------


def same_label(promised: Label, inspected: Label) -> list[Difference]:
    """Return what the files that came have otherwise than was promised; empty if nothing.

    What was typed, found or allowed is the sender's word and not compared. Lines of studies and
    series may be left out, and are counted; who the patients are must be told.
    """
    found: list[Difference] = []
    for field, text in (
        ("images", "images"),
        ("directories", "DICOMDIR files"),
        ("without_header", "files without header"),
        ("unverified", "files that could not be verified"),
        ("loose", "files of nobody"),
    ):
        before, after = getattr(promised, field), getattr(inspected, field)
        if before != after:
            found.append(_changed(field, text, str(before), str(after)))
    flags = ", ".join(promised.flags), ", ".join(inspected.flags)
    if flags[0] != flags[1]:
        found.append(_changed("flags", "flags", *flags))
    cut_patients = promised.left_out.patients, inspected.left_out.patients
    if any(cut_patients):
        before, after = map(str, cut_patients)
        found.append(_changed("patients", "patients whom the label has no room for", before, after))
    for field in ("patients", "studies", "series", "institutions"):
        found += _differing(promised, inspected, field)
    return found


def _differing(promised: Label, inspected: Label, field: str) -> list[Difference]:
    """Return how one of the lists differs."""
    found = []
    expected = len(getattr(promised, field)) + getattr(promised.left_out, field)
    came = len(getattr(inspected, field)) + getattr(inspected.left_out, field)
    if expected != came:
        found.append(_changed(field, field, str(expected), str(came)))
    wanted, have = _told(promised, field), _told(inspected, field)
    for key in dict.fromkeys((*wanted, *have)):
        # A line that one side had no room for proves nothing; but never a patient's.
        cut = inspected if key in wanted else promised
        if key not in wanted or key not in have:
            if field != "patients" and getattr(cut.left_out, field):
                continue
        elif wanted[key][1] == have[key][1]:
            continue
        what = (wanted.get(key) or have[key])[0]
        before, after = (lines[key][1] if key in lines else "" for lines in (wanted, have))
        found.append(_changed(field, what, before, after))
    return found


def _told(label: Label, field: str) -> dict[object, tuple[str, str]]:
    """Return the lines of one kind by what identifies each: its name, and what must be equal."""
    if field == "patients":
        return {
            one.patient: (f"patient {describe(one.patient)}", f"{one.images} images")
            for one in label.patients
        }
    if field == "studies":
        return {
            (line.study.uid, line.patient): (
                f"study {line.study.uid} of patient {line.patient + 1}",
                f"{line.study.date} {line.study.time} {line.study.description!r},"
                f" accession {', '.join(line.study.accessions)}, {', '.join(line.modalities)},"
                f" {line.series} series, {line.images} images",
            )
            for line in label.studies
        }
    if field == "institutions":
        return {name: (f"institution {name}", name) for name in label.institutions}
    return {
        (line.uid, line.study): (
            f"series {line.uid} of study {line.study}",
            f"{line.number} {line.modality} {line.description!r}, {line.images} images",
        )
        for line in label.series
    }


def _changed(field: str, what: str, before: str, after: str) -> Difference:
    text = f"{what}: promised {before or 'none'}, came {after or 'none'}"
    return Difference(field, before, after, text)
