"""The verb send: look, confirm, queue, and follow until the receiver has sealed it."""

import os
from itertools import islice
from typing import Any

import click

from medp2p import limits
from medp2p.cli.completion import peer_names, transfer_ids
from medp2p.cli.confirm import ask, ask_label, ask_purpose, show_part, show_skipped
from medp2p.cli.expect import (
    confirmation_of,
    expect_options,
    queue_options,
    wish_options,
    wishes_of,
)
from medp2p.cli.follow import transfer_changes
from medp2p.cli.paths import absolute
from medp2p.cli.progress import Progress
from medp2p.cli.session import Session, on_terminal, verb
from medp2p.cli.show import Json, count, is_over, reason, safe
from medp2p.control.client import error_from_json, to_b64
from medp2p.errors import (
    MedP2PError,
    TransferAbortedError,
    TransferRefusedError,
    UsageError,
)
from medp2p.model import WHOLE, short_id
from medp2p.text import one_line

#: Sealed, but something of the selection was left out, and not because it was there already.
EXIT_SKIPPED = 10
#: Why a file of an addendum is skipped: the earlier transfer had it.
_SENT_BEFORE = "sent-before"


@click.command()
@click.argument("peer", shell_complete=peer_names)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path())
@queue_options
@click.option(
    "--addendum-of",
    metavar="ID",
    shell_complete=transfer_ids,
    help="Send only what that earlier transfer to the peer had not; it is shown as part of it.",
)
@wish_options
@expect_options
@verb
def send(
    session: Session,
    /,
    peer: str,
    paths: tuple[str, ...],
    note: str,
    priority: str,
    yes: bool,
    wait: bool | None,
    addendum_of: str | None,
    **options: Any,
) -> int:
    """Send files and folders to a peer.

    The headers of the files are read and checked; recipient and label are shown, and something
    that stands on the request form must be typed, or expected. Every regular file under each PATH
    is sent; links and devices are listed and skipped. The transfer is queued durably and goes on
    without this command.
    """
    wishes = wishes_of(options) | ({"addendum_of": addendum_of} if addendum_of is not None else {})
    given = confirmation_of(options, yes=yes)
    return carry_out(
        session, peer, paths, wishes, given, note=note, priority=priority, yes=yes, wait=wait
    )


def carry_out(
    session: Session,
    peer: str,
    paths: tuple[str, ...],
    wishes: Json,
    given: Json,
    *,
    note: str,
    priority: str,
    yes: bool,
    wait: bool | None,
) -> int:
    """Look, confirm, queue, and follow if asked; return the exit code.

    Raises:
        UsageError: Nobody can be asked, and nothing was said instead; or the note is too long.
    """
    if len(one_line(note).encode(errors="surrogatepass")) > limits.MAX_NOTE_BYTES:
        raise UsageError(
            f"a note has {limits.MAX_NOTE_BYTES} bytes at most", hint="shorten the note"
        )
    if not yes and not given.get("expect") and not on_terminal():
        raise UsageError(
            "without a terminal nobody can be asked",
            hint="--expect-from FILE says whose images are meant; --yes, where the peer allows it",
        )
    scan = look(session, peer, paths, wishes)
    beside = {"findings": [one for part in scan["parts"] for one in part["findings"]]}
    try:
        rows = queue(session, peer, scan, given, note=note, priority=priority)
    except MedP2PError as error:
        error.beside |= beside
        raise
    if not (on_terminal() if wait is None else wait):
        if not session.json:
            for row in rows:
                session.say(f"queued {safe(row['id'])} for {safe(row['peer'])}")
        return 0
    before = sent_before(scan)
    codes = [follow(session, row, known) for row, known in zip(rows, before, strict=True)]
    return next((code for code in codes if code not in (0, EXIT_SKIPPED)), max(codes))


