"""Taking transfers back: before, while and after they are sealed and released, in any order."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from medp2p import limits
from medp2p.control.proofs import check_proof
from medp2p.daemon import exchange, greeting, recalling, statements, withdrawing
from medp2p.daemon.sending import Sending
from medp2p.errors import ConflictError, IntegrityError, MedP2PError, UsageError
from medp2p.identity import encode_peer_id
from medp2p.model import State
from medp2p.proto.proof import Proof
from medp2p.vault import meta, releases, transfers
from medp2p.vault.durable import Files
from medp2p.vault.releases import ReleaseRow
from tests.helpers.dicoms import dataset, file_of
from tests.helpers.stations import (
    ANNA,
    Lab,
    Workstation,
    all_of,
    lab,
    pair_of,
    random_bytes,
    until,
)

STUDY: dict[str, bytes | int] = {"CT/1.dcm": random_bytes(300_000), "CT/2.dcm": b"x"}


async def sealed(it: Lab, a: Workstation, b: Workstation) -> str:
    transfer = await a.send("b", it.source("study", STUDY))
    await a.until(transfer, State.SEALED)
    return transfer


def kinds(side: Workstation, transfer: str) -> list[str]:
    return [kind for _, kind, _ in side.facts(transfer)]


async def details(side: Workstation, box: str, transfer: str) -> dict[str, Any]:
    view = await side.desk.transfer(box, transfer, entries=False)
    return {fact["fact"]: fact["detail"] for fact in view["facts"]}


async def test_a_sealed_transfer_is_erased_and_that_is_signed(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        view = await a.desk.recall(ANNA, transfer, "wrong patient")
        assert view["recall"] == {"reason": "wrong patient"}
        await a.until(transfer, State.RECALLED)
        assert b.state(transfer) is State.RECALLED
        assert b.vault() == []
        assert kinds(a, transfer) == ["sealed", "recall", "recalled"]
        said = (await details(a, "out", transfer))["recalled"]
        assert said["opened"] == "never"
        assert said["erased"].endswith("Z")
        assert (await b.desk.transfer("in", transfer, entries=False))["recall"] == {
            "reason": "wrong patient"
        }
        for side in (a, b):
            assert ("recall", "ok") in side.audit(transfer)
            side.station.store.checkpoint()
            assert b"wrong patient" not in side.home.store.read_bytes()
        with pytest.raises(ConflictError):
            await b.released(transfer, tmp_path / "out")
        error = (await a.desk.transfer("out", transfer, entries=False))["error"]
        assert error["code"] == "refused"
        assert "never opened" in error["text"]
        assert (await a.desk.recall(ANNA, transfer, ""))["state"] == "recalled"


@pytest.mark.parametrize("away", [False, True])
async def test_before_it_was_accepted_a_recall_is_a_cancel(tmp_path: Path, away: bool) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        if away:
            await b.stop()
        transfer = await a.send("b", it.source("study", STUDY))
        if not away:
            await b.until(transfer, State.OFFERED)
        assert (await a.desk.recall(ANNA, transfer, ""))["state"] == "cancelled"
        if away:
            await it.start(b)
            await until(lambda: a.pending(b) == 0)
            assert b.row(transfer) is None
        else:
            await b.until(transfer, State.CANCELLED)


@pytest.mark.parametrize("receiver_off", [False, True])
async def test_in_the_middle_of_the_stream(tmp_path: Path, receiver_off: bool) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        a.wire.hold_at = 3 * limits.MIB
        transfer = await a.send("b", it.source("study", {"x": random_bytes(8 * limits.MIB)}))
        await a.wire.wait_sent(3 * limits.MIB)
        await b.until(transfer, State.RECEIVING)
        if receiver_off:
            await b.stop()
        await a.desk.recall(ANNA, transfer, "")
        assert a.state(transfer) is State.RECALLING
        a.wire.go()
        if receiver_off:
            await it.restart(a)
            assert a.state(transfer) is State.RECALLING
            await it.start(b)
        await a.until(transfer, State.RECALLED)
        assert b.state(transfer) is State.RECALLED
        assert b.vault() == []
        assert kinds(a, transfer) == ["recall", "recalled"]


async def test_after_the_release_a_person_is_asked_and_destroys(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.released(transfer, tmp_path / "out")
        await a.until(transfer, State.RELEASED)
        await a.desk.recall(ANNA, transfer, "")
        await until(lambda: a.reason(transfer) == "destroy-asked")
        assert a.state(transfer) is b.state(transfer) is State.RELEASED
        assert "destroy-asked" in b.alarms()
        assert (await b.desk.status())["destroy_asked"] == 1
        view = await b.desk.transfer("in", transfer, entries=False)
        assert view["held"]["code"] == "destroy-asked"
        said = (await details(a, "out", transfer))["recall-late"]
        assert said["by"] == "anna"
        assert said["opened"].endswith("Z")
        with pytest.raises(ConflictError, match="asks to destroy"):
            await b.released(transfer, tmp_path / "again")
        with pytest.raises(ConflictError, match="still there"):
            await b.desk.answer(ANNA, transfer, True, "Dr. B")  # nobody signs what is not so
        assert "destroyed" not in kinds(b, transfer)
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(UsageError):
            await b.desk.answer(ANNA, transfer, True, "x\x1b[2J")
        await b.desk.answer(ANNA, transfer, True, "Dr. B")
        await a.until(transfer, State.RECALLED)
        await until(lambda: kinds(a, transfer)[-1] == "recalled")
        assert b.vault() == []
        assert (await details(a, "out", transfer))["destroyed"] == {"by": "Dr. B"}
        assert (await b.desk.status())["destroy_asked"] == 0
        assert all(alarm["acknowledged"] for alarm in await b.desk.alarms())
        with pytest.raises(ConflictError, match="answered already: destroyed"):
            await b.desk.answer(ANNA, transfer, True, "")


async def test_after_the_release_a_person_keeps_it(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.released(transfer, tmp_path / "out")
        await a.desk.recall(ANNA, transfer, "")
        await until(lambda: a.reason(transfer) == "destroy-asked")
        await b.desk.answer(ANNA, transfer, False, "")
        await until(lambda: a.reason(transfer) == "kept")
        assert a.state(transfer) is b.state(transfer) is State.RELEASED
        assert (await details(a, "out", transfer))["kept"] == {"by": "anna"}
        assert b.vault() == [f"{transfer}.tar.age"]
        await b.released(transfer, tmp_path / "again")


class Gate:
    """Stops a daemon's worker threads at a named durable step, until it is opened."""

    def __init__(self, name: str) -> None:
        self.name, self.reached, self.open = name, threading.Event(), threading.Event()

    def __call__(self, step: str) -> None:
        if step == self.name and not self.reached.is_set():
            self.reached.set()
            assert self.open.wait(30)


