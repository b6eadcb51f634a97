"""The files of the page as they lie in the package: read once, served by name, never by path."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable

import jinja2

from medp2p.errors import ControlError

SHELL = "index.html"
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z]+)")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    """A file that anybody on this machine may read.

    Attributes:
        content: Its bytes.
        media_type: Value of Content-Type.
    """

    content: bytes
    media_type: str

    @cached_property
    def etag(self) -> str:
        """What tells one version of the file from another."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'


def package_files() -> Traversable:
    """Return the folder in which ``templates`` and ``static`` lie."""
    return resources.files("medp2p.control.page")


def load_static(root: Traversable) -> dict[str, StaticFile]:
    """Return, by name, the files of ``static`` whose kind a page needs; others are not served."""
    found = {}
    for item in _items(root / "static"):
        match = _NAME.fullmatch(item.name)
        if match is not None and match[1] in _TYPES and item.is_file():
            found[item.name] = StaticFile(item.read_bytes(), _TYPES[match[1]])
    return found


def load_shell(root: Traversable) -> StaticFile:
    """Return the page itself, rendered; it is the same for everybody and holds no data.

    Raises:
        ControlError: It is missing from the installation.
    """
    sources = {
        item.name: item.read_text(encoding="utf-8")
        for item in _items(root / "templates")
        if item.name.endswith(".html")
    }
    if SHELL not in sources:
        raise ControlError(
            f"{SHELL} of the page is missing from this installation", hint="install medp2p again"
        )
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), autoescape=True, undefined=jinja2.StrictUndefined
    )
    modules = [name for name in load_static(root) if name.endswith(".js")]
    text = environment.get_template(SHELL).render(modules=modules)
    return StaticFile(text.encode(), "text/html; charset=utf-8")


def _items(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda item: item.name) if folder.is_dir() else []
