"""config.toml: what people decide about this workstation, and what it means.

Written by people only; read at start and at reload. A key that is not known, or a value with
a bad unit, is an error that names file and key: a setting never silently means nothing.
"""

import math
import platform
import re
import shlex
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from medp2p import limits
from medp2p.daemon.address import format_address, parse_listen
from medp2p.daemon.config_file import TEMPLATE
from medp2p.errors import ConfigError, UsageError
from medp2p.text import TIME_UNITS

_DAY = TIME_UNITS["day"]
_BYTE_UNITS = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": limits.KIB,
    "MiB": limits.MIB,
    "GiB": limits.GIB,
    "TiB": 1024 * limits.GIB,
}
_NUMBER_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*\Z")


def default_name() -> str:
    """Return the first part of the host name: no account name, no domain."""
    name = platform.node().split(".")[0]
    return "".join(c for c in name if c.isprintable())[: limits.MAX_TOLD_CHARS] or "workstation"


_COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings in force.

    Attributes:
        name: Told to peers, like department and place; selects nothing.
        listen: Host (None: all addresses of both kinds) and port; port 0: any free one.
        mdns: Whether to announce and look for workstations on the LAN.
        compression: Whether chunks may travel compressed, either way.
        reserve_bytes: Free space left alone; None: see reserve_for.
        wait_for_peer_seconds: How long a transfer waits for a peer that is off.
        keep_details_seconds: After its last fact, how long a transfer keeps its details.
        expire_after_seconds: How long an incoming transfer waits to be released.
        undecided_stat_seconds: After which an urgent offer undecided there is an alarm.
        undecided_routine_seconds: The same for all others.
        release_scan: Words of the command that looks over a staged folder; () for none.
        release_scan_seconds: How long it may take.
        released_old_seconds: From when on a released folder is counted as old.
        page_idle_seconds: After how long without a person the page ends its session.
        notify: Whether the desktop of the daemon's account is told what waits, and of alarms.
        sources: Where the value of each key of the file comes from.
    """

    name: str = field(default_factory=default_name)
    department: str = ""
    place: str = ""
    listen: tuple[str | None, int] = (None, limits.DEFAULT_PORT)
    mdns: bool = True
    compression: bool = True
    reserve_bytes: int | None = None
    wait_for_peer_seconds: int = limits.WAIT_FOR_PEER_DAYS * _DAY
    keep_details_seconds: int = limits.KEEP_DETAILS_DAYS * _DAY
    expire_after_seconds: int = limits.EXPIRE_AFTER_DAYS * _DAY
    undecided_stat_seconds: int = limits.UNDECIDED_STAT_MINUTES * 60
    undecided_routine_seconds: int = limits.UNDECIDED_ROUTINE_HOURS * 3600
    release_scan: tuple[str, ...] = ()
    release_scan_seconds: int = limits.RELEASE_SCAN_SECONDS
    released_old_seconds: int = limits.RELEASED_OLD_DAYS * _DAY
    page_idle_seconds: int = limits.PAGE_IDLE_SECONDS
    notify: bool = False
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def reserve_for(self, total_bytes: int) -> int:
        """Return the free bytes to leave alone on a file system of that size."""
        if self.reserve_bytes is not None:
            return self.reserve_bytes
        return max(limits.RESERVE_BYTES, int(total_bytes * limits.RESERVE_FRACTION))

    def with_command_line(self, *, listen: str | None = None, mdns: bool | None = None) -> "Config":
        """Return these settings with what the command line of the daemon decides.

        Raises:
            UsageError: `listen` is no address.
        """
        changed = self
        if listen is not None:
            changed = changed._replaced("listen", parse_listen(listen))
        if mdns is not None:
            changed = changed._replaced("mdns", mdns)
        return changed

    def beside(self, running: "Config") -> "Config":
        """Return these settings, with what the command line had decided for ``running``."""
        kept = self
        for key, source in running.sources.items():
            if source == _COMMAND_LINE:
                kept = kept._replaced(key, getattr(running, key))
        return kept

    def _replaced(self, key: str, value: object) -> "Config":
        sources = MappingProxyType({**self.sources, key: _COMMAND_LINE})
        return replace(self, sources=sources, **{key: value})  # type: ignore[arg-type]


def parse_bytes(value: object) -> int:
    """Return a number of bytes: 0, or text such as "1 GiB" or "500 MB".

    Raises:
        ValueError: No number with a known unit. The text says what is allowed.
    """
    if value == 0 and not isinstance(value, bool):
        return 0
    return _with_unit(value, _BYTE_UNITS, "B, kB, MB, GB, KiB, MiB, GiB")


def parse_seconds(value: object) -> int:
    """Return a time in seconds from text such as "14 days"; at least 1, at most ten years.

    Raises:
        ValueError: No number with a known unit, or out of range.
    """
    allowed = "seconds, minutes, hours, days, weeks"
    seconds = _with_unit(value, TIME_UNITS, allowed)
    if not 1 <= seconds <= limits.MAX_CONFIG_SECONDS:
        raise ValueError("is out of range (1 second to 10 years)")
    return seconds


def _with_unit(value: object, units: Mapping[str, int], allowed: str) -> int:
    match = _NUMBER_UNIT.match(value) if isinstance(value, str) else None
    times = units.get(match[2]) if match else None
    if match is None or times is None:
        raise ValueError(f"must be text: a number and one of {allowed}")
    number = float(match[1]) * times
    if not math.isfinite(number) or number > limits.MAX_STREAM_BYTES:
        raise ValueError("is too large")
    return int(match[1]) * times if match[1].isdigit() else int(number)


def _told(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    if len(value) > limits.MAX_TOLD_CHARS:
        raise ValueError(f"is longer than {limits.MAX_TOLD_CHARS} characters")
    if not value.isprintable():
        raise ValueError("has characters that cannot be printed")
    return value.strip()


def _name(value: object) -> str:
    name = _told(value)
    if not name:
        raise ValueError("must not be empty")
    return name


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _auto_or_off(value: object) -> bool:
    if value not in ("auto", "off"):
        raise ValueError('must be "auto" or "off"')
    return value == "auto"


def _listen(value: object) -> tuple[str | None, int]:
    if not isinstance(value, str):
        raise ValueError("must be text such as ':17820'")
    try:
        return parse_listen(value)
    except UsageError as error:
        raise ValueError(f"is no place to listen: {error.text}") from None


def _command(value: object) -> tuple[str, ...]:
    """Read a command: its words, or one text in which a shell's quotes hold words together."""
    if isinstance(value, str):
        words = shlex.split(value)
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = list(value)
    else:
        raise ValueError("must be text, or a list of texts")
    if any("\0" in word for word in words):
        raise ValueError("has a zero byte")
    return tuple(words)


