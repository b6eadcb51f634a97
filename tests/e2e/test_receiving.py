"""A receiver as people use it: the label, targets, expectations, the command, the time."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import Hospital, Workstation, introduce, tree_digest, wait_until
from tests.helpers.dicoms import DISC

pytestmark = pytest.mark.e2e

PATIENT, NAME, BORN = "98890234", "Doe^Peter", "unknown"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The images of one patient, of the disc that pydicom has."""
    found = tmp_path / "source" / "disc"
    shutil.copytree(DISC / "98892001", found)
    return found


def sealed(sender: Workstation, receiver: Workstation, source: Path) -> str:
    transfer = sender.send(receiver.name, source)
    receiver.wait_state("inbox", transfer, "sealed", "released")
    return transfer


def held(receiver: Workstation, transfer: str) -> str | None:
    found = receiver.row("inbox", transfer)["held"]
    return None if found is None else str(found["code"])


def test_whose_images_they_are_is_shown_before_and_checked_after(
    hospital: Hospital, folder: Path, tmp_path: Path
) -> None:
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    introduce(ct, ward)
    introduce(ward, ct, accept="ask")
    ward.cli("targets", "add", "reading", f"folder:{tmp_path}/reading").ok()
    assert [row["name"] for row in ward.cli("targets").ok().document] == ["reading"]
    sent = ct.send("ward-a", folder)
    row = ward.wait_state("inbox", sent, "offered")
    (patient,) = row["label"]["patients"]
    shown = ward.cli("inbox", "show", sent, json=False).ok().out
    assert patient["id"] in shown
    assert patient["name"] in shown
    accepted = ward.cli("inbox", "accept", sent, "--release-to", "reading", json=False).ok()
    assert accepted.out == f"accepted {sent}\n"
    assert patient["id"] in accepted.err
    ct.wait_state("outbox", sent, "released")
    check = ward.row("inbox", sent)["check"]
    assert (check["result"], check["differences"]) == ("agrees", [])
    assert "what the label promised" in ward.cli("inbox", "show", sent, json=False).ok().out
    assert tree_digest(tmp_path / "reading" / sent[:8] / "disc") == tree_digest(folder)
    (released,) = ward.cli("released").ok().document
    assert released["folder"] == f"{tmp_path}/reading/{sent[:8]}"
    assert "reading" in ward.cli("released", json=False).ok().out
    assert ward.cli("status").ok().document["released"] == {"folders": 1, "old": 0}

    out = tmp_path / "out"
    no = ward.cli("inbox", "release", sent, "--to", out, "--expect-patient", "someone-else")
    assert (no.code, no.document["error"]["code"]) == (5, "check-refused")
    assert patient["id"] not in no.out + no.err
    assert not out.exists()
    expectation = json.dumps({"patient_id": patient["id"]})
    yes = ward.cli(
        "inbox", "release", sent, "--target", "reading", "--expect-from", "-", input=expectation
    )
    assert yes.ok().document["released_to"] == f"{tmp_path}/reading/{sent[:8]}-2"
    records = ward.cli("audit").ok().document
    refused = [one for one in records if (one["event"], one["outcome"]) == ("release", "refused")]
    assert [one["detail"]["code"] for one in refused] == ["expectation"]
    assert ward.cli("audit", "verify").ok().document["ok"]


def test_a_command_over_the_staged_folder_and_a_time(
    hospital: Hospital, folder: Path, tmp_path: Path
) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    verdict = tmp_path / "verdict"
    verdict.write_text("1")
    script = tmp_path / "scan.py"
    script.write_text(f"import sys; sys.exit(int(open({str(verdict)!r}).read()))")
    with (ward.home / "config.toml").open("a") as config:
        config.write(f"release.scan = {json.dumps([sys.executable, str(script)])}\n")
    ward.cli("reload").ok()
    ward.cli("peers", "set", "ct-room", f"release=folder:{tmp_path}/auto").ok()
    sent = sealed(ct, ward, folder)
    wait_until(lambda: held(ward, sent) == "scan-refused")
    assert "HELD" in ward.cli("inbox", json=False).ok().out
    assert "release.scan" in ward.cli("status", json=False).ok().out
    assert not (tmp_path / "auto").exists()
    refused = ward.cli("inbox", "release", sent, "--to", tmp_path / "out")
    assert refused.code == 5
    assert not (tmp_path / "out").exists()

    verdict.write_text("0")
    done = ward.cli("inbox", "release", sent, "--to", tmp_path / "out", "--for", "2s").ok()
    made = Path(done.document["released_to"])
    assert held(ward, sent) is None
    (made / "disc" / "mine.txt").write_text("mine")
    ward.restart()
    wait_until(lambda: [path.name for path in made.rglob("*") if path.is_file()] == ["mine.txt"])
    (released,) = ward.cli("released").ok().document
    assert released["state"] == "kept"
    events = [one["event"] for one in ward.cli("audit").ok().document]
    assert "withdraw" in events


def test_limits_of_accepting_are_shown(hospital: Hospital, folder: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    wrong = ward.cli("peers", "set", "ct-room", "accept-until=tomorrow")
    assert wrong.code == 2
    ward.cli("peers", "set", "ct-room", "accept-until=2999-12-31", "max-files=100").ok()
    shown = ward.cli("status", json=False).ok().out
    assert "ct-room (max-files 100, until " in shown
    sealed(ct, ward, folder)
    ward.cli("peers", "set", "ct-room", "accept-until=2020-12-31").ok()
    assert "which has passed" in ward.cli("status", json=False).ok().out
    late = ct.send("ward-a", folder)
    ward.wait_state("inbox", late, "offered")


def test_the_look_survives_a_kill(hospital: Hospital, folder: Path, tmp_path: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    ward.cli("peers", "set", "ct-room", f"release=folder:{tmp_path}/auto").ok()
    for _ in range(3):
        sent = ct.send("ward-a", folder)
        ct.wait_state("outbox", sent, "sealed", "released")
        ward.restart()
        ct.wait_state("outbox", sent, "released")
        assert ward.row("inbox", sent)["check"]["result"] == "agrees"
        assert tree_digest(tmp_path / "auto" / sent[:8] / "disc") == tree_digest(folder)
