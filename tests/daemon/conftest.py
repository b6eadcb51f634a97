"""What several modules of tests want changed."""

import pytest

from medp2p import limits


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a transfer leave at once, although its receiver releases without a person."""
    monkeypatch.setattr(limits, "UNDO_SECONDS", 0)
