"""The verbs pair, nearby and peers."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.helpers.command import Done, Medp2p
from tests.helpers.desk import KEY_WORDS, PEER_ID, Served, peer_json


def test_list_and_show(medp2p: Medp2p, served: Served) -> None:
    served.desk.peers_by_name["c"] = peer_json(
        "c", online=False, last_seen=None, verified=None, told_name="", told_department="",
        told_place="", settings={},
    )  # fmt: skip
    head, first, second = medp2p("peers").out.splitlines()
    assert head.split() == ["NAME", "TOLD", "NAME", "THERE", "ACCEPT", "VERIFIED"]
    assert first.split()[:4] == ["b", "Ward", "A", "yes"]
    assert second.split() == ["c", "never", "ask", "never"]
    assert [row["name"] for row in medp2p("peers", "--json").json] == ["b", "c"]
    shown = medp2p("peers", "show", "b").out
    assert KEY_WORDS in shown
    assert "accept=ask" in shown
    assert "compare the key words" in medp2p("peers", "show", "c").out
    assert medp2p("peers", "show", "c", "--json").json["peer_id"] == PEER_ID


def test_nobody_is_paired(medp2p: Medp2p, served: Served) -> None:
    served.desk.peers_by_name.clear()
    assert "medp2p pair" in medp2p("peers").out
    assert medp2p("peers", "--json").json == []


def test_add_by_hand(medp2p: Medp2p, served: Served) -> None:
    words = ("peers", "add", "c", PEER_ID, "--address", "h:1", "--address", "i:2", "--json")
    done = medp2p(*words)
    assert done.code == 0
    assert done.json["addresses"] == ["h:1", "i:2"]
    assert done.json["source"] == "hand"
    done = medp2p(*words)
    assert done.code == 1
    assert done.json["error"]["code"] == "conflict"


def test_verify_and_remove(medp2p: Medp2p, served: Served) -> None:
    assert medp2p("peers", "verify", "b").out.startswith("b: verified 2026-")
    assert medp2p("peers", "remove", "b").out == "removed b\n"
    assert medp2p("peers", "remove", "b").code == 8
    assert [what for what, _ in served.desk.acts] == ["verify-peer", "remove-peer"]


@pytest.mark.parametrize("word", ["", "/", "..", "?"])
@pytest.mark.parametrize("verb", ["show", "verify", "remove", "set"])
def test_a_word_that_is_no_name_is_of_no_peer(
    medp2p: Medp2p, served: Served, verb: str, word: str
) -> None:
    done = medp2p("peers", verb, word, *(["accept=ask"] if verb == "set" else []))
    assert done.code == 8
    assert done.err.startswith(f"medp2p: error: no peer is called {word}\n")
    assert served.desk.acts == []


def test_settings(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("peers", "set", "b", "accept=auto", "address=h:1=2", "max-bytes=", "--json")
    assert done.json["settings"] == {"accept": "auto", "address": "h:1=2", "max-bytes": ""}
    done = medp2p("peers", "set", "b", "accpet=auto", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "config"


def test_a_folder_to_release_to_is_made_absolute(
    medp2p: Medp2p, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, kept in (
        ("folder:in", f"folder:{tmp_path}/in"),
        ("folder:~/in", "folder:/home/anna/in"),
        ("manual", "manual"),
    ):
        done = medp2p("peers", "set", "b", f"release={given}", "--json", HOME="/home/anna")
        assert done.json["settings"]["release"] == kept
    assert medp2p("peers", "set", "b", "release=folder:").code == 2


def test_nearby(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("nearby")
    assert "not paired" in done.out
    assert "open, code 7-..." in done.out
    assert medp2p("nearby", "--json").json[0]["pairing"] == 7


def test_join_by_code(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("pair", "7-amber-bison", "--at", "h:1")
    assert done.code == 0
    assert done.out.startswith("paired\npeer:")
    assert KEY_WORDS in done.out
    assert served.desk.peers_by_name["b"]["addresses"] == ["h:1"]
    assert medp2p("pair", "7-amber-bison", "--json").json["name"] == "b"


def test_join_with_a_wrong_code(medp2p: Medp2p, served: Served) -> None:
    done = medp2p("pair", "7-amber-amber", "--json")
    assert done.code == 1
    assert done.json["error"]["code"] == "pairing"
    assert done.err.splitlines()[0] == "medp2p: error: wrong code"


def wait_for_pairing(
    medp2p: Medp2p, served: Served, *words: str
) -> tuple[threading.Thread, list[Done]]:
    done: list[Done] = []
    thread = threading.Thread(target=lambda: done.append(medp2p("pair", *words)))
    thread.start()
    served.wait(lambda: served.desk.pairing["state"] == "open" and served.desk.readers)
    return thread, done


def change(served: Served, **fields: object) -> None:
    def set_pairing() -> None:
        served.desk.pairing = {**served.desk.pairing, **fields}
        served.desk.publish({"event": "pairing", "pairing": served.desk.pairing})

    served.call(set_pairing)


def test_show_a_code_and_wait(medp2p: Medp2p, served: Served) -> None:
    thread, done = wait_for_pairing(medp2p, served)
    served.call(served.desk.publish, {"event": "peer", "peer": {}})
    change(served, code="8-cedar-delta", number=8, guesses_left=2)
    served.wait(lambda: served.desk.readers)
    thread.join(0.2)
    assert thread.is_alive()
    change(served, state="paired", peer="b")
    thread.join(20)
    (result,) = done
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "code: 7-amber-bison"
    assert lines[1] == "code: 8-cedar-delta"
    assert lines[2] == "paired"
    assert "on the other workstation: medp2p pair 7-amber-bison" in result.err


def test_show_a_code_as_json_lines(medp2p: Medp2p, served: Served) -> None:
    thread, done = wait_for_pairing(medp2p, served, "--json")
    change(served, state="paired", peer="b")
    thread.join(20)
    (result,) = done
    assert result.code == 0
    assert [line["state"] for line in result.lines] == ["open", "paired"]
    assert result.lines[0]["code"] == "7-amber-bison"
    assert result.lines[1]["peer"] == "b"


def test_pairing_that_closes_is_an_error(medp2p: Medp2p, served: Served) -> None:
    thread, done = wait_for_pairing(medp2p, served)
    change(served, state="closed", text="three wrong guesses")
    thread.join(20)
    (result,) = done
    assert result.code == 1
    assert "medp2p: error: three wrong guesses" in result.err


def test_ctrl_c_closes_pairing(medp2p: Medp2p, served: Served) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "medp2p", "pair"],
        env={**os.environ, "MEDP2P_HOME": str(medp2p.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        served.wait(lambda: served.desk.pairing["state"] == "open" and served.desk.readers)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert served.desk.pairing["state"] == "closed"
    assert [what for what, _ in served.desk.acts] == ["pairing-open", "pairing-close"]
