"""Releases that a rule carries out: what a person decided once for all transfers of a peer.

A release by rule is the same act as one by hand, by the actor "rule". One that fails is held
with its reason until a person looks; it is not tried again by itself.
"""

import json
import logging
import os
from collections.abc import Callable

from medp2p.daemon import inbox
from medp2p.daemon.station import RULE, Station
from medp2p.errors import MedP2PError
from medp2p.model import Direction, State
from medp2p.vault import meta, peers, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)


async def run_rules(station: Station, told: Callable[[bytes], None]) -> None:
    """Release what a rule says, as soon as it is sealed; never returns.

    Args:
        station: Ours.
        told: Called with the key of a peer for whom there are new facts.
    """
    while True:
        for transfer, target in await station.read(_due):
            try:
                row, _ = await inbox.release(station, RULE, transfer, target)
            except MedP2PError as error:
                log.warning("release of %s by rule is held: %s", transfer, error.code)
                await station.write(_hold, transfer, error)
                await station.touch(transfer)
            else:
                told(row.peer_key)
        await station.release_bell.wait()


def _due(tx: Tx) -> list[tuple[str, bytes]]:
    """Return (transfer, folder) of what waits for a release by rule."""
    due = []
    for row in transfers.list(tx, Direction.IN, [State.SEALED]):
        folder = _folder(tx, row)
        if folder is not None and row.held is None and row.released_ms is None:
            due.append((row.id, folder))
    return due


def _folder(tx: Tx, row: TransferRow) -> bytes | None:
    peer = peers.by_key(tx, row.peer_key)
    rule = "manual" if peer is None else peer.settings.get("release", "manual")
    kind, _, folder = rule.partition(":")
    since = int(meta.get(tx, _since_key(row.peer_key)) or 0)
    if kind != "folder" or row.sealed_ms is None or row.sealed_ms < since:
        return None
    return os.fsencode(folder)


def note_rule(tx: Tx, peer_key: bytes, now_ms: int) -> None:
    """Remember when a rule was made: what was sealed before it waits for a person."""
    meta.put(tx, _since_key(peer_key), str(now_ms))


def _since_key(peer_key: bytes) -> str:
    return f"release-since:{peer_key.hex()}"


def _hold(tx: Tx, transfer: str, error: MedP2PError) -> None:
    held = {"code": error.code, "text": "the release by rule failed"}
    transfers.update(tx, transfer, held=json.dumps(held))
