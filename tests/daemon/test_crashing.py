"""kill -9 at each durable step of a daemon: a fresh one on the same home goes on by itself."""

import os
from functools import partial
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.model import State
from medp2p.vault.age_header import NONCE_BYTES, parse_header
from medp2p.vault.age_payload import SEALED_CHUNK
from tests.helpers.crashing import (
    accepting,
    crash,
    discarding,
    dying_when_sent,
    nothing,
    releasing,
)
from tests.helpers.stations import (
    ANNA,
    Workstation,
    pair_of,
    random_bytes,
    tree_of,
    until,
)

MIB = limits.MIB
STUDY: dict[str, bytes | int] = {
    "empty": b"",
    "large": random_bytes(5 * MIB),
    "small": b"x",
    "sparse": 14 * MIB,
}

#: Step, and at which time, in the order of a transfer; claims come in groups of a few.
RECEIVING = [
    ("create", 1),
    ("reserve", 1),
    ("header", 1),
    ("sync-folder", 2),
    ("claim", 2),
    ("write", 4),
    ("fdatasync", 2),
    ("journal", 1),
    ("rename", 1),
    ("commit", 1),
    ("receipt", 1),
]
SMALL: dict[str, bytes | int] = {"large": random_bytes(MIB), "small": b"x"}


def sealed_pieces(path: Path) -> tuple[bytes, list[bytes]]:
    """Return header with nonce, and the sealed pieces of an age file, holes as zeros."""
    content = path.read_bytes()
    start = parse_header(content).size + NONCE_BYTES
    pieces = range(start, len(content), SEALED_CHUNK)
    return content[:start], [content[at : at + SEALED_CHUNK] for at in pieces]


def left_behind(b: Workstation, transfer: str) -> tuple[bytes, list[bytes]] | None:
    """Return what a crash left of the sealed file."""
    for path in (b.home.part(transfer), b.home.sealed(transfer)):
        if path.exists() and path.read_bytes()[:3] == b"age":
            return sealed_pieces(path)
    return None


def check_one_plaintext(before: tuple[bytes, list[bytes]] | None, final: Path) -> None:
    """Under one file key no place may ever have been sealed with two plaintexts.

    A write that was cut off in its middle is the beginning of what must come again.
    """
    header, pieces = sealed_pieces(final)
    if before is None or before[0] != header:
        return
    for old, new in zip(before[1], pieces, strict=True):
        assert new.startswith(old.rstrip(b"\0")), "a place was sealed with two plaintexts"


@pytest.mark.parametrize(("step", "times"), RECEIVING)
async def test_the_receiver_dies(tmp_path: Path, step: str, times: int) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", STUDY)
        await b.stop()
        transfer = await a.send("b", study)
        await crash(it, b, nothing, step, times)
        left = left_behind(b, transfer)
        await it.start(b)
        await a.until(transfer, State.SEALED)
        check_one_plaintext(left, b.home.sealed(transfer))
        await until(lambda: b.facts(transfer) == [("us", "sealed", True)])
        assert b.vault() == [f"{transfer}.tar.age"]
        assert b.audit(transfer).count(("seal", "ok")) == 1
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(study)
        assert (await b.desk.audit_verify())["ok"]


@pytest.mark.parametrize("sent", [1, 3 * MIB])
async def test_the_sender_dies(tmp_path: Path, sent: int) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", STUDY)
        a.wire.down = True
        transfer = await a.send("b", study)
        await crash(it, a, dying_when_sent(sent))
        a.wire.down = False
        left = left_behind(b, transfer)
        await it.start(a)
        await a.until(transfer, State.SEALED)
        check_one_plaintext(left, b.home.sealed(transfer))
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(study)


async def test_dying_while_accepting_asks_again(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", SMALL))
        await b.until(transfer, State.OFFERED)
        await crash(it, b, accepting(transfer), "accept")
        await it.start(b)
        assert b.state(transfer) is State.OFFERED
        assert b.audit(transfer) == [("offer", "ok")]


async def test_a_source_that_changed_meanwhile_is_never_sealed_in_its_place(
    tmp_path: Path,
) -> None:
    """Claims were made, the receiver died, and size and time of the source tell nothing."""
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", STUDY)
        await b.stop()
        transfer = await a.send("b", study)
        await crash(it, b, nothing, "journal")
        left = left_behind(b, transfer)
        assert left is not None
        await a.stop()
        file = study / "large"
        times = file.stat()
        file.write_bytes(random_bytes(5 * MIB, 2))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        await it.start(b)
        await it.start(a)
        await a.until(transfer, State.FAILED)
        await b.until(transfer, State.FAILED)
        await until(lambda: b.vault() == [])
        view = await a.desk.transfer("out", transfer, entries=False)
        assert view["error"]["code"] == "source-changed"


def gone(b: Workstation, transfer: str) -> bool:
    """Tell whether what an erasing takes away is gone."""
    return b.vault() == [] and "manifest" not in b.blobs(transfer)


ERASING = ["erase-mark", "erase-overwrite", "erase-unlink", "erase-rows"]


async def test_dying_while_erasing(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", SMALL)
        for step in ERASING:
            transfer = await a.send("b", study)
            await a.until(transfer, State.SEALED)
            await crash(it, b, discarding(transfer), step)
            await it.start(b)
            if step == "erase-mark":  # the act was not done: it is to be asked for again
                assert b.state(transfer) is State.SEALED
                await b.desk.discard(ANNA, transfer)
            await until(partial(gone, b, transfer), step)
            await a.until(transfer, State.DISCARDED)
            assert b.audit(transfer).count(("discard", "ok")) == 1


RELEASING = [
    ("release-stage", 1),
    ("release-write", 2),
    ("release-sync", 1),
    ("release-rename", 1),
    ("release-sweep", 1),
]


async def test_dying_while_releasing(tmp_path: Path) -> None:
    """Either all of it is there under its name, or nothing; never a stage folder."""
    async with pair_of(tmp_path) as (it, a, b):
        study = it.source("study", SMALL)
        transfer = await a.send("b", study)
        await a.until(transfer, State.SEALED)
        out = tmp_path / "out"
        out.mkdir()
        for step, times in RELEASING:
            await crash(it, b, releasing(transfer, out), step, times)
            await it.start(b)
            there = os.listdir(out)
            assert there == ([transfer[:8]] if step == "release-sweep" else []), step
            done = State.RELEASED if there else State.SEALED
            assert b.state(transfer) is done, step
        assert tree_of(out / transfer[:8] / "study") == tree_of(study)
        await a.until(transfer, State.RELEASED)
        assert b.audit(transfer).count(("release", "ok")) == 1
