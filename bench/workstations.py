"""Two medp2p daemons as processes, paired with each other and driven by the command line only."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import costs
from bench.network import LOOPBACK, Place, Places

_COMMAND = [sys.executable, "-m", "medp2p"]
_ANSWER_SECONDS = 120.0
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
Row = dict[str, Any]


class CommandFailedError(Exception):
    """A command of medp2p did not end as it should."""


@dataclass
class Workstation:
    """A home and the daemon in it."""

    home: Path
    place: Place
    port: int
    daemon: "subprocess.Popen[bytes] | None" = None

    @property
    def name(self) -> str:
        """Its name, and the one that the other gives it."""
        return self.home.name

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.place.address}:{self.port}"

    @property
    def pid(self) -> int:
        """Of its daemon."""
        assert self.daemon is not None, "the daemon was not started"  # noqa: S101
        return self.daemon.pid

    def command(self, *words: str | Path) -> list[str]:
        """Return the words of a command for this home; its answer is JSON."""
        return [*_COMMAND, "--home", str(self.home), *map(str, words), "--json"]

    def open(self, *words: str | Path) -> "subprocess.Popen[bytes]":
        """Start a command; whoever calls waits for it."""
        return subprocess.Popen(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )

    def ask(self, *words: str | Path) -> Any:
        """Run a command and return the last document that it prints.

        Raises:
            CommandFailedError: It did not exit with 0.
        """
        with self.open(*words) as process:
            try:
                out, err = process.communicate(timeout=_ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise CommandFailedError(f"{words}: no answer") from None
        return read_answer(process, out, err)

    def offers(self, *words: str) -> str:
        """Return the help of a verb, to look for what this version can do."""
        done = subprocess.run(
            [*_COMMAND, *words, "--help"], capture_output=True, check=True, env=environment()
        )
        return done.stdout.decode()

    def start(self) -> None:
        """Start the daemon and wait until it listens.

        Raises:
            CommandFailedError: It ended, or does not answer.
        """
        words = ["--home", str(self.home), "daemon", "--listen", self.address, "--no-mdns"]
        with self.home.with_suffix(".log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [*self.place.inside, *_COMMAND, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(CommandFailedError):
                self.ask("status")
                return
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                log_text = self.home.with_suffix(".log").read_text(errors="replace")
                raise CommandFailedError(f"the daemon of {self.name} is not there:\n{log_text}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon."""
        if self.daemon is not None:
            self.daemon.send_signal(how)
            try:
                self.daemon.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            self.daemon = None

    def wait_state(self, box: str, transfer: str, states: set[str], seconds: float) -> Row:
        """Ask until a transfer is in one of these states.

        Raises:
            CommandFailedError: It is not in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            row: Row = self.ask(box, "show", transfer)
            if row["state"] in states:
                return row
            if time.monotonic() > deadline:
                raise CommandFailedError(f"after {seconds:.0f} s: {row['state']} {row['reason']}")


def read_answer(process: "subprocess.Popen[bytes]", out: bytes, err: bytes) -> Any:
    """Return the last document of a command that has ended.

    Raises:
        CommandFailedError: It did not exit with 0.
    """
    if process.returncode:
        raise CommandFailedError(f"{process.args!r}: {err.decode().strip()}")
    return json.loads(out.splitlines()[-1]) if out.strip() else None


@dataclass
class Pair:
    """A sender and a receiver that takes everything.

    Attributes:
        confirmed: Options of ``send`` with which nobody is asked, for files without patients.
        labelled: The same for DICOM files.
    """

    sender: Workstation
    receiver: Workstation
    confirmed: list[str]
    labelled: list[str]

    def pids(self) -> list[int]:
        """Return both daemons' process numbers."""
        return [self.sender.pid, self.receiver.pid]

    def reset_peaks(self) -> None:
        """Forget both daemons' peaks of memory."""
        for pid in self.pids():
            costs.reset_peak(pid)

    def peaks(self) -> dict[str, int]:
        """Return both daemons' peaks of memory."""
        return {
            "sender": costs.peak_bytes(self.sender.pid),
            "receiver": costs.peak_bytes(self.receiver.pid),
        }


@contextlib.contextmanager
def pair_of(folder: Path, places: Places = LOOPBACK, *, accept: str = "auto") -> Iterator[Pair]:
    """Make two workstations below a folder, start them, and end and erase them after the block.

    Args:
        folder: Made here, and removed at the end.
        places: Where the sender and the receiver stand.
        accept: What the receiver does with offers.
    """
    folder.mkdir(parents=True)
    sender, receiver = (
        Workstation(folder / name, place, place.free_port())
        for name, place in zip(("sender", "receiver"), places, strict=True)
    )
    try:
        for each in (sender, receiver):
            each.ask("init", "--name", each.name)
            each.start()
        yield _introduce(sender, receiver, accept)
    finally:
        for each in (sender, receiver):
            each.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _introduce(sender: Workstation, receiver: Workstation, accept: str) -> Pair:
    for one, other in ((sender, receiver), (receiver, sender)):
        peer_id = other.ask("id")["peer_id"]
        one.ask("peers", "add", other.name, peer_id, "--address", other.address)
    receiver.ask("peers", "set", sender.name, f"accept={accept}")
    # How a send without a terminal is confirmed: each version says in its help what it takes.
    if "confirm=" in sender.offers("peers", "set"):
        sender.ask("peers", "set", receiver.name, "confirm=none")
    labelled = ["--yes"]
    plain = ["--no-patient-data"] if "--no-patient-data" in sender.offers("send") else []
    return Pair(sender, receiver, labelled + plain, labelled)


def environment() -> dict[str, str]:
    """Return what commands and daemons see of the environment."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "HOME") if name in os.environ}
    here = str(Path(__file__).resolve().parents[1])
    return {**kept, "PYTHONPATH": here, "LANG": "C.UTF-8", "NO_COLOR": "1"}
