"""The command of the workstation that looks over a staged folder before it gets its name.

It is given the path of the folder and nothing else: no name of a peer, of a file or of a patient
in its arguments or environment; what it prints goes nowhere, for it may name files.

It runs in a process group of its own under a watcher (daemon/scanchild.py), which ends with the
daemon, however that ends; the group is ended in any case when the look is over.

Source: docs/OPERATION.md, "Looking over a release".
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from medp2p.daemon.station import Station
from medp2p.errors import CheckRefusedError, ReleaseError
from medp2p.text import format_duration

#: Code of ``held``.
HELD = "scan-refused"
_POLL_SECONDS = 0.05
_WATCHER = os.path.join(os.path.dirname(__file__), "scanchild.py")
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "TZ")


class ScanRefusedError(CheckRefusedError):
    """The command says no, cannot be started, or takes too long."""


def examiner(station: Station, cancelled: Callable[[], bool]) -> Callable[[bytes], None] | None:
    """Return what looks over a staged folder, or None when nothing is configured."""
    command, seconds = station.config.release_scan, station.config.release_scan_seconds
    if not command:
        return None
    return lambda folder: examine(command, seconds, folder, cancelled)


def examine(
    command: Sequence[str], seconds: float, folder: bytes, cancelled: Callable[[], bool]
) -> None:
    """Run a command over a folder and wait for it. Blocking.

    Args:
        command: Its words; the path of the folder is put behind them.
        seconds: Longest time.
        folder: Absolute path.
        cancelled: Asked meanwhile.

    Raises:
        ScanRefusedError: Exit status not 0, no start, or time is up; all of its processes are
            ended then.
        ReleaseError: cancelled() said so.
    """
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", _WATCHER, *map(os.fsencode, command), folder],
            stdin=subprocess.PIPE,  # closes when the daemon is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=kept,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise ScanRefusedError(f"release.scan cannot be started: {error.strerror}") from None
    deadline = time.monotonic() + seconds
    try:
        while not _has_ended(process):
            if cancelled():
                raise ReleaseError("stopped before it was done")
            if time.monotonic() > deadline:
                raise ScanRefusedError(f"release.scan took more than {format_duration(seconds)}")
            time.sleep(_POLL_SECONDS)
    finally:
        status, said = _end(process)
    if said:
        raise ScanRefusedError(f"release.scan cannot be started: {os.strerror(int(said))}")
    if status:
        raise ScanRefusedError(f"release.scan refused the files: exit status {status}")


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether the watcher has ended; it is not reaped, so its group keeps its number."""
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None


def _end(process: "subprocess.Popen[bytes]") -> tuple[int, bytes]:
    """End all that is left of the group; return the exit status, and what the watcher said."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    said, _ = process.communicate()
    return process.returncode, said
