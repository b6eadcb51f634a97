"""The verb audit: what happened here, and whether the log is whole. Alarms too."""

from collections.abc import Iterator

import click

from medp2p import limits
from medp2p.cli.session import Session, listing_group, verb
from medp2p.cli.show import Json, columns, count, safe, when
from medp2p.errors import AuditError, NotFoundError, UsageError
from medp2p.model import short_id

audit = listing_group("audit", "The log of who did what; without a verb, list its end.")


@audit.command("list")
@click.option("--limit", type=click.IntRange(1, limits.MAX_AUDIT_PAGE), default=50)
@click.option("--after", type=click.IntRange(-1), default=-1, help="Only after that number.")
@verb
def audit_list(session: Session, limit: int = 50, after: int = -1) -> None:
    """List the newest records, or those after a number."""
    rows = session.client.get("audit", limit=str(limit), after=str(after))
    session.result(
        rows,
        lambda: columns(
            ("NO", "TIME", "EVENT", "BY", "PEER", "TRANSFER", "OUTCOME", ""),
            [_cells(row) for row in rows],
            empty="nothing yet",
        ),
    )


def _cells(row: Json) -> tuple[str, ...]:
    actor = row.get("actor") or {}
    by = safe(actor.get("operator") or actor.get("os_user")) or safe(actor.get("via"))
    transfer = row.get("transfer")
    return (
        safe(row["seq"]),
        when(row.get("time")),
        safe(row.get("event")),
        by,
        safe(row.get("peer")),
        short_id(safe(transfer)),
        safe(row.get("outcome")) + ("DAMAGED" if row.get("damaged") else ""),
        safe(row.get("detail")),
    )


@audit.command("verify")
@click.option("--kept", metavar="FILE", type=click.Path(), help="An earlier export: still here?")
@verb
def audit_verify(session: Session, kept: str | None) -> None:
    """Follow the chain of records from the first to the last.

    Whoever owns the account can write a whole new chain: an export that was kept elsewhere shows
    that.
    """
    before = None if kept is None else _followed(kept)
    found = session.client.ask("GET", ("audit", "verify"), timeout=None)
    if not found["ok"]:
        raise AuditError(f"the log is broken: {safe(found['text'])}")
    if before is not None:
        after = str(before["count"] - 1)
        rows = session.client.get("audit", limit="1", after=after)
        if [row["hash"] for row in rows] != [before["head"]]:
            raise AuditError(
                f"the log does not begin with the {count(before['count'], 'record')} of the export",
                hint="it was written anew, is that of another workstation, or came from a backup",
            )
    session.result(found, lambda: _head_text(found))


@audit.command("verify-export")
@click.argument("file", metavar="FILE", type=click.Path())
@verb
def audit_verify_export(session: Session, file: str) -> None:
    """Follow the chain in what `audit export` printed. Needs no home and no daemon.

    The chain covers the patient facts in their sealed form, which an export does not have.
    """
    found = _followed(file)
    session.result(found, lambda: _head_text(found))


def _head_text(found: Json) -> str:
    return f"{count(found['count'], 'record')}, head {safe(found['head'])}"


def _followed(file: str) -> Json:
    """Return count and head of an export; an error if it cannot be read or is broken."""
    from medp2p.control.exports import check_export

    try:
        with open(file, encoding="ascii", errors="replace") as lines:
            found = check_export(lines)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    if not found["count"]:
        raise UsageError(f"{file}: no record is in it")
    return found


@audit.command("export")
@verb
def audit_export(session: Session) -> None:
    """Print all records as JSON lines, oldest first, with their patient facts.

    While the vault is locked these are left out.
    """
    for row in _records(session):
        session.emit(row)


def _records(session: Session) -> Iterator[Json]:
    after = 0
    while True:
        page = session.client.get("audit", limit=str(limits.MAX_AUDIT_PAGE), after=str(after))
        yield from page
        if not page:
            return
        after = page[-1]["seq"]


@audit.command("alarms")
@verb
def audit_alarms(session: Session) -> None:
    """List alarms: changed keys, cloned identities and the like."""
    rows = session.client.get("alarms")
    session.result(
        rows,
        lambda: columns(
            ("NO", "TIME", "KIND", "PEER", "SEEN", ""),
            [
                (
                    safe(row["id"]),
                    when(row.get("time")),
                    safe(row.get("kind")),
                    safe(row.get("peer")),
                    "yes" if row.get("acknowledged") else "no",
                    safe(row.get("text")),
                )
                for row in rows
            ],
            empty="no alarms",
        ),
    )


@audit.command("acknowledge")
@click.argument("number", type=click.IntRange(0))
@verb
def audit_acknowledge(session: Session, number: int) -> None:
    """Record that you have seen an alarm."""
    try:
        row = session.client.post("alarms", str(number), "acknowledge")
    except NotFoundError as error:
        error.hint = error.hint or "`medp2p audit alarms` lists them with their numbers"
        raise
    session.result(row, lambda: f"acknowledged: {safe(row['text'])}")


COMMANDS = (audit,)
