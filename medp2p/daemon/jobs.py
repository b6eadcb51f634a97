"""Scans that no transfer refers to yet: in memory only, not many, and not for long."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import trio

from medp2p import limits
from medp2p.daemon import views
from medp2p.daemon.again import Earlier
from medp2p.daemon.asking import part_view, skipped_view
from medp2p.daemon.live import Bell
from medp2p.daemon.parts import Part, Wishes
from medp2p.dicom.patients import Item
from medp2p.errors import ConflictError, MedP2PError, NotFoundError
from medp2p.parcel.scan import Scan


@dataclass
class Job:
    """One walk over sources, under way or done.

    Attributes:
        peer: Local name of the peer it is meant for.
        peer_key: Its key when the scan began.
        wishes: What the sender asks of it.
        inspected: Files whose headers were read so far.
        found: What the walk found, without what was excluded, once all is done.
        items: What each file of it says.
        parts: What becomes of it.
        queued: Numbers of the parts that are transfers, or are about to become some.
        done: Numbers of the parts that are transfers.
        earlier: What an earlier transfer means for it.
        since: When it began; once it is over, when it ended.
    """

    id: str
    peer: str
    peer_key: bytes
    wishes: Wishes = field(default_factory=Wishes)
    files: int = 0
    file_bytes: int = 0
    inspected: int = 0
    found: Scan | None = None
    items: list[Item] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    settings: Mapping[str, str] = field(default_factory=dict)
    queued: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    earlier: Earlier | None = None
    error: MedP2PError | None = None
    bell: Bell = field(default_factory=Bell)
    since: float = field(default_factory=trio.current_time)
    told: float = 0.0
    divided: tuple[Wishes, Mapping[str, str], str] | None = None

    def tell(self) -> None:
        """Wake who follows, a few times a second: each answer to them costs a millisecond."""
        now = trio.current_time()
        if now - self.told >= limits.SCAN_NEWS_SECONDS:
            self.told = now
            self.bell.ring()

    @property
    def state(self) -> str:
        """Return "scanning", "done" or "failed"."""
        if self.error is not None:
            return "failed"
        return "scanning" if self.found is None else "done"

    def view(self) -> views.Json:
        """Return the job as JSON."""
        return {
            "scan": self.id,
            "peer": self.peer,
            "state": self.state,
            "files": self.files,
            "bytes": self.file_bytes,
            "inspected": self.inspected,
            "entries": None if self.found is None else len(self.found.entries),
            "skipped": skipped_view(self.parts, self.settings),
            "parts": [part_view(n, one, self.settings) for n, one in enumerate(self.parts)],
            "error": None
            if self.error is None
            else self.error.to_json() | {"exit_code": self.error.exit_code},
        }


class Jobs:
    """The scans of this daemon that no transfer refers to yet."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def __contains__(self, scan_id: str) -> bool:
        """Return whether a scan is still wanted. From any thread."""
        return scan_id in self._jobs

    def add(self, job: Job) -> None:
        """Take a new one.

        Raises:
            ConflictError: Too many are under way. Of unconfirmed ones the oldest is dropped.
        """
        for old in self._old():  # a walk that hangs, too: it must not keep its place for good
            self.drop(old.id)
        over = [job.id for job in self._jobs.values() if job.state != "scanning"]
        for name in over[: max(0, len(self._jobs) + 1 - limits.MAX_SCANS)]:
            self.drop(name)
        if len(self._jobs) >= limits.MAX_SCANS:
            raise ConflictError("too many scans are under way")
        self._jobs[job.id] = job

    def get(self, scan_id: str) -> Job:
        """Return one.

        Raises:
            NotFoundError: It was confirmed, dropped after an hour, or never was.
        """
        self._drop_old()
        job = self._jobs.get(scan_id)
        if job is None:
            raise NotFoundError("no such scan; it is confirmed already, or an hour old")
        return job

    def drop(self, scan_id: str) -> None:
        """Forget one, if it is there."""
        self._jobs.pop(scan_id, None)

    async def forget_old(self) -> None:
        """Forget what nobody has confirmed, whether or not anybody asks; until cancelled."""
        while True:
            await trio.sleep(limits.HOUSEKEEPING_SECONDS)
            self._drop_old()

    def _drop_old(self) -> None:
        for job in self._old():
            if job.state != "scanning":  # it is followed; what it finds has its hour yet
                self.drop(job.id)

    def _old(self) -> list[Job]:
        oldest = trio.current_time() - limits.KEEP_SCAN_SECONDS
        return [job for job in self._jobs.values() if job.since < oldest]
