"""Medians, ratios and tables of the benchmark, on made-up numbers."""

import json

import pytest

from bench.report import (
    RELEASED,
    SEALED,
    Comparison,
    Figure,
    Sample,
    Spread,
    markdown,
    quantity,
    seconds_text,
    spread,
)


def samples(*seconds: float, cpu: float = 1.0, memory: int = 0) -> list[Sample]:
    return [
        Sample(
            seconds=each,
            cpu_seconds=cpu * each,
            memory_bytes={"sender": memory, "receiver": 2 * memory} if memory else {},
        )
        for each in seconds
    ]


def comparison(
    of: dict[str, list[Sample]] | None = None,
    *,
    file_bytes: int = 2_000_000_000,
    line_bits: float | None = None,
) -> Comparison:
    return Comparison(
        case="ct",
        title="CT",
        files=3,
        file_bytes=file_bytes,
        samples=of
        or {
            SEALED: samples(2.5, 2.0, 9.0, memory=90_000_000),
            RELEASED: samples(4.0, 4.0, 4.0),
            "scp -r": samples(6.0, 5.0, 7.0, cpu=2.0),
            "tar | ssh": samples(5.0, 4.0, 100.0),
        },
        goals={SEALED: 1.6},
        line_bits=line_bits,
    )


def test_spread_is_median_and_both_ends() -> None:
    assert spread([3.0, 1.0, 100.0]) == Spread(3.0, 1.0, 100.0)
    assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_the_ratio_is_to_the_fastest_other_by_medians() -> None:
    it = comparison()
    assert it.fastest == "tar | ssh"
    assert it.ratio(SEALED) == 5.0 / 2.5
    assert it.ratio(RELEASED) == 5.0 / 4.0
    assert it.bytes_a_second(SEALED) == 800e6
    assert it.line_rate(SEALED) is None


def test_released_is_no_other_tool() -> None:
    it = comparison({SEALED: samples(2.0), RELEASED: samples(1.0)})
    assert it.fastest is None
    assert it.ratio(SEALED) is None


def test_a_part_of_the_line_counts_bits() -> None:
    it = comparison({SEALED: samples(0.5)}, file_bytes=125_000_000, line_bits=1e9)
    assert it.line_rate(SEALED) == 2.0
    assert "| 250, 2.00 of the line |" in markdown([it])


def test_others_are_flushed_after_their_end() -> None:
    late = [Sample(seconds=1.0, cpu_seconds=1.0, flushed_seconds=each) for each in (4.0, 2.0, 3.0)]
    it = comparison({SEALED: samples(2.0), "tar": late})
    assert it.flushed_seconds(SEALED) == 2.0
    assert it.flushed_seconds("tar") == 3.0
    found = json.loads(json.dumps(it.to_json()))["tools"]["tar"]
    assert found["flushed_seconds"] == 3.0
    assert [each["flushed_seconds"] for each in found["samples"]] == [4.0, 2.0, 3.0]


def test_cpu_and_memory() -> None:
    it = comparison()
    assert it.cpu_per_gigabyte("scp -r") == 12.0 / 2
    assert it.memory(SEALED) == {"sender": 90_000_000, "receiver": 180_000_000}
    highest = comparison({SEALED: samples(1.0, memory=1) + samples(1.0, memory=5)})
    assert highest.memory(SEALED) == {"sender": 5, "receiver": 10}


def test_json_has_all_samples() -> None:
    found = json.loads(json.dumps(comparison().to_json()))
    sealed = found["tools"][SEALED]
    assert sealed["seconds"] == {"median": 2.5, "min": 2.0, "max": 9.0}
    assert sealed["ratio_to_fastest"] == 2.0
    assert sealed["goal"] == 1.6
    assert [each["seconds"] for each in sealed["samples"]] == [2.5, 2.0, 9.0]
    assert found["tools"]["scp -r"]["ratio_to_fastest"] is None
    figure = Figure(case="x", title="y", unit="s", values=[3.0, 1.0, 2.0], goal="z").to_json()
    assert (figure["median"], figure["min"], figure["max"]) == (2.0, 1.0, 3.0)


def test_markdown_is_two_tables() -> None:
    figure = Figure(case="resume", title="new data", unit="s", values=[0.25], goal="under 1 s")
    speed, figures = markdown([figure, comparison()]).split("\n\n")
    head, line, *rows = speed.splitlines()
    assert line == "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    assert rows[0] == (
        "| CT | medp2p sealed | 2.50 (2.00-9.00) s | 2.50 s | 800 | 2.00 | 1.6 | 1.25 "
        "| sender 90.0 MB, receiver 180.0 MB |"
    )
    assert (
        rows[1]
        == "|  | medp2p released | 4.00 (4.00-4.00) s | 4.00 s | 500 | 1.25 | - | 2.00 | - |"
    )
    assert rows[3].startswith(r"|  | tar \| ssh | 5.00 (4.00-100.00) s | 5.00 s | 400 | - | - |")
    assert {row.replace(r"\|", "").count("|") for row in [head, *rows]} == {10}
    assert figures.splitlines()[2] == (
        "| resume | new data | 0.250 s | 0.250 s - 0.250 s | under 1 s |"
    )
    assert markdown([figure]).count("\n\n") == 0


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "B", "0 B"),
        (999.0, "B", "999 B"),
        (1500.0, "B", "1.5 kB"),
        (12_345_678.0, "B", "12.3 MB"),
        (4.0e9, "B", "4.0 GB"),
        (0.0521, "s", "0.052 s"),
        (12.345, "s", "12.35 s"),
    ],
)
def test_quantities(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_seconds_text() -> None:
    assert seconds_text(Spread(1.234, 1.0, 2.0)) == "1.23 (1.00-2.00) s"
