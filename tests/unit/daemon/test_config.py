import tomllib
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.daemon.config import (
    Config,
    default_name,
    default_text,
    effective,
    load_config,
    parse_bytes,
    parse_seconds,
    restart_needed,
)
from medp2p.errors import ConfigError, UsageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_default_file_reads_back(path: Path) -> None:
    path.write_bytes(default_text(name='CT "1" \\ A', department="Rädiologie", place=""))
    config = load_config(path)
    assert (config.name, config.department, config.place) == ('CT "1" \\ A', "Rädiologie", "")
    assert config.listen == (None, 17820)
    assert config.mdns


def keys(table: dict[str, object]) -> set[str]:
    """The keys of a file, those of its tables with a dot."""
    found = set()
    for key, value in table.items():
        found |= {f"{key}.{inner}" for inner in keys(value)} if isinstance(value, dict) else {key}
    return found


def test_every_commented_key_is_a_valid_line(path: Path) -> None:
    path.write_bytes(default_text(name="a", department="", place=""))
    lines = [line.removeprefix("#") for line in path.read_text().splitlines()]
    settings = [line for line in lines if "=" in line and not line.startswith(" ")]
    path.write_text("\n".join(settings))
    assert keys(tomllib.loads(path.read_text())) == {str(row["key"]) for row in effective(Config())}
    config = load_config(path)
    assert config.reserve_bytes == limits.GIB
    assert config.wait_for_peer_seconds == Config().wait_for_peer_seconds
    assert config.keep_details_seconds == Config().keep_details_seconds


@pytest.mark.parametrize("told", ["x" * 65, "a\nb", "a\x1b[2J"])
def test_unprintable_or_long_told_text_is_refused(path: Path, told: str) -> None:
    with pytest.raises(ConfigError, match="department"):
        default_text(name="a", department=told, place="")


def test_empty_name_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="name must not be empty"):
        default_text(name=" ", department="", place="")


def test_empty_file_means_defaults(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf")
    config = load_config(path)
    assert config == Config()
    assert config.name == default_name()


def test_all_keys(path: Path) -> None:
    path.write_text(
        'name = "a"\ndepartment = "b"\nplace = "c"\nlisten = "127.0.0.1:0"\nmdns = false\n'
        'compression = "off"\n'
        'reserve = 0\nwait-for-peer = "90 minutes"\nkeep-details = "1 week"\n'
        'expire-after = "3 days"\nundecided-stat = "90 seconds"\nundecided-routine = "8 hours"\n'
        'page-idle = "5 minutes"\nnotify = true\n'
        "release.scan = \"scan --all 'of it'\"\n"
        'release.scan-time = "5 minutes"\nrelease.old-after = "1 day"\n'
    )
    config = load_config(path)
    assert config.listen == ("127.0.0.1", 0)
    assert not config.mdns
    assert not config.compression
    assert config.reserve_bytes == 0
    assert config.reserve_for(10**15) == 0
    assert config.wait_for_peer_seconds == 5400
    assert config.keep_details_seconds == 7 * 86400
    assert config.expire_after_seconds == 3 * 86400
    assert (config.undecided_stat_seconds, config.undecided_routine_seconds) == (90, 8 * 3600)
    assert (config.page_idle_seconds, config.notify) == (300, True)
    assert config.release_scan == ("scan", "--all", "of it")
    assert (config.release_scan_seconds, config.released_old_seconds) == (300, 86400)
    assert {row["source"] for row in effective(config)} == {"config.toml"}


def test_a_command_as_a_table_and_as_words(path: Path) -> None:
    path.write_text('[release]\nscan = ["scan", "a b"]\n')
    assert load_config(path).release_scan == ("scan", "a b")
    path.write_text('release.scan = ""\n')
    assert load_config(path).release_scan == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mdsn = true", "unknown key 'mdsn'"),
        ("[peers]\na = 1", "unknown key 'peers'"),
        ('reserve = "10G B"', "'reserve' must be text: a number and one of"),
        ("reserve = 5", "'reserve' must be text"),
        ("reserve = false", "'reserve' must be text"),
        ('reserve = "999999 TB"', "'reserve' is too large"),
        ('reserve = "-1 GB"', "'reserve' must be"),
        ('wait-for-peer = "14"', "'wait-for-peer' must be text"),
        ('wait-for-peer = "14 fortnights"', "'wait-for-peer' must be text"),
        ('wait-for-peer = "0 days"', "'wait-for-peer' is out of range"),
        ('page-idle = "59 seconds"', "'page-idle' is out of range (1 minute to 8 hours)"),
        ('page-idle = "481 minutes"', "'page-idle' is out of range (1 minute to 8 hours)"),
        ("page-idle = 600", "'page-idle' must be text"),
        ('keep-details = "600 weeks"', "'keep-details' is out of range"),
        ("release = 5", "unknown key 'release'"),
        ("release.scann = 'x'", "unknown key 'release.scann'"),
        ("release.scan = 5", "'release.scan' must be text, or a list"),
        ("release.scan = 'a \"b'", "'release.scan' No closing quotation"),
        ('mdns = "yes"', "'mdns' must be true or false"),
        ("compression = true", '\'compression\' must be "auto" or "off"'),
        ("compression = 'on'", '\'compression\' must be "auto" or "off"'),
        ("listen = 17820", "'listen' must be text"),
        ('listen = "10.0.0.1:99999"', "'listen' is no place to listen: port 99999"),
        ('name = ""', "'name' must not be empty"),
        ("name = 5", "'name' must be text"),
        ("name = ", "not TOML"),
        ('name = "a"\nname = "b"', "not TOML"),
    ],
)
def test_refusals_name_file_and_key(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in caught.value.text
    assert said in caught.value.text


def test_missing_binary_and_huge_files(path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(path)
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)
    path.write_bytes(b"#" * (limits.MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="longer than"):
        load_config(path)
    path.write_bytes(b"a=" + b"[" * 50_000)
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(path)


def test_command_line_wins_and_says_so() -> None:
    config = Config().with_command_line(listen="127.0.0.1:5", mdns=False)
    rows = {row["key"]: row for row in effective(config)}
    assert rows["listen"] == {"key": "listen", "value": "127.0.0.1:5", "source": "command line"}
    assert rows["mdns"]["value"] is False
    assert rows["reserve"] == {
        "key": "reserve",
        "value": "the larger of 1 GiB and 2 %",
        "source": "default",
    }
    assert rows["wait-for-peer"]["value"] == "14 days"
    assert restart_needed(Config(), config) == ["listen", "mdns"]
    assert Config().with_command_line() == Config()
    with pytest.raises(UsageError):
        Config().with_command_line(listen="nowhere:x")


def test_reserve_is_the_larger_of_two() -> None:
    assert Config().reserve_for(10 * limits.GIB) == limits.GIB
    assert Config().reserve_for(1000 * limits.GIB) == 20 * limits.GIB


def test_units() -> None:
    assert parse_bytes("1.5 kB") == 1500
    assert parse_bytes("2KiB") == 2048
    assert parse_bytes(0) == 0
    assert parse_seconds("1 second") == 1
    assert parse_seconds("2 hours") == 7200
    assert parse_seconds("8h") == parse_seconds("480 min") == 8 * 3600
