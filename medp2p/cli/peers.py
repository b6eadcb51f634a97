"""The verbs about other workstations: pair, nearby, peers."""

from collections.abc import Iterator

import click

from medp2p.cli.completion import peer_names
from medp2p.cli.follow import changes
from medp2p.cli.paths import absolute_target
from medp2p.cli.session import Session, listing_group, on_terminal, read_line, verb
from medp2p.cli.show import Json, columns, peer_fields, safe, verified, when
from medp2p.errors import NoDaemonError, PairingError, UsageError

_NAME = click.argument("name", shell_complete=peer_names)


@click.command()
@click.argument("code", required=False)
@click.option("--at", metavar="ADDR:PORT", help="Where the other side is, if mDNS does not tell.")
@click.option("--external/--internal", default=None, help="Whether it is of another organisation.")
@verb
def pair(session: Session, code: str | None, at: str | None, external: bool | None) -> None:
    """Pair with another workstation.

    Without CODE: show one and wait for the other side. With CODE: join the side that shows it.
    """
    if code is not None:
        body = {"code": code, "at": at}
        peer = _placed(session, session.client.act("pairing", "join", body=body), external)
        session.result(peer, lambda: paired(peer))
        return
    if at is not None:
        raise UsageError("--at goes with a code", hint="medp2p pair CODE --at ADDR:PORT")
    state = _show_code(session)
    if state["state"] != "paired":
        raise PairingError(safe(state.get("text")) or "pairing is closed")
    peer = _placed(session, session.client.get("peers", state["peer"]), external)
    if not session.json:
        session.say(paired(peer))


def _placed(session: Session, peer: Json, external: bool | None) -> Json:
    """Note whether a new peer is of another organisation; on a terminal it is asked for.

    Its ids of patients are then not ours, and every send to it wants a purpose.
    """
    if external is None and not session.json and on_terminal():
        name = safe(peer["name"])
        external = read_line(f"is {name} outside this organisation? (yes, or Enter for no)") in (
            "y",
            "yes",
        )
    if not external:
        return peer
    body = {"settings": {"domain": "external"}}
    return dict(session.client.ask("PATCH", ("peers", str(peer["name"])), body=body))


def paired(peer: Json) -> str:
    """Return what both sides read after pairing."""
    return f"paired\n{peer_fields(peer)}"


def _show_code(session: Session) -> Json:
    """Open pairing, show each code, and return how it ended; Ctrl-C closes it."""
    client = session.client
    opened = client.post("pairing")
    last: Json = {}
    try:
        for state in _pairing_states(session, opened):
            if session.json:
                session.emit(state)
            elif state["state"] == "open" and state["code"] != last.get("code"):
                session.say(f"code: {safe(state['code'])}")
                session.note(
                    f"on the other workstation: medp2p pair {safe(state['code'])}\n"
                    f"waiting until {when(state['expires'])}; Ctrl-C closes pairing"
                )
            last = state
    except KeyboardInterrupt:
        client.ask("DELETE", ("pairing",))
        raise
    return last


def _pairing_states(session: Session, opened: Json) -> Iterator[Json]:
    """Yield the state of pairing now and after each change, until it is no longer open."""
    yield opened
    last = opened
    for event in changes(session.client):
        if event is not None and event.get("event") not in ("pairing", "status", "missed"):
            continue
        try:
            state = session.client.get("pairing")
        except NoDaemonError:
            continue
        if state != last:
            last = state
            yield state
        if state["state"] != "open":
            return


@click.command()
@verb
def nearby(session: Session) -> None:
    """List the workstations that mDNS shows, paired or not."""
    rows = session.client.get("nearby")
    session.result(
        rows,
        lambda: columns(
            ("NAME", "PEER", "ADDRESSES", "PAIRING"),
            [
                (
                    safe(row.get("name")),
                    safe(row.get("peer")) or "not paired",
                    safe(row.get("addresses")),
                    safe(row.get("pairing")) and f"open, code {safe(row['pairing'])}-...",
                )
                for row in rows
            ],
            empty="nobody in sight",
        ),
    )


peers = listing_group("peers", "The paired workstations; without a verb, list them.")


@peers.command("list")
@verb
def peers_list(session: Session) -> None:
    """List the paired workstations."""
    rows = session.client.get("peers")
    session.result(
        rows,
        lambda: columns(
            ("NAME", "TOLD NAME", "THERE", "ACCEPT", "VERIFIED"),
            [
                (
                    safe(row["name"]),
                    safe(row.get("told_name")),
                    "yes" if row.get("online") else when(row.get("last_seen")) or "never",
                    safe(row["settings"].get("accept", "ask")),
                    when(row.get("verified")) or "never",
                )
                for row in rows
            ],
            empty="no peers; `medp2p pair` makes one",
        ),
    )


@peers.command("add")
@click.argument("name")
@click.argument("peer_id")
@click.option("--address", "addresses", metavar="ADDR:PORT", multiple=True)
@verb
def peers_add(session: Session, name: str, peer_id: str, addresses: tuple[str, ...]) -> None:
    """Pin the key of a workstation by its peer ID; the other side must do the same."""
    body = {"name": name, "peer_id": peer_id, "addresses": list(addresses)}
    peer = session.client.post("peers", body=body)
    session.result(peer, lambda: peer_fields(peer))


@peers.command("show")
@_NAME
@verb
def peers_show(session: Session, name: str) -> None:
    """Show a peer with its key words."""
    peer = session.client.get("peers", name)
    session.result(peer, lambda: peer_fields(peer))


@peers.command("verify")
@_NAME
@verb
def peers_verify(session: Session, name: str) -> None:
    """Record that you compared the key words with the other side."""
    peer = session.client.post("peers", name, "verify")
    session.result(peer, lambda: f"{safe(peer['name'])}: verified {verified(peer)}")


_SET_HELP = """Change settings of a peer; an empty VALUE goes back to the default.

\b
accept=ask|auto|block      what to do with its offers
max-bytes=SIZE             larger offers wait for a person, under accept=auto
max-files=NUMBER           so do offers of more files
accept-until=DATE          and all from that date or time on
release=manual|folder:DIR  what to do with what is sealed
address=ADDR:PORT,...      fixed addresses
confirm=typed|expect|none  what a send wants: something typed or expected; always an
                           expectation; --yes alone
domain=internal|external   inside this organisation or not
allow=CODE,...             findings that block, and that --allow may let pass
allow-mixed=yes|no         several patients in one transfer, with --allow-mixed
undo=SECONDS               how long an offer can be taken back before it leaves
phone=TEXT                 shown on the confirmation
"""


@peers.command("set", help=_SET_HELP)
@_NAME
@click.argument("settings", metavar="KEY=VALUE...", nargs=-1, required=True)
@verb
def peers_set(session: Session, name: str, settings: tuple[str, ...]) -> None:
    """Change settings of a peer; see _SET_HELP."""
    body = {"settings": dict(_setting(text) for text in settings)}
    peer = session.client.ask("PATCH", ("peers", name), body=body)
    session.result(peer, lambda: peer_fields(peer))


def _setting(text: str) -> tuple[str, str]:
    """Return key and value; a folder is made absolute, since the daemon works elsewhere."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"not a setting: {text}", hint="write KEY=VALUE")
    if key == "release":
        value = absolute_target(value)
    return key, value


@peers.command("remove")
@_NAME
@verb
def peers_remove(session: Session, name: str) -> None:
    """Forget the key of a peer; it gets no answer any more."""
    peer = session.client.ask("DELETE", ("peers", name))
    session.result(peer, lambda: f"removed {safe(peer['name'])}")


COMMANDS = (pair, nearby, peers)
