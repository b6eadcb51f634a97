"""Checks of file names: what does not belong among images, and what a DICOMDIR promises."""

import unicodedata
from collections.abc import Sequence

from medp2p.dicom.finding import Finding, files_of, finding
from medp2p.dicom.patients import Group, Item, strangers
from medp2p.text import escape_text

_EXECUTABLE = frozenset(
    b"exe com scr pif bat cmd ps1 vbs vbe js jse wsf wsh hta msi msp dll cpl jar lnk reg sh "
    b"command app desktop apk".split()
)
_AUTORUN = frozenset({b"autorun.inf", b"desktop.ini", b"autorun.sh", b".autorun"})
_LITTER = frozenset({b"thumbs.db", b"__macosx"})


def check_paths(items: Sequence[Item]) -> list[Finding]:
    """Return findings about names; programs and hidden files only where there are images too."""
    found = []
    others = [number for number, item in enumerate(items) if item.facts.kind == "other"]
    if len(others) < len(items):
        found += _check_company(items, others)
    found += _check_collisions(items)
    return found


def _check_company(items: Sequence[Item], others: list[int]) -> list[Finding]:
    hidden, programs, autoruns = [], [], []
    for number, item in enumerate(items):
        parts = item.path.lower().split(b"/")
        name = parts[-1]
        if name in _AUTORUN:
            autoruns.append(number)
        elif name.rpartition(b".")[2] in _EXECUTABLE and b"." in name:
            # A UID may end like a name of a program; what is an image is none.
            if item.facts.kind == "other":
                programs.append(number)
        elif item.facts.content in ("executable", "script"):
            programs.append(number)
        elif any(part.startswith(b".") or part in _LITTER for part in parts):
            hidden.append(number)
    plain = sorted(set(others) - {*hidden, *programs, *autoruns})
    texts = (
        ("autorun", "starts something by itself when opened on Windows", autoruns),
        ("executable-file", "programs or scripts among images", programs),
        ("hidden-file", "hidden files among images", hidden),
        ("no-header", "without a DICOM header beside images", plain),
    )
    return [
        finding(code, f"{text}: {files_of(len(numbers))}", items, numbers)
        for code, text, numbers in texts
        if numbers
    ]


def _check_collisions(items: Sequence[Item]) -> list[Finding]:
    """Names that are one name on a system that ignores case or Unicode forms."""
    first: dict[str, tuple[bytes, int]] = {}
    more: dict[str, dict[bytes, int]] = {}

    def note(path: bytes, number: int) -> None:
        name = _one_name(path)
        before = first.setdefault(name, (path, number))
        if before[0] != path:
            more.setdefault(name, dict([before])).setdefault(path, number)

    seen: set[bytes] = set()  # folders, and so all above them
    for number, item in enumerate(items):
        note(item.path, number)
        folder = item.path.rpartition(b"/")[0]
        while folder and folder not in seen:
            seen.add(folder)
            note(folder, number)
            folder = folder.rpartition(b"/")[0]
    colliding = [number for paths in more.values() for number in paths.values()]
    if not colliding:
        return []
    text = "names that differ only in case or Unicode form, one name on Windows and macOS"
    count = files_of(len(set(colliding)))
    return [finding("path-collision", f"{text}: {count}", items, colliding)]


def _one_name(path: bytes) -> str:
    text = path.decode("utf-8", "surrogateescape")
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def check_directories(items: Sequence[Item], groups: Sequence[Group]) -> list[Finding]:
    """Return what DICOMDIR files promise and the selection does not hold."""
    found = []
    present: set[str] | None = None
    for number, item in enumerate(items):
        directory = item.facts.directory
        if directory is None:
            continue
        if present is None:
            present = {_as_directory_has_it(other.path) for other in items}
        folder = _as_directory_has_it(item.path).rpartition("/")[0]
        prefix = f"{folder}/" if folder else ""
        missing = [name for name in directory.files if f"{prefix}{name}".casefold() not in present]
        if missing:
            promised = len(directory.files) + directory.more
            shown = escape_text(", ".join(missing[:3]))
            text = f"{len(missing)} of {promised} files promised by DICOMDIR missing: {shown}"
            found.append(finding("directory-missing", text, items, [number]))
        others = strangers(item, groups)
        if others:
            names = "; ".join(one.name or one.id for one in others[:3])
            text = f"DICOMDIR names {len(others)} other patient(s): {names}"
            found.append(finding("directory-patients", text, items, [number]))
    return found


def _as_directory_has_it(path: bytes) -> str:
    """Return a path as a DICOMDIR may have it: file systems of discs know no case."""
    return path.decode("utf-8", "surrogateescape").casefold()
