"""Text for people and for JSON: escaping of told text, sizes, times.

What a peer tells (names, paths, labels, notes) is data: it passes through here before a terminal
or a log sees it, so that it can neither move a cursor nor forge a line.
"""

import unicodedata
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

#: Seconds of each unit of time that people write.
TIME_UNITS = MappingProxyType(
    {
        **dict.fromkeys(("s", "sec", "second", "seconds"), 1),
        **dict.fromkeys(("m", "min", "minute", "minutes"), 60),
        **dict.fromkeys(("h", "hour", "hours"), 3600),
        **dict.fromkeys(("d", "day", "days"), 86400),
        **dict.fromkeys(("w", "week", "weeks"), 7 * 86400),
    }
)

#: Control, format (bidirectional marks, zero-width characters), surrogate, line and paragraph
#: separator: what moves, hides or reorders other text. Names of Unicode, chapter 4.5.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SI = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Years 2 to 9998: a told time beyond them is shown as the nearest end, whatever the time zone.
_EARLIEST_MS = -62_104_060_800_000
_LATEST_MS = 253_370_764_799_999


def escape_text(text: str) -> str:
    r"""Return text that is harmless on a terminal and stays on one line.

    Control and format characters, line separators and lone surrogates become ``\xNN``,
    ``\uNNNN`` or ``\UNNNNNNNN``; everything else stays as it is, backslashes too. So this is for
    reading only; path_text is the form that can be turned back.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) if _is_harmful(char) else char for char in text)


def one_line(text: str) -> str:
    """Return typed text on one line: its lines with " / " between them, a tab as a space."""
    lines = (line.replace("\t", " ").strip() for line in text.splitlines())
    return " / ".join(filter(None, lines))


def path_text(path: bytes) -> str:
    r"""Return a path as text, for terminals and JSON; different paths give different texts.

    Bytes that are not UTF-8, and the bytes of characters that escape_text would escape, become
    ``\xNN``; a backslash is doubled.
    """
    decoded = path.decode("utf-8", "surrogateescape")
    if decoded.isascii() and decoded.isprintable() and "\\" not in decoded:
        return decoded
    parts = []
    for char in decoded:
        if char == "\\":
            parts.append("\\\\")
        elif _is_harmful(char):
            parts.extend(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
        else:
            parts.append(char)
    return "".join(parts)


def _is_harmful(char: str) -> bool:
    return unicodedata.category(char) in _HARMFUL


def _escaped(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def format_bytes(count: float) -> str:
    """Return a size in SI units: "999 B", "12.3 MB"."""
    value = float(count)
    for unit in _SI[:-1]:
        # What would be rounded to 1000.0 already belongs to the next unit.
        if abs(value) < (999.5 if unit == "B" else 999.95):
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {_SI[-1]}"


def format_rate(bytes_per_second: float) -> str:
    """Return a rate in SI units: "12.3 MB/s"."""
    return format_bytes(bytes_per_second) + "/s"


def format_duration(seconds: float) -> str:
    """Return a duration in its two largest units: "45 s", "3 min 20 s", "2 h 05 min", "3 d 4 h"."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    if minutes:
        return f"{minutes} min {rest:02d} s"
    return f"{rest} s"


def rfc3339(time_ms: int) -> str:
    """Return a time as JSON has it, UTC: "2026-11-25T13:00:00.123Z".

    Args:
        time_ms: Milliseconds since 1970 UTC; a told one may be anything, so it is clamped.
    """
    return _moment(time_ms).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def local_time(time_ms: int) -> str:
    """Return a time as people read it, with the offset: "2026-11-25 14:00:00 +01:00"."""
    text = _moment(time_ms).astimezone().isoformat(sep=" ", timespec="seconds")
    return f"{text[:19]} {text[19:]}"


def _moment(time_ms: int) -> datetime:
    clamped = min(max(time_ms, _EARLIEST_MS), _LATEST_MS)
    return _EPOCH + timedelta(milliseconds=clamped)
