"""The event stream inside the daemon: anyone may publish, each subscriber gets the newest.

Events about one thing replace each other while a subscriber is busy: who is slow misses steps,
never the latest state. So an event must tell a state ("this is so now"), not a difference.
"""

import weakref
from collections import OrderedDict

import trio

from medp2p import limits
from medp2p.closing import Closing

#: What says what an event is about, beside its kind; looked for in the object that the event
#: carries under its kind, or in the event itself.
_SUBJECT = ("id", "scan", "name")


class Subscription(Closing):
    """One subscriber's view: an async iterator over events, oldest first.

    Usable in a ``with`` block, which ends it; one that is merely forgotten ends by itself.

    Attributes:
        watches: See Events.subscribe.
    """

    def __init__(self, *, watches: bool = True) -> None:
        self.watches = watches
        self._pending: OrderedDict[tuple[object, ...], dict[str, object]] = OrderedDict()
        self._wake = trio.Event()
        self._closed = False
        self._missed = 0

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> dict[str, object]:
        """Wait for the next event; {"event": "missed", "count": n} tells that some were lost.

        Cancellation: Nothing is consumed.
        """
        await self._some()
        if (missed := self._take_missed()) is not None:
            return missed
        if self._pending:
            return self._pending.popitem(last=False)[1]
        raise StopAsyncIteration

    async def batch(self) -> list[dict[str, object]]:
        """Wait for the next events and return all that wait; [] once closed.

        Cancellation: Nothing is consumed.
        """
        await self._some()
        return self.waiting()

    def waiting(self) -> list[dict[str, object]]:
        """Return all events that wait, without waiting for one."""
        missed = self._take_missed()
        found = list(self._pending.values())
        self._pending.clear()
        return found if missed is None else [missed, *found]

    async def _some(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self._pending and not self._missed and not self._closed:
            self._wake = trio.Event()
            await self._wake.wait()

    def _take_missed(self) -> dict[str, object] | None:
        if not self._missed:
            return None
        count, self._missed = self._missed, 0
        return {"event": "missed", "count": count}

    @property
    def closed(self) -> bool:
        """Whether it takes no more events."""
        return self._closed

    def close(self) -> None:
        """Take no more events; the iterator ends after those that wait."""
        self._closed = True
        self._wake.set()

    def put_nowait(self, event: dict[str, object]) -> None:
        """Add an event, in place of an older one about the same thing; drop the oldest if full."""
        if self._closed:
            return
        self._pending[_subject(event)] = event
        if len(self._pending) > limits.MAX_PENDING_EVENTS:
            self._pending.popitem(last=False)
            self._missed += 1
        self._wake.set()


class Events:
    """The board on which the daemon publishes; lives in the trio thread."""

    def __init__(self) -> None:
        self._subscribers: weakref.WeakSet[Subscription] = weakref.WeakSet()

    @property
    def watched(self) -> bool:
        """Whether anybody would see every step of what goes on."""
        return any(one.watches and not one.closed for one in tuple(self._subscribers))

    def publish(self, event: dict[str, object]) -> None:
        """Tell all subscribers; never waits.

        Args:
            event: JSON-able, with "event" as its kind; nobody changes it afterwards.
        """
        for subscriber in tuple(self._subscribers):
            subscriber.put_nowait(event)

    def subscribe(self, *, watches: bool = True) -> Subscription:
        """Return an iterator over all events published from now on.

        Args:
            watches: Whether it is for somebody who wants progress too.
        """
        subscription = Subscription(watches=watches)
        self._subscribers.add(subscription)
        return subscription


def _subject(event: dict[str, object]) -> tuple[object, ...]:
    """Return what two events have in common when the newer one replaces the older one."""
    kind = event.get("event")
    about = event.get(str(kind))
    if not isinstance(about, dict):
        about = event
    return (kind, *(about.get(key) for key in _SUBJECT))
