"""Erasing a sealed file so that its key opens nothing any more.

The file key lies in the header only, so a header overwritten in place makes the rest noise,
however large it is. What copies, snapshots and the spare blocks of an SSD keep is another
matter: docs/VAULT.md, "Erasing".
"""

import os

from medp2p import limits
from medp2p.errors import StoreError
from medp2p.vault.age_header import NONCE_BYTES
from medp2p.vault.durable import AnyPath, Files, disk_errors


def erase_sealed(files: Files, path: AnyPath) -> None:
    """Overwrite header and nonce, make that durable, remove the file and make that durable.

    May be called again after any interruption, and for a file that is gone already. A link in
    the place of the file is removed, never followed.

    Raises:
        StoreError: The disk failed; call it again later.
    """
    folder = os.path.dirname(os.fsdecode(path)) or "."
    with disk_errors(StoreError, "sealed file cannot be erased"):
        try:
            if not os.path.islink(path):
                _overwrite_start(files, path)
            files.unlink(path, step="erase-unlink")
        except FileNotFoundError:
            pass  # an earlier try came this far, but perhaps not to the next line
        files.fsync_folder(folder)


def _overwrite_start(files: Files, path: AnyPath) -> None:
    descriptor = files.open_existing(path, writing=True)
    try:
        longest = limits.MAX_AGE_HEADER_BYTES + NONCE_BYTES
        size = min(os.fstat(descriptor).st_size, longest)
        files.pwrite_all(descriptor, bytes(size), 0, step="erase-overwrite")
        files.fdatasync(descriptor)
    finally:
        os.close(descriptor)
