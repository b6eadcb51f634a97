"""Pinning the key that a pairing code has proved. One place, one transaction, one record.

A pin is only ever added or confirmed here: a name keeps its key, a key keeps its name, and a
signing key that differs from the pinned one is an alarm.
"""

from dataclasses import dataclass

from medp2p import limits
from medp2p.daemon.ledger import Ledger
from medp2p.errors import KeyAlarmError
from medp2p.identity import derive_peer_name
from medp2p.model import Actor
from medp2p.proto.messages import PairDone
from medp2p.vault import peers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a finished pairing run has shown.

    Attributes:
        noise_key: Key of the channel over which the words were proved.
        told: What the other side says of itself; also its signing key.
        version: Protocol version spoken.
        address: "host:port" to keep for it, or None where mDNS will do.
    """

    noise_key: bytes
    told: PairDone
    version: int
    address: str | None


@dataclass(frozen=True, slots=True)
class Pinned:
    """How a pin came out.

    Attributes:
        name: Our name for the peer.
        taken: The name that it would have had, if another peer has that.
        alarm: Set if nothing was pinned; already recorded, so commit and then raise it.
    """

    name: str
    taken: str | None = None
    alarm: KeyAlarmError | None = None


def pin_by_code(tx: Tx, ledger: Ledger, actor: Actor, proof: Proof, now_ms: int) -> Pinned:
    """Pin a key, or confirm its pin, with the audit record.

    Args:
        tx: Write transaction; to be committed in any case.
        ledger: For the record and the alarm.
        actor: Who showed or typed the code; counts as having verified the key.
        proof: Of the pairing run.
        now_ms: Milliseconds since 1970 UTC.
    """
    known = peers.by_key(tx, proof.noise_key)
    if known is not None and known.sign_key not in (None, proof.told.sign_key):
        return _alarm(tx, ledger, actor, known)
    fields: dict[str, object] = {
        "sign_key": proof.told.sign_key,
        "source": "code",
        "verified_ms": now_ms,
        "verified_by": actor.name,
        "told_name": proof.told.name,
        "told_department": proof.told.department,
        "told_place": proof.told.place,
        "highest_version": max(proof.version, 0 if known is None else known.highest_version),
        "addresses": _with_address(known, proof.address),
    }
    detail: dict[str, object] = {"source": "code"}
    if known is not None:
        peers.update(tx, known.name, **fields)
        pinned = Pinned(known.name)
        detail["again"] = True
    else:
        pinned = _add(tx, proof, now_ms, fields)
        if pinned.taken is not None:
            detail["name_taken"] = pinned.taken
    ledger.record(
        tx, event="pair", actor=actor, peer=pinned.name, peer_key=proof.noise_key, detail=detail
    )
    return pinned


def _add(tx: Tx, proof: Proof, now_ms: int, fields: dict[str, object]) -> Pinned:
    names = {row.name for row in peers.all(tx)}
    wanted = derive_peer_name(proof.told.name, ())
    name = derive_peer_name(proof.told.name, names)
    row = PeerRow(name=name, noise_key=proof.noise_key, created_ms=now_ms, **fields)  # type: ignore[arg-type]
    peers.add(tx, row)
    return Pinned(name, taken=None if name == wanted else wanted)


def _alarm(tx: Tx, ledger: Ledger, actor: Actor, known: PeerRow) -> Pinned:
    text = f"{known.name} showed another signing key than the pinned one while pairing"
    ledger.alarm(
        tx, kind="key-alarm", text=text, peer=known.name, peer_key=known.noise_key, actor=actor
    )
    hint = f"nothing was changed; if its keys were made anew, `peers remove {known.name}` first"
    return Pinned(known.name, alarm=KeyAlarmError(text, hint=hint))


def _with_address(known: PeerRow | None, address: str | None) -> tuple[str, ...]:
    before = known.addresses if known is not None else ()
    wanted = (*before, address) if address is not None else before
    return tuple(dict.fromkeys(wanted))[: limits.MAX_ADDRESSES_PER_PEER]
