"""The verb send: look, confirm, queue, and follow until the receiver has sealed it."""

import os

import click

from medp2p.cli.completion import peer_names
from medp2p.cli.follow import transfer_changes
from medp2p.cli.progress import Progress
from medp2p.cli.session import Session, ask_for, on_terminal, verb
from medp2p.cli.show import Json, fields, is_over, peer_title, reason, safe, verified
from medp2p.control.client import error_from_json, to_b64
from medp2p.errors import (
    MedP2PError,
    SourceError,
    TransferAbortedError,
    TransferRefusedError,
    UsageError,
)
from medp2p.model import WHOLE, short_id
from medp2p.text import format_bytes

#: Sealed, but something of the selection was left out.
EXIT_SKIPPED = 10
#: Skipped entries that are named before the question; the rest is counted.
_SKIPPED_SHOWN = 10


@click.command()
@click.argument("peer", shell_complete=peer_names)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@click.option("--note", default="", metavar="TEXT", help="A remark for the receiver.")
@click.option(
    "--priority", type=click.Choice(["stat", "routine"]), default="routine", show_default=True
)
@click.option("--yes", is_flag=True, help="Send without asking; needed without a terminal.")
@click.option("--wait/--no-wait", default=None, help="Wait until sealed; default on a terminal.")
@verb
def send(
    session: Session,
    peer: str,
    paths: tuple[str, ...],
    note: str,
    priority: str,
    yes: bool,
    wait: bool | None,
) -> int:
    """Send files and folders to a peer.

    Every regular file under each PATH is sent; links and devices are listed and skipped. The
    transfer is queued durably and goes on without this command.
    """
    if not yes and not on_terminal():
        raise UsageError(
            "without a terminal nobody can be asked", hint="say --yes if the selection is right"
        )
    scan = look(session, peer, paths)
    confirm(session, session.client.get("peers", peer), scan, yes=yes)
    body = {"scan": scan["scan"], "peer": peer, "note": note, "priority": priority}
    row = session.client.post("transfers", body=body)
    if session.json:
        session.emit(row)
    if not (on_terminal() if wait is None else wait):
        if not session.json:
            session.say(f"queued {safe(row['id'])} for {safe(row['peer'])}")
        return 0
    return follow(session, row)


def look(session: Session, peer: str, paths: tuple[str, ...]) -> Json:
    """Let the daemon walk the sources; return the finished scan.

    Raises:
        SourceError: The selection makes no sense, or cannot be read.
    """
    encoded = [to_b64(absolute(path)) for path in paths]
    scan = session.client.post("scans", body={"peer": peer, "paths_b64": encoded})
    with Progress() as progress:
        while scan["state"] == "scanning":
            progress.scan(scan)
            scan = session.client.get("scans", scan["scan"], wait="1")
    if scan["error"] is not None:
        raise error_from_json(scan["error"])
    return dict(scan)


def absolute(path: str) -> bytes:
    """Return a path below the working directory, byte for byte: ".." and links stay in it.

    Raises:
        SourceError: The working directory has been removed.
    """
    try:
        return os.path.join(os.getcwdb(), os.fsencode(path))
    except FileNotFoundError:
        raise SourceError("the working directory has been removed") from None


def confirm(session: Session, peer: Json, scan: Json, *, yes: bool) -> None:
    """Show recipient and selection, and let the sender decide.

    The one place where a send is confirmed.

    Raises:
        CheckRefusedError: The sender did not confirm.
    """
    skipped = scan["skipped"]
    session.note(
        fields(
            [
                ("to", peer_title(peer)),
                ("key words", safe(peer["key_words"])),
                ("verified", verified(peer)),
                ("files", f"{scan['files']}, {format_bytes(scan['bytes'])}"),
                ("skipped", str(len(skipped) or "")),
            ]
        )
    )
    for entry in skipped[:_SKIPPED_SHOWN]:
        session.note(f"  {safe(entry['path'])} ({safe(entry['why'])})")
    if len(skipped) > _SKIPPED_SHOWN:
        session.note(f"  and {len(skipped) - _SKIPPED_SHOWN} more")
    if not yes:
        name = safe(peer["name"])
        ask_for(name, f"to send this, type the name of the peer ({name})")


def follow(session: Session, row: Json) -> int:
    """Show a transfer until the receiver has sealed it or it ended; return the exit code."""
    last = row
    try:
        with Progress() as progress:
            for last in transfer_changes(session.client, row["id"], "out"):
                if session.json and last != row:
                    session.emit(last)
                progress.transfer(last)
                row = last
    except (KeyboardInterrupt, MedP2PError):  # the daemon was lost, say
        if not is_over(last):
            session.note(
                f"the transfer goes on; `medp2p outbox show {short_id(safe(row['id']))}` shows it"
            )
        raise
    return outcome(session, last)


def outcome(session: Session, row: Json) -> int:
    """Say how a transfer ended; return the exit code."""
    who, name = safe(row["peer"]), safe(row["id"])
    if row["state"] in WHOLE:
        if not session.json:
            session.say(f"sealed {name} at {who}")
        if row.get("skipped"):
            session.note(f"medp2p: {row['skipped']} entries of the selection were skipped")
            return EXIT_SKIPPED
        return 0
    error = _ending(row)
    session.note(f"medp2p: error: {safe(error.text)}")
    if error.hint:
        session.note(f"hint: {safe(error.hint)}")
    return error.exit_code


def _ending(row: Json) -> MedP2PError:
    """Return the error that a transfer which did not arrive stands for."""
    state, why = safe(row["state"]), reason(row)
    text = f"{state}: {why}" if why else f"the transfer to {safe(row['peer'])} is {state}"
    if isinstance(row.get("error"), dict):
        return error_from_json(row["error"])
    if state in ("declined", "recalled", "expired"):
        return TransferRefusedError(text)
    return TransferAbortedError(text)
