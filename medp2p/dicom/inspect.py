"""Read what one file says about itself, from its first bytes, whatever they are.

``inspect`` never raises and never decodes pixels. What cannot be relied on is "unverified". A
data set without header (no preamble, no file meta) is believed only if it names a kind of object
that the standard knows and an instance; nothing is ever forced.

Source: DICOM PS3.10, section 7 (file format); PS3.5, annex A (transfer syntaxes).
"""

import zlib

from medp2p import limits
from medp2p.dicom import directory, values
from medp2p.dicom.elements import (
    UNDEFINED,
    Encoding,
    HeadEndsError,
    TruncatedError,
    Walk,
    WalkError,
)
from medp2p.dicom.facts import FileFacts
from medp2p.dicom.header import PIXELS, Header
from medp2p.dicom.plain import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    PREFIX_END,
    bare_encodings,
    has_prefix,
    no_header,
)
from medp2p.dicom.signature import preamble_kind

_ENCODINGS = {
    "1.2.840.10008.1.2": IMPLICIT,
    "1.2.840.10008.1.2.2": BIG,
    "1.2.840.113619.5.2": IMPLICIT,  # GE private: implicit, pixels big-endian
}
#: The data set is one deflated stream: PS3.5, A.5 and A.6; JPIP with deflate.
_DEFLATED = frozenset(
    {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
)
_META = 0x0002
_SYNTAX = 0x00020010
_DIRECTORY = 0x00041220
#: Whose images they are stands before this tag, how large they are before the second one.
_IDENTITY_END, _HEADER_END = 0x00200010, 0x00290000
#: An unknown end: of a deflated stream that goes on behind the given bytes.
_ENDLESS = 2**62
_WANTED = Header.WANTED | PIXELS | {_DIRECTORY}


def inspect(head: bytes, size: int, tail: bytes = b"") -> FileFacts:
    """Return what a file says.

    Args:
        head: Its first bytes: all, or at least limits.DICOM_HEAD_BYTES. If wanted_bytes of the
            result is not 0, so many would tell more: ask again with them.
        size: Bytes of the whole file.
        tail: Its last bytes (limits.DICOM_TAIL_BYTES). Without them, whether compressed pixels
            are whole is not told for files longer than head.
    """
    try:
        head = head[: limits.DICOM_MAX_HEAD_BYTES]
        size = max(size, len(head))
        return _inspect(head, size, head if len(head) == size else tail)
    except Exception:  # noqa: BLE001  the promise: no bytes stop the inspector
        return FileFacts(kind="unverified", reason="damaged", truncated=None)


def _inspect(head: bytes, size: int, tail: bytes) -> FileFacts:
    if has_prefix(head):
        return _inspect_file(head, size, tail)
    for encoding in bare_encodings(head):
        header = Header()
        reason = _read(header, Walk(head, 0, size, encoding), tail)
        if values.is_sop_class(header.uid("sop_class")) and header.uid("sop_instance"):
            return header.facts(reason, preamble="none")
        if header.uid("sop_instance") or header.uid("study"):
            return header.facts(reason or "no-header", preamble="none")
    return no_header(head)


def _inspect_file(head: bytes, size: int, tail: bytes) -> FileFacts:
    header = Header()
    walk = Walk(head, PREFIX_END, size, EXPLICIT)
    reason = _read(header, walk, tail)
    return header.facts(reason, preamble=preamble_kind(head[:128]))


def _read(header: Header, walk: Walk, tail: bytes) -> str:
    """Fill a header as far as the walk goes; return why it cannot be relied on, or ""."""
    given, size = len(walk.data), walk.size
    try:
        _read_meta(header, walk)
        walk = _dataset(header, walk)
        _read_dataset(header, walk, tail)
    except HeadEndsError as end:
        return _head_ended(header, walk, end, given, size)
    except TruncatedError:
        header.truncated = True
        return "" if walk.reached >= _IDENTITY_END else "short"
    except WalkError as error:
        header.truncated = None
        return error.reason
    except zlib.error:
        header.truncated = None
        return "deflated"
    return ""


def _head_ended(header: Header, walk: Walk, end: HeadEndsError, given: int, size: int) -> str:
    """Say how much more is wanted; return why the header cannot be relied on, or ""."""
    known = walk.reached >= _HEADER_END
    most = min(size, limits.DICOM_MAX_HEAD_BYTES)
    if walk.size == _ENDLESS:
        full = len(walk.data) >= limits.DICOM_INFLATED_BYTES
        header.truncated = True if given >= size and not full else None
        if given < most and not full:
            header.wanted_bytes = min(4 * given, most)
        return "" if known else "deflated"
    header.truncated = None
    if given < most and end.needed <= most:
        # Room for the elements that follow; what has no length of its own may be far longer.
        room = end.needed + limits.DICOM_HEAD_BYTES // 4
        header.wanted_bytes = min(max(room, 4 * given if header.in_sequence else 0), most)
    return "" if known else "long"


def _read_meta(header: Header, walk: Walk) -> None:
    """Read group 0002, which is always explicit and little-endian."""
    while walk.data[walk.offset : walk.offset + 2] == b"\x02\0" and (element := walk.next()):
        if element.tag in header.WANTED_META:
            header.keep(element.tag, walk.value(element))
        else:
            walk.skip(element)


def _dataset(header: Header, walk: Walk) -> Walk:
    """Return the walk over the data set proper."""
    syntax = header.uid("syntax")
    if syntax in _DEFLATED:
        return _inflated(walk)
    if syntax or walk.encoding == EXPLICIT:
        walk.encode(_sniffed(walk, _ENCODINGS.get(syntax, EXPLICIT)))
    header.big = walk.encoding.big
    header.compressed = bool(syntax) and syntax not in _ENCODINGS and syntax != _NATIVE
    return walk


_NATIVE = "1.2.840.10008.1.2.1"


def _sniffed(walk: Walk, declared: Encoding) -> Encoding:
    """Return the encoding that the first element shows; some files do not keep to theirs."""
    first = walk.data[walk.offset : walk.offset + 6]
    if len(first) < 6:
        return declared
    has_vr = first[4:].isalpha() and first[4:].isupper()
    if not has_vr:
        return IMPLICIT
    return BIG if first[0] == 0 and first[1] else EXPLICIT


def _inflated(walk: Walk) -> Walk:
    """Inflate, up to a bound; what lies behind it is as if it were not given."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    deflated = memoryview(walk.data)[walk.offset :]
    data = inflater.decompress(deflated, limits.DICOM_INFLATED_BYTES)
    return Walk(data, 0, len(data) if inflater.eof else _ENDLESS, EXPLICIT)


def _read_dataset(header: Header, walk: Walk, tail: bytes) -> None:
    while (element := walk.next(wanted=_WANTED)) is not None:
        if element.tag in PIXELS:
            header.pixels(element, walk.size, tail)
            return
        if element.tag == _DIRECTORY:
            known = element.length != UNDEFINED
            header.truncated = known and element.start + element.length > walk.size
            header.directory = directory.read(walk, element, header.encodings)
            return
        if element.length != UNDEFINED:
            header.keep(element.tag, walk.value(element))
        else:
            header.in_sequence = True
            walk.skip(element)
            header.in_sequence = False
    header.end(walk.reached)
