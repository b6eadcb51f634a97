"""A process to be watched by strace: two transfers between two workstations, marked off.

Run: python -m tests.helpers.traced FOLDER SIZE...
"""

import contextlib
import os
import sys
from pathlib import Path

import trio

from medp2p.model import State
from tests.helpers.stations import pair_of


def mark(number: int) -> None:
    """Make a system call that does nothing and can be found in a trace."""
    with contextlib.suppress(OSError):
        os.write(-1, b"mark %d" % number)


async def main(folder: Path, sizes: list[int]) -> None:
    """Send one file of each size; before the first and after each stands a mark."""
    async with pair_of(folder, compression=("auto", "auto")) as (it, a, b):
        sources = [
            it.source(f"study-{number}", {"large": size}) for number, size in enumerate(sizes)
        ]
        mark(0)
        for number, source in enumerate(sources):
            transfer = await a.send("b", source)
            await a.until(transfer, State.SEALED)
            await b.until_checked(transfer)  # or its look would count for the next one
            mark(number + 1)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), [int(size) for size in sys.argv[2:]])
