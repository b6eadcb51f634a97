import inspect
import json
import re

import pytest

from medp2p import errors
from medp2p.errors import MedP2PError

CLASSES: list[type[MedP2PError]] = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, MedP2PError)
]
#: What the exit statuses of the command line mean; see docs/CLI.md.
EXIT_CODES = {1, 2, 3, 4, 5, 6, 7, 8}


def test_there_are_errors() -> None:
    assert len(CLASSES) > 20


@pytest.mark.parametrize("kind", CLASSES)
def test_each_error_is_complete(kind: type[MedP2PError]) -> None:
    assert re.fullmatch("[a-z][a-z-]*[a-z]", kind.code)
    assert kind.exit_code in EXIT_CODES
    assert isinstance(kind.retryable, bool)
    assert kind.__doc__
    assert kind.__name__.endswith("Error")


def test_codes_are_unique_and_set_by_each_class() -> None:
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all("code" in vars(kind) for kind in CLASSES)


def test_errors_stand_directly_under_the_base() -> None:
    """A handler for one never catches another by accident."""
    assert all(kind.__bases__ == (MedP2PError,) for kind in CLASSES if kind is not MedP2PError)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.UsageError, 2),
        (errors.NoDaemonError, 3),
        (errors.TransferRefusedError, 4),
        (errors.CheckRefusedError, 5),
        (errors.IntegrityError, 6),
        (errors.SealBrokenError, 6),
        (errors.VaultLockedError, 7),
        (errors.UnknownPeerError, 8),
        (errors.LinkLostError, 1),
    ],
)
def test_exit_codes_are_a_promise(kind: type[MedP2PError], exit_code: int) -> None:
    assert kind.exit_code == exit_code


@pytest.mark.parametrize("kind", CLASSES)
def test_json_has_exactly_what_the_contract_says(kind: type[MedP2PError]) -> None:
    shown = json.loads(json.dumps(kind("what happened", hint="what to do").to_json()))
    assert shown == {
        "code": kind.code,
        "text": "what happened",
        "hint": "what to do",
        "retryable": kind.retryable,
    }


def test_hint_is_the_given_one_or_the_default_or_none() -> None:
    assert errors.NoDaemonError("x").hint == errors.NoDaemonError.default_hint
    assert errors.NoDaemonError("x", hint="y").hint == "y"
    assert errors.StoreError("x").hint is None


def test_text_is_what_str_shows() -> None:
    assert str(errors.StoreError("the database is damaged")) == "the database is damaged"
