"""The look after the seal, and the releases that follow it: rules, targets, holds, times."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from blake3 import blake3

from medp2p import limits
from medp2p.daemon import (
    checking,
    opening,
    openings,
    papers,
    queueing,
    releasing,
    scanning,
    withdrawing,
)
from medp2p.daemon.home import Home
from medp2p.daemon.judging import Order
from medp2p.daemon.station import Station
from medp2p.dicom.label import Label, encode_label
from medp2p.errors import (
    CheckRefusedError,
    ConflictError,
    NotFoundError,
    ReleaseError,
    SealBrokenError,
    UsageError,
)
from medp2p.model import RULE, Actor, State
from medp2p.vault import releases, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow
from medp2p.vault.withdrawal import Kept
from tests.helpers import dicoms
from tests.helpers.stations import (
    ANNA,
    Lab,
    Workstation,
    lab,
    pair_of,
    set_reserve,
    tree_of,
    until,
)

pytestmark = pytest.mark.usefixtures("no_grace")

BLOCKS = ["mixed-patients", "study-two-patients", "same-instance"]
JANE = {"patient_id": "123456", "birth_date": "1970-02-03"}


def ct(number: int, **changes: Any) -> bytes:
    """A small CT of Jane Doe; other values by tag."""
    tags: dict[int, tuple[str, bytes | str] | None] = {0x00080018: ("UI", f"1.2.3.4.5.{number}")}
    tags |= {int(tag, 16): value for tag, value in changes.items()}
    return dicoms.file_of(dicoms.dataset(tags) + dicoms.pixels())


def study(it: Lab, name: str = "study", count: int = 3) -> Path:
    """A folder with slices and a file without header."""
    files: dict[str, bytes | int] = {f"CT/{number}.dcm": ct(number) for number in range(count)}
    return it.source(name, {**files, "report.txt": b"report " * 100, "empty": b""})


def lie(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Let the sender promise another label than its files have."""

    def forged(label: Label) -> bytes:
        return encode_label(msgspec.structs.replace(label, **changes))

    monkeypatch.setattr(queueing, "encode_label", forged)


def configure(home: Home, *lines: str) -> None:
    """Add lines to the configuration."""
    set_reserve(home, "0")
    with home.config_file.open("a") as file:
        file.write("\n".join(lines) + "\n")


async def view_of(it: Workstation, transfer: str) -> dict[str, Any]:
    return await it.desk.transfer("in", transfer, entries=False)


def audited(it: Workstation, event: str) -> list[dict[str, Any]]:
    with it.station.store.read() as tx:
        rows = it.station.ledger.list(tx, 10_000)
    return [row for row in rows if row["event"] == event]


# --- the look -----------------------------------------------------------------------------


