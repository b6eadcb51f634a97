"""Whether a send is confirmed well enough for its recipient: typed, expected, or waved through.

What a peer wants stands in its settings. Findings that stop come first, whatever is confirmed.
Error texts name codes and fields, never a patient: they may end in logs of scripts.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from medp2p import limits
from medp2p.daemon import policy
from medp2p.daemon.parts import Part
from medp2p.dicom.agreement import date_digits
from medp2p.dicom.compare import (
    Difference,
    Expectation,
    can_confirm,
    check_expectation,
    confirms,
    masked,
    unmet,
)
from medp2p.dicom.facts import Patient, Study
from medp2p.dicom.finding import files_of
from medp2p.dicom.label import Label
from medp2p.errors import CheckRefusedError, UsageError
from medp2p.model import PURPOSES

#: How a send was confirmed, for the audit log.
Manner = Literal["expect", "typed", "none", "yes"]


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a person, or a script, says before a transfer is queued.

    Attributes:
        answers: What was typed for each patient that can be confirmed, in the order of the label.
        expect: Whose images are meant; each patient must be one of these.
        yes: Whoever sends says that it is right.
        purpose: Why somebody outside gets them.
    """

    answers: tuple[str, ...] = ()
    expect: tuple[Expectation, ...] = ()
    yes: bool = False
    purpose: str = ""


def wanted(part: Part, settings: Mapping[str, str]) -> str:
    """Return what must be given: "label", "expect", "typed" or "yes"."""
    label = part.label
    mode = policy.setting(settings, "confirm")
    if mode == "none":
        return "yes"
    if label.needs_typing:
        return "label"
    if mode == "expect":
        return "expect"
    people = persons(part)
    if not people:
        return "yes"
    # Of whom nothing can be typed, only an expectation can tell.
    whole = all(map(can_confirm, people)) and not label.left_out.patients
    return "typed" if whole else "expect"


def persons(part: Part) -> tuple[Patient, ...]:
    """Return everybody that is named: by headers, by a DICOMDIR, or typed for other files."""
    known = [one for one in part.label.persons if not one.anonymous]
    return tuple(dict.fromkeys((*known, *part.strangers)))


def hidden(part: Part) -> dict[str, str]:
    """Return what is masked before the typing, and what is shown in its place.

    Ids and birth dates in all spellings, wherever they stand in texts; those of one or two
    characters would mask half of the page.
    """
    words = {}
    for one in (*part.label.persons, *part.people):
        shown = masked(one)
        date = date_digits(one.birth_date)
        year, month, day = date[:4], date[4:6], date[6:]
        hide = "\u2022" * len(year)
        for before, after in (
            (one.id, shown.id),
            (one.birth_date, shown.birth_date),
            (date, hide + month + day),
            (f"{year}-{month}-{day}", f"{hide}-{month}-{day}"),
        ):
            if len(before) > 2:
                words[before] = after
        if one.raw_id:
            words[one.raw_id] = shown.id
    return dict(sorted(words.items(), key=lambda pair: -len(pair[0])))


def check_confirmed(part: Part, given: Confirmation, settings: Mapping[str, str]) -> Manner:
    """Return how a part is confirmed.

    Raises:
        CheckRefusedError: A finding stops it, or it is not confirmed as the peer wants it.
        UsageError: Something is missing that the person can add: --yes, the purpose.
    """
    check_stops(part)
    _check_purpose(given, settings)
    need = wanted(part, settings)
    if need == "label":
        raise CheckRefusedError(
            f"no DICOM header in {files_of(part.label.loose)}, and nobody said whose they are",
            hint="--patient-id, --patient-name and --birth-date, or --no-patient-data",
        )
    if given.expect:
        _check_expected(part, given.expect)
        return "expect"
    if need == "expect":
        raise CheckRefusedError(
            "this send wants an expectation",
            hint="--expect-from FILE, or --expect-patient ID",
        )
    if given.answers:
        _check_answers(part, given.answers)
        return "typed"
    if not given.yes:
        raise UsageError("not confirmed", hint="say --yes if the selection is right")
    if need == "typed":
        raise CheckRefusedError(
            "--yes does not say whose images they are; nothing was sent",
            hint="--expect-from FILE; or set confirm=none for this peer",
        )
    return "none" if policy.setting(settings, "confirm") == "none" else "yes"


def check_stops(part: Part) -> None:
    """Refuse what a finding of level block or hold stops.

    Raises:
        CheckRefusedError: With the codes.
    """
    if not part.stops:
        return
    codes = ", ".join(dict.fromkeys(one.code for one in part.stops))
    if any(one.level == "block" for one in part.stops):
        hint = "--split-by-patient, --exclude; or --allow, where the peer's settings permit it"
    else:
        hint = "look at the files; --allow CODE lets it pass"
    raise CheckRefusedError(f"the check of the files stops this: {codes}", hint=hint)


def _check_purpose(given: Confirmation, settings: Mapping[str, str]) -> None:
    if given.purpose and given.purpose not in PURPOSES:
        raise UsageError(f"a purpose is one of {', '.join(PURPOSES)}")
    if policy.setting(settings, "domain") == "external" and not given.purpose:
        raise UsageError(
            "a recipient outside wants a purpose", hint=f"--purpose {'|'.join(PURPOSES)}"
        )


def _check_expected(part: Part, expected: Sequence[Expectation]) -> None:
    if len(expected) > limits.MAX_EXPECTATIONS:
        raise UsageError(f"more than {limits.MAX_EXPECTATIONS} expectations")
    for one in expected:
        check_expectation(one)
    found = differences(part.label, expected, part.strangers)
    if found:
        fields = ", ".join(dict.fromkeys(one.field for one in found))
        raise CheckRefusedError(f"the files are not what is expected: {fields}")


def differences(
    label: Label, expected: Sequence[Expectation], strangers: Sequence[Patient] = ()
) -> list[Difference]:
    """Return what is not as expected of the patient that fits least; [] when all fit.

    Ids of files here are ids of this organisation: the domain of the recipient changes nothing.
    """
    if label.left_out.patients or label.left_out.studies:
        return [Difference("patient", "", "", "more patients or studies than a label holds")]
    people = (*label.persons, *strangers)
    if not people:
        return unmet(expected[0], ())
    for number, one in enumerate(people):
        if one.anonymous and label.typed is not None:
            continue  # whose those are was typed
        studies = _studies_of(label, number, one)
        misses = [unmet(expectation, (one,), studies) for expectation in expected]
        if all(misses):
            return min(misses, key=len)
    return []


def _studies_of(label: Label, number: int, patient: Patient) -> tuple[Study, ...]:
    if number >= len(label.patients) or label.patients[number].patient != patient:
        return ()
    return tuple(line.study for line in label.studies if line.patient == number)


def _check_answers(part: Part, answers: Sequence[str]) -> None:
    asked = persons(part)
    right = len(answers) == len(asked) and all(
        confirms(answer, one) for answer, one in zip(answers, asked, strict=True)
    )
    if not right:
        raise CheckRefusedError(
            "not confirmed: that is not what was asked for of this patient; nothing was sent",
            hint="four characters: the birth year, or the last four of the ID, not all of it;"
            " the whole name of a patient with neither",
        )