def _page_idle(value: object) -> int:
    seconds = parse_seconds(value)
    if not limits.MIN_PAGE_IDLE_SECONDS <= seconds <= limits.MAX_PAGE_IDLE_SECONDS:
        raise ValueError("is out of range (1 minute to 8 hours)")
    return seconds


#: Key in the file -> (field of Config, parser raising ValueError).
_KEYS: dict[str, tuple[str, Callable[[object], object]]] = {
    "name": ("name", _name),
    "department": ("department", _told),
    "place": ("place", _told),
    "listen": ("listen", _listen),
    "mdns": ("mdns", _switch),
    "compression": ("compression", _auto_or_off),
    "reserve": ("reserve_bytes", parse_bytes),
    "wait-for-peer": ("wait_for_peer_seconds", parse_seconds),
    "keep-details": ("keep_details_seconds", parse_seconds),
    "expire-after": ("expire_after_seconds", parse_seconds),
    "undecided-stat": ("undecided_stat_seconds", parse_seconds),
    "undecided-routine": ("undecided_routine_seconds", parse_seconds),
    "page-idle": ("page_idle_seconds", _page_idle),
    "notify": ("notify", _switch),
    "release.scan": ("release_scan", _command),
    "release.scan-time": ("release_scan_seconds", parse_seconds),
    "release.old-after": ("released_old_seconds", parse_seconds),
}
#: Tables of the file: what stands in them has names with a dot.
_TABLES = frozenset(key.partition(".")[0] for key in _KEYS if "." in key)


