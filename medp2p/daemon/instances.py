"""What tells one instance from another across transfers, without saying what it is.

Kept sealed with a transfer that was sent, so that an addendum can leave out what it had.
"""

import hashlib
from collections.abc import Sequence

from medp2p.dicom.facts import FileFacts
from medp2p.dicom.patients import Item
from medp2p.model import Entry, Kind
from medp2p.parcel.record import Scan

MARK_BYTES = 16


def mark(entry: Entry, facts: FileFacts) -> bytes:
    """Return the mark of a file: its SOP instance, or else its path, size and time."""
    if facts.kind == "dicom" and facts.sop_instance:
        what = b"instance\0" + facts.sop_instance.encode()
    else:
        what = b"file\0%d\0%d\0" % (entry.size, entry.mtime_ns) + entry.path
    return hashlib.blake2b(what, digest_size=MARK_BYTES).digest()


def marks(found: Scan, items: Sequence[Item]) -> list[bytes]:
    """Return the marks of the files of a scan, in their order."""
    files = [entry for entry in found.entries if entry.kind is Kind.FILE]
    return [mark(entry, item.facts) for entry, item in zip(files, items, strict=True)]
