"""What the documents name is there: files, headings, states, steps, packages."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from medp2p.daemon import config, policy
from medp2p.model import State
from medp2p.vault.durable import STEPS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = sorted([*(ROOT / "medp2p").rglob("*.py"), *(ROOT / "examples").rglob("*.py")])

_LINK = re.compile(r"\[[^\]]+\]\(([^)#]+)(#[^)]*)?\)")
#: As docstrings and documents name a part: docs/VAULT.md, "Write order" and "Erasing".
_PART = re.compile(r'([A-Z]+\.md)((?:(?:,| and)\s+"[^"\n]+")+)')


def headings(name: str) -> set[str]:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    plain = set(re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return plain | set(re.findall(r"^\*\*([^*.]+)\.\*\*", text, re.MULTILINE))


def parts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each document and part of it that a file refers to."""
    for name, quoted in _PART.findall(path.read_text(encoding="utf-8")):
        for part in re.findall(r'"([^"]+)"', quoted):
            yield name, part


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    for target, _ in _LINK.findall(path.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS + SOURCES, ids=lambda path: path.name)
def test_parts_of_documents_exist(path: Path) -> None:
    for name, part in parts(path):
        assert part in headings(name), (name, part)


def test_a_part_that_is_missing_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text('"""Source: docs/VAULT.md, "Write order" and "Nonsense"."""\n')
    assert list(parts(tmp_path / "x.py")) == [
        ("VAULT.md", "Write order"),
        ("VAULT.md", "Nonsense"),
    ]
    assert "Write order" in headings("VAULT.md")
    assert "Nonsense" not in headings("VAULT.md")


def test_architecture_names_states_steps_and_packages() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    states = re.search(r"^States [^`]*```\n([a-z\s]+)```", text, re.MULTILINE)
    assert states is not None
    assert states[1].split() == [str(state) for state in State]
    table = text.partition("## Named steps")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert rows
    assert {step for row in rows for step in re.findall(r"`([a-z-]+)`", row)} <= STEPS
    for package in sorted(path.name for path in (ROOT / "medp2p").iterdir() if path.is_dir()):
        if not package.startswith("__"):
            assert f"| {package} |" in text, package
            assert f"(medp2p/{package})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_operation_names_settings_that_exist() -> None:
    text = (ROOT / "docs" / "OPERATION.md").read_text(encoding="utf-8")
    table = text.partition("## Settings")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert {key for row in rows for key in re.findall(r"`([a-z-]+)`", row)} == set(policy.DEFAULTS)
    shown = {str(row["key"]) for row in config.effective(config.Config())}
    for key in ("listen", "mdns", "reserve", "keep-details"):
        assert key in shown
        assert f"`{key}" in text
