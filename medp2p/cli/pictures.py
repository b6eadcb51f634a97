"""The verb that shows small pictures of what is sealed, as files that a person asks for."""

import base64
import os
import re
from typing import Any

import click

from medp2p.cli.completion import transfer_argument
from medp2p.cli.paths import clear_place, write_new
from medp2p.cli.session import Session, verb
from medp2p.cli.show import Json, columns, safe
from medp2p.errors import OutputError, UsageError
from medp2p.model import short_id

#: A picture leaves its frame behind, but not this.
_MARK = "not-for-diagnosis"
_SAME_NAMES = 1000


@click.command("preview")
@transfer_argument
@click.option("--to", "folder", metavar="DIR", type=click.Path(), help="Made if missing.")
@click.option("--series", multiple=True, metavar="UID", help="These only; default: all.")
@verb
def inbox_preview(
    session: Session, transfer: str, folder: str | None, series: tuple[str, ...]
) -> None:
    """Write a small picture of each series of a sealed transfer to DIR, in clear.

    That you look is audited, and the sender is told once. Nothing is written over.
    """
    if folder is None:
        raise UsageError(
            "missing option '--to'",
            hint="pictures show a patient: say in which DIR they shall lie in clear",
        )
    folder = clear_place(session, folder)
    _make_folder(folder)
    body: dict[str, Any] = {"series": list(series)} if series else {}
    told = session.client.act("transfers", transfer, "previews", body=body)
    row = session.client.get("transfers", transfer, direction="in")
    shown = [
        _written(folder, short_id(row["id"]), number, one)
        for number, one in enumerate(told["previews"], 1)
    ]
    found = {"id": row["id"], "marked": told["marked"], "previews": shown}
    session.result(found, lambda: _text(shown))


def _make_folder(folder: str) -> None:
    """Make it before anybody is told that somebody looks.

    Raises:
        OutputError: It cannot be made.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: {error.strerror}") from error


def _written(folder: str, transfer: str, number: int, preview: Json) -> Json:
    """Write the picture of a series, if there is one; return it with ``file`` in its place."""
    view = {name: value for name, value in preview.items() if name != "png_b64"}
    if preview["png_b64"] is None:
        return view | {"file": None}
    modality = re.sub(r"[^A-Za-z0-9]", "", str(preview["modality"]))[:16] or "image"
    stem = os.path.join(folder, f"{transfer}-{number:02}-{modality}-{_MARK}")
    return view | {"file": _write_new(stem, base64.b64decode(preview["png_b64"]))}


def _write_new(stem: str, data: bytes) -> str:
    """Write a file that was not there; return its path.

    Raises:
        OutputError: It cannot be written.
    """
    for count in range(1, _SAME_NAMES):
        path = f"{stem}.png" if count == 1 else f"{stem}-{count}.png"
        try:
            write_new(path, data)
        except FileExistsError:
            continue
        return path
    raise OutputError(f"{stem}.png is there already, many times over")


def _text(shown: list[Json]) -> str:
    head = ("SERIES", "MODALITY", "IMAGES", "SHOWN", "PICTURE")
    cells = [
        (
            safe(one["description"]) or safe(one["series"]),
            safe(one["modality"]),
            safe(one["images"]),
            safe(one["shown"]),
            safe(one["file"]) if one["file"] else f"none: {safe(one['why'])}",
        )
        for one in shown
    ]
    return columns(head, cells, empty="there is no series in it")
