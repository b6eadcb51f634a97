"""Labels from real files, in one process: inspecting, confirming, the grace time, the audit."""

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio

from medp2p import limits
from medp2p.daemon import undoing
from medp2p.daemon.inspecting import Inspectors
from medp2p.dicom.patients import Item
from medp2p.errors import (
    CheckRefusedError,
    ConflictError,
    NotFoundError,
    TransferAbortedError,
    UsageError,
)
from medp2p.identity import encode_peer_id
from medp2p.model import State
from medp2p.parcel.heads import Heads
from medp2p.parcel.scan import scan
from tests.helpers.dicoms import DISC, SMALL, dataset, element, file_of, pixels
from tests.helpers.stations import ANNA, Workstation, all_of, lab, now_ms, pair_of

IMAGE = file_of(dataset() + pixels())


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    for number in range(3):
        body = dataset({0x00080018: ("UI", f"1.2.3.9.{number}")}) + pixels()
        (folder / f"{number}.dcm").write_bytes(file_of(body))
    return folder


async def inspected(inspectors: Inspectors, *paths: Path) -> list[Item]:
    found = scan([os.fsencode(path) for path in paths])
    return await inspectors.inspect(found, lambda count: None, lambda: False, now_ms())


async def test_files_are_read_once_as_long_as_they_stay_the_same(study: Path) -> None:
    old = now_ms() / 1000 - 3600
    for number in range(3):
        os.utime(study / f"{number}.dcm", (old, old))
    inspectors = Inspectors()
    try:
        first = await inspected(inspectors, study)
        assert [item.facts.kind for item in first] == ["dicom"] * 3
        inspectors.close()  # no child is there any more: what is known is known
        assert await inspected(inspectors, study) == first
        (study / "1.dcm").write_bytes(IMAGE)
        with pytest.RaisesGroup(RuntimeError, allow_unwrapped=True, flatten_subgroups=True):
            await inspected(inspectors, study)
    finally:
        inspectors.close()


async def test_another_beginning_is_read_anew_whatever_the_times_say(study: Path) -> None:
    old = now_ms() / 1000 - 3600
    for number in range(3):
        os.utime(study / f"{number}.dcm", (old, old))
    inspectors = Inspectors()
    try:
        await inspected(inspectors, study)
        known = inspectors._known
        forged = {stat: (bytes(16), facts) for stat, (_, facts) in known.items()}
        known.clear()
        known.update(forged)
        inspectors.close()
        with pytest.RaisesGroup(RuntimeError, allow_unwrapped=True, flatten_subgroups=True):
            await inspected(inspectors, study)
    finally:
        inspectors.close()


async def test_what_is_odd_is_not_verified_and_nothing_worse(tmp_path: Path) -> None:
    long = element(0x00091010, "UN", bytes(3 * limits.DICOM_HEAD_BYTES))
    late = dataset({0x00100010: None})  # the name stands behind what is long
    (tmp_path / "long.dcm").write_bytes(file_of(long + dataset()))
    (tmp_path / "cut.dcm").write_bytes(file_of(late)[:200])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "deflated.dcm").write_bytes((SMALL / "image_dfl.dcm").read_bytes())
    inspectors = Inspectors()
    try:
        items = {item.path.rpartition(b"/")[2]: item for item in await inspected(
            inspectors, tmp_path)}  # fmt: skip
    finally:
        inspectors.close()
    assert items[b"cut.dcm"].facts.kind == "unverified"
    assert items[b"empty"].facts.kind == "other"
    assert items[b"deflated.dcm"].facts.patient is not None
    assert items[b"long.dcm"].facts.kind in ("dicom", "unverified")


async def test_more_of_a_header_is_read_where_it_is_wanted(tmp_path: Path) -> None:
    private = element(0x00091010, "UN", bytes(3 * limits.DICOM_HEAD_BYTES))
    whole = dataset()
    place = whole.index(b"\x10\0\x10\0")  # before the patient's name
    (tmp_path / "a.dcm").write_bytes(file_of(whole[:place] + private + whole[place:] + pixels()))
    inspectors = Inspectors()
    try:
        (item,) = await inspected(inspectors, tmp_path)
    finally:
        inspectors.close()
    assert item.facts.kind == "dicom"
    assert item.facts.patient is not None
    assert item.facts.patient.name == "Doe^Jane"
    assert item.facts.wanted_bytes == 0


async def test_a_file_that_still_grows_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(IMAGE)
    inspectors = Inspectors()
    try:
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                while True:
                    with path.open("ab") as file:
                        file.write(b"\0")
                    await trio.sleep(0.01)

            found = scan([os.fsencode(path)])
            nursery.start_soon(write)
            (item,) = await inspectors.inspect(found, lambda n: None, lambda: False, now_ms())
            nursery.cancel_scope.cancel()
    finally:
        inspectors.close()
    assert item.growing


