"""What leaves over an event stream, to the last byte."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import trio

from medp2p.control.desk import Json
from medp2p.control.page.page import Page
from medp2p.control.stream import EventStream
from tests.helpers.desk import MemoryDesk


class Desk(MemoryDesk):
    """Its session ends at the very moment at which something else has happened."""

    page: Page

    async def events(self, *, page: bool = False) -> AsyncGenerator[list[Json], None]:
        yield [{"event": "status", "status": {}}]
        self.page.sessions.end_all("left")
        yield [{"event": "transfer", "transfer": {"id": "secret"}}]


async def test_nothing_leaves_after_the_end_of_a_session(tmp_path: Path) -> None:
    desk = Desk()
    desk.page = page = Page(desk, tmp_path)
    session = page.sessions.open([], "anna").session
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        await trio.lowlevel.checkpoint()

    scope = {"type": "http", "method": "GET", "state": {"session": session}}
    with trio.fail_after(20):
        await EventStream(desk, page)(scope, trio.sleep_forever, send)
    lines = [line for line in b"".join(sent).split(b"\n") if line.startswith(b"data: ")]
    events = [json.loads(line.removeprefix(b"data: ")) for line in lines]
    assert [event["event"] for event in events] == ["status", "session"]
    assert events[-1]["session"] == {"ended": "left"}
