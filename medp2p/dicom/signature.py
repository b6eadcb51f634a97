"""What bytes at the beginning of a file are, as far as it matters for a warning.

A DICOM preamble is 128 bytes that nobody reads: an executable fits in (CVE-2019-11687). TIFF is
the use it was made for (PS3.10, 7.1).
"""

_EXECUTABLES = (
    b"MZ",
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
)
_SCRIPTS = (b"#!", b"\xef\xbb\xbf#!", b"<?php", b"@echo off", b"@ECHO OFF")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", *_TIFF)
_TABLE = (
    ("executable", _EXECUTABLES),
    ("script", _SCRIPTS),
    ("archive", _ARCHIVES),
    ("image", _IMAGES),
    ("pdf", (b"%PDF",)),
)


def preamble_kind(preamble: bytes) -> str:
    """Return "zero", "tiff", "executable", "script" or "other" for the 128 bytes."""
    if not preamble.strip(b"\0"):
        return "zero"
    if preamble.startswith(_TIFF):
        return "tiff"
    kind = content_kind(preamble)
    return kind if kind in ("executable", "script") else "other"


def content_kind(head: bytes) -> str:
    """Return what a file without DICOM header begins with; "" if it is nothing known."""
    if not head:
        return "empty"
    for kind, marks in _TABLE:
        if head.startswith(marks):
            return kind
    start = head[:512]
    return "text" if start.isascii() and b"\0" not in start else ""
