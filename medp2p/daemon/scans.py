"""Scans on their way to becoming transfers: walk, look, confirm, queue.

A scan lives in memory until it is confirmed; only then anything of it is kept, sealed.
"""

import logging
import time

import trio

from medp2p import limits
from medp2p.daemon import policy, queueing, views
from medp2p.daemon.again import Earlier
from medp2p.daemon.confirming import Confirmation, check_confirmed, persons
from medp2p.daemon.jobs import Job, Jobs
from medp2p.daemon.labels import label_view, patient_view
from medp2p.daemon.parts import Part, Wishes, make_parts, without
from medp2p.daemon.station import Station
from medp2p.daemon.walking import walk
from medp2p.dicom.patients import Item
from medp2p.errors import (
    CheckRefusedError,
    ConflictError,
    MedP2PError,
    NotFoundError,
    SourceError,
    UsageError,
)
from medp2p.model import (
    Actor,
    Priority,
    new_transfer_id,
)
from medp2p.net.guard import bug_text
from medp2p.parcel.heads import Heads
from medp2p.parcel.scan import Scan
from medp2p.text import one_line
from medp2p.vault import peers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)


class Scans:
    """The scans of this daemon that no transfer refers to yet."""

    def __init__(self, station: Station, nursery: trio.Nursery) -> None:
        self._station, self._nursery = station, nursery
        self._jobs = Jobs()
        nursery.start_soon(self._jobs.forget_old)

    def start(
        self,
        peer: PeerRow,
        paths: list[bytes],
        wishes: Wishes | None = None,
        earlier: Earlier | None = None,
    ) -> Job:
        """Begin a walk.

        Raises:
            UsageError: The wishes contradict themselves.
            ConflictError: Too many are under way. Of unconfirmed ones the oldest is dropped.
        """
        wishes = (wishes or Wishes()).check()
        name = new_transfer_id(self._station.random_bytes)
        job = Job(name, peer.name, peer.noise_key, wishes, earlier=earlier)
        self._jobs.add(job)
        self._nursery.start_soon(self._walk, job, paths)
        return job

    def get(self, scan_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: It was confirmed, dropped after an hour, or never was.
        """
        return self._jobs.get(scan_id)

    async def news(self, scan_id: str) -> Job:
        """Return a job at its next change, or after SCAN_POLL_SECONDS."""
        job = self.get(scan_id)
        if job.state == "scanning":
            with trio.move_on_after(limits.SCAN_POLL_SECONDS):
                await job.bell.wait()
        return job

    async def _walk(self, job: Job, paths: list[bytes]) -> None:
        station, token = self._station, trio.lowlevel.current_trio_token()

        def note(files: int, file_bytes: int) -> None:
            job.files, job.file_bytes = files, file_bytes
            job.tell()

        def progress(files: int, file_bytes: int) -> None:
            token.run_sync_soon(note, files, file_bytes, idempotent=False)

        def cancelled() -> bool:
            return station.stopping or job.id not in self._jobs

        try:
            found = await trio.to_thread.run_sync(
                walk, station, paths, progress, cancelled, limiter=station.walk_limiter
            )
            if job.earlier is not None:
                found = job.earlier.only(found)
            found = without(found, job.wishes.exclude)
            note(found.files, found.file_bytes)
            job.items = await self._inspect(job, found)
            if job.earlier is not None:
                job.wishes = job.earlier.told(found, job.items)
                found, job.items = await self._fresh(job.earlier, job, found)
                note(found.files, found.file_bytes)
            await self._divide(job, found)
        except MedP2PError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001 - one selection must not end the daemon
            station.count_bug()
            log.error("bug in a scan: %s", bug_text(error))
            job.error = SourceError("the selection cannot be read: unexpected error, see the log")
        else:
            job.found = found
        job.since = trio.current_time()
        job.bell.ring()

    async def _divide(self, job: Job, found: Scan) -> PeerRow:
        """Make the parts of a scan, as the peer's settings are now; as they were, they stay.

        Returns:
            The peer with those settings.
        """
        peer = await self._recipient(job)
        divided = job.wishes, peer.settings, time.strftime("%Y%m%d")
        if job.parts and job.divided == divided:
            return peer
        before = None if job.earlier is None else job.earlier.before
        parts = await trio.to_thread.run_sync(make_parts, found, job.items, *divided, before)
        # All at once: whoever asks meanwhile, or after a failure, must not take the old ones.
        job.parts, job.settings, job.divided = parts, peer.settings, divided
        return peer

    async def _recipient(self, job: Job) -> PeerRow:
        """Return the peer that a person was shown.

        Raises:
            ConflictError: Another one has the name now, or other rules hold for it.
        """
        peer = await self._station.read(peers.get, job.peer)
        if peer.noise_key != job.peer_key:
            raise ConflictError("the peer of that name is another one now", hint="begin anew")
        for key in ("domain", "confirm") if job.found is not None else ():
            if policy.setting(peer.settings, key) != policy.setting(job.settings, key):
                raise ConflictError(f"{key} of the peer has changed meanwhile", hint="begin anew")
        return peer

    async def _inspect(self, job: Job, found: Scan) -> list[Item]:
        def progress(inspected: int) -> None:
            job.inspected = inspected
            job.tell()

        station = self._station
        return await station.inspectors.inspect(
            found,
            progress,
            lambda: station.stopping or job.id not in self._jobs,
            station.now_ms(),
        )

    async def _fresh(self, earlier: Earlier, job: Job, found: Scan) -> tuple[Scan, list[Item]]:
        """Leave out what was sent before; its content is read again to be sure."""

        def cancelled() -> bool:
            return self._station.stopping or job.id not in self._jobs

        def fresh() -> tuple[Scan, list[Item]]:
            heads = Heads(found)
            try:
                with heads.neighbours() as at:
                    return earlier.fresh(
                        found, job.items, lambda n, cut: heads.content(n, cut, at, cancelled)
                    )
            finally:
                heads.close()

        return await trio.to_thread.run_sync(fresh, limiter=self._station.walk_limiter)

    async def reveal(self, actor: Actor, scan_id: str, part: int) -> views.Json:
        """Return the label of a part with nothing masked, for a person who asks; audited.

        Raises:
            NotFoundError: No such scan or part.
        """
        job, station = self.get(scan_id), self._station
        mine = _part_of(job, part)
        peer = await station.read(peers.get, job.peer)
        await station.write(
            station.ledger.record,
            event="reveal-label",
            actor=actor,
            peer=peer.name,
            peer_key=peer.noise_key,
            detail={"scan": job.id, "part": part},
        )
        return label_view(mine.label) | {"asked": [patient_view(one) for one in persons(mine)]}

    async def check(self, actor: Actor, scan_id: str, part: int, given: Confirmation) -> None:
        """Find out whether a part is confirmed, before any part of its scan is queued.

        Raises:
            CheckRefusedError: A finding stops it, or it is not confirmed; audited.
            UsageError: Something is missing.
        """
        job = self.get(scan_id)
        peer = await self._recipient(job)
        await self._confirmed(actor, peer, _part_of(job, part), given)

    async def _confirmed(self, actor: Actor, peer: PeerRow, part: Part, given: Confirmation) -> str:
        """Return how a part is confirmed; a refusal is audited."""
        try:
            return check_confirmed(part, given, peer.settings)
        except CheckRefusedError as error:
            act = _note_refusal
            await self._station.write(act, self._station, actor, peer, part, error)
            raise

    async def queue(
        self,
        actor: Actor,
        scan_id: str,
        peer_name: str,
        note: str,
        priority: str,
        *,
        part: int = 0,
        confirmation: Confirmation | None = None,
    ) -> TransferRow:
        """Make a part of a scan a transfer; it survives a reboot when this returns.

        Raises:
            ConflictError: The scan is not done, or was for another peer, or is queued already;
                or the peer was removed or its settings changed meanwhile.
            CheckRefusedError: A finding stops it, or it is not confirmed; audited.
            UsageError: The note is too long, or the priority is no word of ours.
        """
        job = self.get(scan_id)
        found = job.found
        if found is None or job.peer != peer_name or part in job.queued:
            raise ConflictError("that scan is not ready for that peer")
        note = one_line(note)  # whoever reads it sees a line break as an escape
        if len(note.encode()) > limits.MAX_NOTE_BYTES:
            raise UsageError(
                f"a note has {limits.MAX_NOTE_BYTES} bytes at most", hint="shorten the note"
            )
        if priority not in tuple(Priority):
            raise UsageError("priority is stat or routine")
        _part_of(job, part)
        job.queued.add(part)  # before anything is waited for: nobody else queues it meanwhile
        try:
            given = confirmation or Confirmation()
            row = await self._queue(actor, job, found, part, note, Priority(priority), given)
        except BaseException:
            job.queued.discard(part)
            raise
        job.done.add(part)
        if len(job.done) == len(job.parts):
            self._jobs.drop(scan_id)
        return row

    async def _queue(
        self,
        actor: Actor,
        job: Job,
        found: Scan,
        part: int,
        note: str,
        priority: Priority,
        given: Confirmation,
    ) -> TransferRow:
        station = self._station
        peer = await self._divide(job, found)  # settings may have changed meanwhile
        mine = _part_of(job, part)
        manner = await self._confirmed(actor, peer, mine, given)
        queued = await trio.to_thread.run_sync(
            queueing.prepare, station, peer, mine, note, priority
        )
        detail: dict[str, object] = {
            "confirm": manner,
            "domain": policy.setting(peer.settings, "domain"),
            "purpose": given.purpose or None,
            "allowed": list(mine.label.allowed),
            "findings": sorted({one.code for one in mine.findings}),
            "undo_seconds": queued.undo_seconds,
        }
        own_id = job.id if part == 0 else new_transfer_id(station.random_bytes)
        await station.write(queueing.keep, station, actor, own_id, mine, queued, detail)
        return queued.row


def _part_of(job: Job, number: int) -> Part:
    if not 0 <= number < len(job.parts):
        raise NotFoundError("the scan has no such part")
    return job.parts[number]


def _note_refusal(
    tx: Tx, station: Station, actor: Actor, peer: PeerRow, part: Part, error: MedP2PError
) -> None:
    station.ledger.record(
        tx,
        event="send",
        actor=actor,
        outcome="refused",
        peer=peer.name,
        peer_key=peer.noise_key,
        detail={"code": error.code, "stops": sorted({one.code for one in part.stops})},
        patient=queueing.patient_facts(part),
    )
