"""Who has looked inside a transfer here, as facts tell it: previews and releases.

Also the release that is under way: its plan, and who is at it.

A preview is stated once for each transfer, in the transaction that lets it happen. A peer whose
software has no word for it is told ``opened``, which is true: someone looked inside.

Source: docs/PROTOCOL.md, "Facts" and "Recall".
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import msgspec

from medp2p.daemon import greeting, papers, posix, proofs, statements
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError, StoreError
from medp2p.model import Actor, Direction, State
from medp2p.proto.facts import understood
from medp2p.text import rfc3339
from medp2p.vault import facts
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow
from medp2p.vault.withdrawal import Kept

PREVIEWED, OPENED = "previewed", "opened"
#: Detail of a fact: all that happened was a preview.
HOW, PREVIEW = "how", "preview"


def state_preview(tx: Tx, station: Station, row: TransferRow, actor: Actor) -> None:
    """State that somebody looks at a preview, unless that was said before."""
    said = {fact.kind for fact in _looks(tx, row)}
    if PREVIEWED in said:
        return
    if understood(PREVIEWED, greeting.features(tx, row.peer_key)):
        statements.queue_fact(tx, station, row, PREVIEWED, {"by": actor.name})
    elif OPENED not in said:
        statements.queue_fact(tx, station, row, OPENED, {"by": actor.name, HOW: PREVIEW})


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


def opened_when(detail: Mapping[str, str]) -> str:
    """Return what of a peer's word about looks may stand in clear: "never", a time, or "".

    A text that it chose could name a patient, and the audit log forgets nothing.
    """
    said = detail.get("opened", "")
    if said == "never":
        return said
    try:
        moment = datetime.fromisoformat(said)
        return rfc3339(int(moment.timestamp() * 1000)) if moment.tzinfo is not None else ""
    except (ValueError, OverflowError):
        return ""


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


# --- the release that is under way --------------------------------------------------------


class Plan(msgspec.Struct, array_like=True, kw_only=False):
    """A release that is under way, as it is kept for after a crash. Only appended to.

    Attributes:
        target: Folder to release into.
        final: The folder that the release is about to become, once it is whole.
        os_user: Whose decision, with ``via`` and ``operator``; see model.Actor.
        before: State to go back to.
        for_seconds: See Order.
        listing: What the folder holds, where it matters later.
        random: What the name of the stage is made of; b"": an older version made it.
        mount: What is mounted where the target lies: without that nobody can tell.
    """

    target: bytes
    final: bytes | None = None
    os_user: str | None = None
    via: str = "rule"
    operator: str | None = None
    before: str = State.SEALED.value
    for_seconds: int | None = None
    listing: tuple[Kept, ...] = ()
    random: bytes = b""
    mount: bytes = b""

    @property
    def actor(self) -> Actor:
        """Whose decision it was."""
        return Actor(os_user=self.os_user, via=self.via, operator=self.operator)


def keep_plan(tx: Tx, station: Station, transfer: str, plan: Plan) -> None:
    """Remember a release, so that a crash in its middle can be cleared up."""
    papers.put_vault(tx, station, transfer, papers.TARGET, msgspec.msgpack.encode(plan))


def plan_of(tx: Tx, station: Station, transfer: str) -> Plan:
    """Return the release that is under way, or was when the daemon ended.

    Raises:
        VaultLockedError, SealBrokenError, StoreError: It cannot be read, or is not there.
    """
    data = papers.need(tx, station, transfer, papers.TARGET)
    try:
        return msgspec.msgpack.decode(data, type=Plan)
    except msgspec.MsgspecError as error:
        raise StoreError(f"the plan of the release of {transfer} is damaged") from error


@contextmanager
def claim(station: Station, transfer: str) -> Iterator[bool]:
    """Keep a transfer from being released or settled by others; tell whether nobody is at it.

    By a lock on the sealed file: it goes with the process. Without the file there is nothing to
    release, and no lock either.
    """
    try:
        descriptor = station.files.open_existing(station.home.sealed(transfer))
    except OSError:
        yield True
        return
    try:
        yield posix.try_lock(descriptor)
    finally:
        os.close(descriptor)
