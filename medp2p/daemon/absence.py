"""What the log says of a peer that is off. In the trio thread."""

import logging

from medp2p import limits
from medp2p.errors import MedP2PError
from medp2p.net.dial import DialError

log = logging.getLogger(__name__)


class Absence:
    """Dials in vain, in a row: the log holds each reason once, and at the end how many."""

    def __init__(self) -> None:
        self._tries = 0
        self._told: set[frozenset[str]] = set()

    def note(self, name: str, transfer: str, error: MedP2PError) -> None:
        """Count a dial in vain; log it if its reason is new."""
        self._tries += 1
        why = frozenset(error.tried if isinstance(error, DialError) else [error.text])
        if why not in self._told and len(self._told) < limits.MAX_ROUTES:
            self._told.add(why)
            log.info("%s: not reached for %s: %s", name, transfer, error.text)

    def over(self, name: str) -> None:
        """Log that the peer was reached, if it was tried in vain before."""
        if self._tries:
            log.info("%s: reached again, after %d tries in vain", name, self._tries)
        self._tries = 0
        self._told.clear()
