"""What is made of a scan: one transfer, or one for each patient; each with label and findings.

Pure: items in, parts out. What stops a part is decided here; who may let it pass
stands in the peer's settings.
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from medp2p import limits
from medp2p.daemon import policy
from medp2p.daemon.instances import instance_of, is_instance, marks
from medp2p.dicom.agreement import (
    Agreement,
    compare_dates,
    compare_ids,
    compare_names,
    date_digits,
    is_date,
)
from medp2p.dicom.checks import check, describe
from medp2p.dicom.facts import Patient
from medp2p.dicom.finding import LEVELS, Finding, files_of, finding
from medp2p.dicom.label import Label, build_label, not_of
from medp2p.dicom.patients import Group, Item, by_patient, split_by_patient, strangers
from medp2p.errors import CheckRefusedError, SourceError, UsageError
from medp2p.manifest import Kind
from medp2p.parcel.record import Scan, Skipped
from medp2p.text import escape_text


class TypedPatient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose files without a header are, as a person typed it."""

    id: str = ""
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


class Wishes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the sender asks of a scan.

    Attributes:
        exclude: Patterns of paths or names that stay here.
        split: One transfer for each patient.
        typed: Whose the files without a header are.
        no_patient_data: The files without a header hold none.
        allow: Codes of findings that may pass.
        again_of: An earlier transfer whose scan is sent once more; None for none, since "" is
            the id of none.
        addendum_of: An earlier transfer; only what it had not is sent. Likewise.
    """

    exclude: tuple[str, ...] = ()
    split: bool = False
    typed: TypedPatient | None = None
    no_patient_data: bool = False
    allow: tuple[str, ...] = ()
    again_of: str | None = None
    addendum_of: str | None = None

    def check(self) -> "Wishes":
        """Return the wishes themselves.

        Raises:
            UsageError: They contradict themselves, or cannot be understood.
        """
        if unknown := sorted(set(self.allow) - LEVELS.keys()):
            raise UsageError(f"no finding has the code {unknown[0]!r}")
        if len(self.exclude) > limits.MAX_EXCLUDES or not all(self.exclude):
            raise UsageError("patterns to exclude are some, and not empty")
        if self.typed is None:
            return self
        if self.no_patient_data:
            raise UsageError("either whose the files are, or that they hold no patient data")
        words = msgspec.structs.asdict(self.typed)
        if any(len(word) > limits.DICOM_VALUE_CHARS for word in words.values()):
            raise UsageError("the typed label is too long")
        if sum(bool(words[name].strip()) for name in ("id", "name", "birth_date")) < 2:
            raise UsageError(
                "a typed label needs two of patient id, name and birth date",
                hint="--patient-id, --patient-name, --birth-date",
            )
        if words["birth_date"].strip() and not is_date(words["birth_date"]):
            raise UsageError("a birth date is a day of the calendar, YYYY-MM-DD")
        return self

    @property
    def patient(self) -> Patient | None:
        """Return the typed patient as a label has it."""
        if self.typed is None:
            return None
        words = {k: escape_text(v.strip()) for k, v in msgspec.structs.asdict(self.typed).items()}
        words["birth_date"] = date_digits(words["birth_date"])
        return Patient(**words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What becomes one transfer.

    Attributes:
        found: Its part of the scan.
        label: What a person must check.
        findings: All of them; the label has as many as fit.
        stops: Findings that nobody let pass.
        marks: Of its files, for addenda to come.
        people: All spellings of all patients that headers and DICOMDIRs name.
        strangers: Patients that a DICOMDIR names and no image is of.
    """

    found: Scan
    label: Label
    findings: tuple[Finding, ...]
    stops: tuple[Finding, ...]
    marks: tuple[bytes, ...] = ()
    people: tuple[Patient, ...] = ()
    strangers: tuple[Patient, ...] = ()


@dataclass(frozen=True, slots=True)
class Before:
    """What an addendum is compared with.

    Attributes:
        label: Of the transfer that it adds to.
        instances: What was sent (instances.py), whatever its content.
    """

    label: Label
    instances: frozenset[bytes]


def without(found: Scan, patterns: Sequence[str]) -> Scan:
    """Return a scan without what the patterns name, and without what lies below that.

    Raises:
        SourceError: Nothing is left, or there are no files.
    """
    if not found.files:
        hint = "folders alone, links and devices are not sent"
        raise SourceError("there are no files in the selection", hint=hint)
    if not patterns:
        return found
    out: set[bytes] = set()
    kept = []
    for number, entry in enumerate(found.entries):
        parent = entry.path.rpartition(b"/")[0]
        if parent in out or _is_named(entry.path, patterns):
            if entry.kind is Kind.DIRECTORY:
                out.add(entry.path)
        else:
            kept.append(number)
    skipped = tuple(
        item for item in found.skipped
        if item.path.rpartition(b"/")[0] not in out and not _is_named(item.path, patterns)
    )  # fmt: skip
    left = found.only(kept, skipped)
    if not left.files:
        raise SourceError("nothing is left of the selection", hint="look at the --exclude patterns")
    return left


def _is_named(path: bytes, patterns: Sequence[str]) -> bool:
    whole = path.decode(errors="surrogateescape")
    names = (whole, whole.rpartition("/")[2])
    return any(
        fnmatch.fnmatchcase(name, pattern.rstrip("/")) for pattern in patterns for name in names
    )


