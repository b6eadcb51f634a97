"""Patient data lies in clear nowhere but at the release target, whatever happens on the way."""

import os
from pathlib import Path

import pytest

from examples.forwarder import Forwarder
from examples.study import make_study
from tests.e2e.harness import (
    Hospital,
    Workstation,
    find_canary,
    introduce,
    open_to_others,
    tree_digest,
)

pytestmark = pytest.mark.e2e

CANARY = "KANARI^VOGEL"
PLACE = "Zzyzx-Quiberon"
NOTE = "Wubbleflorp-please"


def test_names_contents_and_notes_are_nowhere_in_clear(hospital: Hospital, tmp_path: Path) -> None:
    # Names of folders, of files and of the selection itself; header; note; reason.
    source = tmp_path / "source" / PLACE
    make_study(source / CANARY, 20, patient_name=CANARY, patient_id=CANARY)
    (source / f"{CANARY}.txt").write_text(CANARY * 1000)
    (source / "link").symlink_to(CANARY)
    words = (CANARY, PLACE, NOTE)
    assert find_canary(tmp_path / "source", CANARY), "the search itself works"

    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")

    def check(when: str, *stations: Workstation) -> None:
        for one in (ct, ward):
            for word in words:
                assert find_canary(one.home, word) == [], when
                assert word not in one.log_text(), when
        for one in stations:
            status = one.cli("status").ok().out
            assert not [word for word in words if word in status], when
            assert not [line for line in one.children() for word in words if word in line], when

    with Forwarder(("127.0.0.1", ward.port)) as forwarder:
        introduce(ct, ward, address=forwarder.address)
        introduce(ward, ct, accept="ask")
        ward.stop()
        sent = ct.send("ward-a", source, "--note", NOTE)
        ct.wait_state("outbox", sent, "waiting")
        check("queued", ct)
        assert ct.row("outbox", sent)["note"] == NOTE, "who may see it does"

        ward.start()
        ward.wait_state("inbox", sent, "offered")
        check("offered", ct, ward)
        forwarder.hold_at(5_000_000)
        ward.cli("inbox", "accept", sent).ok()
        forwarder.wait_forward(5_000_000)
        check("under way", ct, ward)
        ct.kill()
        ward.kill()
        check("killed")
        ward.start()
        ct.start()
        forwarder.go()
        ward.wait_state("inbox", sent, "sealed", seconds=90)
        ct.wait_state("outbox", sent, "sealed")
        check("sealed", ct, ward)

        target = tmp_path / "out"
        ward.cli("inbox", "release", sent, "--to", target).ok()
        assert tree_digest(target / sent[:8] / PLACE).keys() >= {CANARY.encode()}
        assert find_canary(target, CANARY)
        check("released", ct, ward)
        ward.cli("inbox", "discard", sent).ok()
        check("discarded", ct, ward)

        # A transfer that fails names its file to the person who sent it, and to nobody else.
        forwarder.hold_at(forwarder.forward + 1_000_000)
        failing = ct.send("ward-a", source)
        ward.wait_state("inbox", failing, "offered")
        (source / f"{CANARY}.txt").write_text("changed")
        ward.cli("inbox", "accept", failing).ok()
        forwarder.go()
        ct.wait_state("outbox", failing, "failed")
        assert CANARY in ct.row("outbox", failing)["error"]["text"]
        check("failed", ct, ward)
        declined = ct.send("ward-a", source)
        ward.wait_state("inbox", declined, "offered")
        ward.cli("inbox", "decline", declined, "--reason", NOTE).ok()
        ct.wait_state("outbox", declined, "declined")
        check("declined", ct, ward)
    ct.stop()
    ward.stop()
    check("stopped")


def test_nothing_is_open_to_other_accounts(hospital: Hospital, study: Path) -> None:
    before = os.umask(0)
    try:
        ct, ward = hospital.pair("ct-room", "ward-a")
        sent = ct.send("ward-a", study)
        ward.wait_state("inbox", sent, "sealed")
    finally:
        os.umask(before)
    assert open_to_others(ct.home) == []
    assert open_to_others(ward.home) == []
