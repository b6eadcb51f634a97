"""Somebody leaves a dialog while something is under way: what was done all the same is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from playwright.sync_api import Error, Locator, Page, Route, expect

from examples.study import make_study
from tests.browser.clicking import back, choose_files, confirm, dialog, look
from tests.browser.stations import Pair
from tests.browser.viewing import Viewer, region
from tests.e2e.harness import wait_until

pytestmark = pytest.mark.browser

_SAID = "queued before the dialog was closed: {} to ward-a; Cancel takes back what was queued"


@contextmanager
def held(page: Page, address: str, method: str) -> Iterator[list[Route]]:
    """Hold back requests until the end of the block; yields those that wait."""
    waiting: list[Route] = []
    over = threading.Event()

    def hold(route: Route) -> None:
        if route.request.method != method or over.is_set():
            route.continue_()
            return
        waiting.append(route)

    page.route(address, hold)
    yield waiting
    over.set()
    for route in waiting:
        with suppress(Error):  # the page has given it up
            route.continue_()


def arrived(page: Page, waiting: list[Route]) -> None:
    """Wait until a request is held back."""
    for _ in range(200):
        if waiting:
            return
        page.wait_for_timeout(50)
    raise AssertionError("nothing was asked")


def two_patients(page: Page, folder: Path) -> Locator:
    """Come to the last step of a send that is split by patient; all is typed."""
    make_study(folder / "a", 2, edge=128)
    make_study(folder / "b", 2, edge=128, patient_name="BERG^OTTO", patient_id="MRN-7", seed="2")
    choose_files(page, "ward-a", folder)
    form = dialog(page)
    form.get_by_text("Options").click()
    form.get_by_label("Split by patient").check()
    look(page)
    typed = form.get_by_label("Type the birth year")
    typed.nth(0).fill("2117")
    typed.nth(1).fill("MRN-7")
    return form


def heard(page: Page) -> Locator:
    return page.locator("#live-polite")


@pytest.fixture(autouse=True)
def sender_confirms(pair: Pair) -> Iterator[None]:
    """As people do; what was queued is cancelled afterwards."""
    _, sender = pair
    sender.cli("peers", "set", "ward-a", "confirm=typed").ok()
    yield
    for row in sender.rows("outbox"):
        if row["state"] not in ("cancelled", "failed"):
            sender.cli("outbox", "cancel", row["id"])


def test_what_was_queued_when_somebody_goes_back_is_told(
    pair: Pair, viewer: Viewer, study: Path
) -> None:
    _, sender = pair
    before = len(sender.rows("outbox"))
    page = viewer.open(sender)
    choose_files(page, "ward-a", study)
    form = look(page)
    form.get_by_label("Type the birth year").fill("2117")
    with held(page, "**/v1/transfers", "POST") as waiting:
        form.get_by_role("button", name="Send", exact=True).click()
        arrived(page, waiting)
        expect(form.get_by_role("button", name="Change selection")).to_be_disabled()
        back(page)
    said = _SAID.format("1 transfer")
    expect(heard(page)).to_have_text(said)
    expect(region(page, "send")).to_contain_text(said)
    assert len(sender.rows("outbox")) == before + 1
    region(page, "send").get_by_role("button", name="Send", exact=True).click()
    expect(region(page, "send")).not_to_contain_text(said)
    back(page)


def test_back_stops_the_parts_that_were_not_asked_for(
    pair: Pair, viewer: Viewer, tmp_path: Path
) -> None:
    _, sender = pair
    before = len(sender.rows("outbox"))
    page = viewer.open(sender)
    form = two_patients(page, tmp_path / "both")
    with held(page, "**/v1/transfers", "POST") as waiting:
        form.get_by_role("button", name="Send", exact=True).click()
        arrived(page, waiting)
        back(page)
    expect(heard(page)).to_have_text(_SAID.format("1 of 2 transfers"))
    page.wait_for_timeout(1000)
    assert len(sender.rows("outbox")) == before + 1


def test_back_before_anything_is_asked_for_queues_nothing(
    pair: Pair, viewer: Viewer, tmp_path: Path
) -> None:
    """While the parts are checked only."""
    _, sender = pair
    before = len(sender.rows("outbox"))
    page = viewer.open(sender)
    form = two_patients(page, tmp_path / "both")
    said = heard(page).inner_text()
    asked: list[str] = []
    with held(page, "**/v1/scans/*/check", "POST") as waiting:
        form.get_by_role("button", name="Send", exact=True).click()
        arrived(page, waiting)
        page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
        back(page)
    page.wait_for_timeout(1000)
    assert not [one for one in asked if one.startswith("POST") and "alive" not in one]
    assert len(sender.rows("outbox")) == before
    assert heard(page).inner_text() == said


def test_a_send_that_is_refused_after_somebody_went_back_says_so(
    pair: Pair, viewer: Viewer, study: Path
) -> None:
    _, sender = pair
    viewer.faults.expect(409)
    page = viewer.open(sender)
    choose_files(page, "ward-a", study)
    form = look(page)
    form.get_by_label("Type the birth year").fill("9999")
    with held(page, "**/v1/transfers", "POST") as waiting:
        form.get_by_role("button", name="Send", exact=True).click()
        arrived(page, waiting)
        back(page)
    expect(region(page, "send").get_by_role("alert")).to_contain_text("not confirmed")


def test_what_a_failed_send_has_queued_is_told(pair: Pair, viewer: Viewer, tmp_path: Path) -> None:
    """The first part is queued and the second is not; somebody gives up."""
    _, sender = pair
    page = viewer.open(sender)
    viewer.faults.expect(503)
    form = two_patients(page, tmp_path / "both")
    asked: list[Route] = []

    def fail_second(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.continue_()
        else:
            route.fulfill(status=503, json={"error": {"code": "busy", "text": "not now"}})

    page.route("**/v1/transfers", fail_second)
    form.get_by_role("button", name="Send", exact=True).click()
    expect(form.locator("form > .error")).to_contain_text("not now")
    back(page)
    said = _SAID.format("1 of 2 transfers")
    expect(heard(page)).to_have_text(said)
    expect(region(page, "send")).to_contain_text(said)
    wait_until(lambda: len(asked) == 2)


def open_code(page: Page) -> None:
    region(page, "peers").get_by_role("button", name="Pair", exact=True).click()
    expect(dialog(page).locator(".pair-code")).not_to_be_empty()


def pairing_state(page: Page) -> str:
    """Ask the daemon, in the session of the page."""
    ask = """async () => {
      const { api } = await import("/static/api.js");
      return (await api.get("/v1/pairing")).state;
    }"""
    return str(page.evaluate(ask))


@pytest.mark.parametrize("leave", ["Back", "Close pairing"])
def test_a_code_that_cannot_be_taken_back_is_told(pair: Pair, viewer: Viewer, leave: str) -> None:
    ward, _ = pair
    viewer.faults.expect(503)
    page = viewer.open(ward)
    failing = [True, True]

    def fail(route: Route) -> None:
        if route.request.method == "DELETE" and failing:
            failing.pop()
            route.fulfill(status=503, json={"error": {"code": "busy", "text": "not now"}})
        else:
            route.continue_()

    page.route("**/v1/pairing", fail)
    open_code(page)
    if leave == "Back":
        dialog(page).get_by_role("button", name="Back", exact=True).click()
    else:
        page.reload()
        region(page, "peers").get_by_role("button", name="Close pairing").click()
    form = dialog(page)
    expect(form).to_contain_text("The code is still valid")
    expect(form).to_contain_text("could not be taken back: not now")
    assert pairing_state(page) == "open"
    form.get_by_role("button", name="Take it back").click()
    expect(form.locator("form > .error")).to_contain_text("not now")
    confirm(page, "Take it back")
    assert pairing_state(page) == "closed"
    expect(region(page, "peers").get_by_text("A pairing code is shown until")).to_be_hidden()


def test_a_code_that_comes_after_somebody_went_back_is_taken_back(
    pair: Pair, viewer: Viewer
) -> None:
    ward, _ = pair
    page = viewer.open(ward)
    with held(page, "**/v1/pairing", "POST") as waiting:
        region(page, "peers").get_by_role("button", name="Pair", exact=True).click()
        arrived(page, waiting)
        back(page)
        with page.expect_response(lambda one: one.request.method == "DELETE") as closed:
            waiting.pop().continue_()
    assert closed.value.ok
    assert pairing_state(page) == "closed"
