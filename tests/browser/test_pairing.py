"""Two fresh workstations meet on their pages: a code here, typed there; words; policies."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.clicking import back, confirm, dialog
from tests.browser.stations import Pair, ward_and_sender
from tests.browser.viewing import NARROW, WIDE, Viewer, picture, region
from tests.e2e.harness import Hospital

pytestmark = pytest.mark.browser


def show_code(page: Page) -> str:
    """Click Pair; return the code that is shown."""
    region(page, "peers").get_by_role("button", name="Pair", exact=True).click()
    code = dialog(page).locator(".pair-code")
    expect(code).not_to_be_empty()
    return code.inner_text()


def enter_code(page: Page, code: str, address: str) -> None:
    """Fill in the dialog of Join."""
    region(page, "peers").get_by_role("button", name="Join", exact=True).click()
    dialog(page).get_by_label("Code").fill(code)
    dialog(page).get_by_label("Address").fill(address)


def peer(page: Page, name: str) -> object:
    return region(page, "peers").locator(f'[data-peer="{name}"]')


def test_two_workstations_pair_by_clicking(hospital: Hospital, viewer: Viewer) -> None:
    ward, ct = hospital.make("ward-a"), hospital.make("ct-room")
    shows, joins = viewer.open(ward), viewer.open(ct)
    expect(region(shows, "peers")).to_contain_text("No peers yet")
    picture(shows, "first-start")

    code = show_code(shows)
    picture(shows, "pairing-code")
    enter_code(joins, code, ward.address)
    dialog(joins).get_by_role("button", name="Join", exact=True).click()
    for page, name in ((shows, "ct-room"), (joins, "ward-a")):
        expect(dialog(page)).to_contain_text(f"Paired with {name}")
        for station in (ward, ct):  # the words of both, to be compared
            words = station.cli("id").ok().document["key_words"]
            expect(dialog(page)).to_contain_text(words)
    picture(joins, "paired")
    dialog(joins).get_by_label("It belongs to").select_option("external")
    expect(dialog(joins)).to_contain_text("saved")
    for page, name in ((shows, "ct-room"), (joins, "ward-a")):
        back(page)
        expect(region(page, "peers").locator(f'[data-peer="{name}"]')).to_be_visible()
    settings = ct.cli("peers", "show", "ward-a").ok().document["settings"]
    assert settings["domain"] == "external"
    assert ward.cli("peers", "show", "ct-room").ok().document["source"] == "code"


def test_a_wrong_code_says_so_and_the_next_one_works(hospital: Hospital, viewer: Viewer) -> None:
    ward, ct = hospital.make("ward-a"), hospital.make("ct-room")
    shows, joins = viewer.open(ward), viewer.open(ct)
    viewer.faults.expect(422)
    code = show_code(shows)
    number, *words = code.split("-")
    enter_code(joins, "-".join((number, *reversed(words))), ward.address)
    dialog(joins).get_by_role("button", name="Join", exact=True).click()
    expect(dialog(joins).get_by_role("alert")).not_to_be_empty()
    # The guess was spent: another code stands there now, and the page says why.
    expect(dialog(shows).locator(".pair-code")).not_to_have_text(code)
    fresh = dialog(shows).locator(".pair-code").inner_text()
    dialog(joins).get_by_label("Code").fill(fresh)
    dialog(joins).get_by_role("button", name="Join", exact=True).click()
    expect(dialog(joins)).to_contain_text("Paired with ward-a")
    expect(dialog(shows)).to_contain_text("Paired with ct-room")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        # A machine that is in no network says the second of a name.
        ("nonsense", r"nonsense:17820: (no such name|the name cannot be looked up now)"),
        ("127.0.0.1:1", r"127\.0\.0\.1:1: refused: nothing listens there"),
    ],
)
def test_nobody_at_an_address_is_told_once_and_in_words(
    hospital: Hospital, viewer: Viewer, address: str, told: str
) -> None:
    ct = hospital.make("ct-room")
    page = viewer.open(ct)
    viewer.faults.expect(422)
    code = "42-amber-cabin"
    enter_code(page, code, address)
    dialog(page).get_by_role("button", name="Join", exact=True).click()
    whole = re.compile(f"^the other workstation cannot be reached: {told}$")
    expect(dialog(page).get_by_role("alert").locator("p").first).to_have_text(whole)
    assert whole.match(ct.cli("pair", code, "--at", address).document["error"]["text"])


def test_leaving_the_dialog_takes_the_code_back(hospital: Hospital, viewer: Viewer) -> None:
    ward = hospital.make("ward-a")
    page = viewer.open(ward)
    show_code(page)
    back(page)
    with page.expect_response("**/v1/pairing") as closed:
        show_code(page)
        back(page)
    assert closed.value.ok
    page.wait_for_timeout(0)
    expect(region(page, "peers").get_by_text("A pairing code is shown until")).to_be_hidden()


@pytest.fixture
def known(hospital: Hospital) -> Pair:
    return ward_and_sender(hospital)


def test_key_words_are_compared_and_policies_changed(known: Pair, viewer: Viewer) -> None:
    ward, ct = known
    page = viewer.open(ward)
    other = viewer.open(ward)  # another person at the same workstation sees it too
    entry = region(page, "peers").locator('[data-peer="ct-room"]')
    expect(entry).to_contain_text("never; compare the key words")
    entry.get_by_role("button", name="Verify", exact=True).click()
    expect(dialog(page)).to_contain_text(ct.cli("id").ok().document["key_words"])
    expect(dialog(page)).to_contain_text(ward.cli("id").ok().document["key_words"])
    confirm(page, "Verify")
    for one in (page, other):
        line = region(one, "peers").locator('[data-peer="ct-room"]')
        expect(line).not_to_contain_text("never; compare the key words")
    assert ward.cli("peers", "show", "ct-room").ok().document["verified"]

    accept = entry.get_by_label("Offers (accept)")
    accept.select_option("block")
    expect(entry).to_contain_text("saved: accept=block")
    expect(
        region(other, "peers").locator('[data-peer="ct-room"]').get_by_label("Offers (accept)")
    ).to_have_value("block")
    entry.get_by_text("More settings").click()
    entry.get_by_label("Phone").fill("+49 123 456")
    entry.get_by_label("Largest offer taken without asking").fill("20 GB")
    entry.get_by_role("button", name="Save").click()
    expect(entry).to_contain_text("saved: max-bytes=20 GB, phone=+49 123 456")
    settings = ward.cli("peers", "show", "ct-room").ok().document["settings"]
    assert (settings["accept"], settings["phone"]) == ("block", "+49 123 456")

    viewer.faults.expect(400, 422)
    entry.get_by_label("Largest offer taken without asking").fill("a lot")
    entry.get_by_role("button", name="Save").click()
    expect(entry.get_by_role("alert")).to_contain_text("max-bytes")
    assert ward.cli("peers", "show", "ct-room").ok().document["settings"] == settings


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_what_becomes_of_a_setting_is_in_sight_of_it(
    known: Pair, viewer: Viewer, width: int
) -> None:
    """Also while "More settings" makes the form longer than the window."""
    ward, _ = known
    page = viewer.open(ward, width)
    page.set_viewport_size({"width": width, "height": 500})
    entry = region(page, "peers").locator('[data-peer="ct-room"]')
    entry.get_by_text("More settings").click()
    said = entry.locator(".policy-said")
    accept = entry.get_by_label("Offers (accept)")
    accept.evaluate("one => one.scrollIntoView({block: 'center'})")
    for value in ("auto", "ask"):
        accept.select_option(value)
        expect(said).to_have_text(f"saved: accept={value}")
        expect(said).to_be_in_viewport(ratio=0.9)
    entry.get_by_label("Once sealed (release)").select_option("folder")
    expect(said).to_contain_text("Not stored yet")
    expect(said).to_be_in_viewport(ratio=0.9)
    folder = entry.get_by_label("Folder on this workstation")
    expect(folder).to_be_focused()
    box, below = folder.bounding_box(), said.bounding_box()
    assert box is not None
    assert below is not None
    assert box["y"] + box["height"] <= below["y"]  # it covers nothing that has the focus


def test_a_choice_that_is_not_stored_says_so_and_falls_back(known: Pair, viewer: Viewer) -> None:
    """Once sealed "folder" is nothing yet, until there is a folder."""
    ward, _ = known
    page = viewer.open(ward)
    entry = region(page, "peers").locator('[data-peer="ct-room"]')
    release = entry.get_by_label("Once sealed (release)")
    folder = entry.get_by_label("Folder on this workstation")
    said = entry.locator(".policy-said > [role=status]")
    entry.get_by_label("Offers (accept)").select_option("auto")
    expect(said).to_have_text("saved: accept=auto")

    release.select_option("folder")
    expect(folder).to_be_focused()
    expect(said).to_have_text("Not stored yet: release is manual until a folder is set.")
    folder.fill("/srv/incoming")
    entry.locator("h3").click()
    expect(release).to_have_value("manual")
    expect(folder).to_be_hidden()
    expect(said).to_have_text("Not stored, for no folder was set: release is manual.")
    settings = ward.cli("peers", "show", "ct-room").ok().document["settings"]
    assert "release" not in settings

    release.select_option("folder")
    expect(folder).to_have_value("/srv/incoming")  # what was typed is not typed again
    entry.get_by_role("button", name="Set folder").click()
    expect(said).to_have_text("saved: release=folder:/srv/incoming")
    entry.locator("h3").click()
    expect(release).to_have_value("folder")
    expect(said).to_have_text("saved: release=folder:/srv/incoming")


def test_a_policy_of_the_command_line_is_shown_over_a_choice_that_is_not_stored(
    known: Pair, viewer: Viewer
) -> None:
    ward, _ = known
    page = viewer.open(ward)
    entry = region(page, "peers").locator('[data-peer="ct-room"]')
    release = entry.get_by_label("Once sealed (release)")
    folder = entry.get_by_label("Folder on this workstation")
    release.select_option("folder")
    folder.fill("/srv/mine")
    ward.cli("peers", "set", "ct-room", "release=folder:/srv/theirs").ok()
    expect(entry.locator(".policy-said > [role=status]")).to_have_text("")  # it is stored now
    expect(folder).to_have_value("/srv/mine")  # somebody types there
    entry.locator("h3").click()
    expect(release).to_have_value("folder")
    expect(folder).to_have_value("/srv/theirs")
    ward.cli("peers", "set", "ct-room", "release=manual").ok()
    expect(release).to_have_value("manual")
    expect(folder).to_be_hidden()
