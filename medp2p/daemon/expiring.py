"""What is done because a time has passed: expiry of what nobody released, and alarms.

Nothing is erased on a clock's word alone. A date that has passed makes a transfer ``expiring``:
it is shown, and told to the sender. Only after EXPIRY_GRACE_SECONDS more, counted while the
daemon runs and by no clock, it is erased. A release before that saves it. While the clock is
behind the newest audit record nothing of all this moves.

Source: docs/PROTOCOL.md, "Expiry"; docs/VAULT.md, "Deadlines".
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from medp2p import limits
from medp2p.daemon import clock, greeting, statements
from medp2p.daemon.endings import end, record, whom_to_call
from medp2p.daemon.station import Station
from medp2p.model import ENDED, PEER, RULE, Direction, Priority, State, short_id
from medp2p.proto.facts import FEATURE_FACTS, Statement
from medp2p.text import format_duration, rfc3339
from medp2p.vault import deadlines, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

EXPIRING, UNDECIDED, UNANSWERED = "expiring", "undecided", "unanswered"

#: Incoming transfers that expire: not released, and nobody is at work on them.
_WAITS = (State.OFFERED, State.ACCEPTED, State.PAUSED, State.SEALED, State.EXPIRING)
#: Outgoing ones about which the receiver has not decided.
_UNDECIDED = (State.QUEUED, State.WAITING, State.OFFERED)


@dataclass
class Looked:
    """What one look at the deadlines has changed.

    Attributes:
        changed: Transfers.
        alarms: Numbers of alarms raised.
    """

    changed: list[TransferRow] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)


async def run_deadlines(station: Station, told: Callable[[bytes], None]) -> None:
    """Look at all deadlines, again and again; never returns.

    Args:
        station: Ours.
        told: Called with the key of a peer for whom there are new facts.
    """
    last = trio.current_time()
    while True:
        now = trio.current_time()
        looked = await station.write(look, station, int(1000 * (now - last)))
        last = now
        for row in looked.changed:
            await station.touch(row.id)
            told(row.peer_key)
        if looked.alarms:
            for alarm in await station.read(station.ledger.alarms, open_only=True):
                if alarm["id"] in looked.alarms:
                    station.events.publish({"event": "alarm", "alarm": alarm})
        await trio.sleep(limits.DEADLINE_LOOK_SECONDS)


def look(tx: Tx, station: Station, ran_ms: int) -> Looked:
    """Let pass what has passed.

    Args:
        tx: Write transaction.
        station: Ours; its clock says which dates have passed.
        ran_ms: How long the daemon has run since the last look, by the monotonic clock.
    """
    looked = Looked()
    now = station.now_ms()
    if clock.is_behind(tx, now):
        text = (
            "the clock is behind the newest audit record: nothing expires until it is right;"
            " acknowledge this once it is"
        )
        looked.alarms.append(station.ledger.alarm(tx, kind=clock.BEHIND, text=text))
    else:
        _expiry(tx, station, ran_ms, looked)
    _alarms(tx, station, looked)
    return looked


# --- expiry -------------------------------------------------------------------------------


def date_ms(station: Station, row: TransferRow) -> int | None:
    """Return when an incoming transfer expires unless it is released, or None if it does not."""
    if row.direction is not Direction.IN or row.state not in _WAITS:
        return None
    if row.sealed_ms is not None:
        since = row.sealed_ms
    else:  # its sender has had time since then to decide, or to come back
        since = row.created_ms if row.state is State.OFFERED else row.updated_ms
    return since + station.config.expire_after_seconds * 1000


def _expiry(tx: Tx, station: Station, ran_ms: int, looked: Looked) -> None:
    begun = deadlines.all(tx, EXPIRING)
    for row in transfers.list(tx, Direction.IN, _WAITS):
        date = date_ms(station, row)
        mark = begun.pop(row.id, None)
        passed = date is not None and date <= station.now_ms()
        if mark is None and passed:
            _begin(tx, station, row)
        elif mark is not None and not passed:
            _withdraw(tx, station, row)
        elif mark is None:
            continue
        elif mark.ran_ms + ran_ms >= limits.EXPIRY_GRACE_SECONDS * 1000:
            _expire(tx, station, row)
        else:
            deadlines.run(tx, row.id, EXPIRING, ran_ms)
            if row.state is not State.SEALED:
                continue
            transfers.update(tx, row.id, state=State.EXPIRING)  # a release of it has failed
        looked.changed.append(row)
    for transfer in begun:
        at_work = transfers.maybe(tx, transfer)
        if at_work is None or at_work.state is not State.RELEASING:
            deadlines.remove(tx, transfer, EXPIRING)


def _begin(tx: Tx, station: Station, row: TransferRow) -> None:
    now = station.now_ms()
    deadlines.add(tx, row.id, EXPIRING, now)
    if row.state is State.SEALED:
        transfers.update(tx, row.id, state=State.EXPIRING, updated_ms=now)
    _tell(tx, station, row, {"grace-hours": str(limits.EXPIRY_GRACE_SECONDS // 3600)})
    record(tx, station, row, "expiring", RULE)


def _withdraw(tx: Tx, station: Station, row: TransferRow) -> None:
    """The clock, or the time allowed, was put right: the date has not passed."""
    deadlines.remove(tx, row.id, EXPIRING)
    if row.state is State.EXPIRING:
        transfers.update(tx, row.id, state=State.SEALED, updated_ms=station.now_ms())
    _tell(tx, station, row, {"withdrawn": "yes"})
    record(tx, station, row, "expiring", RULE, "withdrawn")


def _tell(tx: Tx, station: Station, row: TransferRow, detail: dict[str, str]) -> None:
    if FEATURE_FACTS["expiring"] in greeting.features(tx, row.peer_key):
        statements.queue_fact(tx, station, row, "expiring", detail)


def _expire(tx: Tx, station: Station, row: TransferRow) -> None:
    deadlines.remove(tx, row.id, EXPIRING)
    statements.queue_fact(tx, station, row, "expired", {"at": rfc3339(station.now_ms())})
    end(tx, station, row, State.EXPIRED, event="expire", actor=RULE)


def told(tx: Tx, station: Station, row: TransferRow, statement: Statement) -> None:
    """The receiver says that our transfer is about to expire there, or that it is not."""
    withdrawn = "withdrawn" in statement.detail
    before, after = State.SEALED, State.EXPIRING
    if withdrawn:
        before, after = after, before
    if row.state is before:
        transfers.update(tx, row.id, state=after, updated_ms=station.now_ms())
    outcome = "too-late" if row.state in ENDED else "withdrawn" if withdrawn else "ok"
    record(tx, station, row, "expiring", PEER, outcome, {"at_ms": statement.time_ms})


# --- alarms at the sender -----------------------------------------------------------------


def _alarms(tx: Tx, station: Station, looked: Looked) -> None:
    """Nobody there has decided, or answered a recall, for too long: a person should call."""
    now = station.now_ms()
    for row in transfers.list(tx, Direction.OUT, _UNDECIDED):
        allowed = _allowed_ms(station, row)
        if row.decided_ms is None and now - row.created_ms >= allowed:
            text = f"nobody there has decided about transfer {short_id(row.id)}"
            _alarm(tx, station, row, UNDECIDED, f"{text} for {_words(allowed)}", looked)
    for row in transfers.list(tx, Direction.OUT, [State.RECALLING]):
        allowed = _allowed_ms(station, row)
        since = row.reason.since_ms if row.reason is not None else row.updated_ms
        if now - since >= allowed:
            text = f"the recall of transfer {short_id(row.id)} is not answered"
            _alarm(tx, station, row, UNANSWERED, f"{text} for {_words(allowed)}", looked)


def _alarm(
    tx: Tx, station: Station, row: TransferRow, kind: str, text: str, looked: Looked
) -> None:
    """Raise an alarm about a transfer, once."""
    if not deadlines.add(tx, row.id, kind, station.now_ms()):
        return
    text = f"{text}; call {whom_to_call(tx, row)}"
    looked.alarms.append(
        station.ledger.alarm(tx, kind=kind, text=text, peer=row.peer_name, peer_key=row.peer_key)
    )


def _allowed_ms(station: Station, row: TransferRow) -> int:
    config = station.config
    stat = row.priority is Priority.STAT
    return 1000 * (config.undecided_stat_seconds if stat else config.undecided_routine_seconds)


def _words(milliseconds: int) -> str:
    return format_duration(milliseconds / 1000)
