"""The verbs around a release, against a desk in memory."""

import json
from pathlib import Path
from typing import Any

import pytest

from medp2p.cli.label import check_fields, label_text
from medp2p.cli.releases import seconds_of
from medp2p.errors import UsageError
from tests.helpers.command import Medp2p
from tests.helpers.desk import TIME, Served, label_json

OFFERED, SEALED = "o" * 26, "s" * 26
PATIENT = {"id": "123", "issuer": "", "name": "Doe^Jane", "birth_date": "19700203", "sex": "F"}


def label(**more: Any) -> dict[str, Any]:
    return label_json(
        patients=[{**PATIENT, "raw_id": "", "raw_name": "", "images": 3}],
        findings=[
            {"code": "slice-gap", "level": "warn", "text": "1 slice", "files": [], "count": 1}
        ],
        left_out={"series": 2},
        **more,
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800), ("30 min", 1800), ("2 days", 172800), ("1w", 604800)]
)
def test_times(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "-1h", "1.5h", "8 fortnights", "9" * 30 + "h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        seconds_of(text)


def test_a_release_says_all_that_is_wanted(medp2p: Medp2p, served: Served, tmp_path: Path) -> None:
    expect = tmp_path / "expect.json"
    expect.write_text(json.dumps({"patient_id": "123"}))
    words = ("inbox", "release", "s", "--to", "/x", "--for", "8h", "--allow", "label-differs")
    assert medp2p(*words, "--expect-from", str(expect)).code == 0
    (order,) = served.desk.orders
    assert order["expect"] == {"patient_id": "123"}
    assert (order["for_seconds"], order["allow"]) == (28800, ["label-differs"])
    for wrong in (("--target", "t", "--to", "/x"), ("--to", "/x", "--for", "soon")):
        assert medp2p("inbox", "release", "s", *wrong).code == 2
    expect.write_text(json.dumps([{"patient_id": "1"}, {"patient_id": "2"}]))
    assert medp2p(*words, "--expect-from", str(expect)).code == 2


def test_what_is_held_is_shown_and_not_released(medp2p: Medp2p, served: Served) -> None:
    row = served.desk.transfers_by_id[SEALED]
    row["held"] = {"code": "label-differs", "text": "other images\x1b[2J", "since": TIME}
    assert "HELD: other images\\x1b[2J" in medp2p("inbox").out
    assert "HELD:" in medp2p("inbox", "show", "s").out
    assert medp2p("inbox", "release", "s", "--to", "/x").code == 5
    assert medp2p("inbox", "release", "s", "--to", "/x", "--allow", "label-differs").code == 0


def test_the_label_is_shown_before_and_with_the_decision(medp2p: Medp2p, served: Served) -> None:
    served.desk.transfers_by_id[OFFERED]["label"] = label()
    shown = medp2p("inbox", "show", "o").out
    assert "Doe^Jane, ID 123, born 1970-02-03, sex F; 3 images" in shown
    done = medp2p("inbox", "accept", "o")
    assert done.out == f"accepted {OFFERED}\n"
    assert "Doe^Jane" in done.err


def test_label_and_look_as_lines() -> None:
    assert label_text({}) == ""
    study = {
        "patient": 0, "uid": "1.2", "date": "20200102", "time": "", "description": "CHEST",
        "accessions": [], "modalities": ["CT"], "series": 30, "images": 30,
    }  # fmt: skip
    one = {"study": "1.2", "number": 1, "modality": "CT", "description": "x", "images": 1}
    whole = label(typed=PATIENT, studies=[study], series=[one] * 30, allowed=["slice-gap"])
    lines = label_text({"label": whole}).splitlines()
    assert lines[0] == "label: Doe^Jane, ID 123, born 1970-02-03, sex F; 3 images"
    assert lines[1] == "         CT 2020-01-02 CHEST: 30 images in 30 series"
    assert lines[2] == "           1 CT x: 1 image"
    assert "and 18 more series" in lines[14]
    assert lines[15].endswith("sex F; as typed by the sender")
    assert "       not listed here: 2 series" in lines
    assert lines[-1] == "       let pass: 1 slice [slice-gap]"


def test_the_sender_reads_the_same_words(medp2p: Medp2p, served: Served, tmp_path: Path) -> None:
    served.desk.part = {"label": label()}
    (tmp_path / "a.dcm").write_bytes(b"x")
    sent = medp2p("send", "b", str(tmp_path), "--yes", "--no-wait", COLUMNS="20").err
    served.desk.transfers_by_id[SEALED]["label"] = label()
    shown = medp2p("inbox", "show", "s").out.splitlines()
    first = next(number for number, line in enumerate(shown) if "Doe^Jane" in line)
    for line in shown[first : first + 2]:
        assert line.removeprefix("label:").strip() in sent


def test_what_the_look_found() -> None:
    assert check_fields(None) == []
    difference = {"field": "images", "expected": "3", "found": "4", "text": "\x1b[31mimages"}
    check = {"result": "differs", "time": TIME, "differences": [difference] * 25, "more": 2,
             "label": label()}  # fmt: skip
    found = check_fields(check)
    assert ("differs", "\\x1b[31mimages") in found
    assert ("differs", "and 7 more") in found
    assert any(name == "came" and "Doe^Jane" in text for name, text in found)


@pytest.mark.parametrize("target", ["rel", "/srv/x", "manual", ""])
def test_what_is_no_target_is_said_in_words_of_targets(
    medp2p: Medp2p, served: Served, target: str
) -> None:
    done = medp2p("targets", "add", "bad", target)
    assert done.code == 2
    assert "a target is folder:DIR" in done.err
    assert "hint: such as folder:/srv/reading" in done.err
    assert "release=" not in done.err


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        (1, "1 file without a header: it goes with the patient of its folder"),
        (2, "2 files without a header: they go with the patient of their folder"),
    ],
)
def test_one_file_is_one(beside: int, words: str) -> None:
    shown = label_text({"label": label(without_header=beside) | {"left_out": {"studies": beside}}})
    assert words in shown
    assert f"not listed here: {'1 study' if beside == 1 else '2 studies'}" in shown


def test_targets(medp2p: Medp2p, served: Served) -> None:
    assert medp2p("targets").out == "no targets\n"
    assert medp2p("targets", "add", "reading", "folder:/x").out == "added reading: folder:/x\n"
    assert "reading" in medp2p("targets", "list").out
    assert medp2p("inbox", "accept", "o", "--release-to", "nowhere").code == 1
    assert medp2p("inbox", "accept", "o", "--release-to", "reading").code == 0
    done = medp2p("inbox", "release", "s", "--target", "reading", "--json")
    assert done.json["released_to"] == "/x/ssssssss"
    assert medp2p("targets", "remove", "reading").out == "removed reading\n"
    assert medp2p("targets", "remove", "reading").code == 1


def test_released_folders_with_their_age(medp2p: Medp2p, served: Served) -> None:
    assert medp2p("released").out == "nothing was released\n"
    served.desk.released_rows = [
        {
            "release": 1,
            "transfer": SEALED,
            "peer": "b",
            "state": "there",
            "released": TIME,
            "by": "anna",
            "files": 2,
            "age_seconds": 700_000,
            "old": True,
            "until": None,
            "over": None,
            "folder": "/x/ssssssss",
        }
    ]
    assert "8 d 2 h OLD" in medp2p("released").out
    assert medp2p("released", "--json").json[0]["folder"] == "/x/ssssssss"
