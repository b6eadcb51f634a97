"""System calls for a small file: a guard against slow ways coming back."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medp2p import limits
from medp2p.layout import Layout
from medp2p.manifest import Kind
from medp2p.parcel.heads import Heads
from medp2p.parcel.reader import Reader, check_unchanged
from medp2p.parcel.scan import Scan, scan

CALLS = ("stat", "lstat", "fstat", "access", "open", "close", "pread", "preadv", "read")
FEW, MANY = 100, 600


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    counter: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            counter[name] += 1
            return function(*args, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(name, getattr(os, name)))
    return counter


def scan_of(folder: Path, count: int) -> Scan:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}").write_bytes(b"%d" % number * 1000)
    return scan([os.fsencode(folder)])


def read_heads(found: Scan) -> None:
    heads = Heads(found)
    with heads.neighbours() as at:
        for number, entry in enumerate(found.entries):
            if entry.kind is Kind.FILE:
                heads.read(number, limits.DICOM_HEAD_BYTES, limits.DICOM_TAIL_BYTES, at)
    heads.close()


def read_all(found: Scan) -> None:
    layout = Layout(found.entries)
    with Reader(found, layout) as reader:
        for index in range(layout.chunk_count):
            reader.read_chunk_into(index, memoryview(bytearray(layout.chunk_length(index))))


@pytest.mark.parametrize(
    ("act", "most"),
    [
        (lambda found: scan(found.roots), {"stat": 1, "access": 1}),
        (read_heads, {"stat": 1, "open": 1, "pread": 1, "fstat": 1, "close": 1}),
        (read_all, {"stat": 1, "open": 1, "preadv": 1, "fstat": 1, "close": 1}),
        (check_unchanged, {"stat": 1}),
    ],
    ids=["scan", "look", "read", "look-again"],
)
def test_what_a_small_file_costs(
    tmp_path: Path, calls: "Counter[str]", act: Callable[[Scan], object], most: dict[str, int]
) -> None:
    """Found, looked at, read and looked at again: 13 calls in all."""
    costs = []
    for count in (FEW, MANY):
        found = scan_of(tmp_path / f"{count}", count)
        calls.clear()
        act(found)
        costs.append(calls.copy())
    costs[1].subtract(costs[0])
    # A file that two chunks share is opened once and looked at once more.
    shared = {"fstat": 4, "preadv": 2} if act is read_all else {}
    for name in CALLS:
        assert costs[1][name] <= most.get(name, 0) * (MANY - FEW) + shared.get(name, 0), name
