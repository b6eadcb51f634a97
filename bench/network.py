"""Where both sides stand: on loopback, or in two network namespaces with a paced cable between."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

_SIDES = ("a", "b")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one side runs.

    Attributes:
        address: Of its network.
        inside: Words before each command that it runs.
    """

    address: str
    inside: tuple[str, ...] = ()

    def free_port(self) -> int:
        """Return a TCP port that nobody has; a namespace has them all, so there any will do."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            port: int = probe.getsockname()[1]
            return port


Places = tuple[Place, Place]
LOOPBACK: Places = (Place("127.0.0.1"), Place("127.0.0.1"))


def why_not() -> str | None:
    """Return what is missing for network namespaces; None: nothing."""
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "ip or tc (Debian: apt install iproute2)"
    return None if os.geteuid() == 0 else "root, which network namespaces need"


@contextlib.contextmanager
def cable(bits_a_second: float) -> Iterator[Places]:
    """Give two namespaces whose cable carries so much each way, until the block ends."""
    names = {side: f"medp2p-bench-{os.getpid()}-{side}" for side in _SIDES}
    places = (
        Place("10.87.0.1", ("ip", "netns", "exec", names["a"])),
        Place("10.87.0.2", ("ip", "netns", "exec", names["b"])),
    )
    try:
        for name in names.values():
            _run("ip", "netns", "add", name)
        _run(
            *["ip", "link", "add", "eth0", "netns", names["a"], "type", "veth"],
            *["peer", "name", "eth0", "netns", names["b"]],
        )
        # Ten milliseconds in one go: below that the kernel's timer cannot keep the pace.
        burst = max(64 * 1024, int(bits_a_second / 8 / 100))
        shape = ["tbf", "rate", f"{bits_a_second:.0f}bit", "burst", str(burst), "latency", "50ms"]
        for side, place in zip(_SIDES, places, strict=True):
            _run("ip", "-n", names[side], "address", "add", f"{place.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _run("ip", "-n", names[side], "link", "set", device, "up")
            _run(*place.inside, "tc", "qdisc", "add", "dev", "eth0", "root", *shape)
        yield places
    finally:
        for name in names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _run(*words: str) -> None:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
