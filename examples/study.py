"""Make a DICOM study for trying things out: one real CT slice many times, each with its own UIDs.

The slice is CT_small.dcm of the pydicom package; its pixels are repeated to the usual 512 x 512,
so that an instance has the size that instances have (half a megabyte).

Run by hand: python examples/study.py FOLDER [INSTANCES]
"""

import sys
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

_SLICE_EDGE = 128
_PIXEL_BYTES = 2


def make_study(
    folder: Path,
    instances: int,
    *,
    edge: int = 512,
    patient_name: str = "ROENTGEN^ANNA",
    patient_id: str = "MRN-0042117",
    seed: str = "1",
) -> None:
    """Write a CT study of two series: folder/SERnnn/IMnnnnn.dcm.

    Args:
        folder: Made when missing.
        instances: How many files.
        edge: Rows and columns, a multiple of 128.
        patient_name: As in the header.
        patient_id: As in the header.
        seed: Other UIDs for another one; equal arguments give equal files.
    """
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    dataset.PixelData = _enlarged(dataset.PixelData, edge // _SLICE_EDGE)
    dataset.Rows = dataset.Columns = edge
    dataset.PatientName, dataset.PatientID = patient_name, patient_id
    dataset.StudyInstanceUID = _uid(seed, "study")
    for number in range(instances):
        series = 1 + number * 2 // instances
        _number_instance(dataset, seed, series, number)
        path = folder / f"SER{series:03}" / f"IM{number + 1:05}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)


def _number_instance(dataset: Dataset, seed: str, series: int, number: int) -> None:
    dataset.SeriesInstanceUID = _uid(seed, f"series {series}")
    dataset.SeriesNumber, dataset.InstanceNumber = series, number + 1
    dataset.SOPInstanceUID = _uid(seed, f"instance {number}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    # Slices differ, as real ones do.
    pixels = bytearray(dataset.PixelData)
    pixels[:4] = number.to_bytes(4, "little")
    dataset.PixelData = bytes(pixels)
    dataset.SliceLocation = str(number)
    position = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [position[0], position[1], number]


def _enlarged(pixels: bytes, times: int) -> bytes:
    """Return a square slice set beside and below itself."""
    row_bytes = _SLICE_EDGE * _PIXEL_BYTES
    rows = [pixels[start : start + row_bytes] for start in range(0, len(pixels), row_bytes)]
    return b"".join(row * times for row in rows) * times


def _uid(seed: str, what: str) -> str:
    return generate_uid(entropy_srcs=[seed, what])


def main() -> None:
    """Make one study."""
    folder, *rest = sys.argv[1:]
    count = int(rest[0]) if rest else 300
    make_study(Path(folder), count)
    print(f"{count} instances in {folder}")


if __name__ == "__main__":
    main()
