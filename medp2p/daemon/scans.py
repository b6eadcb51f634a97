"""Scans on their way to becoming transfers: walk, look, confirm, queue.

A scan lives in memory until it is confirmed; only then anything of it is kept, sealed.
"""

import logging
import time
from dataclasses import dataclass, field

import trio

from medp2p import digest, limits
from medp2p.daemon import endings, offers, papers, views
from medp2p.daemon.live import Bell
from medp2p.daemon.station import Station
from medp2p.dicom.checks import check
from medp2p.dicom.label import build_label, encode_label
from medp2p.dicom.patients import Item
from medp2p.errors import ConflictError, MedP2PError, NotFoundError, SourceError, UsageError
from medp2p.layout import LAYOUT_VERSION, Layout, pages
from medp2p.model import (
    Actor,
    Direction,
    Kind,
    Priority,
    State,
    new_transfer_id,
    transfer_id_to_bytes,
)
from medp2p.net.guard import bug_text
from medp2p.parcel.scan import Scan, scan
from medp2p.proto.messages import Offer
from medp2p.vault import meta, peers, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)


@dataclass
class Job:
    """One walk over sources, under way or done.

    Attributes:
        peer: Local name of the peer it is meant for.
        found: What the walk found, once all is done.
        items: What each file of it says.
        inspected: Files whose headers were read so far.
    """

    id: str
    peer: str
    files: int = 0
    file_bytes: int = 0
    found: Scan | None = None
    items: list[Item] = field(default_factory=list)
    inspected: int = 0
    error: MedP2PError | None = None
    bell: Bell = field(default_factory=Bell)
    started: float = field(default_factory=trio.current_time)

    @property
    def state(self) -> str:
        """Return "scanning", "done" or "failed"."""
        if self.error is not None:
            return "failed"
        return "scanning" if self.found is None else "done"

    def view(self) -> views.Json:
        """Return the job as JSON."""
        skipped = () if self.found is None else self.found.skipped
        return {
            "scan": self.id,
            "peer": self.peer,
            "state": self.state,
            "files": self.files,
            "bytes": self.file_bytes,
            "inspected": self.inspected,
            "entries": None if self.found is None else len(self.found.entries),
            "skipped": [views.named(item.path) | {"why": item.why} for item in skipped],
            "error": None
            if self.error is None
            else self.error.to_json() | {"exit_code": self.error.exit_code},
        }


