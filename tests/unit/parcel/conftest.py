"""Folders to scan, and an account that may not read everything."""

import contextlib
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_NOBODY = 65534


@pytest.fixture
def unprivileged() -> Iterator[tuple[Path, Callable[[], contextlib.AbstractContextManager[None]]]]:
    """A folder that belongs to an ordinary account, and a context that acts as that account.

    Root may read everything, so under root the account is nobody; else it is our own.
    """
    # Not tmp_path: its parents are closed to other accounts.
    folder = Path(tempfile.mkdtemp(prefix="medp2p-test-"))
    as_root = os.geteuid() == 0

    @contextlib.contextmanager
    def act() -> Iterator[None]:
        if as_root:
            os.seteuid(_NOBODY)
        try:
            yield
        finally:
            if as_root:
                os.seteuid(0)

    if as_root:
        os.chown(folder, _NOBODY, -1)
    try:
        yield folder, act
    finally:
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o700)
        shutil.rmtree(folder)


_sinks: list[list[object]] = []


def _on_audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _sinks:
        _sinks[-1].append(arguments[0])


@functools.cache
def _watch_open() -> None:
    sys.addaudithook(_on_audit)  # it cannot be taken away again


@pytest.fixture
def opened() -> Iterator[list[object]]:
    """The names of what this process has opened since."""
    _watch_open()
    _sinks.append([])
    yield _sinks[-1]
    _sinks.pop()
