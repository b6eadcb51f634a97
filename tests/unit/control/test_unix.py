"""Local sockets under paths of any length."""

import os
import stat
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.control.unix import connect_unix, listen_unix, peer_uid, short_path
from medp2p.errors import ControlError


def long_folder(base: Path, bytes_in_all: int) -> Path:
    """Make a folder whose socket path has exactly so many bytes."""
    missing = bytes_in_all - len(os.fsencode(base / "control.sock"))
    folder = base
    while missing > 0:
        step = min(missing - 1, 100)
        folder, missing = folder / ("x" * step), missing - step - 1
        if missing == 1:
            folder, missing = folder.with_name(folder.name + "x"), 0
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("size", [102, 103, 104, 107, 108, 109, 600])
def test_both_sides_meet_under_a_path_of_any_length(tmp_path: Path, size: int) -> None:
    path = long_folder(tmp_path, size) / "control.sock"
    assert len(os.fsencode(path)) == size
    before = os.getcwd()
    with listen_unix(path, 4) as server, connect_unix(path, 5.0) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"hello")
            assert client.recv(5) == b"hello"
            assert peer_uid(accepted) == os.getuid()
    assert os.getcwd() == before


def test_no_descriptor_of_the_folder_stays_open(tmp_path: Path) -> None:
    path = long_folder(tmp_path, 300) / "control.sock"
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        listen_unix(path, 4).close()
        with pytest.raises(ConnectionRefusedError):
            connect_unix(path, 5.0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_socket_is_for_this_account_only_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with listen_unix(tmp_path / "control.sock", 4):
            mode = (tmp_path / "control.sock").stat().st_mode
    finally:
        os.umask(old)
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_left_over_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    listen_unix(path, 4).close()
    assert path.exists()
    with listen_unix(path, 4) as server, connect_unix(path, 5.0):
        server.accept()[0].close()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connect_unix(tmp_path / "control.sock", 5.0)
    with pytest.raises(FileNotFoundError):
        listen_unix(tmp_path / "missing" / "control.sock", 4)


def test_a_path_that_fits_is_used_as_it_is(tmp_path: Path) -> None:
    path = Path("/tmp/s")
    with short_path(path) as name:
        assert name == "/tmp/s"
    assert len("/tmp/s") <= limits.MAX_SOCKET_PATH_BYTES


def test_without_proc_a_long_path_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = long_folder(tmp_path, 200) / "control.sock"
    monkeypatch.setattr(os.path, "isdir", lambda _: False)
    with pytest.raises(ControlError, match="longer than a socket address") as caught:
        connect_unix(path, 5.0)
    assert caught.value.hint == "choose a home with a shorter path"


def test_a_time_out_holds_for_reading_too(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with listen_unix(path, 4), connect_unix(path, 0.05) as client, pytest.raises(TimeoutError):
        client.recv(1)
