"""A workstation whose store holds transfers that never happened: rows with sealed summaries."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medp2p.daemon import papers
from medp2p.daemon.home import init_home
from medp2p.daemon.station import Station
from medp2p.dicom.facts import Patient
from medp2p.dicom.label import Label, PatientLine, encode_label
from medp2p.model import Direction, Priority, State, new_transfer_id
from medp2p.proto import messages
from medp2p.vault import peers, transfers
from medp2p.vault.durable import nothing
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow
from tests.helpers.stations import make_station, now_ms

PEER_KEY = bytes(range(32))


@contextmanager
def idle_station(folder: Path) -> Iterator[Station]:
    """Give a workstation without a daemon, with one peer, "b"."""
    home = init_home(folder / "home", name="a", department="CT", place="", now_ms=now_ms())
    station = make_station(home, nothing, now_ms)
    with station.store.write() as tx:
        row = PeerRow(name="b", noise_key=PEER_KEY, source="hand", created_ms=now_ms())
        peers.add(tx, row)
    try:
        yield station
    finally:
        station.store.close()


def add(
    tx: Tx,
    station: Station,
    *,
    patients: tuple[Patient, ...] | None = (),
    typed: Patient | None = None,
    **fields: Any,
) -> str:
    """Add a transfer; return its id.

    Args:
        tx: Write transaction.
        station: Its owner.
        patients: Of its label; None for no summary at all.
        typed: Patient that the sender typed.
        fields: Of the row; by default an undecided offer from "b", made now.
    """
    made = int(fields.get("created_ms", now_ms()))
    row = TransferRow(
        **{
            "id": new_transfer_id(os.urandom),
            "direction": Direction.IN,
            "peer_key": PEER_KEY,
            "peer_name": "b",
            "state": State.OFFERED,
            "priority": Priority.ROUTINE,
            "entries": 1,
            "files": 1,
            "file_bytes": 1000,
            "length": 1000,
            "created_ms": made,
            "updated_ms": made,
            **fields,
        }
    )
    transfers.add(tx, row)
    if patients is not None:
        papers.put_vault(tx, station, row.id, papers.SUMMARY, _summary(row, patients, typed))
    return row.id


def _summary(row: TransferRow, patients: tuple[Patient, ...], typed: Patient | None) -> bytes:
    label = Label(patients=tuple(PatientLine(one, images=1) for one in patients), typed=typed)
    return messages.encode(
        messages.Offer(
            transfer=os.urandom(16),
            offer=bytes(32),
            layout=1,
            salt=bytes(32),
            length=row.length,
            manifest=bytes(32),
            entries=1,
            files=1,
            file_bytes=row.file_bytes,
            priority="routine",
            created_ms=row.created_ms,
            label=encode_label(label),
            note="a note",
        )
    )