async def test_a_scan_can_be_given_up(study: Path) -> None:
    inspectors = Inspectors()
    found = scan([os.fsencode(study)])
    try:
        with pytest.raises(TransferAbortedError):
            await inspectors.inspect(found, lambda n: None, lambda: True, now_ms())
    finally:
        inspectors.close()


def test_heads_open_nothing_but_files(tmp_path: Path) -> None:
    names = ("a", "b", "c", "d")
    for name in names:
        (tmp_path / name).write_bytes(b"0123456789" * 10)
    found = scan([os.fsencode(tmp_path)])
    (tmp_path / "b").unlink()
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").unlink()
    os.mkfifo(tmp_path / "c")
    (tmp_path / "d").write_bytes(b"longer" * 100)
    heads = Heads(found)
    at = heads.neighbours()
    try:
        numbers = {entry.path[-1:]: number for number, entry in enumerate(found.entries)}
        read = {name: heads.read(numbers[name], 4, 3, at) for name in (b"a", b"b", b"c", b"d")}
        assert read[b"a"] == (b"0123", 100, b"789", False)
        assert (read[b"b"], read[b"c"]) == (None, None)
        changed = read[b"d"]
        assert changed is not None
        assert (changed.size, changed.changed) == (600, True)
        whole = heads.read(numbers[b"a"], 1000, 3, at)
        assert whole is not None
        assert (len(whole.head), whole.tail) == (100, b"")
        assert [heads.has_changed(numbers[name], at) for name in (b"a", b"b", b"d")] == [
            False, True, True,
        ]  # fmt: skip
        assert heads.digest(numbers[b"a"]) != heads.digest(numbers[b"d"])
        assert heads.digest(numbers[b"b"]) is None
    finally:
        at.close()
        heads.close()


async def finished(one: Workstation, *paths: Path, **wishes: object) -> dict[str, Any]:
    view = await one.desk.scan(ANNA, "b", [os.fsencode(path) for path in paths], wishes)
    while view["state"] == "scanning":
        view = await one.desk.scan_state(view["scan"], wait=True)
    assert view["error"] is None, view
    return dict(view)


async def test_a_refusal_is_audited_and_settings_count_at_the_end(
    tmp_path: Path, study: Path
) -> None:
    async with pair_of(tmp_path) as (_, a, _b):
        await a.set("b", confirm="typed")
        view = await finished(a, study)
        (part,) = view["parts"]
        assert part["wants"] == "typed"
        assert part["masked"] is True
        assert "123456" not in str(view)
        scan_id = str(view["scan"])
        with pytest.raises(CheckRefusedError):
            await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"yes": True})
        with pytest.raises(UsageError):
            await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"ja": True})
        with pytest.raises(NotFoundError):
            await a.desk.send(ANNA, scan_id, "b", "", "routine", 1, {"yes": True})
        label = await a.desk.reveal(ANNA, scan_id, 0)
        assert label["patients"][0]["id"] == "123456"
        await a.set("b", confirm="expect")
        for act in (
            a.desk.check(ANNA, scan_id, 0, {"answers": ["1970"]}),
            a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"answers": ["1970"]}),
        ):
            with pytest.raises(ConflictError, match="confirm"):
                await act
        scan_id = str((await finished(a, study))["scan"])
        with pytest.raises(CheckRefusedError):
            await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"answers": ["1970"]})
        await a.set("b", confirm="none")
        scan_id = str((await finished(a, study))["scan"])
        row = await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"yes": True})
        with pytest.raises(NotFoundError):
            await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"yes": True})
        await a.until(row["id"], State.SEALED)
        log = [one for one in a.audit() if one[0] in ("send", "reveal-label")]
        assert log == [
            ("send", "refused"), ("reveal-label", "ok"), ("send", "refused"), ("send", "ok"),
        ]  # fmt: skip


async def test_parts_are_queued_once_each(tmp_path: Path, study: Path) -> None:
    john = {0x00100010: ("PN", "Roe^John"), 0x00100020: ("LO", "9"), 0x00080018: ("UI", "1.9"),
            0x0020000D: ("UI", "1.8")}  # fmt: skip
    (study / "john.dcm").write_bytes(file_of(dataset(john) + pixels()))  # type: ignore[arg-type]
    async with pair_of(tmp_path) as (_, a, b):
        view = await finished(a, study, split=True)
        scan_id, sent = str(view["scan"]), []
        for number in (1, 0):
            row = await a.desk.send(ANNA, scan_id, "b", "", "routine", number, {"yes": True})
            sent.append(row)
            if number:
                with pytest.raises(ConflictError):
                    await a.desk.send(ANNA, scan_id, "b", "", "routine", 1, {"yes": True})
        assert [row["files"] for row in sent] == [1, 3]
        for row in sent:
            await b.until(row["id"], State.SEALED)
            out = await b.released(row["id"], tmp_path / "out")
            assert len(list(out.rglob("*.dcm"))) == row["files"]


