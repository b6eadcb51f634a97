"""What comes at the wrong moment: a second click, a held key, an old tab, a lost daemon."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from playwright.sync_api import CDPSession, Error, Locator, Page, expect

from examples.study import make_study
from tests.browser.clicking import back, confirm, dialog, press, sees_state
from tests.browser.stations import Pair, offer
from tests.browser.viewing import NARROW, Viewer, card, picture, ready, region, web_address
from tests.browser.wire import wire_of
from tests.e2e.harness import Hospital, wait_until

pytestmark = pytest.mark.browser

_PATIENT = "ROENTGEN"


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
    pair: Pair,
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
    pair: Pair, viewer: Viewer, study: Path
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


@pytest.fixture
def target(pair: Pair, tmp_path: Path) -> Iterator[None]:
    """A place to release into, so that there is a choice beside Accept."""
    pair[0].cli("targets", "add", "pacs", f"folder:{tmp_path}").ok()
    yield
    pair[0].cli("targets", "remove", "pacs").ok()


@pytest.mark.usefixtures("target")
def test_what_has_the_focus_is_not_covered(pair: Pair, viewer: Viewer, study: Path) -> None:
    """The buttons of a card stay at the lower edge, over other controls."""
    ward, _ = pair
    transfer = [offer(pair, study) for _ in range(2)][-1]
    page = viewer.open(ward, NARROW)
    chosen = card(page, transfer, "waiting").get_by_label("Once sealed")
    chosen.evaluate("one => scrollBy(0, one.getBoundingClientRect().bottom - innerHeight + 10)")
    covered = """(one) => {
      const { left, top, width, height } = one.getBoundingClientRect();
      return document.elementFromPoint(left + width / 2, top + height / 2) !== one;
    }"""
    assert chosen.evaluate(covered)
    chosen.focus()
    assert not chosen.evaluate(covered)


def test_who_has_moved_on_from_a_dialog_is_not_brought_back(
    pair: Pair, viewer: Viewer, study: Path
) -> None:
    """The browser gives the focus back at once and tells of it later: a key can come between."""
    ward, _ = pair
    transfer = offer(pair, study)
    page = viewer.open(ward)
    press(page, transfer, "Decline", "waiting")
    following = button(page, transfer, "Accept", "waiting").evaluate(
        """accept => new Promise((done) => {
          const open = document.querySelector('dialog[open]');
          open.addEventListener('close', () => done(document.activeElement.textContent));
          open.close();
          accept.focus();
        })"""
    )
    assert following == "Accept"
    press(page, transfer, "Decline", "waiting")
    confirm(page, "Decline")


def test_a_dialog_that_nothing_with_the_focus_opened_leaves_the_page_where_it_is(
    pair: Pair, viewer: Viewer, study: Path
) -> None:
    """Some browsers give a clicked button no focus: nobody is taken to the top for that."""
    ward, _ = pair
    transfer = offer(pair, study)
    page = viewer.open(ward, NARROW)
    decline = button(page, transfer, "Decline", "waiting")
    decline.scroll_into_view_if_needed()
    page.evaluate("() => window.scrollTo(0, document.body.scrollHeight)")
    decline.evaluate("one => { document.activeElement.blur(); one.click(); }")
    expect(dialog(page)).to_be_visible()
    before = page.evaluate("() => window.scrollY")
    assert before > 0
    dialog(page).evaluate(
        "open => new Promise(done => { open.addEventListener('close', done); open.close(); })"
    )
    assert page.evaluate("() => [window.scrollY, document.activeElement.tagName]") == [
        before,
        "BODY",
    ]
    press(page, transfer, "Decline", "waiting")
    confirm(page, "Decline")


def test_a_dialog_tells_what_becomes_of_its_transfer(
    pair: Pair, viewer: Viewer, study: Path, tmp_path: Path
) -> None:
    """Its sender takes it back while somebody chooses a folder: nothing is released."""
    ward, sender = pair
    transfer = offer(pair, study)
    ward.cli("inbox", "accept", transfer).ok()
    ward.wait_state("inbox", transfer, "sealed")
    page = viewer.open(ward)
    viewer.faults.expect(409)
    press(page, transfer, "Release", "waiting")
    form = dialog(page)
    form.get_by_label("Folder", exact=True).fill(str(tmp_path / "out"))
    sender.cli("outbox", "recall", transfer).ok()
    expect(form).to_contain_text("Meanwhile it is recalled.")
    form.get_by_role("button", name="Release", exact=True).click()
    expect(form.locator("form > .error")).to_contain_text("is recalled, not sealed")
    assert not (tmp_path / "out").exists()
    back(page)
    sees_state(page, transfer, "inbox", "recalled")


def test_an_old_tab_does_not_end_a_new_session(pair: Pair, viewer: Viewer, study: Path) -> None:
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


class Impostor(BaseHTTPRequestHandler):
    """Another program that has got the port of the page: it says yes to everything."""

    asked: ClassVar[list[str]] = []
    overview: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.send_response(200)
        if self.path == "/v1/events":
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("X-Medp2p-Proof", "0" * 64)
            self.end_headers()
            self.wfile.write(b'data: {"event":"status","status":{"name":"impostor"}}\n\n')
            return
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.overview)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def test_whoever_gets_the_port_is_not_taken_for_the_daemon(
    hospital: Hospital, viewer: Viewer
) -> None:
    """After a crash an open page believes nobody who cannot answer its challenge, asks nothing."""
    ward = hospital.make("ward-b")
    page = viewer.open(ward)
    viewer.faults.expect(outages=True)
    expect(page.locator("#banner-state")).to_have_text("online")
    port = wire_of(ward).port
    with page.expect_response("**/v1/overview*") as told:
        page.reload()
    Impostor.overview = told.value.body().replace(b'"ward-b"', b'"impostor"')
    Impostor.asked.clear()
    ward.kill()
    ThreadingHTTPServer.allow_reuse_address = True
    with ThreadingHTTPServer(("127.0.0.1", port), Impostor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            wait_until(lambda: Impostor.asked.count("GET /v1/events") > 1)
            expect(page.locator("#banner-state")).to_contain_text("connection lost")
            page.get_by_label("Patient: name or ID").fill("ROENTGEN")
            page.get_by_role("button", name="Search", exact=True).click()
            expect(region(page, "search").get_by_role("alert")).to_contain_text("is lost")
            # The browser may fetch its icon anew by itself; that gives nothing away.
            assert set(Impostor.asked) - {"GET /static/icon.svg"} == {"GET /v1/events"}
            assert "impostor" not in page.content()
        finally:
            server.shutdown()


def serve(page: Page, change: Any) -> None:
    """Let the page see a changed overview."""

    def answer(route: Any) -> None:
        with contextlib.suppress(Error):  # the tab was closed meanwhile
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


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1600, 900)])
def test_alarms_leave_room_for_what_waits(
    pair: Pair,
    viewer: Viewer,
    tmp_path: Path,
    width: int,
    height: int,
) -> None:
    """Long ones even, over an offer of many studies with a long note: no scrolling to decide."""
    ward, sender = pair
    sender.cli("peers", "set", "ward-a", "allow-mixed=yes").ok()
    for number in range(8):
        make_study(tmp_path / "many" / str(number), 2, edge=128, seed=str(number))
    note = ("--note", "a long note " * 60, "--priority", "stat")
    transfer = sender.send("ward-a", *note, tmp_path / "many")
    ward.wait_state("inbox", transfer, "offered")
    text = (
        "nobody there has decided about transfer abcdefgh for 10 min; call +49 30 1234567 ext. 47"
    )
    alarm = {"kind": "undecided", "peer": "radiology-of-the-second-floor", "text": text, "count": 3}
    about = {"time": "2026-11-25T10:00:00Z", "acknowledged": False}
    alarms = [{"id": number, **alarm, **about} for number in range(1, 7)]

    address = web_address(ward)
    page = viewer.context().new_page()
    page.set_viewport_size({"width": width, "height": height})
    viewer.faults.watch(page, address.partition("/#")[0])
    serve(page, lambda overview: overview.update(alarms=alarms))
    page.goto(address)
    expect(region(page, "alarms")).to_be_visible()
    accept = button(page, transfer, "Accept", "waiting")
    expect(accept).to_be_visible()
    box = accept.bounding_box()
    assert box is not None
    assert page.evaluate("() => scrollX + scrollY") == 0
    assert box["y"] + box["height"] <= height
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
    ward.cli("inbox", "decline", transfer).ok()


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


def patient(name: str = _PATIENT, number: str = "MRN-0042117") -> dict[str, Any]:
    return {
        "name": f"{name}^ANNA",
        "id": number,
        "issuer": "",
        "birth_date": "19700203",
        "sex": "F",
        "raw_name": "",
        "raw_id": "",
        "images": 129,
    }


def promised(studies: int, series: int, findings: list[tuple[str, str]]) -> dict[str, Any]:
    """A label of one patient as an overview has it."""
    about = {"patient": 0, "date": "20261125", "modalities": ["CT"], "images": 129}
    return {
        "patients": [patient()],
        "studies": [
            {
                "uid": str(study),
                "description": "Chest and abdomen, late phase",
                "accessions": [f"A{study}"],
                "series": series,
                **about,
            }
            for study in range(studies)
        ],
        "series": [
            {
                "study": str(number % studies),
                "number": number,
                "modality": "CT",
                "description": "axial 1.0 mm",
                "images": 1,
            }
            for number in range(series)
        ],
        "institutions": ["Radiology"],
        "flags": [],
        "images": series,
        "directories": 0,
        "without_header": 4,
        "unverified": 0,
        "loose": 0,
        "typed": None,
        "no_patient_data": False,
        "findings": [
            {"level": level, "code": f"code-{n}", "text": text, "count": 4, "files": ["a", "b"]}
            for n, (level, text) in enumerate(findings)
        ],
        "allowed": [],
        "left_out": {},
    }


def _labels() -> dict[str, dict[str, Any]]:
    """Those of an ordinary offer, of a big one, and of one with several patients."""
    few = [("warn", "files without a header stand beside images"), ("info", "one series")]
    many = [
        *(("warn", f"numbers are missing in series {n}, others are there twice") for n in range(6)),
        ("hold", "what is burned into the images of series 7 was not looked at by the sender"),
    ]
    short, long = promised(1, 1, few), promised(3, 129, many)
    long["institutions"] = [f"University hospital, institute number {n}" for n in range(10)]
    several = {**long, "patients": [patient(), patient("BERG", "MRN-7"), patient("HAHN", "M-8")]}
    return {"short": short, "long": long, "several": several}


def open_alarms(count: int) -> list[dict[str, Any]]:
    text = (
        "nobody there has decided about transfer abcdefgh for 10 min; call +49 30 1234567 ext. 47"
    )
    alarm = {"kind": "undecided", "peer": "radiology-of-the-second-floor", "text": text, "count": 3}
    about = {"time": "2026-11-25T10:00:00Z", "acknowledged": False}
    return [{"id": number, **alarm, **about} for number in range(1, count + 1)]


def serve_offers(viewer: Viewer, ward: Any, width: int, height: int) -> tuple[Page, dict[str, Any]]:
    """Open the page on an overview that the caller fills in before each reload."""
    shown: dict[str, Any] = {}
    address = web_address(ward)
    page = viewer.context().new_page()
    page.set_viewport_size({"width": width, "height": height})
    viewer.faults.watch(page, address.partition("/#")[0])
    serve(page, lambda overview: overview.update(shown))
    page.goto(address)
    ready(page)
    return page, shown


#: Whether all of an element is inside the window, and nothing lies over it.
_IN_SIGHT = """(one) => {
  const { left, top, right, bottom } = one.getBoundingClientRect();
  const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
  const at = (x, y) => one.contains(document.elementFromPoint(x, y));
  const open = at((left + right) / 2, top + 2) && at((left + right) / 2, bottom - 2);
  return inside && open ? null : `${one.textContent} at ${top} to ${bottom}, open: ${open}`;
}"""
_SIZES = [
    (320, 568),
    (360, 740),
    (390, 664),
    (412, 915),
    (999, 600),
    (1000, 500),
    (1024, 768),
    (1366, 768),
    (1600, 1000),
]


def hidden_at_first_sight(page: Page, transfer: str, *, alarms: int) -> list[str]:
    """What of that which must be in sight is not."""
    one = card(page, transfer, "waiting")
    expect(one).to_be_visible()
    if alarms:
        expect(region(page, "alarms")).to_be_visible()
        expect(region(page, "alarms")).to_contain_text("nobody there has decided")
    expect(one.locator("button.moved")).to_have_count(0)
    wanted = [
        one.get_by_role("heading"),
        one.locator(".card-whose .patient, .card-whose .several"),
        one.locator(".found-line"),
        *(one.get_by_role("button", name=verb, exact=True) for verb in ("Accept", "Decline")),
    ]
    found = [place.evaluate(_IN_SIGHT) for place in wanted]
    assert page.evaluate("() => scrollX + scrollY") == 0
    sideways = page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
    return [*filter(None, found), *(["it scrolls sideways"] if sideways > 0 else [])]


@pytest.mark.parametrize("alarms", [0, 1, 8])
def test_findings_and_alarms_leave_room_for_what_waits(
    pair: Pair, viewer: Viewer, alarms: int
) -> None:
    """From whom, whose, what was found and the decision: in any window, without scrolling."""
    page, shown = serve_offers(viewer, pair[0], *_SIZES[-1])
    offered = {"state": "offered", "why": "decide", "priority": "stat", "note": "a note " * 60}
    faults = {}
    for kind, label in _labels().items():
        row = waits(1, **offered, files=133, label=label)
        shown |= {"waiting": [row, waits(2, **offered)], "alarms": open_alarms(alarms)}
        page.reload()
        for width, height in _SIZES:
            page.set_viewport_size({"width": width, "height": height})
            faults[kind, width] = hidden_at_first_sight(page, row["id"], alarms=alarms)
        picture(page, f"offer-{kind}-{alarms}-alarms", whole=False)
    assert not {what: seen for what, seen in faults.items() if seen}


def test_what_was_found_is_told_in_a_line_and_in_full(pair: Pair, viewer: Viewer) -> None:
    """The gravest first, with how many; scrolled to, nothing lies over the last of them."""
    page, shown = serve_offers(viewer, pair[0], 320, 568)
    label = _labels()["long"]
    row = waits(1, state="offered", why="decide", label=label)
    shown |= {"waiting": [row], "alarms": []}
    page.reload()
    one = card(page, row["id"], "waiting")
    expect(one.locator(".found-line")).to_contain_text(
        "7 findings, the worst: HOLD: what is burned"
    )
    expect(one.locator(".card-whose")).to_contain_text("MRN-0042117")
    more = one.get_by_text("more findings")
    more.focus()
    assert more.evaluate(_IN_SIGHT) is None
    page.keyboard.press("Enter")
    last = one.locator(".finding").last
    last.evaluate("one => one.scrollIntoView({ block: 'center' })")
    expect(last).to_be_visible()
    assert last.evaluate(_IN_SIGHT) is None
    expect(one.locator("button.moved")).to_have_count(0)
    assert one.get_by_role("button", name="Accept", exact=True).evaluate(_IN_SIGHT) is None


def test_what_was_let_pass_is_not_behind_a_note(pair: Pair, viewer: Viewer) -> None:
    """The line of findings names what would have stopped the send, if nothing else does."""
    page, shown = serve_offers(viewer, pair[0], 360, 740)
    label = promised(1, 1, [("info", "one series"), ("block", "two patients in one study")])
    label["allowed"] = ["code-1"]
    row = waits(1, state="offered", why="decide", label=label)
    shown |= {"waiting": [row], "alarms": []}
    page.reload()
    line = card(page, row["id"], "waiting").locator(".found-line")
    expect(line).to_have_text("2 findings, the worst: let pass: two patients in one study")


def test_alarms_on_a_low_window_are_a_line_that_opens(pair: Pair, viewer: Viewer) -> None:
    """Their number and the newest in words; each can be acknowledged in place."""
    page, shown = serve_offers(viewer, pair[0], 999, 600)
    shown |= {"waiting": [], "alarms": open_alarms(3)}
    page.reload()
    alarms = region(page, "alarms")
    line = alarms.locator("summary")
    expect(line).to_contain_text("3 alarms, the newest: undecided: radiology-of-the-second-floor")
    acknowledge = alarms.get_by_role("button", name="Acknowledge")
    expect(acknowledge).to_have_count(0)
    line.focus()
    page.keyboard.press("Enter")
    expect(acknowledge).to_have_count(3)
    page.set_viewport_size({"width": 1600, "height": 1000})
    expect(line).to_have_text("1 more")
