"""Sending what was sent before: the same scan to another peer, or only what is new of it.

The sources are walked anew and their headers come from the cache while files have not changed, so
a file that has is inspected again. Confirming is for the one place that does it (confirming.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from medp2p.daemon import papers
from medp2p.daemon.instances import ReadContent, Sent, decode_marks, marks
from medp2p.daemon.parts import Before, TypedPatient, Wishes, with_folders
from medp2p.daemon.station import Station
from medp2p.dicom.label import Label, decode_label_untrusted, not_of
from medp2p.dicom.patients import Item
from medp2p.errors import (
    ConflictError,
    NotFoundError,
    RemoteProtocolError,
    SourceError,
    UsageError,
    VaultLockedError,
)
from medp2p.manifest import Kind
from medp2p.model import WHOLE, Direction, transfer_id_to_bytes
from medp2p.parcel.record import FileStat, Scan, Skipped
from medp2p.vault import meta, peers, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

#: Why a file of an addendum is left out.
SENT_BEFORE = "sent-before"
_NO_LABEL = Label()


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What an earlier transfer means for a scan.

    Attributes:
        roots: What to walk; () for what the sender names.
        paths: The entries that are sent again; None for all.
        known: The files that the earlier transfers had.
        label: Of the earlier transfer.
        wishes: What the sender asks.
        files: What the files looked like, if what was typed about them may be used again.
    """

    wishes: Wishes
    roots: tuple[bytes, ...] = ()
    paths: frozenset[bytes] | None = None
    known: Sent = field(default_factory=Sent)
    label: Label = _NO_LABEL
    files: Mapping[bytes, FileStat] = field(default_factory=dict)

    @property
    def before(self) -> Before | None:
        """Return what an addendum is compared with."""
        if self.wishes.addendum_of is None:
            return None
        return Before(self.label, self.known.instances)

    def told(self, found: Scan, items: Sequence[Item]) -> Wishes:
        """Return the wishes, with what was typed for the earlier transfer where it still holds.

        It was about what stood in the files without a header then: of one that has changed
        nobody has said whose it is.
        """
        if not self.files:
            return self.wishes
        numbers = [n for n, entry in enumerate(found.entries) if entry.kind is Kind.FILE]
        for number, item in zip(numbers, items, strict=True):
            before = self.files.get(found.entries[number].path)
            if item.facts.kind != "dicom" and before != found.stat(number):
                return self.wishes
        return msgspec.structs.replace(
            self.wishes,
            typed=_typed(self.label),
            no_patient_data=self.label.no_patient_data,
        )

    def only(self, found: Scan) -> Scan:
        """Return a walk without what the earlier transfer did not have.

        Raises:
            SourceError: Something that it had is gone.
        """
        if self.paths is None:
            return found
        numbers = [n for n, entry in enumerate(found.entries) if entry.path in self.paths]
        if len(numbers) < len(self.paths):
            gone = len(self.paths) - len(numbers)
            raise SourceError(f"{gone} files or folders of that transfer are not there any more")
        return found.only(numbers, ())

    def fresh(
        self, found: Scan, items: Sequence[Item], read: ReadContent
    ) -> tuple[Scan, list[Item]]:
        """Return a walk without the files that were sent before, and what the others say.

        Blocking: what may have been sent before is read again.

        Raises:
            SourceError: Nothing is new.
        """
        if not self.known:
            return found, list(items)
        # An image that was sent with another content is not left out: it is a finding.
        numbers = [n for n, entry in enumerate(found.entries) if entry.kind is Kind.FILE]
        told = enumerate(marks(found, items))
        new = [at for at, one in told if not self.known.has(one, numbers[at], read)]
        if not new:
            raise SourceError("nothing of that is new: the earlier transfer had all of it")
        kept = {numbers[at] for at in new}
        left = tuple(Skipped(found.entries[n].path, SENT_BEFORE) for n in numbers if n not in kept)
        mine = found.only(with_folders(found, sorted(kept)), (*found.skipped, *left))
        return mine, [items[at] for at in new]


def earlier(tx: Tx, station: Station, peer: str, wishes: Wishes) -> Earlier:
    """Return what the earlier transfers that the wishes name mean for a scan.

    Raises:
        NotFoundError: No such transfer, or its scan or papers are not kept any more.
        ConflictError: The receiver has not got what is to be added to.
        VaultLockedError: What is kept of it lies under the vault key.
    """
    if wishes.again_of is not None and wishes.addendum_of is not None:
        raise UsageError("a transfer is sent again, or is an addendum; not both")
    if wishes.again_of is not None:
        return _again(tx, station, wishes, wishes.again_of)
    if wishes.addendum_of is not None:
        return _addendum(tx, station, peer, wishes, wishes.addendum_of)
    return Earlier(wishes=wishes)


