"""A label for people: whose images, which studies, what was found. All text is escaped.

Sender and receiver read the same words, here and on the page: they compare them by telephone.
"""

from collections.abc import Sequence

from medp2p.cli.show import Json, count, fields, safe, when

#: Lines of each kind that are shown; a person reads no more, JSON has all.
_STUDIES, _SERIES, _FILES, _DIFFERENCES = 10, 12, 5, 20
_MARKS = {"block": "BLOCK", "hold": "HOLD", "warn": "warning", "info": "note"}
_ONE = {"patients": "patient", "studies": "study", "institutions": "institution"}
_RESULTS = {
    "agrees": "the files are what the label promised",
    "differs": "THE FILES ARE NOT WHAT THE LABEL PROMISED",
    "no-label": "no label was promised; below is what the files say",
    "broken": "THE SEALED FILE IS DAMAGED",
}


def patient_line(patient: Json) -> str:
    """Return a patient with both identifiers."""
    name = safe(patient["name"]) or "no name"
    issuer = f" of {safe(patient['issuer'])}" if patient["issuer"] else ""
    number = f"ID {safe(patient['id'])}{issuer}" if patient["id"] else "no ID"
    born = f"born {_date(patient['birth_date'])}" if patient["birth_date"] else "no birth date"
    sex = f"sex {safe(patient['sex'])}" if patient["sex"] else ""
    line = ", ".join(filter(None, [name, number, born, sex]))
    raw = [safe(patient[key]) for key in ("raw_name", "raw_id") if patient.get(key)]
    return f"{line}; as it stands in the file: {', '.join(raw)}" if raw else line


def label_lines(label: Json) -> list[str]:
    """Return a label without its findings, a line for each patient, study and series."""
    lines = []
    for number, patient in enumerate(label["patients"]):
        lines.append(f"{patient_line(patient)}; {count(patient['images'], 'image')}")
        mine = [study for study in label["studies"] if study["patient"] == number]
        lines += _cut([_study(study) for study in mine], _STUDIES, "studies")
        if len(mine) == 1:
            uid = mine[0]["uid"]
            series = [_series(one) for one in label["series"] if one["study"] == uid]
            lines += _cut(series, _SERIES, "series")
    if label["typed"] is not None:
        lines.append(f"{patient_line(label['typed'])}; as typed by the sender")
    lines += [f"from {safe(name)}" for name in label["institutions"]]
    lines += _beside_images(label)
    if label["flags"]:
        lines.append(f"flags: {safe(label['flags'])}")
    if label["allowed"]:
        lines.append(f"let pass by the sender: {safe(label['allowed'])}")
    left = [count(n, _ONE.get(key, key), key) for key, n in label["left_out"].items() if n]
    if left:
        lines.append(f"not listed here: {', '.join(left)}")
    return lines


def _study(study: Json) -> str:
    accessions = f", accession {safe(study['accessions'])}" if study["accessions"] else ""
    words = (safe(study["modalities"]), _date(study["date"]), safe(study["description"]))
    named = " ".join(filter(None, words)) or "study"
    images = count(study["images"], "image")
    return f"  {named}: {images} in {study['series']} series{accessions}"


def _series(one: Json) -> str:
    words = (safe(one["number"]), safe(one["modality"]), safe(one["description"]))
    return f"    {' '.join(filter(None, words)) or 'series'}: {count(one['images'], 'image')}"


def _cut(lines: list[str], most: int, what: str) -> list[str]:
    if len(lines) <= most:
        return lines
    more = len(lines) - most
    return [*lines[:most], f"    and {more} more {_ONE.get(what, what) if more == 1 else what}"]


def _beside_images(label: Json) -> list[str]:
    """Return what is said about files that are no images of a patient."""
    lines = []
    if label["directories"]:
        lines.append(f"DICOMDIR: {label['directories']}")
    if label["unverified"]:
        lines.append(f"label not verified: {count(label['unverified'], 'file')}")
    beside = label["without_header"] - label["loose"]
    loose = count(label["loose"], "file")
    if label["no_patient_data"]:
        lines.append(f"{loose}: no patient data, says the sender")
    elif label["loose"] and label["typed"] is None:
        lines.append(f"{loose} without a header: nobody says whose they are")
    if beside > 0 and label["patients"]:
        they, their = ("it goes", "its") if beside == 1 else ("they go", "their")
        files = count(beside, "file")
        lines.append(f"{files} without a header: {they} with the patient of {their} folder")
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


def label_text(row: Json) -> str:
    """Return label and look of a transfer, a line each; "" where there are none."""
    return fields([*_named("label", row.get("label")), *check_fields(row.get("check"))])


def check_fields(check: Json | None) -> list[tuple[str, str]]:
    """Return what the look at the files has found, as named lines; [] before it."""
    if check is None:
        return []
    result = check["result"]
    lines = [("looked at", f"{_RESULTS.get(result, safe(result))}, {when(check.get('time'))}")]
    found = check.get("differences", [])
    lines += [("differs", safe(one["text"])) for one in found[:_DIFFERENCES]]
    more = max(0, len(found) - _DIFFERENCES) + int(check.get("more") or 0)
    if more:
        lines.append(("differs", f"and {more} more"))
    return lines + (_named("came", check.get("label")) if result in ("differs", "no-label") else [])


def _named(name: str, label: object) -> list[tuple[str, str]]:
    """Return a label with its findings as one field of several lines."""
    if not isinstance(label, dict):
        return [(name, safe(label))]
    lines = label_lines(label) + finding_lines(label["findings"], label["allowed"])
    return [(name if number == 0 else "", line) for number, line in enumerate(lines)]


def _date(date: str) -> str:
    text = safe(date)
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and "-" not in text else text