async def test_nothing_that_must_be_typed_is_shown_anywhere(tmp_path: Path, study: Path) -> None:
    """Other spellings, names of skipped entries and scans that are blocked are masked too."""
    spelled = {0x00080018: ("UI", "1.2.3.9.77"), 0x00100020: ("LO", "12 3456")}
    (study / "123456 other.dcm").write_bytes(file_of(dataset(spelled) + pixels()))  # type: ignore[arg-type]
    (study / "Doe 12 3456 1970-02-03.lnk").symlink_to("/nowhere")
    (study / "cut 19700203.dcm").write_bytes(IMAGE[:-4])
    async with pair_of(tmp_path) as (_, a, _b):
        await a.set("b", confirm="typed")
        view = await finished(a, study)
        (part,) = view["parts"]
        assert "truncated" in part["stops"]
        assert part["masked"] is True
        (skipped,) = view["skipped"]
        said = str(view) + base64.b64decode(skipped["path_b64"]).decode()
        for word in ("123456", "12 3456", "1970"):
            assert word not in said
        shown = await a.desk.reveal(ANNA, str(view["scan"]), 0)
        assert shown["asked"][0]["id"] in ("123456", "12 3456")


async def test_a_directory_that_names_strangers_stops(tmp_path: Path) -> None:
    disc = tmp_path / "disc"
    disc.mkdir()
    shutil.copy2(DISC / "DICOMDIR", disc)
    (disc / "a.dcm").write_bytes(IMAGE)
    async with pair_of(tmp_path) as (_, a, _b):
        await a.set("b", allow="directory-patients")
        view = await finished(a, disc)
        assert "directory-patients" in view["parts"][0]["stops"]
        view = await finished(a, disc, allow=["directory-patients"])
        assert view["parts"][0]["stops"] == []
        jane = {"expect": [{"patient_id": "123456"}]}
        with pytest.raises(CheckRefusedError, match="patient_id"):
            await a.desk.send(ANNA, view["scan"], "b", "", "routine", 0, jane)


async def test_another_peer_of_the_name_gets_nothing(tmp_path: Path, study: Path) -> None:
    async with lab(tmp_path) as it:
        a, b, c = await it.add("a"), await it.add("b"), await it.add("c")
        await it.pair(a, b)
        view = await finished(a, study)
        await a.desk.remove_peer(ANNA, "b")
        await a.desk.add_peer(ANNA, "b", encode_peer_id(c.key), [c.address])
        await a.set("b", confirm="none")
        with pytest.raises(ConflictError, match="another one"):
            await a.desk.send(ANNA, view["scan"], "b", "", "routine", 0, {"yes": True})


async def test_two_at_once_queue_one(tmp_path: Path, study: Path) -> None:
    async with pair_of(tmp_path) as (_, a, _b):
        scan_id = str((await finished(a, study))["scan"])
        outcomes: list[str] = []

        async def queue() -> None:
            try:
                await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"yes": True})
            except (ConflictError, NotFoundError) as error:
                outcomes.append(error.code)
            else:
                outcomes.append("queued")

        await all_of(queue, queue, queue)
        assert outcomes.count("queued") == 1


async def test_what_was_refused_can_be_queued_after_all(tmp_path: Path, study: Path) -> None:
    async with pair_of(tmp_path) as (_, a, _b):
        scan_id = str((await finished(a, study))["scan"])
        with pytest.raises(UsageError):
            await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {})
        await a.desk.send(ANNA, scan_id, "b", "", "routine", 0, {"yes": True})


async def test_the_grace_time_can_be_used(tmp_path: Path, study: Path) -> None:
    async with pair_of(tmp_path) as (_, a, b):
        await a.set("b", undo="1")
        sent = await a.send("b", study)
        assert a.reason(sent) == undoing.CODE
        a.outbox.wake(b.key)  # nobody hurries it
        await trio.sleep(0.3)
        assert a.state(sent) is State.QUEUED
        assert b.row(sent) is None
        await b.until(sent, State.SEALED)
        await a.until(sent, State.SEALED)
        again = await a.send("b", study)
        await a.desk.cancel(ANNA, again)
        await trio.sleep(1.2)
        assert b.row(again) is None


async def test_a_peer_that_releases_by_itself_leaves_time_too(tmp_path: Path, study: Path) -> None:
    async with pair_of(tmp_path) as (_, a, b):
        first = await a.send("b", study)
        assert a.reason(first) != undoing.CODE
        await a.until(first, State.SEALED)
        await b.set("a", release=f"folder:{tmp_path / 'out'}")
        second = await a.send("b", study)  # the rule is told in the session of this one
        await a.until(second, State.SEALED)
        third = await a.send("b", study)
        assert a.reason(third) == undoing.CODE
        await a.desk.cancel(ANNA, third)
