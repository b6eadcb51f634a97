"""Paired peers that break their word: what they say changes nothing but their own transfer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from medp2p import limits, manifest
from medp2p.daemon.sending import Sending
from medp2p.daemon.sessions import Session
from medp2p.errors import LinkLostError
from medp2p.manifest import Entry, Kind, encode_entry
from medp2p.model import State, transfer_id_to_bytes
from medp2p.net.link import ReceivedChunk
from medp2p.proto.messages import (
    Abort,
    Answer,
    Bye,
    Commit,
    Fact,
    Facts,
    FactsAck,
    Need,
    Offer,
    Page,
)
from medp2p.vault import transfers
from tests.helpers.puppets import Parcel, Puppet, Talk, id_of
from tests.helpers.stations import ANNA, Lab, Workstation, lab, until

MIB = limits.MIB


@asynccontextmanager
async def visited(folder: Path) -> AsyncIterator[tuple[Lab, Workstation, Puppet]]:
    """A workstation, and a puppet that sends to it; everything is accepted."""
    async with lab(folder) as it:
        b, puppet = await it.add("b"), Puppet()
        await puppet.meet(b)
        yield it, b, puppet


async def ends(talk: Talk) -> None:
    """Check that the other side ends the connection without a word."""
    assert await talk.end() is None


async def sealed(b: Workstation, puppet: Puppet, parcel: Parcel, offer: Offer) -> None:
    """Send what is missing of a parcel, as it should be."""
    async with puppet.offering(b, offer) as talk:
        await talk.pages(parcel.entries)
        for first, end in await talk.needed():
            await talk.chunks(parcel, range(first, end))
        await talk.commit(parcel.root(offer))
        await b.until(id_of(offer), State.SEALED)


# --- senders: chunks ------------------------------------------------------------------------


async def test_a_puppet_can_send(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(3 * MIB)
        offer = puppet.offer(b, parcel)
        await sealed(b, puppet, parcel, offer)
        folder = await b.released(id_of(offer), tmp_path / "out")
        assert (folder / "x.dcm").read_bytes() == parcel.data


async def test_a_second_connection_replaces_the_first_whatever_it_calls_itself(
    tmp_path: Path,
) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(3 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as one, puppet.offering(b, offer, index=1) as two:
            assert await one.end() == Bye()
            assert isinstance(await two.next(), Answer)


@pytest.mark.parametrize("said", ["chunk", "commit"])
async def test_nothing_that_is_said_changes_what_is_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Even if two connections carried one transfer: the rows of the store decide."""
    monkeypatch.setattr(Session, "place", property(id))
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(3 * MIB)
        offer = puppet.offer(b, parcel)
        transfer = id_of(offer)
        async with puppet.asked(b, offer, parcel) as one, puppet.offering(b, offer) as two:
            assert isinstance(await two.next(), Answer)
            await two.link.send(Page(0, next(manifest.pages(parcel.entries)), last=True))
            await two.needed()
            await one.chunks(parcel, range(4))
            await one.commit(parcel.root(offer))
            await b.until(transfer, State.SEALED)
            before = b.home.sealed(transfer).read_bytes()
            if said == "chunk":
                other = bytes(MIB)
                await two.chunk(1, other, parcel.digest(1, other))
            await two.commit(bytes(32))
            await two.end()
        assert b.state(transfer) is State.SEALED
        assert b.home.sealed(transfer).read_bytes() == before
        assert "failed" not in [kind for _, kind, _ in b.facts(transfer)]


