"""Previews between whole workstations: what is shown, stated, read, and never handed out."""

import base64
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio
from PIL import Image

from medp2p import limits
from medp2p.daemon import checking, papers, previewing
from medp2p.dicom.compare import Difference
from medp2p.dicom.picture import WHY, Picture, PictureMaker
from medp2p.dicom.png import encode_png
from medp2p.errors import (
    ConflictError,
    MedP2PError,
    NotFoundError,
    SealBrokenError,
    VaultLockedError,
)
from medp2p.model import State
from medp2p.proto.messages import Hello
from medp2p.vault.age_reader import SealReader
from medp2p.vault.sealing import VaultBox
from tests.helpers.images import image_file
from tests.helpers.stations import ANNA, Lab, Workstation, all_of, pair_of, until

RLE = "1.2.840.10008.1.2.5"
#: Files of series "1.2.3.4", "1.2.3.5" and "1.2.3.6" below.
SLICES = 9


def slice_file(place: int, **more: Any) -> bytes:
    """A slice whose brightest column says where it lies."""
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:, place] = 1000
    return image_file(
        pixels,
        **{
            "SOPInstanceUID": f"1.2.3.4.{place}",
            "InstanceNumber": place + 1,
            "ImagePositionPatient": [0, 0, float(place)],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "SeriesDescription": "Thorax",
            "StudyDate": "20240102",
            "WindowCenter": 500,
            "WindowWidth": 1000,
            **more,
        },
    )


def study(it: Lab, name: str = "study", slices: int = SLICES) -> Path:
    """Three series: a stack, one compressed image with frames, and a report without any."""
    frames = np.stack([np.full((40, 80), n * 100, np.uint16) for n in range(4)])
    frames[:, :, :40] = 0
    cine = image_file(
        frames,
        RLE,
        frames=4,
        SOPInstanceUID="1.2.3.5.1",
        SeriesInstanceUID="1.2.3.5",
        StudyDate="20240102",
        Modality="US",
    )
    report = image_file(
        np.zeros((2, 2), np.uint16),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
        SOPInstanceUID="1.2.3.6.1",
        SeriesInstanceUID="1.2.3.6",
        StudyDate="20240102",
        Modality="SR",
        Rows=None,
        Columns=None,
        PixelData=None,
    )
    files: dict[str, bytes | int] = {
        f"CT/{(n * 7) % slices}.dcm": slice_file((n * 7) % slices) for n in range(slices)
    }
    return it.source(name, {**files, "US/1.dcm": cine, "SR/1.dcm": report})


async def sealed(it: Lab, a: Workstation, b: Workstation, source: Path | None = None) -> str:
    transfer = await a.send("b", source or study(it))
    await a.until(transfer, State.SEALED)
    row = await b.until_checked(transfer)
    assert row.check_result == checking.AGREES
    return transfer


def pixels_of(preview: dict[str, Any]) -> Any:
    data = base64.b64decode(preview["png_b64"], validate=True)
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        assert image.size == (preview["width"], preview["height"])
        return np.asarray(image)


def kinds(side: Workstation, transfer: str) -> list[str]:
    return [kind for _, kind, _ in side.facts(transfer)]


def audited(side: Workstation, transfer: str) -> list[dict[str, Any]]:
    with side.station.store.read() as tx:
        rows: list[dict[str, Any]] = side.station.ledger.list(tx, 10_000)
    found = [row for row in rows if row["transfer"] == transfer]
    return [row for row in found if row["event"] == "previewed"]


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


async def details(side: Workstation, box: str, transfer: str) -> dict[str, Any]:
    view = await side.desk.transfer(box, transfer, entries=False)
    return {fact["fact"]: fact["detail"] for fact in view["facts"]}


def speak(side: Workstation, *features: str) -> None:
    """Let a workstation be of a version that knows these features only."""
    hello = side.station.hello

    def older(*args: Any, **more: Any) -> Hello:
        return msgspec.structs.replace(hello(*args, **more), features=list(features))

    side.station.hello = older  # type: ignore[method-assign]


