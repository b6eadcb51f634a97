"""What the log says of a peer that is off: each reason once, and how often it was tried."""

import logging
from pathlib import Path

import pytest
import trio

from medp2p.daemon.sessions import Session
from medp2p.errors import UnreachableError
from medp2p.model import State
from medp2p.net.dial import DialError
from medp2p.vault.peers import PeerRow
from tests.helpers.stations import pair_of


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "medp2p.daemon.absence"]


async def test_a_peer_that_is_off_fills_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Over a night there were some 4000 lines, which said nothing of why."""
    caplog.set_level(logging.INFO)
    refused, silent = "10.0.0.2:1: refused", "10.0.0.3:1: no answer"
    errors: list[UnreachableError] = [
        DialError("b", [refused, silent], []),
        DialError("b", [silent, refused], []),  # the same, in another order
        DialError("b", [silent], []),
        DialError("b", [refused, silent], []),
        UnreachableError("b cannot be reached: its cable is out"),
        UnreachableError("b cannot be reached: its cable is out"),
    ]
    async with pair_of(tmp_path) as (it, a, _):
        dial, left = a.sessions.open, iter(errors)
        reached: list[str | None] = []

        async def fail_first(peer: PeerRow, kind: str, transfer: str | None) -> Session:
            if transfer is None and not reached:
                raise UnreachableError("a call only to see who is there is not logged")
            if (error := next(left, None)) is not None:
                raise error
            reached.append(transfer)
            return await dial(peer, kind, transfer)

        monkeypatch.setattr(a.sessions, "open", fail_first)
        transfer = await a.send("b", it.source("study", {"x": b"x"}))
        while a.state(transfer) is not State.SEALED:
            a.outbox.wake()  # as a person who does not like to wait
            await trio.sleep(0.02)
        told = lines(caplog)
        assert [line.rpartition("reached: ")[2] for line in told[:-1]] == [
            f"{refused}; {silent}",
            silent,
            "its cable is out",
        ]
        assert all(transfer in line for line in told[:-1])
        assert told[-1] == "b: reached again, after 6 tries in vain"
