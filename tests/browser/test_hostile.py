"""Whatever a peer or a file may be called: it is text, it does nothing, and it moves nothing."""

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from pydicom import dcmread

from examples.study import make_study
from tests.browser.clicking import back, choose_files, dialog, look, press, sees_state
from tests.browser.viewing import NARROW, WIDE, Viewer, card, picture, ready, region, web_address
from tests.e2e.harness import Hospital, Workstation, introduce

pytestmark = pytest.mark.browser

MARKUP = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
SHORT_MARKUP = "<img src=x onerror=window.pwned=1>"
ADDRESS = "javascript:window.pwned=1"
BIDI = "Anna \u202egnp.exe\u2066 \u200fend"
CONTROL = "red\x1b[31m\x07 line\r\nline \x9b0m\x00end"
LONG = "W" * 900
TEMPLATE = "{{7*7}} ${7*7} %s \\n &lt;b&gt;"
HOSTILE = {"markup": MARKUP, "bidi": BIDI, "control": CONTROL, "long": LONG, "link": ADDRESS}

#: Nothing that hides, reorders or beeps may be on the page, in text or in an attribute.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f]"
)

_LOOK = """() => {
  const texts = [document.title];
  const bad = [];
  for (const node of document.querySelectorAll('*')) {
    for (const { name, value } of node.attributes) {
      texts.push(value);
      if (name.startsWith('on')) bad.push(name);
      if (name === 'style' && !/^([a-z-]+: [a-z0-9. -]+;? ?)*$/.test(value)) bad.push(value);
      if (['href', 'src', 'action', 'formaction', 'srcdoc'].includes(name) &&
          !/^(\\/static\\/|#|blob:)/.test(value)) bad.push(`${name}=${value}`);
    }
    const ours = node.tagName === 'IMG' && node.src.startsWith('blob:');
    const kinds = ['IMG', 'IFRAME', 'OBJECT', 'EMBED', 'BASE', 'META', 'STYLE', 'B', 'I'];
    if (kinds.includes(node.tagName) && !node.closest('head') && !ours) bad.push(node.outerHTML);
    if (node.tagName === 'SCRIPT' && !node.getAttribute('src')?.startsWith('/static/')) {
      bad.push(node.outerHTML);
    }
    for (const child of node.childNodes) if (child.nodeType === 3) texts.push(child.data);
    if ('value' in node && typeof node.value === 'string') texts.push(node.value);
  }
  const screen = document.scrollingElement;
  const over = [...document.querySelectorAll('main *, header *, dialog *')]
    .filter((one) => one.getBoundingClientRect().right > screen.clientWidth + 1);
  if (screen.scrollWidth <= screen.clientWidth) over.length = 0;
  return {
    texts, bad, pwned: window.pwned ?? null, over: over.map((one) => one.outerHTML.slice(0, 300)),
  };
}"""


