"""Files come up as long as there is something to ask about them, and no longer."""

import pytest

from medp2p import limits
from medp2p.dicom.facts import FileFacts
from medp2p.dicom.wanted import Wanted
from medp2p.dicom.worker import UNREAD, Sample

HEAD, MOST = limits.DICOM_HEAD_BYTES, limits.DICOM_MAX_HEAD_BYTES
GOOD = FileFacts(kind="dicom")


def sample(count: int) -> Sample:
    return Sample(bytes(count), 10 * MOST)


def more(count: int) -> FileFacts:
    return FileFacts(kind="unverified", wanted_bytes=count)


def test_new_files_come_up_once_in_their_order() -> None:
    wanted = Wanted([3, 1, 2])
    assert wanted
    assert wanted.take() == [(3, HEAD), (1, HEAD), (2, HEAD)]
    assert not wanted
    assert wanted.take() == []
    wanted.note(3, sample(HEAD), GOOD)
    assert not wanted


def test_who_wants_more_bytes_than_were_given_gets_them() -> None:
    wanted = Wanted()
    wanted.note(1, sample(HEAD), more(HEAD))
    assert not wanted
    wanted.note(1, sample(HEAD), more(HEAD + 1))
    assert wanted.take() == [(1, HEAD + 1)]
    wanted.note(1, sample(HEAD + 1), more(3 * HEAD))
    assert wanted.take() == [(1, 3 * HEAD)]


@pytest.mark.parametrize(("given", "asked"), [(0, HEAD), (HEAD, HEAD), (HEAD + 1, HEAD + 1)])
def test_who_met_a_failing_child_comes_up_once_more(given: int, asked: int) -> None:
    wanted = Wanted()
    wanted.note(1, sample(given), UNREAD)
    assert wanted.take() == [(1, asked)]
    wanted.note(1, sample(given), UNREAD)
    assert not wanted


@pytest.mark.parametrize(
    ("sizes", "questions"),
    [
        ([MOST], [1]),
        ([MOST, 1 + HEAD], [1, 1]),
        ([2 * MOST, 2 * MOST], [1, 1]),
        ([MOST // 2, MOST // 2], [2]),
        ([MOST // 2, MOST // 2 + 1, MOST // 2 - 1], [1, 2]),
    ],
)
def test_a_question_has_no_more_bytes_than_a_large_one(
    sizes: list[int], questions: list[int]
) -> None:
    wanted = Wanted()
    for number, size in enumerate(sizes):
        wanted.note(number, sample(0), more(size))
    taken: list[tuple[int, int]] = []
    counts = []
    while wanted:
        portion = wanted.take()
        counts.append(len(portion))
        taken += portion
    assert counts == questions
    assert taken == list(enumerate(sizes))
