"""One station without tasks or network, whose clock the test sets."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medp2p.daemon import views
from medp2p.daemon.book import Book
from medp2p.daemon.config import Config
from medp2p.daemon.events import Events
from medp2p.daemon.home import init_home, open_home
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.station import Station
from medp2p.model import Direction, Priority, State
from medp2p.vault import transfers
from medp2p.vault.durable import Files
from medp2p.vault.sealing import SpoolBox, VaultBox
from medp2p.vault.store import Store
from medp2p.vault.transfers import TransferRow

START_MS = 1_795_600_000_000


@dataclass
class Alone:
    """A station, its store, and the hands of its clock.

    Attributes:
        it: The station.
        time_ms: What its clock shows.
    """

    time_ms: int = START_MS
    it: Station = None  # type: ignore[assignment]  # set right after: it needs the clock

    @property
    def store(self) -> Store:
        """Its store."""
        return self.it.store

    @property
    def ledger(self) -> Ledger:
        """Its audit log."""
        return self.it.ledger

    def now_ms(self) -> int:
        """What its clock shows."""
        return self.time_ms

    def shift(self, milliseconds: int) -> None:
        """Set the clock forward or back."""
        self.time_ms = max(0, self.time_ms + milliseconds)


@contextmanager
def alone() -> Iterator[Alone]:
    """Give a station in a home of its own."""
    with tempfile.TemporaryDirectory() as folder:
        home = init_home(Path(folder) / "a", name="a", department="", place="", now_ms=START_MS)
        home, keys = open_home(home.path)
        store = Store.open(home.store, create=False, now_ms=START_MS)
        vault = VaultBox([keys.vault_recipient], keys.vault_identity)
        found = Alone()
        found.it = Station(
            home=home,
            keys=keys,
            config=Config(),
            store=store,
            files=Files(),
            spool=SpoolBox(keys.spool, os.urandom),
            vault=vault,
            ledger=Ledger(vault, found.now_ms),
            events=Events(),
            book=Book(found.now_ms),
            run=bytes(16),
            now_ms=found.now_ms,
            random_bytes=os.urandom,
            describe=views.transfer,
            describe_peer=views.peer,
        )
        try:
            yield found
        finally:
            found.it.inspectors.close()
            store.close()


def sealed_row(station: Alone) -> TransferRow:
    """Add a transfer that was sealed now."""
    row = TransferRow(
        id="a" * 26,
        direction=Direction.IN,
        peer_key=bytes([7]) * 32,
        peer_name="b",
        state=State.SEALED,
        priority=Priority.ROUTINE,
        entries=1,
        files=1,
        file_bytes=1,
        length=2048,
        offer=bytes(32),
        root=bytes(32),
        created_ms=station.time_ms,
        updated_ms=station.time_ms,
        sealed_ms=station.time_ms,
    )
    with station.store.write() as tx:
        transfers.add(tx, row)
    return row
