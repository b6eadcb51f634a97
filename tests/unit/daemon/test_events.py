import gc

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from medp2p import limits
from medp2p.daemon.events import Events, Subscription


async def drain(subscription: Subscription) -> list[dict[str, object]]:
    subscription.close()
    return [event async for event in subscription]


async def test_every_subscriber_gets_events_from_its_subscription_on() -> None:
    events = Events()
    events.publish({"event": "status", "n": 0})
    with events.subscribe() as first, events.subscribe() as second:
        events.publish({"event": "status", "n": 1})
        assert await anext(first) == {"event": "status", "n": 1}
        assert await anext(second) == {"event": "status", "n": 1}


async def test_newer_events_about_one_thing_replace_older_ones() -> None:
    events = Events()
    subscription = events.subscribe()
    for done in range(1000):
        events.publish({"event": "transfer", "id": "a", "done": done})
        events.publish({"event": "transfer", "transfer": {"id": "b", "done": done}})
        events.publish({"event": "pairing", "pairing": {"state": str(done)}})
    events.publish({"event": "peer", "name": "a"})
    assert await drain(subscription) == [
        {"event": "transfer", "id": "a", "done": 999},
        {"event": "transfer", "transfer": {"id": "b", "done": 999}},
        {"event": "pairing", "pairing": {"state": "999"}},
        {"event": "peer", "name": "a"},
    ]


async def test_slow_subscriber_is_told_how_many_it_missed_and_holds_others_up_never() -> None:
    events = Events()
    slow = events.subscribe()
    for number in range(limits.MAX_PENDING_EVENTS + 5):
        events.publish({"event": "transfer", "id": str(number)})
    got = await drain(slow)
    assert got[0] == {"event": "missed", "count": 5}
    assert got[1] == {"event": "transfer", "id": "5"}
    assert len(got) == limits.MAX_PENDING_EVENTS + 1


async def test_waiting_subscriber_wakes_and_ends_when_closed() -> None:
    events = Events()
    got: list[dict[str, object]] = []

    async def listen(subscription: Subscription) -> None:
        got.extend([event async for event in subscription])

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            subscription = events.subscribe()
            nursery.start_soon(listen, subscription)
            await wait_all_tasks_blocked()
            events.publish({"event": "status"})
            await wait_all_tasks_blocked()
            subscription.close()
    assert got == [{"event": "status"}]
    events.publish({"event": "status"})
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_cancelled_wait_loses_nothing() -> None:
    events = Events()
    subscription = events.subscribe()
    with trio.move_on_after(0):
        await anext(subscription)
    events.publish({"event": "status"})
    assert await anext(subscription) == {"event": "status"}


def test_forgotten_subscription_is_gone() -> None:
    events = Events()
    subscription = events.subscribe()
    assert len(events._subscribers) == 1
    del subscription
    gc.collect()
    assert len(events._subscribers) == 0


async def test_a_batch_is_all_that_waits() -> None:
    events = Events()
    with events.subscribe() as slow:
        for number in range(3):
            events.publish({"event": "transfer", "id": str(number % 2), "n": number})
        assert [event["n"] for event in await slow.batch()] == [2, 1]
        events.publish({"event": "peer", "name": "a"})
        assert await slow.batch() == [{"event": "peer", "name": "a"}]
    assert await slow.batch() == []


async def test_a_batch_tells_what_was_missed() -> None:
    events = Events()
    slow = events.subscribe()
    for number in range(limits.MAX_PENDING_EVENTS + 5):
        events.publish({"event": "transfer", "id": str(number)})
    batch = await slow.batch()
    assert batch[0] == {"event": "missed", "count": 5}
    assert len(batch) == limits.MAX_PENDING_EVENTS + 1
    slow.close()
