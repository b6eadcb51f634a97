"""What a person does on the page, by the names of buttons and fields only."""

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.browser.viewing import card, region


def dialog(page: Page) -> Locator:
    """Return the dialog that is open; there is one at most."""
    return page.locator("dialog[open]")


def press(page: Page, transfer: str, verb: str, where: str | None = None) -> None:
    """Click a button on the card of a transfer."""
    card(page, transfer, where).get_by_role("button", name=verb, exact=True).click()


def confirm(page: Page, verb: str) -> None:
    """Click the button of the open dialog that does it, and wait until the dialog is gone."""
    dialog(page).get_by_role("button", name=verb, exact=True).click()
    expect(dialog(page)).to_have_count(0)


def back(page: Page) -> None:
    """Leave the open dialog without doing anything."""
    dialog(page).get_by_role("button", name="Back", exact=True).click()
    expect(dialog(page)).to_have_count(0)


def sees_state(page: Page, transfer: str, where: str, state: str) -> None:
    """Wait until a region shows a transfer in a state, in words too."""
    shown = card(page, transfer, where)
    expect(shown).to_have_attribute("data-state", state)
    expect(shown.locator(".state-word")).to_have_text(state)


def gone(page: Page, transfer: str, where: str) -> None:
    """Wait until a region shows a transfer no more."""
    expect(card(page, transfer, where)).to_have_count(0)


def choose_files(page: Page, peer: str, *paths: Path) -> None:
    """Open the dialog of a send and fill in its first step."""
    region(page, "send").get_by_role("button", name="Send", exact=True).click()
    form = dialog(page)
    form.get_by_label("Recipient").select_option(peer)
    for path in paths:
        form.get_by_label("Files and folders of this workstation").fill(str(path))
        form.get_by_role("button", name="Add path").click()
        expect(form.locator(".chosen")).to_contain_text(path.name)


def look(page: Page) -> Locator:
    """Go on to the second step of a send; return the dialog once it shows what was found."""
    form = dialog(page)
    form.get_by_role("button", name="Look at the files").click()
    expect(form.locator(".confirmation")).to_be_visible()
    return form
