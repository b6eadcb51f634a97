"""Real daemons as processes, driven by the command line only, as a person or a script would.

Everything waits for conditions with a deadline that is generous enough for a busy machine; nothing
is measured by the clock that can be counted instead.
"""

import base64
import contextlib
import hashlib
import json as jsonlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.tools import free_port

T = TypeVar("T")
Row = dict[str, Any]

COMMAND = [sys.executable, "-m", "medp2p"]
#: For whatever is expected to happen soon, on a machine that may be very busy.
SOON_SECONDS = 60.0
_ENDED = {"declined", "recalled", "cancelled", "expired", "discarded", "failed"}


# --- the command line ---------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """All JSON documents on stdout."""
        decoder, text, found = jsonlib.JSONDecoder(), self.out.strip(), []
        while text:
            document, end = decoder.raw_decode(text)
            found.append(document)
            text = text[end:].lstrip()
        return found

    @property
    def document(self) -> Any:
        """The last JSON document on stdout."""
        assert self.documents, f"no JSON: {self}"
        return self.documents[-1]

    def ok(self) -> "Answer":
        """Return the answer itself after checking that the command succeeded."""
        assert self.code == 0, self
        return self


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return what a command sees: its home, and nothing of the account that runs the tests."""
    kept = {
        name: os.environ[name] for name in ("PATH", "TMPDIR", "PYTHONPATH") if name in os.environ
    }
    return {
        **kept,
        "HOME": str(home.parent),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "MEDP2P_HOME": str(home),
        **more,
    }


def command(args: Sequence[str | bytes | os.PathLike[Any]], *, json: bool) -> list[str | bytes]:
    """Return the words of a command, with --json where it counts as an option."""
    words = [os.fspath(arg) for arg in args]
    if json:
        words.insert(words.index("--") if "--" in words else len(words), "--json")
    return [*COMMAND, *words]


def cli(
    home: Path,
    *args: str | bytes | os.PathLike[Any],
    json: bool = True,
    input: str | None = None,
    timeout: float = SOON_SECONDS,
    cwd: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Answer:
    """Run one command against a home and return what it said."""
    done = subprocess.run(
        command(args, json=json),
        env=environment(home, **(variables or {})),
        input=(input or "").encode(),
        capture_output=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def wait_for(
    home: Path,
    box: str,
    predicate: Callable[[list[Row]], T],
    *,
    seconds: float = SOON_SECONDS,
) -> T:
    """Ask for the outbox or inbox until the predicate returns something true; return that."""
    rows: list[Row] = []

    def ask() -> T:
        nonlocal rows
        rows = cli(home, box).ok().document
        return predicate(rows)

    return wait_until(ask, lambda: f"{box} of {home.name}: {rows}", seconds=seconds)


def wait_until(
    ask: Callable[[], T], describe: Callable[[], str] = str, *, seconds: float = SOON_SECONDS
) -> T:
    """Ask until the answer is true; return it. Fails with the description after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := ask():
            return answer
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain; {describe()}"
        time.sleep(0.05)


# --- workstations -------------------------------------------------------------------------