def harmless(page: Page) -> str:
    """Check the whole page, hidden parts too; return all its text."""
    found = page.evaluate(_LOOK)
    assert found["pwned"] is None
    assert found["bad"] == []
    whole = "\n".join(found["texts"])
    assert not (seen := _HARMFUL.search(whole)), (seen, whole[max(0, seen.start() - 80) :][:160])
    assert found["over"] == [], "\n".join(["the page scrolls sideways", *found["over"]])
    return whole


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose headers and names are all hostile."""
    top = tmp_path_factory.mktemp("hostile")
    folder = top / f"{SHORT_MARKUP} study"
    make_study(folder, 4, edge=128)
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))):
        dataset = dcmread(path)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName = f"<script>pwned</script>^{BIDI}"
        dataset.PatientID = SHORT_MARKUP
        dataset.IssuerOfPatientID = "<iframe>"
        dataset.StudyDescription = f"<b>{BIDI}</b>"
        dataset.SeriesDescription = SHORT_MARKUP
        dataset.InstitutionName = f"{TEMPLATE}{BIDI}"
        dataset.AccessionNumber = "<i>1</i>"
        dataset.save_as(path)
        names = (SHORT_MARKUP, BIDI, "new\nline \x1b[31m", "W" * 250)
        path.rename(path.with_name(names[number]))
    return folder


@pytest.fixture(scope="module")
def pair(shared_hospital: Hospital) -> tuple[Workstation, Workstation]:
    """A ward, and a sender that tells odd things of itself."""
    ward, sender = shared_hospital.make("ward-a"), shared_hospital.make("ct-room")
    introduce(sender, ward, confirm="typed")
    introduce(ward, sender, accept="ask")
    # What a program other than ours might tell; ours refuses to be called so.
    for station, peer in ((ward, "ct-room"), (sender, "ward-a")):
        station.stop()
        with sqlite3.connect(station.home / "store.db") as store:
            told = (SHORT_MARKUP, f"{BIDI}{CONTROL}", "W" * 64, MARKUP, peer)
            store.execute(
                "UPDATE peers SET told_name = ?, told_department = ?, told_place = ?,"
                " software = ? WHERE name = ?",
                told,
            )
        store.close()
        station.start()
    return ward, sender


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_hostile_files_and_peers(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path, width: int
) -> None:
    """From the look at the files to the reason of a recall, on both pages."""
    ward, sender = pair
    note = f"{MARKUP} {BIDI} {ADDRESS} " + "n" * 500
    page, theirs = viewer.open(ward, width), viewer.open(sender, width)

    choose_files(theirs, "ward-a", study)
    form = dialog(theirs)
    form.get_by_label("Note for the receiver").fill(note)
    look(theirs)
    harmless(theirs)
    picture(theirs, "hostile-send")
    form.get_by_role("button", name="Reveal").click()
    expect(form.locator(".revealed")).not_to_be_empty()
    harmless(theirs)
    typed = form.get_by_label("Type the birth year")
    typed.fill("=1>")
    back(theirs)

    transfer = (
        sender.cli(
            "send",
            "ward-a",
            study,
            "--no-wait",
            "--note",
            note,
            "--expect-from",
            "-",
            input=json.dumps({"patient_id": SHORT_MARKUP}),
        )
        .ok()
        .document["id"]
    )
    sees_state(page, transfer, "waiting", "offered")
    whole = harmless(page)
    for text in (SHORT_MARKUP, "<script>pwned</script>", "\\u202e", "<b>Anna"):
        assert text in whole
    picture(page, "hostile-offer")
    press(page, transfer, "Show", "waiting")
    dialog(page).get_by_text("Files", exact=True).click()
    back(page)
    press(page, transfer, "Accept", "waiting")
    sees_state(page, transfer, "inbox", "sealed")
    press(page, transfer, "Show", "waiting")
    dialog(page).get_by_text("Files", exact=True).click()
    expect(dialog(page)).to_contain_text("new\\x0aline \\x1b[31m")
    harmless(page)
    picture(page, "hostile-show")
    back(page)
    for verb in ("Release", "Discard"):
        press(page, transfer, verb, "waiting")
        expect(dialog(page)).to_contain_text("<script>pwned</script>")
        harmless(page)
        back(page)
    press(page, transfer, "Preview", "waiting")
    expect(dialog(page).locator("figure").first).to_be_visible()
    harmless(page)
    back(page)
    page.get_by_role("searchbox").fill(SHORT_MARKUP)
    page.get_by_role("button", name="Search").click()
    expect(region(page, "search").locator(f'[data-transfer="{transfer}"]')).to_be_visible()
    harmless(page)
    region(page, "search").get_by_role("button", name="Close").click()

    press(theirs, transfer, "Recall", "outbox")
    harmless(theirs)
    dialog(theirs).get_by_label("Reason").fill(note)
    dialog(theirs).get_by_role("button", name="Recall", exact=True).click()
    sees_state(page, transfer, "inbox", "recalled")
    expect(card(page, transfer, "inbox")).to_contain_text(SHORT_MARKUP)
    harmless(page)
    harmless(theirs)


def test_a_hostile_reason_and_a_hostile_path(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path
) -> None:
    ward, sender = pair
    expected = json.dumps({"patient_id": SHORT_MARKUP})
    answer = sender.cli("send", "ward-a", study, "--no-wait", "--expect-from", "-", input=expected)
    transfer = answer.ok().document["id"]
    ward.wait_state("inbox", transfer, "offered")
    ward.cli("inbox", "decline", transfer, "--reason", f"{MARKUP} {BIDI}").ok()
    page = viewer.open(sender, NARROW)
    sees_state(page, transfer, "outbox", "declined")
    expect(card(page, transfer, "outbox")).to_contain_text("<img src=x")
    assert "\\u202e" in harmless(page)
    viewer.faults.expect(400)
    region(page, "send").get_by_role("button", name="Send", exact=True).click()
    form = dialog(page)
    form.get_by_label("Recipient").select_option("ward-a")
    form.get_by_label("Files and folders").fill(f"/nowhere/{SHORT_MARKUP}{BIDI}")
    form.get_by_role("button", name="Add path").click()
    expect(form.locator(".chosen")).to_contain_text("\\u202e")
    dialog(page).get_by_role("button", name="Look at the files").click()
    expect(dialog(page).get_by_role("alert").filter(has_text="nowhere")).to_be_visible()
    harmless(page)


#: What is a word of ours, a number or a time, whoever answers.
_OURS = re.compile(
    r"(^|_)(id|state|direction|why|priority|created|since|time|sealed|released|finished|decided|"
    r"checked|expires|until|over|last_seen|verified|opened|previewed|b64|path|event|kind|outcome|via|seq|code|level|addresses)$"
)


def _is_name(key: str, owner: dict[str, Any]) -> bool:
    """Whether it is a name that the daemon allows for peers only: lower-case letters and digits."""
    return key == "peer" or (key == "name" and "peer_id" in owner and "settings" in owner)


def poisoned(value: Any, text: str, key: str = "") -> Any:
    """Return an answer of the API with the same text in place of every other one."""
    if key == "settings":  # the daemon checks them, and a field must show them as they are
        return value
    if isinstance(value, dict):
        return {
            name: inner if _is_name(name, value) else poisoned(inner, text, name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [poisoned(inner, text, key) for inner in value]
    if isinstance(value, str) and not _OURS.search(key):
        return text
    return value


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_of_the_overview_is_trusted(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path, kind: str
) -> None:
    """Every text that the API gives is made hostile: a place that was forgotten shows here."""
    ward, sender = pair
    text = HOSTILE[kind]
    expected = json.dumps({"patient_id": SHORT_MARKUP})
    answer = sender.cli("send", "ward-a", study, "--no-wait", "--expect-from", "-", input=expected)
    transfer = answer.ok().document["id"]
    ward.wait_state("inbox", transfer, "offered")
    more = {
        "nearby": [
            {"name": text, "fingerprint": "AB-12", "addresses": [text], "peer": None, "pairing": 7}
        ],
        "alarms": [
            {
                "id": 1,
                "time": "2026-11-25T13:00:00.000Z",
                "kind": "strangers",
                "peer": text,
                "text": text,
                "count": 2,
                "acknowledged": False,
            }
        ],
        "targets": [{"name": "pacs", "target": text, "created": "", "created_by": text}],
    }

    def poison(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**poisoned(answer.json(), text), **more})

    page = viewer.context(NARROW).new_page()
    address = web_address(ward)
    viewer.faults.watch(page, address.partition("/#")[0])
    page.route("**/v1/overview*", poison)
    try:
        page.goto(address)
        ready(page)
        expect(card(page, transfer, "waiting")).to_be_visible()
        expect(region(page, "alarms")).to_be_visible()
        expect(region(page, "nearby").locator("li").first).to_be_visible()
        page.evaluate(
            "() => document.querySelectorAll('main details').forEach(one => { one.open = true })"
        )
        whole = harmless(page)
        if kind == "markup":
            assert whole.count(MARKUP) > 20
        picture(page, f"hostile-{kind}")
    finally:
        page.unroute_all(behavior="ignoreErrors")
    ward.cli("inbox", "decline", transfer).ok()
