"""Refused handshakes that a person should hear of: a few addresses, each once a day.

Whoever scans ports is counted elsewhere; here it is about workstations: they speak the protocol,
and their key, or what they take ours for, is wrong. Two that are paired by hand refuse each other
until the second one knows the first, so nothing is said before a while has passed: a key that is
known by then was no stranger's, and what shows no key is told only if it goes on. A flood of
addresses becomes one alarm.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from medp2p import limits

KIND = "refused-handshake"
_UNKNOWN = "a workstation at {} was refused: its key is not that of a paired one"
_MISTAKEN = "a workstation at {} was refused: it looks for another one at our address"
_UNFINISHED = "somebody at {} was refused: a handshake with the key of a paired one, never ended"
#: Words of net.listen for why somebody was refused -> what is said about it.
_TEXTS = {"unknown-key": _UNKNOWN, "wrong-key": _MISTAKEN, "no-hello": _UNFINISHED}
_OTHERS = "several other addresses"


@dataclass(slots=True)
class _Seen:
    """What came from one address and is not judged yet.

    Attributes:
        first: Milliseconds since 1970 UTC, as ``last``.
        text: Of what came without a key.
        keys: That were shown, some of them.
    """

    first: int
    last: int
    text: str = ""
    keys: set[bytes] = field(default_factory=set)


class Refusals:
    """What was refused lately, what is to be said, and what was said.

    Args:
        now_ms: Wall clock, milliseconds since 1970 UTC.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._told: dict[str, int] = {}
        self._seen: dict[str, _Seen] = {}
        self._lock = threading.Lock()

    def note(self, address: str, reason: str, key: bytes | None = None) -> None:
        """Note a refusal; never waits.

        Args:
            address: IP address without port.
            reason: A word of net.listen; others than those of handshakes say nothing here.
            key: X25519 key that the other side proved to own, if it came so far.
        """
        if reason not in _TEXTS:
            return
        now = self._now_ms()
        with self._lock:
            self._forget(now)
            known = address in self._told or address in self._seen
            if not known and len(self._told.keys() | self._seen.keys()) >= limits.MAX_REFUSED_TOLD:
                address = _OTHERS
            if address in self._told:
                return
            seen = self._seen.setdefault(address, _Seen(now, now))
            seen.last = now
            if key is None:
                seen.text = _TEXTS[reason]
            elif len(seen.keys) < limits.MAX_REFUSED_TOLD:
                seen.keys.add(key)

    def take(self, is_known: Callable[[bytes], bool]) -> list[str]:
        """Return the texts of alarms that are to be raised, once.

        Args:
            is_known: Whether a key is that of a paired workstation by now, or our own.
        """
        now = self._now_ms()
        texts = []
        with self._lock:
            self._forget(now)
            for address, seen in list(self._seen.items()):
                if now - seen.first < limits.REFUSED_WAIT_SECONDS * 1000:
                    continue
                foreign = any(not is_known(key) for key in seen.keys)
                lasting = seen.last - seen.first >= limits.REFUSED_WAIT_SECONDS * 1000
                if foreign or (seen.text and lasting):
                    texts.append((_UNKNOWN if foreign else seen.text).format(address))
                    self._told[address] = now
                elif seen.text:
                    continue  # it may come again
                del self._seen[address]
        return texts

    def _forget(self, now: int) -> None:
        """Forget what is long ago; a clock that was set back does not keep it."""
        day = limits.REFUSED_AGAIN_SECONDS * 1000
        lately = limits.REFUSED_LASTING_SECONDS * 1000
        self._told = {who: ms for who, ms in self._told.items() if 0 <= now - ms < day}
        self._seen = {who: it for who, it in self._seen.items() if 0 <= now - it.first < lately}
