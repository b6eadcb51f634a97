"""Options of a send: how it goes out, whose the files are, whose they should be, what may pass."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from medp2p import limits
from medp2p.cli.show import Json
from medp2p.errors import UsageError
from medp2p.model import PURPOSES

_F = Callable[..., Any]


def queue_options(function: _F) -> _F:
    """Give a command the options about how a transfer goes out."""
    for option in (
        click.option(
            "--wait/--no-wait", default=None, help="Wait until sealed; default on a terminal."
        ),
        click.option(
            "--yes", is_flag=True, help="Send without asking, where the peer's settings allow it."
        ),
        click.option(
            "--priority",
            type=click.Choice(["stat", "routine"]),
            default="routine",
            show_default=True,
        ),
        click.option("--note", default="", metavar="TEXT", help="A remark for the receiver."),
    ):
        function = option(function)
    return function


def wish_options(function: _F) -> _F:
    """Give a command the options about what the files are and which of them are sent."""
    for option in (
        click.option("--patient-id", metavar="ID", help="Whose files without a header are."),
        click.option("--patient-issuer", metavar="TEXT", help="Issuer of that ID."),
        click.option("--patient-name", metavar="NAME", help="As Family^Given, or as written."),
        click.option("--birth-date", metavar="DATE", help="YYYY-MM-DD."),
        click.option("--no-patient-data", is_flag=True, help="Files without a header hold none."),
        click.option("--split-by-patient", is_flag=True, help="One transfer for each patient."),
        click.option(
            "--allow-mixed", is_flag=True, help="Several patients, if the peer's settings permit."
        ),
        click.option(
            "--keep-both", is_flag=True, help="Files that say they are one image, but differ."
        ),
        click.option(
            "--allow", multiple=True, metavar="CODE", help="Let a finding pass; repeatable."
        ),
        click.option(
            "--exclude", multiple=True, metavar="PATTERN", help="Leave files out; repeatable."
        ),
    ):
        function = option(function)
    return function


def expect_options(function: _F) -> _F:
    """Give a command the options that replace the typing."""
    for option in (
        click.option("--purpose", type=click.Choice(PURPOSES), help="Wanted for outside peers."),
        click.option("--expect-patient", metavar="ID", help="Refuse files of anybody else."),
        click.option("--expect-birth-date", metavar="DATE", help="With --expect-patient."),
        click.option(
            "--expect-from",
            metavar="FILE|-",
            type=click.Path(),
            help="Whose images are meant, as JSON; nothing of it stands in the process list.",
        ),
    ):
        function = option(function)
    return function


def wishes_of(options: Json) -> Json:
    """Return what is asked of the scan."""
    words = {
        "id": options["patient_id"],
        "issuer": options["patient_issuer"],
        "name": options["patient_name"],
        "birth_date": options["birth_date"],
    }
    typed = {key: value for key, value in words.items() if value}
    allow = list(options["allow"])
    allow += ["mixed-patients"] if options["allow_mixed"] else []
    allow += ["same-instance"] if options["keep_both"] else []
    return {
        "exclude": list(options["exclude"]),
        "split": options["split_by_patient"],
        "typed": typed or None,
        "no_patient_data": options["no_patient_data"],
        "allow": allow,
    }


def confirmation_of(options: Json, *, yes: bool) -> Json:
    """Return what is confirmed by options alone.

    Raises:
        UsageError: They do not go together, or the expectation cannot be read.
    """
    given: Json = {"yes": yes}
    if options["purpose"]:
        given["purpose"] = options["purpose"]
    expected = expectations_of(options)
    return given | ({"expect": expected} if expected else {})


def expectations_of(options: Json) -> list[Json]:
    """Return whose images are meant, as far as options say it; [] if they do not.

    Raises:
        UsageError: They do not go together, or the file is no expectation.
    """
    patient, born = options["expect_patient"], options["expect_birth_date"]
    if options["expect_from"] is not None:
        if patient is not None or born is not None:
            raise UsageError("an expectation comes from options or from a file, not from both")
        return read_expectations(options["expect_from"])
    if patient is None:
        if born is not None:
            raise UsageError("--expect-birth-date goes with --expect-patient")
        return []
    return [{"patient_id": patient} | ({} if born is None else {"birth_date": born})]


def read_expectations(name: str) -> list[Json]:
    """Read one expectation, or a list of them, from a file or from stdin.

    Raises:
        UsageError: It cannot be read or is not JSON; the text repeats nothing of it.
    """
    most = limits.MAX_EXPECTATION_BYTES
    try:
        if name == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        raise UsageError(
            f"the expectation cannot be read: {name}: {error.strerror}",
            hint="FILE holds JSON; `-` reads it from stdin",
        ) from error
    try:
        found = json.loads(data) if len(data) <= most else None
    except (ValueError, RecursionError):
        found = None
    given = found if isinstance(found, list) else [found]
    several = [one for one in given if isinstance(one, dict) and one]
    if not several or len(several) < len(given):
        raise UsageError(
            "the expectation is not as it must be",
            hint='a JSON object such as {"patient_id": "...", "birth_date": "YYYY-MM-DD"}',
        )
    return several
