"""Refused handshakes that a person should hear of: a few addresses, each once a day.

Whoever scans ports is counted elsewhere; here it is about workstations: they speak the protocol,
and their key, or what they take ours for, is wrong. A flood of addresses becomes one alarm.
"""

import threading
from collections.abc import Callable

from medp2p import limits

KIND = "refused-handshake"
_UNKNOWN = "a workstation at {} was refused: its key is not that of a paired one"
_MISTAKEN = "a workstation at {} was refused: it looks for another one at our address"
#: Words of net.listen for why somebody was refused -> what is said about it.
_TEXTS = {"unknown-key": _UNKNOWN, "no-hello": _UNKNOWN, "wrong-key": _MISTAKEN}
_OTHERS = "several other addresses"


class Refusals:
    """What is to be said, and what was said lately.

    Args:
        now_ms: Wall clock, milliseconds since 1970 UTC.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._told: dict[str, int] = {}
        self._to_tell: list[str] = []
        self._lock = threading.Lock()

    def note(self, address: str, reason: str) -> None:
        """Note a refusal; never waits.

        Args:
            address: IP address without port.
            reason: A word of net.listen; others than those of handshakes say nothing here.
        """
        if reason not in _TEXTS:
            return
        now = self._now_ms()
        with self._lock:
            day = limits.REFUSED_AGAIN_SECONDS * 1000
            self._told = {who: ms for who, ms in self._told.items() if 0 <= now - ms < day}
            if address not in self._told and len(self._told) >= limits.MAX_REFUSED_TOLD:
                address = _OTHERS
            if address not in self._told:
                self._told[address] = now
                self._to_tell.append(_TEXTS[reason].format(address))

    def take(self) -> list[str]:
        """Return the texts of alarms that are to be raised, once."""
        with self._lock:
            texts, self._to_tell = self._to_tell, []
        return texts