class Scans:
    """The scans of this daemon that no transfer refers to yet."""

    def __init__(self, station: Station, nursery: trio.Nursery) -> None:
        self._station, self._nursery = station, nursery
        self._jobs: dict[str, Job] = {}

    def start(self, peer: str, paths: list[bytes]) -> Job:
        """Begin a walk.

        Raises:
            ConflictError: Too many are under way. Of unconfirmed ones the oldest is dropped.
        """
        self._drop_old()
        over = [job.id for job in self._jobs.values() if job.state != "scanning"]
        for old in over[: len(self._jobs) - limits.MAX_SCANS + 1]:
            del self._jobs[old]
        if len(self._jobs) >= limits.MAX_SCANS:
            raise ConflictError("too many scans are under way")
        job = Job(new_transfer_id(self._station.random_bytes), peer)
        self._jobs[job.id] = job
        self._nursery.start_soon(self._walk, job, paths)
        return job

    def get(self, scan_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: It was confirmed, dropped after an hour, or never was.
        """
        job = self._jobs.get(scan_id)
        if job is None:
            raise NotFoundError("no such scan; it is confirmed already, or an hour old")
        return job

    async def news(self, scan_id: str) -> Job:
        """Return a job at its next change, or after SCAN_POLL_SECONDS."""
        job = self.get(scan_id)
        if job.state == "scanning":
            with trio.move_on_after(limits.SCAN_POLL_SECONDS):
                await job.bell.wait()
        return job

    def _drop_old(self) -> None:
        oldest = trio.current_time() - limits.KEEP_SCAN_SECONDS
        for job in [job for job in self._jobs.values() if job.started < oldest]:
            del self._jobs[job.id]

    async def _walk(self, job: Job, paths: list[bytes]) -> None:
        station, token = self._station, trio.lowlevel.current_trio_token()

        def note(files: int, file_bytes: int) -> None:
            job.files, job.file_bytes = files, file_bytes
            job.bell.ring()

        def progress(files: int, file_bytes: int) -> None:
            token.run_sync_soon(note, files, file_bytes, idempotent=False)

        try:
            found = await trio.to_thread.run_sync(
                scan,
                paths,
                progress,
                lambda: station.stopping or job.id not in self._jobs,
                limiter=station.walk_limiter,
            )
            note(found.files, found.file_bytes)
            job.items = await self._inspect(job, found)
        except MedP2PError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001 - one selection must not end the daemon
            station.count_bug()
            log.error("bug in a scan: %s", bug_text(error))
            job.error = SourceError("the selection cannot be read: unexpected error, see the log")
        else:
            job.found = found
        job.bell.ring()

    async def _inspect(self, job: Job, found: Scan) -> list[Item]:
        def progress(inspected: int) -> None:
            job.inspected = inspected
            job.bell.ring()

        station = self._station
        return await station.inspectors.inspect(
            found,
            progress,
            lambda: station.stopping or job.id not in self._jobs,
            station.now_ms(),
        )

    async def queue(
        self, actor: Actor, scan_id: str, peer_name: str, note: str, priority: str
    ) -> TransferRow:
        """Make a confirmed scan a transfer; it survives a reboot when this returns.

        Raises:
            ConflictError: The scan is not done, or was for another peer.
            UsageError: The note is too long, or the priority is no word of ours.
        """
        job = self.get(scan_id)
        if job.found is None or job.peer != peer_name:
            raise ConflictError("that scan is not ready for that peer")
        if len(note.encode()) > limits.MAX_NOTE_BYTES:
            raise UsageError(f"a note has {limits.MAX_NOTE_BYTES} bytes at most")
        if priority not in tuple(Priority):
            raise UsageError("priority is stat or routine")
        peer = await self._station.read(peers.get, peer_name)
        queued = await trio.to_thread.run_sync(
            _prepare, self._station, peer, job, note, Priority(priority)
        )
        await self._station.write(_keep, self._station, actor, job, queued)
        self._jobs.pop(scan_id, None)
        return queued.row


@dataclass(frozen=True, slots=True)
class _Queued:
    row: TransferRow
    offer: Offer


def _prepare(station: Station, peer: PeerRow, job: Job, note: str, priority: Priority) -> _Queued:
    """Compute everything that the offer binds. Blocking."""
    found = job.found
    if found is None:
        raise ConflictError("that scan is not ready")
    findings = check(job.items, today=time.strftime("%Y%m%d"))
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
        label=encode_label(build_label(job.items, findings)),
        note=note,
    )
    bound = offers.offer_of(station, peer, unbound, outgoing=True)
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
    )
    return _Queued(row, offers.bind(unbound, bound))


def _keep(tx: Tx, station: Station, actor: Actor, job: Job, queued: _Queued) -> None:
    """Scan, transfer, papers and audit record: one transaction."""
    row, found = queued.row, job.found
    if found is None:
        raise ConflictError("that scan is not ready")
    meta.add_scan(
        tx,
        meta.ScanRow(
            id=job.id,
            created_ms=row.created_ms,
            entries=row.entries,
            files=row.files,
            file_bytes=row.file_bytes,
            skipped=row.skipped,
        ),
    )
    papers.put_scan(tx, station, job.id, found)
    transfers.add(tx, row)
    transfers.update(tx, row.id, scan_id=job.id)
    papers.put_summary(tx, station, row.id, queued.offer)
    papers.put_manifest(tx, station, row.id, list(found.entries))
    detail: dict[str, object] = {"files": row.files, "bytes": row.file_bytes}
    endings.record(tx, station, row, "send", actor, detail=detail)
