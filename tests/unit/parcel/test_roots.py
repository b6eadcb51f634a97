"""What may be selected, and under which last name it travels."""

import os
import socket
from pathlib import Path

import pytest

from medp2p.errors import SourceError
from medp2p.parcel.roots import find_roots


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a study, a file and links to both."""
    (tmp_path / "study" / "series").mkdir(parents=True)
    (tmp_path / "one.dcm").write_bytes(b"1")
    (tmp_path / "study" / "one.dcm").write_bytes(b"2")
    (tmp_path / "to-folder").symlink_to("study")
    (tmp_path / "to-file").symlink_to("one.dcm")
    (tmp_path / "dead").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"study", b"study"),
        (b"study/", b"study"),
        (b"study//", b"study"),
        (b"./study/.", b"study"),
        (b"study/series/..", b"study"),
        (b"to-folder/.", b"study"),
        (b"to-folder/series", b"study/series"),
        (b"one.dcm", b"one.dcm"),
        (b"study/../one.dcm", b"one.dcm"),
    ],
)
def test_a_path_gets_its_real_last_name(place: Path, typed: bytes, found: bytes) -> None:
    base = os.fsencode(place.resolve())
    assert find_roots([typed]) == (base + b"/" + found,)
    assert find_roots([base + b"/" + typed]) == (base + b"/" + found,)


def test_dot_is_the_current_folder_and_dot_dot_the_one_above(place: Path) -> None:
    base = os.fsencode(place.resolve())
    os.chdir(place / "study")
    assert find_roots([b"."]) == (base + b"/study",)
    assert find_roots([b".."]) == (base,)


def test_several_paths_keep_their_order(place: Path) -> None:
    base = os.fsencode(place.resolve())
    assert find_roots([b"study", b"one.dcm"]) == (base + b"/study", base + b"/one.dcm")


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ([], "nothing was selected"),
        ([b""], "empty"),
        ([b"a\0b"], "NUL"),
        ([b"/"], "whole file system"),
        ([b"//"], "whole file system"),
        ([b"/."], "whole file system"),
        ([b"/.."], "whole file system"),
        ([b"to-folder"], "to-folder is a link"),
        ([b"to-folder/"], "is a link"),
        ([b"to-file"], "to-file is a link"),
        ([b"dead"], "dead is a link"),
        ([b"nowhere"], "cannot find nowhere"),
        ([b"nowhere/."], "cannot find"),
        ([b"one.dcm/x"], "cannot find"),
        ([b"one.dcm/"], "not a folder"),
        ([b"one.dcm", b"study/one.dcm"], "same last name: one.dcm"),
        ([b"study", b"study/"], "same last name: study"),
        ([b"study", b"study/series/.."], "same last name: study"),
        ([b"/dev/null"], "neither a file nor a folder"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_selection_without_sense_is_refused(typed: list[bytes], text: str) -> None:
    with pytest.raises(SourceError, match=text):
        find_roots(typed)


def test_a_selected_fifo_or_socket_is_refused(place: Path) -> None:
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock")
        for typed in (b"pipe", b"sock"):
            with pytest.raises(SourceError, match="neither a file nor a folder"):
                find_roots([typed])


def test_a_refusal_does_not_carry_control_characters(place: Path) -> None:
    with pytest.raises(SourceError) as caught:
        find_roots([b"no\x1b[31m\n\xff"])
    assert caught.value.text.isprintable()
