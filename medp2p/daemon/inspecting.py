"""What the files of a scan say about themselves: read in bounded children, kept per file identity.

Two warm children use two cores; the thread beside each reads the next files meanwhile. What was
read of a file is kept in memory, and good as long as size, times, inode, device and the first KiB
are the same.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from medp2p import limits
from medp2p.daemon.groups import one_error
from medp2p.daemon.instances import is_instance
from medp2p.dicom.checks import to_digest
from medp2p.dicom.facts import FileFacts
from medp2p.dicom.patients import Item
from medp2p.dicom.worker import UNREAD, Inspector, Sample
from medp2p.errors import TransferAbortedError
from medp2p.model import Kind
from medp2p.parcel.heads import Heads
from medp2p.parcel.record import FileStat, Scan

_T = TypeVar("_T")
_Key = tuple[FileStat, bytes]

#: Files looked at so far.
Progress = Callable[[int], None]


class Inspectors:
    """The children of one daemon, started when they are first needed.

    Args:
        children: In tests: those of all daemons of one process.
    """

    def __init__(self, children: Sequence[Inspector] = ()) -> None:
        self._children = list(children) or [Inspector() for _ in range(limits.DICOM_CHILDREN)]
        self._known: OrderedDict[_Key, tuple[FileFacts, bytes | None]] = OrderedDict()
        self._lock = threading.Lock()
        self._limiter = trio.CapacityLimiter(2 * limits.DICOM_CHILDREN)

    def close(self) -> None:
        """End the children; inspections under way fail."""
        for child in self._children:
            child.close()

    async def inspect(
        self, scan: Scan, progress: Progress, cancelled: Callable[[], bool], now_ms: int
    ) -> list[Item]:
        """Return what each file of a scan says, in the order of the manifest.

        Args:
            scan: What was found; only its files are looked at.
            progress: Called in the trio thread.
            cancelled: Asked between two batches.
            now_ms: When the scan was made: files written just before are looked at twice.

        Raises:
            TransferAbortedError: ``cancelled`` said so.
        """
        work = _Work(scan, [n for n, one in enumerate(scan.entries) if one.kind is Kind.FILE])
        try:
            await self._thread(self._take_known, work)
            progress(len(work.facts))
            began = trio.current_time()
            batches = iter(_batches([n for n in work.files if n not in work.facts]))
            with one_error():
                async with trio.open_nursery() as nursery:
                    for child in self._children:
                        nursery.start_soon(self._drain, child, work, batches, progress, cancelled)
            await self._look_again(work, began, now_ms)
            return await self._thread(_items, work)
        finally:
            work.heads.close()

    async def _drain(
        self,
        child: Inspector,
        work: "_Work",
        batches: Iterator[list[int]],
        progress: Progress,
        cancelled: Callable[[], bool],
    ) -> None:
        for batch in batches:
            if cancelled():
                raise TransferAbortedError("the scan was cancelled")
            await self._thread(_inspect_batch, child, work, batch)
            self._keep(work, batch)
            progress(len(work.facts))

    async def _look_again(self, work: "_Work", began: float, now_ms: int) -> None:
        """Find what still grows: files written a moment ago are looked at a moment later."""
        recent_ns = (now_ms - int(1000 * limits.GROWING_RECENT_SECONDS)) * 1_000_000
        recent = [n for n in work.files if work.scan.entries[n].mtime_ns > recent_ns]
        if recent:
            await trio.sleep_until(began + limits.GROWING_LOOK_SECONDS)
            await self._thread(_find_changed, work, recent)

    async def _thread(self, act: Callable[..., _T], *args: object) -> _T:
        # Only reading: a child that is being closed, or a dead file system, holds nobody up.
        return await trio.to_thread.run_sync(
            lambda: act(*args), limiter=self._limiter, abandon_on_cancel=True
        )

    def _take_known(self, work: "_Work") -> None:
        for number in work.files:
            key = work.key(number)
            with self._lock:
                known = None if key is None else self._known.get(key)
                if key is not None and known is not None:
                    self._known.move_to_end(key)
                    work.facts[number], work.digests[number] = known

    def _keep(self, work: "_Work", batch: Sequence[int]) -> None:
        with self._lock:
            for number in batch:
                facts = work.facts[number]
                key = work.keys.get(number)
                if key and number not in work.changed and facts.reason != UNREAD.reason:
                    self._known[key] = facts, work.digests.get(number)
            while len(self._known) > limits.DICOM_KNOWN_FILES:
                self._known.popitem(last=False)


@dataclass
class _Work:
    """One scan while it is inspected.

    Attributes:
        files: Numbers of the entries that are files.
        facts: Of each, once known.
        digests: Of the content of each image.
        keys: Under what each may be known.
        changed: Files that are not what the scan saw.
    """

    scan: Scan
    files: list[int]
    facts: dict[int, FileFacts] = field(default_factory=dict)
    digests: dict[int, bytes | None] = field(default_factory=dict)
    keys: "dict[int, _Key]" = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.heads = Heads(self.scan)

    def key(self, number: int) -> "_Key | None":
        """Return under what a file may be known: its identity, and how it begins."""
        start = self.heads.read(number, limits.DICOM_KEY_BYTES, 0)
        if start is None or start.changed:
            return None
        digest = hashlib.blake2b(start.head, digest_size=16).digest()
        self.keys[number] = self.scan.stat(number), digest
        return self.keys[number]


def _batches(numbers: Sequence[int]) -> Iterator[list[int]]:
    size = limits.DICOM_BATCH_FILES
    for first in range(0, len(numbers), size):
        yield list(numbers[first : first + size])


def _inspect_batch(child: Inspector, work: _Work, batch: Sequence[int]) -> None:
    """Inspect some files; those that want more bytes, or met a failing child, once more."""
    wanted = dict.fromkeys(batch, limits.DICOM_HEAD_BYTES)
    again: set[int] = set()
    while wanted:
        portion = _portion(wanted)
        samples = {n: _sample(work, n, wanted.pop(n)) for n in portion}
        known = [n for n in portion if samples[n] is not None]
        answers = child.inspect_many([one for n in known if (one := samples[n]) is not None])
        for number in portion:
            work.facts[number] = UNREAD
        for number, facts in zip(known, answers, strict=True):
            work.facts[number] = facts
            sample = samples[number]
            if sample is None:
                continue
            if facts.wanted_bytes > len(sample.head):
                wanted[number] = facts.wanted_bytes
            elif facts.reason == UNREAD.reason and number not in again:
                again.add(number)
                wanted[number] = max(len(sample.head), limits.DICOM_HEAD_BYTES)
    for number in batch:
        if is_instance(work.facts[number]):
            work.digests[number] = work.heads.digest(number)


def _portion(wanted: dict[int, int]) -> list[int]:
    """Return the next files to ask about: no more bytes than one large question has."""
    portion: list[int] = []
    room = limits.DICOM_MAX_HEAD_BYTES
    for number, count in wanted.items():
        if portion and count > room:
            break
        portion.append(number)
        room -= count
    return portion


def _sample(work: _Work, number: int, count: int) -> Sample | None:
    head = work.heads.read(number, count, limits.DICOM_TAIL_BYTES)
    if head is None:
        work.changed.add(number)
        return None
    if head.changed:
        work.changed.add(number)
    return Sample(head.head, head.size, head.tail)


def _find_changed(work: _Work, numbers: Sequence[int]) -> None:
    work.changed.update(number for number in numbers if work.heads.has_changed(number))


def _items(work: _Work) -> list[Item]:
    """Return the items; all that may share an instance with another have their digests."""
    items = [
        Item(
            work.scan.entries[number].path,
            work.facts[number],
            work.digests.get(number),
            number in work.changed,
        )
        for number in work.files
    ]
    for place in to_digest(items):
        if items[place].digest is None:
            items[place] = items[place]._replace(digest=work.heads.digest(work.files[place]))
    return items
