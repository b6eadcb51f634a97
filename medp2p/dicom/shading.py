"""Numbers of an image to greys and colours, as a viewer would show them at first.

It runs nowhere but in a bounded child; see ``rendering``.

Source: DICOM PS3.3, C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.16 (functional groups), C.7.9
(palettes).
"""

from typing import Any

import numpy as np
import numpy.ma
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from medp2p.dicom.frames import NoPictureError

Pixels = NDArray[Any]

#: Loaded by numpy when it is first asked for percentiles; nothing can be opened then.
_LOADED = (numpy.ma,)
#: Percentiles that become black and white where a file names no window.
_DARKEST, _BRIGHTEST = 1.0, 99.0
#: A window that leaves less than this between black and white shows nothing.
_WINDOW_SHOWS = 0.002


def shade(stored: Pixels, kind: str, dataset: Dataset, groups: list[Dataset]) -> Pixels:
    """Return bytes of grey (two dimensions) or of red, green, blue (three).

    Args:
        stored: As in frames.Frame, or every so many rows and columns of it.
        kind: Photometric interpretation.
        dataset: The header.
        groups: Of functional_groups.

    Raises:
        NoPictureError: Its colours are of a kind that is not known here.
        Exception: Whatever numpy and pydicom raise for tables that do not fit.
    """
    if stored.ndim == 3:
        return _colours(stored, kind, dataset)
    if kind == "PALETTE COLOR":
        return _to_bytes(apply_color_lut(stored, dataset)[..., :3])
    return _greys(stored, dataset, groups, inverted=kind == "MONOCHROME1")


def functional_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    """Return where values of this frame may stand, the nearest first."""
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    return [*([own[frame]] if frame < len(own) else []), *shared[:1]]


def found(dataset: Dataset, groups: list[Dataset], sequence: str, keyword: str) -> Any:
    """Return a value of the frame's functional groups, or of the data set itself."""
    for group in groups:
        items = group.get(sequence) or []
        if len(items) and (value := items[0].get(keyword)) is not None:
            return value
    return dataset.get(keyword)


def number(value: Any) -> float | None:
    """Return the first of one or more numbers, if it is one that can be reckoned with."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        first = value
    else:
        first = next(iter(value), None)
    try:
        number = float(first)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 1e12 else None


def _colours(stored: Pixels, kind: str, dataset: Dataset) -> Pixels:
    if kind != "RGB":
        raise NoPictureError("colour")
    if stored.dtype == np.uint8:
        return stored
    bits = int(dataset.get("BitsStored") or 8 * stored.dtype.itemsize)
    scaled: Pixels = stored.astype(np.float32) * (255.0 / (2**bits - 1))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _to_bytes(colours: Pixels) -> Pixels:
    """Return colours of a palette as bytes; some keep 8 bits in 16."""
    if colours.dtype == np.uint8:
        return colours
    return (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)


def _greys(stored: Pixels, dataset: Dataset, groups: list[Dataset], *, inverted: bool) -> Pixels:
    padding = _padding(stored, dataset)
    values = _modality(stored, dataset, groups)
    shown = _by_table(values, dataset, groups)
    if shown is None:
        shown = _by_window(values, dataset, groups)
    if shown is None or _is_blank(shown, values):
        shown = _by_range(values, padding)
    greys: Pixels = (np.nan_to_num(shown) * 255.0 + 0.5).astype(np.uint8)
    if inverted:
        greys = 255 - greys
    greys[padding] = 0
    return greys


def _padding(stored: Pixels, dataset: Dataset) -> NDArray[np.bool_]:
    """Return which pixels belong to no image (0028,0120)."""
    first = number(dataset.get("PixelPaddingValue"))
    last = number(dataset.get("PixelPaddingRangeLimit"))
    if first is None:
        return np.zeros(stored.shape, dtype=bool)
    low, high = sorted((first, first if last is None else last))
    return (stored >= low) & (stored <= high)


def _modality(stored: Pixels, dataset: Dataset, groups: list[Dataset]) -> Pixels:
    if dataset.get("ModalityLUTSequence"):
        try:
            looked_up: Pixels = apply_modality_lut(stored, dataset)
            return looked_up.astype(np.float32)
        except Exception:  # noqa: BLE001  a table that does not fit, in one of many ways
            return stored.astype(np.float32)
    where = "PixelValueTransformationSequence"
    slope = number(found(dataset, groups, where, "RescaleSlope"))
    intercept = number(found(dataset, groups, where, "RescaleIntercept"))
    values = stored.astype(np.float32)
    return values * np.float32(slope or 1.0) + np.float32(intercept or 0.0)


def _by_table(values: Pixels, dataset: Dataset, groups: list[Dataset]) -> Pixels | None:
    """Return values between 0 and 1 by the first VOI look-up table, if there is a good one."""
    if not dataset.get("VOILUTSequence"):
        return None
    try:
        whole = np.clip(np.rint(np.nan_to_num(values)), -(2**31), 2**31 - 1).astype(np.int64)
        looked_up = apply_voi(whole, dataset).astype(np.float32)
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
    except Exception:  # noqa: BLE001  as above
        return None
    # Some tables hold fewer bits than they say.
    highest = max(float(looked_up.max(initial=0)), 2.0**bits / 4)
    shown: Pixels = np.clip(looked_up / min(highest, 2.0**bits - 1), 0.0, 1.0)
    return shown


def _by_window(values: Pixels, dataset: Dataset, groups: list[Dataset]) -> Pixels | None:
    """Return values between 0 and 1 by the first window; PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    where = "FrameVOILUTSequence"
    centre = number(found(dataset, groups, where, "WindowCenter"))
    width = number(found(dataset, groups, where, "WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    function = str(found(dataset, groups, where, "VOILUTFunction") or "LINEAR")
    shown: Pixels
    if function == "SIGMOID":
        shown = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -60, 60)))
    else:
        if function != "LINEAR_EXACT" and width > 1:
            centre, width = centre - 0.5, width - 1
        shown = np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    return shown


def _is_blank(shown: Pixels, values: Pixels) -> bool:
    """Return whether a window shows nothing of what is there."""
    between = np.count_nonzero((shown > 0.02) & (shown < 0.98))
    both = bool((shown <= 0.02).any() and (shown >= 0.98).any())
    flat = bool((values == values.flat[0]).all())
    return bool(not flat and not both and between < _WINDOW_SHOWS * shown.size)


def _by_range(values: Pixels, padding: NDArray[np.bool_]) -> Pixels:
    """Return values between 0 and 1 by their own range, outliers left out."""
    counted = values[~padding & np.isfinite(values)]
    if not counted.size:
        return np.zeros(values.shape, dtype=np.float32)
    low, high = np.percentile(counted, (_DARKEST, _BRIGHTEST))
    if low == high:  # a mask, a thin line
        low, high = counted.min(), counted.max()
    if low == high:
        return np.full(values.shape, 0.5, dtype=np.float32)
    scaled: Pixels = (np.nan_to_num(values, nan=low) - low) / (high - low)
    return np.clip(scaled, 0.0, 1.0)
