"""Tools of the system that some tests use.

Where one is missing the test skips, unless MEDP2P_REQUIRE_TOOLS is set (.ci/run): then it fails, so
that nothing goes unchecked unnoticed.
"""

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest


def need_tool(name: str) -> str:
    """Return the path of a program, or skip or fail the test that asks."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        _missing(f"{name} is not installed")
    return path


def need_network_namespaces() -> str:
    """Return the path of ``ip`` where network namespaces can be made; else as need_tool."""
    path = need_tool("ip")
    if os.geteuid() != 0:
        _missing("network namespaces need root")
    name = f"medp2p-probe-{os.getpid()}"
    made = subprocess.run([path, "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        _missing(f"no network namespaces here: {made.stderr.decode().strip()}")
    subprocess.run([path, "netns", "delete", name], check=True)
    return path


def free_port() -> int:
    """Return a TCP port that nobody listens on, and that no outgoing connection will take.

    A test stops and starts a daemon on it; ports that the system hands out by itself could be
    anybody's in between, so it is one below them (ip_local_port_range begins at 32768).
    """
    while True:
        port = random.randrange(20_000, 32_000)  # no fixed seed: test runs go side by side
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@contextmanager
def small_disk(where: Path, size: str) -> Iterator[None]:
    """Mount a file system of its own, such as "1m" large, at a folder; else as need_tool."""
    mount = need_tool("mount")
    command = [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        _missing(f"no file system can be mounted: {made.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run([need_tool("umount"), str(where)], check=True)


def _missing(reason: str) -> NoReturn:
    if os.environ.get("MEDP2P_REQUIRE_TOOLS"):
        pytest.fail(f"{reason}, and MEDP2P_REQUIRE_TOOLS is set", pytrace=False)
    pytest.skip(reason)
