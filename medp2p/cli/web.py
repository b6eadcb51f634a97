"""The verb that opens the page."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medp2p.cli.session import Session, verb
from medp2p.errors import ControlError

if TYPE_CHECKING:
    import webbrowser

_HINT = "`medp2p web --no-browser` prints an address to open by hand"


@click.command()
@click.option("--no-browser", is_flag=True, help="Print the one-time address instead.")
@verb
def web(session: Session, no_browser: bool) -> None:
    """Open the page of this workstation in the browser.

    The address is good for one use within a minute. Printed, it is a secret: whoever opens it
    first has the page.
    """
    if no_browser:
        told = session.client.post("web", body={"file": False})
        shown = {"address": told["address"], "expires": told["expires"]}
        session.result(shown, lambda: str(shown["address"]))
        return
    browser = _browser()
    told = session.client.post("web", body={"file": True})
    # Other accounts see what a browser is started with: it is the name of a private file.
    if not browser.open(Path(told["file"]).as_uri()):
        raise ControlError("the browser could not be started", hint=_HINT)
    session.result({"opened": True, "expires": told["expires"]}, lambda: "opened in the browser")
    session.note("if it shows an error, it may not read private files: use --no-browser")


def _browser() -> "webbrowser.BaseBrowser":
    """Return the person's browser.

    Raises:
        ControlError: There is none here that could show a page with scripts.
    """
    import webbrowser  # late: it costs each short command some milliseconds

    chosen = bool(os.environ.get("BROWSER"))
    screen = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    try:
        if not chosen and not screen:
            raise webbrowser.Error
        return webbrowser.get()
    except webbrowser.Error:
        raise ControlError("no browser was found here", hint=_HINT) from None
