"""Pictures: what is shown of an image, what is read for it, and the child in which it is made."""

import io
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medp2p import limits
from medp2p.dicom import rendering
from medp2p.dicom.frames import NoPictureError
from medp2p.dicom.picture import WHY, Picture, PictureMaker
from medp2p.dicom.png import encode_png
from tests.helpers.dicoms import DEID, real_files
from tests.helpers.images import image_file, items, ramp

#: As in the child: pydicom complains of much that can be shown all the same.
pytestmark = pytest.mark.filterwarnings("ignore")

J2K, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"


class NamedBytes(io.BytesIO):
    """pydicom asks every file for its name."""

    name = ""


def real(name: str) -> bytes:
    """Return the bytes of a real file, whichever package has it."""
    return next(path for path in real_files() if path.name == f"{name}.dcm").read_bytes()


def rendered(data: bytes, frame: int = 0) -> Any:
    """Return the pixels of a picture as an array, made in this process."""
    made = rendering.render_untrusted(NamedBytes(data), frame)
    shape = (made.height, made.width) + ((3,) if made.channels == 3 else ())
    return np.frombuffer(made.pixels, dtype=np.uint8).reshape(shape)


def rendered_or_why(data: bytes) -> Any:
    try:
        return rendered(data)
    except NoPictureError as error:
        return error.why
    except Exception:  # noqa: BLE001  what the child says of all else
        return "damaged"


def why(data: bytes, frame: int = 0) -> str:
    with pytest.raises(NoPictureError) as caught:
        rendered(data, frame)
    return caught.value.why


