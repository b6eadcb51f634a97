"""The command medp2p, run inside the test process against a home."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from medp2p.cli.main import cli


@dataclass(frozen=True)
class Done:
    """What one run of the command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        (document,) = self.lines
        return document

    @property
    def lines(self) -> list[Any]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Medp2p:
    """Runs verbs for one home."""

    home: Path

    def __call__(self, *words: str, stdin: str | None = None, **env: str) -> Done:
        """Run a verb; a crash of the command is raised here."""
        environment = {"MEDP2P_HOME": str(self.home), "NO_COLOR": "1", **env}
        result = CliRunner(env=environment).invoke(cli, words, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)
