"""Keeping the long tasks of the daemon going, whatever one round of them runs into.

A full disk, a damaged row or a bug ends a round, is logged and counted, and the task begins
again after a pause; nothing of it reaches the root of the tree.
"""

from collections.abc import Awaitable, Callable, Hashable

import trio

from medp2p import limits
from medp2p.daemon.station import Station
from medp2p.net.guard import guard


async def tend(station: Station, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run work for ever: again after each failure, with a growing pause.

    Returns when the work returns by itself.

    Args:
        station: Counts what nobody expected.
        name: For the log.
        work: Begins anew at each call.
    """
    pause = limits.TEND_FIRST_SECONDS
    while True:
        started, done = trio.current_time(), False

        async def round_() -> None:
            nonlocal done
            await work()
            done = True

        await guard(name, round_, station.count_bug)
        if done:
            return
        if trio.current_time() - started > limits.TEND_LAST_SECONDS:
            pause = limits.TEND_FIRST_SECONDS
        await trio.sleep(pause)
        pause = min(2 * pause, limits.TEND_LAST_SECONDS)


class Tasks:
    """Tasks of which each thing has one at a time; what fails in one ends no other."""

    def __init__(self, nursery: trio.Nursery, on_bug: Callable[[], None]) -> None:
        self._nursery, self._on_bug = nursery, on_bug
        self._busy: set[Hashable] = set()

    def begin(self, thing: Hashable, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Begin work for a thing, unless some is under way for it.

        Args:
            thing: Whatever tells it from others.
            what: For the log; names no file.
            work: Its errors are logged.
        """
        if thing not in self._busy:
            self._busy.add(thing)
            self._nursery.start_soon(self._run, thing, what, work)

    async def _run(self, thing: Hashable, what: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await guard(what, work, self._on_bug)
        finally:
            self._busy.discard(thing)
