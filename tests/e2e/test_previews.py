"""Pictures of what is sealed, with real daemons and the command line only."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.harness import Hospital, Workstation, wait_until
from tests.helpers.dicoms import real_files

pytestmark = pytest.mark.e2e

#: One series each: MR, JPEG lossless, JPEG 2000 with three colours, RLE with frames.
FILES = ("MR_small.dcm", "JPEG-LL.dcm", "US1_J2KR.dcm", "emri_small_RLE.dcm")


def facts(side: Workstation, box: str, transfer: str) -> list[str]:
    return [fact["fact"] for fact in side.cli(box, "show", transfer).ok().document["facts"]]


def test_pictures_are_written_where_a_person_says(hospital: Hospital, tmp_path: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    folder = tmp_path / "study"
    folder.mkdir()
    for path in real_files():
        if path.name in FILES:
            shutil.copy(path, folder)
    assert len(list(folder.iterdir())) == len(FILES)
    ct.cli("peers", "set", "ward-a", "allow-mixed=yes").ok()
    transfer = ct.send("ward-a", folder, "--allow-mixed")
    ct.wait_state("outbox", transfer, "sealed")
    assert ward.cli("inbox", "preview", transfer).code == 2
    assert facts(ward, "inbox", transfer) == ["sealed"]

    out = tmp_path / "pictures"
    told = ward.cli("inbox", "preview", transfer, "--to", out).ok().document
    assert told["marked"] == "not for diagnosis"
    assert [one["why"] for one in told["previews"]] == [None] * len(FILES)
    assert {one["file"] for one in told["previews"]} == {str(path) for path in out.iterdir()}
    for one in told["previews"]:
        with Image.open(one["file"]) as image:
            assert image.size == (one["width"], one["height"])
            assert max(image.size) <= 256
            assert np.asarray(image).std() > 10
    wait_until(lambda: facts(ct, "outbox", transfer) == ["sealed", "previewed"])
    assert ward.row("inbox", transfer)["state"] == "sealed"
    rows = ward.cli("audit", "list").ok().document
    (record,) = [row for row in rows if row["event"] == "previewed"]
    assert record["detail"]["dicom_event"] == "110103"
    assert record["transfer"] == transfer
    wait_until(lambda: not [name for name in ward.children() if "picture" in name])

    ct.cli("outbox", "recall", transfer).ok()
    ct.wait_state("outbox", transfer, "recalled")
    error = ct.row("outbox", transfer)["error"]
    assert "only a preview of it had been looked at" in error["text"]
    assert ward.cli("inbox", "preview", transfer, "--to", out).code == 1
