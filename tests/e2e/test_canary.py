"""Patient data lies in clear nowhere but at the release target, whatever happens on the way."""

import json
import os
import sys
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
from tests.helpers.dicoms import dataset, file_of, pixels

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


def test_labels_and_expectations_are_nowhere_in_clear(hospital: Hospital, tmp_path: Path) -> None:
    # What the headers say, what is expected, what is typed for files without a header.
    name, number, born = "Wubbleflorp^Zzyzx", "QUIBBLE-4711", "19310417"
    accession, study, typed = "ACC-Snorkack", "Frumious thorax", "Bandersnatch^Ida"
    words = (name, number, accession, study, typed)
    source = tmp_path / "source"
    source.mkdir()
    tags: dict[int, tuple[str, bytes | str] | None] = {
        0x00100010: ("PN", name),
        0x00100020: ("LO", number),
        0x00100030: ("DA", born),
        0x00080050: ("SH", accession),
        0x00081030: ("LO", study),
    }
    for one in range(3):
        body = dataset({**tags, 0x00080018: ("UI", f"1.2.3.{one}")}) + pixels()
        (source / f"{one}.dcm").write_bytes(file_of(body))
    (tmp_path / "plain.txt").write_text("nothing")
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    introduce(ct, ward, confirm="typed")
    introduce(ward, ct, accept="ask")

    def check(when: str) -> None:
        for one in (ct, ward):
            for word in words:
                assert find_canary(one.home, word) == [], when
                assert word not in one.log_text(), when
                assert word not in one.cli("status").ok().out, when
                assert not [line for line in one.children() if word in line], when
            for row in one.cli("audit").ok().document:
                del row["label"]  # sealed at rest, and shown to who may see it
                assert not [word for word in words if word in str(row)], when

    wrong = ct.cli(
        "send", "ward-a", source, "--expect-from", "-", input=json.dumps({"patient_id": "other"})
    )
    assert wrong.code == 5
    assert not [word for word in words if word in wrong.document["error"]["text"]]
    check("refused")
    expected = json.dumps({"patient_id": number, "birth_date": born, "accession": accession})
    sent = ct.cli("send", "ward-a", source, "--expect-from", "-", "--no-wait", input=expected)
    transfer = sent.ok().document["id"]
    assert sent.document["label"]["patients"][0]["id"] == number
    ward.wait_state("inbox", transfer, "offered")
    check("offered")
    ward.cli("inbox", "accept", transfer).ok()
    ward.wait_state("inbox", transfer, "sealed")
    ct.wait_state("outbox", transfer, "sealed")
    check("sealed")
    assert ward.row("inbox", transfer)["label"]["patients"][0]["name"] == name
    # The typed words stand in the arguments of the command, for which there is --expect-from.
    ct.cli("peers", "set", "ward-a", "confirm=none").ok()
    answer = ct.cli(
        "send", "ward-a", tmp_path / "plain.txt", "--yes", "--no-wait",
        "--patient-id", number, "--patient-name", typed,
    ).ok()  # fmt: skip
    ward.wait_state("inbox", answer.document["id"], "offered")
    check("typed")
    ward.cli("inbox", "decline", answer.document["id"]).ok()
    ct.wait_state("outbox", answer.document["id"], "declined")
    check("declined")


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


def test_the_look_and_the_release_tell_nobody(hospital: Hospital, tmp_path: Path) -> None:
    """The child that reads headers, the command over the staged folder, the rows of releases."""
    source = tmp_path / "source" / PLACE
    make_study(source / CANARY, 30, patient_name=CANARY, patient_id=CANARY)
    ct, ward = hospital.pair("ct-room", "ward-a")
    seen, script = tmp_path / "seen", tmp_path / "scan.py"
    script.write_text(
        "import os, sys, time\n"
        f"open({str(seen)!r}, 'a').write(repr((sys.argv, dict(os.environ), os.getcwd())))\n"
        "print(os.listdir(sys.argv[1]), file=sys.stderr)\n"
    )
    with (ward.home / "config.toml").open("a") as config:
        config.write(f"release.scan = {json.dumps([sys.executable, str(script)])}\n")
    ward.cli("reload").ok()
    ward.cli("targets", "add", "reading", f"folder:{tmp_path}/out/{PLACE}").ok()
    sent = ct.send("ward-a", source)
    watched = ward.children()
    ward.wait_state("inbox", sent, "sealed")
    expectation = json.dumps({"patient_id": CANARY})
    wrong = json.dumps({"patient_id": f"{CANARY}-not"})
    order = ("inbox", "release", sent, "--target", "reading", "--for", "8h", "--expect-from", "-")
    refused = ward.cli(*order, input=wrong)
    assert refused.code == 5
    assert CANARY not in refused.out + refused.err
    ward.cli(*order, input=expectation).ok()
    watched += ward.children()
    assert CANARY in ward.cli("inbox", "show", sent).ok().out, "who may see it does"
    assert PLACE in ward.cli("released").ok().out
    records = ward.cli("audit").ok().document
    for word in (CANARY, NOTE):
        assert word not in seen.read_text()
        assert not [line for line in watched if word in line]
        assert word not in json.dumps([one["detail"] for one in records])
        assert word not in ward.cli("status").ok().out
        assert word not in ward.log_text() + ct.log_text()
    for one in (ct, ward):
        assert find_canary(one.home, CANARY) == []
    ward.kill()
    ward.start()
    assert find_canary(ward.home, CANARY) == []
