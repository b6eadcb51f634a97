"""The verbs outbox and inbox."""

import base64
import os
from pathlib import Path

import pytest

from medp2p.cli.show import when
from tests.helpers.command import Medp2p
from tests.helpers.desk import TIME, Served, transfer_json

OFFERED, SEALED, SENT = "o" * 26, "s" * 26, "t" * 26


def test_bare_names_list(medp2p: Medp2p, served: Served) -> None:
    assert medp2p("outbox").out == "nothing in the outbox\n"
    assert medp2p("outbox", "--json").json == []
    inbox = medp2p("inbox")
    assert inbox.out == medp2p("inbox", "list").out
    head, first, second = inbox.out.splitlines()
    assert head.split() == ["ID", "STATE", "PEER", "FILES", "SIZE", "DONE", "CREATED"]
    assert first.startswith("oooooooo  offered  b     2      3.0 MB  0 %")
    assert second.startswith("ssssssss  sealed")
    assert [row["id"] for row in medp2p("inbox", "--json").json] == [OFFERED, SEALED]


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("UTC", "2026-11-25 13:00:00 +00:00"), ("Asia/Kolkata", "2026-11-25 18:30:00 +05:30")],
)
def test_people_see_local_time_with_its_offset(
    medp2p: Medp2p, served: Served, zone: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert shown in medp2p("inbox").out
    finally:
        monkeypatch.undo()
        time.tzset()
    assert medp2p("inbox", "show", "o", "--json").json["created"] == TIME


def test_show_says_why_something_waits(medp2p: Medp2p, served: Served) -> None:
    reason = {"code": "no-space", "text": "5 GB are missing", "since": TIME}
    served.desk.transfers_by_id[SENT] = transfer_json(
        SENT, "out", "b", "paused", reason=reason, bytes_done=1_500_000, rate=500_000,
        facts=[{"fact": "sealed", "number": 3, "time": TIME, "by": "b", "acknowledged": False}],
    )  # fmt: skip
    done = medp2p("outbox", "show", "t")
    assert done.code == 0
    lines = dict(line.split(":", 1) for line in done.out.splitlines())
    assert lines["to"].strip() == "b"
    assert lines["reason"].strip() == "5 GB are missing"
    assert lines["done"].strip() == "50 %, 1.5 MB"
    assert lines["pace"].strip() == "500.0 kB/s, 3 s left"
    assert lines["fact 3"].strip().startswith("sealed by b, 2026-")
    assert lines["fact 3"].endswith("not told yet")
    assert "5 GB are missing" in medp2p("outbox").out


def test_done_is_rounded_down(medp2p: Medp2p, served: Served) -> None:
    row = transfer_json(SENT, "out", "b", "sending", bytes=1000, bytes_done=999)
    served.desk.transfers_by_id[SENT] = row
    assert " 99 % " in medp2p("outbox").out
    row.update(bytes=0, bytes_done=0)
    assert " 0 % " in medp2p("outbox").out
    row["state"] = "sealed"
    assert " 100 % " in medp2p("outbox").out


def test_the_manifest_on_demand(medp2p: Medp2p, served: Served) -> None:
    served.desk.entries = [
        {"path": "study", "path_b64": "", "kind": "folder", "bytes": 0, "mtime": TIME},
        {"path": "study/a\\xff", "path_b64": "", "kind": "file", "bytes": 700, "mtime": TIME},
    ]
    assert "study" not in medp2p("inbox", "show", "s").out
    done = medp2p("inbox", "show", "s", "--files")
    assert done.out.splitlines()[-2].endswith("study")
    assert done.out.splitlines()[-1].lstrip().startswith("700 B")
    assert done.out.endswith("study/a\\xff\n")
    assert len(medp2p("inbox", "show", "s", "--files", "--json").json["entry_list"]) == 2


def test_stat_is_marked_and_urgent_offers_stand_in_front(medp2p: Medp2p, served: Served) -> None:
    rows = served.desk.transfers_by_id
    for transfer, direction, state in (
        (SENT, "out", "sending"), ("a" * 26, "in", "receiving"), ("u" * 26, "in", "offered"),
    ):  # fmt: skip
        rows[transfer] = transfer_json(transfer, direction, "b", state, priority="stat")
    for verb in ("inbox", "status"):
        done = medp2p(verb).out
        listed = done[done.index("ID  ") :].splitlines()[1:]
        assert listed[0].startswith("uuuuuuuu  STAT offered "), verb
        assert "aaaaaaaa  STAT receiving" in done
        assert "oooooooo  offered " in done
    assert "tttttttt  STAT sending " in medp2p("outbox").out
    first = medp2p("inbox", "--json").json[0]
    assert first["id"] == OFFERED  # as the daemon has them


def test_times_in_facts_are_local_and_say_what_they_are(medp2p: Medp2p, served: Served) -> None:
    detail = {"by": "anna", "opened": TIME, "erased": TIME, "how": "2026-11-25"}
    fact = {"fact": "recall-late", "number": 3, "time": TIME, "by": "b", "detail": detail}
    served.desk.transfers_by_id[SENT] = transfer_json(SENT, "out", "b", "sealed", facts=[fact])
    done = medp2p("outbox", "show", "t", TZ="UTC")
    shown = when(TIME)
    assert f"; first opened or previewed there: {shown}; erased: {shown}; how: 2026-" in done.out
    assert "T13:00" not in done.out
    assert medp2p("outbox", "show", "t", "--json").json["facts"][0]["detail"] == detail


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("offered", "hint: accept it first: medp2p inbox accept oooooooo"),
        ("receiving", "hint: wait until all of it has come"),
    ],
)
@pytest.mark.parametrize("verb", ["release", "preview"])
def test_what_wants_a_sealed_transfer_says_what_comes_first(
    medp2p: Medp2p, served: Served, tmp_path: Path, verb: str, state: str, hint: str
) -> None:
    served.desk.transfers_by_id[OFFERED]["state"] = state
    done = medp2p("inbox", verb, "o", "--to", str(tmp_path / "x"))
    assert done.code == 1
    assert hint in done.err


