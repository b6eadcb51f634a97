"""What a hello tells of a peer, and what in it is an alarm."""

from medp2p.daemon import undoing
from medp2p.daemon.station import Station
from medp2p.errors import KeyAlarmError
from medp2p.model import PEER
from medp2p.proto.messages import Hello
from medp2p.vault import log, meta, peers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx

#: Kind of the alarm; while it is open nothing is delivered.
CLONED = "cloned-identity"
#: last_seen is written at most so often: presence lives in memory, this is for "away since".
_SEEN_STEP_MS = 60_000


def note(
    tx: Tx, station: Station, peer: PeerRow, hello: Hello, version: int
) -> KeyAlarmError | None:
    """Keep what a peer told about itself; return an alarm where its signing key changed.

    The pinned signing key is never updated: a change is an alarm, audited.
    """
    if peer.sign_key is not None and peer.sign_key != hello.sign_key:
        _alarm(tx, station, peer, "key-change", "its signing key differs from the pinned one")
        return KeyAlarmError(f"{peer.name} signs with another key than the pinned one")
    now = station.now_ms()
    told = {
        "sign_key": hello.sign_key,
        "told_name": hello.name,
        "told_department": hello.department,
        "told_place": hello.place,
        "software": hello.software,
        "highest_version": max(peer.highest_version, version),
        "last_run": hello.run,
    }
    changes: dict[str, object] = {
        name: value for name, value in told.items() if getattr(peer, name) != value
    }
    if changes or peer.last_seen_ms is None or now - peer.last_seen_ms > _SEEN_STEP_MS:
        peers.update(tx, peer.name, last_seen_ms=now, **changes)
    undoing.note_policy(tx, peer.noise_key, hello.release_policy)
    told_features = " ".join(sorted(hello.features))
    if meta.get(tx, _features_key(peer.noise_key)) != told_features:
        meta.put(tx, _features_key(peer.noise_key), told_features)
    return None


def features(tx: Tx, peer_key: bytes) -> frozenset[str]:
    """Return the features that a peer listed when we last met it."""
    return frozenset((meta.get(tx, _features_key(peer_key)) or "").split())


def _features_key(peer_key: bytes) -> str:
    return f"features:{peer_key.hex()}"


def note_clone(tx: Tx, station: Station, peer: PeerRow) -> None:
    """Two daemons that run at the same time answered as this peer."""
    _alarm(tx, station, peer, CLONED, "two running daemons share its identity")


def refuse_clones(tx: Tx, peer: PeerRow) -> None:
    """Let nothing pass to or from an identity that runs twice, until a person has looked.

    Raises:
        KeyAlarmError: Its alarm is open.
    """
    waiting = log.alarms(tx, unacknowledged_only=True)
    if any(alarm.kind == CLONED and alarm.peer == peer.name for alarm in waiting):
        raise KeyAlarmError(
            f"two running daemons share the identity of {peer.name}",
            hint="stop one of them, then acknowledge the alarm",
        )


def note_other(tx: Tx, station: Station, peer: PeerRow, address: str) -> None:
    """Somebody with another key answers where this peer should."""
    text = f"another workstation answers at {address}, where {peer.name} should"
    _alarm(tx, station, peer, "key-alarm", text)


def _alarm(tx: Tx, station: Station, peer: PeerRow, kind: str, text: str) -> None:
    station.ledger.alarm(
        tx, kind=kind, text=text, peer=peer.name, peer_key=peer.noise_key, actor=PEER
    )
