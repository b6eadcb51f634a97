"""Notices on the desktop of the daemon's account: an offer waits for a decision, an alarm came.

They name priority and peer only: whoever walks past the screen reads them, and other accounts
see the arguments of the command that shows them.
"""

import html
import logging
import subprocess
import sys
from collections import Counter, OrderedDict
from typing import Any

import trio

from medp2p import limits
from medp2p.daemon.station import Station

log = logging.getLogger(__name__)

_OSASCRIPT = (
    *("osascript", "-e", "on run argv"),
    *("-e", "display notification (item 2 of argv) with title (item 1 of argv)"),
    *("-e", "end run"),
)


class Notices:
    """What is to be shown, collected from events; each offer and alarm once."""

    def __init__(self) -> None:
        self._offers: dict[str, tuple[str, bool]] = {}
        self._alarms: list[str] = []
        self._told: OrderedDict[tuple[str, object], None] = OrderedDict()

    def hear_all(self, events: list[dict[str, Any]]) -> bool:
        """Take events; return whether there is something to show now."""
        for event in events:
            self.hear(event)
        return bool(self._offers or self._alarms)

    def hear(self, event: dict[str, Any]) -> None:
        """Take one event."""
        kind = event["event"]
        if kind == "transfer":
            self._hear_transfer(event[kind])
        elif kind == "alarm":
            self._hear_alarm(event[kind])

    def _hear_alarm(self, alarm: dict[str, Any]) -> None:
        if not alarm["acknowledged"] and self._is_new(("alarm", alarm["id"])):
            text, peer = str(alarm["text"]), alarm["peer"]
            self._alarms.append(text if not peer or peer in text else f"{peer}: {text}")

    def _hear_transfer(self, row: dict[str, Any]) -> None:
        if row["direction"] != "in":
            return
        if row["state"] != "offered":
            self._offers.pop(row["id"], None)
        elif self._is_new(("offer", row["id"])):
            self._offers[row["id"]] = (str(row["peer"]), row["priority"] == "stat")

    def _is_new(self, what: tuple[str, object]) -> bool:
        if what in self._told:
            return False
        self._told[what] = None
        if len(self._told) > limits.MAX_NOTICED:
            self._told.popitem(last=False)
        return True

    def take(self) -> list[tuple[str, str]]:
        """Return titles and texts to show, and forget them."""
        found = []
        if self._offers:
            counted = Counter(self._offers.values())
            lines = [
                f"{count} {'STAT ' if stat else ''}from {peer}"
                for (peer, stat), count in sorted(counted.items(), key=lambda it: not it[0][1])
            ]
            found.append(("medp2p: waits for a decision", _lines(lines)))
        if self._alarms:
            found.append(("medp2p: alarm", _lines(self._alarms)))
        self._offers, self._alarms = {}, []
        return found


def _lines(lines: list[str]) -> str:
    more = len(lines) - limits.MAX_NOTICE_LINES
    return "\n".join(
        [*lines[: limits.MAX_NOTICE_LINES], *([f"and {more} more"] if more > 0 else [])]
    )


async def run_notices(station: Station) -> None:
    """Show notices as long as the configuration says so, until cancelled."""
    notices, works = Notices(), True
    with station.events.subscribe(watches=False) as events:
        while True:
            batch = await events.batch()
            if not station.config.notify or not notices.hear_all(batch):
                continue
            await trio.sleep(limits.NOTICE_WAIT_SECONDS)
            notices.hear_all(events.waiting())
            for title, text in notices.take():
                shown = await show(title, text)
                if works and not shown:
                    log.warning("the desktop cannot be told: is there notify-send, and a session?")
                works = shown
            await trio.sleep(limits.NOTICE_PAUSE_SECONDS)


async def show(title: str, text: str) -> bool:
    """Show a notice on the desktop; return whether that was possible."""
    # The body of a notice may be read as markup (Desktop Notifications Specification, 1.2).
    words = ["notify-send", "--app-name=medp2p", "--", title, html.escape(text)]
    if sys.platform == "darwin":
        words = [*_OSASCRIPT, title, text]
    try:
        with trio.move_on_after(limits.NOTICE_SECONDS):
            done = await trio.run_process(
                words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            return done.returncode == 0
    except OSError:
        pass
    return False