@pytest.mark.parametrize("wrong", ["root", "digest", "headers"])
async def test_bytes_that_are_not_what_was_offered_fail_the_transfer(
    tmp_path: Path, wrong: str
) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(2 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.offering(b, offer) as talk:
            await talk.pages(parcel.entries)
            assert await talk.needed() == [(0, 3)]
            first = parcel.chunks[0]
            if wrong == "headers":
                first = b"evil" + first[4:]
            said = parcel.digest(0, first) if wrong != "digest" else bytes(32)
            await talk.chunk(0, first, said)
            await talk.chunks(parcel, [1, 2])
            if wrong == "root":
                await talk.commit(bytes(32))
            answer = await talk.next()
            assert isinstance(answer, Abort)
            assert answer.code == "integrity"
        await b.until(id_of(offer), State.FAILED)
        await until(lambda: b.vault() == [])
        assert b.facts(id_of(offer))[0][:2] == ("us", "failed")
        assert ("fail", "failure") in b.audit(id_of(offer))


async def test_other_bytes_in_a_claimed_place_are_never_sealed(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(2 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            await talk.chunks(parcel, [1])
            await until(lambda: 1 in b.journalled(id_of(offer)))
        await b.until(id_of(offer), State.PAUSED)
        with b.station.store.write() as tx:  # as if it had crashed before the flush
            tx.execute("UPDATE journal SET state = 0")
        async with puppet.offering(b, offer) as talk:
            await resume(talk)
            assert await talk.needed() == [(0, 3)]
            other = b"?" * MIB
            await talk.chunk(1, other, parcel.digest(1, other))
            end = await talk.end()
            assert isinstance(end, Abort)
            assert end.code == "source-changed"
        await b.until(id_of(offer), State.FAILED)
        await until(lambda: b.vault() == [])


async def resume(talk: Talk) -> None:
    """Go on with a transfer whose manifest the receiver holds."""
    assert await talk.next() == Answer("accepted", pages=2**32 - 1)
    await talk.link.send(Page(0, b"x", last=True))


@pytest.mark.parametrize("when", ["at once", "when it is done"])
async def test_a_chunk_that_was_not_asked_for_ends_the_link(tmp_path: Path, when: str) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(2 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            await talk.chunks(parcel, [1])
            if when == "when it is done":
                await until(lambda: b.missing(id_of(offer)) == [(0, 1), (2, 3)])
            await talk.chunks(parcel, [1])
            await ends(talk)
        await b.until(id_of(offer), State.PAUSED)
        async with puppet.offering(b, offer) as talk:
            await resume(talk)
            for first, end in await talk.needed():
                await talk.chunks(parcel, range(first, end))
            await talk.commit(parcel.root(offer))
            await b.until(id_of(offer), State.SEALED)


async def test_a_chunk_of_what_was_ended_meanwhile_is_not_taken(tmp_path: Path) -> None:
    """Its rows and its file are being erased, although this conversation has not heard of it."""
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(2 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            with b.station.store.write() as tx:
                transfers.update(tx, id_of(offer), state=State.DISCARDED)
            await talk.chunks(parcel, [1])
            await talk.end()
        assert b.journalled(id_of(offer)) == {}
        assert b.state(id_of(offer)) is State.DISCARDED


async def test_what_is_missing_at_the_commit_is_asked_for_once_more(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(2 * MIB)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            await talk.chunks(parcel, [1])
            await talk.commit(parcel.root(offer))
            assert await talk.needed() == [(0, 1), (2, 3)]
            await talk.chunks(parcel, [0, 2])
            await talk.commit(parcel.root(offer))
            await b.until(id_of(offer), State.SEALED)
        folder = await b.released(id_of(offer), tmp_path / "out")
        assert (folder / "x.dcm").read_bytes() == parcel.data


# --- senders: offers and manifests ----------------------------------------------------------


def other(parcel: Parcel, how: str) -> list[Entry]:
    """Return a manifest that is not the one offered."""
    (entry,) = parcel.entries
    return {
        "name": [Entry(b"y.dcm", Kind.FILE, entry.size, entry.mtime_ns)],
        "more": [entry, Entry(b"y.dcm", Kind.FILE, 0, 0)],
        "twice": [entry, entry],
    }[how]


@pytest.mark.parametrize("how", ["name", "more", "twice"])
async def test_a_manifest_that_is_not_the_one_offered(tmp_path: Path, how: str) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(1000)
        offer = puppet.offer(b, parcel)
        async with puppet.offering(b, offer) as talk:
            await talk.pages(other(parcel, how))
            await ends(talk)
        assert b.state(id_of(offer)) is State.ACCEPTED
        assert "manifest" not in b.blobs(id_of(offer))
        assert b.vault() == []
        await sealed(b, puppet, parcel, offer)


async def test_an_offer_that_promises_another_size_than_its_manifest(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(1000)
        for lie in ({"length": 5 * MIB}, {"file_bytes": 999}, {"files": 0}, {"entries": 2}):
            offer = puppet.offer(b, parcel, **lie)
            async with puppet.offering(b, offer) as talk:
                await talk.pages(parcel.entries)
                await ends(talk)
            assert b.vault() == []


async def test_pages_without_end(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(1000)
        offer = puppet.offer(b, parcel)
        async with puppet.offering(b, offer) as talk:
            assert await talk.next() == Answer("accepted")
            for number in range(2):
                entry = encode_entry(Entry(b"%d" % number, Kind.FILE, 0, 0))
                await talk.link.send(Page(number, entry, last=False))
            await ends(talk)
        assert "manifest" not in b.blobs(id_of(offer))


async def test_no_more_than_a_hundred_offers_wait(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        await b.set("puppet", accept="ask")
        offers = [puppet.offer(b, Parcel.of(10)) for _ in range(limits.MAX_OFFERS_PER_PEER + 1)]
        for offer in offers[:-1]:
            async with puppet.offering(b, offer) as talk:
                assert await talk.next() == Answer("undecided")
        async with puppet.offering(b, offers[-1]) as talk:
            assert await talk.next() == Answer("full")
        assert b.row(id_of(offers[-1])) is None
        async with puppet.offering(b, offers[0]) as talk:  # one of them may still come back
            assert await talk.next() == Answer("undecided")
        await b.desk.decline(ANNA, id_of(offers[7]), "")
        async with puppet.offering(b, offers[-1]) as talk:
            assert await talk.next() == Answer("undecided")


async def refused(puppet: Puppet, b: Workstation, offer: Offer) -> None:
    """Check that an offer is refused as a mismatch."""
    async with puppet.offering(b, offer) as talk:
        answer = await talk.next()
        assert isinstance(answer, Abort)
        assert answer.code == "offer-mismatch"


async def test_an_offer_that_is_not_bound_as_it_says(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        good = puppet.offer(b, Parcel.of(1000))
        unbound = puppet.offer(b, Parcel.of(1000), note="other", transfer=good.transfer)
        lying = puppet.offer(b, Parcel.of(1000), transfer=good.transfer)
        await refused(puppet, b, msgspec.structs.replace(lying, offer=unbound.offer))
        assert b.row(id_of(good)) is None
        assert b.audit(id_of(good)) == [("offer", "refused")]


async def test_a_known_id_with_another_offer_or_from_another_peer(tmp_path: Path) -> None:
    async with visited(tmp_path) as (it, b, puppet):
        parcel = Parcel.of(1000)
        offer = puppet.offer(b, parcel)
        await sealed(b, puppet, parcel, offer)
        await b.until_checked(id_of(offer))
        before = b.row(id_of(offer))
        await refused(puppet, b, puppet.offer(b, Parcel.of(1000), transfer=offer.transfer))
        stranger = Puppet()
        await stranger.meet(b, "stranger")
        await refused(stranger, b, stranger.offer(b, parcel, transfer=offer.transfer))
        assert b.row(id_of(offer)) == before
        assert b.audit(id_of(offer)).count(("offer", "refused")) == 2

        a = await it.add("a")
        await it.pair(a, b, accept="ask")
        ours = await b.send("a", it.source("study", {"x": b"x"}))
        back = puppet.offer(b, parcel, transfer=transfer_id_to_bytes(ours))
        await refused(puppet, b, back)


# --- facts --------------------------------------------------------------------------------


async def said(puppet: Puppet, b: Workstation, *facts: Fact) -> None:
    """Deliver facts in a conversation of their own; its exchange may fail."""
    async with puppet.call(b, "facts") as talk:
        await talk.exchange(facts)


async def test_facts_with_a_wrong_signature_or_of_others_end_the_link(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(1000)
        offer = puppet.offer(b, parcel)
        await sealed(b, puppet, parcel, offer)
        good = puppet.state(b, offer, "failed", 1)
        forged = [
            Fact(good.statement, bytes(64)),
            Fact(good.statement[:-1] + b"?", good.signature),
            puppet.state(b, offer, "failed", 1, sender=bytes(32)),
            puppet.state(b, offer, "failed", 1, receiver=bytes(32)),
            puppet.state(b, offer, "failed", 2**40),
        ]
        for fact in forged:
            with pytest.raises(LinkLostError):
                await said(puppet, b, fact)
        assert all(who == "us" for who, _, _ in b.facts(id_of(offer)))


async def test_facts_that_contradict_the_record_change_nothing(tmp_path: Path) -> None:
    async with visited(tmp_path) as (it, b, puppet):
        parcel = Parcel.of(1000)
        offer = puppet.offer(b, parcel)
        await sealed(b, puppet, parcel, offer)
        await b.until_checked(id_of(offer))
        a = await it.add("a")
        await it.pair(a, b, accept="ask")
        honest = await a.send("b", it.source("study", {"x": b"x"}))
        await b.until(honest, State.OFFERED)
        row = b.row(honest)
        assert row is not None
        before = b.row(id_of(offer)), row
        wrong = [
            puppet.state(b, offer, "cancelled", 1, offer=bytes(32)),
            puppet.state(
                b, offer, "cancelled", 2, transfer=transfer_id_to_bytes(honest), offer=row.offer
            ),
            puppet.state(b, offer, "sealed", 3, root=bytes(32)),
            puppet.state(b, offer, "cancelled", 4, sender=b.key, receiver=puppet.key),
            puppet.state(b, offer, "cancelled", 5, transfer=bytes(16)),
        ]
        for fact in wrong:
            await said(puppet, b, fact)
        assert (b.row(id_of(offer)), b.row(honest)) == before
        assert ("fact-refused", "failure") in b.audit(id_of(offer))
        assert ("fact-refused", "failure") in b.audit(honest)
        assert b.vault() == [f"{id_of(offer)}.tar.age"]
        # One that fits, of what is whole: its sender does not want it here.
        await said(puppet, b, puppet.state(b, offer, "cancelled", 6))
        await b.until(id_of(offer), State.RECALLED)
        assert ("recall", "ok") in b.audit(id_of(offer))
        await until(lambda: not b.vault())
        assert b.row(honest) == row


async def test_a_number_used_for_two_statements_is_an_alarm(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        offer = puppet.offer(b, Parcel.of(1000))
        await said(puppet, b, puppet.state(b, offer, "cancelled", 1))
        await said(puppet, b, puppet.state(b, offer, "cancelled", 1))
        assert b.alarms() == []
        await said(puppet, b, puppet.state(b, offer, "failed", 1))
        assert b.alarms() == ["set-back"]


async def test_facts_about_nothing_are_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_NOTED_FACTS", 5)
    async with visited(tmp_path) as (_, b, puppet):
        await b.set("puppet", accept="block")
        long = {"reason": "x" * 2000}
        for number in range(1, 40):
            about = puppet.offer(b, Parcel.of(10))
            await said(puppet, b, puppet.state(b, about, "cancelled", number, detail=long))
        with b.station.store.read() as tx:
            kept = tx.execute("SELECT transfer, statement FROM facts").fetchall()
        assert kept == [("", b"")] * 5


async def test_a_peer_says_only_so_much_of_a_transfer(tmp_path: Path) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel = Parcel.of(10)
        offer = puppet.offer(b, parcel)
        await sealed(b, puppet, parcel, offer)
        many = limits.MAX_FACTS_PER_TRANSFER + 20
        facts = [puppet.state(b, offer, "failed", number) for number in range(1, many)]
        await said(puppet, b, *facts[:50])
        await said(puppet, b, *facts[50:])
        theirs = [kind for who, kind, _ in b.facts(id_of(offer)) if who == "them"]
        assert len(theirs) == limits.MAX_FACTS_PER_TRANSFER
        assert b.alarms() == ["too-many-facts"]


async def test_what_one_peer_says_of_the_transfer_of_another_is_not_believed(
    tmp_path: Path,
) -> None:
    async with visited(tmp_path) as (_, b, puppet):
        parcel, other = Parcel.of(10), Puppet()
        await other.meet(b, "other")
        offer = puppet.offer(b, parcel)
        await sealed(b, puppet, parcel, offer)
        parties = {"sender": b.key, "receiver": other.key}
        lies = ("recalled", "released", "opened")
        await said(other, b, *(other.state(b, offer, kind, n + 1, **parties, root=bytes(32))
                               for n, kind in enumerate(lies)))  # fmt: skip
        assert {who for who, _, _ in b.facts(id_of(offer))} == {"us"}
        row = await b.desk.transfer("in", id_of(offer), entries=False)
        assert row["opened"] is None
        await said(puppet, b, puppet.state(b, offer, "recall", 1))
        await until(lambda: "recalled" in [kind for _, kind, _ in b.facts(id_of(offer))])


# --- receivers ------------------------------------------------------------------------------


@asynccontextmanager
async def visiting(folder: Path) -> AsyncIterator[tuple[Workstation, Puppet, Path]]:
    """A workstation that sends to a puppet, whose script is set before anything is queued."""
    async with lab(folder) as it:
        puppet = Puppet()
        await puppet.listen(it.nursery)
        a = await it.add("a")
        await puppet.meet(a)
        study = it.source("study", {"x.dcm": 3 * MIB})
        yield a, puppet, study
        assert puppet.stats.bugs == 0


async def few_calls(puppet: Puppet, most: int, seconds: float = 1.5) -> None:
    """Check that a failing puppet is not called again and again."""
    await until(lambda: puppet.calls)
    with trio.move_on_after(seconds):
        await trio.sleep_forever()
    assert puppet.calls <= most


@pytest.mark.parametrize("kind", ["recall-late", "released", "sealed"])
async def test_nothing_is_sealed_there_by_the_word_of_the_receiver_alone(
    tmp_path: Path, kind: str
) -> None:
    async with visiting(tmp_path) as (a, puppet, study):

        async def claim(talk: Talk) -> None:
            await talk.exchange()
            offer = await talk.next()
            assert isinstance(offer, Offer)
            await talk.link.send(Answer("undecided"))
            parties = {"sender": a.key, "receiver": puppet.key, "root": bytes(32)}
            await talk.link.send(Facts([puppet.state(a, offer, kind, 1, **parties)], last=True))
            await talk.end()

        puppet.script = claim
        transfer = await a.send("puppet", study)
        await until(lambda: ("them", kind, True) in a.facts(transfer))
        assert a.state(transfer) is State.OFFERED


async def test_a_receiver_that_hangs_up_is_called_with_pauses(tmp_path: Path) -> None:
    async def hang_up(talk: Talk) -> None:
        await talk.link.close()

    async with visiting(tmp_path) as (a, puppet, study):
        puppet.script = hang_up
        transfer = await a.send("puppet", study)
        commits = a.station.store.commits
        await few_calls(puppet, 2)
        assert a.station.store.commits - commits < 60
        assert a.state(transfer) is State.WAITING


async def test_a_receiver_that_forgets_is_asked_with_pauses(tmp_path: Path) -> None:
    async def forget(talk: Talk) -> None:
        await talk.exchange()
        await talk.next()
        await talk.link.send(Answer("undecided"))
        await talk.link.close()

    async with visiting(tmp_path) as (a, puppet, study):
        puppet.script = forget
        await a.send("puppet", study)
        await few_calls(puppet, 2)


async def test_a_receiver_that_says_ended_and_not_how(tmp_path: Path) -> None:
    async def end(talk: Talk) -> None:
        await talk.exchange()
        await talk.next()
        await talk.link.send(Answer("ended"))
        await talk.next()

    async with visiting(tmp_path) as (a, puppet, study):
        puppet.script = end
        transfer = await a.send("puppet", study)
        await a.until(transfer, State.FAILED)
        assert puppet.calls == 1


async def take(talk: Talk) -> tuple[Offer, Commit]:
    """Receive all of a transfer, as it should be, up to the commit."""
    await talk.exchange()
    offer = await talk.next()
    assert isinstance(offer, Offer)
    await talk.link.send(Answer("accepted"))
    assert isinstance(await talk.next(), Page)
    await talk.link.send(Need([(0, -(-offer.length // MIB))], last=True))
    return offer, (await chunks(talk))[1]


async def chunks(talk: Talk) -> tuple[list[int], Commit]:
    """Receive what comes up to the next commit; return the numbers of the chunks, too."""
    taken: list[int] = []
    while not isinstance(item := await talk.next(), Commit):
        assert isinstance(item, ReceivedChunk)
        taken.append(item.header.index)
        item.release()
    return taken, item


def receipt(
    a: Workstation, puppet: Puppet, offer: Offer, root: bytes, kind: str = "sealed"
) -> Fact:
    """Return what a puppet states that has sealed a transfer of a workstation."""
    return puppet.state(a, offer, kind, 1, root=root, sender=a.key, receiver=puppet.key)


async def test_only_what_is_asked_for_once_more_is_sent_again(tmp_path: Path) -> None:
    again: list[int] = []
    async with visiting(tmp_path) as (a, puppet, study):

        async def ask(talk: Talk) -> None:
            offer, first = await take(talk)
            await talk.link.send(Need([(1, 2)], last=True))
            sent, second = await chunks(talk)
            again.extend(sent)
            assert first == second
            await talk.tell(receipt(a, puppet, offer, second.root))

        puppet.script = ask
        transfer = await a.send("puppet", study)
        await a.until(transfer, State.SEALED)
        assert again == [1]


async def test_a_receiver_that_gives_up_what_it_has_sealed(tmp_path: Path) -> None:
    """Its receipt came over another link: it is whole, whatever is said over this one."""
    async with visiting(tmp_path) as (a, puppet, study):

        async def give_up(talk: Talk) -> None:
            offer, commit = await take(talk)
            await said(puppet, a, receipt(a, puppet, offer, commit.root))
            await talk.link.send(Abort("failed", "given up"))
            await talk.end()

        puppet.script = give_up
        transfer = await a.send("puppet", study)
        await a.until(transfer, State.SEALED)
        await until(lambda: not a.sessions.connected(puppet.key), "the conversation to end")
        assert a.state(transfer) is State.SEALED


@pytest.mark.parametrize("kind", ["sealed", "released"])
async def test_a_receipt_for_something_else(tmp_path: Path, kind: str) -> None:
    async with visiting(tmp_path) as (a, puppet, study):

        async def lie(talk: Talk) -> None:
            offer, _ = await take(talk)
            await talk.tell(receipt(a, puppet, offer, bytes(32), kind))

        puppet.script = lie
        transfer = await a.send("puppet", study)
        await a.until(transfer, State.FAILED)
        row = a.row(transfer)
        assert row is not None
        assert row.error is not None
        assert row.error["code"] == "integrity"


async def claim(talk: Talk, a: Workstation, puppet: Puppet) -> None:
    """Say that a transfer is sealed of which nothing was sent."""
    await talk.exchange()
    offer = await talk.next()
    assert isinstance(offer, Offer)
    await talk.link.send(Facts([receipt(a, puppet, offer, bytes(32))], last=True))
    await talk.link.send(Answer("ended"))
    await talk.end()


async def test_a_receipt_for_what_was_never_sent(tmp_path: Path) -> None:
    """Who has not got the bytes cannot know the root: all is read to find out."""
    async with visiting(tmp_path) as (a, puppet, study):
        puppet.script = partial(claim, a=a, puppet=puppet)
        transfer = await a.send("puppet", study)
        await a.until(transfer, State.FAILED)
        assert ("seal", "unproved") in a.audit(transfer)
        assert ("seal", "ok") not in a.audit(transfer)


async def test_what_was_cancelled_while_a_receipt_was_proved_stays_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with visiting(tmp_path) as (a, puppet, study):
        puppet.script = partial(claim, a=a, puppet=puppet)
        a.cancelled_before(Sending._proved, monkeypatch)
        transfer = await a.send("puppet", study)
        await a.until(transfer, State.CANCELLED)
        await until(lambda: not a.sessions.connected(puppet.key), "the conversation to end")
        assert a.state(transfer) is State.CANCELLED


async def test_acknowledging_nothing_leads_to_no_endless_talk(tmp_path: Path) -> None:
    rounds = 0

    async def deaf(talk: Talk) -> None:
        nonlocal rounds
        while True:
            item = await talk.link.receive()
            if isinstance(item, Facts):
                if talk.link.conversation.state == "open":
                    await talk.link.send(Facts([], last=True))
                rounds += 1
                await talk.link.send(FactsAck(0))

    async with visiting(tmp_path) as (a, puppet, study):
        puppet.script = puppet.resting = deaf
        transfer = await a.send("puppet", study)
        await a.until(transfer, State.OFFERED)
        await a.desk.cancel(ANNA, transfer)
        await until(lambda: rounds > 1)
        with trio.move_on_after(1):
            await trio.sleep_forever()
        assert rounds < 10
