"""The same scan to another peer, and addenda: only what is new, shown as belonging together."""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.daemon.instances import (
    Sent,
    decode_marks,
    encode_marks,
    filled,
    instance_of,
    mark,
    open_images,
)
from medp2p.dicom.facts import FileFacts
from medp2p.errors import CheckRefusedError, ConflictError, MedP2PError, NotFoundError
from medp2p.layout import FilePart, Layout
from medp2p.manifest import Entry, Kind
from medp2p.model import State
from medp2p.parcel.contents import Contents, cut_of
from medp2p.parcel.heads import Heads
from medp2p.vault import meta
from tests.helpers.dicoms import DISC, dataset, element, file_of, pixels
from tests.helpers.stations import (
    ANNA,
    Workstation,
    lab,
    pair_of,
    random_bytes,
    ranges_bytes,
    tree_of,
    until,
)

SLICES = sorted(path for path in (DISC / "TINY_ALPHA").rglob("*") if path.is_file())


def study(folder: Path, count: int) -> Path:
    (folder / "study").mkdir(parents=True, exist_ok=True)
    for path in SLICES[:count]:
        shutil.copy2(path, folder / "study" / path.name)
    return folder / "study"


async def scan(side: Workstation, peer: str, paths: list[Path], **wishes: Any) -> dict[str, Any]:
    view = await side.desk.scan(ANNA, peer, [os.fsencode(path) for path in paths], wishes)
    while view["state"] == "scanning":
        view = await side.desk.scan_state(view["scan"], wait=True)
    return view


async def queue(side: Workstation, peer: str, view: dict[str, Any]) -> str:
    assert view["state"] == "done", view
    row = await side.desk.send(ANNA, view["scan"], peer, "", "routine", confirmation={"yes": True})
    return str(row["id"])


