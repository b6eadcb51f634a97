"""Names that the target of a release cannot hold, and what they become there.

On an ordinary Linux file system nothing is changed. A target that cannot hold a name (a FAT
stick, a Windows share, a folder that does not tell upper from lower case) gets another one in
its place; every change is listed, and no two entries ever become one.

Source: docs/VAULT.md, "Release".
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count

from blake3 import blake3

from medp2p import limits
from medp2p.manifest import Entry

#: Microsoft, "Naming Files, Paths, and Namespaces": reserved characters and device names.
_RESERVED = {*'<>:"|?*\\', *map(chr, range(32)), "\x7f"}
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"
}
_LONGEST_SUFFIX = 16  # bytes of a name's last part that survive its being cut, with the dot


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRules:
    """What names a file system can hold.

    Attributes:
        windows: Not the reserved characters, device names, trailing dots and blanks of Windows.
        text_only: Only names that are UTF-8.
        folds_case: "A" and "a" are one name.
        folds_form: Composed and decomposed letters are one name.
        longest: Bytes of a name.
    """

    windows: bool = False
    text_only: bool = False
    folds_case: bool = False
    folds_form: bool = False
    longest: int = limits.MAX_NAME_BYTES

    @property
    def exact(self) -> bool:
        """Whether every name that is not too long is held as it is."""
        return not (self.windows or self.text_only or self.folds_case or self.folds_form)

    def fit(self, name: bytes) -> bytes:
        """Return a name that the file system can hold; the same one if it can hold this."""
        fitted = name
        if self.windows or self.text_only:
            text = name.decode("utf-8", "surrogateescape")
            text = "".join("_" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
            if self.windows:
                text = _for_windows(text)
            fitted = text.encode()
        if len(fitted) > self.longest:
            fitted = _cut(fitted, name, self.longest)
        return fitted

    def fold(self, name: bytes) -> bytes:
        """Return what two names have in common that are one to this file system."""
        if not (self.folds_case or self.folds_form):
            return name
        text = name.decode("utf-8", "surrogateescape")
        if self.folds_form:
            text = unicodedata.normalize("NFC", text)
        if self.folds_case:
            # Upper case first: some letters differ in lower case only, and may be one there.
            text = text.upper().casefold()
        return text.encode("utf-8", "surrogateescape")


class TargetNames:
    """Where each entry of a manifest goes below the released folder.

    Attributes:
        mapped: (path in the manifest, path at the target) of each entry or folder whose own
            name was changed, in the order of the manifest. What lies in a changed folder is not
            listed again.
    """

    def __init__(self, entries: Sequence[Entry], rules: NameRules) -> None:
        self.mapped: list[tuple[bytes, bytes]] = []
        self._names: dict[bytes, bytes] = {}  # path in the manifest -> its own name there
        if rules.exact and not _any_longer(entries, rules.longest):
            return
        taken: set[tuple[bytes, bytes]] = set()
        changed = []
        for path in _every_path(entries):
            folder, _, name = path.rpartition(b"/")
            key = (folder, rules.fold(name))
            if rules.fit(name) == name and key not in taken:
                taken.add(key)
            else:
                changed.append(path)
        for path in changed:  # after all others: who can keep its name does
            folder, _, name = path.rpartition(b"/")
            for fitted in _candidates(rules, name):
                key = (folder, rules.fold(fitted))
                if key not in taken:
                    break
            taken.add(key)
            self._names[path] = fitted
        self.mapped = [(path, self.target(path)) for path in changed]

    def target(self, path: bytes) -> bytes:
        """Return the path below the released folder of a path in the manifest."""
        if not self._names:
            return path
        parts = []
        while path:
            folder, _, name = path.rpartition(b"/")
            parts.append(self._names.get(path, name))
            path = folder
        return b"/".join(reversed(parts))


def _any_longer(entries: Sequence[Entry], longest: int) -> bool:
    return any(
        len(entry.path) > longest and any(len(part) > longest for part in entry.path.split(b"/"))
        for entry in entries
    )


def _every_path(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield each path and each folder on the way to one, once, folders first."""
    seen: set[bytes] = set()
    for entry in entries:
        way = []
        path = entry.path
        while path and path not in seen:
            seen.add(path)
            way.append(path)
            path = path.rpartition(b"/")[0]
        yield from reversed(way)


def _candidates(rules: NameRules, name: bytes) -> Iterator[bytes]:
    """Yield names for a name: what fits, then the same with "-2" and so on, then with a hash.

    The hash keeps thousands of names that all become one from trying each other's numbers.
    """
    fitted = rules.fit(name)
    yield fitted
    stem, suffix = _split(fitted)
    numbers = (b"-%d" % number for number in range(2, 10))
    hashes = (b"~" + blake3(name).hexdigest(8).encode() + b"-%d" % n for n in count(1))
    for end in chain(numbers, hashes):
        yield _whole_letters(stem[: rules.longest - len(end + suffix)]) + end + suffix


def _for_windows(text: str) -> str:
    text = "".join("_" if letter in _RESERVED else letter for letter in text)
    kept = text.rstrip(". ")
    text = kept + "_" * (len(text) - len(kept))
    if text.partition(".")[0].rstrip().lower() in _DEVICES:
        text = "_" + text
    return text


def _cut(fitted: bytes, name: bytes, longest: int) -> bytes:
    """Shorten a name, keeping its suffix; a hash keeps names apart that begin alike."""
    stem, suffix = _split(fitted)
    end = b"~" + blake3(name).hexdigest(4).encode() + suffix
    return _whole_letters(stem[: longest - len(end)]) + end


def _split(name: bytes) -> tuple[bytes, bytes]:
    stem, dot, suffix = name.rpartition(b".")
    if not stem or len(dot + suffix) > _LONGEST_SUFFIX:
        return name, b""
    return stem, dot + suffix


def _whole_letters(name: bytes) -> bytes:
    """Drop the beginning of a UTF-8 letter at the end, if the cut has left one."""
    for length in range(len(name), max(len(name) - 4, -1), -1):
        try:
            name[:length].decode()
        except UnicodeDecodeError:
            continue
        return name[:length]
    return name  # not UTF-8 anyway
