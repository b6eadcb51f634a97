"""Entries of a manifest in few words."""

from medp2p.manifest import Entry, Kind


def file(path: bytes, size: int = 0, mtime_ns: int = 0) -> Entry:
    return Entry(path, Kind.FILE, size, mtime_ns)


def folder(path: bytes, mtime_ns: int = 0) -> Entry:
    return Entry(path, Kind.DIRECTORY, 0, mtime_ns)
