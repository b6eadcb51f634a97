"""docs/CLI.md says what there is: every verb, every error code, every address of the API."""

import inspect
import re
from pathlib import Path

import click
import pytest

from medp2p import errors
from medp2p.cli.main import cli
from medp2p.control.api import TABLE
from medp2p.errors import MedP2PError

TEXT = (Path(__file__).parents[3] / "docs" / "CLI.md").read_text(encoding="utf-8")
PARTS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def paths(group: click.Group, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*words, name))
        if isinstance(command, click.Group):
            found += paths(command, (*words, name))
    return found


@pytest.mark.parametrize("words", paths(cli))
def test_verbs_and_their_options(words: tuple[str, ...]) -> None:
    *groups, name = words
    named = " ".join(words) if name != "list" else f"{groups[0]} [list]"
    assert re.search(rf"`{re.escape(named)}[ `\[]|`{re.escape(named)}", PARTS["Verbs"])
    command: click.Command = cli
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands[word]
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("--") and option not in ("--json", "--home"):
                assert option in PARTS["Verbs"]


def kinds() -> list[type[MedP2PError]]:
    found = vars(errors).values()
    return [kind for kind in found if inspect.isclass(kind) and issubclass(kind, MedP2PError)]


@pytest.mark.parametrize("kind", kinds())
def test_error_codes_with_their_exit_codes(kind: type[MedP2PError]) -> None:
    assert f"| `{kind.code}` | {kind.exit_code} |" in PARTS["Exit codes"]


def test_no_error_code_that_does_not_exist() -> None:
    named = re.findall(r"\| `([a-z-]+)` \| \d", PARTS["Exit codes"])
    assert sorted(named) == sorted(kind.code for kind in kinds())


@pytest.mark.parametrize("row", [(method, path) for method, path, _ in TABLE])
def test_addresses(row: tuple[str, str]) -> None:
    method, path = row
    api = PARTS["The API"]
    lines = [line for line in api.splitlines() if line.startswith("|")]
    short = "/" + path.rpartition("/")[2]
    address = path.replace("{id:int}", "{id}")
    assert any(
        method in line and (f"/v1{address}" in line or (f"`{short}`" in line and "{id}" in line))
        for line in lines
    )
