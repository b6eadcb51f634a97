"""One frame of a DICOM file as an array, decoded by whatever is installed.

Only what is needed of the file is read: its header, and of its pixels one frame. It runs nowhere
but in a bounded child; see ``rendering``.

Source: DICOM PS3.3, C.7.6.3 (image pixel); PS3.5, 8 and annex A (native and encapsulated pixels).
"""

from typing import Any, BinaryIO, NamedTuple

from numpy.typing import NDArray
from PIL import Image, Jpeg2KImagePlugin, JpegImagePlugin
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from medp2p import limits

# Where this runs nothing can be opened later: all that reads pixels is loaded now.
Image.preinit()
_LOADED = (JpegImagePlugin, Jpeg2KImagePlugin)

#: Libraries with a decoder, in the order in which they are tried.
_PLUGINS = ("pylibjpeg", "pillow", "pyjpegls", "gdcm", "pydicom")
_PIXEL_KEYWORDS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}


class NoPictureError(Exception):
    """There is no picture; why is a key of picture.WHY."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Frame(NamedTuple):
    """What was stored of one frame.

    Attributes:
        dataset: The header.
        stored: Rows, columns and, where there are three, samples.
        kind: Photometric interpretation of them.
    """

    dataset: Dataset
    stored: NDArray[Any]
    kind: str


def read_frame_untrusted(file: BinaryIO, frame: int) -> Frame:
    """Return one frame of a DICOM file, at most limits.PICTURE_PIXELS large.

    Args:
        file: At its beginning.
        frame: From 0.

    Raises:
        NoPictureError: With the reason.
        Exception: Whatever pydicom, numpy and Pillow raise for bytes that are no such file.
    """
    dataset = dcmread(
        file, stop_before_pixels=True, force=True, defer_size=limits.PICTURE_ELEMENT_BYTES
    )
    syntax = _syntax(dataset)
    _check_size(dataset, frame)
    if syntax == DeflatedExplicitVRLittleEndian:
        file.seek(0)
        source: Any = dcmread(file, force=True)
        options: dict[str, Any] = {}
    else:
        source, options = file, _options(dataset, file, syntax)
    bits = int(dataset.get("BitsStored") or 8)
    return Frame(dataset, *_decode(syntax, source, options, frame, bits))


def _syntax(dataset: FileDataset) -> UID:
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if syntax:
        return UID(syntax)
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_size(dataset: Dataset, frame: int) -> None:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if rows < 1 or columns < 1 or samples not in (1, 3):
        raise NoPictureError("no-image")
    if rows * columns > limits.PICTURE_PIXELS:
        raise NoPictureError("large")
    if not 0 <= frame < int(dataset.get("NumberOfFrames") or 1):
        raise NoPictureError("damaged")


def _options(dataset: FileDataset, file: BinaryIO, syntax: UID) -> dict[str, Any]:
    """Return what a decoder must know; the file stands at its pixels then."""
    options = as_pixel_options(dataset)
    order = "little" if syntax.is_little_endian else "big"
    head = file.read(8)
    if len(head) < 8:
        raise NoPictureError("no-image")
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)  # type: ignore[arg-type]
    if tag not in _PIXEL_KEYWORDS:
        raise NoPictureError("no-image")
    options["view_only"] = True
    options["pixel_keyword"] = _PIXEL_KEYWORDS[tag]
    if head[4:6].isalpha():  # some data sets do not keep to the encoding that they declare
        options["pixel_vr"] = head[4:6].decode("ascii")
        file.read(4)
    return options


class _PanicsAreErrors:
    """A panic in Rust (pylibjpeg-rle) comes as what is no Exception; behind this it is one."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, Exception):
            raise RuntimeError("a decoder panicked") from error


def _decode(
    syntax: UID, source: Any, options: dict[str, Any], frame: int, bits: int
) -> tuple[NDArray[Any], str]:
    """Return one frame and its photometric interpretation."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise NoPictureError("syntax") from None
    available = decoder.available_plugins
    plugins = [name for name in _PLUGINS if name in available] or [""]
    # 12 bits of JPEG Extended are for one library only, which is not ours to install.
    if not decoder.is_available or (
        syntax == JPEGExtended12Bit and bits > 8 and "pylibjpeg" not in available
    ):
        raise NoPictureError("syntax")
    start = None if isinstance(source, Dataset) else source.tell()
    for plugin in plugins:
        try:
            with _PanicsAreErrors():
                stored, told = decoder.as_array(
                    source, index=frame, decoding_plugin=plugin, **options
                )
        except (MemoryError, OSError):
            raise
        except Exception:  # noqa: BLE001  another library may read what this one does not
            if start is not None:
                source.seek(start)
            continue
        return stored, str(told["photometric_interpretation"])
    raise NoPictureError("damaged")
