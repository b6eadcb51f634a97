"""A confirmed part of a scan becomes a transfer: its offer, its papers, its audit record."""

from dataclasses import dataclass

from medp2p import digest, limits
from medp2p.daemon import again, offers, papers, undoing
from medp2p.daemon.instances import encode_marks
from medp2p.daemon.labels import patient_view
from medp2p.daemon.parts import Part
from medp2p.daemon.station import Station
from medp2p.dicom.label import encode_label
from medp2p.errors import ConflictError, SourceError
from medp2p.layout import LAYOUT_VERSION, Layout
from medp2p.manifest import Kind, pages
from medp2p.model import Actor, Direction, Priority, State, new_transfer_id, transfer_id_to_bytes
from medp2p.proto.messages import Offer
from medp2p.vault import meta, peers, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


@dataclass(frozen=True, slots=True)
class Queued:
    """A transfer that is not kept yet, with its offer and its grace time.

    Attributes:
        peer: Its recipient, with the settings that it was judged by.
    """

    peer: PeerRow
    row: TransferRow
    offer: Offer
    undo_seconds: int


def prepare(station: Station, peer: PeerRow, part: Part, note: str, priority: Priority) -> Queued:
    """Compute everything that the offer binds. Blocking.

    Raises:
        SourceError: It is more than one transfer can hold.
    """
    found = part.found
    geometry = Layout(found.entries)
    hasher = digest.ManifestHasher()
    size = 0
    for page in pages(found.entries):
        hasher.update(page)
        size += len(page)
    if size > limits.MAX_MANIFEST_BYTES or geometry.size > limits.MAX_STREAM_BYTES:
        raise SourceError("that is more than one transfer can hold", hint="send it in parts")
    transfer = new_transfer_id(station.random_bytes)
    now = station.now_ms()
    unbound = Offer(
        transfer=transfer_id_to_bytes(transfer),
        offer=bytes(32),
        layout=LAYOUT_VERSION,
        salt=station.random_bytes(32),
        length=geometry.size,
        manifest=hasher.digest(),
        entries=len(found.entries),
        files=sum(entry.kind is Kind.FILE for entry in found.entries),
        file_bytes=found.file_bytes,
        priority=priority.value,
        created_ms=now,
        label=encode_label(part.label),
        note=note,
    )
    bound = offers.offer_of(station, peer, unbound, outgoing=True)
    undo = undoing.undo_seconds(station, peer)
    row = TransferRow(
        id=transfer,
        direction=Direction.OUT,
        peer_key=peer.noise_key,
        peer_name=peer.name,
        state=State.QUEUED,
        priority=priority,
        entries=unbound.entries,
        files=unbound.files,
        file_bytes=unbound.file_bytes,
        length=unbound.length,
        offer=bound,
        created_ms=now,
        updated_ms=now,
        skipped=len(found.skipped),
        reason=undoing.reason(undo, now),
    )
    return Queued(peer, row, offers.bind(unbound, bound), undo)


def keep(
    tx: Tx,
    station: Station,
    actor: Actor,
    scan_id: str,
    part: Part,
    queued: Queued,
    detail: dict[str, object],
) -> None:
    """Scan, transfer, papers and audit record: one transaction.

    Raises:
        ConflictError: The recipient was removed meanwhile, or its settings have changed.
    """
    _check_unchanged(tx, queued.peer)
    row, found = queued.row, part.found
    meta.add_scan(
        tx,
        meta.ScanRow(
            id=scan_id,
            created_ms=row.created_ms,
            entries=row.entries,
            files=row.files,
            file_bytes=row.file_bytes,
            skipped=row.skipped,
        ),
    )
    papers.put_scan(tx, station, scan_id, found)
    transfers.add(tx, row)
    transfers.update(tx, row.id, scan_id=scan_id)
    papers.put_summary(tx, station, row.id, queued.offer)
    papers.put_manifest(tx, station, row.id, list(found.entries))
    papers.put_spool(tx, station, row.id, papers.INSTANCES, encode_marks(part.marks))
    again.note(tx, station, row, queued.offer.label)
    station.ledger.record(
        tx,
        event="send",
        actor=actor,
        peer=row.peer_name,
        peer_key=row.peer_key,
        transfer=row.id,
        detail={"files": row.files, "bytes": row.file_bytes, **detail},
        patient=patient_facts(part),
    )


def _check_unchanged(tx: Tx, peer: PeerRow) -> None:
    """Look at the recipient again: since it was read, files were judged and an offer computed."""
    now = peers.by_key(tx, peer.noise_key)
    if now is None or now.name != peer.name:
        raise ConflictError("the peer was removed meanwhile; nothing was sent", hint="begin anew")
    if now.settings != peer.settings:
        raise ConflictError(
            "the settings of the peer have changed meanwhile; nothing was sent",
            hint="confirm again",
        )


def patient_facts(part: Part) -> dict[str, object]:
    """Return whose images they are, for the sealed part of an audit record."""
    return {"patients": [patient_view(one) for one in part.label.persons]}
