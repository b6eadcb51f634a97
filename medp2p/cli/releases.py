"""The verbs around a release: accept with a target, release, released, targets."""

import re
from typing import Any

import click

from medp2p.cli.completion import transfer_argument
from medp2p.cli.expect import expectations_of
from medp2p.cli.label import label_text
from medp2p.cli.paths import absolute_target, expanded
from medp2p.cli.session import Session, listing_group, verb
from medp2p.cli.show import Json, columns, safe, when
from medp2p.control.client import to_b64
from medp2p.errors import UsageError
from medp2p.model import short_id
from medp2p.text import TIME_UNITS, format_duration

_TIME = re.compile(r"\s*([0-9]+)\s*([a-z]+)\s*\Z")


def seconds_of(text: str) -> int:
    """Read a time such as "8h", "30 min" or "2 days".

    Raises:
        UsageError: It is none.
    """
    found = _TIME.match(text.lower())
    if found is not None and len(found[1]) <= 9 and found[2] in TIME_UNITS:
        return int(found[1]) * TIME_UNITS[found[2]]
    raise UsageError(f"{text} is no time", hint="such as 8h, 30min or 2d")


@click.command("accept")
@transfer_argument
@click.option(
    "--release-to",
    metavar="TARGET",
    help="Release there once it is sealed, if label and content agree.",
)
@verb
def inbox_accept(session: Session, transfer: str, release_to: str | None) -> None:
    """Take an offer: its files come, and are sealed in the vault."""
    body = {} if release_to is None else {"release_to": release_to}
    row = session.client.act("transfers", transfer, "accept", body=body)
    if not session.json and (text := label_text(row)):
        session.note(f"from {safe(row['peer'])}\n{text}")
    session.result(row, lambda: f"accepted {safe(row['id'])}")


@click.command("release")
@transfer_argument
@click.option("--to", "folder", metavar="DIR", type=click.Path(), help="Made if missing.")
@click.option("--target", metavar="TARGET", help="A named target in place of --to.")
@click.option("--expect-patient", metavar="ID", help="Refuse the images of anybody else.")
@click.option("--expect-birth-date", metavar="D", help="The same, for the birth date.")
@click.option(
    "--expect-from",
    metavar="FILE|-",
    help="The same from a JSON file, or stdin: nothing in the process list.",
)
@click.option("--allow", multiple=True, metavar="CODE", help="Let a hold pass: label-differs.")
@click.option("--for", "time", metavar="TIME", help="Remove unchanged files after it, say 8h.")
@verb
def inbox_release(
    session: Session,
    transfer: str,
    folder: str | None,
    target: str | None,
    expect_patient: str | None,
    expect_birth_date: str | None,
    expect_from: str | None,
    allow: tuple[str, ...],
    time: str | None,
) -> None:
    """Unpack a sealed transfer into a new folder below DIR, and print that folder.

    Refused, with exit code 5, if it is not what its label promised or not what is expected.
    """
    if folder is None and target is None:
        raise UsageError("missing option '--to'", hint="--to DIR, or --target TARGET")
    if folder is not None and target is not None:
        raise UsageError("either --to or --target")
    body: dict[str, Any] = {} if target is None else {"target": target}
    if folder is not None:
        body["to_b64"] = to_b64(expanded(folder))
    given = {
        "expect_patient": expect_patient,
        "expect_birth_date": expect_birth_date,
        "expect_from": expect_from,
    }
    if expected := expectations_of(given):
        if len(expected) > 1:
            raise UsageError("a release expects one patient", hint="say which one")
        body["expect"] = expected[0]
    if allow:
        body["allow"] = list(allow)
    if time is not None:
        body["for_seconds"] = seconds_of(time)
    try:
        row = session.client.act("transfers", transfer, "release", body=body)
    except KeyboardInterrupt:
        name = short_id(safe(transfer))
        session.note(f"\nwhat has begun goes on; `medp2p inbox show {name}` says how it ended")
        raise
    if session.json:
        session.emit(row)
        return
    session.say(safe(row["released_to"]))
    for pair in row.get("mapped") or []:
        session.note(f"renamed: {safe(pair['from']['path'])} -> {safe(pair['to']['path'])}")


@click.command()
@verb
def released(session: Session) -> None:
    """List every folder released, with its age; clear images lie there until someone acts."""
    rows = session.client.get("released")
    session.result(rows, lambda: released_text(rows))


def released_text(rows: list[Json]) -> str:
    """Return released folders for people."""
    head = ("ID", "PEER", "FILES", "AGE", "BY", "STATE", "UNTIL", "FOLDER")
    return columns(
        head,
        [
            (
                short_id(safe(row["transfer"])),
                safe(row["peer"]),
                safe(row["files"]),
                format_duration(row["age_seconds"]) + (" OLD" if row["old"] else ""),
                safe(row["by"]),
                safe(row["state"]),
                when(row["until"]),
                safe(row["folder"]),
            )
            for row in rows
        ],
        empty="nothing was released",
    )


targets = listing_group("targets", "Named places to release into; without a verb, list them.")


@targets.command("list")
@verb
def targets_list(session: Session) -> None:
    """List the named targets."""
    rows = session.client.get("targets")
    head = ("TARGET", "PLACE", "MADE", "BY")
    cells = [
        (safe(row["name"]), safe(row["target"]), when(row["created"]), safe(row["created_by"]))
        for row in rows
    ]
    session.result(rows, lambda: columns(head, cells, empty="no targets"))


@targets.command("add")
@click.argument("name")
@click.argument("target", metavar="folder:DIR")
@verb
def targets_add(session: Session, name: str, target: str) -> None:
    """Give a folder to release into a name."""
    if not target.startswith("folder:"):
        raise UsageError(
            f"{target} is no target: a target is folder:DIR", hint="such as folder:/srv/reading"
        )
    row = session.client.post("targets", body={"name": name, "target": absolute_target(target)})
    session.result(row, lambda: f"added {safe(row['name'])}: {safe(row['target'])}")


@targets.command("remove")
@click.argument("name")
@verb
def targets_remove(session: Session, name: str) -> None:
    """Take the name of a target away; what was released there stays."""
    row = session.client.ask("DELETE", ("targets", name))
    session.result(row, lambda: f"removed {safe(row['name'])}")
