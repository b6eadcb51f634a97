"""Which files are of one patient, and the split of a selection by patient."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from medp2p import limits
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

    Of more than MAX_FORMS_COMPARED forms with one id, or without any and of one birth date, those
    beyond are patients of their own: headers that nobody expects must not take hours.
    """
    files: defaultdict[Patient, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        if item.facts.kind in ("dicom", "unverified") and _names_one(item.facts):
            files[item.facts.patient or Patient()].append(number)
    clusters: list[list[Patient]] = []
    near: defaultdict[tuple[str, str], list[list[Patient]]] = defaultdict(list)
    forms: Counter[tuple[str, str]] = Counter()
    # Those with most to compare first: a form with little in it must not glue two together.
    for patient in sorted(files, key=lambda one: (-_fullness(one), files[one][0])):
        key = _keys(patient)[0]
        few = forms[key] < limits.MAX_FORMS_COMPARED
        forms.update(_keys(patient))
        fitting = [cluster for cluster in near[key] if _fits(patient, cluster)] if few else []
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
    folders = _Folders((items[number].path, place) for number, place in owner.items())
    files = [list(group.files) for group in groups]
    nobody = []
    for number, item in enumerate(items):
        if number in owner:
            continue
        place = folders.only_place_near(item.path)
        if place is not None and not strangers(item, [groups[place]]):
            files[place].append(number)
        else:
            nobody.append(number)
    split = [
        group._replace(files=tuple(sorted(numbers)))
        for group, numbers in zip(groups, files, strict=True)
    ]
    return [*split, Group(None, tuple(nobody), ())] if nobody else split


class _Folders:
    """Whose images lie below which folders, in the memory of their paths.

    A path may have two thousand folders, so these are not spelled out: with NUL for "/", what lies
    below a folder is a run of the sorted paths, and the nearest folder with images above a path is
    what it has in common with one of its neighbours there.
    """

    def __init__(self, images: Iterable[tuple[bytes, int]]) -> None:
        """Take (path, place of its patient) of each image."""
        told = sorted((_sortable(path), place) for path, place in images)
        self._paths = [path for path, _ in told]
        self._places = [place for _, place in told]
        changes = (one != other for one, other in pairwise(self._places))
        #: Two images are of one patient, and all between them, if these numbers are equal.
        self._runs = list(accumulate(changes, initial=0))

    def only_place_near(self, path: bytes) -> int | None:
        """Return whose images alone lie in the nearest folder that has any; None: nobody's.

        What was selected beside a folder says nothing: a path begins with the name of what was
        selected.
        """
        if not self._paths:
            return None
        mine = _sortable(path)
        at = bisect_left(self._paths, mine)
        near = self._paths[max(0, at - 1) : at + 1]
        folder = max((_common_folder(mine, other) for other in near), key=len, default=b"")
        if not folder:
            return None
        first = bisect_left(self._paths, folder)
        last = bisect_left(self._paths, folder[:-1] + b"\1") - 1
        return self._places[first] if self._runs[first] == self._runs[last] else None


def _sortable(path: bytes) -> bytes:
    return path.replace(b"/", b"\0")


def _common_folder(one: bytes, other: bytes) -> bytes:
    """Return the longest beginning of two paths that ends with a separator."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return one[: one.rfind(b"\0", 0, low) + 1]


def strangers(item: Item, groups: Sequence[Group]) -> list[Patient]:
    """Return the patients that a DICOMDIR names and no image of the selection is of."""
    directory = item.facts.directory
    if directory is None:
        return []
    known = {patient for group in groups for patient in group.spellings}
    return not_among(directory.patients, known)


def not_among(named: Iterable[Patient], known: Collection[Patient]) -> list[Patient]:
    """Return those who are none of the known; with too many of both, all not spelled alike."""
    spelled = frozenset(known)
    rest = [one for one in named if one not in spelled or not one_person(one, one)]
    if len(rest) * len(spelled) > limits.MAX_PERSONS_COMPARED:
        return rest
    return [one for one in rest if not any(one_person(one, other) for other in spelled)]
