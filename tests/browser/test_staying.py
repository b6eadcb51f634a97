"""A session from its first click to its end: reloads, many tabs, lost connections, nobody there."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from examples.forwarder import Forwarder
from tests.browser.clicking import press, sees_state
from tests.browser.stations import Pair, know, offer
from tests.browser.viewing import Viewer, card, picture, ready, region, web_address
from tests.browser.wire import wire_of
from tests.e2e.harness import Hospital, Workstation, wait_until

pytestmark = pytest.mark.browser

_PATIENT = "ROENTGEN"


@pytest.fixture(scope="module")
def pair(pair: Pair, study: Path) -> Pair:
    """With an offer that waits."""
    offer(pair, study)
    return pair


def shows_data(page: Page) -> None:
    expect(region(page, "waiting")).to_contain_text(_PATIENT)


def shows_nothing(page: Page, *told: str) -> None:
    """Wait for the closed page; nothing of what was there may be left in it."""
    closed = page.locator("#closed")
    expect(closed).to_be_visible()
    expect(closed).to_contain_text("medp2p web")
    for text in told:
        expect(closed).to_contain_text(text)
    whole = page.evaluate(
        """() => [document.documentElement.outerHTML, document.title, JSON.stringify(history.state),
          JSON.stringify({...sessionStorage}), JSON.stringify({...localStorage})].join("\\n")"""
    )
    for secret in (_PATIENT, "MRN-0042117", "ct-room", "medp2p-secret"):
        assert secret not in whole


@pytest.fixture(scope="module", autouse=True)
def left_alone(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, study: Path
) -> Iterator[tuple[Page, float]]:
    """A page that nobody touches, opened before all tests here, and when that was."""
    hospital = Hospital(tmp_path_factory.mktemp("idle"))
    viewer = Viewer(browser)
    try:
        ward, sender = hospital.make("ward-a", start=False), hospital.make("ct-room")
        (ward.home / "config.toml").write_text('page-idle = "1 minute"\n')
        ward.start()
        know(ward, sender)
        offer((ward, sender), study)
        page = viewer.open(ward)
        shows_data(page)
        yield page, time.monotonic()
        viewer.close()
    finally:
        hospital.close()


def test_the_token_is_gone_at_once(pair: Pair, viewer: Viewer) -> None:
    """Neither in the address nor in the history, and no request has carried it."""
    ward, _ = pair
    address = web_address(ward)
    origin, _, token = address.partition("/#")
    page = viewer.context().new_page()
    viewer.faults.watch(page, origin)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.url} {request.headers}"))
    page.goto(address)
    ready(page)
    assert page.url == origin + "/"
    assert page.evaluate("() => history.length") <= 2
    assert not [line for line in asked if token in line]
    kept = page.evaluate("() => JSON.stringify([{...sessionStorage}, {...localStorage}])")
    assert token not in kept
    cookies = page.evaluate("() => document.cookie")
    assert cookies == ""  # HttpOnly


def test_a_reload_goes_on(pair: Pair, viewer: Viewer) -> None:
    ward, _ = pair
    page = viewer.open(ward)
    shows_data(page)
    for _ in range(3):
        page.reload()
        shows_data(page)
    expect(page.locator("#banner-state")).to_have_text("online")


def test_an_address_without_a_token_shows_nothing(pair: Pair, viewer: Viewer) -> None:
    """In a fresh browser, and in another tab of one that has a session."""
    ward, _ = pair
    open_one = viewer.open(ward)
    origin = open_one.url.rstrip("/")
    viewer.faults.expect(403)
    for context in (viewer.context(), open_one.context):
        page = context.new_page()
        viewer.faults.watch(page, origin)
        page.goto(origin + "/")
        shows_nothing(page, "nothing without a session")
        page.goto(origin + "/#" + "x" * 43)
        shows_nothing(page, "used already, or is too old")
    picture(page, "closed")
    shows_data(open_one)


def test_seven_tabs_are_all_live(pair: Pair, viewer: Viewer, study: Path) -> None:
    """A browser opens six connections to an address; one tab reads the events for all."""
    ward, _ = pair
    context = viewer.context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    tabs = [viewer.tab(context, ward) for _ in range(7)]
    transfer = offer(pair, study)
    for tab in tabs:
        sees_state(tab, transfer, "waiting", "offered")
    reading = [url for url in asked if url.endswith("/v1/events")]
    assert len(reading) == 1

    tabs[0].close()  # it was the one that read
    press(tabs[3], transfer, "Accept", "waiting")
    for tab in tabs[1:]:
        sees_state(tab, transfer, "inbox", "sealed")
        expect(tab.locator("#banner-state")).to_have_text("online")
    assert len([url for url in asked if url.endswith("/v1/events")]) == 2


def test_the_end_of_a_session_closes_every_tab(pair: Pair, viewer: Viewer) -> None:
    ward, _ = pair
    viewer.faults.expect(401)
    context = viewer.context()
    tabs = [viewer.tab(context, ward) for _ in range(3)]
    other = viewer.open(ward)  # another browser goes on
    for tab in tabs:
        shows_data(tab)
    (cookie,) = context.cookies()
    secret = tabs[1].evaluate("() => sessionStorage.getItem('medp2p-secret')")
    tabs[1].get_by_role("button", name="End session").click()
    for tab in tabs:
        shows_nothing(tab)
    picture(tabs[0], "session-ended")
    wire = wire_of(ward)
    headers = [
        *wire.usual,
        ("Cookie", f"{cookie['name']}={cookie['value']}"),
        ("X-Medp2p-Session", secret),
    ]
    wait_until(lambda: wire.ask("GET", "/v1/status", headers).status == 401)
    shows_data(other)
    tabs[2].reload()
    shows_nothing(tabs[2])


def test_a_dialog_is_gone_with_the_session(pair: Pair, viewer: Viewer) -> None:
    ward, _ = pair
    viewer.faults.expect(401)  # a sign of life that came too late
    context = viewer.context()
    one, other = viewer.tab(context, ward), viewer.tab(context, ward)
    shows_data(one)
    region(one, "waiting").get_by_role("button", name="Decline").first.click()
    expect(one.locator("dialog[open]")).to_contain_text(_PATIENT)
    other.get_by_role("button", name="End session").click()
    shows_nothing(one)
    expect(one.locator("dialog")).to_have_count(0)


def test_a_new_address_goes_on_in_the_same_tab(pair: Pair, viewer: Viewer) -> None:
    ward, _ = pair
    page = viewer.open(ward)
    page.get_by_role("button", name="End session").click()
    shows_nothing(page)
    page.goto(web_address(ward))
    shows_data(page)


def tunnelled(viewer: Viewer, ward: Workstation, tunnel: Forwarder) -> Page:
    """Open the page through another port, as an ssh tunnel does."""
    token = web_address(ward).partition("#")[2]
    page = viewer.context().new_page()
    viewer.faults.watch(page, f"http://{tunnel.address}")
    page.goto(f"http://{tunnel.address}/#{token}")
    ready(page)
    return page


def test_a_lost_connection_comes_back_by_itself(pair: Pair, viewer: Viewer, study: Path) -> None:
    ward, _ = pair
    with Forwarder(("127.0.0.1", wire_of(ward).port)) as tunnel:
        page = tunnelled(viewer, ward, tunnel)
        viewer.faults.expect(outages=True)
        shows_data(page)
        tunnel.down()
        expect(page.locator("#banner-state")).to_contain_text("connection lost")
        picture(page, "connection-lost")
        transfer = offer(pair, study)
        tunnel.up()
        expect(page.locator("#banner-state")).to_have_text("online")
        sees_state(page, transfer, "waiting", "offered")
        press(page, transfer, "Decline", "waiting")
        page.locator("dialog[open]").get_by_role("button", name="Decline", exact=True).click()
        sees_state(page, transfer, "inbox", "declined")
        page.context.close()


def test_the_end_of_the_daemon_closes_the_page(
    hospital: Hospital, viewer: Viewer, study: Path
) -> None:
    ward, sender = hospital.make("ward-b"), hospital.make("ct-room")
    know(ward, sender)
    offer((ward, sender), study)
    viewer.faults.expect(401, outages=True)
    page = viewer.open(ward)
    shows_data(page)
    ward.stop()
    shows_nothing(page)

    ward.start()
    page = viewer.open(ward)
    shows_data(page)
    ward.kill()  # it could say nothing any more
    expect(page.locator("#banner-state")).to_contain_text("connection lost")
    ward.start()
    shows_data(viewer.open(ward))


def with_own_clock(pair: Pair, viewer: Viewer) -> Page:
    """Return an open page whose clock can be moved, and whose session may end."""
    ward, _ = pair
    context: BrowserContext = viewer.context()
    context.clock.install()
    viewer.faults.expect(401)
    page = viewer.tab(context, ward)
    shows_data(page)
    return page


def idle_for(page: Page, seconds: int) -> None:
    page.clock.fast_forward(seconds * 1000)


def test_nobody_there_hides_everything_at_once(pair: Pair, viewer: Viewer) -> None:
    """By the page's own clock, though events go on coming; a key or the mouse counts."""
    page = with_own_clock(pair, viewer)
    idle_for(page, 9 * 60)
    page.mouse.move(100, 100)
    page.mouse.move(120, 120)
    idle_for(page, 9 * 60)
    page.keyboard.press("Shift")
    idle_for(page, 9 * 60)
    shows_data(page)
    idle_for(page, 61)
    shows_nothing(page, "nobody used it")
    picture(page, "closed-idle")


