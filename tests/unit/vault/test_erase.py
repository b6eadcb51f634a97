"""Erasing: the header is gone before the name is, whatever happens in between."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.errors import StoreError
from medp2p.vault.age import SealWriter
from medp2p.vault.age_header import header_bytes, identity_from_bytes, recipient_of
from medp2p.vault.durable import Files
from medp2p.vault.erase import erase_sealed
from tests.unit.vault.crashes import Crash, FailAt, every_crash

KEY = bytes(range(16))
RECIPIENT = recipient_of(identity_from_bytes(bytes(range(1, 33))))


def sealed(path: Path, size: int = 3 * limits.MIB, recipients: int = 1) -> None:
    writer = SealWriter.create(Files(), path, size, [RECIPIENT] * recipients, KEY, os.urandom)
    writer.close()


def test_it_overwrites_before_it_removes(tmp_path: Path) -> None:
    path = tmp_path / "ID.tar.age"
    sealed(path, recipients=150)
    keep = os.open(path, os.O_RDONLY)  # sees the file after its name is gone
    names: list[str] = []
    erase_sealed(Files(names.append), path)
    assert names == ["erase-overwrite", "fdatasync", "erase-unlink", "sync-folder"]
    assert not path.exists()
    start = os.pread(keep, header_bytes(150) + 16, 0)
    os.close(keep)
    assert start == bytes(header_bytes(150) + 16)


def test_again_and_for_what_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "ID.tar.age"
    for size in (0, 1, 3 * limits.MIB):
        sealed(path, size)
        erase_sealed(Files(), path)
        erase_sealed(Files(), path)
    path.write_bytes(b"")
    erase_sealed(Files(), path)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_removed_and_its_target_left_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "ID.part").symlink_to(victim)
    erase_sealed(Files(), tmp_path / "ID.part")
    assert victim.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [victim]


def test_interrupted_anywhere_it_is_finished_by_the_next_call(tmp_path: Path) -> None:
    path = tmp_path / "ID.tar.age"

    def act(step: Callable[[str], None]) -> None:
        sealed(path)
        try:
            erase_sealed(Files(step), path)
        except Crash:
            erase_sealed(Files(), path)
        assert list(tmp_path.iterdir()) == []

    assert every_crash(act) == 4


@pytest.mark.parametrize("step", ["erase-overwrite", "fdatasync", "erase-unlink"])
def test_on_a_failing_disk_it_can_be_tried_again(tmp_path: Path, step: str) -> None:
    path = tmp_path / "ID.tar.age"
    sealed(path)
    with pytest.raises(StoreError, match="cannot be erased: Input/output error"):
        erase_sealed(Files(FailAt(step, errno.EIO)), path)
    assert path.exists()
    erase_sealed(Files(), path)
    assert not path.exists()


def test_what_is_no_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "ID.part").mkdir()
    with pytest.raises(StoreError):
        erase_sealed(Files(), tmp_path / "ID.part")
