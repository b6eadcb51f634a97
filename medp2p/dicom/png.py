"""PNG files made of pixels, with nothing else in them.

Source: PNG (Third Edition), W3C Recommendation, sections 5 (data stream) and 9 (filtering).
"""

import zlib
from struct import pack

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}


def encode_png(width: int, height: int, channels: int, pixels: bytes) -> bytes:
    """Return a PNG file with 8 bits a channel.

    Args:
        width: Columns, at least 1.
        height: Rows, at least 1.
        channels: 1 for greys, 3 for red, green, blue.
        pixels: Rows from the top, width * height * channels bytes.

    Raises:
        ValueError: The numbers do not fit.
    """
    line = width * channels
    if channels not in _COLOUR_TYPES or line < 1 or height < 1 or len(pixels) != line * height:
        raise ValueError("pixels that are no picture")
    head = pack(">LLBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = b"".join(b"\0" + pixels[at : at + line] for at in range(0, len(pixels), line))
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_part(name, data) for name, data in parts)


def _part(name: bytes, data: bytes) -> bytes:
    return pack(">L", len(data)) + name + data + pack(">L", zlib.crc32(name + data))