class Maker(PictureMaker):
    """Makes a picture of every file without a child; ``during`` is called amid each."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.during = during

    def make(
        self,
        size: int,
        frame: int,
        read: Callable[[int, int], bytes],
        go_on: Callable[[], None] = lambda: None,
    ) -> Picture:
        read(0, min(size, 1000))
        self.during()
        go_on()
        return Picture(encode_png(1, 1, 1, b"\x80"), 1, 1)


# --- what a person sees -------------------------------------------------------------------


async def test_a_person_looks_and_both_sides_know(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        answer = await b.desk.previews(ANNA, transfer[:9])
        assert answer["marked"] == "not for diagnosis"
        stack, report, cine = answer["previews"]
        assert (stack["series"], stack["modality"], stack["description"]) == (
            "1.2.3.4",
            "CT",
            "Thorax",
        )
        assert (stack["images"], stack["shown"], stack["why"]) == (SLICES, 5, None)
        assert pixels_of(stack)[0].argmax() == 4  # the middle by place
        assert (cine["series"], cine["images"], cine["shown"]) == ("1.2.3.5", 4, 3)
        assert pixels_of(cine)[0, 60] > pixels_of(cine)[0, 20]
        assert pixels_of(cine).shape == (40, 80)
        assert report["png_b64"] is None
        assert report["why"] == WHY["no-image"]
        assert (report["images"], report["shown"], report["width"]) == (1, None, 0)

        again = await b.desk.previews(ANNA, transfer, ["1.2.3.5"])
        assert again["previews"] == [cine]
        assert b.state(transfer) is State.SEALED
        await until(lambda: "previewed" in kinds(a, transfer))
        assert kinds(b, transfer) == ["sealed", "previewed"]
        assert (await details(a, "out", transfer))["previewed"] == {"by": "anna"}
        first, second = audited(b, transfer)
        assert first["actor"]["os_user"] == "anna"
        assert first["detail"] == {"dicom_event": "110103", "series": 3}
        assert second["detail"]["series"] == 1
        (heard,) = audited(a, transfer)
        assert heard["actor"]["via"] == "peer"
        assert a.state(transfer) is State.SEALED


async def test_what_was_released_can_be_looked_at_too(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.released(transfer, tmp_path / "out")
        b.station.picture_maker = Maker
        assert (await b.desk.previews(ANNA, transfer))["previews"][0]["png_b64"]
        assert kinds(b, transfer) == ["sealed", "opened", "released", "previewed"]


async def test_files_without_series_have_no_preview(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("notes", {"a.txt": b"text", "b.jpg": b"\xff\xd8"}))
        await b.until_checked(transfer)
        assert (await b.desk.previews(ANNA, transfer))["previews"] == []


async def test_whose_label_differs_can_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture is what helps a person to decide about what is held."""
    async with pair_of(tmp_path) as (it, a, b):
        monkeypatch.setattr(checking, "same_label", lambda *_: [Difference("x", "", "", "y")])
        transfer = await a.send("b", study(it))
        row = await b.until_checked(transfer)
        assert row.held is not None
        b.station.picture_maker = Maker
        assert len((await b.desk.previews(ANNA, transfer))["previews"]) == 3


# --- what is stated -----------------------------------------------------------------------


