"""The verbs that look at the running daemon: status, watch, config, reload."""

import time
from collections.abc import Callable

import click

from medp2p.cli.follow import changes
from medp2p.cli.session import Session, verb
from medp2p.cli.show import (
    Json,
    columns,
    count,
    fields,
    held,
    marked_state,
    pace,
    reason,
    safe,
    share,
    transfer_list,
    when,
)
from medp2p.model import short_id
from medp2p.text import format_bytes, local_time


@click.command()
@verb
def status(session: Session) -> int:
    """Say what runs, who is there and what is under way; 0 exactly when peers can connect."""
    found = session.client.get("status")
    session.result(found, lambda: status_text(found))
    return 0 if found["accepting"] else 1


def status_text(found: Json) -> str:
    """Return the status for people."""
    vault = found.get("vault") or {}
    free = vault.get("free_bytes")
    key = "locked" if vault.get("locked") else "open"
    if vault.get("key_in_clear"):
        key += "; its key lies in clear on this disk, so a stolen disk can be read"
    listening = safe(found.get("listen"))
    there = [safe(row["name"]) for row in found.get("peers", []) if row.get("online")]
    away = [safe(row["name"]) for row in found.get("peers", []) if not row.get("online")]
    alarms, bugs = found.get("alarms"), found.get("bugs")
    head = fields(
        [
            ("workstation", f"{safe(found['name'])}, medp2p {safe(found.get('version'))}"),
            ("running since", f"{when(found.get('since'))}, pid {safe(found.get('pid'))}"),
            ("listening on", listening if found["accepting"] else f"NOTHING (wanted {listening})"),
            ("mDNS", safe((found.get("mdns") or {}).get("text"))),
            ("vault", key),
            ("free", "" if free is None else format_bytes(free)),
            ("peers there", ", ".join(there)),
            ("peers away", ", ".join(away)),
            ("undecided", safe(found.get("undecided") or None)),
            ("accepting", _accepting(found.get("peers", []))),
            ("held", _held(found.get("held"))),
            ("released", _released(found.get("released"))),
            ("expiring", safe(found.get("expiring") or None)),
            ("to destroy", _to_destroy(found.get("destroy_asked"))),
            ("alarms", f"{alarms} open; see `medp2p audit alarms`" if alarms else ""),
            ("mistakes", f"{bugs} of the program; its log has them" if bugs else ""),
        ]
    )
    rows = found.get("transfers", [])
    return head + ("\n\n" + transfer_list(rows, empty="") if rows else "")


def _accepting(peers: list[Json]) -> str:
    """Return whose offers are taken without asking, and within which limits."""
    told = []
    for peer in peers:
        auto = peer.get("auto")
        if isinstance(auto, dict):
            limits = [f"{safe(key)} {safe(value)}" for key, value in auto.items() if value]
            told.append(f"{safe(peer['name'])} ({', '.join(limits) or 'no limits'})")
    return "; ".join(told)


def _held(rows: object) -> str:
    """Return what is held, with why."""
    if not isinstance(rows, list) or not rows:
        return ""
    shown = [f"{short_id(safe(row['id']))} from {safe(row['peer'])}: {held(row)}" for row in rows]
    more = f"; and {len(shown) - 5} more" if len(shown) > 5 else ""
    return "; ".join(shown[:5]) + more


def _released(counts: object) -> str:
    """Return how many released folders lie there, and how many are old."""
    if not isinstance(counts, dict) or not counts.get("folders"):
        return ""
    old = f", {safe(counts['old'])} OLD" if counts.get("old") else ""
    return f"{count(counts['folders'], 'folder')}{old}; see `medp2p released`"


def _to_destroy(asked: object) -> str:
    """Return a line about requests to destroy that wait for an answer."""
    return f"{safe(asked)} asked for; see `medp2p inbox`, answer each by name" if asked else ""


@click.command()
@verb
def watch(session: Session) -> None:
    """Follow what happens, a line each, until Ctrl-C."""
    for event in changes(session.client):
        if event is None:
            continue
        if session.json:
            session.emit(event)
        elif text := event_text(event):
            session.say(f"{local_time(time.time_ns() // 1_000_000)}  {text}")


def event_text(event: Json) -> str:
    """Return one line about an event, "" for one that says nothing to people."""
    kind = str(event.get("event"))
    about = event.get(kind)
    make = _EVENTS.get(kind)
    return make(about) if make is not None and isinstance(about, dict) else ""


def _transfer_text(row: Json) -> str:
    towards = "from" if row["direction"] == "in" else "to"
    words = [short_id(safe(row["id"])), towards, safe(row["peer"]), marked_state(row)]
    hold = f"HELD: {held(row)}" if held(row) else ""
    return "  ".join(filter(None, [" ".join(words), share(row), pace(row), hold, reason(row)]))


def _peer_text(row: Json) -> str:
    return f"{safe(row.get('name'))} is {'there' if row.get('online') else 'away'}"


def _pairing_text(row: Json) -> str:
    more = safe(row.get("peer")) or safe(row.get("text"))
    return f"pairing {safe(row.get('state'))}" + (f": {more}" if more else "")


def _alarm_text(row: Json) -> str:
    return f"ALARM {safe(row.get('text'))}"


_EVENTS: dict[str, Callable[[Json], str]] = {
    "transfer": _transfer_text,
    "peer": _peer_text,
    "pairing": _pairing_text,
    "alarm": _alarm_text,
}


@click.command()
@verb
def config(session: Session) -> None:
    """Show each setting, its value, and where it comes from."""
    rows = session.client.get("config")
    session.result(rows, lambda: config_text(rows))


def config_text(rows: list[Json]) -> str:
    """Return settings for people."""
    cells = [(safe(row["key"]), safe(row["value"]), safe(row["source"])) for row in rows]
    return columns(("SETTING", "VALUE", "FROM"), cells, empty="no settings")


@click.command()
@verb
def reload(session: Session) -> None:
    """Read config.toml again; if it is wrong, the old values hold."""
    rows = session.client.post("reload")
    session.result(rows, lambda: config_text(rows))


COMMANDS = (status, watch, config, reload)
