"""The look through a sealed file: what it opens, whom it asks, and that it sees what is there."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.daemon.looking import InspectorPool, inspect_sealed
from medp2p.dicom.patients import Item
from medp2p.dicom.worker import Inspector
from medp2p.layout import Layout
from medp2p.manifest import Entry
from medp2p.vault.age import SealReader
from tests.helpers.dicoms import EXPLICIT, dataset, element, file_of, pixels
from tests.unit.vault.parcels import FILE_KEY, file, seal, stream

PIECE, CHUNK = limits.AGE_CHUNK_BYTES, limits.CHUNK_BYTES


def stream_of(entries: list[Entry], contents: dict[bytes, bytes]) -> bytes:
    layout = Layout(entries)
    data = bytearray(stream(layout))
    for index, entry in enumerate(entries):
        if entry.path in contents:
            start = layout.data_offset(index)
            data[start : start + entry.size] = contents[entry.path]
    return bytes(data)


def look(
    folder: Path,
    entries: list[Entry],
    inspectors: InspectorPool,
    contents: dict[bytes, bytes] | None = None,
    opened: Callable[[int, int], None] = lambda offset, count: None,
) -> list[Item]:
    sealed = seal(folder / "sealed", entries, stream_of(entries, contents or {}))

    class Watched(SealReader):
        def read_into(self, offset: int, view: memoryview) -> None:
            opened(offset, len(view))
            super().read_into(offset, view)

    with Watched.open(sealed.path, FILE_KEY) as reader:
        return inspect_sealed(reader, sealed.layout, inspectors, lambda: False, 60.0)


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Inspector, batch: object) -> None:
        raise AssertionError("a child was asked")

    monkeypatch.setattr(Inspector, "inspect_many", refuse)


@pytest.mark.usefixtures("no_children")
def test_small_files_are_opened_a_chunk_at_a_time_and_no_child_is_asked(tmp_path: Path) -> None:
    opened: list[tuple[int, int]] = []
    entries = [file(b"f%d" % number, 6000) for number in range(1000)]
    items = look(
        tmp_path,
        entries,
        InspectorPool(),
        opened=lambda offset, count: opened.append((offset, count)),
    )
    assert [item.path for item in items] == [entry.path for entry in entries]
    assert {item.facts.kind for item in items} == {"other"}
    assert all(offset % PIECE == 0 for offset, _ in opened)
    # 8 batches of 128 files, 0.9 MB each; a batch may begin amid a chunk.
    assert len(opened) <= 2 * (len(entries) // limits.DICOM_BATCH_FILES + 1)


@pytest.mark.usefixtures("no_children")
def test_of_large_files_only_the_pieces_that_hold_their_ends_are_opened(tmp_path: Path) -> None:
    opened: Counter[int] = Counter()

    def note(offset: int, count: int) -> None:
        opened.update(range(offset // PIECE, -(-(offset + count) // PIECE)))

    entries = [file(b"f%d" % number, 5 * CHUNK + number) for number in range(4)]
    look(tmp_path, entries, InspectorPool(), opened=note)
    layout = Layout(entries)
    wanted: set[int] = set()
    for index, entry in enumerate(entries):
        start = layout.data_offset(index)
        for first, length in (
            (start, limits.DICOM_HEAD_BYTES),
            (start + entry.size - limits.DICOM_TAIL_BYTES, limits.DICOM_TAIL_BYTES),
        ):
            wanted.update(range(first // PIECE, (first + length - 1) // PIECE + 1))
    assert set(opened) == wanted
    assert opened.total() <= len(wanted) + len(entries)  # a neighbour's is opened once, or twice


def test_images_are_found_wherever_they_lie(tmp_path: Path) -> None:
    """Across the borders of pieces and chunks, with headers longer than one look."""
    entries, contents = [], {}
    long = element(0x00091010, "UN", bytes(2 * PIECE))
    whole = dataset()
    place = whole.index(b"\x10\0\x10\0")  # the patient's name stands behind what is long
    for number in range(40):
        path = b"f%d" % number
        body = whole if number % 3 else whole[:place] + long + whole[place:]
        contents[path] = file_of(body + pixels() + bytes(997 * number), EXPLICIT)
        entries += [file(path, len(contents[path])), file(path + b".txt", 50 * number)]
    inspectors = InspectorPool()
    try:
        items = look(tmp_path, entries, inspectors, contents)
    finally:
        inspectors.close()
    images = [item for item in items if not item.path.endswith(b".txt")]
    assert {item.facts.kind for item in images} == {"dicom"}
    assert {item.facts.patient.name for item in images if item.facts.patient} == {"Doe^Jane"}
    assert {item.facts.wanted_bytes for item in images} == {0}
    assert len(images) == 40


def test_children_stay_until_they_were_idle_for_long(tmp_path: Path) -> None:
    inspectors = InspectorPool()
    with inspectors.lend() as first, inspectors.lend() as second:
        assert first is not second
    inspectors.close(3600.0)
    with inspectors.lend() as again:
        assert again is first  # the last one that came back
    inspectors.close()
    with inspectors.lend() as fresh:
        assert fresh not in (first, second)
    with pytest.raises(ZeroDivisionError), inspectors.lend() as failing:
        raise ZeroDivisionError
    with inspectors.lend() as other:
        assert other is not failing
    inspectors.close()
