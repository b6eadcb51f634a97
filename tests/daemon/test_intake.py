"""Chunks taken off a link for the sealed file, without a link."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from medp2p import digest, limits
from medp2p.daemon.intake import Intake
from medp2p.daemon.live import Live
from medp2p.errors import (
    IntegrityError,
    LocalProtocolError,
    MedP2PError,
    RemoteProtocolError,
    StoreError,
)
from medp2p.layout import Layout
from medp2p.manifest import Entry, Kind
from medp2p.proto.frames import ChunkHeader
from medp2p.vault.age import SealWriter, new_file_key
from medp2p.vault.direct import DirectFile
from medp2p.vault.durable import Files
from tests.helpers.stations import until
from tests.unit.vault.test_age import RECIPIENT

MIB = limits.MIB
KEY = digest.stream_key(bytes(32))
GEOMETRY = Layout([Entry(b"slide.bin", Kind.FILE, 3 * MIB, 0)])


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    """What takes chunks; the first one is there already."""
    writer = SealWriter.create(
        Files(), tmp_path / "part", GEOMETRY.size, [RECIPIENT], new_file_key(os.urandom), os.urandom
    )
    nobody = cast("Any", None)
    intake = Intake(nobody, nobody, "transfer", GEOMETRY, KEY, writer, nobody)
    intake._wanted = bytearray(GEOMETRY.chunk_count)
    intake._wanted[1:] = b"\1" * (GEOMETRY.chunk_count - 1)
    yield intake
    writer.close()


def offered(index: int, length: int = MIB) -> ChunkHeader:
    return ChunkHeader(index, length, digest.chunk_digest(KEY, index, bytes(length)))


def zeros(out: memoryview) -> None:
    out[:] = bytes(len(out))


def take(intake: Intake, header: ChunkHeader, opened: Callable[[memoryview], None] = zeros) -> int:
    room = bytearray(limits.ROOM_BYTES)
    return len(intake.take_untrusted(header, opened, room).data)


def test_what_was_asked_for_is_sealed_once(intake: Intake) -> None:
    assert take(intake, offered(1)) > MIB
    for header in (offered(1), offered(0), offered(2**32 - 1)):
        with pytest.raises(RemoteProtocolError, match="not asked for"):
            take(intake, header)
    with pytest.raises(RemoteProtocolError, match="wrong length"):
        take(intake, offered(2, MIB - 1))


class NoStore:
    """A station whose journal takes everything, and which notes what is durable when."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.store = self.files = self

    @contextmanager
    def write(self) -> Iterator[None]:
        yield
        self.steps.append("committed")

    def step(self, name: str) -> None:
        self.steps.append(name)


def watched(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the journal take what is said to be done; return the steps of all that follows."""
    station = NoStore()
    intake.station = cast("Any", station)
    intake.live = Live(0, GEOMETRY.chunk_count)
    monkeypatch.setattr(intake.writer._files, "step", station.step)
    monkeypatch.setattr(
        "medp2p.vault.journal.done", lambda _, __, indexes: station.steps.append(f"done {indexes}")
    )
    return station.steps


async def test_data_is_durable_before_the_journal_says_so(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written meanwhile may not be: it waits for the next time."""
    steps = watched(intake, monkeypatch)
    sync = intake.writer.sync

    def meanwhile() -> None:
        sync()
        intake._written.append(2)

    monkeypatch.setattr(intake.writer, "sync", meanwhile)
    intake._written = [1]
    assert await intake._settle()
    assert steps == ["fdatasync", "journal", "done [1]", "committed"]
    assert intake._written == [2]
    assert intake._written_bytes == MIB


async def test_no_more_is_written_than_a_crash_may_cost(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing waits for the disk: what is not journalled is sent again after a crash."""
    watched(intake, monkeypatch)
    monkeypatch.setattr(limits, "CLAIM_GROUP", 1)
    monkeypatch.setattr(limits, "JOURNAL_GROUP_BYTES", 2 * MIB)
    before: list[int] = []
    monkeypatch.setattr(intake, "_store", lambda _: before.append(intake._written_bytes))
    chunks: Any = [SimpleNamespace(header=offered(n), release=lambda: None) for n in range(3)]
    work_in, work_out = trio.open_memory_channel[Any](1)
    async with trio.open_nursery() as nursery, work_in:
        nursery.start_soon(intake._work, work_out)
        await work_in.send(chunks)
        await until(lambda: len(intake._written) >= 2)
        await intake._settle()
    assert before == [0, MIB, 0]


def store(intake: Intake, monkeypatch: pytest.MonkeyPatch, rooms: list[bytearray]) -> list[str]:
    """Let two chunks that lie in these be claimed and written; return the steps of it."""
    station = NoStore()
    intake.station = cast("Any", station)
    monkeypatch.setattr(intake.writer._files, "step", station.step)
    monkeypatch.setattr("medp2p.daemon.intake.still_open", lambda *_: None)
    monkeypatch.setattr("medp2p.vault.journal.claim", lambda *_: [])
    group: list[Any] = [
        SimpleNamespace(header=(it := offered(index)), made=intake.take_untrusted(it, zeros, room))
        for index, room in zip((1, 2), rooms, strict=True)
    ]
    try:
        intake._store(group)
    finally:
        for chunk in group:
            chunk.made = None  # as ReceivedChunk.forget does
    return station.steps


def test_claims_are_committed_before_anything_is_written(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = store(intake, monkeypatch, [bytearray(limits.ROOM_BYTES) for _ in range(2)])
    assert steps == ["claim", "committed", "write", "write"]


@pytest.mark.parametrize("large", [0, 1 << 40])
def test_an_error_of_the_disk_keeps_no_memory(
    intake: Intake, monkeypatch: pytest.MonkeyPatch, large: int
) -> None:
    """It may live on until a garbage collection, and with it all that its frames saw."""
    monkeypatch.setattr(limits, "DIRECT_FILE_BYTES", large)
    writer = intake.writer
    writer._direct = DirectFile(writer._descriptor._number, writer.size, writing=True)

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    monkeypatch.setattr(os, "pwritev", fail)
    rooms = [bytearray(limits.ROOM_BYTES) for _ in range(2)]
    with pytest.raises(StoreError) as caught:
        store(intake, monkeypatch, rooms)
    for room in rooms:
        room.clear()  # a view of it somewhere would forbid that
    assert caught.value.__traceback__ is not None


def test_what_is_not_what_it_says_is_refused(intake: Intake) -> None:
    def others(out: memoryview) -> None:
        out[:] = b"\1" * len(out)

    with pytest.raises(IntegrityError, match="damaged"):
        take(intake, offered(1), others)


def test_after_its_end_it_only_refuses(intake: Intake) -> None:
    """A thread may still be in it, or come once more: neither may break the link."""

    def ends(out: memoryview) -> None:
        intake.close()
        zeros(out)

    assert take(intake, offered(1), ends) > MIB
    with pytest.raises(LocalProtocolError, match="after the end"):
        take(intake, offered(2))
    assert issubclass(LocalProtocolError, MedP2PError)  # a refusal, as every other
