"""What stands on the page at first sight, in one consistent view of the database, and quickly.

Everything is bounded: 10,000 transfers in the store cost no more than a few of them.
"""

import os
import shutil

from medp2p import __version__, limits
from medp2p.daemon import policy, recalling, releasing, targeting, views, withdrawing
from medp2p.daemon.qr import qr_code
from medp2p.daemon.station import Station
from medp2p.daemon.views import Json
from medp2p.identity import encode_peer_id, key_words
from medp2p.model import ENDED, WHOLE, Direction, State
from medp2p.vault import peers, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


def brief(tx: Tx, station: Station) -> Json:
    """Return what runs and who is there, in numbers."""
    return {
        "version": __version__,
        "name": station.config.name,
        "peer_id": encode_peer_id(station.keys.noise_public),
        "sign_key": station.keys.sign_public.hex(),
        "pid": os.getpid(),
        "home": str(station.home.path),
        "since": views.when(station.started_ms),
        "listen": station.addresses,
        "accepting": station.listening,
        "mdns": station.mdns,
        "vault": {
            "locked": station.vault.locked,
            "key_in_clear": not station.vault.locked,
            "free_bytes": shutil.disk_usage(station.home.vault).free,
        },
        "peers": [_presence(station, row) for row in peers.all(tx)],
        "undecided": transfers.count(tx, direction=Direction.IN, state=State.OFFERED),
        "destroy_asked": recalling.count_asked(tx),
        "expiring": transfers.count(tx, state=State.EXPIRING),
        "released": withdrawing.counts(tx, station),
        "alarms": len(station.ledger.alarms(tx, open_only=True)),
        "bugs": station.bugs,
    }


def status(tx: Tx, station: Station) -> Json:
    """Return the same with the transfers under way and those that are held."""
    under_way = [s for s in State if s not in ENDED and s not in WHOLE]
    return brief(tx, station) | {
        "transfers": [views.transfer(station, row) for row in transfers.list(tx, None, under_way)],
        "held": [views.transfer(station, row) for row in transfers.held(tx, limits.MAX_HELD_SHOWN)],
    }


def _presence(station: Station, row: peers.PeerRow) -> Json:
    seen = station.book.presence(row.noise_key)
    auto = policy.automatic(row.settings, station.now_ms())
    return {"name": row.name, "settings": dict(row.settings), "auto": auto, **seen}


def identity(station: Station) -> Json:
    """Return who this workstation is."""
    peer_id = encode_peer_id(station.keys.noise_public)
    return {
        "peer_id": peer_id,
        "name": station.config.name,
        "department": station.config.department,
        "place": station.config.place,
        "key_words": key_words(station.keys.noise_public),
        "vault_recipient": station.keys.vault_recipient,
        "qr": qr_code(peer_id),
    }


def overview(tx: Tx, station: Station, limit: int) -> Json:
    """Return everything at first sight, but for who is nearby and an open pairing.

    Args:
        tx: One read transaction, so that the parts fit together.
        station: Ours.
        limit: So many of each box, of released folders and of nothing else.
    """
    shown = _Shown(tx, station)
    waiting = _waiting(tx, station)
    return {
        "status": brief(tx, station),
        "identity": identity(station),
        "peers": [views.peer(station, row) for row in peers.all(tx)],
        "waiting": [shown.view(row) | {"why": why} for row, why in waiting],
        "active": [shown.view(row) for row in transfers.under_way(tx, limits.MAX_ACTIVE_SHOWN)],
        "inbox": [shown.view(row) for row in transfers.list(tx, Direction.IN, limit=limit)],
        "outbox": [shown.view(row) for row in transfers.list(tx, Direction.OUT, limit=limit)],
        "released": withdrawing.newest(tx, station, limit),
        "alarms": list(station.ledger.alarms(tx, open_only=True)),
        "audit": station.ledger.list(tx, limits.OVERVIEW_AUDIT, in_clear=True),
        "targets": targeting.listed(tx),
        "totals": {
            "in": transfers.count(tx, direction=Direction.IN),
            "out": transfers.count(tx, direction=Direction.OUT),
            "waiting": len(waiting)
            + max(0, transfers.count_waiting(tx) - limits.MAX_WAITING_SHOWN),
        },
    }


class _Shown:
    """Transfers with their papers, each opened once: one may stand in several lists."""

    def __init__(self, tx: Tx, station: Station) -> None:
        self._tx, self._station = tx, station
        self._views: dict[str, Json] = {}

    def view(self, row: TransferRow) -> Json:
        if row.id not in self._views:
            self._views[row.id] = views.with_papers(self._tx, self._station, row)
        return self._views[row.id]


def _waiting(tx: Tx, station: Station) -> list[tuple[TransferRow, str]]:
    """Return what needs a person, and for what: "decide", "held", "release" or "answer"."""
    found = []
    for row in transfers.waiting(tx, limits.MAX_WAITING_SHOWN):
        if recalling.is_asked(row):
            found.append((row, "answer"))
        elif row.state is State.OFFERED:
            found.append((row, "decide"))
        elif row.released_ms is not None:
            continue  # a person has let it pass
        elif row.held is not None:
            found.append((row, "held"))
        elif row.state is State.EXPIRING or not releasing.releases_itself(tx, station, row):
            found.append((row, "release"))
    return found
