"""An ordinary morning at one workstation, as docs/page.png shows it: morning-1600.png, smaller."""

from pathlib import Path

import pytest
from playwright.sync_api import expect
from pydicom import dcmread

from examples.forwarder import Forwarder
from examples.study import make_study
from medp2p import limits
from tests.browser.clicking import sees_state
from tests.browser.viewing import WIDE, Viewer, card, picture, region
from tests.e2e.harness import Hospital, Workstation, introduce

pytestmark = pytest.mark.browser


def station(hospital: Hospital, name: str, told: str, department: str, place: str) -> Workstation:
    """Make a workstation that tells something of itself."""
    made = hospital.make(name, start=False)
    config = made.home / "config.toml"
    text = config.read_text().replace(f'name = "{name}"', f'name = "{told}"')
    for key, value in (("department", department), ("place", place)):
        text = text.replace(f'{key} = ""', f'{key} = "{value}"')
    config.write_text(text)
    made.start()
    return made


def study(
    folder: Path, count: int, edge: int, name: str, number: str, born: str, what: str
) -> Path:
    """Write a study of somebody."""
    make_study(folder, count, edge=edge, patient_name=name, patient_id=number, seed=number)
    for path in folder.rglob("*.dcm"):
        dataset = dcmread(path)
        dataset.PatientBirthDate, dataset.PatientSex = born, "F"
        dataset.StudyDescription, dataset.StudyDate = what, "20261125"
        dataset.SeriesDescription = "axial" if dataset.SeriesNumber == 1 else "coronal"
        dataset.save_as(path)
    return folder


def test_an_ordinary_morning(hospital: Hospital, viewer: Viewer, tmp_path: Path) -> None:
    ward = station(hospital, "reading-1", "Reading 1", "Radiology", "Building 3")
    ct = station(hospital, "ct-2", "CT 2", "Radiology", "Building 1")
    card_lab = station(hospital, "cardiology", "Cath lab", "Cardiology", "Building 5")
    with Forwarder(("127.0.0.1", ward.port)) as link:
        introduce(ct, ward, address=link.address)
        introduce(card_lab, ward)
        introduce(ward, card_lab, accept="ask")
        introduce(ward, ct)
        for peer in ("ct-2", "cardiology"):
            ward.cli("peers", "verify", peer).ok()
        studies = tmp_path / "studies"
        done = study(studies / "a", 4, 128, "BERG^OTTILIE", "MRN-0031185", "19480911", "CT Head")
        ready = study(studies / "b", 6, 128, "NOVAK^IRENA", "MRN-0040271", "19610330", "CT Chest")
        urgent = study(
            studies / "c", 4, 128, "ROENTGEN^ANNA", "MRN-0042117", "19701102", "CTA Aorta"
        )
        moving = study(
            studies / "d", 60, 512, "DUBOIS^CLAIRE", "MRN-0038450", "19830517", "CT Abdomen"
        )
        first = ward.send("cardiology", done)
        card_lab.wait_state("inbox", first, "sealed")
        card_lab.cli("inbox", "release", first, "--to", tmp_path / "released").ok()
        second = ct.send("reading-1", ready)
        ward.wait_state("inbox", second, "sealed")
        page = viewer.open(ward)
        link.pace(1.5 * limits.MIB)
        third = ct.send("reading-1", moving)
        offer = card_lab.send(
            "reading-1", urgent, "--priority", "stat", "--note", "before surgery at 14:00"
        )
        sees_state(page, third, "active", "receiving")
        sees_state(page, offer, "waiting", "offered")
        sees_state(page, second, "waiting", "sealed")
        pace = card(page, third, "active").locator(".progress-pace")
        expect(pace).to_contain_text("left")
        expect(card(page, third, "active").locator(".sparkline-line")).not_to_have_attribute(
            "d", ""
        )
        expect(region(page, "inbox").locator("[data-transfer]")).to_have_count(3)
        sees_state(page, first, "outbox", "released")
        page.set_viewport_size({"width": WIDE, "height": 1000})
        picture(page, "morning", whole=False)
