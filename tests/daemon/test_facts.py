"""Facts over several links of one peer at the same time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from medp2p.model import State
from medp2p.proto.messages import Facts, FactsAck, Offer
from tests.helpers.puppets import Parcel, Puppet, Talk, id_of, number_of
from tests.helpers.stations import Workstation, lab, until


@asynccontextmanager
async def receipt_waits(folder: Path) -> AsyncIterator[tuple[Workstation, Puppet, Talk, Offer]]:
    """A workstation that has told a receipt over a link of a puppet, which has not answered."""
    async with lab(folder) as it:
        b, puppet, parcel = await it.add("b"), Puppet(), Parcel.of(1000)
        await puppet.meet(b)
        offer = puppet.offer(b, parcel)
        async with puppet.asked(b, offer, parcel) as talk:
            await talk.chunks(parcel, range(len(parcel.chunks)))
            await talk.commit(parcel.root(offer))
            await b.until_checked(id_of(offer))
            assert await numbers(talk) == [1]
            yield b, puppet, talk, offer


async def numbers(talk: Talk) -> list[int]:
    """Return the numbers of the next facts that are told over a link."""
    while not isinstance(item := await talk.link.receive(), Facts):
        pass
    return [number_of([fact]) for fact in item.facts]


async def goes_on(talk: Talk) -> None:
    """Check that a link carries facts; those whose acknowledgement crossed may come again."""
    await talk.link.send(Facts([], last=True))
    while not isinstance(item := await talk.link.receive(), FactsAck):
        assert isinstance(item, Facts)


async def acknowledged(b: Workstation, offer: Offer) -> None:
    """Wait until all that was stated about a transfer is acknowledged."""
    await until(lambda: all(acked for _, _, acked in b.facts(id_of(offer))))


async def test_who_acknowledges_over_one_link_may_do_so_over_another_too(tmp_path: Path) -> None:
    async with receipt_waits(tmp_path) as (b, puppet, first, offer), AsyncExitStack() as stack:
        later = [await stack.enter_async_context(puppet.call(b, "facts"))]
        later.append(await stack.enter_async_context(puppet.call(b, "transfer", bytes(16))))
        for talk in later:
            assert await numbers(talk) == [1]
        await later[0].link.send(FactsAck(1))
        await acknowledged(b, offer)
        for talk in (first, later[1]):
            await talk.link.send(FactsAck(1))
        for talk in (first, *later):
            await goes_on(talk)


@pytest.mark.parametrize("crossing", [False, True])
async def test_what_came_up_meanwhile_is_told_over_each_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crossing: bool
) -> None:
    """Also over one whose acknowledgement says nothing new, or is not yet looked at."""
    async with receipt_waits(tmp_path) as (b, puppet, first, offer):
        async with puppet.call(b, "facts") as second:
            await second.exchange()
        await acknowledged(b, offer)
        await b.released(id_of(offer), tmp_path / "out")
        (session,) = b.sessions._held.values()
        take = session.facts._acknowledged

        async def after_the_next(answer: FactsAck) -> bool:
            monkeypatch.setattr(session.facts, "_acknowledged", take)
            assert await session.facts.deliver()
            return await take(answer)

        if crossing:
            monkeypatch.setattr(session.facts, "_acknowledged", after_the_next)
        await first.link.send(FactsAck(1))
        assert await numbers(first) == [2, 3]
        await first.link.send(FactsAck(3))
        await acknowledged(b, offer)
        await goes_on(first)


async def test_two_who_have_something_to_tell_over_one_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told is one batch, also if both have waited for room, and the link goes on."""
    async with receipt_waits(tmp_path) as (b, _, first, offer):
        (session,) = b.sessions._held.values()
        await first.link.send(FactsAck(1))
        await acknowledged(b, offer)
        await b.released(id_of(offer), tmp_path / "out")
        monkeypatch.setattr(session.link._queue, "wait_room", partial(wait_all_tasks_blocked, 0.1))
        told: list[bool] = []

        async def tell() -> None:
            told.append(await session.facts.deliver())

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(tell)
        assert sorted(told) == [False, True]
        assert await numbers(first) == [2, 3]
        await first.link.send(FactsAck(3))
        await acknowledged(b, offer)
        await goes_on(first)


@pytest.mark.parametrize("quicker", [False, True])
async def test_an_acknowledgement_of_nothing_that_was_told_ends_the_link(
    tmp_path: Path, quicker: bool
) -> None:
    """During the exchange of facts and after it, whatever another link has acknowledged."""
    async with receipt_waits(tmp_path) as (b, puppet, first, offer):
        async with puppet.call(b, "facts") as second:
            assert await numbers(second) == [1]
            if quicker:
                async with puppet.call(b, "transfer", bytes(16)) as third:
                    await third.exchange()
                await acknowledged(b, offer)
            for talk in (first, second):
                await talk.link.send(FactsAck(0))
                assert await talk.end() is None
        assert b.state(id_of(offer)) is State.SEALED
        assert all(acked == quicker for _, _, acked in b.facts(id_of(offer)))
