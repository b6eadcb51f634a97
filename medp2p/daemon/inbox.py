"""The inbox: what a person (or a rule) decides about transfers of others.

Every act is one transaction with its audit record; files follow, and are redone after a crash.
"""

import json

import msgspec
import trio

from medp2p import limits
from medp2p.daemon import checking, endings, papers, releasing, statements
from medp2p.daemon.station import Station
from medp2p.errors import CheckRefusedError, ConflictError, StoreError, TransferAbortedError
from medp2p.model import ENDED, Actor, AuditEvent, Direction, State, short_id
from medp2p.vault import targets, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def find(tx: Tx, prefix: str) -> TransferRow:
    """Return the incoming transfer whose id begins so."""
    return transfers.find(tx, prefix, Direction.IN)


def accept(
    tx: Tx, station: Station, actor: Actor, prefix: str, release_to: str | None = None
) -> TransferRow:
    """Take an offer. Accepting twice is no error.

    Args:
        tx: Write transaction.
        station: Ours.
        actor: Who decides.
        prefix: Of the transfer.
        release_to: Name of a target: once sealed it is released there without another word, if
            label and content agree.

    Raises:
        ConflictError: It is not waiting for a decision any more, was released already, or expires.
        CheckRefusedError: It is sealed, and something holds it: a person must release it.
        NotFoundError: No target has that name.
    """
    row = find(tx, prefix)
    again = row.decided_ms is not None and row.state not in ENDED
    if again and release_to is None:
        return row
    if not again and row.state is not State.OFFERED:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; nothing to accept")
    if release_to is not None:
        if row.released_ms is not None or row.state is State.RELEASING:
            raise ConflictError(f"transfer {row.id} is released already")
        if row.state is State.EXPIRING:
            hint = f"medp2p inbox release {short_id(row.id)} --target {release_to}"
            raise ConflictError(f"transfer {row.id} expires: only a release saves it", hint=hint)
        _decide_target(tx, station, actor, row, release_to)
        _refuse_held(tx, station, row, release_to)
    if again:
        return row
    station.files.step("accept")
    now = station.now_ms()
    transfers.update(tx, row.id, state=State.ACCEPTED, decided_ms=now, updated_ms=now)
    detail: dict[str, object] = {} if release_to is None else {"release_to": release_to}
    endings.record(tx, station, row, "accept", actor, detail=detail)
    return row


def _refuse_held(tx: Tx, station: Station, row: TransferRow, release_to: str) -> None:
    """A decision that could not be carried out is none."""
    why = None
    if row.held is not None:
        held = json.loads(row.held)
        why = None if held["code"] == checking.UNCHECKED else held["text"]
    elif row.checked_ms is not None:
        against = releasing.speaks_against(tx, station, row)
        why = None if against is None else against[1]
    if why is not None:
        raise CheckRefusedError(
            f"held: {why}",
            hint=f"look at it, then: medp2p inbox release {short_id(row.id)} --target {release_to}",
        )


def _decide_target(
    tx: Tx, station: Station, actor: Actor, row: TransferRow, release_to: str
) -> None:
    target = targets.get(tx, release_to)
    decided = releasing.Decided(target.name, target.target, actor.os_user, actor.operator)
    data = msgspec.msgpack.encode(decided)
    papers.put_spool(tx, station, row.id, papers.RELEASE_TO, data)
    if row.decided_ms is not None:
        endings.record(tx, station, row, "release-to", actor, detail={"target": target.name})


def decline(tx: Tx, station: Station, actor: Actor, prefix: str, reason: str) -> TransferRow:
    """Refuse an offer; the sender is told, with the reason.

    Raises:
        ConflictError: It was accepted already (discard it) or is over.
    """
    row = find(tx, prefix)
    if row.state is State.DECLINED:
        return row
    if row.state is not State.OFFERED:
        raise _no_use(row, "decline")
    _state_and_end(tx, station, actor, row, State.DECLINED, "declined", "decline", reason)
    return row


def discard(tx: Tx, station: Station, actor: Actor, prefix: str) -> TransferRow:
    """Erase a transfer that was accepted, whole or not; its record stays.

    Raises:
        ConflictError: It waits for a decision (decline it), is being released, or is over.
    """
    row = find(tx, prefix)
    if row.state is State.DISCARDED:
        return row
    if row.state in ENDED or row.state in (State.OFFERED, State.RELEASING):
        raise _no_use(row, "discard")
    _state_and_end(tx, station, actor, row, State.DISCARDED, "discarded", "discard", "")
    return row


async def erased(station: Station, transfer: str) -> None:
    """Wait until what a transfer had here is erased.

    Raises:
        StoreError: That takes too long to wait for; it goes on.
    """
    with station.board.listen(transfer) as bell, trio.move_on_after(limits.ERASE_WAIT_SECONDS):
        while (await station.read(transfers.get, transfer)).erasing:
            await bell.wait()
        return
    raise StoreError(
        "that is decided, but the file could not be erased yet",
        hint="it is tried again until it works; the log of the daemon says what fails",
    )


def _no_use(row: TransferRow, verb: str) -> ConflictError:
    """Return an error that says which verb fits a transfer in place of another one."""
    discard = f"`medp2p inbox discard {short_id(row.id)}` erases it"
    hints = {
        State.OFFERED: f"`medp2p inbox decline {short_id(row.id)}` refuses it",
        State.RELEASING: f"{discard} when that is over",
    }
    return ConflictError(
        f"transfer {row.id} is {row.state.value}; nothing to {verb}",
        hint=None if row.state in ENDED else hints.get(row.state, discard),
    )


def _state_and_end(
    tx: Tx,
    station: Station,
    actor: Actor,
    row: TransferRow,
    state: State,
    fact: str,
    event: AuditEvent,
    reason: str,
) -> None:
    statements.queue_fact(tx, station, row, fact, {"reason": reason} if reason else {})
    names = reason.encode() if reason else None
    error = TransferAbortedError(f"{state.value} here") if names else None
    endings.end(tx, station, row, state, event=event, actor=actor, error=error, names=names)
