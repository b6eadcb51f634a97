"""The confirmation of a send: recipient and label side by side, and what a person types.

Enter alone, and the end of the input, mean no. What must be typed is masked until `?` asks.
"""

import shutil
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

from medp2p import limits
from medp2p.cli.label import finding_lines, label_lines, patient_line
from medp2p.cli.session import Session, ask_for, read_line
from medp2p.cli.show import Json, count, fields, peer_title, safe, verified
from medp2p.errors import CheckRefusedError
from medp2p.model import PURPOSES
from medp2p.text import format_bytes

#: Skipped entries that are named before the question; the rest is counted.
_SKIPPED_SHOWN = 10
#: A column of the screen is not narrower.
_COLUMN = 38
#: Stands for what must be typed.
_HIDDEN = "\u2022"


def show_part(session: Session, peer: Json, part: Json, parts: int) -> None:
    """Show recipient and label side by side, then files and findings."""
    title = f"transfer {part['part'] + 1} of {parts}" if parts > 1 else "WHOSE IMAGES"
    left = ["RECIPIENT", *_recipient(peer).splitlines()]
    right = [title, *label_lines(part["label"])]
    session.note(_beside(left, right))
    session.note(
        fields(
            [
                ("files", f"{part['files']}, {format_bytes(part['bytes'])}"),
                ("skipped", str(part["skipped"] or "")),
            ]
        )
    )
    for line in finding_lines(part["findings"], part["label"]["allowed"]):
        session.note(line)


def show_skipped(session: Session, skipped: list[Json]) -> None:
    """Name some of what is left out."""
    for entry in skipped[:_SKIPPED_SHOWN]:
        session.note(f"  skipped: {safe(entry['path'])} ({safe(entry['why'])})")
    if len(skipped) > _SKIPPED_SHOWN:
        session.note(f"  and {len(skipped) - _SKIPPED_SHOWN} more")


def _recipient(peer: Json) -> str:
    settings = peer["settings"]
    return fields(
        [
            ("to", peer_title(peer)),
            ("", "outside this organisation" if settings.get("domain") == "external" else ""),
            ("phone", safe(settings.get("phone"))),
            ("verified", verified(peer)),
            ("key words", safe(peer["key_words"]) if words_wanted(peer) else ""),
        ]
    )


def words_wanted(peer: Json, now: datetime | None = None) -> bool:
    """Return whether the key words are worth a look: new, or not compared for long."""
    now = now or datetime.now(UTC)
    compared, paired = _moment(peer.get("verified")), _moment(peer.get("created"))
    old = timedelta(days=limits.VERIFY_AGAIN_DAYS)
    return (
        compared is None
        or now - compared > old
        or (paired is not None and now - paired < timedelta(days=1))
    )


def _moment(time: object) -> datetime | None:
    try:
        return datetime.fromisoformat(time) if isinstance(time, str) else None
    except ValueError:
        return None


def _beside(left: list[str], right: list[str]) -> str:
    """Return two columns where the terminal has room, else one below the other."""
    width = max(len(line) for line in left)
    if max(width, _COLUMN) + 3 + _COLUMN > shutil.get_terminal_size((120, 24)).columns:
        return "\n".join([*left, "", *right])
    width = max(width, _COLUMN)
    return "\n".join(
        f"{one:{width}} | {other}".rstrip() for one, other in zip_longest(left, right, fillvalue="")
    )


def ask(session: Session, peer: Json, scan: Json, part: Json) -> Json:
    """Let a person confirm one part; return what the daemon wants to know.

    Raises:
        CheckRefusedError: Nothing was typed.
    """
    if part["wants"] in ("expect", "label"):
        return {"yes": True}  # no typing replaces it: the daemon says what is missing
    if part["wants"] != "typed" or not part["asked"]:
        name = safe(peer["name"])
        ask_for(name, f"to send this, type the name of the peer ({name})")
        return {"yes": True}
    return {"answers": [_answer(session, scan, part, patient) for patient in part["asked"]]}


def _answer(session: Session, scan: Json, part: Json, patient: Json) -> str:
    """Ask until something other than `?` is typed."""
    name = safe(patient["name"]) or "this patient"
    while True:
        question = f"type the birth year of {name}, or only the last four of the ID (? shows them)"
        if _HIDDEN not in f"{patient['id']}{patient['birth_date']}":
            question = f"type the whole name of {name}: there is no ID and no birth date"
        typed = read_line(question)
        if typed == "?":
            body = {"part": part["part"]}
            label = session.client.post("scans", scan["scan"], "reveal", body=body)
            for one in label.get("asked") or label["patients"]:
                session.note(patient_line(one))
            continue
        if not typed:
            raise CheckRefusedError("not confirmed: nothing was typed; nothing was sent")
        return typed


def ask_label(session: Session, part: Json) -> Json:
    """Ask whose the files without a header are; return the wishes for it.

    Raises:
        CheckRefusedError: Nothing was typed.
    """
    loose = part["label"]["loose"]
    whose = "whose is it" if loose == 1 else "whose are they"
    session.note(f"{count(loose, 'file')} without a DICOM header: {whose}?")
    number = read_line("patient ID, or `none` if they hold no patient data")
    if number == "none":
        return {"no_patient_data": True}
    name = read_line("patient name, as Family^Given")
    born = read_line("birth date, YYYY-MM-DD")
    if sum(map(bool, (number, name, born))) < 2:
        raise CheckRefusedError("two of them are needed; nothing was sent")
    return {"typed": {"id": number, "name": name, "birth_date": born}}


def ask_purpose() -> str:
    """Ask why somebody outside gets the images.

    Raises:
        CheckRefusedError: Nothing that is a purpose was typed.
    """
    typed = read_line(f"purpose ({', '.join(PURPOSES)})")
    if typed not in PURPOSES:
        raise CheckRefusedError("not confirmed: that is no purpose; nothing was sent")
    return typed