async def test_the_look_agrees_and_leaves_nothing_under_the_spool_key(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        row = await b.until_checked(transfer)
        assert (row.check_result, row.held) == (checking.AGREES, None)
        assert set(b.blobs(transfer).values()) == {"vault"}
        assert "filekey" not in b.blobs(transfer)
        view = await view_of(b, transfer)
        assert view["check"]["result"] == "agrees"
        assert view["check"]["differences"] == []
        assert view["check"]["label"]["patients"][0]["name"] == "Doe^Jane"
        assert view["label"]["patients"] == view["check"]["label"]["patients"]
        assert view["checked"] is not None
        assert b.facts(transfer)[0][1] == "sealed"
        assert "opened" not in [kind for _, kind, _ in b.facts(transfer)]
        assert view["opened"] is None
        assert ("check", "ok") in b.audit(transfer)


@pytest.mark.parametrize(
    "forged",
    [{"images": 4}, {"patients": ()}, {"series": ()}, {"unverified": 1, "images": 2}],
)
async def test_what_differs_holds_every_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: dict[str, object]
) -> None:
    lie(monkeypatch, **forged)
    async with pair_of(tmp_path) as (it, a, b):
        await b.set("a", release=f"folder:{tmp_path}/auto")
        with b.station.events.subscribe() as events:
            transfer = await a.send("b", study(it))
            row = await b.until_checked(transfer)
            async for event in events:
                seen: Any = event.get("transfer")
                if seen and seen["held"]:
                    assert seen["held"]["code"] == "label-differs"
                    break
        assert row.check_result == checking.DIFFERS
        assert "Doe" not in str(row.held)
        status = await b.desk.status()
        assert [one["id"] for one in status["held"]] == [transfer]
        assert "label-differs" in b.alarms()
        assert not (tmp_path / "auto").exists()
        with pytest.raises(CheckRefusedError, match="not what the label promised"):
            await b.released(transfer, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert b.state(transfer) is State.SEALED
        assert ("release", "refused") in b.audit(transfer)
        order = {"to": os.fsencode(tmp_path / "out"), "allow": ["everything"]}
        with pytest.raises(UsageError):
            await b.desk.release(ANNA, transfer, order)
        order["allow"] = ["label-differs"]
        done = await b.desk.release(ANNA, transfer, order)
        assert tree_of(Path(done["released_to"]) / "study")
        assert audited(b, "release-begin")[-1]["detail"] == {"allowed": ["label-differs"]}
        with pytest.raises(CheckRefusedError):  # the next one needs its own word
            await b.released(transfer, tmp_path / "out")


async def test_without_a_promise_no_rule_acts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "encode_label", lambda label: b"")
    async with pair_of(tmp_path) as (it, a, b):
        await b.set("a", release=f"folder:{tmp_path}/auto")
        transfer = await a.send("b", study(it))
        await b.until_held(transfer)
        row = await b.until_checked(transfer)
        assert row.check_result == checking.NO_LABEL
        assert json.loads(str(row.held))["code"] == "no-label"
        assert tree_of(await b.released(transfer, tmp_path / "out") / "study")
        assert b.row(transfer).held is None  # type: ignore[union-attr]


async def test_the_look_is_done_again_after_a_stop_in_its_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        with monkeypatch.context() as patched:
            hold = trio.Event()

            async def never(*_: object) -> None:
                await hold.wait()

            patched.setattr(checking, "check", never)
            transfer = await a.send("b", study(it))
            await a.until(transfer, State.SEALED)
            await b.until(transfer, State.SEALED)
            assert b.blobs(transfer)["filekey"] == "spool"
            with trio.move_on_after(0.2):
                await b.released(transfer, tmp_path / "out")
            assert not (tmp_path / "out").exists()
            await b.stop()
        await it.start(b)
        row = await b.until_checked(transfer)
        assert row.check_result == checking.AGREES
        assert tree_of(await b.released(transfer, tmp_path / "out") / "study")


async def test_a_damaged_sealed_file_is_found_by_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        with monkeypatch.context() as patched:

            async def never(*_: object) -> None:
                await trio.sleep_forever()

            patched.setattr(checking, "check", never)
            transfer = await a.send("b", study(it))
            await b.until(transfer, State.SEALED)
            await b.stop()
        path = b.home.vault / f"{transfer}.tar.age"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        await it.start(b)
        row = await b.until_checked(transfer)
        assert row.check_result == checking.BROKEN
        assert json.loads(str(row.held))["code"] == "seal-broken"


@pytest.mark.parametrize("how", ["verify", "release"])
async def test_damage_after_the_look_is_shown_and_is_an_alarm(tmp_path: Path, how: str) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        assert (await b.until_checked(transfer)).held is None
        path = b.home.sealed(transfer)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with b.station.events.subscribe() as events:
            for _ in range(2):
                with pytest.raises(SealBrokenError):
                    await (
                        b.desk.verify(ANNA, transfer)
                        if how == "verify"
                        else b.released(transfer, tmp_path / "out")
                    )
            async for event in events:
                seen: Any = event.get("transfer")
                if seen and seen["held"]:
                    assert seen["held"]["code"] == "seal-broken"
                    break
        assert b.state(transfer) is State.SEALED
        assert b.alarms().count("seal-broken") == 1


