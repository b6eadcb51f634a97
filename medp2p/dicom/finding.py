"""What a check has to say: a code, a level, a sentence, files."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from medp2p import limits
from medp2p.dicom.patients import Item
from medp2p.text import path_text

Level = Literal["block", "hold", "warn", "info"]

#: Every finding there is, with its level. block and hold stop a send; warn and info do not.
LEVELS: dict[str, Level] = {
    "mixed-patients": "block",
    "study-two-patients": "block",
    "same-instance": "block",
    "addendum-patient": "block",
    "directory-patients": "block",
    "truncated": "hold",
    "growing": "hold",
    "label-unverified": "warn",
    "patient-spelling": "warn",
    "no-patient": "warn",
    "no-second-identifier": "warn",
    "whole-untold": "warn",
    "slice-gap": "warn",
    "slice-doubled": "warn",
    "parts-missing": "warn",
    "directory-missing": "warn",
    "executable-preamble": "warn",
    "odd-preamble": "warn",
    "hidden-file": "warn",
    "executable-file": "warn",
    "autorun": "warn",
    "future-date": "warn",
    "burned-in": "warn",
    "path-collision": "warn",
    "burned-in-untold": "info",
    "encapsulated": "info",
    "duplicate": "info",
    "no-header": "info",
}


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finding.

    Attributes:
        code: A key of LEVELS.
        level: Its level.
        text: A sentence for a person, harmless; may hold patient data.
        files: Paths as ``text.path_text`` has them, limits.FINDING_FILES at most.
        count: Files that it is about.
    """

    code: str
    level: Level
    text: str
    files: tuple[str, ...] = ()
    count: int = 0


def finding(code: str, text: str, items: Sequence[Item], numbers: Iterable[int]) -> Finding:
    """Return a finding about the items of these numbers."""
    concerned = sorted(set(numbers))
    named = [path_text(items[number].path) for number in concerned[: limits.FINDING_FILES]]
    return Finding(code, LEVELS[code], cut(text), tuple(map(cut, named)), len(concerned))


def cut(text: str) -> str:
    """Return text of limits.FINDING_CHARS at most."""
    if len(text) <= limits.FINDING_CHARS:
        return text
    return text[: limits.FINDING_CHARS - 1] + "\u2026"


def files_of(count: int) -> str:
    """Return "1 file" or "N files"."""
    return "1 file" if count == 1 else f"{count} files"
