"""What a person is shown of a finished scan before anything of it is queued, as JSON.

What must be typed is masked wherever it stands, in blocked scans too: those may pass later.
"""

import base64
from collections.abc import Mapping, Sequence

from medp2p.daemon import policy, views
from medp2p.daemon.confirming import hidden, persons, wanted
from medp2p.daemon.labels import finding_view, label_view, masked_view, patient_view
from medp2p.daemon.parts import Part
from medp2p.dicom.compare import masked
from medp2p.parcel.record import Skipped


def is_masked(part: Part, settings: Mapping[str, str]) -> bool:
    """Return whether something of a part may have to be typed."""
    return policy.setting(settings, "confirm") not in ("none", "expect") and bool(persons(part))


def part_view(number: int, part: Part, settings: Mapping[str, str]) -> views.Json:
    """Return a part; ids and birth dates are masked where they must be typed."""
    mask = is_masked(part, settings)
    asked = persons(part)
    view: views.Json = {
        "part": number,
        "files": part.found.files,
        "bytes": part.found.file_bytes,
        "skipped": len(part.found.skipped),
        "wants": wanted(part, settings),
        "asked": [patient_view(one) for one in asked],
        "purpose_wanted": policy.setting(settings, "domain") == "external",
        "masked": mask,
        "stops": sorted({one.code for one in part.stops}),
        "findings": [finding_view(one) for one in part.findings],
        "label": label_view(part.label),
    }
    if not mask:
        return view
    view = masked_view(view, hidden(part))
    label = view["label"]
    for line, one in zip(label["patients"], part.label.patients, strict=True):
        line.update(patient_view(masked(one.patient)))
    if part.label.typed is not None:
        label["typed"] = patient_view(masked(part.label.typed))
    view["asked"] = [patient_view(masked(one)) for one in asked]
    return view


def skipped_view(parts: Sequence[Part], settings: Mapping[str, str]) -> list[views.Json]:
    """Return what is left out of all parts: ``{path, path_b64, why}``; names are masked too."""
    hide: dict[str, str] = {}
    for part in parts:
        if is_masked(part, settings):
            hide |= hidden(part)
    hide = dict(sorted(hide.items(), key=lambda pair: -len(pair[0])))
    return [_skipped(item, hide) for part in parts for item in part.found.skipped]


def _skipped(item: Skipped, hide: Mapping[str, str]) -> views.Json:
    view = views.named(item.path) | {"why": item.why}
    path = masked_view({"path": view["path"]}, dict(hide))["path"]
    if path == view["path"]:
        return view
    return view | {"path": path, "path_b64": base64.b64encode(path.encode()).decode()}
