"""The wall clock, as far as it may be believed.

A clock that shows an earlier time than a record in the audit log says is wrong now, or was wrong
then. Until it has caught up, or a person has looked and acknowledged the alarm, nothing is done
on its word: no date passes, nothing expires, and what a date grants is not granted.
"""

from medp2p import limits
from medp2p.vault import meta
from medp2p.vault.store import Tx

#: Kind of the alarm; acknowledging it says that the clock is right now.
BEHIND = "clock-behind"
_KEY = "clock-newest-ms"


def note(tx: Tx, now_ms: int) -> None:
    """Remember the time of an audit record, in its transaction, if it is the newest one."""
    if now_ms > _newest(tx):
        meta.put(tx, _KEY, str(now_ms))


def behind_ms(tx: Tx, now_ms: int) -> int:
    """Return by how much the clock shows less than an audit record, 0 if it does not.

    Steps back of less than CLOCK_STEP_SECONDS, as NTP makes them, do not count.
    """
    behind = _newest(tx) - now_ms
    return behind if behind > 1000 * limits.CLOCK_STEP_SECONDS else 0


def is_behind(tx: Tx, now_ms: int) -> bool:
    """Return whether the clock shows less than an audit record."""
    return behind_ms(tx, now_ms) > 0


def trust(tx: Tx, now_ms: int) -> None:
    """Go on from here: a person says that the clock is right now."""
    meta.put(tx, _KEY, str(now_ms))


def _newest(tx: Tx) -> int:
    return int(meta.get(tx, _KEY) or 0)
