"""Two workstations and what people decide, all by clicking: nothing is typed but a folder."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.clicking import back, confirm, dialog, gone, press, sees_state
from tests.browser.stations import Pair, offer
from tests.browser.viewing import Viewer, card, picture, region
from tests.e2e.harness import Workstation, tree_digest, wait_until

pytestmark = pytest.mark.browser

_PATIENT, _ID = "ROENTGEN^ANNA", "MRN-0042117"


def sealed(pair: Pair, study: Path) -> str:
    transfer = offer(pair, study)
    pair[0].cli("inbox", "accept", transfer).ok()
    pair[0].wait_state("inbox", transfer, "sealed")
    return transfer


def audited(station: Workstation, transfer: str, event: str) -> list[str]:
    """Return through what each of these acts came."""
    rows = station.cli("audit", "list", "--limit", "200").ok().document
    return [
        row["actor"]["via"] for row in rows if row["transfer"] == transfer and row["event"] == event
    ]


def test_accept_and_release(pair: Pair, viewer: Viewer, study: Path, tmp_path: Path) -> None:
    """Both sides see each step by themselves; what was released is what was sent."""
    ward, sender = pair
    page, theirs = viewer.open(ward), viewer.open(sender)
    transfer = offer(pair, study)
    waiting = card(page, transfer, "waiting")
    for text in (_PATIENT, _ID, "ct-room", "6 files"):
        expect(waiting).to_contain_text(text)
    sees_state(theirs, transfer, "active", "offered")

    press(page, transfer, "Accept", "waiting")
    expect(dialog(page)).to_have_count(0)  # no dialog, no typing
    sees_state(page, transfer, "inbox", "sealed")
    sees_state(theirs, transfer, "outbox", "sealed")
    expect(waiting).to_have_attribute("data-why", "release")

    press(page, transfer, "Release", "waiting")
    for text in ("Release this transfer?", _PATIENT, _ID, "ct-room"):
        expect(dialog(page)).to_contain_text(text)
    dialog(page).get_by_label("Folder", exact=True).fill(str(tmp_path / "reading"))
    confirm(page, "Release")
    sees_state(page, transfer, "inbox", "released")
    sees_state(theirs, transfer, "outbox", "released")
    gone(page, transfer, "waiting")
    folder = Path(ward.row("inbox", transfer)["released_to"])
    assert folder.parent == tmp_path / "reading"
    expect(card(page, transfer, "inbox")).to_contain_text(str(folder))
    assert tree_digest(folder / study.name) == tree_digest(study)
    for event in ("accept", "release"):
        assert audited(ward, transfer, event) == ["page"]


def test_a_release_says_where_it_went_until_that_is_dismissed(
    pair: Pair, viewer: Viewer, study: Path, tmp_path: Path
) -> None:
    """In the place of the card, also when several stand there; the next act takes it away."""
    ward, _ = pair
    first, second = sealed(pair, study), sealed(pair, study)
    page = viewer.open(ward)
    said = region(page, "waiting").locator(".lasting")
    for number, transfer in enumerate((first, second)):
        press(page, transfer, "Release", "waiting")
        room = tmp_path / f"room-{number}"
        dialog(page).get_by_label("Folder", exact=True).fill(str(room))
        confirm(page, "Release")
        gone(page, transfer, "waiting")
        folder = ward.row("inbox", transfer)["released_to"]
        expect(said).to_have_count(1)  # the one before has gone
        expect(said).to_contain_text(f"from ct-room: released into {folder}")
        page.wait_for_timeout(4000)
        expect(said).to_be_in_viewport()
        assert said.bounding_box()["height"] < 100  # type: ignore[index]
    picture(page, "released-said")
    said.get_by_role("button", name="Dismiss").click()
    expect(said).to_have_count(0)


@pytest.mark.parametrize("reason", ["", "wrong patient"])
def test_decline(pair: Pair, viewer: Viewer, study: Path, reason: str) -> None:
    ward, sender = pair
    page, theirs = viewer.open(ward), viewer.open(sender)
    transfer = offer(pair, study)
    press(page, transfer, "Decline", "waiting")
    back(page)
    sees_state(page, transfer, "waiting", "offered")
    press(page, transfer, "Decline", "waiting")
    expect(dialog(page)).to_contain_text(_PATIENT)
    if reason:
        dialog(page).get_by_label("Reason").fill(reason)
    confirm(page, "Decline")
    gone(page, transfer, "waiting")
    sees_state(page, transfer, "inbox", "declined")
    sees_state(theirs, transfer, "outbox", "declined")
    expect(card(theirs, transfer, "outbox")).to_contain_text(reason or "declined")
    assert audited(ward, transfer, "decline") == ["page"]


def test_verify_and_discard(pair: Pair, viewer: Viewer, study: Path) -> None:
    ward, _ = pair
    transfer = sealed(pair, study)
    page = viewer.open(ward)
    press(page, transfer, "Verify", "waiting")
    expect(card(page, transfer, "waiting")).to_contain_text("every byte was read again")
    press(page, transfer, "Discard", "waiting")
    for text in (_PATIENT, "ct-room", "cannot be brought back"):
        expect(dialog(page)).to_contain_text(text)
    # What cannot be undone is not one press of Enter away.
    expect(dialog(page).get_by_role("button", name="Back")).to_be_focused()
    confirm(page, "Discard")
    sees_state(page, transfer, "inbox", "discarded")
    assert not list(ward.vault.glob(f"{transfer}*"))
    assert audited(ward, transfer, "verify") == ["page"]
    assert audited(ward, transfer, "discard") == ["page"]


def test_a_damaged_file_is_told(pair: Pair, viewer: Viewer, study: Path) -> None:
    """An error of an act stands on the card, with what to do."""
    ward, _ = pair
    transfer = sealed(pair, study)
    page = viewer.open(ward)
    (file,) = ward.vault.glob(f"{transfer}*")
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    viewer.faults.expect(422)
    press(page, transfer, "Verify", "waiting")
    alert = card(page, transfer, "waiting").get_by_role("alert")
    expect(alert).to_contain_text("not authentic")


def test_cancel(pair: Pair, viewer: Viewer, study: Path) -> None:
    ward, sender = pair
    transfer = offer(pair, study)
    page, theirs = viewer.open(sender), viewer.open(ward)
    press(page, transfer, "Cancel", "active")
    for text in (_PATIENT, "ward-a"):
        expect(dialog(page)).to_contain_text(text)
    confirm(page, "Cancel")
    gone(page, transfer, "active")
    sees_state(page, transfer, "outbox", "cancelled")
    gone(theirs, transfer, "waiting")
    assert audited(sender, transfer, "cancel") == ["page"]


def test_recall_before_the_release(pair: Pair, viewer: Viewer, study: Path) -> None:
    ward, sender = pair
    transfer = sealed(pair, study)
    page, theirs = viewer.open(sender), viewer.open(ward)
    press(page, transfer, "Recall", "outbox")
    for text in (_PATIENT, "ward-a"):
        expect(dialog(page)).to_contain_text(text)
    dialog(page).get_by_label("Reason").fill("wrong study")
    confirm(page, "Recall")
    sees_state(page, transfer, "outbox", "recalled")
    sees_state(theirs, transfer, "inbox", "recalled")
    gone(theirs, transfer, "waiting")
    assert audited(sender, transfer, "recall")[0] == "page"


@pytest.mark.parametrize(("words", "fact"), [("destroyed", "recalled"), ("kept", "kept")])
def test_recall_after_the_release_asks_a_person(
    pair: Pair,
    viewer: Viewer,
    study: Path,
    tmp_path: Path,
    words: str,
    fact: str,
) -> None:
    ward, sender = pair
    transfer = sealed(pair, study)
    ward.cli("inbox", "release", transfer, "--to", tmp_path / "out").ok()
    sender.wait_state("outbox", transfer, "released")
    page, theirs = viewer.open(sender), viewer.open(ward)
    press(page, transfer, "Recall", "outbox")
    dialog(page).get_by_label("Reason").fill("other patient")
    confirm(page, "Recall")
    waiting = card(theirs, transfer, "waiting")
    expect(waiting).to_have_attribute("data-why", "answer")
    expect(waiting).to_contain_text("other patient")
    press(theirs, transfer, "Answer", "waiting")
    dialog(theirs).get_by_label(words).check()
    dialog(theirs).get_by_label("Who says so").fill("Dr. Köhler")
    if words == "destroyed":
        viewer.faults.expect(409)
        dialog(theirs).get_by_role("button", name="Answer", exact=True).click()
        expect(dialog(theirs).get_by_role("alert")).to_contain_text("still there")
        shutil.rmtree(tmp_path / "out")
    confirm(theirs, "Answer")
    gone(theirs, transfer, "waiting")
    if fact == "recalled":
        sees_state(page, transfer, "outbox", "recalled")
    else:
        expect(card(page, transfer, "outbox")).to_contain_text("keeps what was released")
    press(page, transfer, "Show", "outbox")
    expect(dialog(page).locator("[data-fact]").filter(has_text="Dr. Köhler")).to_be_visible()


def test_accept_with_a_target(pair: Pair, viewer: Viewer, study: Path, tmp_path: Path) -> None:
    ward, _ = pair
    ward.cli("targets", "add", "reading-room", f"folder:{tmp_path / 'room'}").ok()
    transfer = offer(pair, study)
    page = viewer.open(ward)
    card(page, transfer, "waiting").get_by_label("Once sealed").select_option("reading-room")
    press(page, transfer, "Accept", "waiting")
    sees_state(page, transfer, "inbox", "released")
    assert Path(ward.row("inbox", transfer)["released_to"]).parent == tmp_path / "room"
    ward.cli("targets", "remove", "reading-room").ok()


def test_a_folder_that_nobody_can_type_is_shown_and_used(
    pair: Pair, viewer: Viewer, study: Path
) -> None:
    """Its name is no UTF-8: the field shows it with marks, and exactly that folder is meant."""
    ward, _ = pair
    transfer = sealed(pair, study)
    room = Path(os.fsdecode(bytes(ward.home.parent) + b"/room-\xff"))
    room.mkdir()
    page = viewer.open(ward)
    press(page, transfer, "Release", "waiting")
    form = dialog(page)
    form.get_by_role("button", name="Browse").click()
    folders = form.get_by_role("group", name="Folders of this workstation")
    entry = folders.locator("li").filter(has_text="room-\\xff/")
    entry.get_by_role("button", name="Choose").click()
    shown = f"{ward.home.parent}/room-\\xff"
    expect(form.get_by_label("Folder", exact=True)).to_have_value(shown)
    confirm(page, "Release")
    sees_state(page, transfer, "inbox", "released")
    assert len(list(room.iterdir())) == 1


def release_form(page: Page, transfer: str, folder: Path) -> Locator:
    """Open the dialog of a release into a folder, with all its fields in sight."""
    press(page, transfer, "Release", "waiting")
    form = dialog(page)
    form.get_by_label("Folder", exact=True).fill(str(folder))
    form.get_by_text("Expected patient, time limit").click()
    return form


def test_refused_when_somebody_else_was_expected(
    pair: Pair, viewer: Viewer, study: Path, tmp_path: Path
) -> None:
    """The same checks as on the command line; the dialog stays and says why."""
    ward, _ = pair
    transfer = sealed(pair, study)
    page = viewer.open(ward)
    viewer.faults.expect(409)
    form = release_form(page, transfer, tmp_path / "out")
    form.get_by_label("Patient ID").fill("MRN-1")
    form.get_by_role("button", name="Release", exact=True).click()
    expect(form.get_by_role("alert")).to_contain_text("expected")
    assert not (tmp_path / "out").exists()
    form.get_by_label("Patient ID").fill(_ID)
    confirm(page, "Release")
    sees_state(page, transfer, "inbox", "released")


def test_a_time_limit_of_nothing_is_refused(
    pair: Pair, viewer: Viewer, study: Path, tmp_path: Path
) -> None:
    """Only an empty field means for ever; "0h" is a time that cannot be, as for `--for`."""
    ward, _ = pair
    transfer = sealed(pair, study)
    page = viewer.open(ward)
    viewer.faults.expect(400)
    form = release_form(page, transfer, tmp_path / "out")
    form.get_by_label("Remove unchanged files after").fill("0h")
    form.get_by_role("button", name="Release", exact=True).click()
    expect(form.get_by_role("alert")).not_to_be_empty()
    assert not (tmp_path / "out").exists()
    form.get_by_label("Remove unchanged files after").fill("")
    confirm(page, "Release")
    sees_state(page, transfer, "inbox", "released")


def test_two_people_decide_at_once(pair: Pair, viewer: Viewer, study: Path) -> None:
    """Whoever comes second is told so, and nothing is done twice."""
    ward, _ = pair
    transfer = offer(pair, study)
    one, other = viewer.open(ward), viewer.open(ward)
    viewer.faults.expect(409)
    press(other, transfer, "Decline", "waiting")
    press(one, transfer, "Accept", "waiting")
    ward.wait_state("inbox", transfer, "sealed")
    dialog(other).get_by_role("button", name="Decline", exact=True).click()
    expect(dialog(other).get_by_role("alert")).not_to_be_empty()
    back(other)
    sees_state(other, transfer, "inbox", "sealed")
    assert audited(ward, transfer, "decline") == []


def test_a_double_click_is_one_decision(pair: Pair, viewer: Viewer, study: Path) -> None:
    ward, _ = pair
    first, second = offer(pair, study), offer(pair, study)
    page = viewer.open(ward)
    expect(card(page, second, "waiting")).to_be_visible()
    accept = card(page, first, "waiting").get_by_role("button", name="Accept", exact=True)
    accept.dblclick()
    ward.wait_state("inbox", first, "sealed")
    assert ward.row("inbox", second)["state"] == "offered"
    assert audited(ward, first, "accept") == ["page"]
    ward.cli("inbox", "decline", second).ok()


def test_an_expiring_study_and_a_hold_stand_out(pair: Pair, viewer: Viewer, study: Path) -> None:
    ward, _ = pair
    transfer = sealed(pair, study)
    page = viewer.open(ward)
    expect(region(page, "waiting").locator("h2")).to_contain_text("Waiting for you")
    wait_until(lambda: ward.row("inbox", transfer)["checked"] is not None)
    press(page, transfer, "Show", "waiting")
    expect(dialog(page)).to_contain_text("The files are what the label promised")
    picture(page, "show")
