"""What is no DICOM at first sight: told from a few bytes, in any process, without a parser.

The two that look deeper (``inspect``, in its bounded child) begin with the same looks.
"""

from collections.abc import Iterator
from functools import cache

from medp2p import limits
from medp2p.dicom.elements import Encoding
from medp2p.dicom.facts import FileFacts
from medp2p.dicom.signature import content_kind

EXPLICIT, IMPLICIT, BIG = Encoding(False, False), Encoding(True, False), Encoding(False, True)
#: A preamble, then "DICM": PS3.10, 7.1.
PREFIX_END = 132
#: The root of all UIDs of the standard: what has it and is no text looks like DICOM.
_ROOT = b"1.2.840.10008."


def inspect_plainly(head: bytes) -> FileFacts | None:
    """Return what a file says that is no DICOM at first sight; None: ``inspect`` must tell.

    The same answer as that of ``inspect``. Nothing is parsed, a few bytes are compared.

    Args:
        head: First bytes of the file: all, or at least limits.DICOM_HEAD_BYTES.
    """
    if has_prefix(head) or next(bare_encodings(head), None) is not None:
        return None
    return no_header(head)


def has_prefix(head: bytes) -> bool:
    """Return whether a file has the preamble and prefix of DICOM."""
    return head[PREFIX_END - 4 : PREFIX_END] == b"DICM"


def bare_encodings(head: bytes) -> Iterator[Encoding]:
    """How a data set without header may be written, if these bytes can begin one at all."""
    if head[:2] == b"\x08\0":
        yield EXPLICIT if head[4:6].isalpha() else IMPLICIT
    elif head[:2] == b"\0\x08" and head[4:6].isalpha():
        yield BIG
    elif head[:2] == b"\x02\0":
        yield EXPLICIT  # file meta without preamble


def no_header(head: bytes) -> FileFacts:
    """Return the facts of a file in which no header was found."""
    content = content_kind(head)
    if content == "" and _ROOT in head[: limits.DICOM_HEAD_BYTES]:
        return FileFacts(kind="unverified", reason="no-header", truncated=None)
    return _other(content)


@cache
def _other(content: str) -> FileFacts:
    """Return one value for all files of a kind of content: a selection may hold 200,000."""
    return FileFacts(kind="other", content=content)
