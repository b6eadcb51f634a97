"""Starting and ending a bounded child: what it is given, and how it goes.

The child gets two pipes, an environment of a few words, and nothing else; it bounds itself before
it reads the first byte (``bounds.confine``). Its messages may hold parts of headers: nobody reads
them.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import medp2p
from medp2p import limits

PIPE_BYTES = 64 * limits.KIB


class ChildProcess:
    """One process with its pipes, which never block.

    Args:
        command: What to start.
        environment: Words for its libraries.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        package = str(Path(medp2p.__file__).parents[1])
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": package, "LC_ALL": "C.UTF-8", **(environment or {}), **kept},
            cwd="/",
        )
        self._stdin = cast("BinaryIO", self._process.stdin)
        self._stdout = cast("BinaryIO", self._process.stdout)
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stdout.fileno(), False)

    def send(self, unsent: memoryview) -> memoryview:
        """Write what fits now, return the rest; that a child is gone shows in its answers."""
        try:
            return unsent[os.write(self._stdin.fileno(), unsent) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            return memoryview(b"")

    def kill(self) -> None:
        """Kill the process, from any thread; whoever asks it notices."""
        self._process.kill()

    def end(self) -> None:
        """End the process and wait until it is gone."""
        self.kill()
        with suppress(OSError):
            self._stdin.close()
        self._stdout.close()
        self._process.wait()