def queue(
    session: Session, name: str, scan: Json, given: Json, *, note: str, priority: str
) -> list[Json]:
    """Confirm all parts of a finished scan, then queue them; return the transfers.

    The one place where a send is confirmed.

    Raises:
        CheckRefusedError: A finding stops it, or the sender did not confirm.
    """
    peer, parts = session.client.get("peers", name), scan["parts"]
    for part in parts:
        show_part(session, peer, part, len(parts))
    show_skipped(session, scan["skipped"])
    # What stops is asked for first: the daemon refuses it, and nothing has been queued yet.
    stopped = [part for part in parts if part["stops"]]
    asking = not stopped and not given.get("yes") and not given.get("expect")
    if asking and parts[0]["purpose_wanted"] and not given.get("purpose"):
        given = given | {"purpose": ask_purpose()}
    confirmed = [
        (part, given | (ask(session, peer, scan, part) if asking else {}))
        for part in stopped or parts
    ]
    if len(confirmed) > 1:  # all or none
        for part, confirmation in confirmed:
            body = {"part": part["part"], "confirmation": confirmation}
            session.client.post("scans", scan["scan"], "check", body=body)
    rows = []
    for part, confirmation in confirmed:
        body = {
            "scan": scan["scan"],
            "peer": name,
            "note": note,
            "priority": priority,
            "part": part["part"],
            "confirmation": confirmation,
        }
        row = session.client.post("transfers", body=body)
        if session.json:
            session.emit(row | {"findings": part["findings"]})
        rows.append(row)
    return rows


def look(session: Session, peer: str, paths: tuple[str, ...], wishes: Json) -> Json:
    """Let the daemon walk the sources and read their headers; return the finished scan.

    On a terminal a label that is missing is asked for.

    Raises:
        SourceError: The selection makes no sense, or cannot be read.
    """
    scan = _scan(session, peer, paths, wishes)
    missing = [part for part in scan["parts"] if part["wants"] == "label" and not part["stops"]]
    if missing and on_terminal():
        scan = _scan(session, peer, paths, wishes | ask_label(session, missing[0]))
    return scan


def _scan(session: Session, peer: str, paths: tuple[str, ...], wishes: Json) -> Json:
    encoded = [to_b64(absolute(path)) for path in paths]
    body = {"peer": peer, "paths_b64": encoded, "wishes": wishes}
    scan = session.client.post("scans", body=body)
    with Progress() as progress:
        while scan["state"] == "scanning":
            progress.scan(scan)
            scan = session.client.get("scans", scan["scan"], wait="1")
    if scan["error"] is not None:
        raise _explained(error_from_json(scan["error"]), paths)
    return dict(scan)


def _explained(error: MedP2PError, paths: tuple[str, ...]) -> MedP2PError:
    """Return why a scan failed, with what to do where it is a path that leads nowhere."""
    if error.hint is None and not all(os.path.lexists(absolute(path)) for path in paths):
        error.hint = "look at how it is written: a relative path begins at the current folder"
    return error


def sent_before(scan: Json) -> list[int]:
    """Return of each part how many files of it an earlier transfer had: they are skipped on wish.

    The skipped entries of a scan stand in the order of its parts.
    """
    skipped = iter(scan["skipped"])
    return [
        sum(one["why"] == _SENT_BEFORE for one in islice(skipped, part["skipped"]))
        for part in scan["parts"]
    ]


def follow(session: Session, row: Json, before: int = 0) -> int:
    """Show a transfer until the receiver has sealed it or it ended; return the exit code.

    Args:
        session: Ours.
        row: The transfer as it was queued.
        before: So many of its skipped files were sent before, with what it adds to.
    """
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
    return outcome(session, last, before)


def outcome(session: Session, row: Json, before: int = 0) -> int:
    """Say how a transfer ended; return the exit code. Before: as for `follow`."""
    who, name = safe(row["peer"]), safe(row["id"])
    if row["state"] in WHOLE:
        if not session.json:
            session.say(f"sealed {name} at {who}")
        if before:
            session.note(
                f"medp2p: {count(before, 'file')} of the selection there already, sent before"
            )
        if left := int(row.get("skipped") or 0) - before:
            were = "entry of the selection was" if left == 1 else "entries of the selection were"
            session.note(f"medp2p: {left} {were} skipped")
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
