"""Looking at the files of a sealed transfer, through the sealed file, in bounded children.

Only the pieces of the sealed file that hold heads and tails are opened. What may be DICOM goes in
memory to a child; nothing lies in clear on the disk. Blocking; for worker threads.
"""

import hashlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from medp2p import limits
from medp2p.dicom import checks
from medp2p.dicom.facts import FileFacts
from medp2p.dicom.patients import Item
from medp2p.dicom.plain import inspect_plainly
from medp2p.dicom.wanted import Wanted
from medp2p.dicom.worker import UNREAD, Inspector, Sample
from medp2p.errors import ReleaseError
from medp2p.layout import Layout
from medp2p.manifest import Kind
from medp2p.vault.age import SealReader


class InspectorPool:
    """Children for looking at sealed files, apart from those that look at sources.

    A child stays warm for the next look: to start one takes longer than 600 headers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: With the time of its last look; the last used one is at the end, and is lent first.
        self._idle: list[tuple[float, Inspector]] = []

    @contextmanager
    def lend(self) -> Iterator[Inspector]:
        """Lend one to a thread; one in which something failed is not kept."""
        with self._lock:
            child = self._idle.pop()[1] if self._idle else Inspector()
        try:
            yield child
        except BaseException:
            child.close()
            raise
        with self._lock:
            self._idle.append((time.monotonic(), child))

    def close(self, idle_seconds: float = 0.0) -> None:
        """End all that have been idle for so long; blocks for a moment."""
        until = time.monotonic() - idle_seconds
        with self._lock:
            over = [child for since, child in self._idle if since <= until]
            self._idle = [one for one in self._idle if one[0] > until]
        for child in over:
            child.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sealed:
    """One sealed transfer, as far as looking at its files needs it."""

    reader: SealReader
    geometry: Layout
    cancelled: Callable[[], bool]
    deadline: float

    @property
    def is_dense(self) -> bool:
        """Return whether most files are smaller than a piece of the sealed file."""
        return self.geometry.size < limits.AGE_CHUNK_BYTES * len(self.geometry.entries)

    def files(self) -> list[int]:
        """Return the numbers of the entries that are files."""
        return [n for n, one in enumerate(self.geometry.entries) if one.kind is Kind.FILE]

    def digest(self, index: int) -> bytes:
        """Return a digest of the whole content of a file."""
        content, size = hashlib.blake2b(digest_size=32), self.geometry.entries[index].size
        data = memoryview(bytearray(limits.CHUNK_BYTES))
        for offset in range(0, size, limits.CHUNK_BYTES):
            self.go_on()
            view = data[: min(limits.CHUNK_BYTES, size - offset)]
            self.reader.read_into(self.geometry.data_offset(index) + offset, view)
            content.update(view)
        return content.digest()

    def go_on(self) -> None:
        """Stop with the daemon."""
        if self.cancelled():
            raise ReleaseError("stopped before it was done")


class _Ends:
    """Heads and tails of files, for one thread.

    Neighbours lie in one piece of the sealed file, which is opened for all of them once.
    """

    def __init__(self, sealed: _Sealed) -> None:
        self.sealed = sealed
        self._memory = memoryview(bytearray(limits.CHUNK_BYTES))
        self._start = self._end = 0

    def sample(self, index: int, count: int) -> Sample:
        """Return both ends of a file, `count` bytes of its head at most."""
        size = self.sealed.geometry.entries[index].size
        head = self._read(index, 0, min(count, size))
        if len(head) == size:
            return Sample(head, size)
        start = max(size - limits.DICOM_TAIL_BYTES, 0)
        return Sample(head, size, self._read(index, start, size - start))

    def _read(self, index: int, offset: int, count: int) -> bytes:
        if not count:
            return b""
        start = self.sealed.geometry.data_offset(index) + offset
        if not self._start <= start <= start + count <= self._end:
            self._open(start, start + count)
        at = start - self._start
        return bytes(self._memory[at : at + count])

    def _open(self, start: int, end: int) -> None:
        """Open the whole pieces that hold a range."""
        piece = limits.AGE_CHUNK_BYTES
        self._start = self._end = start // piece * piece
        if self.sealed.is_dense:  # nearly all of it is wanted: 16 pieces by one call
            end = max(end, self._start + limits.CHUNK_BYTES)
        end = min(-(-end // piece) * piece, self.sealed.reader.size)
        if end - self._start > len(self._memory):  # a header of some MiB
            self._memory = memoryview(bytearray(end - self._start))
        self.sealed.reader.read_into(self._start, self._memory[: end - self._start])
        self._end = end


def inspect_sealed(
    reader: SealReader,
    geometry: Layout,
    inspectors: InspectorPool,
    cancelled: Callable[[], bool],
    seconds: float,
) -> list[Item]:
    """Inspect every file of a sealed transfer, in the order of its manifest. Blocking.

    Args:
        reader: Its sealed stream.
        geometry: Of its manifest.
        inspectors: Lends children to two threads.
        cancelled: Asked before each batch.
        seconds: After so many what is left stays unread: a child killed for each of 100,000
            files must not take days.

    Raises:
        SealBrokenError, StoreError: It cannot be read.
        ReleaseError: cancelled() said so.
    """
    sealed = _Sealed(
        reader=reader,
        geometry=geometry,
        cancelled=cancelled,
        deadline=time.monotonic() + seconds,
    )
    files = sealed.files()
    batches = [
        files[at : at + limits.DICOM_BATCH_FILES]
        for at in range(0, len(files), limits.DICOM_BATCH_FILES)
    ]
    pool = ThreadPoolExecutor(limits.DICOM_CHILDREN, "medp2p-check")
    idle: queue.SimpleQueue[_Ends] = queue.SimpleQueue()
    for _ in range(limits.DICOM_CHILDREN):
        idle.put(_Ends(sealed))

    def inspect(batch: Sequence[int]) -> list[FileFacts]:
        ends = idle.get()
        try:
            return _inspect_batch(ends, inspectors, batch)
        finally:
            idle.put(ends)

    try:
        answers = pool.map(inspect, batches)
        facts = list(itertools.chain.from_iterable(answers))
    finally:
        pool.shutdown(cancel_futures=True)
    items = [
        Item(geometry.entries[number].path, one) for number, one in zip(files, facts, strict=True)
    ]
    for place in checks.to_digest(items):
        items[place] = items[place]._replace(digest=sealed.digest(files[place]))
    return items


def _inspect_batch(ends: _Ends, inspectors: InspectorPool, batch: Sequence[int]) -> list[FileFacts]:
    """Inspect some files; those that want more bytes, or met a failing child, once more."""
    sealed = ends.sealed
    facts = dict.fromkeys(batch, UNREAD)
    wanted = Wanted(batch)
    while wanted and time.monotonic() < sealed.deadline:
        sealed.go_on()
        samples = {}
        for number, count in wanted.take():
            sample = ends.sample(number, count)
            plain = inspect_plainly(sample.head)
            if plain is not None:
                facts[number] = plain
            else:
                samples[number] = sample
        for number, found in zip(samples, _asked(inspectors, samples.values()), strict=True):
            facts[number] = found
            wanted.note(number, samples[number], found)
    return [facts[number] for number in batch]


def _asked(inspectors: InspectorPool, samples: Collection[Sample]) -> list[FileFacts]:
    """Ask a child, if there is anything to ask: none is started for nothing."""
    if not samples:
        return []
    with inspectors.lend() as child:
        return child.inspect_many(list(samples))
