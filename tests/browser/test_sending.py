"""A study is sent by clicking: recipient and label side by side, findings, what must be typed."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from examples.forwarder import Forwarder
from examples.study import make_study
from medp2p import limits
from tests.browser.clicking import (
    back,
    choose_files,
    confirm,
    dialog,
    look,
    press,
    sees_state,
)
from tests.browser.viewing import NARROW, WIDE, Viewer, card, picture, region
from tests.e2e.harness import Hospital, Workstation, introduce, wait_until

pytestmark = pytest.mark.browser

_PATIENT = "ROENTGEN^ANNA"


@pytest.fixture(scope="module")
def link() -> Iterator[list[Forwarder]]:
    """The way from the sender to the receiver, once there is one: it can be slowed down."""
    made: list[Forwarder] = []
    yield made
    for forwarder in made:
        forwarder.close()


@pytest.fixture(scope="module")
def pair(shared_hospital: Hospital, link: list[Forwarder]) -> tuple[Workstation, Workstation]:
    """A sender that confirms as people do, and a receiver that asks a person."""
    ct, ward = shared_hospital.make("ct-room"), shared_hospital.make("ward-a")
    link.append(Forwarder(("127.0.0.1", ward.port)))
    introduce(ct, ward, accept="ask", confirm="typed", address=link[0].address)
    introduce(ward, ct, accept="ask")
    return ct, ward


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "CT CHEST"
    make_study(folder, 8, edge=128)
    return folder


def newest(station: Workstation, box: str) -> str:
    rows = station.rows(box)
    return str(rows[0]["id"]) if rows else ""


def test_a_study_is_sent_and_confirmed(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path
) -> None:
    ct, ward = pair
    page, theirs = viewer.open(ct), viewer.open(ward)
    choose_files(page, "ward-a", study)
    form = dialog(page)
    form.get_by_label("Priority").select_option("stat")
    form.get_by_label("Note for the receiver").fill("please look today\ncall 4711")
    picture(page, "send-files")
    look(page)
    # Recipient and label stand side by side, what must be typed is masked.
    for text in ("ward-a", _PATIENT, "8 files", "images"):
        expect(form).to_contain_text(text)
    expect(form).not_to_contain_text("MRN-0042117")
    picture(page, "send-check")

    viewer.faults.expect(409)
    typed = form.get_by_label("Type the birth year")
    expect(typed).to_be_focused()
    typed.fill("9999")
    form.get_by_role("button", name="Send", exact=True).click()
    expect(form.get_by_role("alert").filter(has_text="not confirmed")).to_be_visible()
    assert ct.rows("outbox") == []

    form.get_by_role("button", name="Reveal").click()
    expect(form).to_contain_text("MRN-0042117")
    typed.fill("2117")
    confirm(page, "Send")
    transfer = newest(ct, "outbox")
    sees_state(page, transfer, "active", "offered")
    waiting = card(theirs, transfer, "waiting")
    for text in (_PATIENT, "STAT", "please look today / call 4711", "MRN-0042117"):
        expect(waiting).to_contain_text(text)
    events = [row["event"] for row in ct.cli("audit").ok().document]
    assert "reveal-label" in events
    press(theirs, transfer, "Accept", "waiting")
    sees_state(page, transfer, "outbox", "sealed")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_what_was_queued_is_said_where_it_was_sent(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path, width: int
) -> None:
    """In sight, although the card of the transfer comes above; until the next send or a click."""
    ct, _ = pair
    page = viewer.open(ct, width)
    said = region(page, "send").locator(".lasting")
    transfers = []
    for _ in range(2):
        choose_files(page, "ward-a", study)
        expect(said).to_have_count(0)
        look(page).get_by_label("Type the birth year").fill("2117")
        confirm(page, "Send")
        transfers.append(newest(ct, "outbox"))
        expect(said).to_contain_text("queued: 1 transfer to ward-a")
        sees_state(page, transfers[-1], "active", "offered")
        page.wait_for_timeout(1000)
        expect(said).to_be_in_viewport(ratio=1)
    picture(page, "queued-said", whole=False)
    said.get_by_role("button", name="Dismiss").click()
    expect(said).to_have_count(0)
    for transfer in transfers:
        ct.cli("outbox", "cancel", transfer).ok()


def test_a_path_is_found_by_browsing(
    pair: tuple[Workstation, Workstation], viewer: Viewer, study: Path
) -> None:
    """From the home folder on; also names that no keyboard can type."""
    ct, _ = pair
    odd = ct.home.parent / "odd"
    odd.mkdir()
    with (odd / "scan.dcm").open("wb") as out:
        out.write((next(study.rglob("*.dcm"))).read_bytes())
    raw = bytes(odd) + b"/\xff\xfe\n.dcm"
    Path(raw.decode(errors="surrogateescape")).write_bytes((odd / "scan.dcm").read_bytes())
    page = viewer.open(ct)
    region(page, "send").get_by_role("button", name="Send", exact=True).click()
    form = dialog(page)
    form.get_by_label("Recipient").select_option("ward-a")
    form.get_by_role("button", name="Browse").click()
    folders = form.get_by_role("group", name="Folders of this workstation")
    expect(folders.locator(".path")).to_have_text(str(ct.home.parent))
    folders.locator("li").filter(has_text="odd/").get_by_role("button", name="Open").click()
    strange = folders.locator("li").filter(has_text="\\xff\\xfe\\x0a.dcm")
    expect(strange).to_be_visible()
    picture(page, "send-browse")
    strange.get_by_role("button", name="Add").click()
    folders.locator("li").filter(has_text="scan.dcm").get_by_role("button", name="Add").click()
    chosen = form.locator(".chosen li")
    paths_shown = [f"{odd}/\\xff\\xfe\\x0a.dcm", f"{odd}/scan.dcm"]
    expect(chosen.locator(".path")).to_have_text(paths_shown)
    for number, path in enumerate(paths_shown):
        remove = chosen.nth(number).get_by_role("button", name="Remove")
        expect(remove).to_have_accessible_description(path)
    look(page)
    expect(form).to_contain_text("2 files")
    form.get_by_label("Type the birth year").fill("2117")
    confirm(page, "Send")
    transfer = newest(ct, "outbox")
    shown = ct.cli("outbox", "show", transfer, "--files").ok().document["entry_list"]
    paths = [base64.b64decode(entry["path_b64"]) for entry in shown]
    assert b"\xff\xfe\n.dcm" in paths
    ct.cli("outbox", "cancel", transfer).ok()


def test_two_patients_stop_a_send_or_become_two(
    pair: tuple[Workstation, Workstation], viewer: Viewer, tmp_path: Path
) -> None:
    ct, _ = pair
    both = tmp_path / "both"
    make_study(both / "a", 2, edge=128)
    make_study(both / "b", 2, edge=128, patient_name="BERG^OTTO", patient_id="MRN-7", seed="2")
    before = len(ct.rows("outbox"))
    page = viewer.open(ct)
    choose_files(page, "ward-a", both)
    form = look(page)
    expect(form).to_contain_text("mixed-patients")
    expect(form.get_by_role("button", name="Send", exact=True)).to_have_count(0)
    picture(page, "send-stopped")
    form.get_by_label("Split by patient").check()
    form.get_by_role("button", name="Look again").click()
    typed = form.get_by_label("Type the birth year")
    expect(typed).to_have_count(2)
    typed.nth(0).fill("2117")
    typed.nth(1).fill("MRN-7")
    confirm(page, "Send")
    assert len(ct.rows("outbox")) == before + 2
    for row in ct.rows("outbox")[:2]:
        ct.cli("outbox", "cancel", row["id"]).ok()


def test_files_without_a_header_want_a_label(
    pair: tuple[Workstation, Workstation], viewer: Viewer, tmp_path: Path
) -> None:
    ct, _ = pair
    report = tmp_path / "report.pdf"
    report.write_bytes(b"%PDF-1.4 nothing")
    page = viewer.open(ct)
    choose_files(page, "ward-a", report)
    form = look(page)
    form.get_by_label("Patient ID").fill("MRN-77")
    form.get_by_label("Birth date").fill("1970-02-03")
    form.get_by_role("button", name="Look again").click()
    form.get_by_label("Type the birth year").fill("1970")
    confirm(page, "Send")
    row = ct.row("outbox", newest(ct, "outbox"))
    assert row["label"]["typed"]["id"] == "MRN-77"
    ct.cli("outbox", "cancel", row["id"]).ok()


@pytest.mark.parametrize("path", ["relative/path", "/nowhere/at/all"])
def test_a_wrong_path_says_so(
    pair: tuple[Workstation, Workstation], viewer: Viewer, path: str
) -> None:
    ct, _ = pair
    before = len(ct.rows("outbox"))
    page = viewer.open(ct)
    viewer.faults.expect(400)
    region(page, "send").get_by_role("button", name="Send", exact=True).click()
    form = dialog(page)
    form.get_by_label("Recipient").select_option("ward-a")
    form.get_by_label("Files and folders of this workstation").fill(path)
    form.get_by_role("button", name="Look at the files").click()
    expect(
        form.get_by_role("alert")
        .filter(has_text="path")
        .or_(form.get_by_role("alert").filter(has_text="/nowhere"))
        .first
    ).to_be_visible()
    back(page)
    assert len(ct.rows("outbox")) == before


_RECORD = """() => {
  window.seen = [];
  const note = () => {
    const bar = document.querySelector('[data-region="active"] progress');
    if (!bar || bar.closest('.progress').hidden) return;
    const text = bar.closest('.progress').textContent;
    const last = window.seen.at(-1);
    if (!last || last[0] !== bar.value || last[1] !== text) window.seen.push([bar.value, text]);
  };
  new MutationObserver(note).observe(document.body, {subtree: true, childList: true,
    attributes: true, characterData: true});
}"""


def seen(page: Page) -> list[tuple[float, str]]:
    """Return what the progress bar has shown: value and text, each time it changed."""
    return [(value, text) for value, text in page.evaluate("() => window.seen")]


def test_progress_moves_on_both_pages(
    pair: tuple[Workstation, Workstation],
    link: list[Forwarder],
    viewer: Viewer,
    tmp_path: Path,
) -> None:
    """By events alone: nothing is fetched again and again."""
    ct, ward = pair
    slide = tmp_path / "slide.bin"
    slide.write_bytes(bytes(range(256)) * 4096 * 48)
    ct.cli("peers", "set", "ward-a", "confirm=none").ok()
    page, theirs = viewer.open(ct), viewer.open(ward)
    for one in (page, theirs):
        one.evaluate(_RECORD)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    transfer = ct.send("ward-a", slide, "--no-patient-data")
    sees_state(theirs, transfer, "waiting", "offered")
    link[0].pace(12 * limits.MIB)
    press(theirs, transfer, "Accept", "waiting")
    expect(card(page, transfer, "active")).to_have_attribute("data-state", "sending")
    wait_until(lambda: len(seen(page)) > 3)
    picture(page, "under-way")
    picture(theirs, "receiving")
    sees_state(page, transfer, "outbox", "sealed")
    sees_state(theirs, transfer, "inbox", "sealed")
    link[0].pace(None)
    ct.cli("peers", "set", "ward-a", "confirm=typed").ok()
    for one in (page, theirs):
        values = [value for value, _ in seen(one)]
        assert values == sorted(values)
        assert len([value for value in set(values) if 0 < value < 100]) >= 3, values
        texts = " ".join(text for _, text in seen(one))
        for part in ("MB/s", "left", "of 50.3 MB"):
            assert part in texts, texts
    assert len([url for url in asked if "/v1/" in url]) < 12, asked


def test_it_waits_and_says_why(
    pair: tuple[Workstation, Workstation], viewer: Viewer, tmp_path: Path
) -> None:
    """A receiver that is not there: a reason with since when, and it goes on by itself."""
    ct, ward = pair
    report = tmp_path / "scan.bin"
    report.write_bytes(bytes(3 * limits.MIB))
    ct.cli("peers", "set", "ward-a", "confirm=none").ok()
    page = viewer.open(ct)
    ward.stop()
    transfer = ct.send("ward-a", report, "--no-patient-data")
    sees_state(page, transfer, "active", "waiting")
    shown = card(page, transfer, "active")
    expect(shown.locator(".reason")).to_contain_text("since")
    entry = region(page, "peers").locator('[data-peer="ward-a"]')
    expect(entry).to_have_attribute("data-online", "no")
    picture(page, "waiting-for-peer")
    ward.start()
    sees_state(page, transfer, "active", "offered")
    ct.cli("outbox", "cancel", transfer).ok()
    ct.cli("peers", "set", "ward-a", "confirm=typed").ok()