class Reads:
    """Gives ranges of some bytes, and counts."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, offset: int, count: int) -> bytes:
        self.ranges.append((offset, count))
        return self.data[offset : offset + count]

    @property
    def bytes_read(self) -> int:
        return sum(count for _, count in self.ranges)


def pixels_of(picture: Picture) -> Any:
    assert picture.png is not None, picture.why
    with Image.open(io.BytesIO(picture.png), formats=("PNG",)) as image:
        image.load()
        assert image.size == (picture.width, picture.height)
        return np.asarray(image)


def made(maker: PictureMaker, data: bytes, frame: int = 0) -> Picture:
    return maker.make(len(data), frame, Reads(data))


# --- real files ---------------------------------------------------------------------------


def test_every_real_file_is_shown_in_the_child_as_it_is_without() -> None:
    """In the child nothing can be opened any more: a module loaded late would show here."""
    count = 0
    with PictureMaker() as maker:
        for path in real_files():
            data = path.read_bytes()
            if len(data) > limits.MIB // 3 or path.suffix not in (".dcm", ""):
                continue
            expected, picture = rendered_or_why(data), made(maker, data)
            if isinstance(expected, str):
                assert picture == Picture(None, why=expected), path
            else:
                assert np.array_equal(pixels_of(picture), expected), path
                count += 1
    assert count > 100


MR = [
    *("MR_small_RLE", "MR_small_bigendian", "MR_small_expb", "MR_small_implicit"),
    *("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"),
]


@pytest.mark.parametrize("name", MR)
def test_however_it_is_compressed_it_looks_the_same(name: str) -> None:
    expected = rendered(real("MR_small"))
    assert expected.shape == (64, 64)
    assert expected.std() > 40
    assert np.array_equal(rendered(real(name)), expected)


@pytest.mark.parametrize("name", ["emri_small_RLE", "emri_small_jpeg_ls_lossless"])
def test_frames_of_one_file(name: str) -> None:
    native, other = (real(each) for each in ("emri_small", name))
    frames = [rendered(native, frame) for frame in range(10)]
    assert len({frame.tobytes() for frame in frames}) == 10
    assert [frame.tobytes() for frame in frames] == [
        rendered(other, n).tobytes() for n in range(10)
    ]
    assert why(native, 10) == "damaged"


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk", "SC_rgb_jpeg_gdcm", "SC_rgb_rle", "SC_rgb_gdcm2k_uncompressed"]
)
def test_colours(name: str) -> None:
    picture = rendered(real(name)).astype(int)
    expected = rendered(real("SC_rgb")).astype(int)
    assert expected[5, 50].tolist() == [255, 0, 0]
    assert abs(picture - expected).max() < 8


def test_luminance_and_chrominance_become_colours() -> None:
    expected = rendered(real("SC_rgb")).astype(int)
    for name in ("SC_ybr_full_uncompressed", "SC_ybr_full_422_uncompressed"):
        picture = rendered(real(name))
        assert picture.shape == (100, 100, 3)
        assert abs(picture.astype(int)[5, 50] - expected[5, 50]).max() < 8, name


def test_a_palette() -> None:
    picture = rendered(real("OT-PAL-8-face"))
    assert picture.shape == (192, 256, 3)
    reference = np.asarray(picture).reshape(-1, 3).astype(int)
    assert len(np.unique(reference, axis=0)) > 200
    assert (reference[:, 0] - reference[:, 2]).mean() > 10  # a face, not grey


def test_a_large_radiograph_and_an_ultrasound_are_small() -> None:
    for name in ("RG1_UNCI", "US1_J2KR"):
        picture = rendered(real(name))
        assert max(picture.shape[:2]) == limits.PICTURE_EDGE
        assert picture.std() > 20


def test_what_is_burned_in_is_shown_too() -> None:
    path = next(path for path in sorted(DEID.rglob("*.dcm")) if path.stat().st_size < 2_000_000)
    assert max(rendered(path.read_bytes()).shape[:2]) <= limits.PICTURE_EDGE


# --- greys and colours --------------------------------------------------------------------


def row(data: bytes) -> list[int]:
    return [int(value) for value in rendered(data)[0]]


def test_the_window_of_the_file() -> None:
    # PS3.3, C.11.2.1.2.1: below c - 0.5 - (w - 1) / 2 black, above c - 0.5 + (w - 1) / 2 white.
    shown = row(image_file(ramp(), WindowCenter=[20, 9], WindowWidth=[21, 9]))
    expected = [max(0.0, min(1.0, (x - 19.5) / 20 + 0.5)) for x in range(64)]
    assert shown == [int(value * 255 + 0.5) for value in expected]


def test_rescale_comes_before_the_window() -> None:
    plain = row(image_file(ramp(), WindowCenter=20, WindowWidth=21))
    scaled = image_file(
        ramp(), RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=-960, WindowWidth=41
    )
    assert max(abs(a - b) for a, b in zip(plain, row(scaled), strict=True)) <= 4
    assert row(scaled)[0] == 0
    assert row(scaled)[-1] == 255


def test_exact_and_curved_windows() -> None:
    exact = image_file(ramp(), WindowCenter=20, WindowWidth=20, VOILUTFunction="LINEAR_EXACT")
    assert row(exact)[20] == 128
    assert row(exact)[10] == 0
    curved = row(image_file(ramp(), WindowCenter=20, WindowWidth=20, VOILUTFunction="SIGMOID"))
    assert curved[20] == 128
    assert 0 < curved[10] < 40
    assert 215 < curved[30] < 255


def test_dark_is_bright_where_the_file_says_so() -> None:
    plain = row(image_file(ramp(), WindowCenter=20, WindowWidth=21))
    inverted = image_file(
        ramp(), PhotometricInterpretation="MONOCHROME1", WindowCenter=20, WindowWidth=21
    )
    assert row(inverted) == [255 - value for value in plain]


def test_without_a_window_outliers_do_not_count() -> None:
    pixels = ramp(64, 64)
    pixels[0, 0] = 60000
    shown = rendered(image_file(pixels))
    assert shown[1, 0] == 0
    assert shown[1, -1] == 255
    assert 120 < shown[1, 32] < 136


def test_a_window_that_shows_nothing_is_not_used() -> None:
    shown = row(image_file(ramp(), WindowCenter=-5000, WindowWidth=10))
    assert shown[0] == 0
    assert shown[-1] == 255


def test_nothing_but_one_value_is_grey() -> None:
    assert set(row(image_file(np.full((8, 8), 7, np.uint16)))) == {128}


def test_padding_is_black_and_does_not_count() -> None:
    pixels = ramp()
    pixels[:, :8] = 65535
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        shown = row(image_file(pixels, PhotometricInterpretation=kind, PixelPaddingValue=65535))
        assert set(shown[:8]) == {0}
        assert len(set(shown[8:])) > 40


def test_tables_in_place_of_a_window() -> None:
    table = items(
        {"LUTDescriptor": [64, 0, 16], "LUTData": [65535 if n > 40 else 0 for n in range(64)]}
    )
    shown = row(image_file(ramp(), VOILUTSequence=table, WindowCenter=5, WindowWidth=5))
    assert shown == [0] * 41 + [255] * 23
    modality = items(
        {"LUTDescriptor": [64, 0, 16], "LUTData": list(range(1000, 1064)), "ModalityLUTType": "US"}
    )
    shown = row(image_file(ramp(), ModalityLUTSequence=modality, WindowCenter=1020, WindowWidth=21))
    assert shown == row(image_file(ramp(), WindowCenter=20, WindowWidth=21))


def test_tables_that_do_not_fit_are_passed_over() -> None:
    plain = row(image_file(ramp(), WindowCenter=20, WindowWidth=21))
    for descriptor, data in (([64, 0, 3], [1]), ([0, 0, 16], [1, 2]), ([64], [1])):
        table = items({"LUTDescriptor": descriptor, "LUTData": data})
        shown = row(image_file(ramp(), VOILUTSequence=table, WindowCenter=20, WindowWidth=21))
        assert shown == plain, descriptor


def test_each_frame_has_its_own_window() -> None:
    frames = np.stack([ramp(), ramp()])
    own = items(
        {"FrameVOILUTSequence": items({"WindowCenter": 20, "WindowWidth": 21})},
        {"FrameVOILUTSequence": items({"WindowCenter": 40, "WindowWidth": 21})},
    )
    shared = items(
        {
            "PixelValueTransformationSequence": items(
                {"RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US"}
            )
        }
    )
    data = image_file(
        frames,
        frames=2,
        PerFrameFunctionalGroupsSequence=own,
        SharedFunctionalGroupsSequence=shared,
    )
    assert rendered(data, 0)[0].tolist() == row(image_file(ramp(), WindowCenter=20, WindowWidth=21))
    assert rendered(data, 1)[0].tolist() == row(image_file(ramp(), WindowCenter=40, WindowWidth=21))


def test_floats_and_what_is_no_number_in_them() -> None:
    pixels = np.tile(np.linspace(-1, 1, 64, dtype=np.float32), (32, 1))
    pixels[3, :5] = np.nan
    data = image_file(pixels, PixelRepresentation=None)
    data = data.replace(pack("<HH2s", 0x7FE0, 0x0010, b"OW"), pack("<HH2s", 0x7FE0, 8, b"OF"))
    shown = rendered(data)
    assert shown[0, 0] == 0
    assert shown[0, -1] == 255


def test_pixels_that_are_not_square() -> None:
    assert rendered(image_file(ramp(32, 64), PixelSpacing=[2, 1])).shape == (64, 64)
    assert rendered(image_file(ramp(32, 64), PixelAspectRatio=["1", "2"])).shape == (32, 128)
    assert rendered(image_file(ramp(32, 64), PixelSpacing=[900, 1])).shape == (32, 64)
    assert rendered(image_file(ramp(512, 1024), PixelSpacing=[2, 1])).shape == (256, 256)
    assert rendered(image_file(ramp(2, 3000))).shape == (1, 256)


def test_colours_of_16_bits() -> None:
    pixels = np.zeros((8, 8, 3), np.uint16)
    pixels[..., 1] = 4095
    shown = rendered(image_file(pixels, BitsStored=12, HighBit=11))
    assert shown[0, 0].tolist() == [0, 255, 0]


# --- what there is no picture of ----------------------------------------------------------


def palette(**more: Any) -> bytes:
    red = {"RedPaletteColorLookupTableDescriptor": [256, 0, 8]}
    red["RedPaletteColorLookupTableData"] = bytes(range(256))  # type: ignore[assignment]
    both = {
        name.replace("Red", colour): value
        for colour in ("Red", "Green", "Blue")
        for name, value in red.items()
    }
    pixels = np.tile(np.arange(64, dtype=np.uint8), (8, 1))
    return image_file(pixels, **{"PhotometricInterpretation": "PALETTE COLOR", **both, **more})


def test_a_made_palette() -> None:
    assert rendered(palette())[0, 63].tolist() == [63, 63, 63]


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "palette too short": (
        lambda: palette(RedPaletteColorLookupTableData=b"\1\2"),
        "damaged",
    ),
    "palette of no length": (
        lambda: palette(RedPaletteColorLookupTableDescriptor=[0, 0, 0]),
        "damaged",
    ),
    "palette missing": (
        lambda: image_file(ramp(), PhotometricInterpretation="PALETTE COLOR"),
        "damaged",
    ),
    "colours of ink": (
        lambda: image_file(np.zeros((8, 8, 3), np.uint8), PhotometricInterpretation="CMYK"),
        "colour",
    ),
    "four samples": (lambda: image_file(ramp(), SamplesPerPixel=4), "no-image"),
    "colours without a name": (
        lambda: image_file(np.zeros((8, 8, 3), np.uint8), PhotometricInterpretation=None),
        "damaged",
    ),
    "no rows": (lambda: image_file(ramp(), Rows=0), "no-image"),
    "no pixels": (lambda: image_file(ramp(), PixelData=None), "no-image"),
    "as large as can be said": (lambda: image_file(ramp(), Rows=65535, Columns=65535), "large"),
    "more rows than there are": (lambda: image_file(ramp(), Rows=4096), "damaged"),
    "odd bits": (lambda: image_file(ramp(), BitsAllocated=13), "damaged"),
    "a film": (
        lambda: image_file(ramp()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.102"),
        "damaged",
    ),
    "cut off": (lambda: image_file(ramp())[:-500], "damaged"),
    "nothing": (lambda: b"", "no-image"),
    "noise": (lambda: bytes(range(256)) * 100, "damaged"),
}


@pytest.fixture(scope="module")
def maker() -> Any:
    with PictureMaker() as one:
        yield one


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_shown_says_why(name: str, maker: PictureMaker) -> None:
    build, code = BAD[name]
    picture = made(maker, build())
    assert picture.png is None
    assert picture.why == code or (code, picture.why) == ("damaged", "no-image")
    assert WHY[picture.why]
    assert pixels_of(made(maker, image_file(ramp()))).shape == (32, 64)


def test_a_codestream_larger_than_its_header(maker: PictureMaker) -> None:
    """A decoder believes the codestream; the child's bounds end it."""
    data = image_file(ramp(), J2K)
    at = data.index(b"\xff\x4f\xff\x51") + 8  # SIZ: Xsiz, Ysiz (ISO 15444-1, A.5.1)
    bomb = data[:at] + pack(">LL", 60000, 60000) + data[at + 8 :]
    assert made(maker, bomb).why in ("large", "damaged", "reader")
    assert pixels_of(made(maker, data)).shape == (32, 64)


