"""Of errors that come together: which one is told."""

import pytest

from medp2p.errors import ConflictError, LinkLostError, TransferAbortedError
from medp2p.groups import find_error, leaves, one_error


def group(*errors: Exception) -> "ExceptionGroup[Exception]":
    return ExceptionGroup("", list(errors))


def test_leaves_are_found_however_deep() -> None:
    one, two, three = ValueError(), KeyError(), OSError()
    assert [*leaves(group(group(one, group(two)), three))] == [one, two, three]


def test_the_most_telling_of_ours_is_found_however_deep() -> None:
    error = ConflictError("x")
    vague = group(LinkLostError("gone"), TransferAbortedError("over there"))
    assert find_error(group(vague, group(error))) is error
    assert isinstance(find_error(vague), TransferAbortedError)


def test_a_bug_beside_ours_is_a_bug() -> None:
    assert find_error(group(group(LinkLostError("gone")), ZeroDivisionError())) is None
    assert find_error(group(ZeroDivisionError())) is None


def test_one_error_lets_groups_with_a_bug_through() -> None:
    with pytest.raises(ConflictError), one_error():
        raise group(LinkLostError("gone"), ConflictError("x"))
    mixed = group(LinkLostError("gone"), ZeroDivisionError())
    with pytest.raises(ExceptionGroup) as caught, one_error():
        raise mixed
    assert caught.value is mixed
