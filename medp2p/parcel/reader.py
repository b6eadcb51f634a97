"""Fill chunks of the stream straight from the source files, and notice when one has changed.

Each read is enclosed by two looks at the file. Another size or modification time, or a file that
is gone, short or no regular file any more, fails the transfer and names the file. Where only the
inode's change time, number or device differ (a virus scanner, a remount, a copy put in place) the
entry is noted as touched and reading goes on: the caller then reads again what it sent already,
and compares digests.

Thread-safe. What is read goes from the kernel into the caller's buffer without a copy.
"""

import errno
import os
import stat
import threading
from contextlib import nullcontext

from medp2p import limits
from medp2p.closing import Closing
from medp2p.errors import LocalProtocolError, SourceChangedError, SourceError
from medp2p.layout import Bytes, FilePart, Layout
from medp2p.manifest import Kind
from medp2p.parcel.contents import Contents
from medp2p.parcel.descriptors import Descriptors
from medp2p.parcel.folders import Folders, Neighbours
from medp2p.parcel.record import Scan, clamp_ns
from medp2p.text import path_text

_REPLACED = "is no regular file any more"
_SHUT = "may no longer be read"
_CHANGES = {
    errno.ENOENT: "is gone",
    errno.ESTALE: "is gone",
    errno.ENOTDIR: "is gone: a folder above it was replaced",
    errno.ELOOP: _REPLACED,
    errno.ENXIO: _REPLACED,
    errno.ESPIPE: _REPLACED,
    errno.EISDIR: _REPLACED,
    errno.EACCES: _SHUT,
    errno.EPERM: _SHUT,
}
#: A chunk of more small files than that is read by one thread at a time: two that both make short
#: system calls hand the interpreter lock to and fro, and take twice as long as one.
_MANY_SEGMENTS = 3 * 8
#: Descriptors ran out, in this process or in the whole machine.
_TOO_MANY = (errno.EMFILE, errno.ENFILE)


