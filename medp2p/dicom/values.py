"""Bytes of element values to harmless text and numbers.

pydicom knows the character sets of DICOM with their escape codes and the usual mistakes in naming
them. It is not asked to find elements: see ``elements``.

Source: DICOM PS3.5, section 6.1 (character sets) and 6.2 (value representations).
"""

import math
import warnings
from functools import lru_cache
from struct import unpack

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.uid import UID
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from medp2p import limits
from medp2p.text import escape_text, path_text

#: PS3.5, 6.2: a name has at most three groups of five components.
NAME_GROUPS, NAME_COMPONENTS = 3, 5
_CUT = "\u2026"


@lru_cache(maxsize=64)
def encodings_of(declared: bytes) -> tuple[str, ...]:
    """Return Python's names for the values of (0008,0005); unknown ones count as Latin-1."""
    names = [part.strip(b" \0").decode("latin-1") for part in declared.split(b"\\")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tuple(convert_encodings(names))
        except (LookupError, ValueError):
            return ("latin-1",)


def text(raw: bytes, encodings: tuple[str, ...]) -> str:
    """Return a text value without padding, harmless and bounded."""
    return _harmless(_decoded(raw, encodings, TEXT_VR_DELIMS).strip(" \0"))


def texts(raw: bytes, encodings: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of an element that may have several, without empty ones."""
    parts = _decoded(raw, encodings, TEXT_VR_DELIMS).split("\\", limits.DICOM_VALUES)
    stripped = [part.strip(" \0") for part in parts[: limits.DICOM_VALUES]]
    return tuple(_harmless(part) for part in stripped if part)


def identifier(raw: bytes, encodings: tuple[str, ...]) -> tuple[str, str]:
    """Return a patient's id as text, and its raw form if the text looks odd, or ""."""
    stripped = raw.strip(b" \0")
    decoded = _decoded(stripped, encodings, TEXT_VR_DELIMS).strip(" \0")
    odd = _is_odd(stripped, decoded, encodings) or "\\" in decoded
    return _harmless(decoded), _raw_form(stripped) if odd else ""


def name(raw: bytes, encodings: tuple[str, ...]) -> tuple[str, str]:
    """Return a person's name, all groups, and its raw form if it looks odd, or ""."""
    stripped = raw.strip(b" \0")
    groups = [_decoded(part, encodings, PN_DELIMS) for part in stripped.split(b"=")]
    odd = len(groups) > NAME_GROUPS or any(
        part.count("^") >= NAME_COMPONENTS or "\\" in part for part in groups
    )
    decoded = "=".join(groups).rstrip(" =\0")
    odd = odd or _is_odd(stripped, decoded, encodings)
    return _harmless(decoded), _raw_form(stripped) if odd else ""


def uid(raw: bytes) -> str:
    """Return a UID; whatever else stands there stays visible, escaped."""
    return _harmless(raw.strip(b" \0").decode("latin-1"))


def numbers(raw: bytes, count: int) -> tuple[float, ...] | None:
    """Return exactly count decimal strings as finite numbers, or None."""
    parts = raw.strip(b" \0").split(b"\\", count)
    if len(parts) != count:
        return None
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        return None
    return values if all(math.isfinite(value) for value in values) else None


def integer(raw: bytes) -> int:
    """Return an integer string as a number; 0 for what is none or negative."""
    try:
        return max(0, min(int(raw.strip(b" \0")), 2**53))
    except ValueError:
        return 0


def short(raw: bytes, *, big: bool) -> int:
    """Return the first unsigned 16-bit number, 0 if there is none."""
    if len(raw) < 2:
        return 0
    found: int = unpack(">H" if big else "<H", raw[:2])[0]
    return found


def is_sop_class(uid_text: str) -> bool:
    """Return whether the standard knows that UID as a kind of object."""
    return UID(uid_text).type in ("SOP Class", "Media Storage Directory")


def is_image_class(uid_text: str) -> bool:
    """Return whether objects of that kind have pixels, as far as the standard knows it."""
    return "Image Storage" in UID(uid_text).name


def _decoded(raw: bytes, encodings: tuple[str, ...], delimiters: set[int]) -> str:
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return decode_bytes(raw, encodings, delimiters)
        except (LookupError, ValueError):
            return raw.decode("latin-1")


def _is_odd(raw: bytes, decoded: str, encodings: tuple[str, ...]) -> bool:
    if any(char in "<>&\ufffd" for char in decoded) or not decoded.isprintable():
        return True
    # UTF-8 under the name of another set: no text of a real language is valid by chance.
    return not raw.isascii() and encodings[0] != "UTF8" and _is_utf8(raw)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _raw_form(raw: bytes) -> str:
    return _cut(path_text(raw))


def _harmless(decoded: str) -> str:
    return _cut(escape_text(decoded))


def _cut(shown: str) -> str:
    if len(shown) <= limits.DICOM_VALUE_CHARS:
        return shown
    return shown[: limits.DICOM_VALUE_CHARS - 1] + _CUT
