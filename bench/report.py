"""What a run of the benchmark says: medians, spread, ratios, as text, JSON and Markdown.

Pure: numbers in, text out. A "ratio" is how many times our throughput another one's is beaten by:
the other's median seconds divided by ours. docs/PERFORMANCE.md tells what is measured.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SEALED = "medp2p sealed"
RELEASED = "medp2p released"
_OURS = (SEALED, RELEASED)
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Spread:
    """Several values of one quantity."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of one tool.

    Attributes:
        seconds: From the start of the command to its end.
        flushed_seconds: To the moment when all that arrived is on the disk, if that is later.
        cpu_seconds: User and system, all processes of both sides.
        memory_bytes: Peak resident memory of our daemons: "sender", "receiver"; of others none.
    """

    seconds: float
    cpu_seconds: float
    memory_bytes: dict[str, int] = field(default_factory=dict)
    flushed_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case: the same data by several tools, in turn.

    Attributes:
        file_bytes: Sum of all file sizes that each run moves.
        samples: By tool, one for each round that counts.
        line_bits: Bits a second of the link in between; None: loopback.
        goals: By tool of ours, the ratio to the fastest other that is aimed at.
    """

    case: str
    title: str
    files: int
    file_bytes: int
    samples: dict[str, list[Sample]]
    line_bits: float | None = None
    goals: dict[str, float] = field(default_factory=dict)

    def seconds(self, tool: str) -> Spread:
        """Return how long a tool took."""
        return spread(sample.seconds for sample in self.samples[tool])

    def flushed_seconds(self, tool: str) -> float:
        """Return the median time until all that a tool has brought is on the disk."""
        return statistics.median(one.flushed_seconds or one.seconds for one in self.samples[tool])

    def cpu_per_gigabyte(self, tool: str) -> float:
        """Return the median of CPU seconds for 10^9 bytes of files."""
        cpu = statistics.median(sample.cpu_seconds for sample in self.samples[tool])
        return cpu / (self.file_bytes / 1e9)

    def bytes_a_second(self, tool: str) -> float:
        """Return the median throughput, in bytes of files."""
        return self.file_bytes / self.seconds(tool).median

    def line_rate(self, tool: str) -> float | None:
        """Return the part of the link's rate that file bytes reach; above 1 by compression."""
        return None if self.line_bits is None else 8 * self.bytes_a_second(tool) / self.line_bits

    def memory(self, tool: str) -> dict[str, int]:
        """Return the highest peak of each process over all rounds, bytes."""
        peaks: dict[str, int] = {}
        for sample in self.samples[tool]:
            for process, count in sample.memory_bytes.items():
                peaks[process] = max(peaks.get(process, 0), count)
        return peaks

    @property
    def fastest(self) -> str | None:
        """The other tool with the lowest median; None: no other was run."""
        others = [tool for tool in self.samples if tool not in _OURS]
        return min(others, key=lambda tool: self.seconds(tool).median, default=None)

    def ratio(self, tool: str) -> float | None:
        """Return how many times as fast as the fastest other one a tool of ours is."""
        if self.fastest is None or tool not in self.samples:
            return None
        return self.seconds(self.fastest).median / self.seconds(tool).median

    def to_json(self) -> dict[str, Any]:
        """Return everything, with the raw samples."""
        return {
            "case": self.case,
            "title": self.title,
            "files": self.files,
            "file_bytes": self.file_bytes,
            "line_bits": self.line_bits,
            "fastest": self.fastest,
            "tools": {tool: self._tool_json(tool) for tool in self.samples},
        }

    def _tool_json(self, tool: str) -> dict[str, Any]:
        seconds = self.seconds(tool)
        ours = tool in _OURS
        return {
            "seconds": {"median": seconds.median, "min": seconds.least, "max": seconds.most},
            "flushed_seconds": self.flushed_seconds(tool),
            "bytes_a_second": self.bytes_a_second(tool),
            "cpu_seconds_per_gigabyte": self.cpu_per_gigabyte(tool),
            "line_rate": self.line_rate(tool),
            "memory_bytes": self.memory(tool),
            "ratio_to_fastest": self.ratio(tool) if ours else None,
            "goal": self.goals.get(tool),
            "samples": [
                {
                    "seconds": sample.seconds,
                    "flushed_seconds": sample.flushed_seconds or sample.seconds,
                    "cpu_seconds": sample.cpu_seconds,
                    "memory_bytes": sample.memory_bytes,
                }
                for sample in self.samples[tool]
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One quantity of medp2p alone, measured once or several times.

    Attributes:
        unit: "s", "B" or "%".
        goal: As in the documents, "under 1 s"; may be empty.
    """

    case: str
    title: str
    unit: str
    values: list[float]
    goal: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return everything."""
        found = spread(self.values)
        return {
            "case": self.case,
            "title": self.title,
            "unit": self.unit,
            "median": found.median,
            "min": found.least,
            "max": found.most,
            "values": self.values,
            "goal": self.goal,
        }


Outcome = Comparison | Figure


def spread(values: Iterable[float]) -> Spread:
    """Return median, least and most.

    Raises:
        ValueError: There are no values.
    """
    numbers = list(values)
    if not numbers:
        raise ValueError("nothing was measured")
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


# --- words and tables ---------------------------------------------------------------------


def quantity(value: float, unit: str) -> str:
    """Return a value with its unit, short enough for a table."""
    if unit == "s":
        return f"{value:.3f} s" if value < 1 else f"{value:.2f} s"
    if unit == "%":
        return f"{value:.2f} %"
    for factor, word in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.1f} {word}"
    return f"{value:.0f} B"


def seconds_text(found: Spread) -> str:
    """Return "median (least-most) s"."""
    return f"{found.median:.2f} ({found.least:.2f}-{found.most:.2f}) s"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Return the tables for docs/PERFORMANCE.md."""
    comparisons = [each for each in outcomes if isinstance(each, Comparison)]
    figures = [each for each in outcomes if isinstance(each, Figure)]
    parts = []
    if comparisons:
        parts.append(_table(_SPEED, [row for each in comparisons for row in _rows(each)]))
    if figures:
        parts.append(_table(_FIGURES, [_figure_row(each) for each in figures]))
    return "\n\n".join(parts) + "\n"


_SPEED = [
    *("case", "tool", "median (min-max)", "flushed", "MB/s", "times the fastest other", "goal"),
    *("CPU s/GB", "peak memory"),
]
_FIGURES = ["case", "what", "median", "min-max", "goal"]


def _rows(it: Comparison) -> list[list[str]]:
    rows: list[list[str]] = []
    for tool in it.samples:
        ours = tool in _OURS
        rows.append(
            [
                it.title if not rows else "",
                tool,
                seconds_text(it.seconds(tool)),
                f"{it.flushed_seconds(tool):.2f} s",
                _rate(it, tool),
                _or_none(it.ratio(tool) if ours else None, "{:.2f}".format),
                _or_none(it.goals.get(tool), "{:.1f}".format),
                f"{it.cpu_per_gigabyte(tool):.2f}",
                ", ".join(
                    f"{process} {quantity(count, 'B')}"
                    for process, count in it.memory(tool).items()
                )
                or _NONE,
            ]
        )
    return rows


def _rate(it: Comparison, tool: str) -> str:
    rate = f"{it.bytes_a_second(tool) / 1e6:.0f}"
    line = it.line_rate(tool)
    return rate if line is None else f"{rate}, {line:.2f} of the line"


def _figure_row(it: Figure) -> list[str]:
    found = spread(it.values)
    between = f"{quantity(found.least, it.unit)} - {quantity(found.most, it.unit)}"
    return [it.case, it.title, quantity(found.median, it.unit), between, it.goal or _NONE]


def _or_none(value: float | None, text: Callable[[float], str]) -> str:
    return _NONE if value is None else text(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(word) for word in line)} |" for line in lines)


def _cell(text: str) -> str:
    """A bar within a cell would end it."""
    return text.replace("|", "\\|")
