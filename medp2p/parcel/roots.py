"""What a person selected: each PATH made absolute, with the last name that it travels under."""

import os
import stat
from collections.abc import Sequence

from medp2p.errors import SourceError
from medp2p.text import path_text


def find_roots(paths: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the absolute path of each selected file or folder, in the given order.

    "." and ".." stand for the folder that they name. Folders on the way may be links; the last
    component may not, since links are never followed.

    Args:
        paths: As typed; relative ones count from the current folder.

    Raises:
        SourceError: The selection is empty or contains "/", something that is no file or folder
            or cannot be found, or two paths with the same last name.
    """
    if not paths:
        raise SourceError("nothing was selected", hint="name at least one file or folder")
    by_name: dict[bytes, bytes] = {}
    for path in paths:
        root = _find_root(path)
        name = os.path.basename(root)
        if name in by_name:
            raise SourceError(
                f"two of the selected paths have the same last name: {path_text(name)}",
                hint="send them one after the other, or the folder that holds both",
            )
        by_name[name] = root
    return tuple(by_name.values())


def _find_root(path: bytes) -> bytes:
    if not path or b"\0" in path:
        raise SourceError("a selected path is empty or holds a NUL")
    shown = path_text(path)
    stripped = path.rstrip(b"/")
    folder, name = os.path.split(stripped)
    try:
        if name in (b"", b".", b".."):
            root = os.path.realpath(stripped or b"/", strict=True)
        else:
            root = os.path.join(os.path.realpath(folder or b".", strict=True), name)
        mode = os.lstat(root).st_mode
    except OSError as error:
        raise SourceError(f"cannot find {shown}: {error.strerror}") from error
    if root == b"/":
        raise SourceError(
            "the whole file system cannot be sent", hint="name the folders that are meant"
        )
    if stat.S_ISLNK(mode):
        raise SourceError(f"{shown} is a link; links are not followed", hint="name its target")
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise SourceError(f"{shown} is neither a file nor a folder")
    if path.endswith(b"/") and not stat.S_ISDIR(mode):
        raise SourceError(f"{shown} is not a folder")
    return root
