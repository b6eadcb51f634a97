"""What becomes of an offer: known or new, refused, kept, asked about; and whether it fits."""

import shutil
from dataclasses import dataclass

import msgspec

from medp2p import limits
from medp2p.daemon import again, clock, endings, papers, policy
from medp2p.daemon.station import Station
from medp2p.errors import NoSpaceError, RemoteProtocolError
from medp2p.layout import LAYOUT_VERSION, Layout, check_manifest_untrusted
from medp2p.manifest import Entry, Kind
from medp2p.model import PEER, RULE, Direction, Priority, State, transfer_id_from_bytes
from medp2p.proto.binding import bound_digest
from medp2p.proto.messages import Offer, Wait
from medp2p.text import format_bytes
from medp2p.vault import age, peers, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to answer to an offer.

    Attributes:
        transfer: Its id, when it is kept.
        refused: Code of the refusal, or None.
        full: Too many undecided offers of this peer; it comes back.
    """

    transfer: str = ""
    refused: str | None = None
    full: bool = False


def offer_of(station: Station, peer: PeerRow, offer: Offer, *, outgoing: bool) -> bytes:
    """Return the digest that binds an offer between this workstation and a peer."""
    mine, theirs = station.keys.noise_public, peer.noise_key
    sender, receiver = (mine, theirs) if outgoing else (theirs, mine)
    return bound_digest(offer, sender=sender, receiver=receiver)


def bind(offer: Offer, bound: bytes) -> Offer:
    """Return the offer with the digest that binds it."""
    return msgspec.structs.replace(offer, offer=bound)


def consider(tx: Tx, station: Station, peer: PeerRow, offer: Offer) -> Verdict:
    """Decide what an offer is, and keep a new one; all in one transaction.

    A known id with another offer, or from another peer, is refused and audited.
    """
    transfer = transfer_id_from_bytes(offer.transfer)
    if offer.layout != LAYOUT_VERSION or offer.offer != offer_of(
        station, peer, offer, outgoing=False
    ):
        return _refuse(tx, station, peer, transfer, "offer-mismatch")
    known = transfers.maybe(tx, transfer)
    if known is not None:
        same = known.peer_key == peer.noise_key and known.offer == offer.offer
        if not same or known.direction is not Direction.IN:
            return _refuse(tx, station, peer, transfer, "offer-mismatch")
        return Verdict(transfer=transfer)
    now = peers.by_key(tx, peer.noise_key)  # a session may be older than the settings
    if now is None:
        return _refuse(tx, station, peer, transfer, "blocked")
    # A million folders hold no bytes and take gigabytes of headers all the same.
    slim = offer.length <= offer.file_bytes + limits.HEADERS_FREE_BYTES
    size = offer.file_bytes if slim else offer.length
    decision = policy.decide(
        now.settings,
        size,
        offer.files,
        now_ms=station.now_ms(),
        clock_behind=clock.is_behind(tx, station.now_ms()),
    )
    if decision == "block":
        return _refuse(tx, station, peer, transfer, "blocked")
    if decision == "ask" and _is_full(tx, peer):
        return Verdict(full=True)
    _keep(tx, station, peer, transfer, offer, accepted=decision == "accept")
    return Verdict(transfer=transfer)


def _is_full(tx: Tx, peer: PeerRow) -> bool:
    most = limits.MAX_OFFERS_PER_PEER
    waiting = transfers.list(tx, Direction.IN, [State.OFFERED], peer.noise_key, most)
    return len(waiting) >= most


def _refuse(tx: Tx, station: Station, peer: PeerRow, transfer: str, code: str) -> Verdict:
    station.ledger.record(
        tx,
        event="offer",
        actor=RULE,
        peer=peer.name,
        peer_key=peer.noise_key,
        transfer=transfer,
        outcome="refused",
        detail={"code": code},
    )
    return Verdict(refused=code)


def _keep(
    tx: Tx, station: Station, peer: PeerRow, transfer: str, offer: Offer, *, accepted: bool
) -> None:
    now = station.now_ms()
    row = TransferRow(
        id=transfer,
        direction=Direction.IN,
        peer_key=peer.noise_key,
        peer_name=peer.name,
        state=State.ACCEPTED if accepted else State.OFFERED,
        priority=Priority(offer.priority),
        entries=offer.entries,
        files=offer.files,
        file_bytes=offer.file_bytes,
        length=offer.length,
        offer=offer.offer,
        created_ms=now,
        updated_ms=now,
        decided_ms=now if accepted else None,
    )
    transfers.add(tx, row)
    papers.put_summary(tx, station, transfer, offer)
    again.note(tx, station, row, offer.label)
    size: dict[str, object] = {"files": offer.files, "bytes": offer.file_bytes}
    endings.record(tx, station, row, "offer", PEER, detail=size)
    if accepted:
        endings.record(tx, station, row, "accept", RULE, detail={"policy": "auto"})


def agreed(offer: Offer, entries: list[Entry], manifest: bytes) -> Layout:
    """Check a manifest against the offer that was accepted; return its geometry.

    Raises:
        RemoteProtocolError: It is not the manifest that was offered.
    """
    if manifest != offer.manifest or len(entries) != offer.entries:
        raise RemoteProtocolError("the manifest is not the one offered")
    check_manifest_untrusted(entries)
    geometry = Layout(entries)
    files = sum(entry.kind is Kind.FILE for entry in entries)
    sizes = sum(entry.size for entry in entries)
    if (geometry.size, files, sizes) != (offer.length, offer.files, offer.file_bytes):
        raise RemoteProtocolError("the manifest does not add up to what was offered")
    return geometry


# --- room -------------------------------------------------------------------------------


def sealed_size(length: int) -> int:
    """Return the bytes that a stream takes when sealed for this workstation's vault."""
    return age.sealed_size(length, age.header_bytes(recipients=1))


def reserve_bytes(station: Station) -> int:
    """Return how much free space is left alone, in bytes."""
    return station.config.reserve_for(shutil.disk_usage(station.home.vault).total)


def no_space(station: Station, length: int) -> Wait:
    """Return the message that tells the sender how much room is missing."""
    free = shutil.disk_usage(station.home.vault).free
    needed = sealed_size(length) + reserve_bytes(station)
    return Wait(code="no-space", needed_bytes=needed, free_bytes=free)


def check_room(station: Station, length: int) -> None:
    """Refuse to start what would not leave the reserve free.

    Raises:
        NoSpaceError: With the numbers.
    """
    wait = no_space(station, length)
    if wait.free_bytes < wait.needed_bytes:
        raise NoSpaceError(
            f"{format_bytes(wait.needed_bytes)} needed (with the reserve of "
            f"{format_bytes(reserve_bytes(station))}), {format_bytes(wait.free_bytes)} free"
        )