def test_a_deflated_bomb(maker: PictureMaker) -> None:
    packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    block = packer.compress(bytes(limits.MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    body = block * (2 * limits.PICTURE_CHILD_BYTES // limits.MIB) + packer.flush()
    head = image_file(ramp()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    start = head[: head.index(b"\x08\x00\x16\x00")]
    # The syntax has three characters more; group length is not needed to find the data set.
    at = start.index(b"1.2.840.10008.1.2.1.99") - 2
    start = start[:at] + pack("<H", 22) + start[at + 2 :]
    picture = made(maker, start + body)
    assert picture.why in ("large", "no-image", "damaged")
    assert pixels_of(made(maker, image_file(ramp()))).shape == (32, 64)


# --- what is read -------------------------------------------------------------------------


def test_of_many_frames_one_is_read(maker: PictureMaker) -> None:
    frames = np.arange(200 * 64 * 64, dtype=np.uint16).reshape(200, 64, 64)
    for syntax in ("1.2.840.10008.1.2.1", RLE):
        reads = Reads(image_file(frames, syntax, frames=200))
        picture = maker.make(len(reads.data), 100, reads)
        assert pixels_of(picture).shape == (64, 64)
        assert reads.bytes_read < 120_000 < len(reads.data) / 5


def test_more_than_enough_is_not_given(
    maker: PictureMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = image_file(ramp(512, 512))
    monkeypatch.setattr(limits, "PICTURE_READ_BYTES", 100_000)
    reads = Reads(data)
    assert maker.make(len(data), 0, reads) == Picture(None, why="large")
    assert reads.bytes_read <= 100_000
    monkeypatch.setattr(limits, "PICTURE_READ_BYTES", limits.MIB)
    monkeypatch.setattr(limits, "PICTURE_READS", 1)
    assert made(maker, data).why == "large"
    monkeypatch.undo()
    assert made(maker, data).png is not None


def test_what_the_reader_raises_comes_out_and_ends_the_child(maker: PictureMaker) -> None:
    def broken(offset: int, count: int) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        maker.make(1000, 0, broken)
    assert made(maker, image_file(ramp())).png is not None


# --- the child ----------------------------------------------------------------------------


def process_of(maker: PictureMaker) -> "subprocess.Popen[bytes]":
    assert maker._child is not None
    return maker._child._process


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_child_is_bounded_and_can_open_nothing() -> None:
    with PictureMaker() as maker:
        assert made(maker, image_file(ramp())).png is not None
        process = process_of(maker)
        assert len(process.args) == 4  # type: ignore[arg-type]
        proc = Path(f"/proc/{process.pid}")
        assert sorted(os.listdir(proc / "fd")) == ["0", "1", "2"]
        table = (proc / "limits").read_text().splitlines()
        bounds = {line[:26].strip(): line[26:].split() for line in table}
        assert bounds["Max open files"][:2] == ["0", "0"]
        assert bounds["Max file size"][:2] == ["0", "0"]
        assert bounds["Max address space"][0] == str(limits.PICTURE_CHILD_BYTES)
        assert int(bounds["Max cpu time"][0]) <= 60
        environment = (proc / "environ").read_bytes()
        assert b"HOME" not in environment
    assert process.poll() is not None


def child(script: str) -> PictureMaker:
    """Return a maker whose child does what a script says."""
    prelude = """
import os, sys, time
from medp2p.dicom.framing import framed
from medp2p.dicom.picturechild import Done, Read
import msgspec
def question():
    return sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), "big"))
def say(thing):
    raw = thing if isinstance(thing, bytes) else framed(msgspec.msgpack.encode(thing))
    sys.stdout.buffer.write(raw); sys.stdout.buffer.flush()
question()
"""
    return PictureMaker((sys.executable, "-c", prelude + script))


@pytest.mark.parametrize(
    "script",
    [
        "sys.exit()",
        "os.abort()",
        "time.sleep(60)",
        "say(b'\\xff' * 4)",
        "say(b'\\0\\0\\0\\3abc')",
        "say(b'\\0\\0'); time.sleep(60)",
        "say(Read(0, 0))",
        "say(Read(-1, 5))",
        "say(Read(10, 2**20 + 1))",
        "say(Read(4090, 8))",
        "say(Done('<script>'))",
        "say(Done('', 300, 1, 1, bytes(300)))",
        "say(Done('', 0, 0, 1, b''))",
        "say(Done('', 2, 2, 4, bytes(16)))",
        "say(Done('', 2, 2, 1, bytes(5)))",
        "say(Read(0, 100)); sys.stdin.buffer.read(50); time.sleep(60)",
    ],
)
def test_a_child_that_fails_or_lies_gives_no_picture(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PICTURE_SECONDS", 0.5)
    monkeypatch.setattr(limits, "DICOM_START_SECONDS", 1.5)
    with child(script) as maker:
        assert maker.make(4096, 0, Reads(bytes(4096))) == Picture(None, why="reader")
        assert maker._child is None


def test_a_child_that_cannot_be_started() -> None:
    with PictureMaker(("/nonexistent",)) as maker:
        assert made(maker, b"x") == Picture(None, why="reader")


def test_an_answer_of_a_child_is_pixels_and_nothing_else() -> None:
    with child("say(Done('', 2, 1, 3, b'<svg>x'))") as maker:
        picture = maker.make(10, 0, Reads(bytes(10)))
    assert picture.png == encode_png(2, 1, 3, b"<svg>x")
    assert pixels_of(picture).tolist() == [[[60, 115, 118], [103, 62, 120]]]


def test_who_waits_is_asked_whether_to_go_on() -> None:
    asked = 0

    def go_on() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise ZeroDivisionError

    with child("time.sleep(60)") as maker, pytest.raises(ZeroDivisionError):
        maker.make(10, 0, Reads(bytes(10)), go_on)
    assert asked == 3


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="prctl")
def test_the_child_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Also while it is busy, and when its parent has no time to end it."""
    busy = (
        "import os; from medp2p.dicom.picturechild import end_with_parent\n"
        "end_with_parent(); print(os.getpid(), flush=True)\n"
        "while True: pass"
    )
    script = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {busy!r}])"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while not has_ended(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_the_extra_there_is_a_reason() -> None:
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "from medp2p.dicom.picturechild import main; main()"
    )
    with PictureMaker((sys.executable, "-c", script)) as maker:
        assert made(maker, image_file(ramp())) == Picture(None, why="software")
        assert made(maker, image_file(ramp())) == Picture(None, why="software")


def test_a_decoder_that_is_missing_is_the_reason() -> None:
    script = (
        "import sys\n"
        "for name in ('gdcm', 'libjpeg', 'pylibjpeg', 'openjpeg', 'jpeg_ls'):\n"
        "    sys.modules[name] = None\n"
        "from medp2p.dicom.picturechild import main; main()"
    )
    with PictureMaker((sys.executable, "-c", script)) as maker:
        assert made(maker, real("JPEG-LL")).why == "syntax"
        assert made(maker, real("MR_small_RLE")).png is not None


# --- whatever the bytes are ---------------------------------------------------------------


def mutants(data: bytes, count: int, seed: int) -> list[bytes]:
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        changed = bytearray(data)
        for _ in range(int(random.integers(1, 8))):
            at = int(random.integers(0, len(changed)))
            kind = random.integers(0, 4)
            if kind == 0:
                changed[at] = int(random.integers(0, 256))
            elif kind == 1:
                del changed[at : at + int(random.integers(1, 64))]
            elif kind == 2:
                changed[at : at + 4] = random.bytes(4)
            elif len(changed) > 500:
                del changed[int(random.integers(400, len(changed))) :]
            if not changed:
                break
        found.append(bytes(changed))
    return found


FUZZED = [
    *("MR_small_RLE", "JPEG-LL", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"),
    *("SC_rgb_small_odd_jpeg", "emri_small_RLE", "image_dfl"),
]


@pytest.mark.parametrize("name", FUZZED)
def test_no_bytes_do_harm(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = real(name)
    with PictureMaker() as maker:
        for mutant in mutants(data, 25, seed=len(name)):
            picture = made(maker, mutant)
            if picture.png is None:
                assert picture.why in WHY
            else:
                assert pixels_of(picture).size
        assert made(maker, data).png is not None


def test_png_takes_what_fits_only() -> None:
    for numbers in ((0, 1, 1, b""), (1, 0, 1, b""), (2, 2, 1, b"abc"), (1, 1, 2, b"ab")):
        with pytest.raises(ValueError, match="no picture"):
            encode_png(*numbers)
