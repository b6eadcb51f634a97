"""Key files: private whatever the umask, never replaced, every kind of damage told by name."""

import errno
import os
import random
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from medp2p.errors import KeyFileError, NoSpaceError
from medp2p.vault.age_header import recipient_of
from medp2p.vault.durable import Files
from medp2p.vault.keyfiles import KEY_FILES, create_keys, decode_key, encode_key, load_keys
from tests.tools import need_tool
from tests.unit.vault.crashes import Crash, FailAt, every_crash

NOW_MS = 1_795_611_600_123


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    create_keys(tmp_path / "keys", Files(), random.Random(1).randbytes, NOW_MS)
    return tmp_path / "keys"


def wrong(keys: Path) -> str:
    with pytest.raises(KeyFileError) as caught:
        load_keys(keys)
    return caught.value.text


def test_what_is_made_is_read_back(keys: Path) -> None:
    loaded = load_keys(keys)
    rng = random.Random(1)
    assert loaded.noise_private == rng.randbytes(32)
    assert loaded.sign_private == rng.randbytes(32)
    assert loaded.spool == rng.randbytes(32)
    assert recipient_of(loaded.vault_identity) == loaded.vault_recipient
    assert len({loaded.noise_public, loaded.sign_public, loaded.spool}) == 3
    assert sorted(path.name for path in keys.iterdir()) == sorted(KEY_FILES)


def test_the_form_is_kept() -> None:
    """Files of yesterday must be read tomorrow."""
    line = "medp2p-noise-key-1 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= %s"
    made = encode_key("noise", b"\1" * 32)
    assert made == line % made[-8:]
    assert decode_key("noise", f"# older comment\r\n\r\n  {made}  \r\n") == b"\1" * 32


def test_secrets_are_in_no_repr(keys: Path) -> None:
    loaded = load_keys(keys)
    shown = repr(loaded)
    assert loaded.vault_recipient in shown
    assert "SECRET" not in shown
    for secret in (loaded.noise_private, loaded.sign_private, loaded.spool):
        assert repr(secret)[2:-1] not in shown


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_modes_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    (tmp_path / "keys").mkdir(0o755)  # a folder that was there before is closed too
    old = os.umask(umask)
    try:
        create_keys(tmp_path / "keys", Files(), os.urandom, NOW_MS)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for name in KEY_FILES:
        assert stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", KEY_FILES)