class Reader(Closing):
    """The bytes of one scan's stream.

    Args:
        scan: What was found.
        layout: Of its entries.
        contents: Takes the bytes of all parts that are read as chunks.

    Attributes:
        touched: Numbers of the entries whose change time, inode or device differ from the scan.
            It only grows; the caller re-reads `chunks_of` each.
        replaced: Those of them that are another file now (another inode): without a digest from
            before, nothing tells whether it holds the same bytes.
    """

    def __init__(self, scan: Scan, layout: Layout, contents: Contents | None = None) -> None:
        self.touched: set[int] = set()
        self.replaced: set[int] = set()
        self._scan, self._layout, self._contents = scan, layout, contents
        self._folders = Folders(scan.roots, limits.READER_FOLDERS)
        self._files = Descriptors(limits.READER_FILES)
        self._turn = threading.Lock()

    def close(self) -> None:
        """Close all files; reads that are still under way close theirs when they end."""
        self._files.close()
        self._folders.close()

    def chunks_of(self, entry: int) -> range:
        """Return the numbers of the chunks that hold data of an entry; none if it is empty."""
        size = self._scan.entries[entry].size
        start = self._layout.data_offset(entry)
        first = start // limits.CHUNK_BYTES
        return range(first, (start + size - 1) // limits.CHUNK_BYTES + 1 if size else first)

    def read_chunk_into(self, index: int, view: memoryview) -> None:
        """Read one chunk of the stream. Blocking; for worker threads.

        Args:
            index: Number of the chunk.
            view: Writable, exactly as long as the chunk. After an error its contents are void.

        Raises:
            SourceChangedError: A file is not what the scan saw; the text names it.
            SourceError: A file cannot be read (a broken disk, no descriptors left).
            LocalProtocolError: The view has the wrong length.
        """
        length = self._layout.chunk_length(index)
        if len(view) != length:
            raise LocalProtocolError(f"a view of {len(view)} bytes for a chunk of {length}")
        start = index * limits.CHUNK_BYTES
        segments = list(self._layout.segments(start, start + length))
        with self._turn if len(segments) > _MANY_SEGMENTS else nullcontext():
            self._read_segments(segments, view)

    def _read_segments(self, segments: list[Bytes | FilePart], view: memoryview) -> None:
        position = 0
        with Neighbours(self._folders) as at:
            for segment in segments:
                if isinstance(segment, Bytes):
                    end = position + len(segment.data)
                    view[position:end] = segment.data
                else:
                    end = position + segment.length
                    self._read_part(segment, view[position:end], at)
                    if self._contents is not None:
                        self._contents.take(segment, view[position:end])
                position = end

    def read_head(self, entry: int) -> bytes:
        """Return the first bytes of an entry, COMPRESSION_HEAD_BYTES at most. Blocking.

        Raises:
            SourceChangedError, SourceError: As read_chunk_into.
        """
        size = min(self._scan.entries[entry].size, limits.COMPRESSION_HEAD_BYTES)
        head = bytearray(size)
        with Neighbours(self._folders) as at:
            self._read_part(FilePart(entry, 0, size), memoryview(head), at)
        return bytes(head)

    def _read_part(self, part: FilePart, view: memoryview, at: Neighbours) -> None:
        try:
            try:
                self._read(part, view, at)
            except OSError as error:
                if error.errno not in _TOO_MANY:
                    raise
                at.close()
                self._files.clear()
                self._folders.clear()
                self._read(part, view, at)
        except OSError as error:
            name = path_text(self._scan.entries[part.index].path)
            if error.errno in _CHANGES:
                raise SourceChangedError(f"{name} {_CHANGES[error.errno]}") from error
            raise SourceError(f"cannot read {name}: {error.strerror}") from error

    def _read(self, part: FilePart, view: memoryview, at: Neighbours) -> None:
        entry = self._scan.entries[part.index]
        key = (self._scan.root_of[part.index], entry.path)

        def open_it() -> int:
            return at.open_file(*key, lambda found: self._check(part.index, found))

        if part.length == entry.size:  # read whole: nobody will ask for it again soon
            descriptor = open_it()
            try:
                self._fill(part, descriptor, view)
            finally:
                os.close(descriptor)
            return
        lease = self._files.take(key, open_it)
        try:
            self._check(part.index, os.fstat(lease.descriptor))
            self._fill(part, lease.descriptor, view)
        finally:
            self._files.release(lease)
        if part.offset + part.length == entry.size or part.index in self.touched:
            self._files.drop(key)  # done with, or what lies at the path now is wanted

    def _fill(self, part: FilePart, descriptor: int, view: memoryview) -> None:
        """Read a part and compare the file with the scan afterwards."""
        offset, complete = part.offset, True
        while view and complete:
            count = os.preadv(descriptor, [view], offset)
            view, offset, complete = view[count:], offset + count, count > 0
        self._check(part.index, os.fstat(descriptor))
        if not complete:
            raise self._changed(part.index, "is shorter than it says")

    def _check(self, index: int, found: os.stat_result) -> None:
        """Compare a file with what the scan saw.

        Raises:
            SourceChangedError: It has changed.
            OSError: It was unlinked and nothing lies at its path.
        """
        if _is_as_scanned(self._scan, index, found):
            return
        if not found.st_nlink:  # an open file outlives its name: what counts lies at the path
            root = self._scan.root_of[index]
            found = self._folders.look(root, self._scan.entries[index].path)
        how = how_changed(self._scan, index, found)
        if how is not None:
            raise self._changed(index, how)
        if is_touched(self._scan, index, found):
            self.touched.add(index)
            if found.st_ino != self._scan.inode[index]:
                self.replaced.add(index)

    def _changed(self, index: int, how: str) -> SourceChangedError:
        return SourceChangedError(f"{path_text(self._scan.entries[index].path)} {how}")


def _is_as_scanned(scan: Scan, index: int, found: os.stat_result) -> bool:
    """Return whether a file is in every way what the scan saw: nearly all are, and cost little."""
    entry = scan.entries[index]
    return (
        found.st_size == entry.size
        and found.st_mtime_ns == entry.mtime_ns
        and found.st_ctime_ns == scan.ctime_ns[index]
        and found.st_ino == scan.inode[index]
        and found.st_dev == scan.device[index]
        and found.st_nlink > 0
        and stat.S_ISREG(found.st_mode)
    )


def how_changed(scan: Scan, index: int, found: os.stat_result) -> str | None:
    """Return in which way a file is not what the scan saw, as the rest of a sentence, or None."""
    entry = scan.entries[index]
    if not stat.S_ISREG(found.st_mode):
        return _REPLACED
    if found.st_size != entry.size:
        return f"has changed: it had {entry.size} bytes and has {found.st_size} now"
    if clamp_ns(found.st_mtime_ns) != entry.mtime_ns:
        return "has changed: it was written to since it was selected"
    return None


def is_touched(scan: Scan, index: int, found: os.stat_result) -> bool:
    """Return whether only a new reading can tell if a file is what the scan saw."""
    return (clamp_ns(found.st_ctime_ns), found.st_ino, found.st_dev) != (
        scan.ctime_ns[index],
        scan.inode[index],
        scan.device[index],
    )


def check_unchanged(scan: Scan, touched: set[int] | None = None) -> list[bytes]:
    """Look at every file of a scan once more, by its path. Blocking; about 5 us a file.

    Args:
        scan: What is to be compared.
        touched: Takes the numbers of entries whose change time, inode or device differ.

    Returns:
        Paths of entries that have changed, are gone or cannot be looked at; none is good.
    """
    changed = []
    folders = Folders(scan.roots, limits.READER_FOLDERS)
    try:
        with Neighbours(folders) as at:
            for index, entry in enumerate(scan.entries):
                if entry.kind is not Kind.FILE:
                    continue
                try:
                    found = at.look(scan.root_of[index], entry.path)
                except OSError:
                    changed.append(entry.path)
                    continue
                if _is_as_scanned(scan, index, found):
                    continue
                if how_changed(scan, index, found) is not None:
                    changed.append(entry.path)
                elif touched is not None and is_touched(scan, index, found):
                    touched.add(index)
    finally:
        folders.close()
    return changed
