"""The verb that writes pictures, against a desk in memory."""

import base64
from pathlib import Path
from typing import Any

import pytest

from medp2p.dicom.png import encode_png
from tests.helpers.command import Medp2p
from tests.helpers.desk import Served

PNG = encode_png(2, 1, 1, b"\0\xff")


def preview(series: str = "1.2", **more: Any) -> dict[str, Any]:
    return {
        "series": series,
        "description": "Thorax \x1b[31m",
        "modality": "CT",
        "images": 96,
        "shown": 48,
        "width": 2,
        "height": 1,
        "png_b64": base64.b64encode(PNG).decode(),
        "why": None,
        **more,
    }


NONE = preview("1.3", modality="SR", shown=None, png_b64=None, why="there is no image in it")


@pytest.fixture
def shown(served: Served) -> Served:
    served.desk.previews_rows = [preview(), NONE]
    return served


def test_pictures_are_written_for_their_owner_only(
    medp2p: Medp2p, shown: Served, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "here"
    done = medp2p("inbox", "preview", "s", "--to", str(folder))
    assert done.code == 0
    (file,) = folder.iterdir()
    assert file.name == "ssssssss-01-CT-not-for-diagnosis.png"
    assert file.read_bytes() == PNG
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert str(file) in done.out
    assert "none: there is no image in it" in done.out
    assert "\x1b" not in done.out


def test_nothing_is_written_over(medp2p: Medp2p, shown: Served, tmp_path: Path) -> None:
    for _ in range(3):
        assert medp2p("inbox", "preview", "s", "--to", str(tmp_path / "x")).code == 0
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    stem = "ssssssss-01-CT-not-for-diagnosis"
    assert names == [f"{stem}-2.png", f"{stem}-3.png", f"{stem}.png"]


def test_in_json_there_are_files_and_no_pictures(
    medp2p: Medp2p, shown: Served, tmp_path: Path
) -> None:
    told = medp2p("inbox", "preview", "s", "--to", str(tmp_path), "--series", "1.3", "--json").json
    assert told["marked"] == "not for diagnosis"
    assert told["id"] == "s" * 26
    (one,) = told["previews"]
    assert (one["series"], one["file"], one["shown"]) == ("1.3", None, None)
    assert "png_b64" not in one


def test_without_a_folder_nobody_looks(medp2p: Medp2p, shown: Served, tmp_path: Path) -> None:
    for words in ((), ("--json",)):
        done = medp2p("inbox", "preview", "s", *words)
        assert done.code == 2
        assert "--to" in done.err
    (tmp_path / "file").write_text("")
    assert medp2p("inbox", "preview", "s", "--to", str(tmp_path / "file")).code == 1
    assert medp2p("inbox", "preview", "s", "--to", "").code == 2
    (tmp_path / "link").symlink_to(medp2p.home)
    for place in (medp2p.home, medp2p.home / "vault" / "in", tmp_path / "link" / "in"):
        done = medp2p("inbox", "preview", "s", "--to", str(place))
        assert "nothing may lie in clear in the home" in done.err
    assert "previews" not in [act for act, _ in shown.desk.acts]


def test_what_comes_from_files_names_no_path(
    medp2p: Medp2p, served: Served, tmp_path: Path
) -> None:
    served.desk.previews_rows = [preview(modality="../../etc/x"), preview(modality="")]
    assert medp2p("inbox", "preview", "s", "--to", str(tmp_path / "to")).code == 0
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == [
        "ssssssss-01-etcx-not-for-diagnosis.png",
        "ssssssss-02-image-not-for-diagnosis.png",
    ]


def test_what_is_not_sealed_or_not_there(medp2p: Medp2p, shown: Served, tmp_path: Path) -> None:
    folder = str(tmp_path / "to")
    assert medp2p("inbox", "preview", "o", "--to", folder).code == 1
    assert medp2p("inbox", "preview", "s", "--to", folder, "--series", "9").code == 1
