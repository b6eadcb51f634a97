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

#: What pydicom loads of pixel decoders where they are installed. Texts need none of them: they
#: would be 40 MB, 0.1 s, and native code beside bytes that nobody trusts.
DECODERS = ("numpy", "PIL", "gdcm", "pylibjpeg", "libjpeg", "openjpeg", "rle", "jpeg_ls")
_QUESTION = msgspec.msgpack.Decoder(tuple[int, bytes, bytes])


def hide_decoders() -> None:
    """Let nothing that is loaded from now on find a decoder."""
    for name in DECODERS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until the questions end."""
    from medp2p.dicom.inspect import inspect  # after hide_decoders

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
    hide_decoders()
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
