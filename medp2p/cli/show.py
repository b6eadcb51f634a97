"""How things look to people: columns, fields, times, transfers, peers. Told text is escaped."""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click

from medp2p.model import ENDED, WHOLE, short_id
from medp2p.text import escape_text, format_bytes, format_duration, format_rate, local_time

Json = dict[str, Any]

_COLOURS = {"sealed": "green", "released": "green", "failed": "red", "paused": "yellow"}


def when(time: object) -> str:
    """Return an RFC 3339 time as local time with its offset; "" for None, escaped text else."""
    if not isinstance(time, str):
        return ""
    try:
        return local_time(int(datetime.fromisoformat(time).timestamp() * 1000))
    except (ValueError, OverflowError):
        return escape_text(time)


def safe(value: object) -> str:
    """Return any JSON value as harmless text; "" for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(safe(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{safe(key)}={safe(item)}" for key, item in value.items())
    return escape_text(str(value))


def count(number: int, one: str, many: str | None = None) -> str:
    """Return "1 file", "2 files"; many: where an s does not make the plural."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def columns(head: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> str:
    """Return rows below a head, each column as wide as its widest cell."""
    lines = [list(row) for row in rows]
    if not lines:
        return empty
    widths = [max(len(cell) for cell in column) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [list(head), *lines]
    )


def fields(pairs: Iterable[tuple[str, str]]) -> str:
    """Return named values below each other; those without a value are left out.

    One without a name goes on with the one before.
    """
    kept = [(f"{name}:" if name else "", value) for name, value in pairs if value]
    width = max((len(name) for name, _ in kept), default=0)
    return "\n".join(f"{name:{width}} {value}" for name, value in kept)


def coloured(word: str) -> str:
    """Return a state in its colour on a terminal, plain under NO_COLOR or elsewhere."""
    if word not in _COLOURS or "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return word
    return click.style(word, fg=_COLOURS[word])


def reason(row: Json) -> str:
    """Return why a transfer waits, or what went wrong, in one line."""
    for key in ("error", "reason"):
        found = row.get(key)
        if isinstance(found, dict):
            return safe(found.get("text") or found.get("code"))
    return ""


def held(row: Json) -> str:
    """Return why the release of a transfer is held, in one line; "" if it is not."""
    found = row.get("held")
    return safe(found.get("text") or found.get("code")) if isinstance(found, dict) else ""


def is_over(row: Json) -> bool:
    """Return whether the stream of a transfer is whole, or it has ended without that."""
    return row["state"] in WHOLE or row["state"] in ENDED


def share(row: Json) -> str:
    """Return how much of a transfer is done, in per cent; rounded down, so 100 % is all."""
    whole, done = int(row["bytes"]), int(row["bytes_done"])
    if row["state"] in WHOLE or row.get("root") is not None:
        return "100 %"
    return f"{min(100 * done // whole, 99)} %" if whole else "0 %"


def pace(row: Json) -> str:
    """Return rate and time left of a moving transfer, or ""."""
    rate = row.get("rate")
    if not rate:
        return ""
    left = max(int(row["bytes"]) - int(row["bytes_done"]), 0)
    return f"{format_rate(rate)}, {format_duration(left / rate)} left"


def marked_state(row: Json) -> str:
    """Return the state of a transfer, with STAT before it for what is urgent."""
    return f"STAT {safe(row['state'])}" if row.get("priority") == "stat" else safe(row["state"])


def _is_urgent(row: Json) -> bool:
    """Return whether somebody waits for a decision here, and urgently."""
    told = (row["direction"], row["state"], row.get("priority"))
    return told == ("in", "offered", "stat")


def transfer_list(rows: Sequence[Json], *, empty: str) -> str:
    """Return a box as columns; STAT offers that wait for a decision here stand in front."""
    head = ("ID", "STATE", "PEER", "FILES", "SIZE", "DONE", "CREATED", "")
    return columns(
        head,
        [
            (
                short_id(safe(row["id"])),
                marked_state(row),
                safe(row["peer"]),
                safe(row["files"]),
                format_bytes(row["bytes"]),
                share(row),
                when(row["created"]),
                (f"HELD: {held(row)}" if held(row) else "") or reason(row) or pace(row),
            )
            for row in sorted(rows, key=_is_urgent, reverse=True)
        ],
        empty=empty,
    )


