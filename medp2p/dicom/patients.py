"""Which files are of one patient, and the split of a selection by patient."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from medp2p.dicom.agreement import (
    Agreement,
    compare_dates,
    compare_names,
    date_digits,
    id_key,
)
from medp2p.dicom.facts import FileFacts, Patient


class Item(NamedTuple):
    """One file of a selection.

    Attributes:
        path: As in the manifest: relative, "/"-separated.
        facts: Of its inspection.
        digest: Of its content, where it is known: ``checks.to_digest`` tells where it matters.
        growing: Somebody still writes to it.
    """

    path: bytes
    facts: FileFacts
    digest: bytes | None = None
    growing: bool = False


class Group(NamedTuple):
    """The files of one patient.

    Attributes:
        patient: The fullest form of who it is; None for files that go with nobody.
        files: Numbers of the items, ascending.
        spellings: All forms found, in the order of the files.
    """

    patient: Patient | None
    files: tuple[int, ...]
    spellings: tuple[Patient, ...]


def by_patient(items: Sequence[Item]) -> list[Group]:
    """Return the patients that the headers name, in the order of the files.

    Two forms are one patient if their ids agree but for case and blanks, their issuers do not
    differ, and neither name nor birth date contradicts. A form without id joins the one patient
    that has its name and birth date. Files without header are in no group.
    """
    files: defaultdict[Patient, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        if item.facts.kind in ("dicom", "unverified") and _names_one(item.facts):
            files[item.facts.patient or Patient()].append(number)
    clusters: list[list[Patient]] = []
    near: defaultdict[tuple[str, str], list[list[Patient]]] = defaultdict(list)
    # Those with most to compare first: a form with little in it must not glue two together.
    for patient in sorted(files, key=lambda one: (-_fullness(one), files[one][0])):
        fitting = [cluster for cluster in near[_keys(patient)[0]] if _fits(patient, cluster)]
        if len(fitting) == 1:
            fitting[0].append(patient)
            continue
        clusters.append([patient])
        for key in _keys(patient):
            near[key].append(clusters[-1])
    groups = []
    for cluster in clusters:
        numbers = sorted(number for patient in cluster for number in files[patient])
        spellings = sorted(cluster, key=lambda one: files[one][0])
        groups.append(Group(cluster[0], tuple(numbers), tuple(spellings)))
    return sorted(groups, key=lambda group: group.files[0])


def _names_one(facts: FileFacts) -> bool:
    """Whether a file belongs to a patient: images always, others if they say so."""
    return facts.patient is not None or (facts.kind == "dicom" and facts.study is not None)


def _fullness(patient: Patient) -> int:
    weights = ((patient.id, 8), (patient.issuer, 4), (patient.name, 2), (patient.birth_date, 1))
    return sum(weight for value, weight in weights if value)


def _keys(patient: Patient) -> tuple[tuple[str, str], ...]:
    """Return under what a patient is found; the first one is what it looks for itself."""
    dates = ("date", date_digits(patient.birth_date))
    return (("id", id_key(patient.id)), dates) if patient.id else (dates,)


def _fits(patient: Patient, cluster: list[Patient]) -> bool:
    return all(one_person(patient, other) for other in cluster)


def one_person(one: Patient, other: Patient) -> bool:
    """Return whether two forms are of one patient (see ``by_patient``)."""
    if one.anonymous or other.anonymous:
        return one.anonymous and other.anonymous
    names = compare_names(one.name, other.name)
    dates = compare_dates(one.birth_date, other.birth_date)
    if Agreement.DIFFERENT in (names, dates):
        return False
    if not one.id or not other.id:
        return names is dates is Agreement.SAME
    issuers = {id_key(one.issuer), id_key(other.issuer)} - {""}
    return len(issuers) < 2 and id_key(one.id) == id_key(other.id)


def split_by_patient(items: Sequence[Item]) -> list[Group]:
    """Return one group for each patient, files without header beside their folder's patient.

    A file without a patient of its own (no header, unreadable, DICOMDIR) goes to the patient of
    the nearest folder above it, up to the selected one, in which all images are of one patient.
    Where that folder holds several, and for a DICOMDIR that names others, nobody can say: such
    files are in a last group without patient, which must not be sent with any of them.
    """
    groups = by_patient(items)
    owner = {number: place for place, group in enumerate(groups) for number in group.files}
    in_folder: defaultdict[bytes, set[int]] = defaultdict(set)
    for number, place in owner.items():
        for folder in _folders(items[number].path):
            in_folder[folder].add(place)
    files = [list(group.files) for group in groups]
    nobody = []
    for number, item in enumerate(items):
        if number in owner:
            continue
        places = _nearest(item.path, in_folder)
        if len(places) == 1 and not _names_others(item, groups[min(places)]):
            files[min(places)].append(number)
        else:
            nobody.append(number)
    split = [
        group._replace(files=tuple(sorted(numbers)))
        for group, numbers in zip(groups, files, strict=True)
    ]
    return [*split, Group(None, tuple(nobody), ())] if nobody else split


def _folders(path: bytes) -> list[bytes]:
    """Return the folders above a path, nearest first; the last one is the selected one itself.

    What was selected beside it says nothing: a path begins with the name of what was selected.
    """
    parts = path.split(b"/")[:-1]
    return [b"/".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _nearest(path: bytes, in_folder: dict[bytes, set[int]]) -> set[int]:
    for folder in _folders(path) if in_folder else ():
        if folder in in_folder:
            return in_folder[folder]
    return set()


def _names_others(item: Item, group: Group) -> bool:
    directory = item.facts.directory
    if directory is None:
        return False
    return any(
        not any(one_person(named, known) for known in group.spellings)
        for named in directory.patients
    )


def strangers(item: Item, groups: Sequence[Group]) -> list[Patient]:
    """Return the patients that a DICOMDIR names and no image of the selection is of."""
    directory = item.facts.directory
    named = () if directory is None else directory.patients
    known = [patient for group in groups for patient in group.spellings]
    return [one for one in named if not any(one_person(one, other) for other in known)]
