"""Taking a transfer back: the sender asks, the receiver erases, or a person there answers.

A recall is decided at the receiver, in one transaction, against the row of the transfer: a
release commits ``releasing`` before its first plain byte, so either the recall comes before it
and there is no release any more, or it comes after it and becomes a request to destroy. What the
receiver did is a signed fact; "erased" is stated only once it has been done.

Source: docs/PROTOCOL.md, "Recall".
"""

from collections.abc import Collection

from medp2p import limits
from medp2p.daemon import checking, greeting, papers, statements
from medp2p.daemon.endings import end, record, whom_to_call
from medp2p.daemon.openings import opened_when, opening, opening_words
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError, TransferRefusedError, UsageError
from medp2p.model import (
    ENDED,
    PEER,
    RULE,
    WHOLE,
    Actor,
    AuditEvent,
    Direction,
    Reason,
    State,
    short_id,
)
from medp2p.proto.facts import Statement
from medp2p.text import rfc3339
from medp2p.vault import facts, log, releases, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

#: The feature without which a peer does not know what a recall is.
FEATURE = "recall"
#: ``held`` and the alarm of a transfer whose sender asks to destroy what was released.
DESTROY_ASKED = "destroy-asked"
#: The alarm of a transfer that was given up here, and has been released there.
RELEASED_AFTER_END = "released-after-end"
#: Ends by our own act, of which the receiver may not have heard before it sealed.
GIVEN_UP = frozenset({State.CANCELLED, State.FAILED})

# --- at the sender ------------------------------------------------------------------------


def cancel(tx: Tx, station: Station, actor: Actor, prefix: str) -> TransferRow:
    """Cancel an outgoing transfer; the receiver is told, now or when it is there.

    Raises:
        ConflictError: It is whole, being recalled, or over.
    """
    row = transfers.find(tx, prefix, Direction.OUT)
    if row.state is State.CANCELLED:
        return row
    if row.state in ENDED or row.state in WHOLE or row.state is State.RECALLING:
        raise ConflictError(
            f"transfer {row.id} is {row.state.value}; it cannot be cancelled",
            hint="a sealed transfer can be recalled: medp2p outbox recall"
            if row.state in WHOLE
            else None,
        )
    _cancel(tx, station, actor, row, "")
    return row


def _cancel(tx: Tx, station: Station, actor: Actor, row: TransferRow, reason: str) -> None:
    statements.queue_fact(tx, station, row, "cancelled", {"reason": reason} if reason else {})
    end(tx, station, row, State.CANCELLED, event="cancel", actor=actor)


def recall(tx: Tx, station: Station, actor: Actor, prefix: str, reason: str) -> TransferRow:
    """Take an outgoing transfer back. Asking twice is no error.

    Before the offer was accepted nothing has left this workstation: that is a cancel. After it
    the transfer is ``recalling`` until the receiver has answered. What was given up here and
    sealed there all the same stays what it is; its reason says how far the recall is.

    Raises:
        ConflictError: It is over, or the other side has no word for it, or is paired no more.
        UsageError: The reason is too long.
    """
    row = transfers.find(tx, prefix, Direction.OUT)
    given_up = row.state in GIVEN_UP and row.sealed_ms is not None
    if row.state in (State.RECALLING, State.RECALLED) or (given_up and _is_recalled(tx, row)):
        return row
    if row.state is State.CANCELLED and not given_up:
        return row
    if row.state in ENDED and not given_up:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; nothing to recall")
    if len(reason.encode()) > limits.MAX_TEXT_BYTES:
        raise UsageError(f"a reason has {limits.MAX_TEXT_BYTES} bytes at most")
    if not given_up and row.decided_ms is None and row.state not in WHOLE:
        _cancel(tx, station, actor, row, reason)
        return row
    if row.peer_key not in station.pins:
        raise ConflictError(
            f"{row.peer_name} is not paired any more: nobody can be asked",
            hint="call its user; once it is paired again it can be asked, too",
        )
    if FEATURE not in greeting.features(tx, row.peer_key):
        raise ConflictError(
            f"the software of {row.peer_name} does not know recalls",
            hint="call its user; a newer medp2p there would answer",
        )
    _ask(tx, station, actor, row, reason)
    return transfers.get(tx, row.id)