def _again(tx: Tx, station: Station, wishes: Wishes, prefix: str) -> Earlier:
    row = transfers.find(tx, prefix, Direction.OUT)
    kept = None if row.scan_id is None else papers.get(tx, station, row.scan_id, papers.SOURCES)
    if row.scan_id is None or kept is None:
        raise NotFoundError(
            f"the scan of transfer {row.id} is not kept any more", hint="send its files anew"
        )
    found = papers.scan(tx, station, row.scan_id)
    files: dict[bytes, FileStat] = {}
    if wishes.typed is None and not wishes.no_patient_data:
        files = {entry.path: found.stat(number) for number, entry in enumerate(found.entries)}
    paths = frozenset(entry.path for entry in found.entries)
    label = _label(tx, station, row)
    return Earlier(wishes=wishes, roots=found.roots, paths=paths, label=label, files=files)


def _typed(label: Label) -> TypedPatient | None:
    one = label.typed
    if one is None:
        return None
    return TypedPatient(
        id=one.id, issuer=one.issuer, name=one.name, birth_date=one.birth_date, sex=one.sex
    )


def _label(tx: Tx, station: Station, row: TransferRow) -> Label:
    if papers.get(tx, station, row.id, papers.SUMMARY) is None:
        return Label()
    data = papers.summary(tx, station, row.id).label
    try:
        return decode_label_untrusted(data) if data else Label()
    except RemoteProtocolError:
        return Label()


def _addendum(tx: Tx, station: Station, peer: str, wishes: Wishes, prefix: str) -> Earlier:
    row = transfers.find(tx, prefix, Direction.OUT)
    if row.peer_key != peers.get(tx, peer).noise_key:
        raise UsageError(f"transfer {row.id} went to {row.peer_name}, not to {peer}")
    if row.state not in WHOLE:
        raise ConflictError(
            f"transfer {row.id} is {row.state.value}; nothing can be added to it",
            hint="wait until the receiver has sealed it",
        )
    known: list[bytes] = []
    for one in _chain(tx, row.id):
        raw = papers.get(tx, station, one, papers.INSTANCES)
        if raw is None:
            raise NotFoundError(f"what transfer {one} had is not kept any more")
        known += decode_marks(raw)
    whole = msgspec.structs.replace(wishes, addendum_of=row.id)
    return Earlier(wishes=whole, known=Sent(known), label=_label(tx, station, row))


def _chain(tx: Tx, transfer: str) -> list[str]:
    """Return a transfer, what it adds to, and what else was added to any of these."""
    found = [transfer]
    for one in found:
        before = added_to(tx, one)
        found += [each for each in (before, *addenda(tx, one)) if each and each not in found]
    return [
        one for one in found
        if one == transfer or transfers.get(tx, one).state in WHOLE
    ]  # fmt: skip


# --- who belongs to whom, on either side ----------------------------------------------------


def note(tx: Tx, station: Station, row: TransferRow, label: bytes) -> None:
    """Remember that a transfer is an addendum, if its label says so and that can be.

    The earlier one must be known here, of the same peer and direction, and of the same persons: a
    label is a peer's word.
    """
    try:
        mine = decode_label_untrusted(label) if label else Label()
        before = mine.addendum_of
        transfer_id_to_bytes(before or row.id)
    except (RemoteProtocolError, UsageError):
        return
    known = transfers.maybe(tx, before) if before else None
    if (
        known is not None
        and known.id != row.id
        and known.peer_key == row.peer_key
        and known.direction is row.direction
        and _of_same_persons(tx, station, mine, known)
    ):
        meta.put(tx, f"addendum-of:{row.id}", known.id)
        meta.put(tx, f"addendum:{known.id}:{row.id}", "")


def _of_same_persons(tx: Tx, station: Station, label: Label, known: TransferRow) -> bool:
    try:
        return not not_of(label, _label(tx, station, known))
    except VaultLockedError:
        return False  # nobody can tell


def added_to(tx: Tx, transfer: str) -> str | None:
    """Return the transfer that this one is an addendum of."""
    return meta.get(tx, f"addendum-of:{transfer}")


def addenda(tx: Tx, transfer: str) -> list[str]:
    """Return the transfers that are addenda of this one."""
    return meta.names(tx, f"addendum:{transfer}:")
