"""Tabs of a real browser on the page of a real daemon, watched for anything that goes wrong.

A line on the console, a script that fails, or a request to any other address fails the test.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request

from tests.e2e.harness import SOON_SECONDS, Workstation

#: The two widths that everything must be good at, in pixels, and the heights of their screens.
WIDE, NARROW = 1600, 360
HEIGHTS = {WIDE: 1000, NARROW: 740}
#: Nothing here leaves the machine; root needs --no-sandbox.
LAUNCH = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
#: What Chromium itself writes when the daemon answers with an error. Whether that was meant to
#: happen is asked of Tab.refused.
_ANSWERED_BADLY = re.compile(r"the server responded with a status of (\d+)")
#: The same when there was no daemon to answer, or it went amid an answer.
_NOT_ANSWERED = re.compile(
    r"net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED)|SOCKET_NOT_CONNECTED|EMPTY_RESPONSE"
    r"|INCOMPLETE_CHUNKED_ENCODING)"
)
#: A sign of life crosses the end of its session.
_LATE = "/session/alive"
ROOT = Path(__file__).parents[2]


def screenshots() -> Path:
    """Return where pictures of the page go: MEDP2P_SCREENSHOTS, else build/screenshots."""
    folder = Path(os.environ.get("MEDP2P_SCREENSHOTS") or ROOT / "build" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Faults:
    """What went wrong in the tabs of a test, and what of it the test expected."""

    found: list[str] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    outages: bool = False

    def expect(self, *statuses: int, outages: bool = False) -> None:
        """Let answers of these HTTP statuses pass, and connections that break."""
        self.refused |= set(statuses)
        self.outages = self.outages or outages

    def watch(self, page: Page, origin: str) -> None:
        """Note from now on what goes wrong in a tab that may ask one origin only."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(f"script failed: {error}"))
        page.on("crash", lambda _: self.found.append("the tab crashed"))
        page.on("request", lambda request: self._request(request, origin))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        status = _ANSWERED_BADLY.search(message.text)
        if status and int(status[1]) in self.refused:
            return
        if status and status[1] == "401" and message.location["url"].endswith(_LATE):
            return
        if self.outages and _NOT_ANSWERED.search(message.text):
            return
        self.found.append(f"console {message.type}: {message.text} at {message.location}")

    def _request(self, request: Request, origin: str) -> None:
        if not request.url.startswith((origin + "/", "blob:" + origin + "/")):
            self.found.append(f"a request to another address: {request.url}")


@dataclass
class Viewer:
    """Opens browsers, each with cookies of its own, on the pages of workstations."""

    browser: Browser
    faults: Faults = field(default_factory=Faults)
    contexts: list[BrowserContext] = field(default_factory=list)

    def context(
        self,
        width: int = WIDE,
        *,
        scheme: Literal["light", "dark"] = "light",
        **options: Any,
    ) -> BrowserContext:
        """Return a fresh browser profile."""
        made = self.browser.new_context(
            viewport={"width": width, "height": HEIGHTS[width]},
            color_scheme=scheme,
            locale="en-GB",
            **options,
        )
        made.set_default_timeout(1000 * SOON_SECONDS)
        self.contexts.append(made)
        return made

    def tab(self, context: BrowserContext, workstation: Workstation) -> Page:
        """Open the page of a workstation by a one-time address; return once it shows data."""
        address = web_address(workstation)
        page = context.new_page()
        self.faults.watch(page, address.partition("/#")[0])
        page.goto(address)
        ready(page)
        return page

    def open(self, workstation: Workstation, width: int = WIDE, **options: Any) -> Page:
        """Open the page of a workstation in a profile of its own."""
        return self.tab(self.context(width, **options), workstation)

    def close(self) -> None:
        """Close everything; fail if anything went wrong that was not expected."""
        for context in self.contexts:
            context.close()
        assert not self.faults.found, "\n".join(self.faults.found)


def web_address(workstation: Workstation) -> str:
    """Return a fresh one-time address of the page, as `medp2p web --no-browser` prints it."""
    address: str = workstation.cli("web", "--no-browser").ok().document["address"]
    return address


def ready(page: Page) -> None:
    """Wait until the page shows what the daemon says."""
    region(page, "workstation").wait_for(state="visible")


def region(page: Page, name: str) -> Locator:
    """Return a region of the page, such as "waiting"."""
    return page.locator(f'[data-region="{name}"]')


def card(page: Page, transfer: str, where: str | None = None) -> Locator:
    """Return what shows a transfer, in one region or anywhere."""
    inside = region(page, where) if where else page
    return inside.locator(f'[data-transfer="{transfer}"]')


def picture(page: Page, name: str, *, whole: bool = True) -> Path:
    """Keep a picture of the whole page, or of what is in sight, as NAME-WIDTH.png.

    While a dialog is open it is what is in sight.
    """
    whole = whole and page.locator("dialog[open]").count() == 0
    size = page.viewport_size
    assert size is not None
    path = screenshots() / f"{name}-{size['width']}.png"
    page.screenshot(path=path, full_page=whole, animations="disabled")
    return path


def text_nodes(page: Page) -> Iterator[str]:
    """Yield all text that the page holds, hidden parts and values of fields included."""
    yield page.evaluate("() => document.documentElement.textContent")
    yield from page.evaluate(
        "() => [...document.querySelectorAll('input,textarea,select')].map(one => one.value)"
    )
