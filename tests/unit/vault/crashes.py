"""File systems that fail at a chosen step: a crash, or a full or broken disk."""

import errno
import os
from collections.abc import Callable


class Crash(BaseException):
    """The program is gone; nothing that it would still have done happens."""


class CrashAt:
    """A step that ends the program at the n-th step, and keeps it ended.

    Every later step fails too, so that no clean-up of ours can touch the disk, just as after
    kill -9.
    """

    def __init__(self, at: int) -> None:
        self._left = at
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        self._left -= 1
        if self._left < 0:
            raise Crash(name)


class FailAt:
    """A step that fails once with an error of the system, at the n-th time of one name."""

    def __init__(self, name: str, number: int = errno.ENOSPC, *, times: int = 1) -> None:
        self._name = name
        self._number = number
        self._left = times

    def __call__(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if self._left == 0:
                raise OSError(self._number, os.strerror(self._number), "/some/PATIENT^NAME")


def every_crash(act: Callable[[Callable[[str], None]], None]) -> int:
    """Run act with a crash at each of its steps in turn until it runs through.

    Args:
        act: Gets the step; must call what is to crash, and check afterwards what the crash
            left (it sees Crash).

    Returns:
        How many steps there were.
    """
    for at in range(10_000):
        step = CrashAt(at)
        act(step)
        if len(step.names) <= at:
            return at
    raise AssertionError("never runs through")
