"""What comes at the wrong moment: a second click, a held key, an old tab, a lost daemon."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Locator, Page, expect

from examples.study import make_study
from tests.browser.clicking import back, confirm, dialog, press, sees_state
from tests.browser.viewing import NARROW, Viewer, card, region, web_address
from tests.e2e.harness import Hospital, Workstation, introduce

pytestmark = pytest.mark.browser

_PATIENT = "ROENTGEN"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "CT CHEST"
    make_study(folder, 3, edge=128)
    return folder


@pytest.fixture(scope="module")
def pair(shared_hospital: Hospital) -> tuple[Workstation, Workstation]:
    ward, sender = shared_hospital.make("ward-a"), shared_hospital.make("ct-room")
    introduce(sender, ward)
    introduce(ward, sender, accept="ask")
    return ward, sender


def offer(pair: tuple[Workstation, Workstation], study: Path) -> str:
    ward, sender = pair
    transfer = sender.send("ward-a", study)
    ward.wait_state("inbox", transfer, "offered")
    return transfer


def button(page: Page, transfer: str, verb: str, where: str) -> Locator:
    return card(page, transfer, where).get_by_role("button", name=verb, exact=True)


def hold_enter(page: Page, count: int = 10) -> None:
    """Press Enter and hold it, as a keyboard repeats it."""
    keys: CDPSession = page.context.new_cdp_session(page)
    key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
    for number in range(count):
        keys.send("Input.dispatchKeyEvent", {"type": "keyDown", "autoRepeat": number > 0, **key})
        page.wait_for_timeout(40)  # as fast as a keyboard does
    keys.send("Input.dispatchKeyEvent", {"type": "keyUp", **key})


@pytest.mark.parametrize(
    ("verb", "side", "where"),
    [("Decline", 0, "waiting"), ("Cancel", 1, "active"), ("Accept", 0, "waiting")],
)
def test_a_held_key_decides_nothing_in_a_dialog(
    pair: tuple[Workstation, Workstation],
    viewer: Viewer,
    study: Path,
    verb: str,
    side: int,
    where: str,
) -> None:
    transfer = offer(pair, study)
    page = viewer.open(pair[side])
    button(page, transfer, verb, where).focus()
    hold_enter(page)
    if verb == "Accept":
        sees_state(page, transfer, "inbox", "sealed")
        return
    expect(dialog(page)).to_be_visible()
    assert pair[side].row(("inbox", "outbox")[side], transfer)["state"] == "offered"
    back(page)
    press(page, transfer, verb, where)
    confirm(page, verb)


def test_the_second_click_of_two_meets_no_button_of_a_dialog(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path
) -> None:
    """Wherever the dialog comes up: its buttons are not there to be clicked yet."""
    ward, _ = pair
    transfer = offer(pair, study)
    page = viewer.open(ward, NARROW)
    button(page, transfer, "Decline", "waiting").click()
    verb = dialog(page).get_by_role("button", name="Decline", exact=True)
    hit = verb.evaluate(
        """one => {
          const { left, top, width, height } = one.getBoundingClientRect();
          return document.elementFromPoint(left + width / 2, top + height / 2) === one;
        }"""
    )
    assert not hit
    confirm(page, "Decline")  # a moment later they are
    ward.wait_state("inbox", transfer, "declined")


def test_an_old_tab_does_not_end_a_new_session(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path
) -> None:
    """A tab that the browser had put to sleep hears late that its session is over, and says so."""
    ward, _ = pair
    offer(pair, study)
    context = viewer.context()
    viewer.faults.expect(401)
    page, old = viewer.tab(context, ward), viewer.tab(context, ward)
    named = "() => sessionStorage.getItem('medp2p-session')"
    over = page.evaluate(named)
    assert over == old.evaluate(named)
    page.get_by_role("button", name="End session").click()
    for tab in (page, old):
        expect(tab.locator("#closed")).to_be_visible()
    page.goto(web_address(ward))
    expect(region(page, "waiting")).to_contain_text(_PATIENT)

    say_ended = """(name) => {
      const channel = new BroadcastChannel(`medp2p-events-${name}`);
      channel.postMessage({ ended: "left" });
      channel.close();
    }"""
    old.evaluate(say_ended, over)
    later = offer(pair, study)
    sees_state(page, later, "waiting", "offered")
    expect(region(page, "waiting")).to_contain_text(_PATIENT)
    old.evaluate(say_ended, page.evaluate(named))  # that is how it would have been heard
    expect(page.locator("#closed")).to_be_visible()


def test_a_daemon_that_has_gone_is_not_shown_as_live(hospital: Hospital, viewer: Viewer) -> None:
    ward = hospital.make("ward-b")
    page = viewer.open(ward)
    viewer.faults.expect(401, outages=True)
    expect(page.locator("#banner-state")).to_have_text("online")
    ward.kill()
    state = page.locator("#banner-state")
    expect(state).to_contain_text("connection lost")
    expect(state).to_contain_text("Shown is what was known at ")
    expect(page.locator("#page")).to_have_attribute("data-connection", "lost")
    told = state.inner_text()
    page.wait_for_timeout(1500)  # tries go on meanwhile
    assert state.inner_text() == told  # the time is that of the loss


def serve(page: Page, change: Any) -> None:
    """Let the page see a changed overview."""

    def answer(route: Any) -> None:
        overview = route.fetch().json()
        change(overview)
        route.fulfill(status=200, content_type="application/json", body=json.dumps(overview))

    page.route("**/v1/overview*", answer)


def waits(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:026}".translate(str.maketrans("0189", "abcd")),
        "direction": "in",
        "peer": "ct-room",
        "state": "sealed",
        "why": "release",
        "reason": None,
        "held": None,
        "priority": "routine",
        "files": 1,
        "entries": 1,
        "skipped": 0,
        "bytes": 1,
        "bytes_done": 1,
        "created": f"2026-11-25T10:{number // 60:02}:{number % 60:02}Z",
        "error": None,
        "label": None,
        **more,
    }


def test_many_that_wait_are_counted_and_shown_in_portions(
    hospital: Hospital, viewer: Viewer
) -> None:
    ward = hospital.make("ward-b")
    rows = [waits(number) for number in range(100)]
    rows[77] |= {"priority": "stat"}
    rows[88] |= {"state": "offered", "why": "decide"}

    def change(overview: dict[str, Any]) -> None:
        overview["waiting"] = rows
        overview["totals"] = {"in": 5000, "out": 0, "waiting": 1234}

    page = viewer.context().new_page()
    viewer.faults.watch(page, web_address(ward).partition("/#")[0])
    serve(page, change)
    page.goto(web_address(ward))
    shown = region(page, "waiting").locator("[data-transfer]")
    expect(shown).to_have_count(20)
    first = [shown.nth(number).get_attribute("data-transfer") for number in range(2)]
    assert first == [rows[77]["id"], rows[88]["id"]]
    expect(page.locator("#banner-waiting")).to_have_text("1,234 wait for you")
    assert page.title().startswith("(1234) ")
    expect(region(page, "waiting")).to_contain_text("1,134 more wait than are listed here")
    region(page, "waiting").get_by_role("button", name="More").click()
    expect(shown).to_have_count(40)


def test_an_alarm_says_whom_it_is_about_in_words_of_the_page(
    hospital: Hospital, viewer: Viewer
) -> None:
    ward = hospital.make("ward-b")
    about = {"time": "2026-11-25T10:00:00Z", "count": 1, "acknowledged": False, "peer": "ct-room"}
    alarms = [
        {"id": 2, "kind": "key-change", "text": "its signing key differs", **about},
        {
            "id": 1,
            "kind": "destroy-asked",
            "text": "transfer abcdefgh was taken back after its release: destroy all copies, then "
            "answer `medp2p inbox answer abcdefgh --destroyed`, or --kept",
            **about,
        },
    ]
    page = viewer.context().new_page()
    viewer.faults.watch(page, web_address(ward).partition("/#")[0])
    serve(page, lambda overview: overview.update(alarms=alarms))
    page.goto(web_address(ward))
    key, asked = (region(page, "alarms").locator(f'[data-alarm="{number}"]') for number in (2, 1))
    expect(key).to_contain_text("ct-room: its signing key differs")
    expect(key).to_contain_text("Do not send to it")
    expect(asked).to_contain_text("then answer")
    expect(asked).not_to_contain_text("--")


def test_many_sentences_become_one(hospital: Hospital, viewer: Viewer) -> None:
    """A hundred transfers that turn at once are not read out one by one."""
    page = viewer.open(hospital.make("ward-b"))
    said: list[str] = page.evaluate(
        """async () => {
          const { say } = await import("/static/say.js");
          const heard = [];
          const place = document.getElementById("live-polite");
          const hear = new MutationObserver(() => heard.push(place.textContent));
          hear.observe(place, { childList: true });
          for (let number = 0; number < 100; number += 1) say.politely(`change ${number}`);
          await new Promise((resolve) => setTimeout(resolve, 3500));
          return heard;
        }"""
    )
    assert said == ["change 0", "change 99, and 98 more changes"]
