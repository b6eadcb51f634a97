"""How a label looks to people: patients, studies, series, findings. All text is escaped."""

from collections.abc import Sequence

from medp2p.cli.show import Json, safe

#: Lines of each kind that are shown; a person reads no more, JSON has all.
_STUDIES, _SERIES, _FILES = 10, 12, 5
_MARKS = {"block": "BLOCK", "hold": "HOLD", "warn": "warning", "info": "note"}


def patient_line(patient: Json) -> str:
    """Return a patient with both identifiers."""
    name = safe(patient["name"]) or "no name"
    issuer = f" of {safe(patient['issuer'])}" if patient["issuer"] else ""
    number = f"id {safe(patient['id'])}{issuer}" if patient["id"] else "no id"
    born = f"born {_date(patient['birth_date'])}" if patient["birth_date"] else "no birth date"
    line = ", ".join(filter(None, [name, number, born, safe(patient["sex"])]))
    raw = [safe(patient[key]) for key in ("raw_name", "raw_id") if patient.get(key)]
    return line + (f" (as it stands: {'; '.join(raw)})" if raw else "")


def label_lines(label: Json) -> list[str]:
    """Return a label without its findings, a line for each patient, study and series."""
    lines = []
    for number, patient in enumerate(label["patients"]):
        lines.append(patient_line(patient))
        mine = [study for study in label["studies"] if study["patient"] == number]
        lines += _cut([_study(study) for study in mine], _STUDIES, "studies")
        if len(mine) == 1:
            uid = mine[0]["uid"]
            series = [_series(one) for one in label["series"] if one["study"] == uid]
            lines += _cut(series, _SERIES, "series")
    if label["typed"] is not None:
        lines.append(f"{patient_line(label['typed'])} (typed by the sender)")
    lines += [f"from {safe(name)}" for name in label["institutions"]]
    lines += _counts(label)
    if label["flags"]:
        lines.append(f"flags: {safe(label['flags'])}")
    if label["allowed"]:
        lines.append(f"let pass by the sender: {safe(label['allowed'])}")
    left = {key: count for key, count in label["left_out"].items() if count}
    if left:
        lines.append(f"not listed here: {', '.join(f'{n} {key}' for key, n in left.items())}")
    return lines


def _study(study: Json) -> str:
    accessions = f", accession {safe(study['accessions'])}" if study["accessions"] else ""
    words = (safe(study["modalities"]), _date(study["date"]), safe(study["description"]))
    named = " ".join(filter(None, words)) or "study"
    return f"  {named}: {study['images']} images in {study['series']} series{accessions}"


def _series(one: Json) -> str:
    words = (safe(one["number"]), safe(one["modality"]), safe(one["description"]))
    return f"    {' '.join(filter(None, words)) or 'series'}: {one['images']} images"


def _cut(lines: list[str], most: int, what: str) -> list[str]:
    if len(lines) <= most:
        return lines
    return [*lines[:most], f"    and {len(lines) - most} more {what}"]


def _counts(label: Json) -> list[str]:
    lines = []
    if label["directories"]:
        lines.append(f"DICOMDIR: {label['directories']}")
    if label["unverified"]:
        lines.append(f"label not verified: {label['unverified']} files")
    beside = label["without_header"] - label["loose"]
    if label["no_patient_data"]:
        lines.append(f"{label['loose']} files hold no patient data, says the sender")
    elif label["loose"] and label["typed"] is None:
        lines.append(f"{label['loose']} files without a header: nobody says whose they are")
    if beside > 0 and label["patients"]:
        lines.append(f"{beside} files without a header go with the patient of their folder")
    return lines


def finding_lines(findings: Sequence[Json], allowed: Sequence[str] = ()) -> list[str]:
    """Return findings, with some of the files of each."""
    lines = []
    for one in findings:
        mark = "let pass" if one["code"] in allowed else _MARKS.get(one["level"], "note")
        lines.append(f"{mark}: {safe(one['text'])} [{safe(one['code'])}]")
        if one["level"] != "info":
            lines += [f"    {safe(name)}" for name in one["files"][:_FILES]]
            more = one["count"] - min(len(one["files"]), _FILES)
            if more > 0 and one["files"]:
                lines.append(f"    and {more} more")
    return lines


def label_text(label: object) -> str:
    """Return label and findings as the value of a field; "" for none."""
    if not isinstance(label, dict) or "patients" not in label:
        return safe(label)
    return "\n  ".join(label_lines(label) + finding_lines(label["findings"], label["allowed"]))


def _date(date: str) -> str:
    text = safe(date)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and "-" not in text else text
