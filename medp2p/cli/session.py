"""What every verb has: its home, the daemon behind it, and where its words go.

Results go to stdout, as text for people or as JSON; everything else goes to stderr.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from medp2p.control.client import Client
from medp2p.control.place import SOCKET, home_path
from medp2p.errors import CheckRefusedError
from medp2p.text import escape_text

P = ParamSpec("P")

#: Where click's contexts, which share it, keep what --home said after a verb. Completion reads it
#: there: it runs no verb, so there is no Session.
CHOSEN_HOME = "medp2p.cli.home"


class Session:
    """One run of the command.

    Attributes:
        chosen_home: What --home said, or None.
        json: Whether results are JSON.
    """

    def __init__(self, chosen_home: str | None = None) -> None:
        self.chosen_home = chosen_home
        self.json = False

    @cached_property
    def home(self) -> Path:
        """The home of this run; need not exist."""
        return home_path(self.chosen_home, os.environ)

    @cached_property
    def client(self) -> Client:
        """The daemon of that home; asked at the first request only."""
        return Client(self.home / SOCKET, escape_text(str(self.home)))

    def emit(self, value: Any) -> None:
        """Print one JSON document on a line; ASCII, so that nothing in it moves a cursor."""
        click.echo(json.dumps(value, separators=(",", ":"), allow_nan=False))

    def say(self, text: str) -> None:
        """Print a result for people. Told text in it must be escaped already."""
        click.echo(text)

    def result(self, value: Any, text: Callable[[], str]) -> None:
        """Print a result: the value under --json, else the text."""
        if self.json:
            self.emit(value)
        else:
            self.say(text())

    def note(self, text: str) -> None:
        """Print a remark on stderr."""
        click.echo(text, err=True)


def on_terminal() -> bool:
    """Return whether a person can be asked: questions go to stderr, answers come from stdin."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_for(word: str, question: str) -> None:
    """Let a person type a word, so that Enter alone confirms nothing.

    Raises:
        CheckRefusedError: Something else was typed, or the input ended.
    """
    if read_line(question) != word:
        raise CheckRefusedError(f"not confirmed: that is not {word}; nothing was done")


def read_line(question: str) -> str:
    """Return what a person types after a question; "" at the end of the input."""
    click.echo(f"{question}: ", err=True, nl=False)
    typed = sys.stdin.readline()
    if not typed.endswith("\n"):
        click.echo(err=True)
    return typed.strip()


def _set_json(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(context.obj, Session):
        context.obj.json = True


def _set_home(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    context.meta[CHOSEN_HOME] = value
    if isinstance(context.obj, Session):
        context.obj.chosen_home = value


def home_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option --home."""
    return click.option(
        "--home",
        metavar="DIR",
        expose_value=False,
        callback=_set_home,
        help="The home to use; default MEDP2P_HOME, else the user's data folder.",
    )(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option --json."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_set_json,
        help="Print JSON on stdout.",
    )(function)


def verb(function: Callable[Concatenate[Session, P], Any]) -> Callable[P, Any]:
    """Make a function a verb: its first argument is the Session, --json and --home come along."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        session = click.get_current_context().find_object(Session)
        if session is None:
            session = Session()
        return function(session, *args, **kwargs)

    return json_option(home_option(run))


def listing_group(name: str, help_text: str) -> click.Group:
    """Return a group of verbs whose bare name does what its verb `list` does."""

    @click.group(name=name, help=help_text, invoke_without_command=True)
    @json_option
    @home_option
    @click.pass_context
    def group(context: click.Context) -> None:
        if context.invoked_subcommand is None:
            context.invoke(group.commands["list"])

    return group
