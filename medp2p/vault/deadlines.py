"""What was begun because a time had passed, a row for each transfer and kind.

``ran_ms`` is running time of the daemon, added up in small steps: no clock is asked for it, and
what a crash loses of it is lost on the late side.
"""

from dataclasses import dataclass

from medp2p.vault.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineRow:
    """A time that has passed.

    Attributes:
        transfer: Id.
        kind: "expiring", "undecided", "unanswered".
        since_ms: When it was noticed, milliseconds since 1970 UTC.
        ran_ms: How long the daemon has run since, milliseconds.
    """

    transfer: str
    kind: str
    since_ms: int
    ran_ms: int


def add(tx: Tx, transfer: str, kind: str, now_ms: int) -> bool:
    """Note that a time has passed; False when it was noted before."""
    return (
        tx.execute(
            "INSERT INTO deadlines VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING",
            (transfer, kind, now_ms),
        ).rowcount
        == 1
    )


def all(tx: Tx, kind: str) -> dict[str, DeadlineRow]:
    """Return all of a kind by transfer."""
    rows = tx.execute(
        "SELECT transfer, kind, since_ms, ran_ms FROM deadlines WHERE kind = ?", (kind,)
    )
    return {
        str(transfer): DeadlineRow(
            transfer=str(transfer), kind=str(kind), since_ms=since_ms, ran_ms=ran_ms
        )
        for transfer, kind, since_ms, ran_ms in rows
    }


def run(tx: Tx, transfer: str, kind: str, ran_ms: int) -> None:
    """Add running time; time never runs backwards."""
    tx.execute(
        "UPDATE deadlines SET ran_ms = ran_ms + ? WHERE transfer = ? AND kind = ?",
        (max(0, ran_ms), transfer, kind),
    )


def remove(tx: Tx, transfer: str, kind: str) -> None:
    """Forget one."""
    tx.execute("DELETE FROM deadlines WHERE transfer = ? AND kind = ?", (transfer, kind))