async def test_a_release_waits_for_the_look(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        source = study(it, count=200)
        transfer = await a.send("b", source)
        await b.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        assert tree_of(folder / "study") == tree_of(source)
        assert b.row(transfer).checked_ms is not None  # type: ignore[union-attr]


async def test_real_files_look_the_same_at_both_ends(tmp_path: Path) -> None:
    real = [path for path in dicoms.real_files() if path.stat().st_size < 3_000_000]
    assert len(real) > 100
    async with pair_of(tmp_path) as (it, a, b):
        await a.set("b", **{"allow-mixed": "yes"}, allow=",".join(BLOCKS))
        files: dict[str, bytes | int] = {
            f"{number}/{path.name}": path.read_bytes() for number, path in enumerate(real)
        }
        source = it.source("real", files)
        wishes = {"allow": [*BLOCKS, "truncated"], "no_patient_data": True}
        view = await a.desk.scan(ANNA, "b", [os.fsencode(source)], wishes)
        while view["state"] == "scanning":
            view = await a.desk.scan_state(view["scan"], wait=True)
        assert view["state"] == "done", view
        sent = await a.desk.send(ANNA, view["scan"], "b", "", "routine", confirmation={"yes": True})
        row = await b.until_checked(sent["id"])
        assert (await view_of(b, sent["id"]))["check"]["differences"] == []
        assert row.check_result == checking.AGREES
        folder = await b.released(sent["id"], tmp_path / "out")
        assert tree_of(folder / "real") == tree_of(source), "no byte of a file is another one"


# --- rules and targets --------------------------------------------------------------------


async def test_a_rule_releases_what_agrees(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        early = await a.send("b", study(it, "early"))
        await b.until_checked(early)
        await b.set("a", release=f"folder:{tmp_path}/auto")
        source = study(it)
        transfer = await a.send("b", source)
        await a.until(transfer, State.RELEASED)
        (folder,) = (tmp_path / "auto").iterdir()
        assert tree_of(folder / "study") == tree_of(source)
        assert b.state(early) is State.SEALED, "it was sealed before the rule"
        (row,) = await b.desk.released()
        assert (row["by"], row["state"], row["old"]) == ("rule", "there", False)


@pytest.mark.parametrize("by_target", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"report.txt": b"about somebody"},
        {"1.dcm": ct(1, **{"00100010": None, "00100020": None})},
        {"1.dcm": ct(1), "2.dcm": ct(2)[:200]},
    ],
)
async def test_what_nobody_could_verify_waits_for_a_person(
    tmp_path: Path, files: dict[str, bytes | int], by_target: bool
) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        await b.desk.add_target(ANNA, "reading", f"folder:{tmp_path}/auto")
        if not by_target:
            await b.set("a", release=f"folder:{tmp_path}/auto")
        wishes = {"no_patient_data": True, "allow": ["truncated"]}
        view = await a.desk.scan(ANNA, "b", [os.fsencode(it.source("odd", files))], wishes)
        while view["state"] == "scanning":
            view = await a.desk.scan_state(view["scan"], wait=True)
        yes = {"yes": True}
        sent = await a.desk.send(ANNA, view["scan"], "b", "", "routine", confirmation=yes)
        transfer = sent["id"]
        await b.until(transfer, State.OFFERED)
        await b.desk.accept(ANNA, transfer, "reading" if by_target else None)
        row = await b.until_checked(transfer)
        assert row.check_result == checking.AGREES
        assert await b.until_held(transfer) == "unverifiable"
        assert not (tmp_path / "auto").exists()
        assert tree_of(await b.released(transfer, tmp_path / "out"))


async def test_a_target_chosen_at_accept(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.OFFERED)
        view = await view_of(b, transfer)
        assert view["label"]["patients"][0]["id"] == "123456"
        with pytest.raises(NotFoundError):
            await b.desk.accept(ANNA, transfer, "reading")
        await b.desk.add_target(ANNA, "reading", f"folder:{tmp_path}/reading")
        await b.desk.accept(ANNA, transfer, "reading")
        await a.until(transfer, State.RELEASED)
        assert [path.name for path in (tmp_path / "reading").iterdir()] == [transfer[:8]]
        assert "release-to" not in b.blobs(transfer)
        (row,) = await b.desk.released()
        assert row["by"] == "anna"
        actor = audited(b, "release")[-1]["actor"]
        assert actor == {"os_user": "anna", "operator": None, "via": "rule"}


async def test_a_target_that_is_another_one_by_then_holds(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        await b.desk.add_target(ANNA, "reading", f"folder:{tmp_path}/one")
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.OFFERED)
        a.wire.hold_at = a.wire.sent
        await b.desk.accept(ANNA, transfer, "reading")
        await b.desk.remove_target(ANNA, "reading")
        await b.desk.add_target(ANNA, "reading", f"folder:{tmp_path}/two")
        a.wire.go()
        assert await b.until_held(transfer) == "no-target"
        assert not (tmp_path / "one").exists()
        assert not (tmp_path / "two").exists()


