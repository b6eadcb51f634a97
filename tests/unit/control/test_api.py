"""Errors of the desk on their way to the client, also out of nurseries."""

import json

import pytest

from medp2p.control.answers import error_answer
from medp2p.control.api import TABLE
from medp2p.errors import ConflictError, MedP2PError, NoSpaceError, VaultLockedError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConflictError("x"), 409),
        (VaultLockedError("x"), 423),
        (NoSpaceError("x"), 507),
        (MedP2PError("x"), 422),
    ],
)
def test_errors_have_a_status_and_an_exit_code(error: MedP2PError, status: int) -> None:
    answer = error_answer(error)
    assert answer.status_code == status
    body = json.loads(bytes(answer.body))
    assert body == {"error": error.to_json() | {"exit_code": error.exit_code}}


def test_changes_are_never_asked_for_by_get() -> None:
    words = ("cancel", "accept", "decline", "release", "discard", "join", "reload", "acknowledge")
    for method, path, _ in TABLE:
        if path.endswith(words):
            assert method == "POST"