def test_verbs_are_decisions_and_never_ask(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("inbox", "accept", "oo")
    assert (done.code, done.out) == (0, f"accepted {OFFERED}\n")
    done = medp2p("inbox", "accept", "oo", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "conflict"
    assert medp2p("inbox", "verify", "s").out == f"whole: {SEALED}\n"
    assert medp2p("inbox", "discard", "s").out == f"discarded {SEALED}\n"
    actor = served.desk.acts[0][1]
    assert actor.via == "cli"


def test_a_decline_has_a_reason(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("inbox", "decline", "o", "--reason", "wrong ward", "--json")
    assert done.json["state"] == "declined"
    assert done.json["reason"]["text"] == "wrong ward"


def test_cancel(medp2p: Medp2p, served: Served) -> None:
    served.desk.transfers_by_id[SENT] = transfer_json(SENT, "out", "b", "waiting")
    assert medp2p("outbox", "cancel", "t").out == f"cancelled {SENT}\n"
    assert medp2p("outbox", "cancel", "s").code == 1  # that one is in the inbox


def test_release_prints_where_it_went(
    medp2p: Medp2p, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = medp2p("inbox", "release", "s", "--to", "out/dir")
    assert (done.code, done.out) == (0, f"{tmp_path}/out/dir/ssssssss\n")
    done = medp2p("inbox", "release", "s", "--to", "/x", "--json")
    assert done.json["released_to"] == "/x/ssssssss"
    done = medp2p("inbox", "release", "s", "--to", "~/x", HOME="/home/anna")
    assert done.out == "/home/anna/x/ssssssss\n"


def test_release_below_a_name_that_is_not_utf8(medp2p: Medp2p, served: Served) -> None:
    folder = os.fsdecode(b"/x/\xff")
    done = medp2p("inbox", "release", "s", "--to", folder)
    assert done.code == 0
    assert base64.b64encode(b"/x/\xff") != b""
    assert done.out == "/x/\\udcff/ssssssss\n"


def test_renamed_entries_are_listed(
    medp2p: Medp2p, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.desk.transfers_by_id[SEALED]["mapped"] = [
        {"from": {"path": "a:b"}, "to": {"path": "a_b"}}
    ]
    done = medp2p("inbox", "release", "s", "--to", "/x")
    assert done.err == "renamed: a:b -> a_b\n"


def test_a_broken_seal_is_an_integrity_error(medp2p: Medp2p, served: Served) -> None:
    served.desk.broken.add(SEALED)
    done = medp2p("inbox", "verify", "s", "--json")
    assert done.code == 6
    assert done.json["error"]["code"] == "seal-broken"


def test_an_id_that_is_none_or_many(medp2p: Medp2p, served: Served) -> None:
    served.desk.transfers_by_id["oa" * 13] = transfer_json("oa" * 13, "in", "b", "offered")
    for prefix in ("q", "o", ""):
        done = medp2p("inbox", "accept", prefix)
        assert done.code == 1
    assert served.desk.acts == []


@pytest.mark.parametrize("word", ["", "/", "..", "?", "\udcff"])
@pytest.mark.parametrize(
    "verb",
    [
        "outbox show",
        "outbox show --proof /x/proof",
        "outbox cancel",
        "outbox recall",
        "inbox show",
        "inbox accept",
        "inbox decline",
        "inbox verify",
        "inbox discard",
        "inbox answer --kept",
        "inbox release --to /x",
    ],
)
def test_a_word_that_is_no_id_is_of_no_transfer(
    medp2p: Medp2p, served: Served, verb: str, word: str
) -> None:
    done = medp2p(*verb.split(), "--", word)
    assert done.code == 1
    assert done.err.splitlines()[0] == "medp2p: error: no transfer has an id that begins so"
    assert served.desk.acts == []
