"""Named targets: made, listed and removed by people; each change is audited."""

import os
import re

import trio

from medp2p.daemon import policy
from medp2p.daemon.station import Station
from medp2p.errors import UsageError
from medp2p.model import Actor
from medp2p.text import path_text, rfc3339
from medp2p.vault import targets
from medp2p.vault.store import Tx
from medp2p.vault.targets import TargetRow

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,62}\Z")

Json = dict[str, object]


async def add(station: Station, actor: Actor, name: str, target: str) -> Json:
    """Give a place a name.

    Raises:
        UsageError: Name or place cannot be used.
        ReleaseError: The place lies in the home.
        ConflictError: The name is taken.
    """
    if not _NAME.match(name):
        raise UsageError(
            "a target has a name of 1-63 letters a-z, digits, '.', '_' or '-', a letter first"
        )
    place = policy.parse_setting("release", target)
    folder = policy.folder_of(place)
    if folder is None:
        raise UsageError("a target is folder:DIR")
    await trio.to_thread.run_sync(station.home.refuse_clear, folder)
    return await station.write(_add, station, actor, name, place)


def _add(tx: Tx, station: Station, actor: Actor, name: str, place: str) -> Json:
    row = TargetRow(
        name=name,
        target=place,
        created_ms=station.now_ms(),
        created_by=actor.name,
    )
    targets.add(tx, row)
    detail: dict[str, object] = {"name": name, "kind": "folder"}
    station.ledger.record(tx, event="target-add", actor=actor, detail=detail)
    return _view(row)


def remove(tx: Tx, station: Station, actor: Actor, name: str) -> Json:
    """Take a name away; what was to be released there is held.

    Raises:
        NotFoundError: There is none.
    """
    row = targets.remove(tx, name)
    station.ledger.record(tx, event="target-remove", actor=actor, detail={"name": name})
    return _view(row)


def listed(tx: Tx) -> list[Json]:
    """Return all targets: ``name, target, created, created_by``."""
    return [_view(row) for row in targets.all(tx)]


def _view(row: TargetRow) -> Json:
    return {
        "name": row.name,
        "target": path_text(os.fsencode(row.target)),
        "created": rfc3339(row.created_ms),
        "created_by": row.created_by,
    }
