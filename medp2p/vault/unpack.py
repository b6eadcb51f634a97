"""Puts the files of a stream into a stage, in the order of the stream.

Source: docs/VAULT.md, "Release".
"""

import os
from collections.abc import Sequence
from contextlib import suppress

from medp2p.errors import ReleaseError
from medp2p.layout import FilePart
from medp2p.model import Entry, Kind
from medp2p.vault.durable import Files, disk_errors
from medp2p.vault.names import NameRules, TargetNames
from medp2p.vault.stage import Stage


class Unpacker:
    """Makes every entry of a manifest below a stage's root.

    Bytes come in by `write` in the order of the stream; folders and empty files, which have
    none, are made on the way. At most one file is open.

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
        self._next = 0  # first entry that is not made yet
        self._open: int | None = None
        self.mapped = self._names.mapped

    def write(self, part: FilePart, data: memoryview) -> None:
        """Write the bytes of a part of a file.

        Raises:
            NoSpaceError: The target is full.
            ReleaseError: The target does not take it; tells the number of the entry.
        """
        with disk_errors(ReleaseError, self._entry(part.index)):
            descriptor = self._open
            if descriptor is None or part.index >= self._next:
                self._make_until(part.index)
                descriptor = self._open = self._stage.create(self.target(part.index))
                self._next = part.index + 1
            self._files.pwrite_all(descriptor, data, part.offset, step="release-write")

    def finish(self) -> None:
        """Make what is left, and give folders their times: last, for each file changes them.

        Raises:
            NoSpaceError: The target is full.
            ReleaseError: The target does not take it.
        """
        with disk_errors(ReleaseError, self._entry(self._next)):
            self._make_until(len(self._entries))
            for index in range(len(self._entries) - 1, -1, -1):
                if self._entries[index].kind is Kind.DIRECTORY:
                    self._set_time(self._stage.folder(self.target(index)), index)

    def close(self) -> None:
        """Close the file that is open, if any."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _make_until(self, end: int) -> None:
        if self._open is not None:
            self._set_time(self._open, self._next - 1)
            self.close()
        for index in range(self._next, end):
            if self._entries[index].kind is Kind.DIRECTORY:
                self._stage.folder(self.target(index))
            else:
                descriptor = self._stage.create(self.target(index))
                self._set_time(descriptor, index)
                os.close(descriptor)
        self._next = end

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
