"""Small pictures of files that may be hostile, made in a bounded process of their own.

Blocking; for worker threads. The child gets ranges of one file over a pipe and gives pixels back;
the PNG is made here, of those pixels alone, so that nothing of the file's own bytes goes on.
"""

import os
import selectors
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from medp2p import limits
from medp2p.closing import Closing
from medp2p.dicom.framing import LENGTH_BYTES, framed
from medp2p.dicom.picturechild import Done, Question, Read
from medp2p.dicom.png import encode_png
from medp2p.dicom.process import PIPE_BYTES, ChildProcess

_CHILD = (sys.executable, "-P", "-m", "medp2p.dicom.picturechild")
#: One thread each: more would map memory that the child may not have.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_POLL_SECONDS = 0.2
_MESSAGE = msgspec.msgpack.Decoder(Read | Done)

#: Why there is no picture.
WHY = {
    "software": "this workstation cannot show pictures: medp2p was installed without `pictures`",
    "syntax": "nothing installed here can decode this kind of compression",
    "no-image": "there is no image in it",
    "unverified": "its headers cannot be relied on",
    "colour": "its colours are of a kind that is not shown here",
    "damaged": "its pixels cannot be read",
    "large": "the image is too large to be shown small",
    "reader": "making the picture failed or took too long",
}


class Picture(NamedTuple):
    """A picture as PNG with its size in pixels; or None, 0, 0, and why: a key of WHY."""

    png: bytes | None
    width: int = 0
    height: int = 0
    why: str = ""


class PictureMaker(Closing):
    """Makes pictures in a child, which the next picture uses too. For one thread.

    A file that ends the child, or takes longer than limits.PICTURE_SECONDS, has no picture; the
    next one goes to a new child.

    Args:
        command: What to start instead of our child, in tests.
    """

    def __init__(self, command: Sequence[str] = _CHILD) -> None:
        self._command = tuple(command)
        self._child: _Child | None = None

    def make(
        self,
        size: int,
        frame: int,
        read: Callable[[int, int], bytes],
        go_on: Callable[[], None] = lambda: None,
    ) -> Picture:
        """Return a picture of one frame of a DICOM file.

        Args:
            size: Bytes of the file.
            frame: From 0.
            read: Gives a range (offset, count) of it; what it raises ends this.
            go_on: Called a few times a second; what it raises ends this.
        """
        started = time.monotonic()
        try:
            if self._child is None:
                started += limits.DICOM_START_SECONDS
                self._child = _Child(self._command, _ENVIRONMENT)
            done = self._child.ask(
                Question(size, frame), read, go_on, started + limits.PICTURE_SECONDS
            )
        except OSError:
            done = None
        except BaseException:
            self.close()
            raise
        if done is None:
            self.close()
            return Picture(None, why="reader")
        if done.why:
            return Picture(None, why=done.why)
        png = encode_png(done.width, done.height, done.channels, done.pixels)
        return Picture(png, done.width, done.height)

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None


class _Child(ChildProcess):
    """One process, with what has come from it."""

    def ask(
        self,
        question: Question,
        read: Callable[[int, int], bytes],
        go_on: Callable[[], None],
        deadline: float,
    ) -> Done | None:
        """Return the answer; None if the child is gone, late, or says what it must not."""
        self._received = bytearray()
        given = requests = 0
        unsent = memoryview(framed(msgspec.msgpack.encode(question)))
        while self._pass_on(unsent, go_on, deadline):
            raw = self._message(go_on, deadline)
            try:
                said = None if raw is None else _MESSAGE.decode(raw)
            except ValueError:
                said = None
            if not isinstance(said, Read):
                return said if said is not None and _is_sound(said) else None
            if not _is_within(said, question.size):
                return None
            given, requests = given + said.count, requests + 1
            enough = given > limits.PICTURE_READ_BYTES or requests > limits.PICTURE_READS
            data = b"" if enough else read(said.offset, said.count)
            unsent = memoryview(framed(data))
        return None

    def _pass_on(self, unsent: memoryview, go_on: Callable[[], None], deadline: float) -> bool:
        """Write all of it; False when time is up."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdin, selectors.EVENT_WRITE)
            while unsent:
                if time.monotonic() > deadline:
                    return False
                if selector.select(_POLL_SECONDS):
                    unsent = self.send(unsent)
                else:
                    go_on()
        return True

    def _message(self, go_on: Callable[[], None], deadline: float) -> bytes | None:
        """Return the next message; None when the child is gone, late, or says too much."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            while True:
                if len(self._received) >= LENGTH_BYTES:
                    length = int.from_bytes(self._received[:LENGTH_BYTES], "big")
                    end = LENGTH_BYTES + length
                    if length > limits.PICTURE_ANSWER_BYTES:
                        return None
                    if len(self._received) >= end:
                        message = bytes(self._received[LENGTH_BYTES:end])
                        del self._received[:end]
                        return message
                if time.monotonic() > deadline:
                    return None
                if not selector.select(_POLL_SECONDS):
                    go_on()
                    continue
                data = os.read(self._stdout.fileno(), PIPE_BYTES)
                if not data:
                    return None
                self._received += data


def _is_within(wanted: Read, size: int) -> bool:
    """Return whether a range lies in the file and is no larger than one may be."""
    fits = 0 < wanted.count <= limits.PICTURE_RANGE_BYTES
    return fits and 0 <= wanted.offset <= size - wanted.count


def _is_sound(done: Done) -> bool:
    """Return whether an answer is one: a decoder that was broken may say anything."""
    if done.why:
        return done.why in WHY
    edges = 1 <= done.width <= limits.PICTURE_EDGE and 1 <= done.height <= limits.PICTURE_EDGE
    bytes_there = len(done.pixels) == done.width * done.height * done.channels
    return edges and done.channels in (1, 3) and bytes_there
