import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import text


def unescaped(shown: str) -> bytes:
    """The inverse of path_text."""

    def raw(match: re.Match[bytes]) -> bytes:
        return b"\\" if match[1] is None else bytes([int(match[1], 16)])

    return re.sub(rb"\\(?:\\|x([0-9a-f]{2}))", raw, shown.encode())


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain name", "plain name"),
        ("M\u00fcller \u6771\u4eac \U0001f600", "M\u00fcller \u6771\u4eac \U0001f600"),
        ("a\\b", "a\\b"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\r\t", "two\\x0alines\\x0d\\x09"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("a\u2066b\u2069\u200f\u061c", "a\\u2066b\\u2069\\u200f\\u061c"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028sep\u2029", "line\\u2028sep\\u2029"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_escape_text(raw: str, shown: str) -> None:
    assert text.escape_text(raw) == shown


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("", ""),
        ("plain  text ", "plain  text"),
        ("look today\ncall 4711", "look today / call 4711"),
        ("\r\nlook today \r\n\r\n\tcall 4711\r\n", "look today / call 4711"),
        ("a\tb\u2028c\x0bd", "a b / c / d"),
        ("\x1b[31mred\x00", "\x1b[31mred\x00"),  # harmful text stays to be seen
    ],
)
def test_one_line(typed: str, line: str) -> None:
    assert text.one_line(typed) == line


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_escaped_text_is_one_harmless_line(raw: str) -> None:
    shown = text.escape_text(raw)
    assert len(shown.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069]", shown)
    shown.encode()
    assert text.escape_text(shown) == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"CT/1.dcm", "CT/1.dcm"),
        ("M\u00fcller".encode(), "M\u00fcller"),
        (b"M\xfcller", "M\\xfcller"),
        (b"a\\xfc", "a\\\\xfc"),
        (b"a\nb", "a\\x0ab"),
        ("\u202e".encode(), "\\xe2\\x80\\xae"),
        ("\x85".encode(), "\\xc2\\x85"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
    ],
)
def test_path_text(path: bytes, shown: str) -> None:
    assert text.path_text(path) == shown


@given(st.binary())
def test_path_text_can_be_turned_back(path: bytes) -> None:
    shown = text.path_text(path)
    assert unescaped(shown) == path
    assert text.escape_text(shown) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.7, "1.0 kB"),
        (1000, "1.0 kB"),
        (1024, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (4 * 2**30, "4.3 GB"),
        (2**44, "17.6 TB"),
        (10**21, "1000.0 EB"),
        (-5_000_000, "-5.0 MB"),
    ],
)
def test_format_bytes(count: float, shown: str) -> None:
    assert text.format_bytes(count) == shown


def test_format_rate() -> None:
    assert text.format_rate(12_345_678) == "12.3 MB/s"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (45, "45 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (86_400 * 3 + 3600 * 4 + 59, "3 d 4 h"),
    ],
)
def test_format_duration(seconds: float, shown: str) -> None:
    assert text.format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("time_ms", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_611_600_123, "2026-11-25T13:00:00.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (2**53, "9998-12-31T23:59:59.999Z"),
        (-(2**63), "0002-01-01T00:00:00.000Z"),
    ],
)
def test_rfc3339(time_ms: int, shown: str) -> None:
    assert text.rfc3339(time_ms) == shown


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("UTC0", "2026-11-25 13:00:00 +00:00"),
        ("CET-1", "2026-11-25 14:00:00 +01:00"),
        ("EST5", "2026-11-25 08:00:00 -05:00"),
    ],
)
def test_local_time(monkeypatch: pytest.MonkeyPatch, zone: str, shown: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert text.local_time(1_795_611_600_123) == shown
        text.local_time(2**60)
        text.local_time(-(2**60))
    finally:
        monkeypatch.undo()
        time.tzset()
