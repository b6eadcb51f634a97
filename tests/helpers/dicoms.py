"""DICOM bytes for tests: real files of pydicom, pydicom-data and deid-data, and made ones.

Made by hand: pydicom's writer needs gigabytes for deep nesting, and does not write what is wrong.
"""

import zlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from struct import pack
from typing import Any

import msgspec

from medp2p import limits
from medp2p.dicom.facts import FileFacts, Patient, Series, Slice, Study
from medp2p.dicom.inspect import inspect
from medp2p.dicom.patients import Item

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
UNDEFINED = 0xFFFFFFFF
_LONG = {"OB", "OW", "SQ", "UN", "UT"}


def folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


PYDICOM, BIGGER, DEID = folder("pydicom"), folder("data_store"), folder("deid_data")
SMALL = PYDICOM / "test_files"
DISC = SMALL / "dicomdirtests"


def real_files() -> list[Path]:
    """All files of the three packages that may be DICOM."""
    return sorted(
        path
        for root in (PYDICOM, BIGGER, DEID)
        for path in root.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc", ".json")
    )


def inspected(path: Path) -> FileFacts:
    """Inspect as a caller does: a head, a tail, more where more is wanted."""
    data = path.read_bytes()
    return inspected_bytes(data)


def inspected_bytes(data: bytes) -> FileFacts:
    given = limits.DICOM_HEAD_BYTES
    for _ in range(10):
        facts = inspect(data[:given], len(data), data[-limits.DICOM_TAIL_BYTES :])
        if not facts.wanted_bytes:
            return facts
        assert given < facts.wanted_bytes <= min(len(data), limits.DICOM_MAX_HEAD_BYTES)
        given = facts.wanted_bytes
    raise AssertionError("wants more for ever")


# --- made by hand -------------------------------------------------------------------------


def element(tag: int, vr: str, value: bytes | str, length: int | None = None) -> bytes:
    """One element in explicit VR, little-endian."""
    raw = value.encode() if isinstance(value, str) else value
    raw += b" " * (len(raw) % 2) if vr != "UI" else b"\0" * (len(raw) % 2)
    size = len(raw) if length is None else length
    head = pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return head + (pack("<HL", 0, size) if vr in _LONG else pack("<H", size)) + raw


def item(*elements: bytes, length: int | None = None) -> bytes:
    body = b"".join(elements)
    size = len(body) if length is None else length
    end = b"\xfe\xff\x0d\xe0\0\0\0\0" if length == UNDEFINED else b""
    return b"\xfe\xff\0\xe0" + pack("<L", size) + body + end


SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
IDENTITY: dict[int, tuple[str, bytes | str]] = {
    0x00080016: ("UI", CT_CLASS),
    0x00080018: ("UI", "1.2.3.4.5"),
    0x00080020: ("DA", "20240102"),
    0x00080050: ("SH", "A1"),
    0x00080060: ("CS", "CT"),
    0x00100010: ("PN", "Doe^Jane"),
    0x00100020: ("LO", "123456"),
    0x00100030: ("DA", "19700203"),
    0x00100040: ("CS", "F"),
    0x0020000D: ("UI", "1.2.3"),
    0x0020000E: ("UI", "1.2.3.4"),
}


def dataset(changes: dict[int, tuple[str, bytes | str] | None] | None = None) -> bytes:
    """The elements of a small CT without pixels; a change of None takes one out."""
    wanted = {**IDENTITY, **(changes or {})}
    return b"".join(
        element(tag, *value) for tag, value in sorted(wanted.items()) if value is not None
    )


def file_of(body: bytes, syntax: str = EXPLICIT, preamble: bytes = bytes(128)) -> bytes:
    """A DICOM file around a data set."""
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
    meta = element(0x00020002, "UI", CT_CLASS) + element(0x00020010, "UI", syntax)
    return preamble + b"DICM" + element(0x00020000, "UL", pack("<L", len(meta))) + meta + body


def pixels(count: int = 8, declared: int | None = None) -> bytes:
    return element(0x7FE00010, "OW", bytes(count), declared)


# --- facts without files ------------------------------------------------------------------


JANE = Patient(id="1", name="Doe^Jane", birth_date="19700203")


def image(
    path: str,
    patient: Patient | None = JANE,
    *,
    study: str = "1.2",
    series: str = "1.2.1",
    instance: str = "",
    place: float | None = None,
    **more: Any,
) -> Item:
    """An item with the facts of an image."""
    where = None if place is None else Slice((0.0, 0.0, place), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    facts = FileFacts(
        kind="dicom",
        patient=patient,
        study=Study(uid=study, date="20240102"),
        series=Series(uid=series, number="1", modality="CT", description="Thorax"),
        sop_class=CT_CLASS,
        sop_instance=instance or f"1.9.{path}",
        slice=where,
        preamble="zero",
    )
    return Item(path.encode(), msgspec.structs.replace(facts, **more))


def other(path: str | bytes, content: str = "") -> Item:
    """An item without DICOM header."""
    raw = path if isinstance(path, bytes) else path.encode()
    return Item(raw, FileFacts(kind="other", content=content))


def items_of(root: Path, paths: Iterable[Path]) -> list[Item]:
    """Items of real files, with paths below the root's own name."""
    return [Item(str(path.relative_to(root.parent)).encode(), inspected(path)) for path in paths]
