"""docs/SAFETY.md names tests that exist, for each hazard."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "SAFETY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)))
HAZARDS = ("patient", "recipient", "Partial", "Altered", "Unread", "Leaked", "Lost")


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_named_tests_exist(file: str, test: str) -> None:
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_each_hazard_has_a_control_and_a_test() -> None:
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    assert all(any(word in heading for heading in headings) for word in HAZARDS)
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "| hazard" not in line]
    assert len(rows) > 30
    for row in rows:
        _, hazard, control, tests, _ = re.split(r"(?<!\\)\|", row)
        assert hazard.strip()
        assert control.strip()
        assert "::" in tests, row
