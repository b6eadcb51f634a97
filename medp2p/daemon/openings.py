"""Who has looked inside a transfer here, as facts tell it: previews and releases.

A preview is stated once for each transfer, in the transaction that lets it happen. A peer whose
software has no word for it is told ``opened``, which is true: someone looked inside.

Source: docs/PROTOCOL.md, "Facts" and "Recall".
"""

from collections.abc import Mapping

from medp2p.daemon import greeting, proofs, statements
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError
from medp2p.model import Actor, Direction
from medp2p.proto.facts import understood
from medp2p.text import rfc3339
from medp2p.vault import facts
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

PREVIEWED, OPENED = "previewed", "opened"
#: Detail of a fact: all that happened was a preview.
HOW, PREVIEW = "how", "preview"


def who(actor: Actor) -> str:
    """Return who acts, as facts name them to the other side."""
    return actor.operator or actor.os_user or actor.via


def state_preview(tx: Tx, station: Station, row: TransferRow, actor: Actor) -> None:
    """State that somebody looks at a preview, unless that was said before."""
    said = {fact.kind for fact in _looks(tx, row)}
    if PREVIEWED in said:
        return
    if understood(PREVIEWED, greeting.features(tx, row.peer_key)):
        statements.queue_fact(tx, station, row, PREVIEWED, {"by": who(actor)})
    elif OPENED not in said:
        statements.queue_fact(tx, station, row, OPENED, {"by": who(actor), HOW: PREVIEW})


def opening(tx: Tx, station: Station, row: TransferRow) -> dict[str, str]:
    """Return when medp2p first decrypted a transfer for a person or another system, and who.

    Returns:
        ``opened`` ("never", or a time), ``by``, and ``how`` = "preview" if nobody did more; the
        last two as far as the vault tells.
    """
    looks = [(fact, _said(station, fact)) for fact in _looks(tx, row)]
    if not looks:
        return {"opened": "never"}
    first, said = looks[0]
    detail = {"opened": rfc3339(first.time_ms)}
    if "by" in said:
        detail["by"] = said["by"]
    if all(fact.kind == PREVIEWED or one.get(HOW) == PREVIEW for fact, one in looks):
        detail[HOW] = PREVIEW
    return detail


def opening_words(detail: Mapping[str, str]) -> str:
    """Return in a few words what a receiver says of looks inside."""
    if detail.get("opened") == "never":
        return "never opened there by medp2p"
    if detail.get(HOW) == PREVIEW:
        return "only a preview of it had been looked at there before"
    return "it had been opened there before"


def _looks(tx: Tx, row: TransferRow) -> list[facts.FactRow]:
    """Return our facts that say somebody looked, the first one first."""
    return [
        fact
        for fact in facts.of_transfer(tx, row.peer_key, row.id)
        if fact.direction == Direction.OUT and fact.kind in (PREVIEWED, OPENED)
    ]


def _said(station: Station, fact: facts.FactRow) -> dict[str, str]:
    """Return the details of a fact; none while the vault is locked: the audit log knows."""
    try:
        return proofs.told(station, fact)
    except MedP2PError:
        return {}
