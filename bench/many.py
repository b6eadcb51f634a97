"""A workstation with a past: thousands of transfers in its store, as years of use leave them.

Made from one real transfer of each direction: every copy has its own id, patient and time, and
its papers sealed like those of the first. No files lie behind the copies.
"""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from msgspec.structs import replace as changed

from medp2p.daemon import papers
from medp2p.daemon.station import Station
from medp2p.dicom.label import decode_label_untrusted, encode_label
from medp2p.model import Direction, State
from medp2p.proto import messages
from medp2p.vault import transfers
from medp2p.vault.keyfiles import load_keys
from medp2p.vault.sealing import SpoolBox, VaultBox
from medp2p.vault.store import Store, Tx
from medp2p.vault.transfers import TransferRow

_ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyz234567"
_SURNAMES = ("MUELLER", "NOVAK", "ROSSI", "SILVA", "OKAFOR", "TANAKA", "LINDQVIST", "DUBOIS")
#: From one transfer to the next; 10,000 of them are not so old that their labels are erased.
_STEP_MS = 4 * 60 * 1000
#: How transfers end; most are released.
_ENDS = {
    Direction.IN: [*[State.RELEASED] * 7, State.DECLINED, State.DISCARDED, State.RECALLED],
    Direction.OUT: [*[State.RELEASED] * 6, *[State.SEALED] * 2, State.DECLINED, State.CANCELLED],
}


@dataclass(frozen=True)
class _Copier:
    """Makes one transfer after the other out of a real one."""

    station: Station
    now_ms: int

    def add(self, tx: Tx, model: TransferRow, number: int) -> None:
        """Add a copy: ended, older than the model, with a patient of its own."""
        offer = papers.summary(tx, self.station, model.id)
        ends = _ENDS[model.direction]
        label = decode_label_untrusted(offer.label)
        name = f"{_SURNAMES[number % len(_SURNAMES)]}^PATIENT {number}"
        patients = tuple(
            changed(line, patient=changed(line.patient, name=name, id=f"MRN-{number:07}"))
            for line in label.patients
        )
        told = encode_label(changed(label, patients=patients))
        row = self._row(model, ends[number % len(ends)], number)
        transfers.add(tx, row)
        message = changed(offer, label=told, note=f"exam {number}")
        data = messages.encode(message)
        papers.put_vault(tx, self.station, row.id, papers.SUMMARY, data)

    def _row(self, model: TransferRow, state: State, number: int) -> TransferRow:
        then = self.now_ms - number * _STEP_MS
        whole = state in (State.SEALED, State.RELEASED)
        return replace(
            model,
            id="".join(secrets.choice(_ID_CHARACTERS) for _ in range(26)),
            state=state,
            created_ms=then,
            updated_ms=then,
            decided_ms=then,
            sealed_ms=then if whole else None,
            released_ms=then if state is State.RELEASED else None,
            finished_ms=then,
            checked_ms=then if whole else None,
            scan_id=None,
            reason=None,
            held=None,
        )


def fill(home: Path, count: int) -> None:
    """Add so many ended transfers to the store of a home, half of them of each direction there is.

    Args:
        home: Its daemon does not run; it has at least one transfer with a label.
        count: How many more.
    """
    keys = load_keys(home / "keys")
    boxes = SimpleNamespace(
        spool=SpoolBox(keys.spool), vault=VaultBox([keys.vault_recipient], keys.vault_identity)
    )
    now_ms = time.time_ns() // 1_000_000
    copier = _Copier(cast(Station, boxes), now_ms)
    store = Store.open(home / "store.db", create=False, now_ms=now_ms)
    try:
        with store.write() as tx:
            models = list(_models(tx))
            for number in range(count, 0, -1):  # the number of a transfer tells the order
                copier.add(tx, models[number % len(models)], number)
    finally:
        store.close()


def _models(tx: Tx) -> Iterator[TransferRow]:
    found: list[Any] = [transfers.list(tx, direction, limit=1) for direction in Direction]
    for rows in found:
        yield from rows
