"""A label in JSON (docs/CLI.md, "Labels")."""

from typing import Any

from medp2p.dicom.facts import Patient
from medp2p.dicom.finding import Finding
from medp2p.dicom.label import Label

Json = dict[str, Any]


def patient_view(patient: Patient) -> Json:
    """Return who a patient is."""
    return {name: getattr(patient, name) for name in Patient.__struct_fields__}


def finding_view(finding: Finding) -> Json:
    """Return one finding: ``code, level, text, files, count``."""
    return {
        "code": finding.code,
        "level": finding.level,
        "text": finding.text,
        "files": list(finding.files),
        "count": finding.count,
    }


def label_view(label: Label) -> Json:
    """Return a whole label."""
    return {
        "patients": [
            patient_view(line.patient) | {"images": line.images} for line in label.patients
        ],
        "studies": [
            {
                "patient": line.patient,
                "uid": line.study.uid,
                "date": line.study.date,
                "time": line.study.time,
                "description": line.study.description,
                "accessions": list(line.study.accessions),
                "modalities": list(line.modalities),
                "series": line.series,
                "images": line.images,
            }
            for line in label.studies
        ],
        "series": [
            {name: getattr(line, name) for name in type(line).__struct_fields__}
            for line in label.series
        ],
        "institutions": list(label.institutions),
        "flags": list(label.flags),
        "images": label.images,
        "directories": label.directories,
        "without_header": label.without_header,
        "unverified": label.unverified,
        "loose": label.loose,
        "typed": None if label.typed is None else patient_view(label.typed),
        "no_patient_data": label.no_patient_data,
        "findings": [finding_view(one) for one in label.findings],
        "allowed": list(label.allowed),
        "left_out": {
            name: getattr(label.left_out, name) for name in type(label.left_out).__struct_fields__
        },
    }


def masked_view(view: Json, hide: dict[str, str]) -> Json:
    """Return JSON in which some words are replaced wherever they stand.

    Args:
        view: Any.
        hide: What is hidden, and what is shown for it; longer words first.
    """
    shown: Json = _replaced(view, hide)
    return shown


def _replaced(value: Any, hide: dict[str, str]) -> Any:
    if isinstance(value, str):
        for word, shown in hide.items():
            value = value.replace(word, shown)
        return value
    if isinstance(value, dict):
        return {key: _replaced(part, hide) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, hide) for part in value]
    return value
