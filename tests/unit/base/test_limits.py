"""Limits that only make sense together, and that each one says why."""

import ast
from pathlib import Path

from medp2p import limits

SOURCE = Path(limits.__file__).read_text(encoding="utf-8")


def constants() -> dict[str, int]:
    """Each constant with its line."""
    return {
        node.targets[0].id: node.lineno
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def test_each_limit_has_a_reason() -> None:
    """A comment stands above it, or above the group that it belongs to without a blank line."""
    lines = SOURCE.splitlines()
    for name, line in constants().items():
        if name in ("KIB", "MIB", "GIB"):
            continue
        at = line - 2
        while lines[at].strip() and not lines[at].startswith("#"):
            at -= 1
        assert lines[at].startswith("#"), f"{name} (line {line}) has no reason"


def test_each_limit_is_a_positive_number() -> None:
    for name in constants():
        assert getattr(limits, name) > 0, name


def test_chunks_fit_the_formats() -> None:
    assert limits.CHUNK_BYTES % limits.AGE_CHUNK_BYTES == 0  # no age chunk has two writers
    assert limits.MAX_STREAM_BYTES // limits.CHUNK_BYTES <= 2**32  # an index is 4 bytes
    assert limits.MAX_PATH_BYTES < 2**16  # its length is 2 bytes in a manifest


def test_messages_fit_their_bounds() -> None:
    assert limits.MAX_RECORD_BYTES + limits.NOISE_TAG_BYTES == limits.MAX_NOISE_BYTES
    assert limits.MAX_PAGE_BYTES + limits.KIB < limits.MAX_MESSAGE_BYTES
    assert limits.MAX_LABEL_BYTES + limits.MAX_NOTE_BYTES < limits.MAX_SUMMARY_BYTES
    assert limits.MAX_FACTS * (limits.MAX_FACT_BYTES + 128) < limits.MAX_MESSAGE_BYTES
    assert limits.MAX_RANGES * 11 < limits.MAX_MESSAGE_BYTES
    assert limits.MAX_PATH_BYTES + 19 < limits.MAX_PAGE_BYTES


def test_waits_fit_each_other() -> None:
    assert 2 * limits.HEARTBEAT_SECONDS < limits.SILENCE_SECONDS  # one may be lost
    assert limits.CLEANUP_SECONDS < limits.STOP_SECONDS < 5
    assert limits.BACKOFF_FIRST_SECONDS < limits.BACKOFF_BUSY_SECONDS
    assert limits.BACKOFF_BUSY_SECONDS <= limits.BACKOFF_IDLE_SECONDS
    dial = limits.CONNECT_SECONDS + limits.HANDSHAKE_SECONDS + limits.HANDSHAKE_GRACE_SECONDS
    assert dial < limits.SILENCE_SECONDS


def test_groups_fit_each_other() -> None:
    assert limits.CLAIM_GROUP * limits.CHUNK_BYTES <= limits.JOURNAL_GROUP_BYTES
    assert limits.MAX_STRANGERS_PER_ADDRESS < limits.MAX_STRANGERS
    assert limits.MAX_RUNNING_PER_PEER < limits.MAX_SESSIONS_PER_PEER
