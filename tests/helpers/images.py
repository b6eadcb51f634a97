"""DICOM images for tests, made with numpy: known pixels, windows, tables, frames."""

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
LITTLE = str(ExplicitVRLittleEndian)


def image_file(pixels: Any, syntax: str = LITTLE, frames: int | None = None, **more: Any) -> bytes:
    """Return a DICOM file around an array: (rows, columns) or (rows, columns, 3), frames first.

    Args:
        pixels: 8, 16 or 32 bits, whole numbers or floats.
        syntax: Transfer syntax UID; compressed by what pydicom finds for it.
        frames: How many, where the first axis counts them.
        more: Elements by keyword; None takes one out.
    """
    array = np.asarray(pixels)
    shape = array.shape if frames is None else array.shape[1:]
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CT_CLASS, "1.2.3.4.5"
    made.PatientID, made.PatientName, made.PatientBirthDate = "123456", "Doe^Jane", "19700203"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.Modality = "1.2.3", "1.2.3.4", "CT"
    made.Rows, made.Columns = shape[:2]
    made.SamplesPerPixel = 3 if len(shape) == 3 else 1
    made.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        made.PlanarConfiguration = 0
    if frames is not None:
        made.NumberOfFrames = frames
    bits = 8 * array.dtype.itemsize
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(array.dtype.kind == "i")
    raw = array.tobytes()
    made.add_new(0x7FE00010, "OB" if bits == 8 else "OW", raw + b"\0" * (len(raw) % 2))
    if syntax != LITTLE:
        made.compress(UID(syntax))
    for keyword, value in more.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def items(*each: dict[str, Any]) -> Sequence:
    """Return a sequence of items with these elements."""
    made = []
    for elements in each:
        item = Dataset()
        for keyword, value in elements.items():
            if keyword == "LUTData":  # US or OW
                item.add_new(0x00283006, "OW", np.asarray(value, dtype="<u2").tobytes())
            else:
                setattr(item, keyword, value)
        made.append(item)
    return Sequence(made)


def ramp(rows: int = 32, columns: int = 64, *, step: int = 1) -> Any:
    """Return columns of rising 16-bit numbers: 0, step, 2 * step ..."""
    return np.tile(np.arange(0, columns * step, step, dtype=np.uint16), (rows, 1))
