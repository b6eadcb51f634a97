"""The log of the daemon, on stderr.

A module of its own, imported late: `logging` costs each short command some milliseconds.
"""

import logging
import sys

from medp2p.text import escape_text, rfc3339


class _OneLine(logging.Formatter):
    """Log lines in UTC; whatever a message holds stays on its line and moves no cursor."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time as JSON has it."""
        return rfc3339(int(record.created * 1000))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, its message escaped; a traceback follows unescaped."""
        record.message = escape_text(record.message)
        return super().formatMessage(record)


def start_log() -> None:
    """Send the log to stderr; levels below INFO are for debugging and left out."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