def test_only_a_person_keeps_it_open(pair: Pair, viewer: Viewer) -> None:
    """Not the daemon, whose answer to the last sign of life may be late."""
    page = with_own_clock(pair, viewer)
    held: list[Route] = []
    page.route("**/session/alive", lambda route: held.append(route))
    with page.expect_request("**/session/alive"):
        page.keyboard.press("Shift")
    idle_for(page, 30)
    with page.expect_response("**/session/alive"):
        held[0].continue_()
    idle_for(page, 10 * 60 - 28)
    expect(page.locator("#closed")).to_be_visible(timeout=12_000)  # and not half a minute later


def test_the_daemon_ends_what_nobody_uses(left_alone: tuple[Page, float]) -> None:
    """In earnest: a minute without anybody, while events and ticks went on."""
    page, since = left_alone
    wait_until(lambda: page.locator("#closed").is_visible(), seconds=90)
    assert time.monotonic() - since > 55
    shows_nothing(page, "nobody used it")


def test_cards_are_kept_while_the_page_is_patched(pair: Pair, viewer: Viewer, study: Path) -> None:
    """An element that somebody may be clicking on is never replaced by an event."""
    ward, _ = pair
    first = offer(pair, study)
    page = viewer.open(ward)
    mark = "one => { one.dataset.mark = 'kept' }"
    card(page, first, "waiting").evaluate(mark)
    button = card(page, first, "waiting").get_by_role("button", name="Accept", exact=True)
    button.focus()
    second = offer(pair, study)
    sees_state(page, second, "waiting", "offered")
    expect(card(page, first, "waiting")).to_have_attribute("data-mark", "kept")
    expect(button).to_be_focused()
