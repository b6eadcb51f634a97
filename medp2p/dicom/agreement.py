"""When two ids, names or dates mean the same person.

Rules, each a property in the tests:

- An id is compared without padding and never with its case folded: what differs in case or inner
  blanks only is SIMILAR. Two issuers that differ make any two ids DIFFERENT. Ids without issuers
  on both sides compare inside one organisation only; otherwise they are UNKNOWN.
- A name is compared without case, padding, empty components at the end, and in one Unicode form.
  The alphabetic group decides; where one side has none, the ideographic and then the phonetic.
  A name without any ``^`` was typed by hand: its words stand for the components.
- SIMILAR is for a person to judge: other order, other accents, other ideographs, a middle name on
  one side only. It is never taken for the same.

Source: DICOM PS3.5, 6.2.1 (names); PS3.3, C.7.1.1 and 10.17 (ids and issuers).
"""

import datetime
import enum
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from medp2p.dicom.facts import Patient


class Agreement(enum.IntEnum):
    """How well two values agree; the lower the worse."""

    DIFFERENT = 0
    SIMILAR = 1
    UNKNOWN = 2
    SAME = 3


_SEPARATORS = re.compile(r"[\s^,]+")
_DATE = re.compile(r"(\d{4})[-.]?(\d{2})[-.]?(\d{2})\Z")


def compare_ids(one: Patient, other: Patient, *, one_domain: bool) -> Agreement:
    """Compare patient ids with their issuers.

    Args:
        one: Id and issuer count.
        other: The same.
        one_domain: Both come from inside one organisation.
    """
    left, right = one.id.strip(), other.id.strip()
    if not left or not right:
        return Agreement.UNKNOWN
    issuers = {_folded(patient.issuer) for patient in (one, other)}
    if len(issuers) == 2 and "" not in issuers:
        return Agreement.DIFFERENT
    if not one_domain and "" in issuers:
        return Agreement.UNKNOWN
    if left == right:
        return Agreement.SAME
    return Agreement.SIMILAR if id_key(left) == id_key(right) else Agreement.DIFFERENT


def id_key(patient_id: str) -> str:
    """Return what ids that differ only in case, width and blanks have in common."""
    return "".join(_folded(patient_id).split())


class NameForm(NamedTuple):
    """A name in the form in which it is compared: groups of components."""

    groups: tuple[tuple[str, ...], ...]

    def group(self, number: int) -> tuple[str, ...]:
        """Return a group; () if it is missing or empty."""
        return self.groups[number] if number < len(self.groups) else ()


@lru_cache(maxsize=4096)
def name_form(name: str) -> NameForm:
    """Return a name without what does not tell people apart."""
    groups = []
    for group in name.split("="):
        components = [" ".join(_folded(part).split()) for part in group.split("^")]
        while components and not components[-1]:
            components.pop()
        groups.append(tuple(components))
    while groups and not groups[-1]:
        groups.pop()
    return NameForm(tuple(groups))


def compare_names(one: str, other: str) -> Agreement:
    """Compare two person names, as files have them or as people type them."""
    if not any(name_form(one).groups) or not any(name_form(other).groups):
        return Agreement.UNKNOWN
    # UTF-8 read as Latin-1 is the same bytes: as good as the same name.
    return max(
        _compare_forms(name_form(left), name_form(right))
        for left in _readings(one)
        for right in _readings(other)
    )


def _compare_forms(one: NameForm, other: NameForm) -> Agreement:
    if one == other:
        return Agreement.SAME
    for number in range(max(len(one.groups), len(other.groups))):
        left, right = one.group(number), other.group(number)
        if left and right:
            found = _compare_groups(left, right)
            if found is Agreement.SAME and _contradicts(one, other, number + 1):
                return Agreement.SIMILAR
            return found
    return Agreement.UNKNOWN


def _contradicts(one: NameForm, other: NameForm, first: int) -> bool:
    """Whether later groups, which both have, differ: two persons with one Latin spelling."""
    later = range(first, max(len(one.groups), len(other.groups)))
    return any(
        one.group(number) and other.group(number) and one.group(number) != other.group(number)
        for number in later
    )


def _compare_groups(one: Sequence[str], other: Sequence[str]) -> Agreement:
    if one == other:
        return Agreement.SAME
    left, right = _words(one), _words(other)
    if left == right:
        typed = len(one) == 1 or len(other) == 1
        return Agreement.SAME if typed else Agreement.SIMILAR
    bare_left = {_bare(word) for word in left}
    bare_right = {_bare(word) for word in right}
    fewer = min(len(bare_left), len(bare_right))
    if fewer and (bare_left == bare_right or (fewer > 1 and _within(bare_left, bare_right))):
        return Agreement.SIMILAR
    return Agreement.DIFFERENT


def _within(one: set[str], other: set[str]) -> bool:
    return one <= other or other <= one


def _words(components: Sequence[str]) -> list[str]:
    return [word for part in components for word in _SEPARATORS.split(part) if word]


def _bare(word: str) -> str:
    """Return a word without accents; of letters that are nothing but a mark, itself."""
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(char for char in decomposed if not unicodedata.combining(char)) or word


def _readings(name: str) -> tuple[str, ...]:
    if name.isascii():
        return (name,)
    try:
        return (name, name.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return (name,)


@lru_cache(maxsize=4096)
def _folded(value: str) -> str:
    """Return one form for all ways to write the same characters."""
    folded = unicodedata.normalize("NFKC", value).casefold()
    return unicodedata.normalize("NFKC", folded).strip()


def date_digits(date: str) -> str:
    """Return YYYYMMDD of a DICOM, old DICOM or ISO date; "" if it is none."""
    found = _DATE.match(date.strip())
    return "".join(found.groups()) if found else ""


def is_date(date: str) -> bool:
    """Return whether text is a day of the calendar, as a person may type it."""
    try:
        datetime.date.fromisoformat(date_digits(date))
    except ValueError:
        return False
    return True


def compare_dates(one: str, other: str) -> Agreement:
    """Compare birth dates; what is missing or no date is UNKNOWN."""
    left, right = date_digits(one), date_digits(other)
    if not left or not right:
        return Agreement.UNKNOWN
    return Agreement.SAME if left == right else Agreement.DIFFERENT