async def test_a_recall_during_the_release_is_decided_against_the_row(tmp_path: Path) -> None:
    """``releasing`` is committed: the recall comes too late, and the release goes on."""
    gate = Gate("release-rename")
    async with lab(tmp_path) as it:
        a, b = await it.add("a"), await it.start(it.home("b"), step=gate)
        await it.pair(a, b, accept="auto")
        transfer = await sealed(it, a, b)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(b.released, transfer, tmp_path / "out")
                await until(gate.reached.is_set)
                assert b.state(transfer) is State.RELEASING
                await a.desk.recall(ANNA, transfer, "")
                await until(lambda: a.reason(transfer) == "destroy-asked")
                with pytest.raises(ConflictError, match="being released"):
                    await b.desk.answer(ANNA, transfer, True, "")
                gate.open.set()
        finally:
            gate.open.set()
        await a.until(transfer, State.RELEASED)
        assert kinds(b, transfer) == ["sealed", "opened", "recall", "recall-late", "released"]


@pytest.mark.parametrize("seed", range(6))
async def test_recall_and_release_at_once_never_both_win(tmp_path: Path, seed: int) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        refused: list[MedP2PError] = []

        async def release() -> None:
            await trio.sleep(0.004 * seed)
            try:
                await b.released(transfer, tmp_path / "out")
            except MedP2PError as error:
                refused.append(error)

        await all_of(release, lambda: a.desk.recall(ANNA, transfer, ""))
        await a.until(transfer, State.RECALLED, State.RELEASED, State.SEALED)
        await until(lambda: a.pending(b) == b.pending(a) == 0)
        out = os.listdir(tmp_path / "out") if (tmp_path / "out").exists() else []
        if b.state(transfer) is State.RECALLED:
            assert refused
            assert out == []
            assert a.state(transfer) is State.RECALLED
            assert (await details(a, "out", transfer))["recalled"]["opened"] == "never"
        elif refused:  # stopped before its folder had a name: it was opened, so a person answers
            assert out == []
            assert b.state(transfer) is State.SEALED
            assert a.reason(transfer) == "destroy-asked"
        else:
            assert len(out) == 1
            assert b.state(transfer) is a.state(transfer) is State.RELEASED
            assert a.reason(transfer) == "destroy-asked"


