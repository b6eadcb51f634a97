"""The tools of these tests work: a search that finds nothing must be able to find."""

import base64
import contextlib
import hashlib
import os
import socket
import threading
from pathlib import Path

import pytest
from pydicom import dcmread

from examples.forwarder import Forwarder
from examples.study import make_study
from tests.e2e.harness import (
    Answer,
    command,
    find_canary,
    make_odd_files,
    open_to_others,
    tree_digest,
)

CANARY = "KANARI^VOGEL"


class Sink:
    """A server that takes bytes and answers each block with one byte."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.got = bytearray()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.listener.getsockname()
        return host, port

    def _run(self) -> None:
        while True:
            try:
                taken, _ = self.listener.accept()
            except OSError:
                return
            with taken:
                try:
                    while data := taken.recv(65536):
                        self.got += data
                        taken.sendall(b".")
                except OSError:
                    pass


def ended(connection: socket.socket) -> bool:
    """Read until the other side has ended the connection, one way or another."""
    connection.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


def test_a_forwarder_counts_holds_and_cuts() -> None:
    sink = Sink()
    data = os.urandom(300_000)
    with Forwarder(sink.address) as forwarder:
        with socket.create_connection(("127.0.0.1", forwarder.port)) as one:
            forwarder.hold_at(100_000)
            one.sendall(data)
            forwarder.wait_forward(100_000)
            assert forwarder.forward == 100_000
            forwarder.hold_at(150_000)
            forwarder.wait_forward(150_000)
            assert forwarder.forward == 150_000
            forwarder.go()
            forwarder.wait_forward(300_000)
            one.shutdown(socket.SHUT_WR)
            while one.recv(65536):
                pass
        assert sink.got == data
        assert forwarder.backward > 0
        with socket.create_connection(("127.0.0.1", forwarder.port)) as two:
            forwarder.cut_at(300_007)
            two.sendall(b"x" * 100)
            forwarder.wait_cuts(1)
            assert ended(two)
        assert forwarder.forward == 300_007
        forwarder.down()
        with socket.create_connection(("127.0.0.1", forwarder.port)) as three:
            assert ended(three)
        forwarder.up()
        with socket.create_connection(("127.0.0.1", forwarder.port)) as four:
            forwarder.hold_back()
            four.sendall(b"y")
            four.settimeout(0.2)
            with pytest.raises(TimeoutError):
                four.recv(1)
            forwarder.go()
            four.settimeout(10)
            assert four.recv(1) == b"."
    sink.listener.close()


@pytest.mark.parametrize(
    "content",
    [
        CANARY.encode(),
        CANARY.encode("utf-16-le"),
        CANARY.encode().hex().encode(),
        base64.b64encode(b"/some/where/" + CANARY.encode() + b"/IM1"),
        base64.b64encode(b"/some/where" + CANARY.encode() + b"/IM1"),
        base64.b64encode(b"/some/wher" + CANARY.encode() + b"/IM1"),
    ],
)
def test_the_canary_is_found_in_disguise(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "store.db").write_bytes(bytes(5000) + content + bytes(5000))
    assert find_canary(tmp_path, CANARY)
    assert find_canary(tmp_path, "NOBODY^ELSE") == []


def test_the_canary_is_found_in_names(tmp_path: Path) -> None:
    (tmp_path / f"x{CANARY}").mkdir()
    assert find_canary(tmp_path, CANARY) == [f"{tmp_path}/x{CANARY}: plain in the name"]


def test_files_open_to_others_are_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "key").touch(0o600)
    assert open_to_others(tmp_path) == []
    (tmp_path / "key").chmod(0o640)
    assert open_to_others(tmp_path) == [f"{tmp_path}/key: 640"]


def test_trees_are_compared_by_path_kind_and_content(tmp_path: Path) -> None:
    make_odd_files(tmp_path / "d")
    found = tree_digest(tmp_path / "d")
    assert found[b"\xff\xfe.dcm"] == hashlib.sha256(bytes([9])).hexdigest()
    assert found[b"empty folder/in it"] == "folder"
    assert len(found) == 19 + 2 + 12 + 1


def test_a_study_has_its_own_uids_and_is_the_same_again(tmp_path: Path) -> None:
    make_study(tmp_path / "1", 3, edge=256)
    make_study(tmp_path / "2", 3, edge=256)
    assert tree_digest(tmp_path / "1") == tree_digest(tmp_path / "2")
    files = sorted((tmp_path / "1").rglob("*.dcm"))
    slices = [dcmread(path) for path in files]
    assert len({str(one.SOPInstanceUID) for one in slices}) == 3
    assert len({str(one.StudyInstanceUID) for one in slices}) == 1
    assert [one.SOPInstanceUID for one in slices] == [
        one.file_meta.MediaStorageSOPInstanceUID for one in slices
    ]
    assert len(slices[0].PixelData) == 256 * 256 * 2


def test_json_is_asked_for_where_it_is_an_option() -> None:
    words = command(["send", "b", "--", "--json"], json=True)
    assert words[-4:] == ["b", "--json", "--", "--json"]
    assert Answer(0, '{"a": 1}\n{"a":\n 2}\n', "").documents == [{"a": 1}, {"a": 2}]
