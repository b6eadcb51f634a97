"""Room for a transfer: its sealed file at full size, made once and found again.

Blocking. The file is durable, with its header and its name, before the first row about it.
"""

from medp2p.daemon import offers, papers
from medp2p.daemon.intake import still_open
from medp2p.daemon.station import Station
from medp2p.errors import MedP2PError
from medp2p.model import Reason, State
from medp2p.vault import transfers
from medp2p.vault.age import SealWriter, new_file_key
from medp2p.vault.erase import erase_sealed
from medp2p.vault.store import Tx


def open_or_create(station: Station, transfer: str, size: int) -> SealWriter:
    """Open the sealed file of an unfinished transfer, or reserve it.

    Args:
        station: Ours.
        transfer: Accepted, its manifest agreed.
        size: Bytes of its stream.

    Raises:
        NoSpaceError: It would not leave the reserve free; nothing is made.
        SealBrokenError: The file of an earlier conversation is gone or damaged.
        TransferAbortedError: It was ended meanwhile; nothing is left.
    """
    path = station.home.part(transfer)
    with station.store.read() as tx:
        kept = papers.file_key(tx, station, transfer)
    if kept is not None:
        name_back(station, transfer)
        file_key, header = kept
        return SealWriter.reopen(station.files, path, size, file_key, header)
    erase_sealed(station.files, path)  # a crash came before the first row about it
    offers.check_room(station, size)
    file_key = new_file_key(station.random_bytes)
    recipients = [station.keys.vault_recipient]
    writer = SealWriter.create(
        station.files, path, size, recipients, file_key, station.random_bytes
    )
    try:
        with station.store.write() as tx:
            still_open(tx, transfer)
            papers.put_file_key(tx, station, transfer, file_key, writer.header)
    except MedP2PError:
        writer.close()
        erase_sealed(station.files, path)
        raise
    return writer


def name_back(station: Station, transfer: str) -> None:
    """Undo a rename that no row followed: the commit is done again."""
    part, sealed = station.home.part(transfer), station.home.sealed(transfer)
    if sealed.exists() and not part.exists():
        station.files.rename(sealed, part)


def pause(tx: Tx, station: Station, transfer: str, text: str) -> bool:
    """Show that a transfer waits for space; return whether that is news."""
    row = transfers.get(tx, transfer)
    if row.state is State.PAUSED and row.reason is not None and row.reason.text == text:
        return False
    now = station.now_ms()
    before = row.reason if row.reason is not None and row.reason.code == "no-space" else None
    reason = Reason("no-space", text, now if before is None else before.since_ms)
    transfers.update(tx, transfer, state=State.PAUSED, reason=reason, updated_ms=now)
    return True
