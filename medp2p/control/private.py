"""Files for this account only, which were not there before. Standard library only."""

import os
from pathlib import Path


def write_new(path: str | Path, data: bytes) -> None:
    """Write a new private file; what a failure leaves of it is removed.

    Raises:
        FileExistsError: Something has that name.
        OSError: It cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with open(descriptor, "wb") as out:
            out.write(data)
    except OSError:
        os.unlink(path)
        raise
