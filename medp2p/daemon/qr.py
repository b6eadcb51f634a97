"""A peer ID as a QR code, for a phone or a camera at the other workstation."""

from functools import lru_cache

import segno

#: Light modules around the code (ISO/IEC 18004, 9.1: quiet zone).
_QUIET = 4


@lru_cache(maxsize=4)
def qr_code(text: str) -> dict[str, object]:
    """Return the QR code of a text.

    Returns:
        ``size``: modules along an edge, quiet zone included; ``path``: SVG path data of the dark
        modules, one unit each.
    """
    code = segno.make_qr(text, error="m")
    runs = []
    for y, row in enumerate(code.matrix, start=_QUIET):
        x = 0
        while x < len(row):
            start, dark = x, row[x]
            while x < len(row) and row[x] == dark:
                x += 1
            if dark:
                runs.append(f"M{start + _QUIET} {y}h{x - start}v1h-{x - start}z")
    return {"size": len(code.matrix) + 2 * _QUIET, "path": "".join(runs)}
