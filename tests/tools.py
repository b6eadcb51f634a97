"""Tools of the system that some tests use.

Where one is missing the test skips, unless MEDP2P_REQUIRE_TOOLS is set (.ci/run): then it fails, so
that nothing goes unchecked unnoticed.
"""

import os
import shutil
import subprocess
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


def _missing(reason: str) -> NoReturn:
    if os.environ.get("MEDP2P_REQUIRE_TOOLS"):
        pytest.fail(f"{reason}, and MEDP2P_REQUIRE_TOOLS is set", pytrace=False)
    pytest.skip(reason)
