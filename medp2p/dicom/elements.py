"""A bounded walk over the elements of a DICOM data set, without recursion.

pydicom reads what lies in a file; this walk tells, before a value is used, whether it lies within
the file at all, and stops at bounds of depth and number. It makes no objects for what nobody
asks for, so a sequence of 100,000 frames costs no memory.

Source: DICOM PS3.5, section 7.1 (elements) and 7.5 (sequences); PS3.5 A.4 (encapsulated pixels).
"""

from struct import Struct
from typing import NamedTuple

from medp2p import limits

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
#: VRs with a length of four bytes (PS3.5, table 7.1-1).
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR",
                   b"UT", b"UV"})  # fmt: skip
_SHORT_HEADER, _LONG_HEADER = 8, 12


class Encoding(NamedTuple):
    """How elements are written: with or without VR, and in which byte order."""

    implicit: bool
    big: bool


class Element(NamedTuple):
    """One element; its value begins at start and has length bytes, or UNDEFINED."""

    tag: int
    vr: bytes
    start: int
    length: int


class WalkError(Exception):
    """The walk cannot go on; reason is a word of FileFacts.reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HeadEndsError(Exception):
    """The given bytes end here, the file does not; so many would be needed to go on."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class TruncatedError(Exception):
    """The file ends within an element."""


class Walk:
    """A place in a data set, and how far it may still go.

    Args:
        data: The first bytes.
        offset: Where the walk begins.
        size: Where the data set ends; may lie beyond the given bytes.
        encoding: Of this data set.

    Attributes:
        reached: Highest tag met among the wanted and those passed by for them.
    """

    def __init__(self, data: bytes, offset: int, size: int, encoding: Encoding) -> None:
        self.data, self.offset, self.size = data, offset, size
        self.reached = 0
        self._elements_left = limits.DICOM_ELEMENTS
        self.encode(encoding)

    def encode(self, encoding: Encoding) -> None:
        """Go on in another encoding."""
        self.encoding = encoding
        mark = ">" if encoding.big else "<"
        self._implicit = Struct(mark + "HHL").unpack_from
        self._explicit = Struct(mark + "HH2sH").unpack_from
        self._length = Struct(mark + "L").unpack_from

    def next(
        self, *, implicit: bool = False, wanted: frozenset[int] | None = None
    ) -> Element | None:
        """Return the element here and stand at its value; None at the end of the data set.

        Args:
            implicit: Whatever the data set, there is no VR here (items, and what is within UN).
            wanted: Pass by all others, but for those of unknown length.

        Raises:
            HeadEndsError: The element's own header lies beyond the given bytes.
            TruncatedError: The data set ends within it.
            WalkError: There are too many elements.
        """
        data, size, implicit = self.data, self.size, implicit or self.encoding.implicit
        while True:
            offset = self.offset
            start = offset + _SHORT_HEADER
            if start > size and not any(data[offset:size]):
                return None
            if start > size or start > len(data):
                self._need(start)
            self._elements_left -= 1
            if self._elements_left < 0:
                raise WalkError("damaged")
            vr = b""
            if implicit:
                group, number, length = self._implicit(data, offset)
            else:
                group, number, vr, length = self._explicit(data, offset)
                if vr in _LONG:
                    start = offset + _LONG_HEADER
                    self._need(start)
                    (length,) = self._length(data, offset + _SHORT_HEADER)
                elif not (vr.isalpha() and vr.isupper()):
                    # Items and delimiters have no VR; some writers leave it out in sequences.
                    vr = b""
                    group, number, length = self._implicit(data, offset)
            tag = group << 16 | number
            if wanted is None:
                break
            if tag > self.reached:
                self.reached = tag
            if length == UNDEFINED or tag in wanted:
                break
            self._past(start + length)
        self.offset = start
        return Element(tag, vr, start, length)

    def value(self, element: Element) -> bytes:
        """Return the value of an element of known length and stand behind it.

        Returns:
            At most limits.DICOM_VALUE_BYTES.
        """
        end = element.start + element.length
        kept = min(end, element.start + limits.DICOM_VALUE_BYTES)
        self._need(kept)
        self._past(end)
        return self.data[element.start : kept]

    def skip(self, element: Element) -> None:
        """Stand behind the value of an element.

        Raises:
            HeadEndsError: A value of unknown length does not end within the given bytes.
            TruncatedError: The data set ends within it.
            WalkError: It is no sequence, or nested too deep.
        """
        if element.length == UNDEFINED:
            self._skip_sequence(implicit=element.vr == b"UN")
        else:
            self._past(element.start + element.length)

    def _skip_sequence(self, *, implicit: bool) -> None:
        """Pass what has no length, down to its delimiter: items, and in them elements."""
        in_item = [False]
        implicit_at = [implicit]
        while in_item:
            if len(in_item) > limits.DICOM_DEPTH:
                raise WalkError("deep")
            element = self.next(implicit=implicit_at[-1] or not in_item[-1])
            if element is None:
                raise TruncatedError
            tag, length = element.tag, element.length
            if tag == (ITEM_END if in_item[-1] else SEQUENCE_END):
                in_item.pop()
                implicit_at.pop()
            elif not in_item[-1] and tag != ITEM:
                raise WalkError("damaged")
            elif length == UNDEFINED:
                in_item.append(not in_item[-1])
                implicit_at.append(implicit_at[-1] or element.vr == b"UN")
            else:
                self._past(element.start + length)

    def _past(self, end: int) -> None:
        if end > self.size:
            raise TruncatedError
        self.offset = end

    def _need(self, end: int) -> None:
        if end > self.size:
            raise TruncatedError
        if end > len(self.data):
            raise HeadEndsError(end)
