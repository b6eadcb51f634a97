"""The checks of a selection: of headers here, of file names in ``pathchecks``.

All of them are pure: items in, findings out. The same checks run before a send and again at the
receiver.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from medp2p import limits
from medp2p.dicom.agreement import Agreement, compare_names, date_digits
from medp2p.dicom.facts import REASONS, Patient, Series
from medp2p.dicom.finding import LEVELS, Finding, files_of, finding
from medp2p.dicom.pathchecks import check_directories, check_paths
from medp2p.dicom.patients import Group, Item, by_patient
from medp2p.dicom.slices import find_gaps

#: Modalities whose pixels often show a name, and which seldom say so (PS3.3, C.7.6.1.1.9).
_OFTEN_BURNED_IN = frozenset({"US", "SC", "ES", "XC", "OT", "GM", "ECG", "IVUS", "DOC"})
_SPOKEN_PATIENTS = 4


def to_digest(items: Sequence[Item]) -> list[int]:
    """Return the numbers of the items whose content must be digested for ``check``.

    Only files that share a SOP instance UID with another one: usually none.
    """
    return sorted(number for numbers in _twins(items).values() for number in numbers)


def check(items: Sequence[Item], *, today: str) -> list[Finding]:
    """Return all findings, the worst first.

    Args:
        items: The selection, in the order of its manifest.
        today: YYYYMMDD here and now: later dates are odd.
    """
    groups = by_patient(items)
    found = [
        *_check_patients(items, groups),
        *_check_studies(items, groups),
        *_check_instances(items),
        *_check_wholeness(items),
        *_check_stacks(items),
        *_check_parts(items),
        *_check_header_texts(items, today),
        *check_directories(items, groups),
        *check_paths(items),
    ]
    order = ["block", "hold", "warn", "info"]
    return sorted(_bounded(found), key=lambda one: order.index(one.level))


def _bounded(found: Iterable[Finding]) -> list[Finding]:
    """Keep some findings of each code; the last kept one tells how many more there are."""
    by_code: defaultdict[str, list[Finding]] = defaultdict(list)
    for one in found:
        by_code[one.code].append(one)
    kept: list[Finding] = []
    for code, ones in by_code.items():
        kept += ones[: limits.FINDINGS_PER_CODE]
        more = ones[limits.FINDINGS_PER_CODE :]
        if more:
            count = sum(one.count for one in more)
            text = f"and {len(more)} more of this kind, in {files_of(count)}"
            kept.append(Finding(code, LEVELS[code], text, count=count))
    return kept


# --- whose they are -----------------------------------------------------------------------


def describe(patient: Patient) -> str:
    """Return a patient on one line: name, id, birth date."""
    name = patient.name or "no name"
    number = f"id {patient.id}" if patient.id else "no id"
    issuer = f" of {patient.issuer}" if patient.issuer else ""
    born = f"born {patient.birth_date}" if patient.birth_date else "no birth date"
    return f"{name}, {number}{issuer}, {born}"


def _check_patients(items: Sequence[Item], groups: Sequence[Group]) -> list[Finding]:
    found = []
    if len(groups) > 1:
        by_size = sorted(groups, key=lambda group: -len(group.files))
        named = "; ".join(
            f"{describe(group.patient or Patient())} ({files_of(len(group.files))})"
            for group in by_size[:_SPOKEN_PATIENTS]
        )
        more = len(groups) - _SPOKEN_PATIENTS
        text = f"{len(groups)} patients: {named}" + (f"; and {more} more" if more > 0 else "")
        odd = [number for group in by_size[1:] for number in group.files]
        found.append(finding("mixed-patients", text, items, odd))
    for group in groups:
        patient = group.patient or Patient()
        found += _check_spellings(items, group)
        if patient.anonymous:
            text = f"{files_of(len(group.files))} with a header that names no patient"
            found.append(finding("no-patient", text, items, group.files))
        elif not patient.birth_date and not (patient.id and patient.name):
            text = f"no second identifier: {describe(patient)}"
            found.append(finding("no-second-identifier", text, items, group.files))
    return found


def _check_spellings(items: Sequence[Item], group: Group) -> list[Finding]:
    first = group.patient or Patient()
    odd = {
        one
        for one in group.spellings
        if (one.id and first.id and one.id != first.id)
        or compare_names(one.name, first.name) is Agreement.SIMILAR
        or bool(one.id) != bool(first.id)
        or (one.issuer != first.issuer)
    }
    if not odd:
        return []
    numbers = [number for number in group.files if items[number].facts.patient in odd]
    other = next(one for one in group.spellings if one in odd)
    text = f"one patient in several spellings: {describe(first)} / {describe(other)}"
    return [finding("patient-spelling", text, items, numbers)]


def _check_studies(items: Sequence[Item], groups: Sequence[Group]) -> list[Finding]:
    holders: defaultdict[str, dict[int, list[int]]] = defaultdict(dict)
    for place, group in enumerate(groups):
        for number in group.files:
            study = items[number].facts.study
            if study is not None:
                holders[study.uid].setdefault(place, []).append(number)
    found = []
    for study_uid, files in holders.items():
        if len(files) < 2:
            continue
        places = sorted(files, key=lambda place: -len(files[place]))
        one, other = (describe(groups[place].patient or Patient()) for place in places[:2])
        text = f"one study under two patients: {one} / {other}; study {study_uid}"
        odd = [number for place in places[1:] for number in files[place]]
        found.append(finding("study-two-patients", text, items, odd))
    return found


# --- each image once, and whole -----------------------------------------------------------


def _twins(items: Sequence[Item]) -> dict[str, list[int]]:
    by_uid: defaultdict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        if item.facts.sop_instance and item.facts.kind in ("dicom", "unverified"):
            by_uid[item.facts.sop_instance].append(number)
    return {uid: numbers for uid, numbers in by_uid.items() if len(numbers) > 1}


def _check_instances(items: Sequence[Item]) -> list[Finding]:
    found = []
    same: list[int] = []
    for uid, numbers in _twins(items).items():
        contents: defaultdict[bytes | int, list[int]] = defaultdict(list)
        for number in numbers:
            # Without a digest nobody knows that it is a copy.
            contents[items[number].digest or number].append(number)
        if len(contents) > 1:
            text = f"{files_of(len(numbers))} say they are one image, but differ: {uid}"
            found.append(finding("same-instance", text, items, numbers))
        else:
            same += numbers[1:]
    if same:
        text = f"{files_of(len(same))} are exact copies of others"
        found.append(finding("duplicate", text, items, same))
    return found


def _check_wholeness(items: Sequence[Item]) -> list[Finding]:
    found = []
    cut_off = [number for number, item in enumerate(items) if item.facts.truncated]
    untold = [
        number
        for number, item in enumerate(items)
        if item.facts.truncated is None and item.facts.kind == "dicom"
    ]
    growing = [number for number, item in enumerate(items) if item.growing]
    unverified: defaultdict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        if item.facts.kind == "unverified":
            unverified[item.facts.reason].append(number)
    if cut_off:
        text = f"shorter than they say, as after an interrupted copy: {files_of(len(cut_off))}"
        found.append(finding("truncated", text, items, cut_off))
    if untold:
        text = f"nobody can tell whether they are whole, or without pixels: {files_of(len(untold))}"
        found.append(finding("whole-untold", text, items, untold))
    if growing:
        text = f"still being written: {files_of(len(growing))}"
        found.append(finding("growing", text, items, growing))
    for reason, numbers in unverified.items():
        why = REASONS.get(reason, reason)
        text = f"label not verified for {files_of(len(numbers))}: {why}"
        found.append(finding("label-unverified", text, items, numbers))
    return found


def _check_stacks(items: Sequence[Item]) -> list[Finding]:
    found = []
    for gap in find_gaps(items):
        series = items[gap.files[0]].facts.series or Series()
        name = f"{series.number} {series.description}".strip() or gap.series
        if gap.missing:
            slices = "1 slice seems" if gap.missing == 1 else f"{gap.missing} slices seem"
            text = f"series {name}: {slices} to be missing at {gap.at_mm:.1f} mm"
            found.append(finding("slice-gap", text, items, gap.files))
        else:
            text = f"series {name}: several images at one place, {gap.at_mm:.1f} mm"
            found.append(finding("slice-doubled", text, items, gap.files))
    return found


def _check_parts(items: Sequence[Item]) -> list[Finding]:
    parts: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        uid, count = item.facts.concatenation
        if uid and count:
            parts[uid, count].append(number)
    return [
        finding(
            "parts-missing",
            f"an image in {count} parts, of which {len(numbers)} are here",
            items,
            numbers,
        )
        for (_, count), numbers in parts.items()
        if len(numbers) < count
    ]


# --- what else headers say ----------------------------------------------------------------


def _check_header_texts(items: Sequence[Item], today: str) -> list[Finding]:
    def is_future(item: Item) -> bool:
        dates = [
            item.facts.study.date if item.facts.study else "",
            item.facts.patient.birth_date if item.facts.patient else "",
        ]
        return any(date_digits(date) > today for date in dates)

    def may_be_burned_in(item: Item) -> bool:
        series = item.facts.series
        modality = "" if series is None else series.modality
        has_pixels = item.facts.rows > 0 and not item.facts.burned_in
        return has_pixels and modality in _OFTEN_BURNED_IN

    checks: list[tuple[str, str, Callable[[Item], bool]]] = [
        ("future-date", "study or birth date lies in the future", is_future),
        (
            "burned-in",
            "pixels show text about the patient",
            lambda item: item.facts.burned_in == "YES",
        ),
        ("burned-in-untold", "pixels may show a name; nothing says they do not", may_be_burned_in),
        (
            "encapsulated",
            "a document is inside, which may name the patient",
            lambda item: item.facts.encapsulated,
        ),
        (
            "executable-preamble",
            "images that are programs too: an executable or script in the preamble",
            lambda item: item.facts.preamble in ("executable", "script"),
        ),
        (
            "odd-preamble",
            "unknown bytes in the preamble",
            lambda item: item.facts.preamble == "other",
        ),
    ]
    found = []
    # A selection may hold 200,000 files without a header, which say nothing of this.
    headed = [(number, item) for number, item in enumerate(items) if item.facts.kind != "other"]
    for code, text, applies in checks:
        numbers = [number for number, item in headed if applies(item)]
        if numbers:
            found.append(finding(code, f"{text}: {files_of(len(numbers))}", items, numbers))
    return found
