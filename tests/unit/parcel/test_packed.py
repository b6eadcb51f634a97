import gzip
import io
import zipfile
from pathlib import Path

import pytest
import zstandard
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from medp2p import limits
from medp2p.parcel.packed import is_packed

ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
#: GE's own: implicit VR, big-endian pixels; not compressed.
PRIVATE = "1.2.840.113619.5.2"


def head_of(name: str) -> bytes:
    path = get_testdata_file(name)
    assert path is not None, name
    return Path(str(path)).read_bytes()[: limits.COMPRESSION_HEAD_BYTES]


def dicom(syntax: str) -> bytes:
    """The beginning of a file that says so, whatever its data set is."""
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    out = DicomBytesIO()
    out.write(bytes(128) + b"DICM")
    write_file_meta_info(out, dataset.file_meta)
    return out.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        *("JPEG2000.dcm", "JPEG-lossy.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_jp2klossless.dcm"),
        *("MR_small_RLE.dcm", "image_dfl.dcm", "emri_small_jpeg_ls_lossless.dcm"),
    ],
)
def test_dicom_files_that_are_compressed(name: str) -> None:
    assert is_packed(head_of(name))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm"])
def test_dicom_files_that_are_not(name: str) -> None:
    assert not is_packed(head_of(name))


@pytest.mark.parametrize(
    ("syntax", "packed"),
    [
        (ImplicitVRLittleEndian, False),
        (ExplicitVRLittleEndian, False),
        (ExplicitVRBigEndian, False),
        (ENCAPSULATED_UNCOMPRESSED, False),
        (PRIVATE, False),
        (DeflatedExplicitVRLittleEndian, True),
        (RLELossless, True),
        ("1.2.840.10008.1.2.4.50", True),
        ("1.2.840.10008.1.2.4.202", True),
    ],
)
def test_transfer_syntaxes(syntax: str, packed: bool) -> None:
    assert is_packed(dicom(syntax)) is packed


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "b")
    return out.getvalue()


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        b"\x89PNG\r\n\x1a\n",
        b"\0\0\0\x18ftypmp42",
        b"RIFF\x24\0\0\0WEBPVP8 ",
        gzip.compress(b"x", mtime=0),
        zstandard.compress(b"x"),
        zipped(),
    ],
)
def test_other_formats(head: bytes) -> None:
    assert is_packed(head)


@pytest.mark.parametrize(
    "head", [b"", b"x", b"DICM", bytes(132), bytes(128) + b"DICM", b"RIFF\x24\0\0\0WAVE", b"II*\0"]
)
def test_what_is_unknown_is_not(head: bytes) -> None:
    """Such as TIFF, whose beginning does not tell how its tiles are stored: the sample does."""
    assert not is_packed(head)