def _ask(tx: Tx, station: Station, actor: Actor, row: TransferRow, reason: str) -> None:
    """Ask the receiver; what has ended here stays ended."""
    now = station.now_ms()
    if reason:
        papers.put_vault(tx, station, row.id, papers.RECALL, reason.encode())
    statements.queue_fact(tx, station, row, "recall", {"reason": reason} if reason else {})
    text = "the receiver is asked to erase it; it has not answered yet"
    if row.state in ENDED:
        text = f"it was sealed there before this was {row.state.value}; {text}"
    transfers.update(
        tx,
        row.id,
        state=row.state if row.state in ENDED else State.RECALLING,
        reason=Reason("recalling", text, now),
        updated_ms=now,
    )
    record(tx, station, row, "recall", actor)


def _is_recalled(tx: Tx, row: TransferRow) -> bool:
    """Return whether a recall is on its way, or has been answered by what is final."""
    said = [fact.kind for fact in facts.of_transfer(tx, row.peer_key, row.id)]
    return "recalled" in said or said.count("recall") > said.count("kept")


def crossed(
    tx: Tx, station: Station, row: TransferRow, statement: Statement, *, released: bool
) -> None:
    """The receiver has sealed or released what was given up here: it is taken back.

    Whoever cancelled did not want it there. The record stays what it is.
    """
    times: dict[str, object] = {"sealed_ms": row.sealed_ms or statement.time_ms}
    if released:
        times["released_ms"] = statement.time_ms
    now = station.now_ms()
    row = transfers.update(tx, row.id, root=row.root or statement.root, updated_ms=now, **times)
    record(tx, station, row, "release" if released else "seal", PEER, "too-late")
    knows = FEATURE in greeting.features(tx, row.peer_key)
    if row.state in GIVEN_UP and knows and not _is_recalled(tx, row):
        _ask(tx, station, RULE, row, "")
    elif row.state in GIVEN_UP and not knows:
        text = "the receiver had sealed it before it heard of this, and knows no recall: call there"
        transfers.update(tx, row.id, reason=Reason("sealed-before", text, now))
    if released:
        _alarm_released(tx, station, row)


def _alarm_released(tx: Tx, station: Station, row: TransferRow) -> None:
    text = f"transfer {short_id(row.id)} is {row.state.value} here, but was released there"
    text += f"; call {whom_to_call(tx, row)}"
    station.ledger.alarm(
        tx, kind=RELEASED_AFTER_END, text=text, peer=row.peer_name, peer_key=row.peer_key
    )


def _told_after_end(
    tx: Tx,
    station: Station,
    row: TransferRow,
    statement: Statement,
    *,
    event: AuditEvent,
    code: str,
    text: str,
) -> None:
    """An answer about what has ended here: said truthfully where it was given up."""
    if row.state in GIVEN_UP:
        now = station.now_ms()
        transfers.update(tx, row.id, reason=Reason(code, text, now), updated_ms=now)
    record(tx, station, row, event, PEER, "too-late", _said(statement))


