"""The command: its verbs, and how errors become messages and exit codes."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from medp2p import __version__
from medp2p.cli import audit, boxes, completion, peers, send, watch, web, workstation
from medp2p.cli.session import Session
from medp2p.errors import MedP2PError, OutputError, UsageError
from medp2p.text import escape_text

EXIT_CODES = """
\b
Exit codes:
  0  done                        6    integrity
  1  failed                      7    vault locked
  2  usage                       8    peer unknown
  3  no daemon                   10   sealed, but entries were skipped
  4  declined, recalled, expired 130  interrupted
  5  a check refused

Every verb that prints has --json, anywhere after the verb; -- ends the options.
"""


#: What a stream answers that takes no more.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


class Command(click.Group):
    """The root: turns every error into one line, a hint and an exit code."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command and exit."""
        words = list(sys.argv[1:] if args is None else args)
        _open_streams()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = self._run(words, extra)
        except BrokenPipeError:
            _discard_output()  # whoever read it has gone
            code = 1
        except OSError as error:
            if error.filename is not None or error.errno not in _UNWRITABLE:
                raise  # a file of ours, not a stream
            _discard_output()
            what = f"the output cannot be written: {error.strerror}"
            hint = "what was asked for may be done; look before it is asked for again"
            code = report(OutputError(what, hint=hint), as_json=False)
        sys.exit(code)

    def _run(self, words: list[str], extra: dict[str, Any]) -> int:
        """Run the command and print its error, if any; return the exit code."""
        extra["standalone_mode"] = False
        try:
            code = super().main(words, prog_name="medp2p", **extra)
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            code = UsageError.exit_code
        except click.ClickException as error:
            code = report(_usage_error(error), as_json=wants_json(words))
        except MedP2PError as error:
            code = report(error, as_json=wants_json(words))
        except (click.Abort, KeyboardInterrupt):
            code = 130
        return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """Give a command that was started without some of the three streams empty ones.

    What is opened later would get their numbers, and be read or written in their place.
    """
    while (lowest := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(lowest)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _discard_output() -> None:
    """Keep Python from trying, and complaining, once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wants_json(words: Sequence[str]) -> bool:
    """Return whether --json stands among the options of a command line, well-formed or not."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def report(error: MedP2PError, *, as_json: bool) -> int:
    """Print an error and its hint; return the exit code."""
    click.echo(f"medp2p: error: {escape_text(error.text)}", err=True)
    if error.hint is not None:
        click.echo(f"hint: {escape_text(error.hint)}", err=True)
    if as_json:
        click.echo(json.dumps({"error": error.to_json(), **error.beside}, separators=(",", ":")))
    return error.exit_code


def _usage_error(error: click.ClickException) -> UsageError:
    text = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    hint = None if context is None else f"`{context.command_path} --help` explains it"
    return UsageError(text[:1].lower() + text[1:].rstrip("."), hint=hint)


@click.group(
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.option(
    "--home",
    metavar="DIR",
    help="The home to use; default MEDP2P_HOME, else the user's data folder.",
)
@click.version_option(__version__, "--version", prog_name="medp2p", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, home: str | None) -> None:
    """Medical images from workstation to workstation: sealed, checked, resumable."""
    context.obj = Session(home)


for command in (
    *workstation.COMMANDS,
    *peers.COMMANDS,
    send.send,
    *boxes.COMMANDS,
    *audit.COMMANDS,
    *watch.COMMANDS,
    web.web,
    completion.completion,
):
    cli.add_command(command)
