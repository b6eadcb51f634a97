"""Race medp2p against scp, rsync and tar over ssh, on this machine, on the same data.

`make bench` runs this. docs/PERFORMANCE.md says what is measured and how to read it. Results go to
stdout and, as JSON and as a Markdown table, to bench/results/. Whichever way it ends: no process
and no file is left.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import cases, figures, page, rivals
from bench.cases import Case, Setting
from bench.race import RaceError, Rounds
from bench.report import Outcome, markdown
from bench.workstations import CommandFailedError

CASES: dict[str, Case] = {
    "one-gib": cases.one_gib,
    "ct": cases.ct,
    "small": cases.small,
    "sparse": cases.sparse,
    "side-by-side": cases.side_by_side,
    "resume": figures.resume,
    "first-byte": figures.first_byte,
    "manifest": figures.manifest,
    "gigabit": cases.gigabit,
    "100-megabit": cases.hundred_megabit,
    "page": page.page,
}
#: Cases in which others run too.
_RACES = {"one-gib", "ct", "small", "sparse", "side-by-side", "gigabit", "100-megabit"}
RESULTS = Path(__file__).resolve().parent / "results"
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Race medp2p against what people use today.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5, help="that count (default 5)")
    parser.add_argument("--warmups", type=int, default=3, help="that do not (default 3)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of all sizes; 0.01 tries out whether it runs"
    )
    parser.add_argument("--alone", action="store_true", help="medp2p without the others")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="remove what arrived at the end of a case only; for one case, a minute after the last",
    )
    parser.add_argument("--folder", type=Path, help="where the data lies meanwhile; a real disk")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results go")
    asked = parser.parse_args(words)
    if unknown := [case for case in asked.cases if case not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    if asked.rounds < 1 or asked.warmups < 0 or asked.scale <= 0:
        parser.error("rounds and scale must be positive")
    asked.cases = asked.cases or _possible()
    return asked


def _possible() -> list[str]:
    """Return all cases, but for the page's where there is no browser."""
    if not (lacking := page.missing()):
        return list(CASES)
    print(f"without the case page: it needs {' and '.join(lacking)}", file=sys.stderr)
    return [case for case in CASES if case != "page"]


def main(words: Sequence[str] | None = None) -> int:
    """Run the cases; return the exit status."""
    asked = arguments(words)
    tools = () if asked.alone or not _RACES & set(asked.cases) else rivals.ALL
    if tools and (packages := rivals.missing()):
        print(
            f"not installed: {', '.join(packages)}; on Debian: apt install {' '.join(packages)}\n"
            "or say --alone (make bench BENCH_ARGS=--alone) to run medp2p without the others",
            file=sys.stderr,
        )
        return EXIT_USAGE
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what runs is ended as by Ctrl-C
    asked.results.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="medp2p-bench-", dir=asked.folder))
    setting = Setting(
        folder=folder,
        scale=asked.scale,
        rounds=Rounds(warmups=asked.warmups, counted=asked.rounds),
        tools=tools,
        keep=asked.keep,
    )
    try:
        outcomes, failed = _run(asked.cases, setting)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _write(asked, outcomes)
    for case, why in failed.items():
        print(f"{case} failed: {why}", file=sys.stderr)
    return EXIT_FAILED if failed else 0


def _run(names: Sequence[str], setting: Setting) -> tuple[list[Outcome], dict[str, str]]:
    """Run each case; one that fails does not keep the others from running."""
    outcomes: list[Outcome] = []
    failed: dict[str, str] = {}
    for name in names:
        try:
            outcomes += CASES[name](setting)
        except (RaceError, CommandFailedError, RuntimeError, TimeoutError, OSError) as error:
            failed[name] = str(error)
    return outcomes, failed


def _write(asked: argparse.Namespace, outcomes: list[Outcome]) -> None:
    table = markdown(outcomes)
    document = {
        "machine": machine(),
        "scale": asked.scale,
        "rounds": asked.rounds,
        "warmups": asked.warmups,
        "keep": asked.keep,
        "outcomes": [each.to_json() for each in outcomes],
    }
    stamp = time.strftime("%Y%m%d-%H%M%S")
    (asked.results / f"{stamp}.json").write_text(json.dumps(document, indent=2) + "\n")
    (asked.results / f"{stamp}.md").write_text(table)
    print(table)
    print(f"{asked.results / stamp}.json and .md", file=sys.stderr)


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return {
        "processors": os.cpu_count(),
        "model": sorted(models),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "ssh": _version("ssh", "-V"),
        "rsync": _version("rsync", "--version"),
        "load_average": os.getloadavg(),
    }


def _version(*words: str) -> str | None:
    if shutil.which(words[0]) is None:
        return None
    done = subprocess.run(words, capture_output=True, check=False, text=True)
    said = (done.stdout + done.stderr).splitlines()
    return said[0] if said else None


if __name__ == "__main__":
    sys.exit(main())