def told_recalled(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """The receiver has erased it."""
    words = opening_words(statement.detail)
    if row.state in ENDED:
        text = f"the receiver has erased it: {words}"
        _told_after_end(tx, station, row, statement, event="recall", code="recalled", text=text)
        return
    _recalled(tx, station, row, statement, words)


def told_late(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """The recall came after the release: a person there is asked to destroy what it made."""
    text = "it had been opened before the recall came; its recipient is asked to destroy it"
    if row.state in ENDED:
        _told_after_end(tx, station, row, statement, event="recall", code=DESTROY_ASKED, text=text)
        if row.state in GIVEN_UP:
            _alarm_released(tx, station, row)
        return
    now = station.now_ms()
    state = row.state
    if state not in WHOLE:
        if row.root is None or row.root != statement.root:
            _unproved_late(tx, station, row, statement)
            return
        papers.close_papers(tx, station, row)
        state = State.SEALED if row.released_ms is None else State.RELEASED
    transfers.update(
        tx,
        row.id,
        state=state,
        finished_ms=now,
        reason=Reason(DESTROY_ASKED, text, now),
        updated_ms=now,
    )
    record(tx, station, row, "recall", PEER, "opened", _said(statement))


def _unproved_late(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """It cannot have been opened there: it was never whole, as far as our own root tells."""
    if row.state is State.RECALLING:
        text = "the receiver says that it had been opened; here it was never sent whole: call there"
        now = station.now_ms()
        transfers.update(tx, row.id, reason=Reason(DESTROY_ASKED, text, now), updated_ms=now)
    record(tx, station, row, "recall", PEER, "unproved", _said(statement))


def told_destroyed(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """A person at the receiver says that all copies are destroyed."""
    words = "a person there says that what was released is destroyed"
    if row.state in ENDED:
        _told_after_end(tx, station, row, statement, event="destroy", code="recalled", text=words)
        return
    _recalled(tx, station, row, statement, words, event="destroy")


def told_kept(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """A person at the receiver says that what was released is kept."""
    if row.state in WHOLE or row.state in GIVEN_UP:
        now = station.now_ms()
        text = "the recipient keeps what was released"
        reason = Reason("kept", text, now)
        transfers.update(tx, row.id, reason=reason, finished_ms=now, updated_ms=now)
    record(tx, station, row, "destroy", PEER, "refused", _said(statement))


def _recalled(
    tx: Tx,
    station: Station,
    row: TransferRow,
    statement: Statement,
    words: str,
    event: AuditEvent = "recall",
) -> None:
    error = TransferRefusedError(f"recalled: {words}")
    detail = _said(statement)
    end(tx, station, row, State.RECALLED, event=event, actor=PEER, error=error, detail=detail)


def _said(statement: Statement) -> dict[str, object]:
    return {"at_ms": statement.time_ms, "opened": opened_when(statement.detail)}


# --- at the receiver ----------------------------------------------------------------------


def asked(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """The sender wants it back: decided here and now, against the row as it is."""
    reason = statement.detail.get("reason", "")
    papers.put_vault(tx, station, row.id, papers.RECALL, reason.encode())
    if row.state in ENDED:
        record(tx, station, row, "recall", PEER, "too-late")
        if not row.erasing:
            erased(tx, station, row)
    elif is_asked(row):
        record(tx, station, row, "recall", PEER, "too-late")  # a person is asked already
    elif row.state is State.RELEASING or row.released_ms is not None:
        _too_late(tx, station, row)
    else:
        error = TransferRefusedError("its sender has taken it back")
        end(tx, station, row, State.RECALLED, event="recall", actor=PEER, error=error)


def _too_late(tx: Tx, station: Station, row: TransferRow) -> None:
    now = station.now_ms()
    text = "its sender has taken it back and asks to destroy what was released of it"
    transfers.update(tx, row.id, held=checking.held(DESTROY_ASKED, text, now), updated_ms=now)
    statements.queue_fact(tx, station, row, "recall-late", opening(tx, station, row))
    record(tx, station, row, "recall", PEER, "opened")
    station.ledger.alarm(
        tx, kind=DESTROY_ASKED, text=_alarm_text(row), peer=row.peer_name, peer_key=row.peer_key
    )


def _alarm_text(row: TransferRow) -> str:
    short = short_id(row.id)
    return (
        f"transfer {short} was taken back after its release: destroy all copies, then answer"
        f" `medp2p inbox answer {short} --destroyed`, or --kept"
    )


def erased(tx: Tx, station: Station, row: TransferRow) -> None:
    """Answer a recall, if there was one: called when file and key are gone."""
    if row.direction is not Direction.IN or papers.RECALL not in transfers.blob_names(tx, row.id):
        return
    if "recalled" not in [fact.kind for fact in facts.of_transfer(tx, row.peer_key, row.id)]:
        detail = {"erased": rfc3339(station.now_ms()), **opening(tx, station, row)}
        statements.queue_fact(tx, station, row, "recalled", detail)


def is_asked(row: TransferRow) -> bool:
    """Return whether a request to destroy waits for an answer."""
    return checking.held_code(row) == DESTROY_ASKED


def count_asked(tx: Tx) -> int:
    """Return how many requests to destroy wait for an answer."""
    return sum(is_asked(row) for row in transfers.held(tx, limits.MAX_LISTED))


def refuse_unasked(tx: Tx, row: TransferRow) -> None:
    """Refuse an answer that nobody waits for.

    Raises:
        ConflictError: Nobody has asked, it was answered already, or a release is under way.
    """
    if not is_asked(row) or row.state in ENDED:
        kinds = [fact.kind for fact in facts.of_transfer(tx, row.peer_key, row.id)]
        if said := [kind for kind in kinds if kind in ("destroyed", "kept")]:
            raise ConflictError(f"transfer {row.id} was answered already: {said[-1]}")
        raise ConflictError(f"nobody has asked to destroy transfer {row.id}")
    if row.state is State.RELEASING:
        raise ConflictError(f"transfer {row.id} is being released; answer when that is over")


def answer(
    tx: Tx,
    station: Station,
    actor: Actor,
    prefix: str,
    *,
    looked: Collection[int] | None,
    by: str,
) -> TransferRow:
    """Answer a request to destroy, by name; what the vault still holds goes with it.

    Args:
        tx: Write transaction.
        station: Ours.
        actor: Who asks us to.
        prefix: Of the transfer.
        looked: Numbers of the releases that are destroyed, all there are; None: it is kept.
        by: Who says so; "" for the account of the actor.

    Raises:
        ConflictError: As refuse_unasked; or it was released once more meanwhile.
        UsageError: The name is too long, or cannot be printed.
    """
    row = transfers.find(tx, prefix, Direction.IN)
    name = by.strip() or actor.name
    if len(name) > limits.MAX_TOLD_CHARS or not name.isprintable():
        raise UsageError(f"a name has {limits.MAX_TOLD_CHARS} printable characters at most")
    refuse_unasked(tx, row)
    destroyed = looked is not None
    if looked is not None:
        made = {one.number for one in releases.of_transfer(tx, row.id)}
        if not made.issubset(looked):
            raise ConflictError(f"transfer {row.id} was released meanwhile; answer once more")
    fact = "destroyed" if destroyed else "kept"
    statements.queue_fact(tx, station, row, fact, {"by": name})
    transfers.update(tx, row.id, held=None, updated_ms=station.now_ms())
    for alarm in log.alarms(tx, unacknowledged_only=True):
        if alarm.kind == DESTROY_ASKED and alarm.text == _alarm_text(row):
            station.ledger.acknowledge(tx, actor, alarm.id)
    row = transfers.get(tx, row.id)
    if destroyed:
        end(tx, station, row, State.RECALLED, event="destroy", actor=actor, detail={"by": name})
    else:
        transfers.delete_blobs(tx, row.id, [papers.RECALL])
        record(tx, station, row, "destroy", actor, "refused", {"by": name})
    return row


def check_release(row: TransferRow) -> None:
    """Refuse a further release of what its sender has taken back.

    Raises:
        ConflictError: A request to destroy it waits for an answer.
    """
    if is_asked(row):
        raise ConflictError(
            f"the sender of transfer {row.id} asks to destroy it",
            hint=f"answer first: medp2p inbox answer {short_id(row.id)} --destroyed, or --kept",
        )
