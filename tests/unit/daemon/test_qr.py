"""The QR code of a peer ID, as a grid of modules."""

import re

from medp2p.daemon.qr import qr_code

PEER_ID = "-".join(["ABCDEF"] * 11)


def grid(code: dict[str, object]) -> set[tuple[int, int]]:
    """Return the dark modules that the path draws."""
    dark = set()
    runs = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", str(code["path"]))
    assert "".join(f"M{x} {y}h{n}v1h-{m}z" for x, y, n, m in runs) == code["path"]
    for x, y, length, back in runs:
        assert length == back
        dark |= {(int(x) + step, int(y)) for step in range(int(length))}
    return dark


def test_it_has_three_finders_and_a_quiet_zone() -> None:
    code = qr_code(PEER_ID)
    size, dark = int(str(code["size"])), grid(code)
    assert (size - 8 - 17) % 4 == 0  # ISO/IEC 18004: 17 + 4 * version modules
    assert all(4 <= x < size - 4 and 4 <= y < size - 4 for x, y in dark)
    for left, top in ((4, 4), (size - 11, 4), (4, size - 11)):
        edge = {(left + step, top) for step in range(7)} | {(left, top + step) for step in range(7)}
        assert edge <= dark
        assert (left + 1, top + 1) not in dark
        assert (left + 3, top + 3) in dark


def test_another_text_is_another_code() -> None:
    assert qr_code(PEER_ID) == qr_code(PEER_ID)
    assert qr_code(PEER_ID)["path"] != qr_code(PEER_ID[::-1])["path"]
