"""Sealed transfers made in memory, as the tests of release need them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medp2p import limits
from medp2p.digest import chunk_digest, root_digest, stream_key
from medp2p.layout import Bytes, Layout
from medp2p.manifest import Entry, Kind
from medp2p.vault.age import SealWriter
from medp2p.vault.age_header import identity_from_bytes, recipient_of
from medp2p.vault.durable import Files

FILE_KEY = bytes(range(16))
IDENTITY = identity_from_bytes(bytes(range(1, 33)))
RECIPIENT = recipient_of(IDENTITY)
KEY = stream_key(bytes(32))
OFFER = bytes(range(32))
WHEN_NS = 1_700_000_000_123_456_789


def file(path: bytes, size: int, mtime_ns: int = WHEN_NS) -> Entry:
    return Entry(path, Kind.FILE, size, mtime_ns)


def folder(path: bytes, mtime_ns: int = WHEN_NS) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0, mtime_ns)


def contents(entry: Entry) -> bytes:
    """Return what a file holds: follows from its path, differs between files."""
    unit = (entry.path * 40)[:997] + b"\n"
    return (unit * (entry.size // len(unit) + 1))[: entry.size]


def stream(layout: Layout) -> bytes:
    """Return the whole stream."""
    parts = layout.segments(0, layout.size)
    known = {index: contents(entry) for index, entry in enumerate(layout.entries)}
    return b"".join(
        part.data
        if isinstance(part, Bytes)
        else known[part.index][part.offset : part.offset + part.length]
        for part in parts
    )


def root_of(data: bytes) -> bytes:
    chunks = range(0, len(data), limits.CHUNK_BYTES)
    digests = (
        chunk_digest(KEY, index, data[at : at + limits.CHUNK_BYTES])
        for index, at in enumerate(chunks)
    )
    return root_digest(KEY, OFFER, len(data), digests)


@dataclass(frozen=True)
class Sealed:
    path: Path
    layout: Layout
    root: bytes


def seal(path: Path, entries: Sequence[Entry], data: bytes | None = None) -> Sealed:
    """Seal the stream of entries, or other data in its place, as an age file."""
    layout = Layout(entries)
    data = stream(layout) if data is None else data
    writer = SealWriter.create(Files(), path, len(data), [RECIPIENT], FILE_KEY, os.urandom)
    scratch = bytearray(limits.ROOM_BYTES)
    for at in range(0, len(data), limits.CHUNK_BYTES):
        writer.write(at, memoryview(data)[at : at + limits.CHUNK_BYTES], scratch)
    writer.close()
    return Sealed(path, layout, root_of(data))
