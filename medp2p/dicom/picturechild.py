"""The process that makes pictures: ``python -m medp2p.dicom.picturechild``.

It never has a file: it asks for the ranges that it needs of one, and answers with pixels. Before
it reads the first byte it is bounded like the child that reads headers, and can open nothing any
more. It ends when its input ends, and on Linux with the thread that started it.

Each message is a length of four bytes (big-endian) and msgpack. To it: ``Question``; then, for
each ``Read`` of its own, the bare bytes, or none when it has had enough. From it: ``Read``, as
often as it wants, then one ``Done``.
"""

import ctypes
import io
import logging
import signal
import sys
import warnings
from contextlib import suppress
from typing import Any, BinaryIO

import msgspec

from medp2p import limits
from medp2p.dicom.bounds import bound_cpu, confine
from medp2p.dicom.framing import LENGTH_BYTES, framed

_SET_PARENT_DEATH_SIGNAL = 1  # linux/prctl.h, PR_SET_PDEATHSIG
#: Its pipes are open; nothing else ever will be, not even in their place.
_DESCRIPTORS = 0


class Question(msgspec.Struct, array_like=True, frozen=True):
    """A picture is wanted of one frame (from 0) of a file of so many bytes."""

    size: int
    frame: int


class Read(msgspec.Struct, array_like=True, frozen=True, tag="read"):
    """A range of the file is wanted."""

    offset: int
    count: int


class Done(msgspec.Struct, array_like=True, frozen=True, tag="done"):
    """The picture, or why (a key of picture.WHY) there is none.

    Attributes:
        why: "" for a picture.
        width: Columns.
        height: Rows.
        channels: 1 for greys, 3 for red, green, blue.
        pixels: Rows from the top, a byte a channel.
    """

    why: str
    width: int = 0
    height: int = 0
    channels: int = 0
    pixels: bytes = b""


class RangeFile(io.RawIOBase):
    """A file that lies on the other side of the pipes.

    Attributes:
        exhausted: A range was refused: nothing more is given of this file.
    """

    name = ""  # pydicom asks every file for it

    def __init__(self, source: BinaryIO, sink: BinaryIO, size: int) -> None:
        super().__init__()
        self._source, self._sink = source, sink
        self._size, self._at = size, 0
        self.exhausted = False

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See io.RawIOBase."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._size - self._at, limits.PICTURE_RANGE_BYTES)
        if count <= 0 or self.exhausted:
            return 0
        self._sink.write(framed(msgspec.msgpack.encode(Read(self._at, count))))
        self._sink.flush()
        given = int.from_bytes(self._source.read(LENGTH_BYTES), "big")
        if given != count:
            self.exhausted = True
            return 0
        view[:count] = self._source.read(count)
        self._at += count
        return count


def serve(source: BinaryIO, sink: BinaryIO, render: Any) -> None:
    """Answer until the questions end.

    Args:
        source: Where questions and ranges come from.
        sink: Where requests and answers go.
        render: rendering.render_untrusted, or None where its libraries are not installed.
    """
    while True:
        length = int.from_bytes(source.read(LENGTH_BYTES), "big")
        if not 0 < length <= limits.PICTURE_ANSWER_BYTES:
            return
        try:
            question = msgspec.msgpack.decode(source.read(length), type=Question)
        except ValueError:
            return
        bound_cpu(limits.PICTURE_CPU_SECONDS)
        done = Done("software") if render is None else _answer(source, sink, question, render)
        sink.write(framed(msgspec.msgpack.encode(done)))
        sink.flush()


def _answer(source: BinaryIO, sink: BinaryIO, question: Question, render: Any) -> Done:
    file = RangeFile(source, sink, question.size)
    try:
        return Done(
            "", *render(io.BufferedReader(file, limits.PICTURE_AHEAD_BYTES), question.frame)
        )
    except MemoryError:
        return Done("large")
    except Exception as error:  # noqa: BLE001  foreign bytes, and five libraries that read them
        if file.exhausted:
            return Done("large")
        return Done(str(getattr(error, "why", "damaged")))


def _renderer() -> Any:
    try:
        from medp2p.dicom.rendering import render_untrusted
    except ImportError:
        return None
    return render_untrusted


def end_with_parent() -> None:
    """Let the kernel end this process with the thread that started it, where it can (Linux)."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def main() -> None:
    """Run as a child."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's terminal is not our business
    warnings.simplefilter("ignore")
    logging.disable()
    render = _renderer()
    confine(limits.PICTURE_CHILD_BYTES, _DESCRIPTORS)
    serve(sys.stdin.buffer, sys.stdout.buffer, render)


if __name__ == "__main__":
    main()
