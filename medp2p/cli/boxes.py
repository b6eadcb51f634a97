"""The verbs outbox and inbox. Each is the decision itself; only `again`, which sends, asks."""

import click

from medp2p.cli import again, pictures, recalls, releases
from medp2p.cli.completion import transfer_argument
from medp2p.cli.label import label_text
from medp2p.cli.session import Session, listing_group, verb
from medp2p.cli.show import entries, safe, transfer_fields, transfer_list
from medp2p.errors import UsageError


def _list(session: Session, direction: str, empty: str) -> None:
    rows = session.client.get("transfers", direction=direction)
    session.result(rows, lambda: transfer_list(rows, empty=empty))


def _show(session: Session, direction: str, transfer: str, files: bool) -> None:
    query = {"direction": direction} | ({"entries": "1"} if files else {})
    row = session.client.get("transfers", transfer, **query)
    parts = (transfer_fields, label_text, entries)
    session.result(row, lambda: "\n".join(filter(None, [part(row) for part in parts])))


def _act(session: Session, transfer: str, act: str, text: str, **body: str) -> None:
    """Carry out an act on a transfer and say what came of it."""
    row = session.client.act("transfers", transfer, act, body=body)
    session.result(row, lambda: f"{text} {safe(row['id'])}")


outbox = listing_group("outbox", "Transfers to others; without a verb, list them.")


@outbox.command("list")
@verb
def outbox_list(session: Session) -> None:
    """List the transfers to others, newest first."""
    _list(session, "out", "nothing in the outbox")


@outbox.command("show")
@transfer_argument
@click.option("--files", is_flag=True, help="The manifest too.")
@click.option(
    "--proof",
    metavar="FILE",
    type=click.Path(),
    help="Write its signed facts to a new FILE, for `medp2p verify-proof`.",
)
@click.option("--with-label", is_flag=True, help="With --proof: label and note too; patient data.")
@verb
def outbox_show(
    session: Session, transfer: str, files: bool, proof: str | None, with_label: bool
) -> None:
    """Show one transfer; any unique beginning of its ID will do."""
    if with_label and proof is None:
        raise UsageError("--with-label goes with --proof", hint="--proof FILE --with-label")
    if files and proof is not None:
        raise UsageError("either --files or --proof")
    if proof is not None:
        recalls.write_proof(session, transfer, proof, label=with_label)
        return
    _show(session, "out", transfer, files)


@outbox.command("cancel")
@transfer_argument
@verb
def outbox_cancel(session: Session, transfer: str) -> None:
    """End a transfer that has not been sealed yet."""
    _act(session, transfer, "cancel", "cancelled")


inbox = listing_group("inbox", "Transfers from others; without a verb, list them.")


@inbox.command("list")
@verb
def inbox_list(session: Session) -> None:
    """List the transfers from others, newest first; STAT offers to decide stand in front."""
    _list(session, "in", "nothing in the inbox")


@inbox.command("show")
@transfer_argument
@click.option("--files", is_flag=True, help="The manifest too.")
@verb
def inbox_show(session: Session, transfer: str, files: bool) -> None:
    """Show one transfer; any unique beginning of its ID will do."""
    _show(session, "in", transfer, files)


@inbox.command("decline")
@transfer_argument
@click.option("--reason", default="", metavar="TEXT", help="Told to the sender.")
@verb
def inbox_decline(session: Session, transfer: str, reason: str) -> None:
    """Refuse an offer."""
    _act(session, transfer, "decline", "declined", reason=reason)


@inbox.command("verify")
@transfer_argument
@verb
def inbox_verify(session: Session, transfer: str) -> None:
    """Read a sealed transfer again and authenticate all of it."""
    _act(session, transfer, "verify", "whole:")


@inbox.command("discard")
@transfer_argument
@verb
def inbox_discard(session: Session, transfer: str) -> None:
    """Erase a transfer from this workstation; what was released stays."""
    _act(session, transfer, "discard", "discarded")


outbox.add_command(recalls.outbox_recall)
outbox.add_command(again.outbox_again)
inbox.add_command(recalls.inbox_answer)
inbox.add_command(releases.inbox_accept)
inbox.add_command(releases.inbox_release)
inbox.add_command(pictures.inbox_preview)

COMMANDS = (outbox, inbox, releases.released, releases.targets, recalls.verify_proof)
