"""The verbs that take back, answer, prove, and check a proof."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from medp2p.identity import encode_peer_id
from medp2p.proto.facts import Statement, sign
from medp2p.proto.proof import Proof, Side, Signed
from tests.helpers.command import Medp2p
from tests.helpers.desk import TIME, Served, transfer_json

SENT, GOT = "t" * 26, "s" * 26
A, B = bytes([1]) * 32, bytes([2]) * 32
PRIVATE = bytes(range(32))


def proof(**changes: Any) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(PRIVATE).public_key().public_bytes_raw()
    said = Statement(
        transfer=bytes(16),
        offer=bytes([4]) * 32,
        fact="released",
        number=3,
        time_ms=1_795_600_000_000,
        sender=A,
        receiver=B,
        root=bytes([5]) * 32,
        detail={"by": "anna\x1b[2J"},
    )
    fact = sign(said, PRIVATE)
    values: dict[str, Any] = {
        "transfer": "a" * 26,
        "offer": said.offer,
        "sender": Side(A, public),
        "receiver": Side(B, public, name="\x1b[31mward"),
        "facts": [Signed("receiver", fact.statement, fact.signature)],
    }
    return msgspec.json.encode(Proof(**(values | changes)))


@pytest.mark.parametrize(("state", "said"), [("sealed", "recalling t"), ("queued", "cancelled t")])
def test_recall(medp2p: Medp2p, served: Served, state: str, said: str) -> None:
    served.desk.transfers_by_id[SENT] = transfer_json(SENT, "out", "b", state)
    done = medp2p("outbox", "recall", "t", "--reason", "wrong patient")
    assert done.code == 0
    assert done.out.startswith(said)
    assert served.desk.transfers_by_id[SENT]["recall"] == {"reason": "wrong patient"}


def test_an_answer_is_a_decision_with_a_name(medp2p: Medp2p, served: Served) -> None:
    row = transfer_json(GOT, "in", "b", "released")
    served.desk.transfers_by_id[GOT] = row
    for words in ((), ("--destroyed", "--kept"), ("--kept", "--destroyed")):
        assert medp2p("inbox", "answer", "s", *words).code == 2
    assert row["state"] == "released"
    done = medp2p("inbox", "answer", "s", "--destroyed", "--by", "Dr. B")
    assert done.out == f"answered {GOT}: destroyed\n"
    assert row["answered_by"] == "Dr. B"


def test_facts_show_who_and_why_and_cannot_move_the_cursor(medp2p: Medp2p, served: Served) -> None:
    fact = {"fact": "released", "number": 3, "time": TIME, "by": "b", "acknowledged": True}
    served.desk.transfers_by_id[SENT] = transfer_json(
        SENT, "out", "b", "released", facts=[fact | {"detail": {"by": "anna\x1b[2J"}}]
    )
    done = medp2p("outbox", "show", "t")
    assert "by: anna" in done.out
    assert "\x1b" not in done.out


def test_a_proof_is_written_once_and_for_this_account_only(
    medp2p: Medp2p, served: Served, tmp_path: Path
) -> None:
    served.desk.transfers_by_id[SENT] = transfer_json(SENT, "out", "b", "sealed")
    file = tmp_path / "p.json"
    assert medp2p("outbox", "show", "t", "--proof", str(file)).code == 0
    assert json.loads(file.read_text())["transfer"] == SENT
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    again = medp2p("outbox", "show", "t", "--proof", str(file), "--with-label")
    assert "hint: name a new file" in again.err
    assert again.code == 2
    assert "nothing is overwritten" in again.err
    assert file.read_bytes() == before


@pytest.mark.parametrize("inside", ["", "vault/p.json"])
def test_a_proof_is_not_written_just_anywhere(medp2p: Medp2p, served: Served, inside: str) -> None:
    """It may hold patient data, which lies in the home sealed only."""
    served.desk.transfers_by_id[SENT] = transfer_json(SENT, "out", "b", "sealed")
    vault = medp2p.home / "vault"
    vault.mkdir(parents=True, exist_ok=True)
    file = str(medp2p.home / inside) if inside else ""
    assert medp2p("outbox", "show", "t", "--proof", file, "--with-label").code in (1, 2)
    assert list(vault.iterdir()) == []


def test_a_proof_lies_where_it_is_said_to_lie(
    medp2p: Medp2p, served: Served, tmp_path: Path
) -> None:
    served.desk.transfers_by_id[SENT] = transfer_json(SENT, "out", "b", "sealed")
    (tmp_path / "far" / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "in")
    told = medp2p("outbox", "show", "t", "--proof", f"{tmp_path}/link/../p.json", "--json").json
    assert Path(told["proof"]).samefile(tmp_path / "far" / "p.json")


def test_a_proof_that_does_not_fit_leaves_no_file(
    medp2p: Medp2p, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.desk.transfers_by_id[SENT] = transfer_json(SENT, "out", "b", "sealed")

    def full(descriptor: int, mode: str) -> IO[bytes]:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("medp2p.control.private.open", full, raising=False)
    done = medp2p("outbox", "show", "t", "--proof", str(tmp_path / "p.json"), "--json")
    assert (done.code, done.json["error"]["code"]) == (1, "output")
    assert not (tmp_path / "p.json").exists()


def test_a_proof_is_checked_without_home_or_daemon(medp2p: Medp2p, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_bytes(proof())
    done = medp2p("verify-proof", str(file), "--receiver", encode_peer_id(B), "--json")
    assert done.code == 0
    assert done.json["ok"]
    assert done.json["facts"][0]["fact"] == "released"
    shown = medp2p("verify-proof", str(file))
    assert "signatures" in shown.out
    assert "\x1b" not in shown.out
    assert not medp2p.home.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        proof()[:-9],
        proof(offer=bytes(32)),
        proof(facts=[]),
        proof(sender=Side(A, bytes(32))).replace(b"medp2p proof 1", b"medp2p proof 9"),
        proof(receiver=Side(B, bytes(32))),
    ],
)
def test_what_does_not_hold_is_exit_6(medp2p: Medp2p, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "p.json"
    file.write_bytes(data)
    done = medp2p("verify-proof", str(file), "--json")
    assert done.code == 6
    assert done.json["error"]["code"] == "integrity"


def test_a_proof_of_somebody_else(medp2p: Medp2p, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_bytes(proof())
    assert medp2p("verify-proof", str(file), "--sender", encode_peer_id(B)).code == 6
    assert medp2p("verify-proof", str(file), "--sender", "nonsense").code == 2
    assert medp2p("verify-proof", str(tmp_path / "none")).code == 2
