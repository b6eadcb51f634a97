"""The process between the daemon and the command of ``release.scan``: ends it with the daemon.

Run as a script, with the words of the command as arguments; it imports nothing of medp2p. It
leads a process group of its own. Its stdin is a pipe that the daemon holds: when that closes, be
it by kill -9, the whole group is ended, so that nothing goes on to read clear files. Its exit
status is that of the command; if that cannot be started, the number of the error is on stdout.
"""

import os
import signal
import subprocess
import sys
import threading


def _watch() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run the command and end as it did."""
    threading.Thread(target=_watch, daemon=True).start()
    quiet = subprocess.DEVNULL
    try:
        status = subprocess.call(sys.argv[1:], stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError as error:
        os.write(1, str(error.errno).encode())
        status = 127
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
