"""A workstation in a process of its own that ends at a chosen durable step, as by kill -9.

The processes are forked from a server that has imported everything and runs no thread.
"""

import multiprocessing
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from medp2p.daemon.home import Home
from tests.helpers.stations import ANNA, Lab, Workstation, until

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.helpers.crashing"])
#: Exit status of a process that came to its step.
_CRASHED = 9
_LONGEST_SECONDS = 30.0

Act = Callable[[Workstation], Awaitable[None]]


class DieAt:
    """A step that ends the process at the n-th time of one name."""

    def __init__(self, name: str, times: int) -> None:
        self._name, self._left = name, times

    def __call__(self, step: str) -> None:
        if step == self._name:
            self._left -= 1
            if self._left == 0:
                os._exit(_CRASHED)


async def crash(lab: Lab, it: Workstation, act: Act, step: str = "", times: int = 1) -> None:
    """Stop a workstation, and run its daemon elsewhere until that dies.

    The caller starts it again.

    Args:
        lab: Of all workstations; the others call this one without pauses.
        it: Its home and port are used.
        act: What is done there once the daemon runs; of this module.
        step: Name of the step at which it dies; "" leaves that to act.
        times: At which time it dies.
    """
    await it.stop()
    args = (it.home.path, it.port, step, times, act)
    process = _SERVER.Process(target=_be, args=args, daemon=True)
    process.start()
    try:
        with trio.fail_after(_LONGEST_SECONDS):
            while process.is_alive():
                lab.wake()
                await trio.sleep(0.02)
        assert process.exitcode == _CRASHED, (step, process.exitcode)
    finally:
        process.kill()
        process.join()
        process.close()


def _be(home: Path, port: int, step: str, times: int, act: Act) -> None:
    async def live() -> None:
        it = Workstation(Home(home), step=DieAt(step, times), port=port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.run)
            await it.up.wait()
            await act(it)
            await trio.sleep_forever()

    trio.run(live)


# --- what is done there -------------------------------------------------------------------


async def nothing(it: Workstation) -> None:
    """Wait for the peer."""
    del it
    await trio.lowlevel.checkpoint()


def accepting(transfer: str) -> Act:
    """Take an offer."""
    return partial(_accept, transfer)


async def _accept(transfer: str, it: Workstation) -> None:
    await it.desk.accept(ANNA, transfer)


def discarding(transfer: str) -> Act:
    """Erase a transfer."""
    return partial(_discard, transfer)


async def _discard(transfer: str, it: Workstation) -> None:
    await it.desk.discard(ANNA, transfer)


def releasing(transfer: str, target: Path) -> Act:
    """Release a transfer."""
    return partial(_release, transfer, target)


async def _release(transfer: str, target: Path, it: Workstation) -> None:
    await it.released(transfer, target)


def dying_when_sent(count: int) -> Act:
    """Die once so many bytes have been sent."""
    return partial(_die_when_sent, count)


async def _die_when_sent(count: int, it: Workstation) -> None:
    it.wire.hold_at = count
    await until(lambda: it.wire.sent >= count)
    os._exit(_CRASHED)
