"""A served desk with one peer and two transfers, and the command for its home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command import Medp2p
from tests.helpers.desk import MemoryDesk, Served, peer_json, serve_in_thread, transfer_json


@pytest.fixture
def medp2p(tmp_path: Path) -> Medp2p:
    return Medp2p(tmp_path / "home")


@pytest.fixture
def served(medp2p: Medp2p) -> Iterator[Served]:
    desk = MemoryDesk(peers_by_name={"b": peer_json("b")})
    desk.transfers_by_id["o" * 26] = transfer_json("o" * 26, "in", "b", "offered")
    desk.transfers_by_id["s" * 26] = transfer_json("s" * 26, "in", "b", "sealed")
    with serve_in_thread(medp2p.home, desk) as one:
        yield one


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a person sat there."""
    for module in ("send", "workstation", "peers"):
        monkeypatch.setattr(f"medp2p.cli.{module}.on_terminal", lambda: True)
