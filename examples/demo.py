"""Two workstations on this machine, one study, and a kill in the middle of it.

`make demo` runs this. Everything happens in a temporary folder and on ports of 127.0.0.1 that
nobody else uses; the daemons are driven by the command line only, as a person would, with --json.
Exit status: 0 all went well, 1 something did not, 130 interrupted. Whichever: nothing is left.
"""

import contextlib
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.forwarder import Forwarder
from examples.send_study import MEDP2P, CommandError, ask
from examples.study import make_study
from medp2p.text import format_bytes, format_duration

T = TypeVar("T")
Row = dict[str, Any]

INSTANCES = 300
#: Rows and columns; 300 slices of this size are about 40 MB.
EDGE = 256
#: Slow enough that there is a middle, fast enough that nobody gets bored.
LINK_BYTES_PER_SECOND = 7_000_000.0
#: The receiver is killed once it has made this part of the study durable.
KILL_AT = 0.3
#: Handshakes, manifest, records, tags, heartbeats and chunk edges; far below the study's size.
OVERHEAD_BYTES = 3_000_000
#: For the whole of it; it takes a fraction of that, but machines may be busy.
DEADLINE_SECONDS = 100.0


class DemoError(Exception):
    """Something did not go as it must."""


class InterruptedDemoError(Exception):
    """Somebody wants it to end."""


@dataclass
class Patience:
    """How long the demonstration waits for anything.

    Attributes:
        deadline: On the monotonic clock.
        stop: Set by Ctrl-C and the like. It is looked at between commands only, so that no
            process is ever started and then forgotten.
    """

    deadline: float
    stop: threading.Event = field(default_factory=threading.Event)

    def wait(self, look: Callable[[], T | None], what: str) -> T:
        """Look until there is something to see."""
        while (found := look()) is None:
            if time.monotonic() > self.deadline:
                raise DemoError(f"waited in vain for {what}")
            self.pause(0.2)
        return found

    def pause(self, seconds: float = 0) -> None:
        """Wait, unless somebody wants it to end."""
        if self.stop.wait(seconds):
            raise InterruptedDemoError


@dataclass
class Workstation:
    """A home and the daemon that runs in it.

    Attributes:
        address: Where the daemon listens; the first start chooses a free port.
    """

    name: str
    home: Path
    patience: Patience
    address: str = "127.0.0.1:0"
    daemon: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """What the daemon says."""
        return self.home.with_suffix(".log")

    def ask(self, *words: str) -> Any:
        """Run one command here; return what it prints."""
        self.patience.pause()
        return ask(self.home, *words)

    def start(self) -> None:
        """Start the daemon and wait until it takes connections."""
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [*MEDP2P, "daemon", "--home", self.home, "--listen", self.address, "--no-mdns"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us to handle
            )
        self.address = self.patience.wait(self._listening, f"the daemon of {self.name}")

    def _listening(self) -> str | None:
        if self.daemon is None or self.daemon.poll() is not None:
            raise DemoError(f"the daemon of {self.name} ended")
        try:
            status = self.ask("status")
        except CommandError:
            return None
        address: str = status["listen"][0]
        return address

    def kill(self) -> None:
        """End the daemon with SIGKILL: it gets no chance to put anything in order."""
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    def stop(self) -> None:
        """End the daemon as a service manager does."""
        if self.daemon is None:
            return
        self.daemon.terminate()
        code = self.daemon.wait(timeout=20)
        self.daemon = None
        if code:
            raise DemoError(f"the daemon of {self.name} ended with status {code}")

    def show(self, box: str, transfer: str) -> Row:
        """Return what is known here about a transfer."""
        row: Row = self.ask(box, "show", transfer)
        if row["state"] in ("failed", "cancelled", "declined"):
            raise DemoError(f"the transfer is {row['state']} at {self.name}: {row['error']}")
        return row