async def test_the_seal_crosses_the_recall(tmp_path: Path) -> None:
    """The receiver has sealed when the recall is asked for: the receipt ends nothing."""
    async with pair_of(tmp_path) as (it, a, b):
        asked: list[str] = []

        def step(name: str) -> None:  # in the trio thread: the receipt leaves in the next moment
            if name == "receipt" and not asked:
                with a.station.store.write() as tx:
                    asked.append(recalling.recall(tx, a.station, ANNA, transfer, "").id)

        b.station.files = Files(step)
        transfer = await a.send("b", it.source("study", STUDY))
        await until(lambda: asked)
        await until(lambda: "sealed" in kinds(a, transfer))
        assert a.state(transfer) in (State.RECALLING, State.RECALLED)
        a.outbox.wake()
        await a.until(transfer, State.RECALLED)
        assert b.state(transfer) is State.RECALLED
        assert kinds(a, transfer) == ["sealed", "recall", "recalled"]
        assert b.vault() == []


async def crossing(it: Lab, a: Workstation, b: Workstation) -> str:
    """Cancel a transfer at the moment at which its receiver has sealed it."""
    done: list[str] = []

    def step(name: str) -> None:  # in the trio thread: the receipt leaves in the next moment
        if name == "receipt" and not done:
            with a.station.store.write() as tx:
                done.append(recalling.cancel(tx, a.station, ANNA, transfer).id)

    b.station.files = Files(step)
    transfer = await a.send("b", it.source("study", STUDY))
    await until(lambda: done)
    return transfer


