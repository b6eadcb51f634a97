import pytest

from medp2p import limits
from medp2p.daemon.policy import (
    DEFAULTS,
    automatic,
    change,
    decide,
    effective,
    parse_setting,
    until_ms,
)
from medp2p.errors import UsageError


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("accept", "auto", "auto"),
        ("accept", " block ", "block"),
        ("accept", "", ""),
        ("release", "manual", "manual"),
        ("release", "folder:/in//ct/", "folder:/in/ct"),
        ("max-bytes", "2 GB", "2000000000"),
        ("max-bytes", "1000", "1000"),
        ("max-bytes", "0", "0"),
        ("max-files", "007", "7"),
        ("address", "10.0.0.5, [fd00::1]:9,10.0.0.5", "10.0.0.5:17820,[fd00::1]:9"),
    ],
)
def test_settings(key: str, value: str, stored: str) -> None:
    assert parse_setting(key, value) == stored


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("acept", "auto", "no setting is called 'acept'"),
        ("accept", "AUTO", "accept=AUTO is not one of"),
        ("accept", "yes", "is not one of ask, auto, block"),
        ("release", "folder:in", "absolute path"),
        ("release", "folder", "manual, folder:DIR"),
        ("release", "pacs:X", "manual, folder:DIR"),
        ("max-bytes", "10G B", "must be text: a number and one of"),
        ("max-bytes", "-1", "must be text"),
        ("max-files", "1.5", "whole number"),
        ("address", "10.0.0.5:0", "address=10.0.0.5:0: port 0"),
        ("address", ",".join(f"h{n}" for n in range(17)), "more than 16"),
    ],
)
def test_refused_settings(key: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        parse_setting(key, value)


def test_change_is_all_or_nothing_and_keeps_the_rest() -> None:
    before = {"accept": "auto"}
    with pytest.raises(UsageError):
        change(before, ["a:1"], {"max-files": "5", "max-bytes": "lots"})
    changed = change(before, ["a:1"], {"max-files": "5"})
    assert changed.settings == {"accept": "auto", "max-files": "5"}
    assert changed.addresses == ("a:1",)
    changed = change(changed.settings, changed.addresses, {"accept": "", "address": "b"})
    assert changed.settings == {"max-files": "5"}
    assert changed.addresses == ("b:17820",)
    assert change({}, ["a:1"], {"address": ""}).addresses == ()
    assert before == {"accept": "auto"}


def test_effective_shows_every_setting() -> None:
    assert effective({}, []) == DEFAULTS
    shown = effective({"accept": "auto"}, ["a:1", "b:2"])
    assert shown["accept"] == "auto"
    assert shown["address"] == "a:1,b:2"


@pytest.mark.parametrize(
    ("settings", "decision"),
    [
        ({}, "ask"),
        ({"accept": "ask"}, "ask"),
        ({"accept": "block"}, "block"),
        ({"accept": "auto"}, "accept"),
        ({"accept": "auto", "max-bytes": "100", "max-files": "5"}, "accept"),
        ({"accept": "auto", "max-bytes": "99"}, "ask"),
        ({"accept": "auto", "max-files": "4"}, "ask"),
        ({"accept": "auto", "max-bytes": "0"}, "ask"),
        # what only a newer program understands opens nothing
        ({"accept": "auto", "max-bytes": "much"}, "ask"),
        ({"accept": "by-schedule"}, "ask"),
    ],
)
def test_decision(settings: dict[str, str], decision: str) -> None:
    assert decide(settings, 100, 5) == decision


def test_stored_form_is_stable() -> None:
    for key, value in (
        ("accept", "auto"),
        ("max-bytes", "1 GiB"),
        ("max-files", str(limits.MAX_ENTRIES)),
        ("release", "folder:/a"),
        ("address", "[::1]:5"),
    ):
        stored = parse_setting(key, value)
        assert parse_setting(key, stored) == stored


@pytest.mark.parametrize("value", ["2026-12-31T18:00+01:00", "2026-12-31T17:00:00Z"])
def test_a_time_is_kept_in_utc(value: str) -> None:
    assert parse_setting("accept-until", value) == "2026-12-31T17:00:00.000Z"


@pytest.mark.parametrize("value", ["tomorrow", "2026-13-01", "2026-12-31T18:00", "9999-12-31"])
def test_a_time_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="accept-until"):
        parse_setting("accept-until", value)


def test_accepting_ends_with_its_date() -> None:
    until = parse_setting("accept-until", "2026-12-31")
    end = until_ms(until)
    assert end % 60_000 == 0
    settings = {"accept": "auto", "accept-until": until}
    assert decide(settings, 1, 1, now_ms=end - 1) == "accept"
    assert decide(settings, 1, 1, now_ms=end) == "ask"
    assert decide(settings, 1, 1, now_ms=end - 1, clock_behind=True) == "ask"
    assert decide(settings, 1, 1) == "ask", "without a clock a date grants nothing"
    assert decide({**settings, "accept-until": "soon"}, 1, 1, now_ms=1) == "ask"
    assert decide({**settings, "accept": "block"}, 1, 1, now_ms=1) == "block"
    assert automatic({"accept-until": until}, 1) is None
    assert automatic(settings, end - 1) == {"until": until}
    assert "passed" in (automatic(settings, end) or {})["until"]
