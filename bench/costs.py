"""What processes cost: CPU time and resident memory, read from /proc."""

import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SETTLE_SECONDS = 10.0
#: proc(5), /proc/PID/clear_refs: 5 sets the peak back to what is resident now.
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class _Stat:
    parent: int
    own: float
    reaped: float


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the CPU time of processes and all their children, living or waited for, so far."""
    stats, children = _processes()
    total, todo = 0.0, list(pids)
    while todo:
        pid = todo.pop()
        if pid in stats:
            total += stats[pid].own + stats[pid].reaped
        todo += children[pid]
    return total


def wait_childless(pid: int) -> None:
    """Wait until a server has no child any more, so that their CPU time counts as its own.

    Raises:
        TimeoutError: One goes on.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while _processes()[1][pid]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"a child of process {pid} does not end")
        time.sleep(0.005)


def reset_peak(pid: int) -> None:
    """Forget the peak of a process's resident memory."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def peak_bytes(pid: int) -> int:
    """Return the most memory that was resident since the start or ``reset_peak``."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@dataclass(frozen=True, slots=True)
class Finished:
    """A client that has ended, with what it and its children cost."""

    code: int
    cpu_seconds: float


def reap(processes: "Sequence[subprocess.Popen[bytes]]") -> list[Finished]:
    """Wait for processes of ours to end; if that is interrupted, end them."""
    try:
        return [_reap(process) for process in processes]
    except BaseException:
        for process in processes:
            if process.returncode is None:
                process.kill()
                process.wait()
        raise


def _reap(process: "subprocess.Popen[bytes]") -> Finished:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Finished(process.returncode, usage.ru_utime + usage.ru_stime)


def _processes() -> tuple[dict[int, _Stat], defaultdict[int, list[int]]]:
    stats: dict[int, _Stat] = {}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path("/proc", name, "stat").read_text()
            except OSError:
                continue  # it has ended
            stat = _parse(text)
            stats[int(name)] = stat
            children[stat.parent].append(int(name))
    return stats, children


def _parse(text: str) -> _Stat:
    """proc(5): after the name in parentheses come state, ppid, ...; 14 to 17 are the times."""
    fields = text.rpartition(")")[2].split()
    user, system, reaped_user, reaped_system = (int(field) / _TICKS for field in fields[11:15])
    return _Stat(int(fields[1]), user + system, reaped_user + reaped_system)
