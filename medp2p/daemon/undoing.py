"""The grace time: a confirmed transfer stays here for some seconds, and can be taken back.

It is counted from when the transfer was queued. Somebody outside, and a peer that releases
without a person, gets some seconds unless the peer's setting says otherwise.
"""

from medp2p.daemon import policy
from medp2p.daemon.station import Station
from medp2p.model import Reason, State
from medp2p.vault import meta
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

CODE = "undo"
#: In these states the receiver may not have heard of a transfer.
_UNTOLD = (State.QUEUED, State.WAITING)


def note_policy(tx: Tx, peer_key: bytes, release_policy: str) -> None:
    """Remember what a peer told about its release rule for us."""
    value = release_policy if release_policy == "automatic" else None
    if meta.get(tx, _key(peer_key)) != value:
        meta.put(tx, _key(peer_key), value)


def _key(peer_key: bytes) -> str:
    return f"release-policy:{peer_key.hex()}"


def undo_seconds(station: Station, peer: PeerRow) -> int:
    """Return how long an offer to this peer stays here. Blocking."""
    with station.store.read() as tx:
        automatic = meta.get(tx, _key(peer.noise_key)) == "automatic"
    return policy.undo_seconds(peer.settings, automatic=automatic)


def reason(seconds: int, now_ms: int) -> Reason | None:
    """Return what is shown meanwhile."""
    if not seconds:
        return None
    text = f"leaves {seconds} s after it was queued; `medp2p outbox cancel` takes it back"
    return Reason(CODE, text, now_ms)


def remaining_seconds(station: Station, peer: PeerRow, row: TransferRow) -> float:
    """Return how long a transfer must still stay here. Blocking.

    A clock that was set back makes it the whole time again, once: the caller counts on by its
    own clock.
    """
    if row.state not in _UNTOLD:
        return 0.0
    seconds = undo_seconds(station, peer)
    passed = (station.now_ms() - row.created_ms) / 1000
    return min(max(seconds - passed, 0.0), float(seconds))
