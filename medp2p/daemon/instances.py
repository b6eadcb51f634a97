"""What tells one instance from another across transfers, without saying what it is.

Kept sealed with a transfer that was sent, so that an addendum can leave out what it had. What an
image holds is hashed while it is sent (parcel.contents); until then its mark is open.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from medp2p.dicom.facts import FileFacts
from medp2p.dicom.patients import Item
from medp2p.manifest import Entry, Kind
from medp2p.parcel.contents import Contents, cut_of
from medp2p.parcel.record import Scan

_HALF_BYTES = 16
_CUT_BYTES = 4
_MARK_BYTES = 2 * _HALF_BYTES + _CUT_BYTES
_FORM = b"\x02"
#: Where a content is not told by pieces, and where it is not known yet.
_NO_CUT, _OPEN = bytes(_CUT_BYTES), b"\xff" * _CUT_BYTES

#: Content digest of an entry by its number and cut; None if it cannot be read.
ReadContent = Callable[[int, int], bytes | None]


def mark(entry: Entry, facts: FileFacts) -> bytes:
    """Return the mark of a file: what it is, how its content was cut, and its content.

    An image is its SOP instance, and its content is open; anything else is its path, its content
    size and time.
    """
    if is_instance(facts):
        return _half(b"instance\0" + facts.sop_instance.encode()) + _OPEN + bytes(_HALF_BYTES)
    content = b"%d\0%d" % (entry.size, entry.mtime_ns)
    return _half(b"file\0" + entry.path) + _NO_CUT + _half(content)


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
    return [mark(entry, item.facts) for entry, item in zip(files, items, strict=True)]


# --- as they are kept -----------------------------------------------------------------------


def encode_marks(marks: Sequence[bytes]) -> bytes:
    """Return marks as they are kept."""
    return _FORM + b"".join(marks)


def decode_marks(raw: bytes) -> list[bytes]:
    """Read kept marks.

    The first form had 32 bytes a mark and another digest of what images hold: those are known,
    their contents are not.
    """
    if len(raw) % (2 * _HALF_BYTES) == 0:
        cut = range(0, len(raw), 2 * _HALF_BYTES)
        return [raw[at : at + 16] + _NO_CUT + raw[at + 16 : at + 32] for at in cut]
    return [raw[at : at + _MARK_BYTES] for at in range(len(_FORM), len(raw), _MARK_BYTES)]


def open_images(raw: bytes, entries: Sequence[Entry]) -> list[int]:
    """Return the numbers of the entries whose contents are not known yet."""
    both = zip(_files(entries), decode_marks(raw), strict=True)
    return [number for number, one in both if _cut(one) == _OPEN]


def filled(raw: bytes, contents: Contents) -> bytes:
    """Return kept marks with the contents that are known by now."""
    told = decode_marks(raw)
    for at, number in enumerate(_files(contents.layout.entries)):
        content = contents.digest(number) if _cut(told[at]) == _OPEN else None
        if content is not None:
            cut = cut_of(contents.layout, number).to_bytes(_CUT_BYTES, "big")
            told[at] = instance_of(told[at]) + cut + _half(content)
    return encode_marks(told)


def _files(entries: Sequence[Entry]) -> list[int]:
    return [number for number, entry in enumerate(entries) if entry.kind is Kind.FILE]


def _cut(mark: bytes) -> bytes:
    return mark[_HALF_BYTES : _HALF_BYTES + _CUT_BYTES]


# --- what was sent before -------------------------------------------------------------------


class Sent:
    """The files that earlier transfers had.

    Args:
        marks: Of them.
    """

    def __init__(self, marks: Iterable[bytes] = ()) -> None:
        self._known: defaultdict[bytes, set[bytes]] = defaultdict(set)
        for one in marks:
            self._known[instance_of(one)].add(one)

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def instances(self) -> frozenset[bytes]:
        """Return what was sent, whatever its content."""
        return frozenset(self._known)

    def has(self, mark: bytes, number: int, read: ReadContent) -> bool:
        """Return whether a file was sent with the content that it has.

        Args:
            mark: Of the file.
            number: Of its entry.
            read: Reads it again, cut as it was then; only what was sent before is read.
        """
        known = self._known.get(instance_of(mark), set())
        if _cut(mark) != _OPEN:
            return mark in known
        contents: dict[bytes, bytes | None] = {}
        for one in known:
            cut = _cut(one)
            if cut in (_OPEN, _NO_CUT):  # nobody knows: a finding, not left out
                continue
            if cut not in contents:
                contents[cut] = read(number, int.from_bytes(cut, "big"))
            content = contents[cut]
            if content is not None and one == instance_of(one) + cut + _half(content):
                return True
        return False