async def test_a_lie_is_not_released_to_a_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie(monkeypatch, images=7)
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        await b.desk.add_target(ANNA, "reading", f"folder:{tmp_path}/reading")
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.OFFERED)
        await b.desk.accept(ANNA, transfer, "reading")
        row = await b.until_checked(transfer)
        assert row.check_result == checking.DIFFERS
        await trio.sleep(0.2)
        assert not (tmp_path / "reading").exists()


async def test_a_target_for_what_is_held_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.desk.add_target(ANNA, "reading", f"folder:{tmp_path}/reading")
        loose = await a.send("b", it.source("loose", {"report.txt": b"x"}))
        good = await a.send("b", study(it))
        lie(monkeypatch, images=7)
        bad = await a.send("b", study(it, "other"))
        for transfer in (loose, good, bad):
            await b.until_checked(transfer)
        for transfer in (loose, bad):
            with pytest.raises(CheckRefusedError, match="held") as caught:
                await b.desk.accept(ANNA, transfer, "reading")
            assert caught.value.exit_code == 5
            assert "release-to" not in b.blobs(transfer)
        with b.station.store.write() as tx:
            transfers.update(tx, good, state=State.EXPIRING)
        with pytest.raises(ConflictError, match="expires"):
            await b.desk.accept(ANNA, good, "reading")
        assert not (tmp_path / "reading").exists()


