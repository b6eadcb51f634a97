"""A database for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from medp2p.vault.store import Store
from tests.unit.vault.stores import NOW_MS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new database, closed at the end."""
    opened = Store.open(tmp_path / "store.db", create=True, now_ms=NOW_MS)
    yield opened
    opened.close()
