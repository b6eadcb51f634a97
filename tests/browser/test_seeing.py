"""What the page shows beside decisions: pictures, what was looked for, alarms, notices."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from examples.study import make_study
from tests.browser.clicking import back, dialog, press, sees_state
from tests.browser.stations import Pair, ward_and_sender
from tests.browser.viewing import Viewer, card, picture, region
from tests.e2e.harness import Hospital, open_pairing, wait_until

pytestmark = pytest.mark.browser

_PATIENT, _ID = "ROENTGEN^ANNA", "MRN-0042117"


@pytest.fixture(scope="module")
def pair(shared_hospital: Hospital) -> Pair:
    """A ward that takes what comes, and a sender."""
    return ward_and_sender(shared_hospital, accept="auto")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    top = tmp_path_factory.mktemp("studies")
    make_study(top / "one", 6, edge=128)
    make_study(top / "two", 4, edge=128, patient_name="BERG^OTTO", patient_id="MRN-7", seed="2")
    return top / "one", top / "two"


@pytest.fixture(scope="module")
def sent(pair: Pair, studies: tuple[Path, Path]) -> tuple[str, str]:
    """Two sealed transfers of two patients."""
    ward, sender = pair
    first, second = (sender.send("ward-a", study) for study in studies)
    for transfer in (first, second):
        ward.wait_state("inbox", transfer, "sealed")
    return first, second


def test_previews_are_shown_on_request_only(
    pair: Pair, sent: tuple[str, str], viewer: Viewer
) -> None:
    ward, sender = pair
    page, theirs = viewer.open(ward), viewer.open(sender)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sees_state(page, sent[0], "waiting", "sealed")
    expect(page.locator("main img")).to_have_count(0)
    assert not [url for url in asked if "previews" in url]

    press(page, sent[0], "Preview", "waiting")
    figures = dialog(page).locator("figure")
    expect(figures).to_have_count(2)  # one for each series
    for number in range(2):
        figure = figures.nth(number)
        expect(figure).to_contain_text("not for diagnosis")
        image = figure.locator("img")
        expect(image).to_be_visible()
        wait_until(lambda: image.evaluate("one => one.complete && one.naturalWidth > 0"))  # noqa: B023
        size = image.evaluate("one => Math.max(one.naturalWidth, one.naturalHeight)")
        assert size <= 512
        assert "not for diagnosis" in (image.get_attribute("alt") or "")
    picture(page, "previews")
    back(page)
    expect(page.locator("img")).to_have_count(0)
    # It is a fact of its own: audited here, told there.
    events = [row for row in ward.cli("audit").ok().document if row["event"] == "previewed"]
    assert [row["actor"]["via"] for row in events] == ["page"]
    expect(card(theirs, sent[0], "outbox").locator('[data-fact="previewed"]')).to_be_visible()
    assert "previewed" in [fact["fact"] for fact in ward.row("inbox", sent[0])["facts"]]


def test_a_picture_can_be_asked_for_by_itself_where_the_answer_says_so(
    pair: Pair, sent: tuple[str, str], viewer: Viewer
) -> None:
    """The field says it, whatever the words beside it are."""
    page = viewer.open(pair[0])

    def without(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        if "series" not in (route.request.post_data_json or {}):
            for number, one in enumerate(told["previews"]):
                told["previews"][number] = one | {
                    "png_b64": None,
                    "why": "there was no room",
                    "by_itself": number == 0,
                }
        route.fulfill(response=answer, json=told)

    page.route("**/previews*", without)
    press(page, sent[0], "Preview", "waiting")
    figures = dialog(page).locator("figure")
    expect(figures.nth(1)).to_contain_text("there was no room")
    expect(figures.nth(1).get_by_role("button")).to_have_count(0)
    figures.nth(0).get_by_role("button", name="Preview", exact=True).click()
    expect(figures.nth(0).locator("img")).to_be_visible()


def look_for(page: Page, **fields: str) -> None:
    """Fill in what is looked for, and start."""
    form = region(page, "search")
    if len(fields) > ("Patient" in fields):
        form.locator("details").evaluate("one => { one.open = true }")
    for name, value in fields.items():
        field = form.get_by_role("searchbox") if name == "Patient" else form.get_by_label(name)
        if name in ("State", "Box"):
            field.select_option(value)
        else:
            field.fill(value)
    form.get_by_role("button", name="Search").click()


def test_transfers_are_looked_for(pair: Pair, sent: tuple[str, str], viewer: Viewer) -> None:
    ward, _ = pair
    page = viewer.open(ward)
    for fields, expected in (
        ({"Patient": "roentgen"}, [sent[0]]),
        ({"Patient": "mrn-7"}, [sent[1]]),
        ({"Patient": "mrn"}, [sent[1], sent[0]]),
        ({"Peer": "ct-room"}, [sent[1], sent[0]]),
        ({"State": "sealed", "Box": "in"}, [sent[1], sent[0]]),
        ({"From day": "2020-01-01", "To day": "2099-12-31"}, [sent[1], sent[0]]),
        ({"From day": "2099-01-01"}, []),
        ({"State": "declined"}, []),
        ({"Patient": "nobody"}, []),
    ):
        look_for(page, **fields)
        results = region(page, "search")
        if expected:
            results.get_by_text(f"{len(expected)} transfer").wait_for()
        else:
            results.get_by_text("Nothing found").wait_for()
        cards = results.locator("[data-transfer]")
        assert [one.get_attribute("data-transfer") for one in cards.all()] == expected, fields
        if fields == {"Patient": "mrn"}:
            picture(page, "search")
        results.get_by_role("button", name="Close").click()
        expect(cards).to_have_count(0)


def test_an_alarm_stands_on_top_until_it_is_acknowledged(pair: Pair, viewer: Viewer) -> None:
    """Somebody guesses at a pairing code: told at once, to who sees and to who hears the page."""
    ward, sender = pair
    page, other = viewer.open(ward), viewer.open(ward)
    expect(region(page, "alarms")).to_be_hidden()
    for _ in range(2):
        with open_pairing(ward) as (process, code):
            assert process.stdout is not None
            for _ in range(3):
                number, *words = code.split("-")
                sender.cli("pair", "-".join((number, *reversed(words))), "--at", ward.address)
                line = process.stdout.readline()
                if b'"open"' not in line:
                    break
                code = line.decode().split('"code":"')[1].split('"')[0]
        if ward.cli("audit", "alarms").ok().document:
            break
    alarm = region(page, "alarms").locator("[data-alarm]").first
    expect(alarm).to_be_visible()
    expect(page.locator("#live-assertive")).not_to_be_empty()
    box, first = alarm.bounding_box(), region(page, "waiting").bounding_box()
    assert box is not None
    assert first is not None
    assert box["y"] < first["y"]
    picture(page, "alarm")
    alarm.get_by_role("button", name="Acknowledge").click()
    for one in (page, other):
        expect(region(one, "alarms")).to_be_hidden()
    assert all(row["acknowledged"] for row in ward.cli("audit", "alarms").ok().document)
    vias = [
        row["actor"]["via"]
        for row in ward.cli("audit").ok().document
        if row["event"] == "acknowledge"
    ]
    assert vias == ["page"]


_NOTICES = """() => {
  window.notices = [];
  class Recorder {
    static permission = 'default';
    static async requestPermission() { return (Recorder.permission = 'granted'); }
    constructor(title, options) { window.notices.push(`${title}: ${options.body}`); }
    addEventListener() {}
    close() {}
  }
  window.Notification = Recorder;
  document.hasFocus = () => false;
}"""


def test_a_notice_of_the_browser_says_nothing_of_patients(
    pair: Pair, studies: tuple[Path, Path], viewer: Viewer
) -> None:
    ward, sender = pair
    ward.cli("peers", "set", "ct-room", "accept=ask").ok()
    context = viewer.context()
    context.add_init_script(f"({_NOTICES})()")
    page = viewer.tab(context, ward)
    button = page.get_by_role("button", name="Notify me here")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    transfer = sender.send("ward-a", studies[1], "--priority", "stat", "--note", "BERG")
    sees_state(page, transfer, "waiting", "offered")
    wait_until(lambda: page.evaluate("() => window.notices"))
    assert page.evaluate("() => window.notices") == [
        "medp2p: waits for a decision: 1 STAT from ct-room"
    ]
    # The live region and the title of the tab tell nothing of patients either.
    expect(page.locator("#live-polite")).to_contain_text("from ct-room")
    for quiet in (page.title(), page.locator("#live-polite").inner_text()):
        assert "BERG" not in quiet
    ward.cli("inbox", "decline", transfer).ok()


def test_who_and_what_this_is(pair: Pair, viewer: Viewer) -> None:
    """Name, peer ID with its code, key words, version, the vault key in clear, room on the disk."""
    ward, _ = pair
    told, status = ward.cli("id").ok().document, ward.cli("status").ok().document
    page = viewer.open(ward)
    place = region(page, "workstation")
    for text in (
        "ward-a",
        told["peer_id"],
        told["key_words"],
        status["version"],
        "vault key lies in clear",
        "Free on disk",
    ):
        expect(place).to_contain_text(text)
    expect(place.locator("svg .qr-ink")).to_have_attribute("d", re.compile("^M"))
    entry = region(page, "peers").locator('[data-peer="ct-room"]')
    for text in ("online", "fixed address", "Last verified"):
        expect(entry).to_contain_text(text)
    expect(region(page, "audit").locator("li").first).to_contain_text("page opened")
    # Vault lock and operators come later; no dead buttons for them.
    expect(page.get_by_role("button", name=re.compile("lock|operator", re.I))).to_have_count(0)


@pytest.mark.parametrize("width", [320, 360, 599])
def test_a_phone_says_in_words_what_else_can_be_looked_for(
    pair: Pair, viewer: Viewer, width: int
) -> None:
    page = viewer.open(pair[0])
    page.set_viewport_size({"width": width, "height": 740})
    summary = region(page, "search").locator("summary")
    expect(summary).to_have_text("Peer, date, state")
    shown = summary.evaluate(
        """(one) => {
          const words = document.createRange();
          words.selectNodeContents(one);
          const [text, box] = [words, one].map((each) => each.getBoundingClientRect());
          return text.right <= Math.min(box.right, innerWidth) && text.bottom <= box.bottom;
        }"""
    )
    assert shown
    assert page.evaluate("() => document.documentElement.scrollWidth") == width
