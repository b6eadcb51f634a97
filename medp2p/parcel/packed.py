"""Files that are compressed already, by their first bytes: compressing those is idle work.

Sources: DICOM PS3.10, 7.1 (preamble and file meta information), PS3.5, annex A (transfer
syntaxes); the formats' own specifications for the others.
"""

import re

#: How files of a format begin, and what lies at a later place in them.
_BEGINNINGS = (
    b"\xff\xd8\xff",  # JPEG
    b"\xff\x4f\xff\x51",  # JPEG 2000, code stream
    b"\0\0\0\x0cjP  ",  # JPEG 2000, file
    b"\x89PNG\r\n",
    b"GIF8",
    b"PK\x03\x04",  # zip, office documents
    b"\x1f\x8b",  # gzip
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"\x28\xb5\x2f\xfd",  # zstd
    b"\x04\x22\x4d\x18",  # lz4
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\0\0\x01\xba",  # MPEG
    b"age-encryption.org/",
)
_LATER = (
    (4, b"ftyp"),  # MP4, QuickTime, HEIF
    (8, b"WEBP"),
    (8, b"AVI "),
)
#: (0002,0010) Transfer Syntax UID; file meta information is always explicit, little-endian.
_SYNTAX = re.compile(rb"\x02\x00\x10\x00UI(?:..)([0-9.]{1,64})", re.DOTALL)
#: Below it: encapsulated (JPEG, JPEG-LS, JPEG 2000, MPEG, RLE ...) and deflated transfer syntaxes,
_STANDARD = b"1.2.840.10008.1.2."
#: but for these: explicit VR little-endian, the same encapsulated but not compressed, big-endian.
_PLAIN = {_STANDARD + last for last in (b"1", b"1.98", b"2")}


def is_packed(head: bytes | bytearray) -> bool:
    """Tell whether a file's content is compressed already, as far as its beginning says.

    Args:
        head: First bytes of the file; COMPRESSION_HEAD_BYTES are enough.
    """
    if head[128:132] == b"DICM":
        found = _SYNTAX.search(head, 132)
        syntax = found[1] if found else b""
        return syntax.startswith(_STANDARD) and syntax not in _PLAIN
    if head.startswith(_BEGINNINGS):
        return True
    return any(head[at : at + len(magic)] == magic for at, magic in _LATER)
