"""Shell completion: the script for a shell, and the words that only the daemon knows."""

from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from medp2p import limits
from medp2p.cli.session import CHOSEN_HOME, Session, verb
from medp2p.errors import MedP2PError

_SHELLS = ("bash", "zsh", "fish")


@click.command(epilog='For bash: eval "$(medp2p completion bash)" in ~/.bashrc.')
@click.argument("shell", type=click.Choice(_SHELLS))
@verb
def completion(session: Session, shell: str) -> None:
    """Print the script that completes medp2p's words in a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.BadParameter(f"no completion for {shell}")
    command = click.get_current_context().find_root().command
    script = kind(command, {}, "medp2p", "_MEDP2P_COMPLETE")
    # Not script.source(): for bash it starts a bash only to ask for its version.
    text = script.source_template % script.source_vars()
    session.result({"shell": shell, "script": text}, lambda: text)


def _ask(context: click.Context, *parts: str, **query: str) -> list[dict[str, Any]]:
    """Return a list from the daemon, or nothing: completion never complains."""
    chosen = context.meta.get(CHOSEN_HOME, context.find_root().params.get("home"))
    try:
        client = Session(chosen).client
        rows = client.ask("GET", parts, query=query, timeout=limits.COMPLETION_SECONDS)
    except (MedP2PError, OSError):
        return []
    return [row for row in rows if isinstance(row, dict)]


def peer_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a peer."""
    names = sorted(str(row["name"]) for row in _ask(context, "peers"))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def transfer_ids(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the ID of a transfer in the box at hand."""
    box = context.parent.info_name if context.parent is not None else None
    query = {"outbox": {"direction": "out"}, "inbox": {"direction": "in"}}.get(str(box), {})
    return [
        CompletionItem(str(row["id"]), help=f"{row['state']} {row['peer']}")
        for row in _ask(context, "transfers", **query)
        if str(row["id"]).startswith(incomplete)
    ]


#: The argument of the verbs about one transfer.
transfer_argument = click.argument("transfer", metavar="ID", shell_complete=transfer_ids)