def test_no_key_is_ever_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(KeyFileError, match=f"{name} exists already"):
        create_keys(tmp_path, Files(), os.urandom, NOW_MS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(0o755)
    (tmp_path / "keys").symlink_to("elsewhere")
    with pytest.raises(KeyFileError, match="is a link"):
        create_keys(tmp_path / "keys", Files(), os.urandom, NOW_MS)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", KEY_FILES)
def test_missing(keys: Path, name: str) -> None:
    (keys / name).unlink()
    assert wrong(keys) == f"{keys / name} is missing"


@pytest.mark.parametrize("name", KEY_FILES)
def test_open_to_others(keys: Path, name: str) -> None:
    for mode in (0o640, 0o604, 0o610):
        (keys / name).chmod(mode)
        assert wrong(keys) == f"{keys / name} is open to others (mode {mode:04o})"


@pytest.mark.parametrize("name", KEY_FILES)
def test_somebody_elses(keys: Path, name: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(keys / name, 65534, 65534)
    assert f"{keys / name} belongs to user 65534" in wrong(keys)


@pytest.mark.parametrize("name", KEY_FILES)
def test_links_and_other_things(keys: Path, name: str) -> None:
    (keys / name).rename(keys / "moved")
    (keys / name).symlink_to("moved")
    assert wrong(keys) == f"{keys / name} is a link; keys are read from regular files only"
    (keys / name).unlink()
    os.mkfifo(keys / name, 0o600)
    assert wrong(keys) == f"{keys / name} is not a regular file"
    (keys / name).unlink()
    (keys / name).mkdir(0o700)
    assert wrong(keys).startswith(f"{keys / name} ")


def empty(data: bytes) -> bytes:
    return b""


def cut(data: bytes) -> bytes:
    return data[:-5]


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def binary(data: bytes) -> bytes:
    return b"\xff" + data


def huge(data: bytes) -> bytes:
    return data + b"#" * 5000


def twice(data: bytes) -> bytes:
    return data + data


def nonsense(data: bytes) -> bytes:
    return b"a few words\n"


def a_changed_letter(data: bytes) -> bytes:
    line = data.rindex(b"\n", 0, len(data) - 1) + 1
    at = line + 30
    return data[:at] + (b"Q" if data[at : at + 1] != b"Q" else b"P") + data[at + 1 :]


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.parametrize(
    "damage", [empty, cut, zeros, binary, huge, twice, nonsense, a_changed_letter]
)
def test_damage(keys: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    good = (keys / name).read_bytes()
    (keys / name).write_bytes(damage(good))
    text = wrong(keys)
    assert text.startswith(f"{keys / name} is wrong, ")
    secret = good.split()[-2 if name != "vault.key" else -1].decode()
    assert secret[20:35] not in text


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.parametrize("other", KEY_FILES)
def test_a_key_of_another_kind(keys: Path, name: str, other: str) -> None:
    if name == other:
        return
    (keys / name).write_bytes((keys / other).read_bytes())
    text = wrong(keys)
    if other == "vault.key":
        assert text == f"{keys / name} is wrong, damaged: an age identity, not a medp2p key"
    else:
        kind = other.removesuffix(".key")
        assert f"{keys / name} is wrong, holds another kind of key (medp2p-{kind}-key-1)" in text


def test_a_key_of_another_kind_under_the_right_word() -> None:
    words = encode_key("sign", bytes(32)).replace("-sign-", "-noise-")
    with pytest.raises(KeyFileError, match="check does not fit"):
        decode_key("noise", words)
    with pytest.raises(KeyFileError, match="base64"):
        decode_key("noise", "medp2p-noise-key-1 ???? 00000000")
    with pytest.raises(KeyFileError, match="another kind"):
        decode_key("noise", encode_key("noise", bytes(32)).replace("-1 ", "-2 "))


def test_age_takes_the_vault_key(keys: Path, tmp_path: Path) -> None:
    program, loaded = need_tool("age"), load_keys(keys)
    sealed = subprocess.run(
        [program, "-r", loaded.vault_recipient], input=b"data", capture_output=True, check=True
    ).stdout
    opened = subprocess.run(
        [program, "-d", "-i", str(keys / "vault.key")],
        input=sealed,
        capture_output=True,
        check=True,
    ).stdout
    assert opened == b"data"


def test_a_crash_never_leaves_keys_that_load_but_differ(tmp_path: Path) -> None:
    tries = iter(range(1000))

    def act(step: Callable[[str], None]) -> None:
        folder = tmp_path / str(next(tries))
        try:
            create_keys(folder, Files(step), random.Random(1).randbytes, NOW_MS)
        except Crash:
            if all((folder / name).exists() for name in KEY_FILES):
                whole = [name for name in KEY_FILES if (folder / name).stat().st_size]
                if len(whole) < len(KEY_FILES):
                    assert "is wrong" in wrong(folder)
        else:
            load_keys(folder)

    assert every_crash(act) == 1 + 4 * 3 + 2


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NoSpaceError), (errno.EROFS, KeyFileError)]
)
def test_a_disk_that_takes_no_keys(tmp_path: Path, number: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        create_keys(tmp_path / "keys", Files(FailAt("keys", number)), os.urandom, NOW_MS)


def test_a_disk_that_gives_no_keys(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", fail)
        assert wrong(keys) == f"{keys / 'noise.key'} cannot be read: Input/output error"
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        assert wrong(keys) == f"{keys / 'noise.key'} cannot be read: Input/output error"
