"""docs/PROTOCOL.md says what the code does: messages, fields, states, limits and codes."""

import re
from pathlib import Path
from typing import get_args

import pytest

from medp2p import limits
from medp2p.proto.conversation import ACROSS
from medp2p.proto.facts import EITHER_FACTS, FACT_KINDS, RECEIVER_FACTS, SENDER_FACTS
from medp2p.proto.messages import Message
from medp2p.proto.preamble import PREAMBLE_BYTES
from medp2p.proto.tables import TABLES

TEXT = (Path(__file__).parents[3] / "docs" / "PROTOCOL.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {title}\n", TEXT, re.MULTILINE)
    assert found, title
    rest = TEXT[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(title: str) -> list[list[str]]:
    """Return the cells of the tables of a section, headings left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {place for place, line in enumerate(cells) if set(line[0]) == {"-"}}
    heads |= {place - 1 for place in heads}
    return [line for place, line in enumerate(cells) if place not in heads]


def fields() -> dict[str, set[str]]:
    """Return the fields of each message as the page has them."""
    found: dict[str, set[str]] = {}
    tag = ""
    for first, names, *_ in rows("Messages"):
        tag = first.strip("`") or tag
        found.setdefault(tag, set()).update(re.findall(r"`(\w+)`", names))
    return found


def test_every_message_and_field() -> None:
    assert fields() == {
        kind.__struct_config__.tag: set(kind.__struct_fields__) for kind in get_args(Message)
    }


@pytest.mark.parametrize("kinds", ["transfer", "facts and ping", "pairing"])
def test_every_state(kinds: str) -> None:
    page = [tuple(row) for row in rows(kinds)]
    for kind in kinds.split(" and "):
        assert page == [
            (state, role, event, following)
            for state, events in TABLES[kind].items()
            for (role, event), following in events.items()
        ]


def test_what_lies_across_the_states() -> None:
    text = section("Across the states")
    assert all(f"`{event}`" in text for event in ACROSS)


def test_every_fact() -> None:
    said_by = {row[0].strip("`"): row[1] for row in rows("Facts") if row[0].startswith("`")}
    assert said_by == {
        kind: side
        for kinds, side in (
            (RECEIVER_FACTS, "receiver"),
            (SENDER_FACTS, "sender"),
            (EITHER_FACTS, "either"),
        )
        for kind in kinds
    }
    assert set(said_by) == FACT_KINDS


def test_the_limits() -> None:
    def size(count: int) -> str:
        for unit, name in ((2**40, "TiB"), (2**20, "MiB"), (2**10, "KiB")):
            if count >= unit and count % unit == 0 and (unit > 2**10 or count > 4096):
                return f"{count // unit} {name}"
        return str(count)

    page = {row[0]: row[1] for row in rows("Limits")}
    assert page == {
        "preamble": str(PREAMBLE_BYTES),
        "handshake message": str(limits.MAX_HANDSHAKE_BYTES),
        "record": f"{limits.MAX_NOISE_BYTES} of ciphertext, {limits.MAX_RECORD_BYTES} plain",
        "first message of a side; every message of pairing": size(limits.MAX_HELLO_BYTES),
        "message": size(limits.MAX_MESSAGE_BYTES),
        "manifest page": size(limits.MAX_PAGE_BYTES),
        "chunk": size(limits.CHUNK_BYTES),
        "window of a compressed chunk": size(limits.COMPRESSION_WINDOW_BYTES),
        "stream, file": size(limits.MAX_STREAM_BYTES),
        "manifest entries": f"{limits.MAX_ENTRIES:,}",
        "path": str(limits.MAX_PATH_BYTES),
        "label, note": f"{size(limits.MAX_LABEL_BYTES)}, {limits.MAX_NOTE_BYTES // 1024} KiB",
        "ranges in one `need`": str(limits.MAX_RANGES),
        "facts in one message; one statement; its details": (
            f"{limits.MAX_FACTS}; {limits.MAX_FACT_BYTES // 1024} KiB; {limits.MAX_FACT_DETAILS}"
        ),
        "features": str(limits.MAX_FEATURES),
        "opening of a connection": f"{limits.HANDSHAKE_SECONDS:.0f} s",
        "how much longer an initiator waits for the end of a silence": (
            f"{limits.HANDSHAKE_GRACE_SECONDS:.0f} s"
        ),
        "connections that have not proved a pinned key": (
            f"{limits.MAX_STRANGERS}, {limits.MAX_STRANGERS_PER_ADDRESS} from one address"
        ),
        "sessions of one peer": str(limits.MAX_SESSIONS_PER_PEER),
        "undecided offers of one peer": str(limits.MAX_OFFERS_PER_PEER),
        "heartbeat, silence": (f"{limits.HEARTBEAT_SECONDS:.0f} s, {limits.SILENCE_SECONDS:.0f} s"),
        "pairing: a code, wrong guesses, a connection": (
            f"{limits.PAIRING_SECONDS / 60:.0f} min, {limits.PAIRING_GUESSES},"
            f" {limits.PAIRING_LINK_SECONDS:.0f} s"
        ),
    }


def test_every_section_that_the_code_points_at() -> None:
    package = Path(__file__).parents[3] / "medp2p"
    for path in package.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            _, found, rest = line.partition("docs/PROTOCOL.md, ")
            for title in re.findall(r'"([^"]+)"', rest.split(";")[0]) if found else []:
                assert re.search(rf"^#+ {title}$", TEXT, re.MULTILINE), (path, title)
