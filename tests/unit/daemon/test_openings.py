"""What a peer says of looks inside: only what cannot name anybody goes where it stays."""

import pytest

from medp2p.daemon.openings import opened_when


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("never", "never"),
        ("2026-11-25T13:00:00.123Z", "2026-11-25T13:00:00.123Z"),
        ("2026-11-25T14:00:00+01:00", "2026-11-25T13:00:00.000Z"),
        ("MUELLER^HANS 19500101", ""),
        ("19500101", ""),
        ("2026-11-25T13:00:00", ""),
        ("0001-01-01T00:00:00+23:59", "0002-01-01T00:00:00.000Z"),
        ("", ""),
    ],
)
def test_only_times_and_never_are_kept(said: str, kept: str) -> None:
    assert opened_when({"opened": said}) == kept


def test_nothing_said_is_nothing() -> None:
    assert opened_when({}) == ""