async def test_a_recall_after_a_preview_erases_and_tells_the_truth(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        b.station.picture_maker = Maker
        await b.desk.previews(ANNA, transfer)
        await a.desk.recall(ANNA, transfer, "")
        await a.until(transfer, State.RECALLED)
        assert b.vault() == []
        said = (await details(a, "out", transfer))["recalled"]
        assert said["opened"].endswith("Z")
        assert (said["by"], said["how"]) == ("anna", "preview")
        error = (await a.desk.transfer("out", transfer, entries=False))["error"]
        assert "only a preview of it had been looked at" in error["text"]
        assert "never" not in error["text"]


async def test_a_release_after_a_preview_is_an_opening(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        b.station.picture_maker = Maker
        await b.desk.previews(ANNA, transfer)
        await b.released(transfer, tmp_path / "out")
        await a.until(transfer, State.RELEASED)
        await a.desk.recall(ANNA, transfer, "")
        await until(lambda: "recall-late" in kinds(a, transfer))
        said = await details(a, "out", transfer)
        assert "how" not in said["recall-late"]
        assert said["opened"] == {"by": "anna"}


async def test_a_peer_without_the_word_hears_that_it_was_opened(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        speak(a, "recall", "expiring")
        transfer = await sealed(it, a, b)
        b.station.picture_maker = Maker
        for _ in range(2):
            await b.desk.previews(ANNA, transfer)
        assert kinds(b, transfer) == ["sealed", "opened"]
        assert (await details(b, "in", transfer))["opened"] == {"by": "anna", "how": "preview"}
        await a.desk.recall(ANNA, transfer, "")
        await a.until(transfer, State.RECALLED)
        assert (await details(a, "out", transfer))["recalled"]["how"] == "preview"


async def test_what_has_ended_is_not_looked_at(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        b.station.picture_maker = Maker
        undecided = await a.send("b", study(it, "undecided"))
        await b.until(undecided, State.OFFERED)
        with pytest.raises(ConflictError, match="offered") as caught:
            await b.desk.previews(ANNA, undecided)
        assert "accept it first" in (caught.value.hint or "")
        await b.set("a", accept="auto")
        for name in ("recalled", "discarded"):
            transfer = await sealed(it, a, b, study(it, name))
            if name == "recalled":
                await a.desk.recall(ANNA, transfer, "")
            else:
                await b.desk.discard(ANNA, transfer)
            await b.until(transfer, State.RECALLED, State.DISCARDED)
            with pytest.raises(ConflictError, match=name):
                await b.desk.previews(ANNA, transfer)
            assert audited(b, transfer) == []
            assert "previewed" not in kinds(b, transfer)
        with pytest.raises(NotFoundError):
            await b.desk.previews(ANNA, "zzzz")
        with pytest.raises(NotFoundError):
            await a.desk.previews(ANNA, undecided)  # of the outbox


async def test_what_must_be_destroyed_is_not_looked_at(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.released(transfer, tmp_path / "out")
        await a.desk.recall(ANNA, transfer, "")
        await until(lambda: b.row(transfer).held)  # type: ignore[union-attr]
        with pytest.raises(ConflictError, match="asks to destroy"):
            await b.desk.previews(ANNA, transfer)
        assert audited(b, transfer) == []


async def test_who_takes_it_back_meanwhile_wins(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        amid, on = threading.Event(), threading.Event()

        def during() -> None:
            amid.set()
            assert on.wait(30)

        b.station.picture_maker = lambda: Maker(during)
        told: list[MedP2PError] = []

        async def look() -> None:
            with pytest.raises(ConflictError) as caught:
                await b.desk.previews(ANNA, transfer)
            told.append(caught.value)

        async def take_back() -> None:
            await until(amid.is_set)
            await a.desk.recall(ANNA, transfer, "")
            await b.until(transfer, State.RECALLED)
            on.set()

        await all_of(look, take_back)
        assert "recalled" in told[0].text
        await a.until(transfer, State.RECALLED)
        assert (await details(a, "out", transfer))["recalled"]["how"] == "preview"


async def test_a_series_that_is_not_there_is_no_look(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        with pytest.raises(NotFoundError, match="no such series"):
            await b.desk.previews(ANNA, transfer, ["1.2.3.4", "9.9"])
        assert audited(b, transfer) == []
        assert kinds(b, transfer) == ["sealed"]


async def test_a_locked_vault_shows_nothing(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        unlocked = b.station.vault
        b.station.vault = VaultBox([b.station.keys.vault_recipient], None)
        with pytest.raises(VaultLockedError):
            await b.desk.previews(ANNA, transfer)
        b.station.vault = unlocked
        assert audited(b, transfer) == []


# --- what is read, and where it lies ------------------------------------------------------


async def test_only_what_is_shown_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b, study(it, slices=60))
        whole = b.home.sealed(transfer).stat().st_size
        asked: list[tuple[int, int]] = []
        real = SealReader.read_into

        def counted(self: SealReader, offset: int, view: memoryview) -> None:
            asked.append((offset, len(view)))
            real(self, offset, view)

        monkeypatch.setattr(SealReader, "read_into", counted)
        answer = await b.desk.previews(ANNA, transfer)
        assert [bool(one["png_b64"]) for one in answer["previews"]] == [True, False, True]
        assert 0 < sum(count for _, count in asked) < 40_000 < whole / 10
        one_file = max(offset for offset, _ in asked) - min(offset for offset, _ in asked)
        assert one_file < whole


async def test_nothing_of_a_preview_is_on_the_disk(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        pattern = np.random.default_rng(5).integers(0, 4096, (64, 64), dtype=np.uint16)
        data = slice_file(3, PixelData=pattern.tobytes(), SeriesDescription="CanaryThorax")
        transfer = await sealed(it, a, b, it.source("one", {"x.dcm": data}))
        before = files_below(tmp_path)
        answer = await b.desk.previews(ANNA, transfer)
        png = base64.b64decode(answer["previews"][0]["png_b64"])
        b.station.store.checkpoint()
        canaries = (pattern.tobytes()[:64], png[:64][33:], b"CanaryThorax", b"\x89PNG")
        for path in files_below(b.home.path):
            content = path.read_bytes()
            assert not any(canary in content for canary in canaries), path
        made = files_below(tmp_path) - before
        assert not [path for path in made if not path.name.startswith(b.home.store.name)]


async def test_a_damaged_file_shows_nothing(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        path = b.home.sealed(transfer)
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
        b.station.picture_maker = Maker
        with pytest.raises(SealBrokenError):
            await b.desk.previews(ANNA, transfer)
        assert len(audited(b, transfer)) == 1  # somebody was let look


async def test_what_an_older_version_has_looked_at_is_looked_at_again(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        with b.station.store.write() as tx:
            found = checking.found(tx, b.station, transfer)
            assert found is not None
            assert found.pictures is not None
            parts = msgspec.msgpack.decode(msgspec.msgpack.encode(found))
            older = msgspec.msgpack.encode(parts[:3])
            papers.put_vault(tx, b.station, transfer, papers.CHECK, older)
        answer = await b.desk.previews(ANNA, transfer, ["1.2.3.4"])
        (one,) = answer["previews"]
        assert pixels_of(one)[0].argmax() == 4
        with pytest.raises(NotFoundError):
            await b.desk.previews(ANNA, transfer, ["9.9"])


# --- bounds -------------------------------------------------------------------------------


async def test_one_at_a_time(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        lock, now, most = threading.Lock(), 0, 0

        def during() -> None:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.02)  # long enough for another one to come in, if it could
            with lock:
                now -= 1

        b.station.picture_maker = lambda: Maker(during)

        async def look() -> None:
            await b.desk.previews(ANNA, transfer)

        await all_of(look, look, look)
        assert most == 1
        assert len(audited(b, transfer)) == 3
        assert kinds(b, transfer).count("previewed") == 1


async def test_more_series_are_shown_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PICTURE_SERIES", 1)
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        b.station.picture_maker = Maker
        answer = await b.desk.previews(ANNA, transfer)
        assert [bool(one["png_b64"]) for one in answer["previews"]] == [True, False, False]
        assert "by itself" in answer["previews"][2]["why"]
        assert [one["by_itself"] for one in answer["previews"]] == [False, False, True]
        (one,) = (await b.desk.previews(ANNA, transfer, ["1.2.3.5"]))["previews"]
        assert one["png_b64"]
        monkeypatch.setattr(limits, "PICTURE_ALL_SECONDS", -1.0)
        (one,) = (await b.desk.previews(ANNA, transfer, ["1.2.3.5"]))["previews"]
        assert "no time left" in one["why"]


async def test_who_hangs_up_or_stops_the_daemon_does_not_wait_for_it(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        amid, gone = threading.Event(), threading.Event()
        count = 0

        def during() -> None:
            nonlocal count
            count += 1
            amid.set()
            assert gone.wait(30)

        b.station.picture_maker = lambda: Maker(during)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(b.desk.previews, ANNA, transfer)
                await until(amid.is_set)
                scope.cancel()
                gone.set()
        assert scope.cancelled_caught
        assert count == 1
        b.station.picture_maker = Maker
        assert (await b.desk.previews(ANNA, transfer))["previews"][0]["png_b64"]
        b.station.stopping = True
        with pytest.raises(MedP2PError, match="stopped"):
            await b.desk.previews(ANNA, transfer)
        b.station.stopping = False


def test_every_reason_has_words() -> None:
    assert set(WHY) < set(previewing._WHY)
    assert all(text and not text.endswith(".") for text in previewing._WHY.values())
