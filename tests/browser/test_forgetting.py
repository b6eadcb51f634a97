"""After the end of a session nothing of a patient is left in the memory of the page's scripts."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.browser.stations import offer, ward_and_sender
from tests.browser.viewing import Viewer
from tests.e2e.harness import Hospital, wait_until

pytestmark = pytest.mark.browser

_NAME, _ID = "ROENTGEN", "MRN-0042117"


def texts(devtools: CDPSession) -> list[str]:
    """Return all strings of the heap that are still reachable."""
    pieces: list[str] = []

    def keep(event: dict[str, str]) -> None:
        pieces.append(event["chunk"])

    devtools.send("HeapProfiler.collectGarbage")
    devtools.on("HeapProfiler.addHeapSnapshotChunk", keep)
    devtools.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False})
    devtools.remove_listener("HeapProfiler.addHeapSnapshotChunk", keep)
    found: list[str] = json.loads("".join(pieces))["strings"]
    return found


def patients(devtools: CDPSession) -> list[str]:
    return [text[:200] for text in texts(devtools) if _NAME in text or _ID in text]


def look_around(page: Page, first: str, second: str) -> None:
    """Open what shows patients. By CSS only: role selectors keep elements alive themselves."""

    def click(transfer: str, verb: str) -> None:
        where = f'[data-region="waiting"] [data-transfer="{transfer}"]'
        page.locator(f'{where} button[data-verb="{verb}"]').click()

    def back() -> None:
        page.locator("dialog[open] > form > .actions > button").first.click()

    dialog = page.locator("dialog[open]")
    click(second, "Show")
    expect(dialog.locator(".show-details li").first).to_be_visible()
    back()
    click(second, "Preview")
    expect(dialog.locator("img").first).to_be_visible()
    back()
    page.locator('.search-form input[type="search"]').fill(_NAME)
    page.locator('.search-form button[type="submit"]').click()
    expect(page.locator(".results [data-transfer]").first).to_be_visible()
    click(second, "Release")
    expect(dialog).to_be_visible()
    back()
    click(first, "Decline")
    expect(dialog).to_be_visible()


def test_nothing_is_remembered(hospital: Hospital, viewer: Viewer, study: Path) -> None:
    ward, sender = ward_and_sender(hospital)
    first, second = (offer((ward, sender), study) for _ in range(2))
    ward.cli("inbox", "accept", second).ok()
    ward.wait_state("inbox", second, "sealed")

    context = viewer.context()
    viewer.faults.expect(401)
    page, other = viewer.tab(context, ward), viewer.tab(context, ward)
    look_around(page, first, second)
    devtools = context.new_cdp_session(page)
    devtools.send("HeapProfiler.enable")
    assert patients(devtools)

    other.locator("#end-session").click()
    expect(page.locator("#closed")).to_be_visible()
    wait_until(lambda: not patients(devtools), lambda: str(patients(devtools)))
