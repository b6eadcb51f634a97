"""Who imports whom, and how big a module may be: what docs/ARCHITECTURE.md promises.

Reads the sources with ast, so an import inside a function counts too. Each rule is first shown a
tree that breaks it: a check that cannot fail checks nothing.
"""

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Modules directly in medp2p/: what everything else stands on.
BASE = {
    "",
    "bch",
    "closing",
    "errors",
    "groups",
    "limits",
    "model",
    "manifest",
    "layout",
    "digest",
    "identity",
    "text",
}
#: A package may import what has a smaller number; siblings never import each other.
ROWS = {
    "base": 0,
    "proto": 1,
    "parcel": 1,
    "vault": 1,
    "dicom": 1,
    "audit": 1,
    "net": 2,
    "daemon": 3,
    "control": 4,
    "cli": 5,
}
#: The command line talks to the daemon through control; only these verbs work without one, and
#: import what they need themselves.
VERBS_WITHOUT_DAEMON = {"daemon", "init", "id", "doctor", "wipe"}
#: Third-party libraries that several packages use. Of any other the exceptions become ours in
#: the one package that imports it.
SHARED_LIBRARIES = {"trio", "cryptography", "blake3", "msgspec"}
#: Import names that are not the name of the distribution.
DISTRIBUTIONS = {"noise": "noiseprotocol", "PIL": "pillow"}
#: Of the extra `pictures`: only the child that makes pictures may load them, by these modules.
EXTRA_LIBRARIES = {"numpy", "PIL"}
EXTRA_MODULES = {"medp2p.dicom.frames", "medp2p.dicom.shading", "medp2p.dicom.rendering"}
#: proto and audit are pure: no network, files, clock or randomness of their own.
PURE = {"proto", "audit"}
IMPURE_MODULES = {
    *("trio", "asyncio", "subprocess", "socket", "select", "selectors", "ssl"),
    *("os", "pathlib", "tempfile", "shutil", "time", "datetime", "random", "secrets"),
}
#: Modules that Windows lacks: one module a package, so that another can stand beside it.
POSIX_MODULES = {"fcntl", "pwd", "grp", "termios", "tty", "pty", "resource", "syslog"}
DRAWERS = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
MAX_MODULE_LINES = 400
MAX_BODY_LINES = 60


@dataclass(frozen=True)
class Import:
    """One imported module, with where it is imported."""

    target: str
    line: int
    function: str | None  # the outermost one around it

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]


@dataclass(frozen=True)
class Module:
    """One source file of the package."""

    name: str  # "medp2p.net.link"
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def package(self) -> str:
        return package_of(self.name)

    def imports(self) -> Iterator[Import]:
        for top in ast.iter_child_nodes(self.tree):
            function = top.name if isinstance(top, ast.FunctionDef | ast.AsyncFunctionDef) else None
            for node in ast.walk(top):
                for target in targets(node):
                    yield Import(target, getattr(node, "lineno", 0), function)


