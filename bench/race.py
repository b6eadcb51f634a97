"""Move the same data by medp2p and by others, in turn, and note time, CPU time and memory."""

import filecmp
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import costs
from bench.data import count_and_bytes
from bench.report import RELEASED, SEALED, Sample
from bench.rivals import Rivals
from bench.workstations import Pair, environment
from medp2p.vault.kernel import sync_filesystem

MEDP2P = "medp2p"


class RaceError(Exception):
    """A tool failed, or what arrived is not what was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How often.

    Attributes:
        warmups: Rounds that do not count: memory that was never touched, cold caches.
        counted: Rounds that do.
    """

    warmups: int
    counted: int


@dataclass
class Race:
    """Who runs, and where things land.

    Attributes:
        folder: For what arrives.
        sources: Moved all at once, each by a command of its own.
        options: Of ``medp2p send``.
        keep: What arrived stays there; else it is removed after each run.
    """

    pair: Pair
    others: Rivals | None
    tools: Sequence[str]
    folder: Path
    sources: Sequence[Path]
    options: Sequence[str]
    keep: bool = False
    _compared: set[str] = field(default_factory=set)
    _runs: Iterator[int] = field(default_factory=itertools.count)

    def run(self, case: str, rounds: Rounds) -> dict[str, list[Sample]]:
        """Return the samples of each tool, in the order of the tools; medp2p has two of them.

        Each round begins with another tool, so that none always finds the same traces of the last.
        """
        samples: dict[str, list[Sample]] = {SEALED: [], RELEASED: []}
        samples.update({tool: [] for tool in self.tools})
        turns = [MEDP2P, *self.tools]
        for number in range(rounds.warmups + rounds.counted):
            at = number % len(turns)
            found: dict[str, Sample] = {}
            for tool in turns[at:] + turns[:at]:
                found.update(self.medp2p() if tool == MEDP2P else {tool: self.other(tool)})
            warm = number < rounds.warmups
            _say_round(case, number, warm, found)
            if not warm:
                for tool, sample in found.items():
                    samples[tool].append(sample)
        return samples

    def medp2p(self) -> dict[str, Sample]:
        """Send everything, until it is sealed, and release it.

        Raises:
            RaceError: A command failed, or other files came out.
        """
        pair, landing = self.pair, self.landing(MEDP2P)
        pair.reset_peaks()
        cpu_before = costs.cpu_seconds(pair.pids())
        began = time.perf_counter()
        rows, cpu_commands = self._all(
            [
                pair.sender.command("send", pair.receiver.name, source, "--wait", *self.options)
                for source in self.sources
            ]
        )
        sealed = time.perf_counter() - began
        cpu_sealed = cpu_commands + costs.cpu_seconds(pair.pids()) - cpu_before
        peaks = pair.peaks()
        ids = [str(row["id"]) for row in rows]
        rows, more = self._all(
            [pair.receiver.command("inbox", "release", each, "--to", landing) for each in ids]
        )
        released = time.perf_counter() - began
        cpu_released = cpu_commands + more + costs.cpu_seconds(pair.pids()) - cpu_before
        after = pair.peaks()
        for row, source in zip(rows, self.sources, strict=True):
            self._check(MEDP2P, source, Path(str(row["released_to"])) / source.name)
        for each in ids:
            pair.receiver.ask("inbox", "discard", each)
        self.clear(landing)
        return {
            SEALED: Sample(seconds=sealed, cpu_seconds=cpu_sealed, memory_bytes=peaks),
            RELEASED: Sample(seconds=released, cpu_seconds=cpu_released, memory_bytes=after),
        }

    def other(self, tool: str) -> Sample:
        """Copy everything by another tool.

        Raises:
            RaceError: It failed, or other files came out.
        """
        if self.others is None:
            raise RaceError(f"{tool} has no server")
        landing = self.landing("other")
        folders = [landing / str(number) for number in range(len(self.sources))]
        for folder in folders:
            folder.mkdir()
        server = self.others.pid
        cpu_before = costs.cpu_seconds([server])
        began = time.perf_counter()
        started = [
            process
            for source, folder in zip(self.sources, folders, strict=True)
            for process in self.others.start(tool, source, folder)
        ]
        finished = costs.reap(started)
        seconds = time.perf_counter() - began
        _flush(landing)
        flushed = time.perf_counter() - began
        costs.wait_childless(server)
        cpu = costs.cpu_seconds([server]) - cpu_before
        if any(each.code for each in finished):
            raise RaceError(f"{tool} failed")
        for source, folder in zip(self.sources, folders, strict=True):
            self._check(tool, source, folder / source.name)
        self.clear(landing)
        return Sample(
            seconds=seconds,
            cpu_seconds=cpu + sum(each.cpu_seconds for each in finished),
            flushed_seconds=flushed,
        )

    def _all(self, commands: Sequence[Sequence[str]]) -> tuple[list[dict[str, object]], float]:
        """Run commands of medp2p side by side; return their last documents and their CPU time."""
        return run_all(commands, self.folder)

    def landing(self, name: str) -> Path:
        """Make a folder for what arrives in one run."""
        landing = self.folder / f"{name}-{next(self._runs)}"
        landing.mkdir(parents=True)
        return landing

    def clear(self, landing: Path) -> None:
        """Remove what arrived, and let the disk come to rest: the next tool starts level."""
        if not self.keep:
            shutil.rmtree(landing)
        os.sync()

    def _check(self, tool: str, source: Path, arrived: Path) -> None:
        """What arrived has as many files and bytes; the first time every byte is compared."""
        if count_and_bytes(source) != count_and_bytes(arrived):
            raise RaceError(f"{tool}: other files came out than went in")
        if tool not in self._compared:
            self._compared.add(tool)
            for path in [source] if source.is_file() else source.rglob("*"):
                twin = arrived / path.relative_to(source)
                if path.is_file() and not filecmp.cmp(path, twin, shallow=False):
                    raise RaceError(f"{tool}: {path.name} came out different")


def _flush(folder: Path) -> None:
    """Wait until everything on the file system of a folder is on its disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not sync_filesystem(descriptor):
            os.sync()
    finally:
        os.close(descriptor)


def run_all(
    commands: Sequence[Sequence[str]], folder: Path
) -> tuple[list[dict[str, object]], float]:
    """Run commands side by side; return the last document of each and the CPU time of all.

    Their output goes to files: a pipe that nobody reads would hold them up.

    Raises:
        RaceError: One failed.
    """
    files = [folder / f"answer-{number}" for number in range(len(commands))]
    started = []
    for command, file in zip(commands, files, strict=True):
        with file.open("wb") as out, file.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment()
            )
            started.append(process)
    finished = costs.reap(started)
    documents = []
    for command, done, file in zip(commands, finished, files, strict=True):
        if done.code:
            said = file.with_suffix(".err").read_text(errors="replace")
            raise RaceError(f"{' '.join(command)} exited with {done.code}: {said.strip()}")
        documents.append(json.loads(file.read_text().splitlines()[-1]))
    return documents, sum(done.cpu_seconds for done in finished)


def _say_round(case: str, number: int, warm: bool, found: dict[str, Sample]) -> None:
    times = ", ".join(f"{tool} {sample.seconds:.2f} s" for tool, sample in found.items())
    kind = " (warm-up)" if warm else ""
    print(f"{case}: round {number + 1}{kind}: {times}", file=sys.stderr, flush=True)
