"""What a peer may do here: its settings, and the answer to its offers.

A setting that cannot be understood is refused when it is set; one that cannot be understood
later (an older program reads a newer database) never opens anything: the person is asked.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

from medp2p import limits
from medp2p.daemon.address import format_address, parse_address
from medp2p.daemon.config import parse_bytes, parse_seconds
from medp2p.dicom.finding import LEVELS
from medp2p.errors import UsageError
from medp2p.text import escape_text, rfc3339

Decision = Literal["accept", "ask", "block"]

#: What holds for a peer of whom nothing was set; also the list of all settings.
DEFAULTS: Mapping[str, str] = {
    "accept": "ask",
    "release": "manual",
    "max-bytes": "",
    "max-files": "",
    "accept-until": "",
    "address": "",
    "confirm": "typed",
    "domain": "internal",
    "allow": "",
    "allow-mixed": "no",
    "undo": "",
    "phone": "",
}


def parse_setting(key: str, value: str) -> str:
    """Return a setting in the form in which it is stored; "" goes back to the default.

    Args:
        key: One of DEFAULTS.
        value: As a person types it.

    Raises:
        UsageError: Unknown key or unusable value; the text names both.
    """
    if key not in _PARSERS:
        raise UsageError(
            f"no setting is called {key!r}", hint=f"settings: {', '.join(sorted(DEFAULTS))}"
        )
    value = value.strip()
    if not value:
        return ""
    try:
        return _PARSERS[key](value)
    except ValueError as error:
        raise UsageError(f"{key}={value} {error}") from None
    except UsageError as error:
        raise UsageError(f"{key}={value}: {error.text}", hint=error.hint) from None


@dataclass(frozen=True, slots=True)
class Changed:
    """Settings of a peer after a change: two columns of its row."""

    settings: dict[str, str]
    addresses: tuple[str, ...]


def change(
    settings: Mapping[str, str], addresses: Sequence[str], changes: Mapping[str, str]
) -> Changed:
    """Return a peer's settings with all changes, or none of them.

    Args:
        settings: As stored.
        addresses: As stored; the setting "address" is kept there.
        changes: Key to value as typed; "" goes back to the default.

    Raises:
        UsageError: One of them is refused.
    """
    parsed = {key: parse_setting(key, value) for key, value in changes.items()}
    merged = {**settings, **parsed}
    if "address" in parsed:
        addresses = tuple(filter(None, parsed["address"].split(",")))
    kept = {key: value for key, value in merged.items() if value and key != "address"}
    return Changed(settings=kept, addresses=tuple(addresses))


def effective(settings: Mapping[str, str], addresses: Sequence[str]) -> dict[str, str]:
    """Return all settings of a peer as they hold, for showing."""
    return {**DEFAULTS, **settings, "address": ",".join(addresses)}


def decide(
    settings: Mapping[str, str],
    file_bytes: int,
    files: int,
    *,
    now_ms: int = 0,
    clock_behind: bool = False,
) -> Decision:
    """Return what is done with an offer of this size.

    "auto" has no limits unless they are set; an offer beyond one waits for a person, as does
    everything when a stored value cannot be understood.

    Args:
        settings: Of the peer.
        file_bytes: Of the offer.
        files: Of the offer.
        now_ms: By the wall clock.
        clock_behind: That clock is not to be believed: a date grants nothing then.
    """
    accept = settings.get("accept") or DEFAULTS["accept"]
    if accept == "block":
        return "block"
    if accept != "auto":
        return "ask"
    if _beyond(settings.get("max-bytes"), file_bytes) or _beyond(settings.get("max-files"), files):
        return "ask"
    until = settings.get("accept-until")
    if until and (clock_behind or not now_ms or now_ms >= until_ms(until)):
        return "ask"
    return "accept"


def automatic(settings: Mapping[str, str], now_ms: int) -> dict[str, str] | None:
    """Return the limits within which offers are accepted without asking; None if none are.

    Keys are "max-bytes", "max-files", "until"; a date that has passed is no limit but the end.
    """
    until = settings.get("accept-until")
    if settings.get("accept") != "auto":
        return None
    found = {key: settings[key] for key in ("max-bytes", "max-files") if settings.get(key)}
    if until:
        passed = now_ms >= until_ms(until)
        found["until"] = f"{until}, which has passed: asks" if passed else until
    return found


def until_ms(until: str) -> int:
    """Return when a stored date passes, milliseconds since 1970 UTC; 0 if it is none."""
    try:
        return int(datetime.fromisoformat(until).timestamp() * 1000)
    except (ValueError, OverflowError):
        return 0


def setting(settings: Mapping[str, str], key: str) -> str:
    """Return one setting as it holds; a value that nobody knows any more is the default."""
    value = settings.get(key) or DEFAULTS[key]
    try:
        return parse_setting(key, value) or DEFAULTS[key]
    except UsageError:
        return DEFAULTS[key]


def folder_of(place: str) -> str | None:
    """Return the folder of a rule or a target; None: it is of another kind."""
    return place.removeprefix("folder:") if place.startswith("folder:") else None


def undo_seconds(settings: Mapping[str, str], *, automatic: bool) -> int:
    """Return how long an offer waits here before it leaves.

    Args:
        settings: Of the peer.
        automatic: The peer told that it releases without a person.
    """
    if chosen := setting(settings, "undo"):
        return int(chosen)
    external = setting(settings, "domain") == "external"
    return limits.UNDO_SECONDS if external or automatic else 0


def _beyond(limit: str | None, number: int) -> bool:
    if not limit:
        return False
    return not (limit.isascii() and limit.isdigit()) or number > int(limit)


def _accept(value: str) -> str:
    if value not in ("ask", "auto", "block"):
        raise ValueError("is not one of ask, auto, block")
    return value


def _release(value: str) -> str:
    if value == "manual":
        return value
    kind, colon, folder = value.partition(":")
    if kind != "folder" or not colon:
        raise ValueError("is not one of manual, folder:DIR")
    if not os.path.isabs(folder) or "\0" in folder:
        raise ValueError("needs an absolute path")
    return f"folder:{os.path.normpath(folder)}"


def _accept_until(value: str) -> str:
    """Read a date (its whole day, here) or an exact time with offset; kept in UTC."""
    try:
        if len(value) == len("YYYY-MM-DD"):
            day = date.fromisoformat(value) + timedelta(days=1)
            until = datetime(day.year, day.month, day.day).astimezone()
        else:
            until = datetime.fromisoformat(value)
            if until.tzinfo is None:
                raise ValueError
        return rfc3339(int(until.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError("is not YYYY-MM-DD, or a time such as 2026-12-31T18:00+01:00") from None


def _max_bytes(value: str) -> str:
    return str(int(value)) if _is_number(value) else str(parse_bytes(value))


def _max_files(value: str) -> str:
    if not _is_number(value):
        raise ValueError("is not a whole number")
    return str(int(value))


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 18


def _addresses(value: str) -> str:
    found = [format_address(*parse_address(part)) for part in value.split(",") if part.strip()]
    unique = list(dict.fromkeys(found))
    if len(unique) > limits.MAX_ADDRESSES_PER_PEER:
        raise ValueError(f"names more than {limits.MAX_ADDRESSES_PER_PEER} addresses")
    return ",".join(unique)


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return value

    return parse


def _allow(value: str) -> str:
    codes = list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    for code in codes:
        if LEVELS.get(code) != "block":
            known = ", ".join(sorted(code for code, level in LEVELS.items() if level == "block"))
            raise ValueError(f"names what is no finding that blocks: {known}")
    return ",".join(codes)


def _undo(value: str) -> str:
    plain = value.removesuffix("s").rstrip()
    seconds = int(plain) if _is_number(plain) else parse_seconds(value)
    if seconds > limits.MAX_UNDO_SECONDS:
        raise ValueError(f"is more than {limits.MAX_UNDO_SECONDS} seconds")
    return str(seconds)


def _phone(value: str) -> str:
    if len(value) > limits.MAX_TOLD_CHARS or escape_text(value) != value:
        raise ValueError(f"is no plain text of {limits.MAX_TOLD_CHARS} characters at most")
    return value


_PARSERS: Mapping[str, Callable[[str], str]] = {
    "accept": _accept,
    "release": _release,
    "max-bytes": _max_bytes,
    "max-files": _max_files,
    "accept-until": _accept_until,
    "address": _addresses,
    "confirm": _one_of("typed", "expect", "none"),
    "domain": _one_of("internal", "external"),
    "allow": _allow,
    "allow-mixed": _one_of("yes", "no"),
    "undo": _undo,
    "phone": _phone,
}
