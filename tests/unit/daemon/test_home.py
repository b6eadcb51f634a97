import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medp2p.daemon import posix
from medp2p.daemon.home import (
    Home,
    Lock,
    check_home,
    check_keys,
    default_home,
    init_home,
    open_home,
    read_daemon_json,
    write_daemon_json,
)
from medp2p.errors import (
    AlreadyRunningError,
    ConfigError,
    HomeError,
    KeyFileError,
)
from medp2p.vault.store import Store

NOW = 1_700_000_000_000


def make(path: Path) -> Home:
    return init_home(path, name="a", department="", place="", now_ms=NOW)


def check_against_store(home: Home) -> None:
    _, keys = open_home(home.path)
    store = Store.open(home.store, create=False, now_ms=NOW)
    try:
        with store.read() as tx:
            check_keys(tx, home, keys)
    finally:
        store.close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return make(tmp_path / "home")


@pytest.fixture(params=[0, 0o022, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    seen = [home.path, *home.path.rglob("*")]
    assert {path.name for path in seen} >= {
        "config.toml", "noise.key", "sign.key", "spool.key", "vault.key", "store.db", "vault",
    }  # fmt: skip
    for path in seen:
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    check_against_store(home)


def test_takes_an_empty_folder_and_missing_parents(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    check_against_store(make(tmp_path / "empty"))
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700
    check_against_store(make(tmp_path / "a" / "b" / "c"))


def test_link_to_a_folder_elsewhere_is_a_home(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to("disk")
    home = make(tmp_path / "home")
    assert home.path == tmp_path / "disk"
    check_against_store(home)


def test_never_touches_a_home_or_a_folder_in_use(home: Home, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    with pytest.raises(HomeError, match="is a home already"):
        make(home.path)
    assert before == {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
    used = tmp_path / "used"
    used.mkdir()
    (used / ".dot").write_text("x")
    with pytest.raises(HomeError, match=r"is not empty \(it holds '.dot'\)"):
        make(used)
    assert os.listdir(used) == [".dot"]
    with pytest.raises(HomeError, match="not a folder"):
        make(used / ".dot")
    with pytest.raises(HomeError, match="Not a directory"):
        make(used / ".dot" / "x")


def test_told_texts_are_checked_before_keys_are_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="place"):
        init_home(tmp_path / "home", name="a", department="", place="x\ny", now_ms=NOW)
    assert not (tmp_path / "home").exists()
    make(tmp_path / "home")


class Crash(BaseException):
    pass


def test_a_crash_at_any_moment_of_init_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stop before each system call that makes a name; the leftovers are never taken for a home."""
    for number in range(100):
        left = number
        real = os.open

        def counting(*args: object, _open: Callable[..., int] = real, **more: object) -> int:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return _open(*args, **more)

        path = tmp_path / str(number)
        monkeypatch.setattr(os, "open", counting)
        try:
            make(path)
        except Crash:
            monkeypatch.setattr(os, "open", real)
        else:
            monkeypatch.setattr(os, "open", real)
            check_against_store(Home(path))
            assert number > 5
            return
        if not path.exists() or not os.listdir(path):
            make(path)  # not begun
        elif os.path.exists(path / "init-unfinished"):
            with pytest.raises(HomeError, match="incomplete init") as caught:
                open_home(path)
            assert f"remove {path}" in str(caught.value.hint)
            with pytest.raises(HomeError, match="incomplete init"):
                make(path)
        else:
            check_against_store(Home(path))  # all but the last sync was done
    pytest.fail("init never ended")


def test_the_default_home_is_the_account_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "medp2p"


def test_no_home(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match="there is no home") as caught:
        open_home(tmp_path / "none")
    assert "medp2p init" in str(caught.value.hint)
    tmp_path.chmod(0o700)
    with pytest.raises(HomeError, match="not a home of medp2p"):
        open_home(tmp_path)


@pytest.mark.parametrize(
    ("part", "mode"),
    [("", 0o755), ("keys", 0o750), ("vault", 0o777), ("run", 0o705), ("store.db", 0o640),
     ("config.toml", 0o644)],
)  # fmt: skip
def test_what_others_could_read_is_refused(home: Home, part: str, mode: int) -> None:
    path = home.path / part
    path.chmod(mode)
    with pytest.raises(HomeError, match=f"{path} is open to other accounts") as caught:
        check_home(home.path)
    assert str(caught.value.hint).startswith("chmod ")


@pytest.mark.parametrize("part", ["keys", "vault", "run", "store.db", "config.toml"])
def test_links_are_refused(home: Home, part: str) -> None:
    path = home.path / part
    path.rename(home.path / "elsewhere")
    path.symlink_to("elsewhere")
    with pytest.raises(HomeError, match=f"{path} is a link"):
        check_home(home.path)


@pytest.mark.parametrize("part", ["keys", "vault", "store.db", "config.toml"])
def test_missing_parts_are_named(home: Home, part: str) -> None:
    path = home.path / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(HomeError, match=f"{path}: No such file"):
        check_home(home.path)


def test_parts_of_another_kind_are_named(home: Home) -> None:
    home.config_file.unlink()
    home.config_file.mkdir()
    with pytest.raises(HomeError, match="not a regular file"):
        check_home(home.path)
    home.config_file.rmdir()
    home.config_file.touch(mode=0o600)
    home.vault.rmdir()
    home.vault.touch(mode=0o600)
    with pytest.raises(HomeError, match="not a folder"):
        check_home(home.path)


def test_run_folder_is_made_again(home: Home) -> None:
    home.run.rmdir()
    check_home(home.path)
    assert stat.S_IMODE(home.run.stat().st_mode) == 0o700


def test_another_account_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posix, "our_account", lambda: 4711)
    with pytest.raises(HomeError, match=r"belongs to account .*, not to this one \(4711\)"):
        check_home(home.path)


@pytest.mark.parametrize("file", ["noise.key", "sign.key", "spool.key", "vault.key"])
def test_missing_damaged_and_foreign_keys_name_the_file(
    home: Home, tmp_path: Path, file: str
) -> None:
    path = home.keys / file
    good = path.read_bytes()
    other = make(tmp_path / "other")
    path.write_bytes((other.keys / file).read_bytes())
    with pytest.raises(KeyFileError, match=f"{path} belongs to another home"):
        check_against_store(home)
    path.write_bytes(good[:-20])
    with pytest.raises(KeyFileError, match=str(path)):
        open_home(home.path)
    path.unlink()
    with pytest.raises(KeyFileError, match=str(path)):
        open_home(home.path)


def test_a_database_of_another_home_is_told(home: Home, tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    home.store.write_bytes(other.store.read_bytes())
    with pytest.raises(KeyFileError, match="belong to different homes"):
        check_against_store(home)


def test_several_foreign_keys_are_all_named(home: Home, tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    for file in ("noise.key", "sign.key"):
        (home.keys / file).write_bytes((other.keys / file).read_bytes())
    with pytest.raises(KeyFileError, match=r"noise.key and .*sign.key belong to another home"):
        check_against_store(home)


def test_second_daemon_is_told_who_the_first_is(home: Home) -> None:
    with Lock(home):
        with pytest.raises(AlreadyRunningError, match=f"pid {os.getpid()}"):
            Lock(home)
        write_daemon_json(home, listen=["0.0.0.0:17820"], since_ms=NOW, page="127.0.0.1:5")
        assert stat.S_IMODE(home.daemon_json.stat().st_mode) == 0o600
        with pytest.raises(AlreadyRunningError) as caught:
            Lock(home)
        for said in (str(home.path), f"pid {os.getpid()}", "2023-11-14T", "0.0.0.0:17820"):
            assert said in caught.value.text
        told = read_daemon_json(home)
        assert told is not None
        assert told["page"] == "127.0.0.1:5"
    assert not home.daemon_json.exists()
    with Lock(home):
        pass


def test_leftovers_of_a_killed_daemon_do_not_hold_up(home: Home) -> None:
    home.lock.write_text("1\n")
    home.daemon_json.write_text(json.dumps({"pid": 1, "listen": ["x"]}))
    with Lock(home) as lock:
        assert read_daemon_json(home) is None
        lock.close()
        lock.close()


def test_lock_file_that_is_a_link_is_refused(home: Home, tmp_path: Path) -> None:
    home.lock.symlink_to(tmp_path / "x")
    with pytest.raises(HomeError, match="lock"):
        Lock(home)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"\xff", b"[" * 60_000])
def test_strange_daemon_json_is_nothing(home: Home, data: bytes) -> None:
    home.daemon_json.write_bytes(data)
    assert read_daemon_json(home) is None


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_nothing_is_left_of_a_private_file_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="no space"):
        posix.write_private(tmp_path / "x", b"secret")
    assert list(tmp_path.iterdir()) == []


def test_a_home_on_a_file_system_that_cannot_sync_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def only_files(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", only_files)
    init_home(tmp_path / "h", name="a", department="", place="", now_ms=1, random_bytes=os.urandom)
    assert (tmp_path / "h" / "keys").is_dir()
