"""Data to move: random bytes, sparse files, many small files, CT studies with noise."""

import math
import os
import random
import statistics
from pathlib import Path

from examples.study import make_study

MIB = 1024 * 1024
#: Files in one folder: as a scanner that makes a folder a series.
_FOLDER_FILES = 500
#: Of a CT at usual dose, in the units of the pixels (Hounsfield).
_NOISE_SIGMA = 12.0
_PIXEL_BYTES = 2


def random_file(path: Path, size: int) -> Path:
    """Write a file that nothing compresses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while left := size - file.tell():
            file.write(os.urandom(min(left, MIB)))
    return path


def sparse_file(path: Path, size: int) -> Path:
    """Make a file of a size that takes no room on the disk, but lies in the page cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    # The others are there, too, once they were written: else who comes first pays for all.
    piece = bytearray(MIB)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass
    return path


def many_files(folder: Path, count: int, size: int) -> Path:
    """Write small files of random bytes, some hundreds a folder."""
    block = os.urandom(size + count)
    for number in range(count):
        inner = folder / f"series-{number // _FOLDER_FILES:04}"
        if number % _FOLDER_FILES == 0:
            inner.mkdir(parents=True)
        (inner / f"{number:06}.bin").write_bytes(block[number : number + size])
    return folder


def noisy_study(folder: Path, slices: int, *, edge: int = 512) -> Path:
    """Write a CT study with noise, each slice its own, in a round field with nothing around.

    So it shrinks to about one half, as the whole slices of the pydicom-data package do (0.39 and
    0.51 by zlib): the repeated picture alone would shrink to nothing.
    """
    make_study(folder, slices, edge=edge)
    grain, field = random.Random(1), _round_field(edge)  # equal runs move equal bytes
    size = edge * edge * _PIXEL_BYTES
    # Element (7FE0,0010), explicit VR, little endian: tag, OW, two zero bytes, length.
    head = b"\xe0\x7f\x10\x00OW\0\0" + size.to_bytes(4, "little")
    for path in sorted(folder.rglob("*.dcm")):
        content = path.read_bytes()
        start = content.index(head) + len(head)
        pixels = _with_noise(content[start : start + size], grain, field)
        path.write_bytes(content[:start] + pixels + content[start + size :])
    return folder


def _with_noise(pixels: bytes, grain: random.Random, field: int) -> bytes:
    """Add Gaussian noise to 16-bit pixels, all at once: as one sum of two large numbers.

    Pixels are 12 bits and the noise is shifted above zero, so no carry crosses to a neighbour.
    """
    low = grain.randbytes(len(pixels) // _PIXEL_BYTES).translate(_GAUSS)
    noise = bytearray(len(pixels))
    noise[::_PIXEL_BYTES] = low
    total = int.from_bytes(pixels, "little") + int.from_bytes(noise, "little")
    return (total & field).to_bytes(len(pixels), "little")


def _round_field(edge: int) -> int:
    """Return a mask over all pixels of a slice: ones within a circle."""
    rows = []
    for y in range(edge):
        half = math.isqrt(max(0, (edge // 2) ** 2 - (y - edge // 2) ** 2))
        outside = bytes((edge // 2 - half) * _PIXEL_BYTES)
        rows.append(outside + b"\xff" * (2 * half * _PIXEL_BYTES) + outside)
    return int.from_bytes(b"".join(rows), "little")


def _gauss_table() -> bytes:
    """Return, for each of 256 equally likely bytes, a value of a shifted normal distribution."""
    normal = statistics.NormalDist(0, _NOISE_SIGMA)
    values = [round(normal.inv_cdf((at + 0.5) / 256)) for at in range(256)]
    return bytes(value - min(values) for value in values)


_GAUSS = _gauss_table()


def count_and_bytes(path: Path) -> tuple[int, int]:
    """Return how many regular files there are at or below a path, and the sum of their sizes."""
    if path.is_file():
        return 1, path.stat().st_size
    files = size = 0
    for inner, _, names in os.walk(path):
        for name in names:
            files += 1
            size += os.stat(os.path.join(inner, name)).st_size
    return files, size