@dataclass
class Workstation:
    """A home and, mostly, the daemon that runs in it."""

    home: Path
    port: int
    log: Path
    daemon: "subprocess.Popen[bytes] | None" = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its told name, and the name that the others give it."""
        return self.home.name

    @property
    def address(self) -> str:
        """Where its daemon listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def vault(self) -> Path:
        """Where received transfers lie."""
        return self.home / "vault"

    def cli(self, *args: str | bytes | os.PathLike[Any], **options: Any) -> Answer:
        """Run one command here."""
        return cli(self.home, *args, **options)

    def open_cli(
        self, *args: str | os.PathLike[Any], json: bool = True
    ) -> "subprocess.Popen[bytes]":
        """Start a command that goes on by itself; the caller ends it."""
        return subprocess.Popen(
            command(args, json=json),
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start a daemon without waiting for it; its log goes to a file beside the home."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*COMMAND, "daemon", "--listen", self.address, "--no-mdns"],
                env=environment(self.home, **self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the daemon and wait until it takes connections."""
        assert self.daemon is None
        self.daemon = daemon = self.launch()

        def up() -> bool:
            assert daemon.poll() is None, f"the daemon of {self.name} ended:\n{self.log_text()}"
            return self.cli("status").code == 0

        wait_until(up, self.log_text)

    def kill(self) -> None:
        """End the daemon with SIGKILL."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait(SOON_SECONDS)
        self.daemon = None

    def stop(self) -> float:
        """End the daemon as a service manager does; return the seconds that it took."""
        assert self.daemon is not None
        began = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        code = self.daemon.wait(SOON_SECONDS)
        self.daemon = None
        assert code == 0, self.log_text()
        return time.monotonic() - began

    def restart(self) -> None:
        """End the daemon with SIGKILL and start it again."""
        self.kill()
        self.start()

    def log_text(self) -> str:
        """Return what the daemon has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send(self, peer: str, *args: str | bytes | os.PathLike[Any]) -> str:
        """Queue a transfer and return its id."""
        answer = self.cli("send", peer, "--yes", "--no-wait", *args)
        assert answer.code in (0, 10), answer
        transfer: str = answer.document["id"]
        return transfer

    def row(self, box: str, transfer: str) -> Row:
        """Return all that is known here about a transfer."""
        row: Row = self.cli(box, "show", transfer).ok().document
        return row

    def rows(self, box: str) -> list[Row]:
        """Return the outbox or the inbox."""
        rows: list[Row] = self.cli(box).ok().document
        return rows

    def wait_state(
        self, box: str, transfer: str, *states: str, seconds: float = SOON_SECONDS
    ) -> Row:
        """Wait until a transfer is in one of the states; fail at once when it has ended apart."""

        def there(rows: list[Row]) -> Row | None:
            for row in rows:
                if row["id"] == transfer:
                    if row["state"] in states:
                        return row
                    assert row["state"] not in _ENDED, row
            return None

        row = wait_for(self.home, box, there, seconds=seconds)
        assert row is not None
        return row

    def children(self) -> list[str]:
        """Return the arguments of the daemon and of what it has started."""
        assert self.daemon is not None
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                session = (folder / "stat").read_text().rpartition(")")[2].split()[3]
                if int(session) == self.daemon.pid:
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def peak_memory(self) -> int:
        """Return the most resident memory that the daemon has had, in bytes."""
        assert self.daemon is not None
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


class Hospital:
    """Workstations below one folder; ends all their daemons and looks at their logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[Workstation] = []

    def make(self, name: str, *, start: bool = True) -> Workstation:
        """Make a home and, unless told otherwise, start its daemon."""
        home = self.folder / name
        workstation = Workstation(home, free_port(), self.folder / f"{name}.log")
        workstation.cli("init", "--name", name).ok()
        with (home / "config.toml").open("a") as config:  # tests count the bytes that pass
            config.write('compression = "off"\n')
        self._all.append(workstation)
        if start:
            workstation.start()
        return workstation

    def pair(self, *names: str, accept: str = "auto") -> list[Workstation]:
        """Make workstations that all know each other."""
        made = [self.make(name) for name in names]
        for one in made:
            for other in made:
                if one is not other:
                    introduce(one, other, accept=accept)
        return made

    def close(self) -> None:
        """End every daemon; a traceback in a log fails the test."""
        for workstation in self._all:
            if workstation.daemon is not None:
                workstation.kill()
        for workstation in self._all:
            assert "Traceback" not in workstation.log_text(), workstation.log_text()


def introduce(
    one: Workstation,
    other: Workstation,
    *,
    address: str | None = None,
    accept: str = "auto",
    confirm: str = "none",
) -> None:
    """Let one know the other by its peer ID: its key, where it is, what is done with offers.

    With confirm=none a script may send with --yes alone.
    """
    peer_id = other.cli("id").ok().document["peer_id"]
    one.cli("peers", "add", other.name, peer_id, "--address", address or other.address).ok()
    one.cli("peers", "set", other.name, f"accept={accept}", f"confirm={confirm}").ok()


def pair_by_code(shows: Workstation, joins: Workstation) -> tuple[Answer, Answer]:
    """Pair by a code: one shows it, the other types it; return what both commands said."""
    with open_pairing(shows) as (process, code):
        joined = joins.cli("pair", code, "--at", shows.address)
        out, err = process.communicate(timeout=SOON_SECONDS)
        return Answer(process.returncode, out.decode(), err.decode()), joined


@contextlib.contextmanager
def open_pairing(shows: Workstation) -> "Iterator[tuple[subprocess.Popen[bytes], str]]":
    """Run `pair` until the block ends; yields the process and the first code that it shows."""
    process = shows.open_cli("pair")
    try:
        assert process.stdout is not None
        code: str = jsonlib.loads(process.stdout.readline())["code"]
        yield process, code
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


# --- files --------------------------------------------------------------------------------


def tree_digest(folder: Path) -> dict[bytes, str]:
    """Return each path below a folder with the SHA-256 of the file, or "folder" or "other"."""
    top = os.fsencode(folder)
    found: dict[bytes, str] = {}
    for path, folders, files in os.walk(top):
        for name in folders + files:
            whole = os.path.join(path, name)
            inner = whole[len(top) + 1 :]
            if os.path.islink(whole) or not (os.path.isfile(whole) or os.path.isdir(whole)):
                found[inner] = "other"
            elif os.path.isdir(whole):
                found[inner] = "folder"
            else:
                with open(whole, "rb") as file:
                    found[inner] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def tree_bytes(folder: Path) -> int:
    """Return the sum of the sizes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def make_odd_files(folder: Path) -> None:
    """Write names, sizes and folders that have broken other programs."""
    folder.mkdir(parents=True)
    top = os.fsencode(folder)
    names: Mapping[bytes, int] = {
        b"empty": 0,
        b"DICOMDIR": 10,
        b".hidden": 1,
        b"..data": 1,
        b"...": 1,
        b"-rf": 1,
        b"--help": 1,
        b"a\nb": 1,
        b"\xff\xfe.dcm": 1,
        b"a\\b": 1,
        b"name ": 1,
        b"a&b %41 #1 ?x=1 +.dcm": 1,
        b"\x1b[31mred": 1,
        "téte 桌面".encode(): 1,
        b"n" * 255: 1,
        b"zeros": 128 * 1024,
        b"below": 2**20 - 1,
        b"chunk": 2**20,
        b"above": 2**20 + 1,
    }
    for number, (name, size) in enumerate(names.items()):
        with open(os.path.join(top, name), "wb") as file:
            pattern = b"" if name == b"zeros" else bytes([number + 1]) * 1000
            file.write((pattern * (size // 1000 + 1))[:size].ljust(size, b"\0"))
    (folder / "empty folder" / "in it").mkdir(parents=True)
    deep = folder
    for _ in range(12):
        deep = deep / ("d" * 60)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"deep")


def find_canary(folder: Path, canary: str) -> list[str]:
    """Search names and contents of everything below a folder for a word, in many disguises.

    Returns:
        One line for each find: the path and the disguise.
    """
    forms = _disguises(canary)
    found = []
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            whole = Path(path, name)
            content = b""
            if whole.is_file() and not whole.is_symlink():
                content = whole.read_bytes()
            for form, pattern in forms.items():
                if pattern in content:
                    found.append(f"{whole}: {form} in the content")
                if pattern in os.fsencode(name):
                    found.append(f"{whole}: {form} in the name")
    return found


def _disguises(canary: str) -> dict[str, bytes]:
    plain = canary.encode()
    forms = {
        "plain": plain,
        "UTF-16, little-endian": canary.encode("utf-16-le"),
        "UTF-16, big-endian": canary.encode("utf-16-be"),
        "hex": plain.hex().encode(),
        "hex, upper case": plain.hex().upper().encode(),
    }
    for shift in range(3):  # base64 depends on where in the text the word begins
        inner = base64.b64encode(bytes(shift) + plain)[4 if shift else 0 : -4]
        forms[f"base64, shifted by {shift}"] = inner
    return forms


def open_to_others(folder: Path) -> list[str]:
    """Return what below a folder, itself included, other accounts may read, write or enter."""
    found = []
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode & 0o777
        if mode & 0o077 and not path.is_symlink():
            found.append(f"{path}: {mode:o}")
    return found
