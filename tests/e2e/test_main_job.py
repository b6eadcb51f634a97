"""The main job between real daemons: pair, offer, accept, carry, seal, receipt, release."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import (
    SOON_SECONDS,
    Hospital,
    Row,
    make_odd_files,
    open_pairing,
    pair_by_code,
    tree_bytes,
    tree_digest,
    wait_for,
)
from tests.tools import need_tool

pytestmark = pytest.mark.e2e

TRANSFER_KEYS = {
    "id": str,
    "direction": str,
    "peer": str,
    "state": str,
    "reason": dict | None,
    "held": object,
    "files": int,
    "bytes": int,
    "bytes_done": int,
    "root": str | None,
    "created": str,
    "error": dict | None,
    "label": object,
}


def check_keys(row: Row) -> None:
    """Check a transfer against what scripts rely on."""
    for key, kind in TRANSFER_KEYS.items():
        assert key in row, (key, row)
        assert isinstance(row[key], kind), (key, row)
    assert re.fullmatch(r"[a-z2-7]{26}", row["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", row["created"])
    if row["reason"] is not None:
        assert {"code", "text", "since"} <= row["reason"].keys()
    if row["error"] is not None:
        assert {"code", "text", "hint", "retryable"} <= row["error"].keys()


def test_from_offer_to_release(hospital: Hospital, study: Path, tmp_path: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a", accept="ask")
    make_odd_files(tmp_path / "odd")
    sent = ct.send("ward-a", study, tmp_path / "odd", "--note", "as discussed")

    # Nothing of the stream is here before a person has accepted.
    offered = ward.wait_state("inbox", sent, "offered")
    check_keys(offered)
    assert (offered["direction"], offered["peer"]) == ("in", "ct-room")
    assert offered["bytes"] == tree_bytes(study) + tree_bytes(tmp_path / "odd")
    assert offered["files"] == 40 + 20
    assert offered["root"] is None
    assert list(ward.vault.iterdir()) == []
    assert ward.row("inbox", sent[:6])["note"] == "as discussed"
    check_keys(ct.wait_state("outbox", sent, "offered"))

    ward.cli("inbox", "accept", sent[:6]).ok()
    received = ward.wait_state("inbox", sent, "sealed")
    row = ct.wait_state("outbox", sent, "sealed")
    check_keys(received)
    assert received["root"] == row["root"] is not None
    for key in ("id", "files", "bytes", "bytes_done"):
        assert received[key] == row[key]
    assert received["bytes_done"] == received["bytes"]
    assert [path.name for path in ward.vault.iterdir()] == [f"{sent}.tar.age"]
    ward.cli("inbox", "verify", sent).ok()

    target = tmp_path / "released" / "here"
    released = ward.cli("inbox", "release", sent, "--to", target).ok().document
    assert released["released_to"] == str(target / sent[:8])
    assert tree_digest(target / sent[:8]) == {
        **{b"CT CHEST/" + path: digest for path, digest in tree_digest(study).items()},
        b"CT CHEST": "folder",
        **{b"odd/" + path: digest for path, digest in tree_digest(tmp_path / "odd").items()},
        b"odd": "folder",
    }
    assert [path.name for path in target.iterdir()] == [sent[:8]]
    told = ct.wait_state("outbox", sent, "released")
    assert told["root"] == row["root"]
    facts = {fact["fact"] for fact in ct.row("outbox", sent)["facts"]}
    assert {"sealed", "released"} <= facts

    # A second release lands beside the first and changes nothing of it.
    before = tree_digest(target)
    again = ward.cli("inbox", "release", sent, "--to", target).ok().document
    assert again["released_to"] != released["released_to"]
    after = tree_digest(target)
    assert {path: after[path] for path in before} == before
    assert len(after) == 2 * len(before)

    ward.cli("inbox", "discard", sent).ok()
    assert not list(ward.vault.iterdir())
    assert ward.wait_state("inbox", sent, "discarded")
    for one, events in (
        (ct, {"send", "seal", "release"}),
        (ward, {"offer", "accept", "seal", "release", "discard"}),
    ):
        whole = one.cli("audit", "verify").ok().document
        assert whole["ok"] is True
        export = tmp_path / "audit.jsonl"
        export.write_text(one.cli("audit", "export").ok().out)
        checked = one.cli("audit", "verify-export", export).ok().document
        assert checked == {key: whole[key] for key in ("count", "head")}
        one.cli("audit", "verify", "--kept", export).ok()
        log = [line for line in one.cli("audit", "list").ok().document if line["transfer"] == sent]
        named = " ".join(line["event"] for line in log)
        assert all(event in named for event in events), named
        assert all(line["actor"]["via"] for line in log)


def test_age_and_tar_open_the_vault_without_us(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    age, tar = need_tool("age"), need_tool("tar")
    ct, ward = hospital.pair("ct-room", "ward-a")
    sent = ct.send("ward-a", study)
    ward.wait_state("inbox", sent, "sealed")
    ward.stop()
    (tmp_path / "out").mkdir()
    sealed = ward.vault / f"{sent}.tar.age"
    with subprocess.Popen(
        [age, "--decrypt", "-i", ward.home / "keys" / "vault.key", sealed],
        stdout=subprocess.PIPE,
    ) as opened:
        subprocess.run([tar, "x", "-C", tmp_path / "out"], stdin=opened.stdout, check=True)
    assert opened.returncode == 0
    assert tree_digest(tmp_path / "out" / "CT CHEST") == tree_digest(study)


def test_pairing_by_code(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    with open_pairing(ct) as (_, code):
        number, *words = code.split("-")
        wrong = "-".join((number, words[1], words[0]))
        refused = ward.cli("pair", wrong, "--at", ct.address)
        assert refused.code == 1, refused
        assert refused.document["error"]["code"] == "pairing"
    assert ct.cli("peers").ok().document == ward.cli("peers").ok().document == []

    shown, joined = pair_by_code(ct, ward)
    shown.ok(), joined.ok()
    (at_ct,), (at_ward,) = (one.cli("peers").ok().document for one in (ct, ward))
    assert (at_ct["name"], at_ward["name"]) == ("ward-a", "ct-room")
    for row, other in ((at_ct, ward), (at_ward, ct)):
        identity = other.cli("id").ok().document
        assert row["peer_id"] == identity["peer_id"]
        assert row["key_words"] == identity["key_words"]
        assert row["source"] == "code"
        assert row["verified"] is not None
    ct.cli("peers", "set", "ward-a", "accept=auto").ok()
    # A fresh pair wants to know whose images are meant; --yes alone does not say it.
    assert ward.cli("send", "ct-room", study, "--yes", "--no-wait").code == 5
    expected = ("--expect-patient", "MRN-0042117", "--no-wait")
    sent = ward.cli("send", "ct-room", study, *expected).ok().document["id"]
    ward.wait_state("outbox", sent, "sealed")


def test_three_workstations_send_to_each_other_at_once(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    stations = hospital.pair("ct-room", "ward-a", "lab")
    sent = [
        (one, other, one.send(other.name, study))
        for one in stations
        for other in stations
        if one is not other
    ]
    # The same folder twice is two transfers, side by side.
    sent.append((stations[0], stations[1], stations[0].send(stations[1].name, study)))
    for one, other, transfer in sent:
        out = one.wait_state("outbox", transfer, "sealed")
        assert out["root"] == other.wait_state("inbox", transfer, "sealed")["root"]
    ward = stations[1]
    for row in ward.rows("inbox"):
        ward.cli("inbox", "release", row["id"], "--to", tmp_path / "all").ok()
    folders = sorted((tmp_path / "all").iterdir())
    assert [path.name for path in folders] == sorted(row["id"][:8] for row in ward.rows("inbox"))
    assert len(folders) == 3
    assert all(tree_digest(path / study.name) == tree_digest(study) for path in folders)


def test_a_peer_that_is_off_is_waited_for(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    ward.stop()
    sent = ct.send("ward-a", study)
    waiting = ct.wait_state("outbox", sent, "waiting")
    assert waiting["reason"]["text"]
    ct.restart()  # the outbox is durable
    ct.wait_state("outbox", sent, "waiting", "queued")
    follower = ct.open_cli("send", "ward-a", "--yes", "--wait", study)
    wait_for(ct.home, "outbox", lambda rows: len(rows) == 2)
    ward.start()
    ct.wait_state("outbox", sent, "sealed", seconds=90)
    out, err = follower.communicate(timeout=SOON_SECONDS)
    assert follower.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) >= 2
    assert lines[-1]["state"] == "sealed"
    assert len({line["id"] for line in lines}) == 1
    for line in lines:
        check_keys(line)


def test_refusals_and_their_exit_codes(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a", accept="ask")
    silent = ct.cli("send", "ward-a", study)
    assert silent.code == 2, silent
    assert "--yes" in silent.err
    assert silent.document["error"]["code"]
    unknown = ct.cli("send", "nobody", "--yes", study)
    assert unknown.code == 8
    assert unknown.document["error"]["code"] == "unknown-peer"
    assert ct.cli("send", "ward-a", "--yes", study / "missing").code == 2
    assert ct.cli("send", "ward-a", "--yes", "/").code == 2
    assert ct.cli("send", "ward-a", "--yes").code == 2
    assert ct.cli("outbox", "show", "aaaaaaaa").code == 1
    assert ct.rows("outbox") == []

    follower = ct.open_cli("send", "ward-a", "--yes", "--wait", study)
    (row,) = wait_for(ward.home, "inbox", lambda rows: rows)
    ward.cli("inbox", "decline", row["id"], "--reason", "not ours").ok()
    out, err = follower.communicate(timeout=SOON_SECONDS)
    assert follower.returncode == 4, (out, err)
    assert json.loads(out.splitlines()[-1])["state"] == "declined"
    assert ward.wait_state("inbox", row["id"], "declined")
    assert ward.cli("inbox", "accept", row["id"]).code == 1

    # Ctrl-C ends the command, not the transfer; cancel ends the transfer at both ends.
    follower = ct.open_cli("send", "ward-a", "--yes", "--wait", study)
    sent = wait_for(
        ward.home, "inbox", lambda rows: [row["id"] for row in rows if row["state"] == "offered"]
    )[0]
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=SOON_SECONDS)
    assert follower.returncode == 130
    assert ct.row("outbox", sent)["state"] in ("offered", "waiting")
    ct.cli("outbox", "cancel", sent).ok()
    ct.wait_state("outbox", sent, "cancelled")
    wait_for(
        ward.home,
        "inbox",
        lambda rows: [row for row in rows if row["id"] == sent and row["state"] == "cancelled"],
    )

    # A blocked peer is refused, and nothing of its offer is kept.
    before = len(ward.rows("inbox"))
    ward.cli("peers", "set", "ct-room", "accept=block").ok()
    blocked = ct.cli("send", "ward-a", "--yes", "--wait", study)
    assert blocked.code == 4
    assert blocked.document["state"] == "declined"
    assert len(ward.rows("inbox")) == before
    assert list(ward.vault.iterdir()) == []


def test_names_that_look_like_options(hospital: Hospital, tmp_path: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    place = tmp_path / "place"
    place.mkdir()
    for name in (b"-rf", b"--json", b"\xff\xfe"):
        with open(os.path.join(os.fsencode(place), name), "wb") as file:
            file.write(name)
    sent = ct.cli(
        "send", "ward-a", "--yes", "--no-wait", "--", b"-rf", b"--json", b"\xff\xfe", cwd=place
    ).ok()
    ward.wait_state("inbox", sent.document["id"], "sealed")
    entries = ward.cli("inbox", "show", sent.document["id"], "--files").ok().document
    assert {entry["path"] for entry in entries["entry_list"]} == {"-rf", "--json", "\\xff\\xfe"}
    here = ct.cli("send", "ward-a", "--yes", "--no-wait", ".", cwd=place).ok().document["id"]
    ward.wait_state("inbox", here, "sealed")
    out = tmp_path / "out"
    ward.cli("inbox", "release", here, "--to", out).ok()
    assert tree_digest(out / here[:8] / "place") == tree_digest(place)


def test_memory_stays_flat(hospital: Hospital, tmp_path: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    size = 2**30 + 1
    with (tmp_path / "slide.svs").open("wb") as file:
        file.truncate(size)
    sent = ct.send("ward-a", tmp_path / "slide.svs")
    row = ward.wait_state("inbox", sent, "sealed", seconds=180)
    assert row["bytes"] == size
    assert ct.peak_memory() < 150_000_000
    assert ward.peak_memory() < 150_000_000
    ward.cli("inbox", "discard", sent).ok()
