"""What a transfer says about patients: summary, manifest, sources. Sealed in every row.

Unfinished work is sealed with the spool key, so that a locked workstation goes on; at an end
state ``close_papers`` moves it under the vault key (docs/VAULT.md, "Two keys at rest").
"""

import logging

from medp2p.daemon.station import Station
from medp2p.errors import RemoteProtocolError, SealBrokenError, StoreError
from medp2p.layout import Layout
from medp2p.manifest import Entry, decode_entries_untrusted, encode_entries
from medp2p.model import Direction
from medp2p.parcel.scan import Scan, decode_scan, encode_scan
from medp2p.proto import messages
from medp2p.vault import journal, transfers
from medp2p.vault.age_header import FILE_KEY_BYTES
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)

SUMMARY, MANIFEST, SOURCES, FILE_KEY = "summary", "manifest", "sources", "filekey"
RELEASED, DETAIL, TARGET = "released", "detail", "target"
CLAIM = "claim"
#: What the look after the seal has found; where a person wants a transfer released after it.
CHECK, RELEASE_TO = "check", "release-to"
#: Of a release (owner "release N"): its folder; that and its files, while they are to be removed.
FOLDER, LISTING = "folder", "listing"
#: Marks of what was sent (instances.py), for addenda.
INSTANCES = "marks"
#: Why its sender has taken a transfer back; there as soon as it has asked.
RECALL = "recall"


def _context(owner: str, name: str) -> str:
    return f"{owner}/{name}"


def put_spool(tx: Tx, station: Station, owner: str, name: str, data: bytes) -> None:
    """Keep data of an unfinished transfer under the spool key."""
    blob = station.spool.seal(data, _context(owner, name))
    transfers.put_blob(tx, owner, name, "spool", blob)


def put_vault(tx: Tx, station: Station, owner: str, name: str, data: bytes) -> None:
    """Keep data under the vault key; writing needs no secret."""
    blob = station.vault.seal(data, _context(owner, name))
    transfers.put_blob(tx, owner, name, "vault", blob)


def get(tx: Tx, station: Station, owner: str, name: str) -> bytes | None:
    """Return the data kept under that name, or None.

    Raises:
        VaultLockedError: It is under the vault key and that is not at hand.
        SealBrokenError: The blob does not authenticate.
    """
    found = transfers.get_blob(tx, owner, name)
    if found is None:
        return None
    kind, blob = found
    box = station.spool if kind == "spool" else station.vault
    return box.open(blob, _context(owner, name))


def need(tx: Tx, station: Station, owner: str, name: str) -> bytes:
    """Return the data kept under that name.

    Raises:
        StoreError: There is none, though the state of the transfer says so.
    """
    data = get(tx, station, owner, name)
    if data is None:
        raise StoreError(f"the {name} of transfer {owner} is missing from the database")
    return data


def put_claim(tx: Tx, station: Station, transfer: str, root: bytes, time_ms: int) -> None:
    """Keep that the receiver calls a transfer sealed, and under which root, until it is proved."""
    put_spool(tx, station, transfer, CLAIM, root + time_ms.to_bytes(8, "big"))


def claim(tx: Tx, station: Station, transfer: str) -> tuple[bytes, int] | None:
    """Return the root and the time that the receiver claims, or None."""
    kept = get(tx, station, transfer, CLAIM)
    return None if kept is None else (kept[:-8], int.from_bytes(kept[-8:], "big"))


def put_file_key(tx: Tx, station: Station, transfer: str, file_key: bytes, header: bytes) -> None:
    """Keep the key of an unfinished sealed file, and its header: a rotten one shows at a resume."""
    put_spool(tx, station, transfer, FILE_KEY, file_key + header)


def file_key(tx: Tx, station: Station, transfer: str) -> tuple[bytes, bytes] | None:
    """Return key and header of a sealed file, or None: not made yet, or for the vault key only."""
    kept = get(tx, station, transfer, FILE_KEY)
    return None if kept is None else (kept[:FILE_KEY_BYTES], kept[FILE_KEY_BYTES:])


def close_papers(tx: Tx, station: Station, row: TransferRow) -> None:
    """Move everything of a transfer under the vault key; its file key and journal go.

    The sources too, once no other transfer of their scan needs them.
    """
    for name in (SUMMARY, MANIFEST, INSTANCES):
        _to_vault(tx, station, row.id, name)
    transfers.delete_blobs(tx, row.id, [FILE_KEY, CLAIM])
    if row.direction is Direction.OUT:
        journal.forget(tx, row.id)
    if row.scan_id is not None and transfers.unfinished_of_scan(tx, row.scan_id) <= 1:
        _to_vault(tx, station, row.scan_id, SOURCES)


def drop_work(tx: Tx, transfer: str) -> None:
    """Remove what only a transfer at work needs: it is erased."""
    transfers.delete_blobs(tx, transfer, [FILE_KEY, MANIFEST, TARGET, RELEASE_TO])


def _to_vault(tx: Tx, station: Station, owner: str, name: str) -> None:
    """A blob that has rotted is dropped: it must not keep a transfer from its end."""
    found = transfers.get_blob(tx, owner, name)
    if found is None or found[0] != "spool":
        return
    try:
        packed = station.spool.open_packed(found[1], _context(owner, name))
    except SealBrokenError:
        log.warning("the %s of %s is damaged and dropped", name, owner)
        transfers.delete_blobs(tx, owner, [name])
        return
    blob = station.vault.seal_packed(packed, _context(owner, name))
    transfers.put_blob(tx, owner, name, "vault", blob)


def summary(tx: Tx, station: Station, owner: str) -> messages.Offer:
    """Return the offer of a transfer: label, note, salt and all that it binds."""
    message = messages.decode_untrusted(need(tx, station, owner, SUMMARY))
    if not isinstance(message, messages.Offer):
        raise StoreError(f"the summary of transfer {owner} is none")
    return message


def put_summary(tx: Tx, station: Station, owner: str, offer: messages.Offer) -> None:
    """Keep the offer of an unfinished transfer."""
    put_spool(tx, station, owner, SUMMARY, messages.encode(offer))


def manifest(tx: Tx, station: Station, owner: str) -> list[Entry]:
    """Return the manifest entries of a transfer, in stream order."""
    try:
        return decode_entries_untrusted(need(tx, station, owner, MANIFEST))
    except RemoteProtocolError as error:
        raise StoreError(f"the manifest of transfer {owner} is damaged") from error


def put_manifest(tx: Tx, station: Station, owner: str, entries: list[Entry]) -> None:
    """Keep the manifest of an unfinished transfer."""
    put_spool(tx, station, owner, MANIFEST, encode_entries(entries))


def scan(tx: Tx, station: Station, scan_id: str) -> Scan:
    """Return a scan with its source paths and file identities."""
    return decode_scan(need(tx, station, scan_id, SOURCES))


def sources(tx: Tx, station: Station, scan_id: str) -> tuple[Scan, Layout]:
    """Return a scan and the stream geometry of its entries: those of each transfer of it."""
    found = scan(tx, station, scan_id)
    return found, Layout(found.entries)


def put_scan(tx: Tx, station: Station, scan_id: str, found: Scan) -> None:
    """Keep a scan for the transfers that refer to it."""
    put_spool(tx, station, scan_id, SOURCES, encode_scan(found))


def layout(tx: Tx, station: Station, owner: str) -> Layout:
    """Return the stream geometry of a transfer."""
    return Layout(manifest(tx, station, owner))
