"""What a child may use: bounded by the kernel, before it reads the first byte of a file."""

import resource

from medp2p import limits


def bound_cpu(seconds: int = limits.DICOM_CPU_SECONDS) -> None:
    """Give the next file its CPU seconds; the kernel ends a process that uses them up."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    wanted = used + seconds
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def confine(memory_bytes: int = limits.DICOM_CHILD_BYTES, descriptors: int = 16) -> None:
    """Bound this process for good: memory, no files written, no core dumps, few descriptors.

    With 0 descriptors it keeps its pipes, and can open nothing any more: no file, no socket.
    """
    for what, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, descriptors),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (OSError, ValueError):
            continue  # a system without this bound (macOS: address space), or a lower one already
