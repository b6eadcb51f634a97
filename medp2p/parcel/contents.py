"""What files hold, as digests that are made while the files are sent.

A file is hashed in the pieces into which the chunks of the stream cut it: in any order, by any
thread, and without being read once more. The same content in another stream is cut at another
place and has another digest; who wants to compare hashes it again, cut as it was then.
"""

import threading
from collections.abc import Iterable, Iterator

from blake3 import blake3

from medp2p import limits
from medp2p.layout import FilePart, Layout

_CONTEXT = "medp2p 1 file content"


def cut_of(layout: Layout, index: int) -> int:
    """Return the bytes of an entry's first piece, if it is so long; all others have CHUNK_BYTES."""
    return limits.CHUNK_BYTES - layout.data_offset(index) % limits.CHUNK_BYTES


def pieces(size: int, cut: int) -> Iterator[tuple[int, int]]:
    """Return (offset, length) of the pieces of a file."""
    offset, length = 0, min(cut, size)
    while length:
        yield offset, length
        offset += length
        length = min(limits.CHUNK_BYTES, size - offset)


def piece_digest(view: memoryview) -> bytes:
    """Return the digest of a piece; it is made with the interpreter lock released."""
    return blake3(view).digest()


def content_digest(size: int, cut: int, digests: Iterable[bytes]) -> bytes:
    """Return the digest of a content, from those of its pieces in order."""
    whole = blake3(derive_key_context=_CONTEXT)
    whole.update(size.to_bytes(8, "big") + cut.to_bytes(4, "big"))
    whole.update(b"".join(digests))
    return whole.digest()


class Contents:
    """The contents of some entries, as far as their pieces were read; thread-safe.

    Attributes:
        layout: Of the stream.
        wanted: Numbers of the entries.
    """

    def __init__(self, layout: Layout, wanted: Iterable[int]) -> None:
        self.layout = layout
        self.wanted = frozenset(wanted)
        self._lock = threading.Lock()
        self._parts: dict[int, dict[int, bytes]] = {}
        self._done: dict[int, bytes] = {}

    def take(self, part: FilePart, view: memoryview) -> None:
        """Note the bytes of a part, which is what one chunk holds of its file."""
        index = part.index
        if index not in self.wanted or index in self._done:
            return
        digest = piece_digest(view)
        with self._lock:
            known = self._parts.setdefault(index, {})
            known[part.offset] = digest
            whole = self._whole(index)
            if whole is not None:
                self._done[index] = whole
                del self._parts[index]

    def digest(self, index: int) -> bytes | None:
        """Return the digest of an entry's content; None if it is not wanted, or was not read."""
        if index in self.wanted and not self.layout.entries[index].size:
            return content_digest(0, cut_of(self.layout, index), ())
        return self._done.get(index)

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that hold pieces that were not read, ascending."""
        chunks = set()
        for index in self.wanted.difference(self._done):
            start, known = self.layout.data_offset(index), self._parts.get(index, {})
            size = self.layout.entries[index].size
            for offset, _ in pieces(size, cut_of(self.layout, index)):
                if offset not in known:
                    chunks.add((start + offset) // limits.CHUNK_BYTES)
        return sorted(chunks)

    def _whole(self, index: int) -> bytes | None:
        size, cut = self.layout.entries[index].size, cut_of(self.layout, index)
        known = self._parts[index]
        count = 1 + -(-max(size - cut, 0) // limits.CHUNK_BYTES)
        if len(known) < count:
            return None
        return content_digest(size, cut, (known[offset] for offset, _ in pieces(size, cut)))