def transfer_fields(row: Json) -> str:
    """Return everything about a transfer, a line each."""
    towards = "from" if row["direction"] == "in" else "to"
    found = [
        ("id", safe(row["id"])),
        (towards, safe(row["peer"])),
        ("state", coloured(safe(row["state"]))),
        ("reason", reason(row)),
        ("HELD", held(row)),
        ("files", f"{row['files']}, {format_bytes(row['bytes'])}"),
        ("done", f"{share(row)}, {format_bytes(row['bytes_done'])}"),
        ("pace", pace(row)),
        ("on the wire", format_bytes(row["wire_bytes"]) if row.get("wire_bytes") else ""),
        ("skipped", safe(row.get("skipped") or None)),
        ("priority", safe(row.get("priority"))),
        ("note", safe(row.get("note"))),
        ("adds to", safe(row.get("addendum_of"))),
        ("addenda", safe(row.get("addenda") or None)),
        ("root", safe(row["root"])),
        ("released to", safe(row.get("released_to"))),
    ]
    found += [(name, when(row.get(name))) for name in _TIMES]
    found += [(f"fact {fact['number']}", fact_line(fact)) for fact in row.get("facts", [])]
    return fields(found)


_TIMES = ("created", "decided", "sealed", "released", "expires", "finished")


#: What an RFC 3339 time of our own looks like among the details of a fact.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\Z")
#: Details whose name says too little.
_DETAILS = {"opened": "first opened or previewed there"}


def fact_details(fact: Json) -> list[tuple[str, str]]:
    """Return what a fact says beside its kind, as names and values for people."""
    return [
        (
            _DETAILS.get(key) or safe(key),
            when(value) if isinstance(value, str) and _MOMENT.match(value) else safe(value),
        )
        for key, value in (fact.get("detail") or {}).items()
    ]


def fact_line(fact: Json) -> str:
    """Return a fact of a transfer in one line: what, by whom, when, and what it says."""
    told = "" if fact.get("acknowledged", True) else ", not told yet"
    said = "".join(f"; {name}: {value}" for name, value in fact_details(fact))
    return f"{safe(fact['fact'])} by {safe(fact['by'])}, {when(fact['time'])}{told}{said}"


def entries(row: Json) -> str:
    """Return the manifest of a transfer, and what was left out, a line each."""
    lines = [
        f"{format_bytes(entry['bytes']) if entry['kind'] == 'file' else '-':>10}  "
        f"{when(entry['mtime'])}  {safe(entry['path'])}"
        for entry in row.get("entry_list", [])
    ]
    lines += [
        f"{'skipped':>10}  {safe(entry['why'])}  {safe(entry['path'])}"
        for entry in row.get("skipped_entries", [])
    ]
    return "\n".join(lines)


def peer_title(peer: Json) -> str:
    """Return a peer as people name it: "b (Ward A, Radiology, Room 3)"."""
    told = [safe(peer.get(key)) for key in ("told_name", "told_department", "told_place")]
    known = ", ".join(text for text in told if text)
    return f"{safe(peer['name'])} ({known})" if known else safe(peer["name"])


def verified(peer: Json) -> str:
    """Return who compared the key words and when."""
    if not peer.get("verified"):
        return "never; compare the key words, then `medp2p peers verify`"
    by = safe(peer.get("verified_by"))
    return when(peer["verified"]) + (f" by {by}" if by else "")


def peer_fields(peer: Json) -> str:
    """Return everything about a peer, a line each."""
    seen = "now" if peer.get("online") else when(peer.get("last_seen"))
    return fields(
        [
            ("peer", peer_title(peer)),
            ("peer ID", safe(peer["peer_id"])),
            ("key words", safe(peer["key_words"])),
            ("signing key", safe(peer.get("sign_key"))),
            ("verified", verified(peer)),
            ("paired", f"{when(peer['created'])} by {safe(peer['source'])}"),
            ("seen", seen),
            ("away", "" if peer.get("online") else safe(peer.get("away"))),
            ("software", safe(peer.get("software"))),
            ("addresses", safe(peer.get("addresses"))),
            ("settings", safe(peer.get("settings"))),
        ]
    )
