"""The verb `outbox again`: the same scan to another peer, confirmed anew for it."""

from typing import Any

import click

from medp2p.cli.completion import peer_names, transfer_argument
from medp2p.cli.expect import (
    confirmation_of,
    expect_options,
    queue_options,
    wish_options,
    wishes_of,
)
from medp2p.cli.send import carry_out
from medp2p.cli.session import Session, verb


@click.command("again")
@transfer_argument
@click.option("--to", "peer", metavar="PEER", required=True, shell_complete=peer_names)
@queue_options
@wish_options
@expect_options
@verb
def outbox_again(
    session: Session,
    /,
    transfer: str,
    peer: str,
    note: str,
    priority: str,
    yes: bool,
    wait: bool | None,
    **options: Any,
) -> int:
    """Send what an earlier transfer sent to another peer.

    Its files must still lie where they were; one that has changed is inspected again. Everything
    is shown and confirmed as if it were sent for the first time.
    """
    wishes = wishes_of(options) | {"again_of": transfer}
    given = confirmation_of(options, yes=yes)
    return carry_out(
        session, peer, (), wishes, given, note=note, priority=priority, yes=yes, wait=wait
    )