async def test_the_same_scan_to_another_peer(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        a, b, c = await it.add("a"), await it.add("b"), await it.add("c")
        await it.pair(a, b, accept="auto")
        await it.pair(a, c, accept="auto")
        sources = study(tmp_path / "src", 3)
        first = await a.send("b", sources)
        await a.until(first, State.SEALED)
        (sources / "later.txt").write_bytes(b"not part of that scan")
        second = await queue(a, "c", await scan(a, "c", [], again_of=first[:8]))
        await a.until(second, State.SEALED)
        await c.until_checked(second)
        folder = await c.released(second, tmp_path / "out")
        assert set(tree_of(folder / "study")) == {path.name for path in SLICES[:3]}
        labels = [
            (await a.desk.transfer("out", each, entries=False))["label"] for each in (first, second)
        ]
        assert labels[0] == labels[1]
        (sources / SLICES[0].name).unlink()
        view = await scan(a, "c", [], again_of=first)
        assert view["state"] == "failed"
        assert "not there any more" in view["error"]["text"]


async def test_a_scan_that_is_not_kept_cannot_be_sent_again(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_it, a, _b):
        first = await a.send("b", study(tmp_path / "src", 2))
        await a.until(first, State.SEALED)
        row = a.row(first)
        assert row is not None
        with a.station.store.write() as tx:
            meta.remove_scan(tx, row.scan_id or "")
        with pytest.raises(NotFoundError, match="not kept"):
            await scan(a, "b", [], again_of=first)


async def test_an_addendum_has_only_what_is_new(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_it, a, b):
        first = await a.send("b", study(tmp_path / "src", 3))
        await a.until(first, State.SEALED)
        moved = study(tmp_path / "moved", 5)  # the same instances at another place
        second = await queue(a, "b", await scan(a, "b", [moved], addendum_of=first))
        await a.until(second, State.SEALED)
        await b.until_checked(second)
        sent = await a.desk.transfer("out", second, entries=True)
        assert {entry["path"] for entry in sent["entry_list"]} == {
            "study",
            *(f"study/{path.name}" for path in SLICES[3:5]),
        }
        assert {entry["why"] for entry in sent["skipped_entries"]} == {"sent-before"}
        for side, box in ((a, "out"), (b, "in")):
            view = await side.desk.transfer(box, second, entries=False)
            assert view["addendum_of"] == first
            assert view["held"] is None
            assert (await side.desk.transfer(box, first, entries=False))["addenda"] == [second]
        # A further one leaves out what either had.
        view = await scan(a, "b", [study(tmp_path / "moved", 5)], addendum_of=first)
        assert view["state"] == "failed"
        assert "nothing of that is new" in view["error"]["text"]
        third = await queue(
            a, "b", await scan(a, "b", [study(tmp_path / "moved", 6)], addendum_of=second)
        )
        await a.until(third, State.SEALED)
        assert (await b.desk.transfer("in", third, entries=False))["files"] == 1


async def test_nothing_is_added_to_what_has_not_arrived_or_went_elsewhere(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        a, b, c = await it.add("a"), await it.add("b"), await it.add("c")
        await it.pair(a, b, accept="ask")
        await it.pair(a, c, accept="ask")
        sources = study(tmp_path / "src", 2)
        first = await a.send("b", sources)
        for peer, wishes in (
            ("c", {"addendum_of": first}),
            ("b", {"addendum_of": "zzzz"}),
            ("b", {"addendum_of": ""}),
            ("c", {"again_of": ""}),
            ("b", {"addendum_of": first, "again_of": first}),
        ):
            with pytest.raises(MedP2PError):
                await scan(a, peer, [sources], **wishes)
        with pytest.raises(ConflictError, match="nothing can be added"):  # only offered yet
            await scan(a, "b", [sources], addendum_of=first)
        await a.desk.cancel(ANNA, first)
        with pytest.raises(MedP2PError, match="nothing can be added"):
            await scan(a, "b", [sources], addendum_of=first)


async def test_a_label_that_claims_a_transfer_of_somebody_else(tmp_path: Path) -> None:
    """What is shown as belonging together was sent by the same peer."""
    async with lab(tmp_path) as it:
        a, b, c = await it.add("a"), await it.add("b"), await it.add("c")
        await it.pair(a, b, accept="auto")
        await it.pair(c, b, accept="auto")
        first = await a.send("b", study(tmp_path / "src", 2))
        await a.until(first, State.SEALED)
        view = await scan(c, "b", [study(tmp_path / "other", 3)])
        job = c.desk._scans.get(view["scan"])
        job.wishes = msgspec.structs.replace(job.wishes, addendum_of=first)
        second = await queue(c, "b", view)
        await c.until(second, State.SEALED)
        await until(lambda: b.row(second) is not None)
        assert (await b.desk.transfer("in", second, entries=False))["addendum_of"] is None
        assert (await b.desk.transfer("in", first, entries=False))["addenda"] == []


def write_image(folder: Path, name: str, changes: dict[int, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(file_of(dataset(changes) + pixels()))
    return folder


JOHN = {0x00100010: ("PN", "Roe^John"), 0x00100020: ("LO", "9"), 0x00100030: ("DA", "19500101"),
        0x00080018: ("UI", "1.9"), 0x0020000D: ("UI", "1.8")}  # fmt: skip


async def test_an_addendum_of_somebody_else_is_blocked_and_not_linked(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_it, a, b):
        first = await a.send("b", write_image(tmp_path / "jane", "a.dcm"))
        await a.until(first, State.SEALED)
        john = write_image(tmp_path / "john", "b.dcm", JOHN)
        view = await scan(a, "b", [john], addendum_of=first)
        assert view["parts"][0]["stops"] == ["addendum-patient"]
        with pytest.raises(CheckRefusedError, match="addendum-patient"):
            await queue(a, "b", view)
        for wishes in ({}, {"allow": ["addendum-patient"]}):
            blocked = await scan(a, "b", [john], addendum_of=first, **wishes)
            assert blocked["parts"][0]["stops"] == ["addendum-patient"]
        await a.set("b", allow="addendum-patient")
        view = await scan(a, "b", [john], addendum_of=first, allow=["addendum-patient"])
        second = await queue(a, "b", view)
        await a.until(second, State.SEALED)
        for side, box in ((a, "out"), (b, "in")):
            assert (await side.desk.transfer(box, second, entries=False))["addendum_of"] is None


async def test_an_instance_with_other_content_is_not_dropped_as_sent(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_it, a, _b):
        folder = write_image(tmp_path / "jane", "a.dcm")
        first = await a.send("b", folder)
        await a.until(first, State.SEALED)
        body = dataset() + element(0x7FE00010, "OW", b"12345678")
        (folder / "a.dcm").write_bytes(file_of(body))
        write_image(folder, "new.dcm", {0x00080018: ("UI", "1.2.3.4.6")})
        view = await scan(a, "b", [folder], addendum_of=first)
        assert view["parts"][0]["stops"] == ["same-instance"]
        assert view["parts"][0]["files"] == 2
        kept = await scan(a, "b", [folder], addendum_of=first, allow=["same-instance"])
        assert kept["parts"][0]["stops"] == []


async def test_a_typed_label_is_not_used_again_for_other_content(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_it, a, _b):
        folder = tmp_path / "reports"
        folder.mkdir()
        (folder / "r.txt").write_bytes(b"of Jane")
        typed = {"id": "1", "name": "Doe^Jane", "birth_date": "1970-02-03"}
        first = await queue(a, "b", await scan(a, "b", [folder], typed=typed))
        await a.until(first, State.SEALED)
        view = await scan(a, "b", [], again_of=first)
        assert view["parts"][0]["label"]["typed"]["name"] == "Doe^Jane"
        (folder / "r.txt").write_bytes(b"of John")
        view = await scan(a, "b", [], again_of=first)
        assert view["parts"][0]["label"]["typed"] is None
        await a.set("b", confirm="typed")
        view = await scan(a, "b", [], again_of=first)
        assert view["parts"][0]["wants"] == "label"


async def test_what_a_resumed_transfer_had_is_known_to_the_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half was sent by a daemon that is gone: it is read once more, and the marks are whole."""
    monkeypatch.setattr(limits, "CLAIM_GROUP", 4)
    monkeypatch.setattr(limits, "JOURNAL_GROUP_BYTES", 4 * limits.MIB)
    async with pair_of(tmp_path) as (it, a, b):
        folder = tmp_path / "jane"
        images = {f"{n}.dcm": random_bytes(6 * limits.MIB, n) for n in range(4)}
        for number, (name, pixel_data) in enumerate(images.items()):
            body = dataset({0x00080018: ("UI", f"1.2.3.4.{number}")})
            folder.mkdir(exist_ok=True)
            (folder / name).write_bytes(file_of(body + element(0x7FE00010, "OW", pixel_data)))
        a.wire.hold_at = a.wire.sent + 12 * limits.MIB
        first = await a.send("b", folder)
        await b.until(first, State.RECEIVING)
        await a.wire.wait_sent(a.wire.hold_at)
        await until(lambda: ranges_bytes(b.missing(first)) < 20 * limits.MIB, "a group")
        await a.wire.sever()
        assert a.journalled(first)
        await a.stop()
        a.wire.mend()
        await it.start(a)
        await a.until(first, State.SEALED)
        copied = tmp_path / "copied" / "jane"
        shutil.copytree(folder, copied, copy_function=shutil.copyfile)
        view = await scan(a, "b", [copied], addendum_of=first)
        assert "nothing of that is new" in view["error"]["text"]
        with (copied / "2.dcm").open("r+b") as file:  # one byte amid the pixels
            file.seek(3 * limits.MIB)
            file.write(b"?")
        view = await scan(a, "b", [copied], addendum_of=first)
        assert view["parts"][0]["stops"] == ["same-instance"]
        assert view["parts"][0]["files"] == 1


async def test_images_are_read_for_their_content_only_while_they_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slide of 12 GB is not read as a whole before its first byte leaves."""
    read: list[int] = []
    real = Heads.read

    def counted(self: Heads, index: int, head: int, tail: int, at: Any) -> Any:
        found = real(self, index, head, tail, at)
        read.append(0 if found is None else len(found.head) + len(found.tail))
        return found

    monkeypatch.setattr(Heads, "read", counted)
    monkeypatch.setattr(Heads, "digest", None)
    async with pair_of(tmp_path) as (_it, a, _b):
        (tmp_path / "slide").mkdir()
        body = dataset() + element(0x7FE00010, "OW", random_bytes(8 * limits.MIB))
        (tmp_path / "slide" / "a.dcm").write_bytes(file_of(body))
        view = await scan(a, "b", [tmp_path / "slide"])
        assert view["state"] == "done"
        assert sum(read) <= limits.DICOM_HEAD_BYTES + limits.DICOM_TAIL_BYTES
        first = await queue(a, "b", view)
        await a.until(first, State.SEALED)
        assert sum(read) <= limits.DICOM_HEAD_BYTES + limits.DICOM_TAIL_BYTES


@given(st.binary(min_size=1, max_size=20), st.integers(0, 9), st.integers(0, 9), st.text())
def test_marks_tell_instances_apart(name: bytes, size: int, time: int, uid: str) -> None:
    path = b"x" + name.replace(b"/", b"").replace(b"\0", b"")
    one = Entry(path, Kind.FILE, size, time)
    plain, image = FileFacts(kind="other"), FileFacts(kind="dicom", sop_instance="1" + uid)
    moved = Entry(b"elsewhere/" + path, Kind.FILE, size, time + 1)
    assert mark(one, image) == mark(moved, image)
    assert instance_of(mark(one, image)) != instance_of(mark(one, plain))
    assert mark(one, plain) != mark(moved, plain)
    nobody = lambda number, cut: None  # noqa: E731
    assert Sent([mark(one, plain)]).has(mark(one, plain), 0, nobody)
    assert not Sent([mark(one, plain)]).has(mark(moved, plain), 0, nobody)
    # An image whose content nobody has noted is not left out.
    assert not Sent([mark(one, image)]).has(mark(one, image), 0, nobody)


def test_marks_are_filled_with_what_was_read_and_kept_marks_of_the_first_form_are_read() -> None:
    entries = [Entry(b"d", Kind.DIRECTORY, 0, 0)]
    entries += [Entry(b"d/%d" % n, Kind.FILE, 2000, 0) for n in range(3)]
    image, plain = FileFacts(kind="dicom", sop_instance="1.2"), FileFacts(kind="other")
    told = [mark(entries[1], image), mark(entries[2], plain), mark(entries[3], image)]
    raw = encode_marks(told)
    assert decode_marks(raw) == told
    assert open_images(raw, entries) == [1, 3]
    layout = Layout(entries)
    contents = Contents(layout, [1, 3])
    contents.take(FilePart(1, 0, 2000), memoryview(bytes(2000)))
    raw = filled(raw, contents)
    assert open_images(raw, entries) == [3]
    assert decode_marks(raw)[1:] == told[1:]
    cut = cut_of(layout, 1)
    asked: list[int] = []

    def read(number: int, again: int) -> bytes | None:
        asked.append(again)
        return contents.digest(1)

    sent = Sent(decode_marks(raw))
    assert sent.has(told[0], 7, read)
    assert asked == [cut]
    assert not sent.has(told[0], 7, lambda number, again: bytes(32))
    old = b"".join(one[:16] + one[-16:] for one in told)
    sent = Sent(decode_marks(old))
    assert sent.has(told[1], 7, read)  # told by its path and time as ever
    assert not sent.has(told[0], 7, read)  # known, and nobody knows with which content
    assert instance_of(told[0]) in sent.instances
