"""The same scan to another peer, and addenda: only what is new, shown as belonging together."""

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p.daemon.instances import instance_of, mark
from medp2p.dicom.facts import FileFacts
from medp2p.errors import CheckRefusedError, ConflictError, MedP2PError, NotFoundError
from medp2p.model import Entry, Kind, State
from medp2p.vault import meta
from tests.helpers.dicoms import DISC, dataset, element, file_of, pixels
from tests.helpers.stations import ANNA, Workstation, lab, pair_of, tree_of, until

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


@given(st.binary(min_size=1, max_size=20), st.integers(0, 9), st.integers(0, 9), st.text())
def test_marks_tell_instances_apart(name: bytes, size: int, time: int, uid: str) -> None:
    path = b"x" + name.replace(b"/", b"").replace(b"\0", b"")
    one = Entry(path, Kind.FILE, size, time)
    plain, image = FileFacts(kind="other"), FileFacts(kind="dicom", sop_instance="1" + uid)
    moved = Entry(b"elsewhere/" + path, Kind.FILE, size + 1, time + 1)
    moved = Entry(moved.path, moved.kind, size, moved.mtime_ns)
    assert mark(one, image, b"x") == mark(moved, image, b"x")
    assert mark(one, image, b"x") != mark(moved, image, b"y")
    assert instance_of(mark(one, image, b"x")) == instance_of(mark(moved, image, b"y"))
    assert mark(one, plain) != mark(moved, plain)
    assert mark(one, plain) != mark(one, image)