def load_config(path: Path) -> Config:
    """Read config.toml.

    Raises:
        ConfigError: The file is missing, is no TOML, or a key or value is wrong; the text
            names file and key.
    """
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for key, value in _flat(_read(path)).items():
        if key not in _KEYS:
            known = ", ".join(sorted(_KEYS))
            raise ConfigError(f"{path}: unknown key {key!r}", hint=f"known keys: {known}")
        name, parse = _KEYS[key]
        try:
            values[name] = parse(value)
        except ValueError as error:
            raise ConfigError(f"{path}: key {key!r} {error}") from None
        sources[key] = "config.toml"
    return Config(sources=MappingProxyType(sources), **values)  # type: ignore[arg-type]


def _flat(read: dict[str, object]) -> dict[str, object]:
    """Return the keys of the known tables with their dots; everything else as it is."""
    flat: dict[str, object] = {}
    for key, value in read.items():
        if key in _TABLES and isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(limits.MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", hint="an empty file means the default for every key"
        ) from error
    if len(data) > limits.MAX_CONFIG_BYTES:
        raise ConfigError(f"{path}: longer than {limits.MAX_CONFIG_BYTES} bytes")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def effective(config: Config) -> list[dict[str, object]]:
    """Return each key with its value in force and where that comes from."""
    shown: dict[str, object] = {
        "listen": format_address(*config.listen),
        "compression": "auto" if config.compression else "off",
        "reserve": "the larger of 1 GiB and 2 %"
        if config.reserve_bytes is None
        else f"{config.reserve_bytes} B",
        "wait-for-peer": _text_of_seconds(config.wait_for_peer_seconds),
        "keep-details": _text_of_seconds(config.keep_details_seconds),
        "expire-after": _text_of_seconds(config.expire_after_seconds),
        "undecided-stat": _text_of_seconds(config.undecided_stat_seconds),
        "undecided-routine": _text_of_seconds(config.undecided_routine_seconds),
        "page-idle": _text_of_seconds(config.page_idle_seconds),
        "release.scan": shlex.join(config.release_scan),
        "release.scan-time": _text_of_seconds(config.release_scan_seconds),
        "release.old-after": _text_of_seconds(config.released_old_seconds),
    }
    return [
        {
            "key": key,
            "value": shown.get(key, getattr(config, name)),
            "source": config.sources.get(key, "default"),
        }
        for key, (name, _) in _KEYS.items()
    ]


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the keys of the file whose values differ."""
    return [key for key, (name, _) in _KEYS.items() if getattr(old, name) != getattr(new, name)]


def restart_needed(old: Config, new: Config) -> list[str]:
    """Return the keys that changed but take effect at the next start of the daemon only."""
    return [key for key in ("listen", "mdns") if getattr(old, key) != getattr(new, key)]


def _text_of_seconds(seconds: int) -> str:
    for unit in ("day", "hour", "minute"):
        count, rest = divmod(seconds, TIME_UNITS[unit])
        if count and not rest:
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{seconds} seconds"


def default_text(*, name: str, department: str, place: str) -> bytes:
    """Return the commented file that `init` leaves.

    Raises:
        ConfigError: A told text is too long or cannot be printed.
    """
    told = {"name": name, "department": department, "place": place}
    for key, value in told.items():
        try:
            told[key] = _toml_text(_name(value) if key == "name" else _told(value))
        except ValueError as error:
            raise ConfigError(f"{key} {error}") from None
    return TEMPLATE.format(**told).encode()


def _toml_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