class Progress:
    """Shows how far a transfer is: one line on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._last = -1

    def show(self, row: Row) -> None:
        """Show a transfer if it has moved on."""
        percent = 100 * row["bytes_done"] // row["bytes"]
        if percent == self._last or (not self._live and percent < self._last + 15):
            return
        self._last = percent
        text = (
            f"   {row['state']:9}  {percent:3} %  {format_bytes(row['bytes_done'])} "
            f"of {format_bytes(row['bytes'])} are safe at the receiver"
        )
        print("\r" + text + "\x1b[K" if self._live else text, end="" if self._live else "\n")
        sys.stdout.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._live and self._last >= 0:
            print()
        self._last = -1


# --- the story ----------------------------------------------------------------------------


def pair(shows: Workstation, joins: Workstation, at: str) -> None:
    """Pair two workstations by a code that one shows and the other types."""
    waiting = subprocess.Popen(
        [*MEDP2P, "--home", str(shows.home), "pair", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        if waiting.stdout is None or not (line := waiting.stdout.readline()):
            raise DemoError("no pairing code was shown")
        code = json.loads(line)["code"]
        print(f"   {shows.name} shows the code {code}; at {joins.name} somebody types it.")
        peer = joins.ask("pair", code, "--at", at)
        if shows.patience.wait(waiting.poll, "the side that shows the code"):
            raise DemoError("pairing failed at the side that shows the code")
        print(f"   {joins.name} now knows the key of {peer['name']}: {peer['key_words']}.")
    finally:
        if waiting.poll() is None:
            waiting.kill()
        waiting.wait()
        if waiting.stdout is not None:
            waiting.stdout.close()


def receive_until(receiver: Workstation, transfer: str, part: float) -> Row:
    """Show progress at the receiver until that part of the study is durable and journalled."""
    progress = Progress()

    def enough() -> Row | None:
        row = receiver.show("inbox", transfer)
        progress.show(row)
        if row["state"] == "sealed" and part < 1:
            raise DemoError("the study was through before anything could be killed")
        return row if row["state"] == "sealed" or row["bytes_done"] >= part * row["bytes"] else None

    try:
        return receiver.patience.wait(enough, "bytes of the study")
    finally:
        progress.end()


def send_and_accept(sender: Workstation, receiver: Workstation, study: Path) -> str:
    """Queue the study, and accept the offer at the other side; return the transfer's id."""
    # As on a request form: whose images are meant. In a file, since every account of a machine
    # can read the arguments of its commands.
    form = study.parent / "request.json"
    form.write_text(json.dumps({"patient_id": "MRN-0042117"}))
    expected = ("--expect-from", str(form))
    row = sender.ask("send", receiver.name, str(study), *expected, "--no-wait", "--note", "demo")
    transfer: str = row["id"]
    print(f"   {sender.name} has queued transfer {transfer}: {row['files']} files.")

    def offered() -> Row | None:
        return next((row for row in receiver.ask("inbox") if row["id"] == transfer), None)

    offer = receiver.patience.wait(offered, "the offer")
    print(
        f"   {receiver.name} is asked: {offer['files']} files, {format_bytes(offer['bytes'])}, "
        f"from {offer['peer']}, note {offer['note']!r}. Somebody accepts."
    )
    receiver.ask("inbox", "accept", transfer)
    return transfer


def kill_in_the_middle(receiver: Workstation, transfer: str, link: Forwarder, before: int) -> None:
    """Kill the receiver amid the study, start it again, let it finish; count what was sent."""
    row = receive_until(receiver, transfer, KILL_AT)
    receiver.kill()
    done, sent = row["bytes_done"], link.forward - before
    print(
        f"5. The daemon of {receiver.name} is killed (SIGKILL). {format_bytes(sent)} were sent, "
        f"{format_bytes(done)} of them journalled."
    )
    receiver.start()
    print("   It is started again. Nobody does anything else.")
    row = receive_until(receiver, transfer, 1)
    in_all = link.forward - before
    again = max(0, in_all - row["bytes"])
    print(
        f"6. The study is whole and sealed. It has {format_bytes(row['bytes'])}; sent in all, "
        f"before and after\n   the kill: {format_bytes(in_all)}. The {format_bytes(again)} more "
        "are what was on its way, headers, encryption."
    )
    if in_all - sent > row["bytes"] - done + OVERHEAD_BYTES:
        raise DemoError("what was journalled before the kill was sent again")


