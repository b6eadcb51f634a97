"""The process that reads headers: ``python -m medp2p.dicom.child``, questions in, answers out.

It has no files, no network and no arguments; what it may use is bounded before it reads the first
byte. It ends when its input ends, or when it is told something that is no question.

A question is a length of four bytes (big-endian) and msgpack of (size, head, tail); an answer is
a length and ``facts.encode_facts``. One answer for each question, in order.
"""

import logging
import resource
import signal
import sys
import warnings
from typing import BinaryIO

import msgspec

from medp2p import limits
from medp2p.dicom.facts import encode_facts
from medp2p.dicom.inspect import inspect

LENGTH_BYTES = 4
_QUESTION = msgspec.msgpack.Decoder(tuple[int, bytes, bytes])


def encode_question(head: bytes, size: int, tail: bytes) -> bytes:
    """Return a question with its length."""
    return framed(msgspec.msgpack.encode((size, head, tail)))


def framed(payload: bytes) -> bytes:
    """Return bytes with their length before them."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the questions end."""
    while True:
        length = int.from_bytes(source.read(LENGTH_BYTES), "big")
        if not 0 < length <= limits.DICOM_QUESTION_BYTES:
            return
        payload = source.read(length)
        try:
            size, head, tail = _QUESTION.decode(payload)
        except ValueError:
            return
        bound_cpu()
        sink.write(framed(encode_facts(inspect(head, size, tail))))
        sink.flush()


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


def main() -> None:
    """Run as a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's terminal is not our business
    confine()
    warnings.simplefilter("ignore")
    logging.disable()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
