"""Stages of releases that could not be removed: clear files, perhaps, until their drive is back."""

import logging
from functools import partial

import msgspec
import trio

from medp2p.daemon import papers
from medp2p.daemon.station import Station
from medp2p.daemon.tending import Tasks
from medp2p.errors import SealBrokenError
from medp2p.vault import transfers
from medp2p.vault.release import sweep_stages
from medp2p.vault.store import Tx

log = logging.getLogger(__name__)

_STAGES, _LEFT = "stages", "left"
#: Targets that are swept at a time.
_AT_A_TIME = 4


class Left(msgspec.Struct, array_like=True, frozen=True):
    """A stage that could not be removed. Only appended to.

    Attributes:
        target: Folder in which it lies.
        name: Of the release.
        random: What the stage's name is made of.
        mount: What was mounted where the target lies.
    """

    target: bytes
    name: str
    random: bytes
    mount: bytes


def note_left(tx: Tx, station: Station, one: Left) -> None:
    """Keep that a stage is to be removed, however long its drive is away."""
    _keep_left(tx, station, [*_all_left(tx, station), one])


def _all_left(tx: Tx, station: Station) -> list[Left]:
    try:
        data = papers.get(tx, station, _STAGES, _LEFT)
        return [] if data is None else msgspec.msgpack.decode(data, type=list[Left])
    except (SealBrokenError, msgspec.MsgspecError):  # it must not keep releases from their end
        log.warning("the list of stages that were left is damaged")
        return []


def _keep_left(tx: Tx, station: Station, left: list[Left]) -> None:
    if left:  # under the spool key: removed also while the vault is locked
        papers.put_spool(tx, station, _STAGES, _LEFT, msgspec.msgpack.encode(left))
    else:
        transfers.delete_blobs(tx, _STAGES)


def _swept(tx: Tx, station: Station, one: Left) -> None:
    _keep_left(tx, station, [other for other in _all_left(tx, station) if other != one])


class Sweeper:
    """Removes what was left staged once its target can be written."""

    def __init__(self, station: Station, tasks: Tasks) -> None:
        self._station, self._tasks = station, tasks
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)

    async def look(self) -> None:
        """Try all that are known, each in a task of its own: a dead mount holds up no other."""
        for one in await self._station.read(_all_left, self._station):
            self._tasks.begin(one, "removal of a stage", partial(self._sweep, one))

    async def _sweep(self, one: Left) -> None:
        station = self._station
        act = partial(
            sweep_stages,
            one.target,
            one.name,
            station.files,
            random=one.random,
            mount=one.mount,
        )
        await trio.to_thread.run_sync(act, limiter=self._limiter)
        await station.write(_swept, station, one)
