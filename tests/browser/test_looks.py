"""Every state of the page: no serious fault for anybody who reads, hears or steers it."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from examples.forwarder import Forwarder
from examples.study import make_study
from medp2p import limits
from tests.browser.audit import empty_boxes, look_at, violations
from tests.browser.clicking import back, choose_files, confirm, dialog, look, press, sees_state
from tests.browser.stations import Pair, offer
from tests.browser.viewing import NARROW, Viewer, card, picture, region
from tests.e2e.harness import Hospital, introduce

pytestmark = pytest.mark.browser


def test_the_check_can_fail(viewer: Viewer) -> None:
    page = viewer.context().new_page()
    page.set_content("<html><body><img src='data:,'><button></button></body></html>")
    assert {one["rule"] for one in violations(page)} >= {"image-alt", "button-name"}
    page.set_content("<p style='padding: 5px; background: orange'></p><p>text</p><p></p>")
    assert len(empty_boxes(page)) == 1


def test_nothing_there_yet(hospital: Hospital, viewer: Viewer) -> None:
    """Empty states tell what to do next."""
    page = viewer.open(hospital.make("ward-a"))
    for name, words in (
        ("waiting", "What others send appears here"),
        ("active", "Nothing is under way"),
        ("inbox", "Nothing has come yet"),
        ("outbox", "Nothing was sent yet"),
        ("peers", "Pair shows a code"),
        ("send", "pair one first"),
    ):
        expect(region(page, name)).to_contain_text(words)
    look_at(page, "empty")
    region(page, "peers").get_by_role("button", name="Pair", exact=True).click()
    expect(dialog(page).locator(".pair-code")).not_to_be_empty()
    look_at(page, "pairing")
    back(page)
    region(page, "peers").get_by_role("button", name="Join", exact=True).click()
    look_at(page, "joining")
    back(page)
    page.get_by_role("button", name="End session").click()
    expect(page.locator("#closed")).to_be_visible()
    look_at(page, "session-over")


def test_the_receiver(pair: Pair, viewer: Viewer, study: Path, tmp_path: Path) -> None:
    ward, ct = pair
    page = viewer.open(ward)
    transfer = offer((ward, ct), study, "--priority", "stat", "--note", "please look today")
    sees_state(page, transfer, "waiting", "offered")
    look_at(page, "offer")
    press(page, transfer, "Decline", "waiting")
    look_at(page, "decline")
    back(page)
    press(page, transfer, "Show", "waiting")
    dialog(page).get_by_text("Files", exact=True).click()
    look_at(page, "details")
    back(page)
    press(page, transfer, "Accept", "waiting")
    sees_state(page, transfer, "inbox", "sealed")
    look_at(page, "sealed")
    press(page, transfer, "Release", "waiting")
    dialog(page).get_by_text("Expected patient, time limit").click()
    dialog(page).get_by_role("button", name="Browse").click()
    look_at(page, "release")
    dialog(page).get_by_label("Folder", exact=True).fill(str(tmp_path / "reading"))
    confirm(page, "Release")
    sees_state(page, transfer, "inbox", "released")
    press(page, transfer, "Preview", "inbox")
    expect(dialog(page).locator("figure img").first).to_be_visible()
    look_at(page, "preview")
    back(page)
    look_at(page, "released")


def test_the_sender(hospital: Hospital, viewer: Viewer, study: Path, tmp_path: Path) -> None:
    ward, ct = hospital.make("ward-a"), hospital.make("ct-room")
    with Forwarder(("127.0.0.1", ward.port)) as link:
        introduce(ct, ward, accept="ask", confirm="typed", address=link.address)
        introduce(ward, ct)
        page = viewer.open(ct)
        choose_files(page, "ward-a", study)
        dialog(page).get_by_text("Options", exact=True).click()
        look_at(page, "send-selection")
        look(page)
        look_at(page, "send-confirmation")
        back(page)
        region(page, "peers").get_by_text("More settings").click()
        look_at(page, "peer-settings")
        slide = tmp_path / "slide.bin"
        with slide.open("wb") as file:
            file.truncate(1000 * limits.MIB)  # never sent as a whole here
        ct.cli("peers", "set", "ward-a", "confirm=none").ok()
        link.pace(4 * limits.MIB)
        transfer = ct.send("ward-a", slide, "--no-patient-data")
        sees_state(page, transfer, "active", "sending")
        expect(card(page, transfer, "active").locator(".progress-pace")).to_contain_text("MB/s")
        look_at(page, "sending")
        press(page, transfer, "Cancel", "active")
        look_at(page, "cancel")
        back(page)
        link.down()
        sees_state(page, transfer, "active", "waiting")
        expect(card(page, transfer, "active").locator(".reason")).to_contain_text("since")
        look_at(page, "waiting-for-the-peer")
        press(page, transfer, "Cancel", "active")
        confirm(page, "Cancel")
        sees_state(page, transfer, "outbox", "cancelled")


def focused(page: Page) -> str:
    """Return what has the focus: its words, or the label of a field."""
    return str(
        page.evaluate(
            """() => {
              const one = document.activeElement;
              const label = one.getAttribute('aria-label') || one.labels?.[0]?.textContent;
              return label || one.textContent;
            }"""
        )
    ).strip()


def tab_to(page: Page, name: str, *, most: int = 60) -> None:
    """Press Tab until something of this name has the focus; each stop must be visible."""
    for _ in range(most):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            """() => {
              const seen = getComputedStyle(document.activeElement);
              return [seen.outlineStyle !== 'none' && parseFloat(seen.outlineWidth) > 0,
                      seen.boxShadow !== 'none'];
            }"""
        )
        assert any(outline), f"the focus on {focused(page)!r} cannot be seen"
        if focused(page) == name:
            return
    pytest.fail(f"{most} times Tab do not lead to {name!r}; now at {focused(page)!r}")


@pytest.mark.parametrize("width", [1600, NARROW])
def test_by_keyboard_alone(
    pair: Pair,
    viewer: Viewer,
    study: Path,
    tmp_path: Path,
    width: int,
) -> None:
    """From the top of the page to the released folder, with Tab, Enter and a path typed."""
    ward, ct = pair
    transfer = offer((ward, ct), study)
    page = viewer.open(ward, width)
    sees_state(page, transfer, "waiting", "offered")
    tab_to(page, "Skip to what waits for you")
    page.keyboard.press("Enter")
    tab_to(page, "Decline", most=8)
    page.keyboard.press("Enter")
    expect(dialog(page)).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    assert focused(page) == "Decline"  # back where it came from
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "Accept"
    page.keyboard.press("Enter")
    sees_state(page, transfer, "inbox", "sealed")
    sees_state(page, transfer, "waiting", "sealed")

    tab_to(page, "Release")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_be_visible()
    assert focused(page) == "Folder"
    page.keyboard.type(str(tmp_path / "reading"))
    tab_to(page, "Release", most=8)
    page.keyboard.press("Enter")
    sees_state(page, transfer, "inbox", "released")
    # The focus never leaves an open dialog, and is somewhere sensible after it.
    assert page.evaluate("() => document.activeElement !== document.body")


def in_sight(page: Page, transfer: str, verb: str) -> bool:
    """Whether a button of a waiting card can be clicked without any scrolling."""
    button = card(page, transfer, "waiting").get_by_role("button", name=verb, exact=True)
    box = button.bounding_box()
    size = page.viewport_size
    assert box is not None
    assert size is not None
    assert page.evaluate("() => window.scrollY + window.scrollX") == 0
    inside = box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
    return inside and box["y"] + box["height"] <= size["height"]


@pytest.mark.parametrize("width", [1600, NARROW])
def test_what_waits_is_in_sight_at_once(
    pair: Pair, viewer: Viewer, tmp_path: Path, width: int
) -> None:
    """Without tab, menu or scrolling, also with many studies and a long note."""
    ward, ct = pair
    for number in range(8):
        make_study(tmp_path / "many" / str(number), 6, edge=128, seed=str(number))
    transfer = offer((ward, ct), tmp_path / "many", "--note", "a long note " * 60)
    page = viewer.open(ward, width)
    sees_state(page, transfer, "waiting", "offered")
    picture(page, "first-sight", whole=False)
    for verb in ("Accept", "Decline"):
        assert in_sight(page, transfer, verb), verb
    ward.cli("inbox", "decline", transfer).ok()


def test_words_of_decisions_belong_to_decisions(pair: Pair, viewer: Viewer, study: Path) -> None:
    """No other button's name contains them; several cards are told apart by their description."""
    ward, ct = pair
    first, second = offer((ward, ct), study), offer((ward, ct), study)
    page = viewer.open(ward)
    for transfer in (first, second):
        sees_state(page, transfer, "waiting", "offered")
    names = page.get_by_role("button").evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label') || one.textContent)"
    )
    for verb in ("accept", "decline", "release", "recall"):
        bearing = {name for name in names if verb in name.lower()}
        assert bearing <= {verb.capitalize()}, bearing
    accepts = page.get_by_role("button", name="Accept", exact=True)
    expect(accepts).to_have_count(2)
    told = {
        accepts.nth(number).evaluate(
            "one => one.getAttribute('aria-describedby').split(' ')"
            ".map(id => document.getElementById(id).textContent).join(' ')"
        )
        for number in range(2)
    }
    assert all("ROENTGEN" in text and "ct-room" in text for text in told)
    for transfer in (first, second):
        ward.cli("inbox", "decline", transfer).ok()


def test_nothing_moves_for_who_wants_it_so(pair: Pair, viewer: Viewer, study: Path) -> None:
    ward, ct = pair
    page = viewer.open(ward, reduced_motion="reduce")
    transfer = offer((ward, ct), study)
    sees_state(page, transfer, "waiting", "offered")
    press(page, transfer, "Decline", "waiting")
    running = "() => document.getAnimations().filter(one => one.playState === 'running').length"
    assert page.evaluate(running) == 0
    ward.cli("inbox", "decline", transfer).ok()