async def test_a_cancel_that_crosses_the_seal_takes_it_back(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await crossing(it, a, b)
        a.outbox.wake()
        await b.until(transfer, State.RECALLED)
        await until(lambda: a.reason(transfer) == "recalled")
        assert a.state(transfer) is State.CANCELLED
        assert b.vault() == []
        assert "recall" in kinds(a, transfer)
        await until(lambda: a.pending(b) == b.pending(a) == 0)
        assert kinds(b, transfer).count("recalled") == 1
        view = await a.desk.recall(ANNA, transfer, "again")
        assert view["state"] == "cancelled"
        assert "never opened" in view["reason"]["text"]
        with pytest.raises(ConflictError):
            await b.released(transfer, tmp_path / "out")


async def test_a_cancel_that_crosses_the_root_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its papers are under the vault key already; nothing of it goes back under the other."""
    async with pair_of(tmp_path) as (it, a, _):
        a.cancelled_before(Sending._keep_root, monkeypatch)
        transfer = await a.send("b", it.source("study", {"CT/1.dcm": file_of(dataset())}))
        await a.until(transfer, State.CANCELLED)
        assert "marks" in a.blobs(transfer)
        assert set(a.blobs(transfer).values()) == {"vault"}


async def test_a_cancel_that_crosses_the_release_is_an_alarm(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await until(lambda: b.pending(a) == 0)
        for wire in (a.wire, b.wire):
            await wire.sever()
        await b.released(transfer, tmp_path / "out")
        with a.station.store.write() as tx:  # as if it had been cancelled before the receipt
            tx.execute("UPDATE transfers SET state = 'cancelled', sealed_ms = NULL")
        a.wire.down = b.wire.down = False
        a.outbox.wake()
        b.outbox.wake()
        await until(lambda: a.reason(transfer) == "destroy-asked")
        assert a.state(transfer) is State.CANCELLED
        assert "released-after-end" in a.alarms()
        assert (await b.desk.status())["destroy_asked"] == 1
        shutil.rmtree(tmp_path / "out")
        await b.desk.answer(ANNA, transfer, True, "Dr. B")
        await until(lambda: a.reason(transfer) == "recalled")


async def asked(it: Lab, a: Workstation, b: Workstation, out: Path) -> str:
    """Have a transfer released and taken back."""
    transfer = await sealed(it, a, b)
    await b.released(transfer, out)
    await a.until(transfer, State.RELEASED)
    await a.desk.recall(ANNA, transfer, "")
    await until(lambda: a.reason(transfer) == "destroy-asked")
    return transfer


async def test_a_folder_that_was_gone_and_is_back_is_not_destroyed(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await asked(it, a, b, tmp_path / "out")
        (tmp_path / "out").rename(tmp_path / "away")
        await withdrawing.look_after(b.station)
        assert [row["state"] for row in await b.desk.released()] == ["gone"]
        (tmp_path / "away").rename(tmp_path / "out")
        with pytest.raises(ConflictError, match="still there"):
            await b.desk.answer(ANNA, transfer, True, "")
        assert "destroyed" not in kinds(b, transfer)


async def test_folders_of_other_transfers_do_not_matter(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        other = await a.send("b", it.source("other", STUDY))
        await a.until(other, State.SEALED)
        await b.released(other, tmp_path / "other")
        transfer = await asked(it, a, b, tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        await b.desk.answer(ANNA, transfer, True, "")
        await a.until(transfer, State.RECALLED)


async def test_what_was_released_after_the_look_is_not_destroyed(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await asked(it, a, b, tmp_path / "out")
        shutil.rmtree(tmp_path / "out")
        looked = await withdrawing.check_destroyed(b.station, transfer)
        assert len(looked) == 1
        with b.station.store.write() as tx:
            row = ReleaseRow(
                transfer=transfer, peer_name="a", released_ms=1, released_by="anna", files=1
            )
            releases.add(tx, row)
        with (
            b.station.store.write() as tx,
            pytest.raises(ConflictError, match="released meanwhile"),
        ):
            recalling.answer(tx, b.station, ANNA, transfer, looked=looked, by="")


async def test_nobody_is_told_to_destroy_what_nobody_took_back(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.released(transfer, tmp_path / "out")
        with pytest.raises(ConflictError, match="nobody has asked"):
            await b.desk.answer(ANNA, transfer, True, "")


async def test_nobody_is_asked_who_is_paired_no_more(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await a.desk.remove_peer(ANNA, "b")
        with pytest.raises(ConflictError, match="not paired any more"):
            await a.desk.recall(ANNA, transfer, "")
        view = await a.desk.transfer("out", transfer, entries=False)
        assert (view["state"], view["reason"]) == ("sealed", None)


async def test_what_was_taken_back_was_whole(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.wire.sever()
        await a.wire.sever()
        root = (await a.desk.transfer("out", transfer, entries=False))["root"]
        view = await a.desk.recall(ANNA, transfer, "")
        assert view["state"] == "recalling"
        assert (view["bytes_done"], view["root"]) == (view["bytes"], root)
        with b.station.store.write() as tx:
            held = '{"code":"seal-broken","text":"x","since":""}'
            transfers.update(tx, transfer, held=held)
        view = await b.desk.discard(ANNA, transfer)
        assert (view["bytes_done"], view["root"], view["held"]) == (view["bytes"], root, None)


async def test_what_was_cancelled_and_sealed_can_be_recalled_by_hand(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await until(lambda: b.pending(a) == 0)
        with a.station.store.write() as tx:  # the record of an older version
            tx.execute("UPDATE transfers SET state = 'failed'")
        view = await a.desk.recall(ANNA, transfer, "wrong patient")
        assert (view["state"], view["reason"]["code"]) == ("failed", "recalling")
        await until(lambda: a.reason(transfer) == "recalled")
        assert b.state(transfer) is State.RECALLED


async def test_a_cancel_of_what_is_whole_is_a_recall(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await b.released(transfer, tmp_path / "out")
        await a.until(transfer, State.RELEASED)
        row = a.row(transfer)
        assert row is not None
        with a.station.store.write() as tx:
            statements.queue_fact(tx, a.station, row, "cancelled", {})
        a.outbox.wake()
        await until(lambda: "recall-late" in kinds(b, transfer))
        assert "destroy-asked" in b.alarms()


async def test_a_peer_that_does_not_know_recalls(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        with a.station.store.write() as tx:
            peer = next(iter(a.station.pins))
            meta.put(tx, f"features:{peer.hex()}", "")
            assert greeting.features(tx, peer) == frozenset()
        with pytest.raises(ConflictError, match="does not know recalls"):
            await a.desk.recall(ANNA, transfer, "")
        assert a.state(transfer) is State.SEALED


async def test_facts_that_a_peer_would_not_understand_wait(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await until(lambda: b.pending(a) == 0)
        await b.stop()
        await a.desk.recall(ANNA, transfer, "")
        with a.station.store.read() as tx:
            assert exchange.pending(tx, b.key, ["other"]) == []
            assert [row.kind for row in exchange.pending(tx, b.key, ["recall"])] == ["recall"]


async def test_erased_is_stated_only_when_it_is_done(tmp_path: Path) -> None:
    gate = Gate("erase-unlink")
    async with lab(tmp_path) as it:
        a, b = await it.add("a"), await it.start(it.home("b"))
        await it.pair(a, b, accept="auto")
        transfer = await sealed(it, a, b)
        b.station.files = Files(gate)
        await a.desk.recall(ANNA, transfer, "")
        await until(gate.reached.is_set)
        assert b.state(transfer) is State.RECALLED
        assert kinds(b, transfer) == ["sealed", "recall"]
        assert a.state(transfer) is State.RECALLING
        gate.open.set()
        await a.until(transfer, State.RECALLED)


async def test_a_recall_of_what_was_discarded_meanwhile_is_answered(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await until(lambda: b.pending(a) == 0)
        await a.wire.sever()
        await b.wire.sever()
        await b.desk.discard(ANNA, transfer)
        await a.desk.recall(ANNA, transfer, "")
        a.wire.down = b.wire.down = False
        a.outbox.wake()
        b.outbox.wake()
        await a.until(transfer, State.DISCARDED, State.RECALLED)
        await until(lambda: "recalled" in kinds(b, transfer))


# --- proofs -------------------------------------------------------------------------------


async def test_a_proof_holds_anywhere_and_nothing_in_it_can_be_changed(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY), note="for the round")
        await a.until(transfer, State.SEALED)
        await b.released(transfer, tmp_path / "out")
        await until(lambda: "released" in kinds(a, transfer))
        tree = await a.desk.proof(transfer, label=True)
        proof = msgspec.convert(tree, Proof)
        found = check_proof(
            msgspec.json.encode(proof), sender=encode_peer_id(a.key), receiver=encode_peer_id(b.key)
        )
        assert [fact["fact"] for fact in found["facts"]] == ["sealed", "opened", "released"]
        assert found["summary"]["note"] == "for the round"
        assert found["receiver"]["sign_key"] == b.station.keys.sign_public.hex()
        other = await b.desk.proof(transfer, label=False)
        assert other["summary"] is None
        assert check_proof(msgspec.json.encode(msgspec.convert(other, Proof)))["summary"] is None
        with pytest.raises(IntegrityError, match="another sender"):
            check_proof(msgspec.json.encode(proof), sender=encode_peer_id(b.key))
        replace = msgspec.structs.replace
        fact = proof.facts[0]
        wrong = [
            replace(proof, sender=proof.receiver, receiver=proof.sender),
            replace(proof, offer=bytes(32)),
            replace(proof, transfer="a" * 26),
            replace(proof, facts=[]),
            replace(proof, facts=[replace(fact, by="sender")]),
            replace(proof, facts=[replace(fact, signature=bytes(64))]),
            replace(proof, facts=[replace(fact, statement=fact.statement + b"\0")]),
            replace(proof, receiver=replace(proof.receiver, sign_key=proof.sender.sign_key)),
            replace(proof, summary=(proof.summary or b"").replace(b"round", b"board")),
        ]
        for bad in wrong:
            with pytest.raises(IntegrityError):
                check_proof(msgspec.json.encode(bad))
        for junk in (b"", b"{}", b"\xff" * 10, msgspec.json.encode(proof)[:-20]):
            with pytest.raises(IntegrityError):
                check_proof(junk)


async def test_free_text_is_in_a_proof_with_label_only(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (it, a, b):
        transfer = await sealed(it, a, b)
        await a.desk.recall(ANNA, transfer, "Jane Doe is no patient of yours")
        await a.until(transfer, State.RECALLED)
        for side in (a, b):
            tree = await side.desk.proof(transfer, label=False)
            made = check_proof(msgspec.json.encode(msgspec.convert(tree, Proof)))
            assert [fact["fact"] for fact in made["facts"]] == ["sealed", "recalled"]
        tree = await a.desk.proof(transfer, label=True)
        made = check_proof(msgspec.json.encode(msgspec.convert(tree, Proof)))
        assert [fact["fact"] for fact in made["facts"]] == ["sealed", "recall", "recalled"]
        assert made["facts"][1]["detail"]["reason"].startswith("Jane")


async def test_a_decline_with_a_reason_only_is_no_proof_without_label(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY))
        await b.until(transfer, State.OFFERED)
        await b.desk.decline(ANNA, transfer, "not Jane Doe")
        await a.until(transfer, State.DECLINED)
        with pytest.raises(ConflictError, match="free text"):
            await a.desk.proof(transfer, label=False)
        assert (await a.desk.proof(transfer, label=True))["facts"]


async def test_there_is_no_proof_before_anything_was_stated(tmp_path: Path) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        transfer = await a.send("b", it.source("study", STUDY))
        await b.until(transfer, State.OFFERED)
        with pytest.raises(ConflictError, match="nothing has been stated"):
            await a.desk.proof(transfer, label=False)
        assert not recalling.is_asked(b.row(transfer))  # type: ignore[arg-type]
