"""What tells one instance from another across transfers, without saying what it is.

Kept sealed with a transfer that was sent, so that an addendum can leave out what it had.
"""

import hashlib
from collections.abc import Sequence

from medp2p.dicom.facts import FileFacts
from medp2p.dicom.patients import Item
from medp2p.model import Entry, Kind
from medp2p.parcel.record import Scan

_HALF_BYTES = 16
MARK_BYTES = 2 * _HALF_BYTES


def mark(entry: Entry, facts: FileFacts, digest: bytes | None = None) -> bytes:
    """Return the mark of a file: what it is in the first half, its content in the second.

    An image is its SOP instance, its content size and digest; anything else is its path, its
    content size and time.
    """
    if is_instance(facts):
        what = b"instance\0" + facts.sop_instance.encode()
        content = b"%d\0" % entry.size + (digest or b"unread")
    else:
        what = b"file\0" + entry.path
        content = b"%d\0%d" % (entry.size, entry.mtime_ns)
    return _half(what) + _half(content)


def _half(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_HALF_BYTES).digest()


def is_instance(facts: FileFacts) -> bool:
    """Return whether a file is an image that can be known again wherever it lies."""
    return facts.kind == "dicom" and bool(facts.sop_instance)


def instance_of(mark: bytes) -> bytes:
    """Return the part of a mark that is the same for every content."""
    return mark[:_HALF_BYTES]


def marks(found: Scan, items: Sequence[Item]) -> list[bytes]:
    """Return the marks of the files of a scan, in their order."""
    files = [entry for entry in found.entries if entry.kind is Kind.FILE]
    return [mark(entry, item.facts, item.digest) for entry, item in zip(files, items, strict=True)]