@pytest.mark.parametrize("how", ["held", "rule", "released"])
async def test_a_rule_that_was_overtaken_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What changed between the look for due releases and the decision is seen by the decision."""
    real = opening.release
    async with pair_of(tmp_path) as (it, a, b):

        async def late(
            station: Station, actor: Actor, prefix: str, order: Order, *more: Any
        ) -> Any:
            if actor is RULE:
                if how == "held":
                    with station.store.write() as tx:
                        held = checking.held("destroy-asked", "x", 1)
                        transfers.update(tx, prefix, held=held)
                elif how == "rule":
                    await b.set("a", release="manual")
                else:
                    await b.released(prefix, tmp_path / "out")
            return await real(station, actor, prefix, order, *more)

        monkeypatch.setattr(opening, "release", late)
        await b.set("a", release=f"folder:{tmp_path}/auto")
        transfer = await a.send("b", study(it))
        await b.until_checked(transfer)
        await trio.sleep(0.5)
        assert not (tmp_path / "auto").exists()
        row = b.row(transfer)
        assert row is not None
        if how == "released":
            assert (row.state, row.held) == (State.RELEASED, None)
        else:
            assert row.state is State.SEALED
            assert (row.held is None) == (how == "rule")


async def test_a_bug_in_one_release_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = releasing.speaks_against
    broken: list[str] = []

    def judge(tx: Tx, station: Station, row: TransferRow) -> tuple[str, str] | None:
        broken.append(row.id)
        if row.id == broken[0]:
            raise ZeroDivisionError
        return real(tx, station, row)

    monkeypatch.setattr(releasing, "speaks_against", judge)
    async with pair_of(tmp_path) as (it, a, b):
        await b.set("a", release=f"folder:{tmp_path}/auto")
        first = await a.send("b", study(it, "first"))
        await until(lambda: broken)
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.RELEASED)
        assert await b.until_held(first) == "bug"
        assert b.station.bugs == 1
        b.station.own_bugs = 0  # this one was asked for


async def test_rules_are_places_outside_the_home(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (_, _, b):
        (tmp_path / "link").symlink_to(b.home.path)
        for place in (b.home.path, b.home.vault, tmp_path / "link" / "keys"):
            with pytest.raises(ReleaseError, match="home"):
                await b.set("a", release=f"folder:{place}")
        assert "release" not in (await b.desk.peer("a"))["settings"]


async def test_a_rule_that_cannot_release_says_why(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        (tmp_path / "file").write_bytes(b"")
        await b.set("a", release=f"folder:{tmp_path}/file/in")
        transfer = await a.send("b", study(it))
        await b.until_held(transfer)
        held = (await b.desk.transfer("in", transfer, entries=False))["held"]
        assert held["code"] == "release"
        assert held["text"].startswith("the release by rule failed: the folder to release into")


async def test_targets_are_places_outside_the_home(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        b = await it.add("b")
        for name, target in (("Reading", "folder:/x"), ("r", "/x"), ("r", "folder:x")):
            with pytest.raises(UsageError):
                await b.desk.add_target(ANNA, name, target)
        with pytest.raises(Exception, match="home"):
            await b.desk.add_target(ANNA, "r", f"folder:{b.home.path}/vault")
        await b.desk.add_target(ANNA, "r", "folder:/x//y/")
        with pytest.raises(ConflictError):
            await b.desk.add_target(ANNA, "r", "folder:/z")
        assert [row["target"] for row in await b.desk.targets()] == ["folder:/x/y"]
        await b.desk.remove_target(ANNA, "r")
        assert await b.desk.targets() == []


# --- expectations -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "field"),
    [
        ({"patient_id": "MRN-999"}, "patient id"),
        ({"patient_id": "123456", "birth_date": "1971-02-03"}, "birth date"),
        ({"patient_name": "Roe^Jane", "birth_date": "19700203"}, "patient name"),
        ({"patient_id": "123456", "accession": "B7"}, "accession"),
    ],
)
async def test_somebody_else_is_refused(tmp_path: Path, expect: dict[str, str], field: str) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        order = {"to": os.fsencode(tmp_path / "out"), "expect": expect}
        await b.until(transfer, State.SEALED)
        with pytest.raises(CheckRefusedError, match=field) as caught:
            await b.desk.release(ANNA, transfer, order)
        assert caught.value.exit_code == 5
        assert not any(value in caught.value.text for value in expect.values())
        assert not (tmp_path / "out").exists()
        refused = audited(b, "release")[-1]
        assert refused["outcome"] == "refused"
        assert "MRN-999" not in json.dumps(refused)  # "999" alone stands in a hash now and then
        order["expect"] = JANE
        assert (await b.desk.release(ANNA, transfer, order))["state"] == "released"
        begun = audited(b, "release-begin")[-1]["detail"]
        assert begun == {"expected": ["patient_id", "birth_date"]}


async def test_an_id_of_an_external_peer_says_nothing_alone(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        await b.until_checked(transfer)
        await b.set("a", domain="external")
        order = {"to": os.fsencode(tmp_path / "out"), "expect": JANE}
        with pytest.raises(CheckRefusedError, match="patient id"):
            await b.desk.release(ANNA, transfer, order)
        await b.desk.remove_peer(ANNA, "a")
        with pytest.raises(CheckRefusedError, match="patient id"):
            await b.desk.release(ANNA, transfer, order)
        order["expect"] = {"patient_name": "Doe, Jane", "birth_date": "1970-02-03"}
        assert (await b.desk.release(ANNA, transfer, order))["state"] == "released"


# --- the command over the staged folder ---------------------------------------------------


def script(folder: Path, body: str) -> str:
    """A command for the configuration, with its interpreter."""
    path = folder / "scan.py"
    path.write_text(f"import os, sys, time\nfolder = sys.argv[1]\n{body}\n")
    return json.dumps([sys.executable, str(path)])


async def pair_with(it: Lab, *lines: str) -> tuple[Workstation, Workstation]:
    home = it.home("b")
    configure(home, *lines)
    a, b = await it.add("a"), await it.start(home)
    await it.pair(a, b, accept="auto")
    return a, b


async def test_the_command_sees_all_files_and_nothing_else(tmp_path: Path) -> None:
    body = (
        f"out = open({str(tmp_path / 'seen')!r}, 'a')\n"
        "files = sorted(os.path.join(p, f) for p, _, fs in os.walk(folder) for f in fs)\n"
        "print(sys.argv[1:], len(files), sorted(os.environ), os.getcwd(), file=out)"
    )
    async with lab(tmp_path) as it:
        a, b = await pair_with(it, f"release.scan = {script(tmp_path, body)}")
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.SEALED)
        await b.released(transfer, tmp_path / "out")
        seen = (tmp_path / "seen").read_text()
        assert f"['{tmp_path}/out/.medp2p-{transfer[:8]}-" in seen
        assert "] 5 [" in seen
        assert "MEDP2P" not in seen
        assert "Doe" not in seen
        assert seen.rstrip().endswith(" /")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit(3)", "exit status 3"),
        ("time.sleep(600)", "took more than"),
        ("os.remove(os.path.join(folder, 'study', 'empty'))", "changed while"),
        ("open(os.path.join(folder, 'study', 'more'), 'w')", "changed while"),
        ("open(os.path.join(folder, 'study', 'report.txt'), 'a').write('x')", "changed while"),
        (
            "it = os.path.join(folder, 'study', 'report.txt'); t = os.stat(it)\n"
            "open(it, 'r+').write('X'); os.utime(it, ns=(t.st_atime_ns, t.st_mtime_ns))",
            "changed while",
        ),
        ("os.chmod(os.path.join(folder, 'study', 'report.txt'), 0o600)", "changed while"),
    ],
)
async def test_the_command_says_no(tmp_path: Path, body: str, said: str) -> None:
    async with lab(tmp_path) as it:
        scan = f"release.scan = {script(tmp_path, body)}"
        a, b = await pair_with(it, scan, 'release.scan-time = "2 seconds"')
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.SEALED)
        with pytest.raises(Exception, match=said):
            await b.released(transfer, tmp_path / "out")
        assert not (tmp_path / "out").exists(), "all entries or nothing"
        assert b.state(transfer) is State.SEALED
        row = b.row(transfer)
        assert row is not None
        if "changed" not in said:
            assert json.loads(str(row.held))["code"] == "scan-refused"
            (tmp_path / "scan.py").write_text("")
            assert tree_of(await b.released(transfer, tmp_path / "out"))
            assert b.row(transfer).held is None  # type: ignore[union-attr]


async def test_a_rule_is_held_by_the_command(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        a, b = await pair_with(it, 'release.scan = "/nonexistent/scan"')
        await b.set("a", release=f"folder:{tmp_path}/auto")
        transfer = await a.send("b", study(it))
        assert await b.until_held(transfer) == "scan-refused"
        assert not (tmp_path / "auto").exists()


def alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_the_command_has_started_ends_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    write = f"open({str(pid)!r}, 'w').write(str(pid))"
    body = f"pid = os.fork()\nif pid:\n    {write}\nelse:\n    time.sleep(60)"
    command = json.loads(script(tmp_path, body))
    scanning.examine(command, 20, os.fsencode(tmp_path), lambda: False)
    deadline = time.monotonic() + 5
    while alive(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_ends_with_the_daemon(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    body = f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    daemon = (
        "import sys\nfrom medp2p.daemon.scanning import examine\n"
        f"examine({json.loads(script(tmp_path, body))!r}, 60, b'/', lambda: False)"
    )
    process = subprocess.Popen([sys.executable, "-c", daemon])
    deadline = time.monotonic() + 20
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    while alive(int(pid.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_recall_while_the_command_looks_stops_the_release(tmp_path: Path) -> None:
    started = tmp_path / "started"
    async with lab(tmp_path) as it:
        body = f"open({str(started)!r}, 'w')\ntime.sleep(60)"
        a, b = await pair_with(it, f"release.scan = {script(tmp_path, body)}")
        transfer = await a.send("b", study(it))
        await b.until_checked(transfer)
        async with trio.open_nursery() as nursery:

            async def release() -> None:
                with pytest.raises(ConflictError, match="asks to destroy"):
                    await b.released(transfer, tmp_path / "out")

            nursery.start_soon(release)
            await until(started.exists)
            await a.desk.recall(ANNA, transfer, "")
        assert not (tmp_path / "out").exists()
        assert b.state(transfer) is State.SEALED
        kinds = [kind for _, kind, _ in b.facts(transfer)]
        assert "opened" in kinds
        assert "released" not in kinds
        view = await view_of(b, transfer)
        assert view["opened"] == next(f["time"] for f in view["facts"] if f["fact"] == "opened")
        assert view["previewed"] is None
        await b.desk.answer(ANNA, transfer, True, "Dr. B")
        await a.until(transfer, State.RECALLED)


# --- for a time ---------------------------------------------------------------------------


async def released_for(b: Workstation, transfer: str, target: Path, seconds: int) -> Path:
    await b.until(transfer, State.SEALED)
    order = {"to": os.fsencode(target), "for_seconds": seconds}
    return Path((await b.desk.release(ANNA, transfer, order))["released_to"])


async def test_what_was_released_for_a_time_goes(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        folder = await released_for(b, transfer, tmp_path / "out", 1)
        await until(lambda: not folder.exists(), "the folder to go")
        assert (tmp_path / "out").is_dir()
        await until(lambda: ("withdraw", "ok") in b.audit(transfer))
        (row,) = await b.desk.released()
        assert row["state"] == "removed"
        assert (await b.desk.status())["released"] == {"folders": 0, "old": 0}
        folder = await b.released(transfer, tmp_path / "out")  # the sealed one stays
        assert tree_of(folder)


async def test_a_time_that_is_over_while_the_drive_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WITHDRAW_AGAIN_SECONDS", 0.2)
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        folder = await released_for(b, transfer, tmp_path / "out", 1)
        (tmp_path / "out").rename(tmp_path / "unplugged")
        await trio.sleep(1.7)
        (row,) = await b.desk.released()
        assert row["state"] == "there"
        assert not audited(b, "withdraw")
        (tmp_path / "unplugged").rename(tmp_path / "out")
        b.station.withdraw_bell.ring()
        await until(lambda: not folder.exists(), "the folder to go")
        await until(lambda: ("withdraw", "ok") in b.audit(transfer))
        (row,) = await b.desk.released()
        assert row["state"] == "removed"


async def test_what_an_older_version_has_noted_goes_in_its_time(tmp_path: Path) -> None:
    """Without what was mounted there."""
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        folder = await released_for(b, transfer, tmp_path / "out", 2)
        owner = releases.owner(1)
        with b.station.store.write() as tx:
            kept = msgspec.msgpack.decode(papers.need(tx, b.station, owner, papers.LISTING))
            old = msgspec.msgpack.encode(kept[:2])
            papers.put_spool(tx, b.station, owner, papers.LISTING, old)
        await until(lambda: not folder.exists(), "the folder to go")


async def test_changed_and_foreign_files_stay(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        folder = await released_for(b, transfer, tmp_path / "out", 2)
        changed = folder / "study" / "report.txt"
        times = changed.stat()
        with changed.open("r+b") as file:
            file.write(b"REPORT")
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
        (folder / "study" / "CT" / "mine.txt").write_text("mine")
        (folder / "study" / "empty").unlink()
        (folder / "study" / "empty").symlink_to(tmp_path / "b" / "config.toml")
        (folder / "study" / "CT" / "1.dcm").touch()  # touched is not changed
        await until(lambda: ("withdraw", "kept") in b.audit(transfer), "the time to be over")
        left = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
        assert left == {"study/report.txt", "study/CT/mine.txt", "study/empty"}
        assert b.home.config_file.exists()
        detail = audited(b, "withdraw")[-1]["detail"]
        assert (detail["removed"], detail["changed"], detail["left"]) == (3, 2, True)
        (row,) = await b.desk.released()
        assert row["state"] == "kept"


async def test_the_time_is_over_while_the_daemon_is_off(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        folder = await released_for(b, transfer, tmp_path / "out", 2)
        await b.stop()
        await trio.sleep(2.5)
        assert folder.exists()
        await it.start(b)
        await until(lambda: not folder.exists(), "the folder to go after the start")


async def test_a_clock_that_is_set_back_keeps_nothing(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        real = b.station.now_ms
        transfer = await a.send("b", study(it))
        folder = await released_for(b, transfer, tmp_path / "out", 2)
        b.station.now_ms = lambda: real() - 10 * 86_400_000
        await until(lambda: not folder.exists(), "the folder to go", seconds=20)


async def test_another_folder_of_that_name_is_left_alone(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        folder = await released_for(b, transfer, tmp_path / "out", 2)
        folder.rename(tmp_path / "moved")
        other = it.source("other", {"study/report.txt": b"report " * 100})
        folder.symlink_to(other)
        await until(lambda: audited(b, "withdraw"), "the time to be over")
        assert (other / "study" / "report.txt").exists()
        assert tree_of(tmp_path / "moved")
        (row,) = await b.desk.released()
        assert row["state"] == "gone"


async def test_old_folders_are_counted_until_they_are_gone(tmp_path: Path) -> None:
    async with lab(tmp_path) as it:
        a, b = await pair_with(it, 'release.old-after = "1 second"')
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        await trio.sleep(2.1)
        assert (await b.desk.status())["released"] == {"folders": 1, "old": 1}
        (row,) = await b.desk.released()
        assert row["old"]
        assert row["folder"] == str(folder)
        assert row["age_seconds"] >= 2
        folder.rename(tmp_path / "elsewhere")
        (row,) = await b.desk.released()
        assert (row["state"], row["old"]) == ("gone", False)
        assert (await b.desk.status())["released"] == {"folders": 0, "old": 0}
        (tmp_path / "elsewhere").rename(folder)  # a mount that was away
        (row,) = await b.desk.released()
        assert (row["state"], row["old"]) == ("there", True)
        assert (await b.desk.status())["released"] == {"folders": 1, "old": 1}


async def test_to_ask_for_released_folders_changes_nothing(tmp_path: Path) -> None:
    """It is read by GET; what is gone is noted when the house is kept."""
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.SEALED)
        folder = await b.released(transfer, tmp_path / "out")
        folder.rename(tmp_path / "elsewhere")
        # What is told to the sender is written, too: that must be over.
        await until(lambda: not b.pending(a) and not b.sessions.connected(a.key))
        write = b.station.write
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(b.station, "write", None)
            (row,) = await b.desk.released()
        assert row["state"] == "gone"
        assert [row.over for row in _releases(b)] == [None]
        assert b.station.write == write
        await withdrawing.look_after(b.station)
        assert [row.over for row in _releases(b)] == ["gone"]
        assert (await b.desk.status())["released"] == {"folders": 0, "old": 0}


def _releases(b: Workstation) -> list[releases.ReleaseRow]:
    with b.station.store.read() as tx:
        return releases.all(tx)


@pytest.mark.parametrize("step", ["release-rename", "release-sweep"])
async def test_a_crash_amid_a_release_for_a_time(tmp_path: Path, step: str) -> None:
    """After the rename nobody has noted yet that the folder is to go: the plan has it."""
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", study(it))
        await b.until_checked(transfer)
        with b.station.store.write() as tx:
            _plan_of(b, tx, transfer, tmp_path / "out")
        made = tmp_path / "out" / transfer[:8] / "study"
        if step == "release-sweep":  # the folder has its name
            made.mkdir(parents=True)
            (made / "report.txt").write_bytes(b"report")
        else:
            (tmp_path / "out").mkdir()
        await b.stop()
        await it.start(b)
        if step == "release-sweep":
            assert b.state(transfer) is State.RELEASED
            await until(lambda: not made.parent.exists(), "the folder to go")
        else:
            assert b.state(transfer) is State.SEALED
            assert await b.desk.released() == []


def _plan_of(b: Workstation, tx: Any, transfer: str, target: Path) -> None:
    listing = (Kept(b"study/report.txt", 6, blake3(b"report").digest()),)
    plan = openings.Plan(
        os.fsencode(target),
        os.fsencode(target / transfer[:8]),
        "anna",
        "cli",
        None,
        "sealed",
        1,
        listing,
    )
    openings.keep_plan(tx, b.station, transfer, plan)
    transfers.update(tx, transfer, state=State.RELEASING)


# --- accept-until -------------------------------------------------------------------------


async def test_accepting_has_an_end(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        await b.set("a", **{"accept-until": "2020-01-01"})
        (peer,) = (await b.desk.status())["peers"]
        assert "passed" in peer["auto"]["until"]
        transfer = await a.send("b", study(it))
        await b.until(transfer, State.OFFERED)
        assert (await view_of(b, transfer))["label"]["images"] == 3
        await b.set("a", **{"accept-until": "2999-01-01"})
        (peer,) = (await b.desk.status())["peers"]
        assert peer["auto"] == {"until": peer["settings"]["accept-until"]}
        again = await a.send("b", study(it, "again"))
        await a.until(again, State.SEALED)
        real = b.station.now_ms  # behind the audit log a date grants nothing
        b.station.now_ms = lambda: real() - 3_600_000
        later = await a.send("b", study(it, "later"))
        await b.until(later, State.OFFERED)
        b.station.now_ms = real
