"""The files of the page fit together, are in the package, and load nothing from elsewhere."""

import json
import re
from pathlib import Path

import pytest

from medp2p.control.page.files import load_shell, load_static, package_files
from medp2p.errors import ControlError
from medp2p.model import PURPOSES

STATIC = load_static(package_files())
SHELL = load_shell(package_files()).content.decode()
SCRIPTS = sorted(name for name in STATIC if name.endswith(".js"))
STYLES = sorted(name for name in STATIC if name.endswith(".css"))


def text(name: str) -> str:
    return STATIC[name].content.decode()


def test_the_shell_names_files_that_are_there() -> None:
    named = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", SHELL)
    assert named
    for address in named:
        assert address.removeprefix("/static/") in STATIC, address


def test_the_shell_has_no_script_style_or_handler_of_its_own() -> None:
    """The content security policy would stop it, silently."""
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", SHELL, re.IGNORECASE) == []
    for attributes, content in re.findall(r"<script([^>]*)>(.*?)</script>", SHELL, re.DOTALL):
        assert "src=" in attributes
        assert content.strip() == ""


_IMPORTED = re.compile(
    r"""^(?:(?:import|export|\})[^\n]*?\sfrom|import)\s+["']([^"']+)["']|import\(["']([^"']+)""",
    re.MULTILINE,
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_what_is_there(name: str) -> None:
    for address in ("".join(pair) for pair in _IMPORTED.findall(text(name))):
        assert address.startswith("./"), address
        assert address.removeprefix("./") in STATIC, address


def test_imports_are_found() -> None:
    assert len(_IMPORTED.findall(text("app.js"))) > 5


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_make_no_markup_out_of_text(name: str) -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert re.findall(sinks, re.sub(r"/\*.*?\*/|//[^\n]*", "", text(name), flags=re.DOTALL)) == []


@pytest.mark.parametrize("name", STYLES)
def test_styles_load_nothing_from_elsewhere(name: str) -> None:
    loaded = re.findall(r"url\(\s*[\"']?([^\"')]+)|@import\s+[\"']([^\"']+)", text(name))
    for address in ("".join(pair) for pair in loaded):
        assert address.removeprefix("/static/").removeprefix("./") in STATIC, address


def test_the_page_offers_the_purposes_that_the_daemon_takes() -> None:
    (offered,) = re.findall(r"^const PURPOSES = (\[.*\]);$", text("confirm.js"), re.MULTILINE)
    assert tuple(json.loads(offered)) == PURPOSES


def test_no_file_names_another_place() -> None:
    for name, file in STATIC.items():
        addresses = re.findall(rb"https?://[^\s\"'`<>)]+", file.content)
        assert [one for one in addresses if not one.startswith(b"http://www.w3.org/")] == [], name


def test_every_file_of_the_folder_is_served() -> None:
    folder = package_files() / "static"
    assert {item.name for item in folder.iterdir()} - set(STATIC) <= {"__pycache__"}


def test_names_and_kinds_are_an_allow_list(tmp_path: Path) -> None:
    (tmp_path / "static" / "sub.js").mkdir(parents=True)
    for name in ("a.js", "b.css", "c.svg", "d.html", "e.py", ".js", "A.js", "f.js.bak", "g"):
        (tmp_path / "static" / name).write_bytes(b"x")
    assert sorted(load_static(tmp_path)) == ["a.js", "b.css", "c.svg"]


def test_an_installation_without_the_page_says_so(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"index\.html of the page is missing"):
        load_shell(tmp_path)
    assert load_static(tmp_path) == {}


def test_versions_differ_in_their_tag(tmp_path: Path) -> None:
    (tmp_path / "static").mkdir()
    tags = set()
    for content in (b"1", b"2", b"1"):
        (tmp_path / "static" / "a.js").write_bytes(content)
        tags.add(load_static(tmp_path)["a.js"].etag)
    assert len(tags) == 2
