"""What the files of a scan say about themselves: read in bounded children, kept per file identity.

What is no DICOM at first sight is told here, from the same bytes. Two warm children use two cores
for the rest; the thread beside each reads the next files meanwhile. What was read of a file is
kept in memory, and good as long as size, times, inode, device and the first KiB are the same.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import trio

from medp2p import limits
from medp2p.dicom.checks import to_digest
from medp2p.dicom.facts import FileFacts
from medp2p.dicom.patients import Item
from medp2p.dicom.plain import inspect_plainly
from medp2p.dicom.wanted import Wanted
from medp2p.dicom.worker import UNREAD, Inspector, Sample
from medp2p.errors import TransferAbortedError
from medp2p.groups import one_error
from medp2p.manifest import Kind
from medp2p.parcel.folders import Neighbours
from medp2p.parcel.heads import Heads
from medp2p.parcel.record import FileStat, Scan

_T = TypeVar("_T")

#: Files looked at so far.
Progress = Callable[[int], None]


class Inspectors:
    """The children of one daemon, started when they are first needed.

    Args:
        children: In tests: those of all daemons of one process.
    """

    def __init__(self, children: Sequence[Inspector] = ()) -> None:
        self._children = list(children) or [Inspector() for _ in range(limits.DICOM_CHILDREN)]
        #: By what a file looked like: a digest of how it began, and its facts.
        self._known: OrderedDict[FileStat, tuple[bytes, FileFacts]] = OrderedDict()
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
        while True:
            # One thread reads at a time: two that both make short system calls take turns at the
            # interpreter lock, and twice as long. Meanwhile the other child is asked.
            async with work.reading:
                batch = next(batches, None)
                if batch is None:
                    return
                if cancelled():
                    raise TransferAbortedError("the scan was cancelled")
                samples = await self._thread(_read_batch, work, batch)
            if samples:
                await self._thread(_ask, child, work, samples)
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
        """Take over what is known, where a file looks and begins as it did."""
        if not self._known:
            return
        with work.heads.neighbours() as at:
            for number in work.files:
                stat = work.scan.stat(number)
                with self._lock:
                    known = self._known.get(stat)
                if known is None:
                    continue
                head = work.heads.read(number, limits.DICOM_KEY_BYTES, 0, at)
                if head is None or head.changed or _beginning(head.head) != known[0]:
                    continue
                work.facts[number] = known[1]
                with self._lock, suppress(KeyError):
                    self._known.move_to_end(stat)

    def _keep(self, work: "_Work", batch: Sequence[int]) -> None:
        """Remember what was read; what is no DICOM is told as quickly as it would be found."""
        with self._lock:
            for number in batch:
                facts, begin = work.facts[number], work.begins.pop(number, None)
                if begin and number not in work.changed and facts.reason != UNREAD.reason:
                    self._known[work.scan.stat(number)] = begin, facts
            while len(self._known) > limits.DICOM_KNOWN_FILES:
                self._known.popitem(last=False)


@dataclass
class _Work:
    """One scan while it is inspected.

    Attributes:
        files: Numbers of the entries that are files.
        facts: Of each, once known.
        begins: Digests of the first KiB of those that a child was asked about.
        changed: Files that are not what the scan saw.
    """

    scan: Scan
    files: list[int]
    facts: dict[int, FileFacts] = field(default_factory=dict)
    begins: dict[int, bytes] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.heads = Heads(self.scan)
        self.reading = trio.Lock()


def _beginning(head: bytes) -> bytes:
    return hashlib.blake2b(head[: limits.DICOM_KEY_BYTES], digest_size=16).digest()


def _batches(numbers: Sequence[int]) -> Iterator[list[int]]:
    size = limits.DICOM_BATCH_FILES
    for first in range(0, len(numbers), size):
        yield list(numbers[first : first + size])


def _read_batch(work: _Work, batch: Sequence[int]) -> dict[int, Sample]:
    """Read some files; return those that a child must be asked about."""
    samples: dict[int, Sample] = {}
    with work.heads.neighbours() as at:
        for number in batch:
            sample = _sample(work, number, limits.DICOM_HEAD_BYTES, at)
            plain = UNREAD if sample is None else inspect_plainly(sample.head)
            if sample is not None and plain is None:
                samples[number] = sample
                work.begins[number] = _beginning(sample.head)
            else:
                work.facts[number] = plain or UNREAD
    return samples


def _ask(child: Inspector, work: _Work, samples: dict[int, Sample]) -> None:
    """Inspect some files; those that want more bytes, or met a failing child, once more."""
    wanted = Wanted()
    with work.heads.neighbours() as at:
        while samples or wanted:
            answers = child.inspect_many(list(samples.values()))
            for (number, sample), facts in zip(samples.items(), answers, strict=True):
                work.facts[number] = facts
                wanted.note(number, sample, facts)
            samples = {}
            for number, count in wanted.take():
                more = _sample(work, number, count, at)
                if more is None:
                    work.facts[number] = UNREAD
                else:
                    samples[number] = more


def _sample(work: _Work, number: int, count: int, at: Neighbours) -> Sample | None:
    head = work.heads.read(number, count, limits.DICOM_TAIL_BYTES, at)
    if head is None or head.changed:
        work.changed.add(number)
    return None if head is None else Sample(head.head, head.size, head.tail)


def _find_changed(work: _Work, numbers: Sequence[int]) -> None:
    with work.heads.neighbours() as at:
        work.changed.update(number for number in numbers if work.heads.has_changed(number, at))


def _items(work: _Work) -> list[Item]:
    """Return the items; all that may share an instance with another have their digests."""
    items = [
        Item(work.scan.entries[number].path, work.facts[number], None, number in work.changed)
        for number in work.files
    ]
    for place in to_digest(items):
        items[place] = items[place]._replace(digest=work.heads.digest(work.files[place]))
    return items
