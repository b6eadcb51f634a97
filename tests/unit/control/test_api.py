"""Errors of the desk on their way to the client, also out of nurseries."""

import json

import pytest

from medp2p.control.answers import error_answer, find_error
from medp2p.control.api import TABLE
from medp2p.errors import ConflictError, LinkLostError, MedP2PError, NoSpaceError, VaultLockedError


def group(*errors: Exception) -> "ExceptionGroup[Exception]":
    return ExceptionGroup("", list(errors))


def test_ours_is_found_however_deep() -> None:
    error = LinkLostError("gone")
    assert find_error(group(group(error), ConflictError("x"))) is error


def test_a_bug_beside_ours_is_a_bug() -> None:
    assert find_error(group(group(LinkLostError("gone")), ZeroDivisionError())) is None
    assert find_error(group(ZeroDivisionError())) is None


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
