"""Taking back, proving and sending again, with real daemons and the command line only."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.harness import Hospital, Workstation, cli, introduce, tree_digest, wait_until
from tests.helpers.dicoms import DISC

pytestmark = pytest.mark.e2e

SLICES = sorted(path for path in (DISC / "77654033").rglob("*") if path.is_file())


@pytest.fixture
def pair(hospital: Hospital) -> tuple[Workstation, Workstation]:
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    introduce(ct, ward)
    introduce(ward, ct)
    return ct, ward


def study(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(SLICES[:count]):
        (folder / f"{number}.dcm").write_bytes(path.read_bytes())
    return folder


def facts(side: Workstation, box: str, transfer: str) -> list[str]:
    return [fact["fact"] for fact in side.cli(box, "show", transfer).ok().document["facts"]]


def test_recalled_before_and_after_the_release(
    pair: tuple[Workstation, Workstation], tmp_path: Path
) -> None:
    ct, ward = pair
    before = ct.send("ward-a", study(tmp_path / "one", 2))
    ct.wait_state("outbox", before, "sealed")
    asked = ct.cli("outbox", "recall", before, "--reason", "wrong patient").ok()
    assert asked.document["state"] in ("recalling", "recalled")
    ct.wait_state("outbox", before, "recalled")
    assert not list(ward.vault.iterdir())
    assert ward.cli("inbox", "release", before, "--to", tmp_path / "out").code == 1

    after = ct.send("ward-a", study(tmp_path / "two", 2))
    ct.wait_state("outbox", after, "sealed")
    wait_until(lambda: ward.cli("inbox", "release", after, "--to", tmp_path / "out").code == 0)
    ct.wait_state("outbox", after, "released")
    ct.cli("outbox", "recall", after).ok()
    wait_until(lambda: ward.cli("status").ok().document["destroy_asked"] == 1)
    assert ward.row("inbox", after)["held"]["code"] == "destroy-asked"
    ward.restart()
    assert ward.cli("inbox", "answer", after, "--destroyed", "--by", "Dr. B").code == 1
    shutil.rmtree(tmp_path / "out")
    ward.cli("inbox", "answer", after, "--destroyed", "--by", "Dr. B").ok()
    ct.wait_state("outbox", after, "recalled")
    wait_until(lambda: facts(ct, "outbox", after)[-1] == "recalled")
    assert facts(ct, "outbox", after) == [
        *("sealed", "opened", "released"), *("recall", "recall-late", "destroyed", "recalled")
    ]  # fmt: skip

    file = tmp_path / "proof.json"
    ct.cli("outbox", "show", after, "--proof", file, "--with-label").ok()
    proved = cli(tmp_path / "nobody", "verify-proof", file).ok().document
    assert [fact["fact"] for fact in proved["facts"]] == facts(ct, "outbox", after)
    assert proved["summary"]["files"] == 2
    assert not (tmp_path / "nobody").exists()
    file.write_bytes(file.read_bytes().replace(b'"by": "receiver"', b'"by": "sender"', 1))
    assert cli(tmp_path / "nobody", "verify-proof", file).code == 6


def test_again_to_another_ward_and_an_addendum(
    hospital: Hospital, pair: tuple[Workstation, Workstation], tmp_path: Path
) -> None:
    ct, ward = pair
    other = hospital.make("ward-b")
    introduce(ct, other)
    introduce(other, ct)
    first = ct.send("ward-a", study(tmp_path / "one", 2))
    ct.wait_state("outbox", first, "sealed")
    again = ct.cli("outbox", "again", first, "--to", "ward-b", "--yes", "--no-wait").ok().document
    ct.wait_state("outbox", again["id"], "sealed")
    wait_until(
        lambda: other.cli("inbox", "release", again["id"], "--to", tmp_path / "out").code == 0
    )
    released = Path(other.row("inbox", again["id"])["released_to"])
    assert tree_digest(released / "one") == tree_digest(tmp_path / "one")

    more = study(tmp_path / "more", 3)
    answer = ct.cli(
        "send", "ward-a", more, "--addendum-of", first, "--yes", "--no-wait"
    ).ok()  # fmt: skip
    second = answer.document["id"]
    ct.wait_state("outbox", second, "sealed")
    assert ward.row("inbox", second)["files"] == 1
    for side, box in ((ct, "outbox"), (ward, "inbox")):
        assert side.row(box, second)["addendum_of"] == first
        assert side.row(box, first)["addenda"] == [second]
    # That files which were there before are skipped is what was asked for.
    most = study(tmp_path / "most", 4)
    waited = ct.cli("send", "ward-a", most, "--addendum-of", second, "--yes", "--wait")
    assert waited.code == 0, waited
    assert "3 files of the selection there already" in waited.err
    nothing = ct.cli("send", "ward-a", more, "--addendum-of", second, "--yes", "--no-wait")
    assert nothing.code == 2
    assert "nothing of that is new" in nothing.document["error"]["text"]


def test_an_undecided_offer_is_an_alarm_with_the_phone_number(
    hospital: Hospital, tmp_path: Path
) -> None:
    ct, ward = hospital.make("ct-room", start=False), hospital.make("ward-a")
    config = ct.home / "config.toml"
    config.write_text(config.read_text() + '\nundecided-stat = "1 second"\n')
    ct.start()
    introduce(ct, ward)
    ct.cli("peers", "set", "ward-a", "phone=+49 30 1234").ok()
    introduce(ward, ct, accept="ask")
    transfer = ct.send("ward-a", study(tmp_path / "one", 1), "--priority", "stat")
    wait_until(lambda: ct.cli("audit", "alarms").ok().document)
    (alarm,) = ct.cli("audit", "alarms").ok().document
    assert alarm["kind"] == "undecided"
    assert "+49 30 1234" in alarm["text"]
    assert transfer[:8] in alarm["text"]
