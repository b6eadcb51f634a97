"""The process that reads headers: ``python -m medp2p.dicom.child``, questions in, answers out.

It has no files, no network and no arguments; what it may use is bounded before it reads the first
byte. It ends when its input ends, or when it is told something that is no question.

A question is a length of four bytes (big-endian) and msgpack of (size, head, tail); an answer is
a length and ``facts.encode_facts``. One answer for each question, in order.
"""

import logging
import signal
import sys
import warnings
from typing import BinaryIO

import msgspec

from medp2p import limits
from medp2p.dicom.bounds import bound_cpu, confine
from medp2p.dicom.facts import encode_facts
from medp2p.dicom.framing import LENGTH_BYTES, framed
from medp2p.dicom.inspect import inspect

_QUESTION = msgspec.msgpack.Decoder(tuple[int, bytes, bytes])


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


def main() -> None:
    """Run as a child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's terminal is not our business
    confine()
    warnings.simplefilter("ignore")
    logging.disable()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
