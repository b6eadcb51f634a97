"""Reading a sealed stream as a whole and proving it, with both cores.

Each chunk is one call of a worker thread: read, open, hash, compare the headers, hand the files'
bytes over. The digests come together in order in the caller's thread and make the root.

Source: docs/VAULT.md, "Release".
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field

from medp2p import limits
from medp2p.digest import chunk_digest, root_digest
from medp2p.errors import IntegrityError, ReleaseError
from medp2p.layout import Bytes, FilePart, Layout
from medp2p.vault.age_reader import SealReader
from medp2p.vault.direct import PAGE_BYTES, lay

#: The files of a chunk of more small ones than that are written by one thread at a time: two that
#: both make short system calls hand the interpreter lock to and fro, and take longer than one.
_MANY_PARTS = 3 * 8
#: Takes the bytes of a part of a file.
Write = Callable[[FilePart, memoryview], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsealing:
    """A sealed stream and what was agreed to: `run` alone proves it and writes nothing.

    Attributes:
        reader: The sealed stream; stays open.
        layout: Of the manifest that was agreed to.
        key: From digest.stream_key.
        offer: Offer digest, 32 bytes.
        root: Root that the receipt names, 32 bytes.
        cancelled: Is asked before each chunk, in the caller's thread.
    """

    reader: SealReader
    layout: Layout
    key: bytes
    offer: bytes
    root: bytes
    cancelled: Callable[[], bool]
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def run(self, write: Write | None = None, content: Write | None = None) -> None:
        """Check everything. Blocks; both functions get bytes before the root is known.

        Args:
            write: Gets each part of a file, from several threads at a time, in any order.
            content: Gets each part in order, in the caller's thread.

        Raises:
            IntegrityError: The stream is not what was agreed to.
            SealBrokenError: The sealed file is damaged.
            ReleaseError: cancelled() said so.
        """
        if self.reader.size != self.layout.size:
            raise IntegrityError("the sealed stream has another length than was agreed to")
        with ThreadPoolExecutor(limits.RELEASE_THREADS, "medp2p-release") as pool:
            try:
                digests = self._digests(pool, write, content)
                root = root_digest(self.key, self.offer, self.layout.size, digests)
            finally:
                pool.shutdown(cancel_futures=True)
        if root != self.root:
            raise IntegrityError("the sealed stream is not the one that was agreed to")

    def _digests(
        self, pool: ThreadPoolExecutor, write: Write | None, content: Write | None
    ) -> Iterator[bytes]:
        count = self.layout.chunk_count
        # One more than threads: it is in nobody's hands while its digest is taken.
        ahead = limits.RELEASE_THREADS + 1
        size = limits.CHUNK_BYTES + PAGE_BYTES
        buffers = [memoryview(bytearray(size)) for _ in range(min(ahead, count))]
        at_work: deque[Future[tuple[memoryview, bytes]]] = deque()
        submitted = 0
        for index in range(count):
            if self.cancelled():
                raise ReleaseError("stopped before it was done")
            while submitted < min(index + ahead, count):
                buffer = buffers[submitted % ahead]
                at_work.append(pool.submit(self._chunk, submitted, buffer, write))
                submitted += 1
            data, digest = at_work.popleft().result()
            if content is not None:
                self._take(self._parts(index), data, content)
            yield digest

    def _chunk(
        self, index: int, buffer: memoryview, write: Write | None
    ) -> tuple[memoryview, bytes]:
        """In a worker thread: the whole of a chunk."""
        parts = self._parts(index)
        view = lay(buffer, self.layout.chunk_length(index), _place(parts))
        self.reader.read_into(index * limits.CHUNK_BYTES, view)
        if write is not None:  # what is written needs as much memory as was read
            self.reader.forget(index * limits.CHUNK_BYTES, len(view))
        digest = chunk_digest(self.key, index, view)
        self._take(parts, view, write)
        return view, digest

    def _parts(self, index: int) -> list[Bytes | FilePart]:
        start = index * limits.CHUNK_BYTES
        return list(self.layout.segments(start, start + self.layout.chunk_length(index)))

    def _take(self, parts: list[Bytes | FilePart], data: memoryview, write: Write | None) -> None:
        """Compare what is no file's with the manifest, hand over what is."""
        with self._turn if len(parts) > _MANY_PARTS else nullcontext():
            self._compare(parts, data, write)

    def _compare(
        self, parts: list[Bytes | FilePart], data: memoryview, write: Write | None
    ) -> None:
        at = 0
        for part in parts:
            if isinstance(part, Bytes):
                end = at + len(part.data)
                if data[at:end] != part.data:
                    raise IntegrityError("a header in the sealed stream was not agreed to")
            else:
                end = at + part.length
                if write is not None:
                    write(part, data[at:end])
            at = end


def _place(parts: list[Bytes | FilePart]) -> int:
    """Return where a chunk would begin in its largest file, so that it lies in pages as that does.

    The file then goes to the disk past the page cache (vault.direct).
    """
    at = largest = place = 0
    for part in parts:
        length = part.length if isinstance(part, FilePart) else len(part.data)
        if isinstance(part, FilePart) and length > largest:
            largest, place = length, part.offset - at
        at += length
    return place