def make_parts(
    found: Scan,
    items: Sequence[Item],
    wishes: Wishes,
    settings: Mapping[str, str],
    today: str,
    before: Before | None = None,
) -> list[Part]:
    """Return the parts of a scan, in the order of their files.

    Args:
        found: What the walk found, without what was excluded.
        items: What its files say, in their order.
        wishes: Checked.
        settings: Of the peer.
        today: YYYYMMDD.
        before: What it adds to, if it is an addendum.
    """
    if not wishes.split:
        return [_part(found, items, wishes, settings, today, before)]
    numbers = [n for n, entry in enumerate(found.entries) if entry.kind is Kind.FILE]
    groups = split_by_patient(items)
    if not any(group.patient for group in groups):
        return [_part(found, items, wishes, settings, today, before)]
    nobody = [n for group in groups if group.patient is None for n in group.files]
    left = tuple(Skipped(items[n].path, "no-patient") for n in nobody)
    parts: list[Part] = []
    for group in groups:
        if group.patient is None:
            continue
        # What is of nobody is told once, with the first part.
        skipped = (*found.skipped, *left) if not parts else ()
        mine = found.only(with_folders(found, [numbers[n] for n in group.files]), skipped)
        theirs = [items[n] for n in group.files]
        parts.append(_part(mine, theirs, wishes, settings, today, before))
    return parts


def with_folders(found: Scan, files: Sequence[int]) -> list[int]:
    """Return files and the folders above them, ascending."""
    above: set[bytes] = set()
    for number in files:
        folder = found.entries[number].path.rpartition(b"/")[0]
        while folder and folder not in above:
            above.add(folder)
            folder = folder.rpartition(b"/")[0]
    folders = {
        n for n, entry in enumerate(found.entries)
        if entry.kind is Kind.DIRECTORY and entry.path in above
    }  # fmt: skip
    return sorted(folders | set(files))


def _part(
    found: Scan,
    items: Sequence[Item],
    wishes: Wishes,
    settings: Mapping[str, str],
    today: str,
    before: Before | None,
) -> Part:
    told = tuple(marks(found, items))
    added = [] if before is None else _check_added(items, told, wishes, before)
    findings = (*added, *check(items, today=today))
    passing = _passing(findings, wishes, settings)
    stops = tuple(
        one for one in findings if one.level in ("block", "hold") and one.code not in passing
    )
    label = build_label(
        items,
        findings,
        typed=wishes.patient,
        no_patient_data=wishes.no_patient_data,
        allowed=sorted(passing & {one.code for one in findings}),
        addendum_of=wishes.addendum_of or "",
    )
    if label.loose == 0:  # what was typed is about files without a patient of their own
        _check_typed(label)
        label = msgspec.structs.replace(label, typed=None, no_patient_data=False)
    groups = by_patient(items)
    return Part(
        found=found,
        label=label,
        findings=findings,
        stops=stops,
        marks=told,
        people=_people(items, groups),
        strangers=tuple(dict.fromkeys(one for item in items for one in strangers(item, groups))),
    )


def _people(items: Sequence[Item], groups: Sequence[Group]) -> tuple[Patient, ...]:
    said = [one for group in groups for one in group.spellings]
    for item in items:
        if item.facts.directory is not None:
            said += item.facts.directory.patients
    return tuple(dict.fromkeys(said))


def _check_added(
    items: Sequence[Item], told: Sequence[bytes], wishes: Wishes, before: Before
) -> list[Finding]:
    """Return what does not fit to the transfer that these files are added to."""
    found = []
    mine = build_label(items)
    if mine.loose:
        mine = msgspec.structs.replace(mine, typed=wishes.patient)
    if others := not_of(mine, before.label):
        text = f"the earlier transfer is not of {describe(others[0])}"
        found.append(finding("addendum-patient", text, items, range(len(items))))
    changed = [
        number for number, item in enumerate(items)
        if is_instance(item.facts) and instance_of(told[number]) in before.instances
    ]  # fmt: skip
    if changed:
        text = f"sent before with another content: {files_of(len(changed))}"
        found.append(finding("same-instance", text, items, changed))
    return found


def _passing(
    findings: Sequence[Finding], wishes: Wishes, settings: Mapping[str, str]
) -> frozenset[str]:
    """Return the codes that the sender lets pass and may."""
    permitted = set(filter(None, policy.setting(settings, "allow").split(",")))
    if policy.setting(settings, "allow-mixed") == "yes":
        permitted.add("mixed-patients")
    permitted.add("same-instance")  # to keep both is a choice, and both are kept
    return frozenset(code for code in wishes.allow if LEVELS[code] != "block" or code in permitted)


def _check_typed(label: Label) -> None:
    """Compare a typed patient with those of the headers.

    Raises:
        CheckRefusedError: The headers name somebody else.
    """
    typed = label.typed
    if typed is None:
        return
    for line in label.patients:
        one = line.patient
        found = (
            compare_ids(typed, one, one_domain=True),
            compare_names(typed.name, one.name),
            compare_dates(typed.birth_date, one.birth_date),
        )
        if Agreement.DIFFERENT in found:
            raise CheckRefusedError(
                "the files have headers, and those name somebody else than what was typed",
                hint="a typed label is for files without a header",
            )
