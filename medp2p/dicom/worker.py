"""A warm, bounded process that reads headers, and its replacement when one ends.

Blocking; for worker threads. One ``Inspector`` serves one thread at a time (others wait); two of
them use two cores.
"""

import os
import selectors
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from medp2p import limits
from medp2p.closing import Closing
from medp2p.dicom.facts import FileFacts, Pool, decode_facts
from medp2p.dicom.framing import LENGTH_BYTES, encode_question
from medp2p.dicom.process import PIPE_BYTES, ChildProcess

_CHILD = (sys.executable, "-P", "-m", "medp2p.dicom.child")
UNREAD = FileFacts(kind="unverified", reason="reader", truncated=None)


class Sample(NamedTuple):
    """What is given of one file; see ``inspect.inspect``."""

    head: bytes
    size: int
    tail: bytes = b""


class Inspector(Closing):
    """Inspects files in a child process.

    A file whose inspection ends the child, or takes longer than limits.DICOM_FILE_SECONDS, is
    "unverified", with reason "reader"; the next ones go to a new child.

    Args:
        command: What to start instead of our child, in tests.
    """

    def __init__(self, command: Sequence[str] = _CHILD) -> None:
        self._command = tuple(command)
        self._child: _Child | None = None
        self._lock = threading.Lock()
        self._closed = False

    def inspect_many(self, batch: Sequence[Sample]) -> list[FileFacts]:
        """Return the facts of each file, in order.

        Files with wanted_bytes want to be asked about again, with more bytes. Some hundred files
        at a time keep the child busy; all their heads are in memory.

        Raises:
            RuntimeError: The inspector is closed, or was while it read.
        """
        with self._lock:
            facts: list[FileFacts] = []
            pool = Pool()  # of this call only: nothing of a patient stays
            failures = 0
            while len(facts) < len(batch):
                if failures > limits.DICOM_CHILD_FAILURES:
                    facts.extend([UNREAD] * (len(batch) - len(facts)))
                    break
                answered = self._ask(batch[len(facts) :])
                facts.extend(pool.facts(answer) for answer in answered)
                failures = 0 if answered else failures + 1
                if len(facts) < len(batch):
                    self._drop()
                    facts.append(UNREAD)
            return facts

    def _ask(self, batch: Sequence[Sample]) -> list[FileFacts]:
        """Return the answers to the first files; fewer than asked if the child failed."""
        if self._child is None and not self._closed:
            try:
                self._child = _Child(self._command)
            except OSError:
                return []
        answers = [] if self._closed or self._child is None else self._child.ask(batch)
        if self._closed:
            raise RuntimeError("the inspector is closed")
        return answers

    def _drop(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None

    def close(self) -> None:
        """End the child, and with RuntimeError an inspection that is under way."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
        with self._lock:
            self._drop()


class _Child(ChildProcess):
    """One process, with what is on its way to it and from it."""

    def __init__(self, command: tuple[str, ...]) -> None:
        super().__init__(command)
        self._received = bytearray()
        self._warm = False

    def ask(self, batch: Sequence[Sample]) -> list[FileFacts]:
        """Return answers until the child fails or has answered all."""
        answers: list[FileFacts] = []
        with selectors.DefaultSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_READ)
            selector.register(self._stdin, selectors.EVENT_WRITE)
            questions = iter(batch)
            unsent = memoryview(b"")
            deadline = self._deadline()
            while len(answers) < len(batch):
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    break
                for key, _ in ready:
                    if key.fileobj is self._stdout:
                        before = len(answers)
                        if not self._receive(answers):
                            return answers
                        if len(answers) > before:
                            deadline = self._deadline()
                        continue
                    if not unsent and (sample := next(questions, None)) is not None:
                        unsent = memoryview(encode_question(*sample))
                    if unsent:
                        unsent = self.send(unsent)
                    else:
                        selector.unregister(self._stdin)
        return answers

    def _deadline(self) -> float:
        seconds = limits.DICOM_FILE_SECONDS if self._warm else limits.DICOM_START_SECONDS
        return time.monotonic() + seconds

    def _receive(self, answers: list[FileFacts]) -> bool:
        """Take what is there; False when the child is gone or says what is no answer."""
        data = os.read(self._stdout.fileno(), PIPE_BYTES)
        self._received += data
        while len(self._received) >= LENGTH_BYTES:
            length = int.from_bytes(self._received[:LENGTH_BYTES], "big")
            if length > limits.DICOM_ANSWER_BYTES:
                return False
            end = LENGTH_BYTES + length
            if len(self._received) < end:
                break
            try:
                answers.append(decode_facts(bytes(self._received[LENGTH_BYTES:end])))
            except ValueError:
                return False
            del self._received[:end]
            self._warm = True
        return bool(data)
