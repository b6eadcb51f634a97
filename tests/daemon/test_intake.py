"""Chunks taken off a link for the sealed file, without a link."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from medp2p import digest, limits
from medp2p.daemon.intake import Intake
from medp2p.errors import IntegrityError, LocalProtocolError, MedP2PError, RemoteProtocolError
from medp2p.layout import Layout
from medp2p.model import Entry, Kind
from medp2p.proto.frames import ChunkHeader
from medp2p.vault.age import SealWriter, new_file_key
from medp2p.vault.durable import Files
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