def targets(node: ast.AST) -> list[str]:
    """The modules that a statement imports; names taken from a package may be modules of it."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level or node.module is None:
            return ["(relative import)"]
        if node.module == "medp2p":
            return [f"medp2p.{alias.name}" for alias in node.names]
        return [node.module]
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        return ["(import by name)"] if called in ("import_module", "__import__") else []
    return []


def package_of(name: str) -> str:
    """The row of a module of ours: a package, or "base"; the name itself if it has none."""
    first = name.split(".")[1] if "." in name else ""
    if first in BASE or (first.startswith("__") and first != "__main__"):
        return "base"
    return "cli" if first == "__main__" else first


def modules_of(folder: Path) -> list[Module]:
    found = []
    for path in sorted((folder / "medp2p").rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.read_text(encoding="utf-8")))
    return found


# --- the rules: each yields a line for whatever is against it -----------------------------


def rows(modules: list[Module]) -> Iterator[str]:
    """Dependencies point downwards only."""
    for module in modules:
        if module.package not in ROWS:
            yield f"{module.name} belongs to no row"
            continue
        for found in module.imports():
            if found.target.startswith("("):
                yield f"{module.name}:{found.line}: {found.target}"
            elif found.top == "medp2p":
                other = package_of(found.target)
                if other not in ROWS:
                    yield f"{module.name}:{found.line} imports {found.target}, which has no row"
                elif other != module.package and ROWS[other] >= ROWS[module.package]:
                    yield f"{module.name}:{found.line} imports {found.target}"


def command_line(modules: list[Module]) -> Iterator[str]:
    """The command line imports more than base and control in the verbs without daemon only."""
    for module in modules:
        if module.package != "cli":
            continue
        for found in module.imports():
            if found.top != "medp2p" or package_of(found.target) in ("base", "control", "cli"):
                continue
            verb = (found.function or "").strip("_").removesuffix("_command")
            if verb not in VERBS_WITHOUT_DAEMON:
                yield f"{module.name}:{found.line} imports {found.target} outside such a verb"


def libraries(modules: list[Module]) -> Iterator[str]:
    """One package for each third-party library."""
    users: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules:
        for found in module.imports():
            if found.top not in sys.stdlib_module_names | {"medp2p"} and found.target[0] != "(":
                users[found.top].add(module.package)
    for library, packages in sorted(users.items()):
        if len(packages) > 1 and library not in SHARED_LIBRARIES:
            yield f"{library} is imported by {', '.join(sorted(packages))}"
        if DISTRIBUTIONS.get(library, library) not in declared():
            yield f"{library} is not among the dependencies in pyproject.toml"


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["pictures"]]
    return {line.split(">")[0].split("=")[0].strip() for line in lines}


def extra(modules: list[Module]) -> Iterator[str]:
    """What is not installed everywhere is imported in the child that makes pictures only."""
    for module in modules:
        for found in module.imports():
            inside = module.name in EXTRA_MODULES
            if found.top in EXTRA_LIBRARIES and not inside:
                yield f"{module.name}:{found.line} imports {found.target}, of an extra"
            lazily = module.name == "medp2p.dicom.picturechild" and found.function is not None
            if found.target in EXTRA_MODULES and not inside and not lazily:
                yield f"{module.name}:{found.line} imports {found.target}, which needs an extra"


def purity(modules: list[Module]) -> Iterator[str]:
    """Pure packages import nothing that reaches outside; SQLite is for the vault."""
    for module in modules:
        for found in module.imports():
            if module.package in PURE and found.top in IMPURE_MODULES:
                yield f"{module.name}:{found.line} imports {found.target}, but is pure"
            if found.top == "sqlite3" and module.package != "vault":
                yield f"{module.name}:{found.line} imports sqlite3, which is for the vault"


def posix(modules: list[Module]) -> Iterator[str]:
    """What only POSIX has sits in one module of a package."""
    users: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for module in modules:
        for found in module.imports():
            if found.top in POSIX_MODULES:
                users[module.package, found.top].add(module.name)
    for (_, library), names in sorted(users.items()):
        if len(names) > 1:
            yield f"{library} is imported by {', '.join(sorted(names))}"


def sizes(modules: list[Module]) -> Iterator[str]:
    """Modules and functions can be read in one go."""
    for module in modules:
        lines = len(module.source.splitlines())
        if lines > MAX_MODULE_LINES:
            yield f"{module.name} has {lines} lines"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body and (long := (node.end_lineno or 0) - body[0].lineno + 1) > MAX_BODY_LINES:
                    yield f"{module.name}.{node.name} has {long} lines"


def names(modules: list[Module]) -> Iterator[str]:
    """A module is a noun, not a drawer."""
    for module in modules:
        if DRAWERS & set(module.name.split(".")):
            yield f"{module.name} is a drawer"


def shields(modules: list[Module]) -> Iterator[str]:
    """Nothing is shielded from cancellation without a deadline."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("CancelScope"):
                given = {keyword.arg for keyword in node.keywords}
                if "shield" in given and not given & {"deadline", "relative_deadline"}:
                    yield f"{module.name}:{node.lineno}: a shield without a deadline"


Rule = Callable[[list[Module]], Iterator[str]]
RULES: list[Rule] = [rows, command_line, libraries, extra, purity, posix, sizes, names, shields]


@pytest.mark.parametrize("rule", RULES)
def test_package_keeps(rule: Rule) -> None:
    modules = modules_of(ROOT)
    assert len(modules) > 20
    assert list(rule(modules)) == []


# --- the rules can fail -------------------------------------------------------------------

