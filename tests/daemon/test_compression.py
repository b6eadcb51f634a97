"""Chunks that travel compressed: what arrives, what passes the wire, and who may not."""

import random
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zstandard

from medp2p import limits
from medp2p.model import State
from medp2p.net.link import ReceivedChunk
from medp2p.proto.frames import PACKING_FEATURE, ChunkHeader, Packing
from medp2p.proto.messages import Abort, Answer, Commit, Need, Offer, Page
from tests.daemon.test_hostile import ends, resume, sealed
from tests.helpers.puppets import Parcel, Puppet, Talk, id_of
from tests.helpers.stations import (
    Lab,
    Workstation,
    lab,
    pair_of,
    random_bytes,
    ranges_bytes,
    tree_of,
    until,
)

MIB = limits.MIB
AUTO = ("auto", "auto")


@asynccontextmanager
async def over_a_slow_link(
    folder: Path, compression: tuple[str, str] = AUTO
) -> AsyncIterator[tuple[Lab, Workstation, Workstation]]:
    """Two workstations; "a" takes the link for slow, as if it had sent something before."""
    async with pair_of(folder, compression=compression) as (it, a, b):
        a.station.board.slow_links.add(b.key)
        yield it, a, b


def pixels(size: int, seed: int = 1) -> bytes:
    """Pixels of 16 bits with some noise: they shrink to less than a half."""
    grain = random.Random(seed).randbytes(size // 2).translate(bytes(x // 16 for x in range(256)))
    data = bytearray(size)
    data[::2] = grain
    return bytes(data)


def mixed(it: Lab) -> Path:
    """A study of slices and videos, of files large and small."""
    slices = {f"slices/{number:03}": pixels(700_000, number) for number in range(30)}
    return it.source(
        "study",
        {
            **slices,
            "large": pixels(8 * MIB),
            "video": random_bytes(9 * MIB),
            "report.txt": b"Nothing to be seen. " * 200_000,
            "empty": b"",
        },
    )


async def whole(it: Lab, a: Workstation, b: Workstation, transfer: str) -> None:
    await a.until(transfer, State.SEALED)
    folder = await b.released(transfer, it.folder / "out")
    assert tree_of(folder / "study") == tree_of(it.folder / "sources" / "study")


async def wire_bytes(it: Workstation, box: str, transfer: str) -> int:
    view = await it.desk.transfer(box, transfer, entries=False)
    return int(view["wire_bytes"])


async def test_less_passes_the_wire_and_the_same_arrives(tmp_path: Path) -> None:
    async with over_a_slow_link(tmp_path) as (it, a, b):
        transfer = await a.send("b", mixed(it))
        await whole(it, a, b, transfer)
        row = a.row(transfer)
        assert row is not None
        assert 9 * MIB < a.wire.sent < 0.7 * row.length
        told = await wire_bytes(a, "out", transfer), await wire_bytes(b, "in", transfer)
        assert told[0] == told[1]
        assert 0 <= a.wire.sent - told[0] < 100_000  # hello, offer, manifest
        assert a.journalled(transfer) == b.journalled(transfer)


@pytest.mark.parametrize("off", ["a", "b"])
async def test_either_side_can_switch_it_off(tmp_path: Path, off: str) -> None:
    setting = ("off", "auto") if off == "a" else ("auto", "off")
    async with over_a_slow_link(tmp_path, setting) as (it, a, b):
        transfer = await a.send("b", it.source("study", {"x": pixels(20 * MIB)}))
        await whole(it, a, b, transfer)
        assert await wire_bytes(a, "out", transfer) > 20 * MIB


async def test_resumed_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is journalled is not sent again, whichever way it travelled."""
    monkeypatch.setattr(limits, "JOURNAL_GROUP_SECONDS", 0.1)
    async with over_a_slow_link(tmp_path) as (it, a, b):
        study = it.source("study", {"large": pixels(80 * MIB), "small": random_bytes(100_000)})
        a.wire.hold_at = a.wire.sent + 12 * MIB
        transfer = await a.send("b", study)
        await a.wire.wait_sent(a.wire.hold_at)
        await until(lambda: ranges_bytes(b.missing(transfer)) < 60 * MIB, "a group")
        await a.wire.cut()
        await until(lambda: not b.sessions.connected(a.key), "the receiver to notice")
        left, before = ranges_bytes(b.missing(transfer)), a.wire.sent
        await it.restart(b)
        a.wire.go()
        await whole(it, a, b, transfer)
        assert a.wire.sent - before < left
        assert b.audit(transfer).count(("seal", "ok")) == 1


async def test_a_slow_link_is_found_to_be_one(tmp_path: Path) -> None:
    """Ten megabytes a second are less than anyone's disk or processor. It is remembered."""
    async with pair_of(tmp_path, compression=AUTO) as (it, a, b):
        a.wire.pace = 10e6
        transfer = await a.send("b", it.source("study", {"x": pixels(70 * MIB)}))
        await whole(it, a, b, transfer)
        assert await wire_bytes(a, "out", transfer) < 60 * MIB
        assert a.station.board.slow_links == {b.key}


async def test_a_wire_without_pace_is_none(tmp_path: Path) -> None:
    """Loopback: the receiver is given more than it can take, or nobody waits."""
    async with pair_of(tmp_path, compression=AUTO) as (it, a, b):
        transfer = await a.send("b", it.source("study", {"x": pixels(120 * MIB)}))
        await a.until(transfer, State.SEALED)
        assert await wire_bytes(a, "out", transfer) > 120 * MIB
        assert await wire_bytes(b, "in", transfer) > 120 * MIB
        assert not a.station.board.slow_links


async def test_files_that_are_compressed_already_are_left_alone(tmp_path: Path) -> None:
    """Even if they would shrink: the head tells, also where it was sent long ago."""
    jpeg = b"\xff\xd8\xff\xe0" + pixels(4 * MIB)
    files: dict[str, bytes | int] = {f"{number}.jpg": jpeg for number in range(6)}
    async with over_a_slow_link(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("study", {**files, "z.jpg": jpeg * 2}))
        await whole(it, a, b, transfer)
        row = a.row(transfer)
        assert row is not None
        assert await wire_bytes(a, "out", transfer) > row.length - MIB


async def test_a_source_that_changes_amid_compression(tmp_path: Path) -> None:
    async with over_a_slow_link(tmp_path) as (it, a, b):
        study = it.source("study", {"x": pixels(40 * MIB)})
        a.wire.hold_at = a.wire.sent + 4 * MIB
        transfer = await a.send("b", study)
        await a.wire.wait_sent(a.wire.hold_at)
        (study / "x").write_bytes(b"other")
        a.wire.go()
        await a.until(transfer, State.FAILED)
        await b.until(transfer, State.FAILED)
        await until(lambda: b.vault() == [])


# --- peers that do not know it ------------------------------------------------------------


async def test_an_older_receiver_gets_whole_chunks(tmp_path: Path) -> None:
    got: list[ChunkHeader] = []

    async def take(talk: Talk) -> None:
        await talk.exchange()
        offer = await talk.next()
        assert isinstance(offer, Offer)
        await talk.link.send(Answer("accepted"))
        assert isinstance(await talk.next(), Page)
        chunks = -(-offer.length // limits.CHUNK_BYTES)
        await talk.link.send(Need([(0, chunks)], last=True))
        while isinstance(chunk := await talk.next(), ReceivedChunk):
            chunk.open_into(memoryview(bytearray(chunk.header.length)))
            chunk.release()
            got.append(chunk.header)
        assert isinstance(chunk, Commit)
        await talk.link.send(Abort("failed", "seen enough"))

    async with lab(tmp_path) as it:
        a, puppet = await it.add("a", compression="auto"), Puppet("recall")
        await puppet.listen(it.nursery)
        puppet.script = take
        await puppet.meet(a)
        a.station.board.slow_links.add(puppet.key)
        transfer = await a.send("puppet", it.source("study", {"x": pixels(20 * MIB)}))
        await a.until(transfer, State.FAILED)
    assert len(got) == 21
    assert {header.packing for header in got} == {Packing.NONE}


async def test_an_older_sender_is_told_nothing_new(tmp_path: Path) -> None:
    """Its own conversation would end the link over a field that it does not know."""
    async with lab(tmp_path) as it:
        b, puppet = await it.add("b", compression="auto"), Puppet()
        await puppet.meet(b)
        parcel = Parcel.of(3 * MIB)
        await sealed(b, puppet, parcel, puppet.offer(b, parcel))


async def finish(b: Workstation, puppet: Puppet, offer: Offer, parcel: Parcel) -> None:
    """Send it as it should be, half of it compressed."""
    async with puppet.offering(b, offer) as talk:
        await resume(talk)
        for first, end in await talk.needed():
            for index in range(first, end):
                chunk = parcel.chunks[index]
                said = parcel.digest(index, chunk)
                if index % 2:
                    await talk.packed(index, len(chunk), said, zstandard.compress(chunk, 1))
                else:
                    await talk.chunk(index, chunk, said)
        await talk.commit(parcel.root(offer))
        await b.until(id_of(offer), State.SEALED)


def compressible(size: int) -> Parcel:
    parcel = Parcel.of(size)
    return Parcel(parcel.entries, pixels(size))


@pytest.mark.parametrize("who", ["sender", "receiver"])
async def test_compressed_without_the_feature_ends_the_link(tmp_path: Path, who: str) -> None:
    """Neither from a sender that has not named it, nor to a receiver that has it switched off."""
    async with lab(tmp_path) as it:
        b = await it.add("b", compression="auto" if who == "sender" else "off")
        puppet = Puppet() if who == "sender" else Puppet(PACKING_FEATURE)
        await puppet.meet(b)
        parcel = compressible(3 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            chunk = parcel.chunks[0]
            said = parcel.digest(0, chunk)
            await talk.packed(0, len(chunk), said, zstandard.compress(chunk, 1))
            await ends(talk)
        await b.until(id_of(offer), State.PAUSED)
        assert b.journalled(id_of(offer)) == {}


def frame_of(data: bytes) -> bytes:
    return zstandard.compress(data, 1)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "junk": lambda chunk: random_bytes(100_000),
    "a bomb": lambda chunk: frame_of(bytes(64 * MIB)),
    "too short": lambda chunk: frame_of(chunk[:-1]),
    "too long": lambda chunk: frame_of(chunk + b"x"),
    "cut": lambda chunk: frame_of(chunk)[:-100],
    "twice": lambda chunk: frame_of(chunk) * 2,
    "junk behind": lambda chunk: frame_of(chunk) + b"junk",
    "no size": lambda chunk: zstandard.ZstdCompressor(write_content_size=False).compress(chunk),
}


@pytest.mark.parametrize("packing", [Packing.ZSTD, Packing.PLANES])
@pytest.mark.parametrize("how", HOSTILE)
async def test_what_does_not_decompress_ends_the_link(
    tmp_path: Path, how: str, packing: Packing
) -> None:
    """And nothing else: the transfer goes on with the next connection, and holds little memory."""
    async with lab(tmp_path) as it:
        b, puppet = await it.add("b", compression="auto"), Puppet(PACKING_FEATURE)
        await puppet.meet(b)
        parcel = compressible(3 * MIB)
        offer = puppet.offer(b, parcel)
        body = HOSTILE[how](parcel.chunks[1])
        async with puppet.asked(b, offer, parcel) as talk:
            tracemalloc.start()
            chunk = parcel.chunks[1]
            await talk.packed(1, len(chunk), parcel.digest(1, chunk), body, packing)
            await ends(talk)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 16 * MIB
        await b.until(id_of(offer), State.PAUSED)
        assert b.missing(id_of(offer))[0] == (0, 4)
        await finish(b, puppet, offer, parcel)
        folder = await b.released(id_of(offer), tmp_path / "out")
        assert (folder / "x.dcm").read_bytes() == parcel.data


async def test_other_bytes_of_the_right_length_fail_the_transfer(tmp_path: Path) -> None:
    """As they do uncompressed: the digest is over plain bytes."""
    async with lab(tmp_path) as it:
        b, puppet = await it.add("b", compression="auto"), Puppet(PACKING_FEATURE)
        await puppet.meet(b)
        parcel = compressible(3 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            said = parcel.digest(1, parcel.chunks[1])
            await talk.packed(1, MIB, said, frame_of(pixels(MIB, seed=9)))
            answer = await talk.next()
            assert isinstance(answer, Abort)
            assert answer.code == "integrity"
        await b.until(id_of(offer), State.FAILED)
        await until(lambda: b.vault() == [])
