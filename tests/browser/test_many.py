"""Years of use behind it: the page asks for little, gets little and holds little."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Response, expect

from bench import speed
from bench.many import fill
from examples.study import make_study
from tests.browser.clicking import sees_state
from tests.browser.stations import Pair, ward_and_sender
from tests.browser.viewing import Viewer, picture, ready, region, web_address
from tests.e2e.harness import Hospital

pytestmark = pytest.mark.browser

_COUNT = 10_000
#: Files of the page, the session, one snapshot, the events.
_REQUESTS = 60
_SNAPSHOT_BYTES = 300_000
_ELEMENTS = 6000


@pytest.fixture(scope="module")
def old(shared_hospital: Hospital, study: Path) -> Pair:
    """A workstation with 10,000 transfers in its store, and a peer."""
    ward, ct = ward_and_sender(shared_hospital, accept="auto")
    for sender, receiver in ((ct, ward), (ward, ct)):
        sender.wait_state("outbox", sender.send(receiver.name, study), "sealed")
    ward.stop()
    fill(ward.home, _COUNT)
    ward.start()
    return ward, ct


def test_opening_it_costs_little(old: Pair, viewer: Viewer) -> None:
    ward, ct = old
    page = viewer.context().new_page()
    address = web_address(ward)
    viewer.faults.watch(page, address.partition("/#")[0])
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))
    page.goto(address)
    ready(page)
    for box in ("inbox", "outbox"):
        expect(region(page, box).locator("[data-transfer]").first).to_be_visible()
        expect(region(page, box)).to_contain_text("of 5,001 transfers")
    assert len(answers) <= _REQUESTS, [one.url for one in answers]
    snapshots = [one for one in answers if "/v1/overview" in one.url]
    assert len(snapshots) == 1
    assert len(snapshots[0].body()) < _SNAPSHOT_BYTES
    assert page.evaluate("() => document.querySelectorAll('*').length") < _ELEMENTS
    picture(page, "ten-thousand")
    # What comes next is told by one event, not by all of it once more.
    before = len(answers)
    study = ct.home.parent / "next"
    make_study(study, 2, edge=128)
    transfer = ct.send("ward-a", study)
    sees_state(page, transfer, "inbox", "sealed")
    assert len([one for one in answers[before:] if "/v1/" in one.url]) < 8


def test_the_oldest_are_found(old: Pair, viewer: Viewer) -> None:
    """By patient: all labels are opened, a bounded number for each answer."""
    ward, _ = old
    page = viewer.open(ward)
    form = region(page, "search")
    form.get_by_role("searchbox").fill(f"patient {_COUNT}")
    with page.expect_response("**/v1/search*"):
        form.get_by_role("button", name="Search").click()
    more = form.get_by_role("button", name="More")
    hit = form.locator("[data-transfer]")
    expect(form.locator(".results > [role=status]")).to_contain_text("Nothing found so far")
    for _ in range(20):
        with page.expect_response("**/v1/search*") as answer:
            more.click()
        if answer.value.json()["transfers"]:
            break
    expect(hit).to_have_count(1)
    expect(hit).to_contain_text(f"MRN-{_COUNT:07}")
    form.get_by_role("button", name="Close").click()
    # And page by page in a box.
    box = region(page, "inbox")
    shown = box.locator("[data-transfer]").count()
    box.get_by_role("button", name="More").click()
    expect(box.locator("[data-transfer]")).to_have_count(shown + 20)


@pytest.mark.slow
def test_the_benchmark_of_the_page_runs(tmp_path: Path) -> None:
    words = ["--scale", "0.002", "--rounds", "1", "--warmups", "0"]
    folders = ["--folder", str(tmp_path), "--results", str(tmp_path / "results")]
    done = subprocess.run(
        [sys.executable, str(speed.__file__), *words, *folders, "page"],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    [path] = (tmp_path / "results").glob("*.json")
    outcomes: list[dict[str, Any]] = json.loads(path.read_text())["outcomes"]
    assert [one["unit"] for one in outcomes] == ["s", "s", "%", "%"]
    assert all(0 < one["median"] < 60 for one in outcomes if one["unit"] == "s")