LONG_BODY = "def f():\n" + "    x = 1\n" * 61
BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (rows, {"model": "import medp2p.proto.frames"}, "imports medp2p.proto.frames"),
    (rows, {"limits": "from medp2p import vault"}, "imports medp2p.vault"),
    (rows, {"proto.a": "from medp2p.vault.age import x"}, "imports medp2p.vault.age"),
    (rows, {"vault.a": "from medp2p import audit"}, "imports medp2p.audit"),
    (rows, {"net.a": "def f():\n  from medp2p.daemon import tree"}, "imports medp2p.daemon"),
    (rows, {"daemon.a": "import medp2p.control.api"}, "imports medp2p.control.api"),
    (rows, {"control.a": "from medp2p import cli"}, "imports medp2p.cli"),
    (rows, {"proto.a": "from . import frames"}, "relative"),
    (rows, {"proto.a": "import importlib\nimportlib.import_module('x')"}, "by name"),
    (rows, {"extra.a": ""}, "medp2p.extra.a belongs to no row"),
    (rows, {"helpfulness": ""}, "belongs to no row"),
    (rows, {"net.a": "from medp2p import extra"}, "has no row"),
    (rows, {"net.a": "if TYPE_CHECKING:\n  from medp2p.cli import x"}, "imports medp2p.cli"),
    (command_line, {"cli.a": "from medp2p.daemon import tree"}, "outside such a verb"),
    (command_line, {"cli.a": "def send():\n  import medp2p.daemon.tree"}, "outside such a verb"),
    (command_line, {"__main__": "from medp2p.vault import age"}, "outside such a verb"),
    (libraries, {"net.a": "import zeroconf", "cli.a": "import zeroconf.x"}, "by cli, net"),
    (libraries, {"net.a": "import requests"}, "requests is not among the dependencies"),
    (extra, {"daemon.a": "def f():\n  import numpy.ma"}, "imports numpy.ma, of an extra"),
    (extra, {"dicom.a": "from medp2p.dicom.rendering import x"}, "which needs an extra"),
    (extra, {"dicom.picturechild": "import medp2p.dicom.frames"}, "which needs an extra"),
    (purity, {"proto.a": "import time"}, "imports time, but is pure"),
    (purity, {"audit.a": "def f():\n  from os import urandom"}, "imports os, but is pure"),
    (purity, {"daemon.a": "import sqlite3"}, "for the vault"),
    (posix, {"net.a": "import fcntl", "net.b": "import fcntl"}, "by medp2p.net.a, medp2p.net.b"),
    (sizes, {"net.a": "\n" * 401}, "has 401 lines"),
    (sizes, {"net.a": LONG_BODY}, "medp2p.net.a.f has 61 lines"),
    (names, {"net.utils": ""}, "medp2p.net.utils is a drawer"),
    (names, {"net.common.a": ""}, "is a drawer"),
    (shields, {"net.a": "trio.CancelScope(shield=True)"}, "without a deadline"),
]


def tree_of(folder: Path, sources: dict[str, str]) -> list[Module]:
    for name, source in sources.items():
        path = (folder / "medp2p").joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return modules_of(folder)


@pytest.mark.parametrize(("rule", "sources", "complaint"), BROKEN)
def test_rule_finds(rule: Rule, sources: dict[str, str], complaint: str, tmp_path: Path) -> None:
    found = list(rule(tree_of(tmp_path, sources)))
    assert len(found) == 1
    assert complaint in found[0]


def test_what_is_allowed_is_not_complained_about(tmp_path: Path) -> None:
    sources = {
        "__init__": "__version__ = '1'",
        "model": "from medp2p import limits, __version__\nimport cryptography",
        "proto.a": "from medp2p.proto import b\nimport medp2p.errors\nimport msgspec, cryptography",
        "net.a": "from medp2p.proto.a import x\nimport zeroconf, trio, fcntl",
        "daemon.a": "import medp2p.net.a, medp2p.vault, trio, fcntl",
        "control.a": "from medp2p.daemon import tree",
        "cli.a": "from medp2p.control import client\ndef id_():\n  from medp2p.daemon import home",
        "cli.b": "async def daemon():\n  if 1:\n    from medp2p.daemon import tree",
        "vault.a": "import sqlite3\nimport os, time",
        "dicom.a": "\n" * 400,
        "parcel.a": "trio.CancelScope(shield=True, deadline=3)\ntrio.move_on_after(2, shield=True)",
    }
    modules = tree_of(tmp_path, sources)
    assert [line for rule in RULES for line in rule(modules)] == []


# --- what a short command loads -----------------------------------------------------------


def test_the_command_line_starts_light() -> None:
    """A whole `medp2p status` has half a second: what only some verbs need is loaded by those."""
    heavy = "trio rich starlette hypercorn jinja2 zeroconf pydicom cryptography noise spake2 pyrage"
    script = f"import sys, medp2p.cli.main; print(*(set(sys.modules) & set({heavy.split()})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.split() == []


def test_the_daemon_loads_nothing_that_parses_dicom() -> None:
    """That is for its children; it would be 35 MB and a third of its start, too."""
    heavy = {"pydicom", "PIL", "numpy", "medp2p.dicom.inspect", "medp2p.dicom.rendering"}
    load = "import sys, medp2p.control.serve, medp2p.daemon.tree"
    script = f"{load}; print(*(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.split() == []