def release(receiver: Workstation, transfer: str, study: Path, target: Path) -> None:
    """Release the study into a folder and compare every file with the original."""
    row = receiver.ask("inbox", "release", transfer, "--to", str(target))
    released = Path(row["released_to"]) / study.name
    wanted, found = digests(study), digests(released)
    if wanted != found:
        raise DemoError(f"what was released into {released} differs from {study}")
    print(
        f"7. {receiver.name} has released it into a new folder, {released.parent.name}/. "
        f"SHA-256 of {len(found)} files compared: all equal."
    )


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path in there."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                name = str(path.relative_to(folder))
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def check_records(sender: Workstation, receiver: Workstation, transfer: str) -> None:
    """The sender has the signed facts, and both audit logs verify."""

    def told() -> Row | None:
        row = sender.show("outbox", transfer)
        return row if row["state"] == "released" else None

    row = sender.patience.wait(told, "the fact that the study was released")
    facts = ", ".join(fact["fact"] for fact in row["facts"] if fact["by"] == receiver.name)
    counts = [str(each.ask("audit", "verify")["count"]) for each in (sender, receiver)]
    print(
        f"8. {sender.name} holds what {receiver.name} has signed about it: {facts}. "
        f"Both audit logs\n   verify ({' and '.join(counts)} records)."
    )


def tell(folder: Path, stations: list[Workstation], patience: Patience) -> None:
    """Carry out the whole demonstration below a folder."""
    print("1. Two workstations are made, and their daemons started.")
    for name in ("ct-room", "ward-a"):
        station = Workstation(name, folder / name, patience)
        stations.append(station)
        station.ask("init", "--name", name)
        # A small disk will do here; a workstation in earnest leaves room for others. And the
        # slices repeat one picture: compressed they would be through before there is a middle.
        with (station.home / "config.toml").open("a") as config:
            config.write('reserve = 0\ncompression = "off"\n')
        station.start()
        print(f"   {name} listens on {station.address}.")
    sender, receiver = stations
    host, port = receiver.address.rsplit(":", 1)
    with Forwarder((host, int(port)), bytes_per_second=LINK_BYTES_PER_SECOND) as link:
        speed = format_bytes(int(LINK_BYTES_PER_SECOND))
        print(f"2. They are paired. The link between them carries {speed} a second.")
        pair(receiver, sender, link.address)
        study = folder / "CT CHEST"
        make_study(study, INSTANCES, edge=EDGE)
        print(f"3. A study is made of a real slice: {INSTANCES} instances in two series.")
        print("4. It is sent.")
        before = link.forward
        transfer = send_and_accept(sender, receiver, study)
        kill_in_the_middle(receiver, transfer, link, before)
        release(receiver, transfer, study, folder / "from the inbox")
        check_records(sender, receiver, transfer)
        for station in stations:
            station.stop()
    print("9. Both daemons have ended.")


# --- whatever happens, nothing is left -----------------------------------------------------


@contextlib.contextmanager
def nothing_left() -> Iterator[tuple[Path, list[Workstation]]]:
    """Give a folder and a list for workstations; at the end both are gone, however it came."""
    folder = Path(tempfile.mkdtemp(prefix="medp2p-demo-"))
    stations: list[Workstation] = []
    try:
        yield folder, stations
    except (DemoError, CommandError, subprocess.TimeoutExpired):
        for station in stations:
            print_log(station)
        raise
    finally:
        for station in stations:
            station.kill()
        shutil.rmtree(folder)


def print_log(station: Workstation) -> None:
    """Show the end of what a daemon has logged."""
    if station.log.exists():
        print(f"--- the log of {station.name} ends so:", file=sys.stderr)
        lines = station.log.read_text(errors="replace").splitlines()
        print("\n".join(lines[-30:]), file=sys.stderr)


def run(patience: Patience) -> int:
    """Run the demonstration; return the exit status."""
    began = time.monotonic()
    try:
        with nothing_left() as (folder, stations):
            tell(folder, stations, patience)
    except (InterruptedDemoError, DemoError, CommandError, subprocess.TimeoutExpired) as error:
        if patience.stop.is_set():
            print("\ninterrupted; nothing is left", file=sys.stderr)
            return 130
        print(f"the demonstration failed: {error}", file=sys.stderr)
        return 1
    took = format_duration(time.monotonic() - began)
    print(f"All went well, in {took}. The temporary folder is removed.")
    return 0


def main() -> int:
    """Run the demonstration in a thread of its own; signals come to this one."""
    patience = Patience(time.monotonic() + DEADLINE_SECONDS)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: patience.stop.set())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, patience)
        while not running.done():
            wait([running], timeout=0.2)  # a signal that another thread took is seen then
        return running.result()


if __name__ == "__main__":
    sys.exit(main())
