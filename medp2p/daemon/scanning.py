"""The command of the workstation that looks over a staged folder before it gets its name.

It is given the path of the folder and nothing else: no name of a peer, of a file or of a patient
in its arguments or environment; what it prints goes nowhere, for it may name files.

Source: docs/OPERATION.md, "Looking over a release".
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from medp2p.daemon.station import Station
from medp2p.errors import CheckRefusedError, ReleaseError
from medp2p.text import format_duration

#: Code of ``held``.
HELD = "scan-refused"
_POLL_SECONDS = 0.1
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "TZ")


class ScanRefusedError(CheckRefusedError):
    """The command says no, cannot be started, or takes too long."""


def examiner(station: Station) -> Callable[[bytes], None] | None:
    """Return what looks over a staged folder, or None when nothing is configured."""
    command, seconds = station.config.release_scan, station.config.release_scan_seconds
    if not command:
        return None
    return lambda folder: examine(command, seconds, folder, station.is_stopping)


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
            [*map(os.fsencode, command), folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=kept,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise ScanRefusedError(f"release.scan cannot be started: {error.strerror}") from None
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                status = process.wait(_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if cancelled():
                    raise ReleaseError("stopped before it was done") from None
                if time.monotonic() > deadline:
                    text = f"release.scan took more than {format_duration(seconds)}"
                    raise ScanRefusedError(text) from None
    finally:
        _end(process)
    if status:
        raise ScanRefusedError(f"release.scan refused the files: exit status {status}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the command and what it has started, unless it has ended by itself."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
