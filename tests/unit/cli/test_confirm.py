"""Confirming a send: the screen, the questions, expectations from options and files."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from medp2p.cli.confirm import words_wanted
from medp2p.daemon.labels import label_view, patient_view
from medp2p.dicom.compare import masked
from medp2p.dicom.facts import Patient
from medp2p.dicom.label import build_label
from tests.helpers.command import Medp2p
from tests.helpers.desk import Served, part_json, peer_json
from tests.helpers.dicoms import image

JANE = Patient(id="123456", name="Doe^Jane\x1b[31m", birth_date="19700203", sex="F")
FIRST = "c" * 26


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"x")
    return folder


@pytest.fixture
def janes(served: Served) -> Served:
    """A daemon whose scans are of Jane, who must be typed."""
    hidden = patient_view(masked(JANE))
    label = label_view(build_label([image("d/a", JANE)]))
    label["patients"][0].update(hidden)
    served.desk.part = {"wants": "typed", "masked": True, "asked": [hidden], "label": label}
    return served


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("typed", "answers"),
    [("1970\n", ["1970"]), ("?\n3456\n", ["3456"]), ("?\n?\n 1970 \n", ["1970"])],
)
def test_what_is_typed_goes_to_the_daemon(
    medp2p: Medp2p, janes: Served, study: Path, typed: str, answers: list[str]
) -> None:
    done = medp2p("send", "b", str(study), "--no-wait", stdin=typed)
    assert done.code == 0, done
    assert janes.desk.confirmations == [{"yes": False, "answers": answers}]
    assert "Doe^Jane\\x1b[31m" in done.err
    assert "\x1b" not in done.err
    assert "123456" not in done.err
    revealed = [what for what, _ in janes.desk.acts if what == "reveal-label"]
    assert len(revealed) == typed.count("?")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("typed", ["\n", "", "?\n", "  \n"])
def test_enter_alone_means_no(medp2p: Medp2p, janes: Served, study: Path, typed: str) -> None:
    done = medp2p("send", "b", str(study), "--no-wait", stdin=typed)
    assert done.code == 5
    assert "nothing was sent" in done.err
    assert janes.desk.confirmations == []


@pytest.mark.usefixtures("terminal")
def test_purpose_and_label_are_asked_for(medp2p: Medp2p, served: Served, study: Path) -> None:
    label = part_json({"files": 1, "bytes": 1, "skipped": []})["label"]
    served.desk.part = {"purpose_wanted": True, "wants": "label", "label": label | {"loose": 1}}
    done = medp2p(
        "send", "b", str(study), "--no-wait", stdin="7\nDoe^Jane\n1970-02-03\nresearch\nb\n"
    )
    assert done.code == 0, done
    first, second = served.desk.scans_by_id.values()
    assert first["wishes"]["typed"] is None
    assert second["wishes"]["typed"] == {
        "id": "7", "name": "Doe^Jane", "birth_date": "1970-02-03",
    }  # fmt: skip
    assert served.desk.confirmations == [{"yes": True, "purpose": "research"}]
    done = medp2p("send", "b", str(study), "--no-wait", stdin="none\nfun\n")
    assert done.code == 5
    assert medp2p("send", "b", str(study), "--no-wait", stdin="7\n\n\n").code == 5


def test_options_become_wishes(medp2p: Medp2p, served: Served, study: Path) -> None:
    done = medp2p(
        "send", "b", str(study), "--yes", "--exclude", "*.txt", "--exclude", "x", "--allow-mixed",
        "--keep-both", "--allow", "truncated", "--split-by-patient", "--patient-id", "7",
        "--patient-issuer", "H", "--birth-date", "1970-02-03", "--purpose", "legal",
    )  # fmt: skip
    assert done.code == 0, done
    (scan,) = served.desk.scans_by_id.values()
    assert scan["wishes"] == {
        "exclude": ["*.txt", "x"],
        "split": True,
        "typed": {"id": "7", "issuer": "H", "birth_date": "1970-02-03"},
        "no_patient_data": False,
        "allow": ["truncated", "mixed-patients", "same-instance"],
    }
    assert served.desk.confirmations == [{"yes": True, "purpose": "legal"}]


def test_expectations(medp2p: Medp2p, janes: Served, study: Path, tmp_path: Path) -> None:
    given: list[dict[str, Any]] = [{"patient_id": "1"}, {"patient_id": "2"}]
    form = tmp_path / "form.json"
    form.write_text(json.dumps(given))
    words = ("send", "b", str(study), "--no-wait")
    assert medp2p(*words, "--expect-from", str(form)).code == 0
    assert medp2p(*words, "--expect-from", "-", stdin=json.dumps(given[0])).code == 0
    assert medp2p(*words, "--expect-patient", "1", "--expect-birth-date", "x").code == 0
    assert [one["expect"] for one in janes.desk.confirmations] == [
        given, given[:1], [{"patient_id": "1", "birth_date": "x"}],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content", ["", "no json", "[]", "{}", "[1]", '"x"', "[{}]", "x" * 20_000, "[" * 5000]
)
def test_what_is_no_expectation(medp2p: Medp2p, served: Served, study: Path, content: str) -> None:
    done = medp2p("send", "b", str(study), "--expect-from", "-", stdin=content)
    assert done.code == 2
    assert "the expectation is not as it must be" in done.err
    assert served.desk.scans_by_id == {}


def test_expectations_that_do_not_go_together(medp2p: Medp2p, served: Served, study: Path) -> None:
    words = ("send", "b", str(study), "--yes")
    assert medp2p(*words, "--expect-from", "x", "--expect-patient", "1").code == 2
    assert medp2p(*words, "--expect-birth-date", "1970-01-01").code == 2
    missing = medp2p(*words, "--expect-from", "/nowhere/form")
    assert "/nowhere/form: No such file" in missing.err
    assert "hint: FILE holds JSON" in missing.err
    assert missing.code == 2
    assert "cannot be read" in missing.err
    assert served.desk.scans_by_id == {}


def test_findings_are_shown_and_in_json(medp2p: Medp2p, served: Served, study: Path) -> None:
    findings = [
        {"code": "autorun", "level": "warn", "text": "starts\x1b", "files": ["a", "b"], "count": 9},
        {"code": "duplicate", "level": "info", "text": "copies", "files": ["c"], "count": 1},
    ]
    served.desk.part = {"findings": findings}
    done = medp2p("send", "b", str(study), "--yes", "--json")
    assert done.json["findings"] == findings
    assert "warning: starts\\x1b [autorun]\n    a\n    b\n    and 7 more\n" in done.err
    assert "note: copies [duplicate]\n" in done.err


def test_when_key_words_are_worth_a_look() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)

    def at(days: float) -> str:
        return (now - timedelta(days=days)).isoformat()

    for verified, created, wanted in (
        (at(2), at(2), False),
        (at(2), at(0.5), True),
        (at(91), at(200), True),
        (at(89), at(200), False),
        (None, at(200), True),
        ("nonsense", at(200), True),
        (at(2), None, False),
    ):
        assert words_wanted(peer_json("b", verified=verified, created=created), now) is wanted


def test_pairing_with_somebody_outside(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("pair", "7-amber-bison", "--external", "--json")
    assert done.code == 0, done
    assert done.json["settings"]["domain"] == "external"


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("typed", "domain"), [("\n", None), ("yes\n", "external"), ("", None)])
def test_pairing_asks_on_a_terminal(
    medp2p: Medp2p, served: Served, typed: str, domain: str | None
) -> None:
    done = medp2p("pair", "7-amber-bison", stdin=typed)
    assert done.code == 0, done
    assert "outside this organisation?" in done.err
    assert served.desk.peers_by_name["b"]["settings"].get("domain") == domain
