"""One frame of a DICOM file as a small picture: what the child that makes pictures runs.

Together with ``frames`` and ``shading`` the only modules that import numpy, Pillow and, by
pydicom, the decoders of compressed pixels; these come with the extra ``pictures``.
"""

from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from medp2p import limits
from medp2p.dicom.frames import read_frame_untrusted
from medp2p.dicom.shading import found, functional_groups, number, shade

#: Every so many pixels are enough for what is made small anyway; floats of all take gigabytes.
_WORKING_EDGE = 4 * limits.PICTURE_EDGE
#: Heights per width of one pixel that are believed.
_ASPECT = 4.0


class Rendered(NamedTuple):
    """A picture: rows from the top, each pixel one byte of grey or three of red, green, blue."""

    width: int
    height: int
    channels: int
    pixels: bytes


def render_untrusted(file: BinaryIO, frame: int) -> Rendered:
    """Return one frame, at most limits.PICTURE_EDGE pixels long.

    Args:
        file: Of a DICOM file, at its beginning; only what is needed of it is read.
        frame: From 0.

    Raises:
        NoPictureError: With the reason.
        Exception: Whatever pydicom, numpy and Pillow raise for bytes that are no such file.
    """
    dataset, stored, kind = read_frame_untrusted(file, frame)
    rows, columns = stored.shape[:2]
    step = -(-max(rows, columns) // _WORKING_EDGE)
    groups = functional_groups(dataset, frame)
    shown = shade(stored[::step, ::step], kind, dataset, groups)
    return _resized(shown, rows, columns, _pixel_height(dataset, groups))


def _pixel_height(dataset: Dataset, groups: list[Dataset]) -> float:
    """Return how high a pixel is for its width; 1.0 where that is not told or not believed."""
    for value in (
        dataset.get("PixelAspectRatio"),
        found(dataset, groups, "PixelMeasuresSequence", "PixelSpacing"),
        dataset.get("ImagerPixelSpacing"),
    ):
        if value is None or isinstance(value, str | bytes) or len(value) != 2:
            continue
        vertical, horizontal = (number(one) for one in value)
        if vertical and horizontal and 1 / _ASPECT <= vertical / horizontal <= _ASPECT:
            return vertical / horizontal
    return 1.0


def _resized(shown: NDArray[Any], rows: int, columns: int, pixel_height: float) -> Rendered:
    """Return a frame with square pixels, no longer than limits.PICTURE_EDGE and never enlarged."""
    height, width = rows * max(pixel_height, 1.0), columns * max(1.0 / pixel_height, 1.0)
    scale = min(1.0, limits.PICTURE_EDGE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(np.ascontiguousarray(shown))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    channels = 1 if shown.ndim == 2 else 3
    return Rendered(picture.width, picture.height, channels, picture.tobytes())
