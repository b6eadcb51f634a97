"""The right patient to the right recipient: real files, real daemons, the command line only."""

import hashlib
import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import Answer, Hospital, Workstation, command, environment, introduce
from tests.helpers.dicoms import DISC, PYDICOM, dataset, file_of, pixels

pytestmark = pytest.mark.e2e


def write(folder: Path, file: str, uid: str, **patient: str) -> Path:
    """Write a small CT of Jane, or of whoever is given."""
    tags = {
        "name": (0x00100010, "PN"),
        "id": (0x00100020, "LO"),
        "born": (0x00100030, "DA"),
        "study": (0x0020000D, "UI"),
    }
    changes = {tags[key][0]: (tags[key][1], value) for key, value in patient.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    body = dataset({**changes, 0x00080018: ("UI", uid)}) + pixels()
    path.write_bytes(file_of(body))
    return path


@pytest.fixture
def jane(tmp_path: Path) -> Path:
    for number in range(3):
        write(tmp_path / "jane", f"{number}.dcm", f"1.2.3.9.{number}")
    return tmp_path / "jane"


@pytest.fixture
def pair(hospital: Hospital) -> tuple[Workstation, Workstation]:
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    introduce(ct, ward, confirm="typed")
    introduce(ward, ct)
    return ct, ward


def codes(answer: Answer) -> set[str]:
    return {one["code"] for one in answer.document["findings"]}


def test_typed_wants_an_expectation_without_a_terminal(
    pair: tuple[Workstation, Workstation], jane: Path, tmp_path: Path
) -> None:
    ct, ward = pair
    silent = ct.cli("send", "ward-a", jane)
    assert silent.code == 2
    alone = ct.cli("send", "ward-a", jane, "--yes")
    assert (alone.code, alone.document["error"]["code"]) == (5, "check-refused")

    wrong = {"patient_id": "654321"}, {"patient_id": "123456", "birth_date": "1970-02-04"}
    for expected in wrong:
        answer = ct.cli("send", "ward-a", jane, "--expect-from", "-", input=json.dumps(expected))
        assert answer.code == 5, answer
        assert "Doe" not in answer.document["error"]["text"]
    assert ct.rows("outbox") == []

    form = tmp_path / "form.json"
    form.write_text(json.dumps({"patient_id": "123456", "birth_date": "1970-02-03"}))
    answer = ct.cli("send", "ward-a", jane, "--expect-from", form, "--wait").ok()
    sent = answer.document["id"]
    label = ward.row("inbox", sent)["label"]
    (patient,) = label["patients"]
    assert (patient["id"], patient["name"]) == ("123456", "Doe^Jane")
    assert (patient["birth_date"], patient["images"]) == ("19700203", 3)
    assert ct.row("outbox", sent)["label"] == label
    sends = [row for row in ct.cli("audit").ok().document if row["event"] == "send"]
    assert [row["outcome"] for row in sends] == ["refused"] * 3 + ["ok"]
    assert sends[-1]["detail"]["confirm"] == "expect"
    assert sends[-1]["label"]["patients"][0]["id"] == "123456"


def test_options_say_it_too(pair: tuple[Workstation, Workstation], jane: Path) -> None:
    ct, _ = pair
    words = ("send", "ward-a", jane, "--no-wait", "--expect-patient")
    assert ct.cli(*words, "123457").code == 5
    assert ct.cli(*words, "123456", "--expect-birth-date", "19710203").code == 5
    ct.cli(*words, "123456", "--expect-birth-date", "19700203").ok()


def typed(one: Workstation, *args: str | Path, answers: list[str]) -> tuple[int, str]:
    """Run a command on a terminal, and answer each question; "" ends the input."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        command(args, json=False),
        env=environment(one.home),
        stdin=slave,
        stderr=slave,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        os.close(slave)
        seen = ""
        for answer in answers:
            since = len(seen)
            while "shows them): " not in seen[since:]:
                seen += os.read(master, 10_000).decode(errors="replace")
            os.write(master, answer.encode() + b"\n" if answer else b"\x04")
            seen += "\n"
        try:
            while data := os.read(master, 10_000):
                seen += data.decode(errors="replace")
        except OSError:
            pass  # the other end is closed
        code = process.wait(60)
    os.close(master)
    return code, seen


def test_a_person_types_what_stands_on_the_form(
    pair: tuple[Workstation, Workstation], jane: Path
) -> None:
    ct, _ = pair
    words = ("send", "ward-a", jane, "--no-wait")
    code, seen = typed(ct, *words, answers=["1970"])
    assert code == 0, seen
    screen = seen.partition("type the birth year")[0]
    assert "Doe^Jane" in screen
    assert "123456" not in screen
    assert "1970" not in screen.replace("1970-01-01", "")
    assert "12\u2022\u2022\u2022\u2022" in screen

    code, seen = typed(ct, *words, answers=["?", "3456"])
    assert code == 0, seen
    assert "ID 123456" in seen.partition("type the birth year")[2]
    for wrong in ("1971", "123", "y", ""):
        code, seen = typed(ct, *words, answers=[wrong])
        assert code == 5, (wrong, seen)
    events = [row["event"] for row in ct.cli("audit").ok().document]
    assert events.count("reveal-label") == 1
    assert len(ct.rows("outbox")) == 2


def test_two_patients_stop_a_send_or_become_two(
    pair: tuple[Workstation, Workstation], tmp_path: Path
) -> None:
    ct, ward = pair
    ct.cli("peers", "set", "ward-a", "confirm=none").ok()
    disc = tmp_path / "disc"
    shutil.copytree(DISC, disc)
    refused = ct.cli("send", "ward-a", disc, "--yes")
    assert refused.code == 5
    assert "mixed-patients" in codes(refused)
    (mixed,) = (one for one in refused.document["findings"] if one["code"] == "mixed-patients")
    assert mixed["level"] == "block"
    assert mixed["files"]
    assert "Doe^Archibald" in mixed["text"]
    assert "Doe^Peter" in mixed["text"]
    assert ct.cli("send", "ward-a", disc, "--yes", "--allow-mixed").code == 5
    assert ct.rows("outbox") == []

    ct.cli("peers", "set", "ward-a", "allow-mixed=yes").ok()
    ct.cli("peers", "set", "ward-a", "allow=study-two-patients").ok()
    whole = ct.cli("send", "ward-a", disc, "--yes", "--allow-mixed", "--no-wait")
    assert whole.code == 0, whole
    assert "mixed-patients" in whole.document["label"]["allowed"]

    split = ct.cli("send", "ward-a", disc, "--yes", "--split-by-patient", "--no-wait")
    assert split.code == 0, split
    rows = split.documents
    names = sorted(row["label"]["patients"][0]["name"] for row in rows)
    assert {"Doe^Archibald", "Doe^Peter"} <= set(names)
    assert len(set(names)) == len(names), "one transfer each"
    assert all(len(row["label"]["patients"]) == 1 for row in rows)
    for row in rows:
        there = ward.wait_state("inbox", row["id"], "sealed")
        assert there["label"] == row["label"]


def test_files_without_a_header(pair: tuple[Workstation, Workstation], tmp_path: Path) -> None:
    ct, ward = pair
    report = tmp_path / "report.pdf"
    report.write_bytes(b"%PDF-1.4 nothing")
    words = ("send", "ward-a", report, "--yes", "--no-wait")
    bare = ct.cli(*words)
    assert bare.code == 5
    assert "--no-patient-data" in bare.err
    assert ct.cli(*words, "--patient-id", "7").code == 2, "one identifier is none"
    typed = ("--patient-id", "7", "--birth-date", "1990-01-02")
    assert ct.cli(*words, *typed).code == 5, "--yes alone does not say that it is that patient"
    assert ct.cli(*words, "--patient-id", "7", "--birth-date", "1990-02-30").code == 2
    assert ct.cli(*words, *typed, "--expect-patient", "8").code == 5
    named = ct.cli(*words, *typed, "--expect-patient", "7").ok()
    there = ward.wait_state("inbox", named.document["id"], "sealed")
    assert there["label"]["typed"]["id"] == "7"
    assert there["label"]["typed"]["birth_date"] == "19900102"
    nobody = ct.cli(*words, "--no-patient-data").ok()
    assert nobody.document["label"]["no_patient_data"] is True
    ct.cli("peers", "set", "ward-a", "confirm=none").ok()
    ct.cli(*words).ok()


def test_findings_levels(pair: tuple[Workstation, Workstation], jane: Path, tmp_path: Path) -> None:
    ct, _ = pair
    ct.cli("peers", "set", "ward-a", "confirm=none").ok()
    words = ("send", "ward-a", jane, "--yes", "--no-wait")
    # warn and info never stop.
    (jane / "autorun.inf").write_text("[autorun]")
    (jane / "notes.txt").write_text("seen")
    warned = ct.cli(*words).ok()
    assert {"autorun", "no-header"} <= codes(warned)
    # A hold passes with --allow; nothing else lets it.
    whole = (PYDICOM / "test_files" / "CT_small.dcm").read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "a.dcm").write_bytes(whole[:-1000])
    cut = ("send", "ward-a", tmp_path / "cut", "--yes", "--no-wait")
    held = ct.cli(*cut)
    assert held.code == 5
    assert {(one["code"], one["level"]) for one in held.document["findings"]} >= {
        ("truncated", "hold")
    }
    assert ct.cli(*cut, "--allow", "nonsense").code == 2
    assert ct.cli(*cut, "--allow", "truncated").ok().document["label"]["allowed"] == ["truncated"]
    # One instance, two contents: only when told to keep both.
    write(jane, "again.dcm", "1.2.3.9.0", born="19700203 ")
    (jane / "again.dcm").write_bytes((jane / "again.dcm").read_bytes() + b"\0\0")
    twice = ct.cli(*words)
    assert twice.code == 5
    assert "same-instance" in codes(twice)
    ct.cli(*words, "--keep-both").ok()
    left = ct.cli(*words, "--exclude", "again.*", "--exclude", "*.inf").ok()
    assert left.document["files"] == 4
    assert ct.cli(*words, "--exclude", "*").code == 2


def test_somebody_outside_wants_a_purpose_and_leaves_time(
    pair: tuple[Workstation, Workstation], jane: Path
) -> None:
    ct, ward = pair
    ct.cli("peers", "set", "ward-a", "domain=external", "phone=+49 30 1234").ok()
    words = ("send", "ward-a", jane, "--expect-patient", "123456", "--no-wait")
    assert ct.cli(*words).code == 2
    queued = ct.cli(*words, "--purpose", "second-opinion").ok()
    assert "+49 30 1234" in queued.err
    row = queued.document
    assert row["reason"]["code"] == "undo"
    assert ct.cli("outbox", "cancel", row["id"]).ok().document["state"] == "cancelled"
    assert [one["id"] for one in ward.rows("inbox")] == []
    ct.cli("peers", "set", "ward-a", "undo=1").ok()
    later = ct.cli(*words, "--purpose", "second-opinion").ok().document
    ward.wait_state("inbox", later["id"], "sealed")
    detail = [row for row in ct.cli("audit").ok().document if row["event"] == "send"][-1]["detail"]
    assert (detail["purpose"], detail["domain"]) == ("second-opinion", "external")


def test_no_file_is_changed_by_looking(
    pair: tuple[Workstation, Workstation], tmp_path: Path
) -> None:
    """Every file of pydicom: read, labelled, carried, released, byte for byte the same."""
    ct, ward = pair
    ct.cli("peers", "set", "ward-a", "confirm=none", "allow-mixed=yes").ok()
    ct.cli("peers", "set", "ward-a", "allow=same-instance,study-two-patients").ok()
    source = tmp_path / "files"
    shutil.copytree(PYDICOM / "test_files", source)
    before = digests(source)
    held = ("--allow", "truncated", "--allow", "study-two-patients")
    answer = ct.cli(
        "send", "ward-a", source, "--yes", "--allow-mixed", "--keep-both", *held, "--no-wait"
    )
    assert answer.code == 0, answer
    sent = answer.document["id"]
    ward.wait_state("inbox", sent, "sealed")
    row = ward.cli("inbox", "release", sent, "--to", tmp_path / "out").ok().document
    assert digests(Path(row["released_to"]) / "files") == before
    assert digests(source) == before


def digests(folder: Path) -> dict[str, str]:
    """Return path -> SHA-256 of each file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_split_is_confirmed_as_a_whole(pair: tuple[Workstation, Workstation], jane: Path) -> None:
    """One of two patients is expected: neither is sent."""
    ct, ward = pair
    john = {"name": "Roe^John", "id": "777888", "born": "19500101", "study": "1.2.8"}
    write(jane, "john.dcm", "1.2.3.8", **john)
    words = ("send", "ward-a", jane, "--split-by-patient", "--no-wait", "--expect-from", "-")
    one, other = {"patient_id": "123456"}, {"patient_id": "777888"}
    assert ct.cli(*words, input=json.dumps(one)).code == 5
    assert ct.rows("outbox") == []
    rows = ct.cli(*words, input=json.dumps([one, other])).ok().documents
    assert {row["label"]["patients"][0]["id"] for row in rows} == {"123456", "777888"}
    for row in rows:
        ward.wait_state("inbox", row["id"], "sealed")
