"""The cases of the benchmark that measure medp2p alone: resuming, first byte, large manifests."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import data
from bench.cases import GIB, MIB, Setting, need_room
from bench.race import RaceError, run_all
from bench.report import Figure, Outcome
from bench.workstations import Pair, Workstation, pair_of
from examples.forwarder import Forwarder

_SOON_SECONDS = 600.0
#: More than offer, manifest and heartbeats of one file: what exceeds it is the file.
_DATA_BYTES = 128 * 1024
#: More than that is new data after a reconnect: all that speaks before it is smaller.
_NEW_DATA_BYTES = 2 * MIB
_FILES = 200_000


@contextmanager
def _over_forwarder(folder: Path) -> Iterator[tuple[Pair, Forwarder]]:
    """Two workstations; what the sender dials passes a forwarder, which counts."""
    # The forwarder wants to know the receiver's port, and the sender the forwarder's.
    with pair_of(folder) as pair:
        receiver = pair.receiver
        with Forwarder((receiver.place.address, receiver.port)) as forwarder:
            pair.sender.ask("peers", "set", receiver.name, f"address={forwarder.address}")
            yield pair, forwarder


@contextmanager
def _room(setting: Setting, case: str, size: int) -> Iterator[Path]:
    need_room(setting.folder, size)
    folder = setting.folder / case
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- resuming -----------------------------------------------------------------------------


def resume(setting: Setting) -> list[Outcome]:
    """4 GiB, cut off at one half: by the network, and by a kill of the receiver."""
    size = setting.scaled(4 * GIB)
    with _room(setting, "resume", size) as folder:
        source = data.random_file(folder / "sources" / "slide.bin", size)
        with _over_forwarder(folder / "homes") as (pair, forwarder):
            return [
                figure
                for how in ("the network cut", "the receiver killed")
                for figure in _resumed(pair, forwarder, source, how)
            ]


def _resumed(pair: Pair, forwarder: Forwarder, source: Path, how: str) -> list[Outcome]:
    size = source.stat().st_size
    start = forwarder.forward
    transfer = _queue(pair, source)
    forwarder.wait_forward(start + size // 2, seconds=_SOON_SECONDS)
    if how == "the network cut":
        forwarder.down()
        at = _still(forwarder)
        come_back: Callable[[], None] = forwarder.up
    else:
        pair.receiver.stop(signal.SIGKILL)
        at = _still(forwarder)
        come_back = pair.receiver.start
    reconnected = _moment(forwarder, at + 1)
    flowed = _moment(forwarder, at + min(_NEW_DATA_BYTES, size // 8))
    come_back()
    flows = flowed() - reconnected()
    pair.sender.wait_state("outbox", transfer, {"sealed"}, _SOON_SECONDS)
    again = max(0, forwarder.forward - start - size)
    pair.receiver.ask("inbox", "discard", transfer)
    print(f"resume: {how}: {flows:.3f} s, {again} bytes", file=sys.stderr, flush=True)
    return [
        Figure(
            case="resume",
            title=f"{how} at one half: from reconnect to new data",
            unit="s",
            values=[flows],
            goal="under 1 s",
        ),
        Figure(
            case="resume",
            title=f"{how} at one half: sent beyond the file's size, framing included",
            unit="B",
            values=[float(again)],
            goal="64 MiB of data at most",
        ),
    ]


def _still(forwarder: Forwarder) -> int:
    """Return how many bytes went forward, once no more do."""
    while True:
        count = forwarder.forward
        time.sleep(0.2)
        if forwarder.forward == count:
            return count


def _moment(forwarder: Forwarder, count: int) -> Callable[[], float]:
    """Watch for the moment at which so many bytes have gone forward; the result waits for it."""
    moments: list[float] = []

    def watch() -> None:
        forwarder.wait_forward(count, seconds=_SOON_SECONDS)
        moments.append(time.perf_counter())

    def moment() -> float:
        watcher.join()
        if not moments:
            raise RaceError(f"in {_SOON_SECONDS:.0f} s not {count} bytes went forward")
        return moments[0]

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    return moment


def _queue(pair: Pair, source: Path) -> str:
    queued = pair.sender.ask("send", pair.receiver.name, source, "--no-wait", *pair.confirmed)
    return str(queued["id"])


# --- the first byte -----------------------------------------------------------------------


def first_byte(setting: Setting) -> list[Outcome]:
    """From ``send`` to the first data on the wire, for a file of 64 MiB."""
    size = max(8 * _DATA_BYTES, setting.scaled(64 * MIB))
    values = []
    with _room(setting, "first-byte", size) as folder:
        source = data.random_file(folder / "sources" / "report.bin", size)
        with _over_forwarder(folder / "homes") as (pair, forwarder):
            for number in range(setting.rounds.warmups + setting.rounds.counted):
                seconds = _first_byte(pair, forwarder, source, folder)
                print(f"first-byte: {seconds:.3f} s", file=sys.stderr, flush=True)
                if number >= setting.rounds.warmups:
                    values.append(seconds)
    title = "from `send` to the first data of a file on the wire"
    return [Figure(case="first-byte", title=title, unit="s", values=values)]


def _first_byte(pair: Pair, forwarder: Forwarder, source: Path, folder: Path) -> float:
    words = pair.sender.command("send", pair.receiver.name, source, "--wait", *pair.confirmed)
    arrived = _moment(forwarder, forwarder.forward + _DATA_BYTES)
    began = time.perf_counter()
    [row], _ = run_all([words], folder)
    pair.receiver.ask("inbox", "discard", str(row["id"]))
    return arrived() - began


# --- a large manifest ---------------------------------------------------------------------


def manifest(setting: Setting) -> list[Outcome]:
    """200,000 files: until the offer is there, and what both sides hold meanwhile."""
    count = setting.scaled(_FILES)
    with _room(setting, "manifest", count * 4096) as folder:
        source = data.many_files(folder / "sources" / "many", count, 64)
        os.sync()
        with pair_of(folder / "homes", accept="ask") as pair:
            return _offered(pair, source, count)


def _offered(pair: Pair, source: Path, count: int) -> list[Outcome]:
    pair.reset_peaks()
    with _watching(pair.receiver) as watch:
        began = time.perf_counter()
        with pair.sender.open(
            "send", pair.receiver.name, source, "--no-wait", *pair.confirmed
        ) as send:
            transfer = _wait_offer(watch)
            seconds = time.perf_counter() - began
            send.communicate(timeout=_SOON_SECONDS)
    peaks = pair.peaks()
    accepted = time.perf_counter()
    pair.receiver.ask("inbox", "accept", transfer)
    pair.sender.wait_state("outbox", transfer, {"sealed"}, _SOON_SECONDS)
    sealed = time.perf_counter() - accepted
    after = pair.peaks()
    what = f"{count:,} files"
    figures = [
        Figure(
            case="manifest",
            title=f"{what}: from `send` to the offer at the receiver",
            unit="s",
            values=[seconds],
            goal="within 8 s",
        ),
        Figure(case="manifest", title=f"{what}: from accept to sealed", unit="s", values=[sealed]),
    ]
    for when, found in (("at the offer", peaks), ("until sealed", after)):
        figures += [
            Figure(
                case="manifest",
                title=f"{what}: peak resident memory {when}, {side}",
                unit="B",
                values=[float(peak)],
                goal="below 300 MB",
            )
            for side, peak in found.items()
        ]
    return list(figures)


@contextmanager
def _watching(station: Workstation) -> "Iterator[subprocess.Popen[bytes]]":
    """Follow the events of a workstation; the first one is there already."""
    with station.open("watch") as watch:
        guard = threading.Timer(_SOON_SECONDS, watch.kill)  # a reader then sees the end
        guard.start()
        try:
            next(_events(watch))
            yield watch
        finally:
            guard.cancel()
            watch.kill()


def _events(watch: "subprocess.Popen[bytes]") -> Iterator[dict[str, object]]:
    if watch.stdout is None:
        raise RaceError("watch has no output")
    for line in watch.stdout:
        yield json.loads(line)
    raise RaceError("watch ended")


def _wait_offer(watch: "subprocess.Popen[bytes]") -> str:
    for event in _events(watch):
        row = event.get("transfer")
        if isinstance(row, dict) and row["state"] == "offered":
            return str(row["id"])
    raise RaceError("there was no offer")
