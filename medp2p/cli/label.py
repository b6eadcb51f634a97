"""A label for people: whose images, which studies, what was found; one line each, escaped."""

from typing import Any

from medp2p.cli.show import Json, fields, safe, when

#: Series and differences shown; the rest is a count, and JSON has more.
_SERIES_SHOWN = 20
_DIFFERENCES_SHOWN = 20


def patient_text(patient: Json) -> str:
    """Return a patient on one line: name, id, birth date, sex."""
    issuer = f" of {safe(patient['issuer'])}" if patient.get("issuer") else ""
    number = f"id {safe(patient['id'])}{issuer}" if patient.get("id") else "no id"
    born = safe(patient.get("birth_date"))
    said = [
        safe(patient.get("name")) or "no name",
        number,
        f"born {_date(born)}" if born else "no birth date",
        f"sex {safe(patient['sex'])}" if patient.get("sex") else "",
    ]
    raw = [safe(patient.get(key)) for key in ("raw_name", "raw_id") if patient.get(key)]
    text = ", ".join(part for part in said if part)
    return f"{text}; as it stands in the file: {', '.join(raw)}" if raw else text


def _date(text: str) -> str:
    plain = len(text) == len("YYYYMMDD") and "-" not in text
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if plain else text


def label_lines(label: Any) -> list[tuple[str, str]]:
    """Return a label as named lines; [] where there is none."""
    if not isinstance(label, dict):
        return []
    lines = []
    for line in label.get("patients", []):
        lines.append(("patient", f"{patient_text(line)}; {_images(line.get('images'))}"))
    if label.get("typed"):
        lines.append(("patient", f"{patient_text(label['typed'])}; as typed by the sender"))
    if label.get("no_patient_data"):
        lines.append(("patient", "no patient data, says the sender"))
    lines += [("study", _study(line)) for line in label.get("studies", [])]
    series = label.get("series", [])
    lines += [("series", _series(line)) for line in series[:_SERIES_SHOWN]]
    if len(series) > _SERIES_SHOWN:
        lines.append(("series", f"and {len(series) - _SERIES_SHOWN} more"))
    lines.append(("institution", safe(label.get("institutions"))))
    lines.append(("content", _content(label)))
    lines.append(("marks", safe(label.get("flags"))))
    for one in label.get("findings", []):
        lines.append((safe(one["level"]), f"{safe(one['text'])} ({safe(one['code'])})"))
    lines.append(("let pass", safe(label.get("allowed"))))
    left = {key: count for key, count in (label.get("left_out") or {}).items() if count}
    if left:
        told = ", ".join(f"{safe(count)} {safe(key)}" for key, count in left.items())
        lines.append(("not listed", told))
    return [(name, text) for name, text in lines if text]


def _images(count: object) -> str:
    return "1 image" if count == 1 else f"{safe(count)} images"


def _study(line: Json) -> str:
    accessions = safe(line.get("accessions"))
    said = [
        _date(safe(line.get("date"))),
        safe(line.get("description")),
        safe(line.get("modalities")),
        f"accession {accessions}" if accessions else "",
        f"{safe(line.get('series'))} series, {_images(line.get('images'))}",
    ]
    return ", ".join(part for part in said if part)


def _series(line: Json) -> str:
    said = [
        safe(line.get("number")),
        safe(line.get("modality")),
        safe(line.get("description")),
        _images(line.get("images")),
    ]
    return ", ".join(part for part in said if part)


def _content(label: Json) -> str:
    words = (
        ("images", "images"),
        ("directories", "DICOMDIR"),
        ("without_header", "files without header"),
        ("unverified", "files NOT VERIFIED"),
        ("loose", "of them with no patient of their own"),
    )
    return ", ".join(f"{safe(label[key])} {word}" for key, word in words if label.get(key))


_RESULTS = {
    "agrees": "the files are what the label promised",
    "differs": "THE FILES ARE NOT WHAT THE LABEL PROMISED",
    "no-label": "no label was promised; below is what the files say",
    "broken": "THE SEALED FILE IS DAMAGED",
}


def check_lines(check: Any) -> list[tuple[str, str]]:
    """Return what the look at the files has found, as named lines; [] before it."""
    if not isinstance(check, dict):
        return []
    result = str(check.get("result"))
    lines = [("looked at", f"{_RESULTS.get(result, safe(result))}, {when(check.get('time'))}")]
    found = check.get("differences", [])
    lines += [("differs", safe(one["text"])) for one in found[:_DIFFERENCES_SHOWN]]
    more = max(0, len(found) - _DIFFERENCES_SHOWN) + int(check.get("more") or 0)
    if more:
        lines.append(("differs", f"and {more} more"))
    if result in ("differs", "no-label"):
        lines += [(f"came: {name}", text) for name, text in label_lines(check.get("label"))]
    return lines


def label_text(row: Json) -> str:
    """Return label and look of a transfer, a line each; "" where there are none."""
    return fields([*label_lines(row.get("label")), *check_lines(row.get("check"))])
