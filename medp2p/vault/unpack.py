"""Puts the files of a stream into a stage, several at a time.

Source: docs/VAULT.md, "Release".
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from medp2p import limits
from medp2p.errors import ReleaseError
from medp2p.layout import FilePart
from medp2p.manifest import Entry, Kind
from medp2p.vault.direct import DirectFile
from medp2p.vault.durable import Files, disk_errors
from medp2p.vault.names import NameRules, TargetNames
from medp2p.vault.stage import Stage


@dataclass(slots=True)
class _File:
    """A file that comes in several parts.

    Attributes:
        direct: For what of it is large enough.
        left: Bytes that are not written yet.
    """

    descriptor: int
    direct: DirectFile
    left: int

    def close(self) -> None:
        """Close both, also where the first tells of an error (NFS)."""
        try:
            self.direct.close()
        finally:
            os.close(self.descriptor)


class Unpacker:
    """Makes every entry of a manifest below a stage's root.

    First `make_folders`, then `write` for all bytes, from any threads and in any order, then
    `finish`; `close` at last, whatever has failed, once no write is under way.

    Attributes:
        mapped: See TargetNames.
    """

    def __init__(
        self, stage: Stage, entries: Sequence[Entry], files: Files, rules: NameRules
    ) -> None:
        self._stage = stage
        self._entries = entries
        self._files = files
        self._names = TargetNames(entries, rules)
        self._lock = threading.Lock()
        self._open: dict[int, _File] = {}
        self.mapped = self._names.mapped

    def make_folders(self) -> None:
        """Make all folders, before any file.

        ext4 then puts them side by side, and finds room for their files several times faster
        than when each folder comes after the files of the last one.

        Raises:
            NoSpaceError: The target is full.
            ReleaseError: The target does not take it.
        """
        made = b""
        for index, entry in enumerate(self._entries):
            path = entry.path
            folder = path if entry.kind is Kind.DIRECTORY else path.rpartition(b"/")[0]
            if folder != made:
                with disk_errors(ReleaseError, self._entry(index)):
                    self._stage.folder(self._names.target(folder))
                made = folder

    def write(self, part: FilePart, data: memoryview) -> None:
        """Write the bytes of a part of a file.

        Raises:
            NoSpaceError: The target is full.
            ReleaseError: The target does not take it; tells the number of the entry.
        """
        index = part.index
        with disk_errors(ReleaseError, self._entry(index)):
            if part.length == self._entries[index].size:
                descriptor = self._stage.create(self.target(index))
                try:
                    self._files.pwrite_all(descriptor, data, 0, step="release-write")
                    if part.length >= limits.WRITEBACK_BYTES:
                        self._files.start_writeback(descriptor, 0, part.length)
                    self._set_time(descriptor, index)
                finally:
                    os.close(descriptor)
            else:
                self._write_part(part, data)

    def _write_part(self, part: FilePart, data: memoryview) -> None:
        index = part.index
        with self._lock:
            file = self._open.get(index)
            if file is None:
                descriptor = self._stage.create(self.target(index))
                size = self._entries[index].size
                file = _File(descriptor, DirectFile(descriptor, size, writing=True), size)
                self._open[index] = file
        self._files.pwritev_all(
            file.descriptor, [data], part.offset, file.direct, step="release-write"
        )
        self._files.start_writeback(file.descriptor, part.offset, len(data))
        with self._lock:
            file.left -= part.length
            if file.left:
                return
            del self._open[index]
        self._set_time(file.descriptor, index)
        file.close()

    def finish(self) -> None:
        """Make empty files, and give folders their times: last, for each file changes them.

        Raises:
            NoSpaceError: The target is full.
            ReleaseError: The target does not take it.
        """
        for index, entry in enumerate(self._entries):
            if entry.kind is Kind.FILE and not entry.size:
                with disk_errors(ReleaseError, self._entry(index)):
                    descriptor = self._stage.create(self.target(index))
                    self._set_time(descriptor, index)
                    os.close(descriptor)
        for index in range(len(self._entries) - 1, -1, -1):
            if self._entries[index].kind is Kind.DIRECTORY:
                with disk_errors(ReleaseError, self._entry(index)):
                    self._set_time(self._stage.folder(self.target(index)), index)

    def close(self) -> None:
        """Close the files that are open, if any: not all was written, so an error tells nothing."""
        while self._open:
            with suppress(OSError):
                self._open.popitem()[1].close()

    def _entry(self, index: int) -> str:
        return f"entry {index + 1} of {len(self._entries)} cannot be written"

    def target(self, index: int) -> bytes:
        """Return where an entry is made, below the root."""
        return self._names.target(self._entries[index].path)

    def _set_time(self, descriptor: int, index: int) -> None:
        """Set a time exactly, or as near as the file system comes: it proves nothing."""
        when = self._entries[index].mtime_ns
        with suppress(OSError, OverflowError):
            os.utime(descriptor, ns=(when, when))
