"""Progress on stderr: one line that is written over on a terminal, a line per change elsewhere."""

import shutil
import sys

import click

from medp2p.cli.show import Json, count, pace, reason, safe, share
from medp2p.text import format_bytes


class Progress:
    """Shows what goes on while a command waits. Use as a context manager."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._shown = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *unused: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Take the line that is being written over away."""
        if self._live and self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = ""

    def show(self, live: str, lasting: str | None) -> None:
        """Show a text.

        Args:
            live: For a terminal; cut to its width.
            lasting: For a log file; printed when it differs from the last one. None: nothing.
        """
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            click.echo("\r" + live[:width] + "\x1b[K", err=True, nl=False)
            self._shown = live
        elif lasting is not None and lasting != self._shown:
            click.echo(lasting, err=True)
            self._shown = lasting

    def scan(self, scan: Json) -> None:
        """Show how far a scan is."""
        text = f"looking: {count(scan['files'], 'file')}, {format_bytes(scan['bytes'])}"
        if scan.get("inspected"):
            text += f", headers read: {scan['inspected']}"
        self.show(text, None)

    def transfer(self, row: Json) -> None:
        """Show where a transfer stands."""
        state, why = safe(row["state"]), reason(row)
        words = [state, share(row), f"{format_bytes(row['bytes_done'])} of"]
        live = f"{words[0]}  {words[1]}  {words[2]} {format_bytes(row['bytes'])}"
        if moving := pace(row):
            live += f"  {moving}"
        self.show(live + (f"  {why}" if why else ""), f"{state}: {why}" if why else state)
