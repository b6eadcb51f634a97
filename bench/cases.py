"""The cases of the benchmark that compare: which data, over which link, with which goal."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import data, network, rivals
from bench.data import count_and_bytes
from bench.network import LOOPBACK, Places
from bench.race import Race, RaceError, Rounds
from bench.report import RELEASED, SEALED, Comparison, Outcome
from bench.workstations import Pair, pair_of

GIB = 1 << 30
MIB = 1 << 20
#: Copies of the data that lie on the disk at a time: source, sealed, released; and some room
#: that medp2p leaves free.
_COPIES = 3
_ROOM_BYTES = 2 * GIB
_GOALS = {SEALED: 1.6, RELEASED: 1.0}
SIDE_BY_SIDE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a run is wanted.

    Attributes:
        folder: Where everything lies meanwhile.
        scale: Factor on sizes and numbers of files; the goals hold for 1.
        tools: Of bench.rivals, those that run.
        keep: What arrives stays until its case is over.
    """

    folder: Path
    scale: float
    rounds: Rounds
    tools: Sequence[str]
    keep: bool = False

    def scaled(self, number: int) -> int:
        """Return a size or a number of files, scaled."""
        return max(1, round(number * self.scale))


Case = Callable[[Setting], list[Outcome]]


def one_gib(setting: Setting) -> list[Outcome]:
    """One file of 1 GiB of random bytes."""
    size = setting.scaled(GIB)
    return [
        _compare(
            *(setting, "one-gib", "1 GiB in one file"),
            lambda folder: [data.random_file(folder / "slide.bin", size)],
            need=size,
        )
    ]


def ct(setting: Setting) -> list[Outcome]:
    """A CT study of 600 slices of 514 KiB, read for its label."""
    return [
        _compare(
            *(setting, "ct", "CT, 600 slices of 514 KiB"),
            lambda folder: _study(setting, folder),
            need=setting.scaled(600) * MIB,
            labelled=True,
        )
    ]


def small(setting: Setting) -> list[Outcome]:
    """20,000 files of 6 KiB."""
    count = setting.scaled(20_000)
    return [
        _compare(
            *(setting, "small", "20,000 files of 6 KiB"),
            lambda folder: [data.many_files(folder / "small", count, 6 * 1024)],
            need=count * 8 * 1024,
        )
    ]


def sparse(setting: Setting) -> list[Outcome]:
    """A sparse file of 4 GiB, one round."""
    size = setting.scaled(4 * GIB)
    return [
        _compare(
            *(setting, "sparse", "4 GiB, sparse, one round"),
            lambda folder: [data.sparse_file(folder / "sparse.bin", size)],
            need=size,
            rounds=Rounds(warmups=0, counted=1),
            goals={},
        )
    ]


def side_by_side(setting: Setting) -> list[Outcome]:
    """Four files of 256 MiB at the same time, each by a command of its own."""
    size = setting.scaled(256 * MIB)
    return [
        _compare(
            *(setting, "side-by-side", "four of 256 MiB at once"),
            lambda folder: [
                data.random_file(folder / f"video-{number}.bin", size)
                for number in range(SIDE_BY_SIDE)
            ],
            need=SIDE_BY_SIDE * size,
            goals={},
        )
    ]


def gigabit(setting: Setting) -> list[Outcome]:
    """The CT study over a link of 1 Gbit/s."""
    return [_over_link(setting, "gigabit", "CT over 1 Gbit/s", 1e9)]


def hundred_megabit(setting: Setting) -> list[Outcome]:
    """The CT study over a link of 100 Mbit/s."""
    return [_over_link(setting, "100-megabit", "CT over 100 Mbit/s", 1e8)]


def _over_link(setting: Setting, case: str, title: str, bits: float) -> Comparison:
    if (why := network.why_not()) is not None:
        raise RaceError(f"this case needs {why}")
    # Long rounds, which the link makes all alike.
    rounds = Rounds(warmups=min(1, setting.rounds.warmups), counted=min(3, setting.rounds.counted))
    with network.cable(bits) as places:
        return _compare(
            *(setting, case, title),
            lambda folder: _study(setting, folder),
            need=setting.scaled(600) * MIB,
            labelled=True,
            places=places,
            rounds=rounds,
            line_bits=bits,
            goals={},
        )


def _study(setting: Setting, folder: Path) -> list[Path]:
    return [data.noisy_study(folder / "ct", setting.scaled(600))]


def _compare(
    setting: Setting,
    case: str,
    title: str,
    make: Callable[[Path], list[Path]],
    *,
    need: int,
    labelled: bool = False,
    places: Places = LOOPBACK,
    rounds: Rounds | None = None,
    line_bits: float | None = None,
    goals: dict[str, float] = _GOALS,
) -> Comparison:
    """Make the data, start both sides, race, and leave nothing.

    Args:
        setting: How the run is wanted.
        case: Its name.
        title: For the table, at scale 1.
        make: Writes the sources below a folder.
        need: Bytes of the sources, about.
        labelled: They are DICOM files.
        places: Where both sides stand.
        rounds: If others than the setting says.
        line_bits: Of the link between, bits a second.
        goals: Ratios to the fastest other.
    """
    rounds = rounds or setting.rounds
    runs = (1 + len(setting.tools)) * (rounds.warmups + rounds.counted)
    need_room(setting.folder, need, kept=runs if setting.keep else 0)
    with ExitStack() as stack:
        folder = setting.folder / case
        folder.mkdir()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sources = make(folder / "sources")
        pair = stack.enter_context(pair_of(folder / "homes", places))
        others = None
        if setting.tools:
            others = stack.enter_context(rivals.rivals(folder / "ssh", places))
        options = _options(pair, labelled=labelled)
        race = Race(pair, others, setting.tools, folder, sources, options, keep=setting.keep)
        samples = race.run(case, rounds)
        counts = [count_and_bytes(source) for source in sources]
        return Comparison(
            case=case,
            title=_title(setting, title),
            files=sum(files for files, _ in counts),
            file_bytes=sum(size for _, size in counts),
            samples=samples,
            line_bits=line_bits,
            goals=goals if setting.scale == 1 else {},
        )


def _title(setting: Setting, title: str) -> str:
    scaled = title if setting.scale == 1 else f"{title}, times {setting.scale:g}"
    return f"{scaled}, nothing removed" if setting.keep else scaled


def _options(pair: Pair, *, labelled: bool) -> list[str]:
    return pair.labelled if labelled else pair.confirmed


def need_room(folder: Path, size: int, *, kept: int = 0) -> None:
    """Look whether the disk has room for a case.

    Args:
        folder: There.
        size: Bytes of its data, about.
        kept: Copies that stay until its end.

    Raises:
        RaceError: It has not.
    """
    need, free = (_COPIES + kept) * size + _ROOM_BYTES, shutil.disk_usage(folder).free
    if free < need:
        raise RaceError(
            f"this case needs {need / 1e9:.0f} GB in {folder}, and {free / 1e9:.0f} GB are free"
        )
