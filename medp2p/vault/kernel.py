"""Calls of the operating system that Python has no name for.

Each has a fallback, so that nothing here is needed for correctness on another system; what
the fallback gives up stands at the function.
"""

import ctypes
import errno
import os
import sys
from contextlib import suppress
from functools import cache

_RENAME_NOREPLACE = 1  # linux/fs.h
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
#: What a kernel or a file system answers that does not know the call.
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def rename_noreplace(old_dir: int | None, old: bytes, new_dir: int | None, new: bytes) -> bool:
    """Rename in one step that fails if the new name exists.

    Args:
        old_dir: Descriptor of the folder that `old` is relative to; None: working folder.
        old: Name now.
        new_dir: As old_dir, for `new`.
        new: Name then.

    Returns:
        False if this system or file system cannot do it; nothing has happened then.

    Raises:
        OSError: FileExistsError and whatever else rename may answer.

    Source: renameat2(2), Linux 3.15, glibc 2.28.
    """
    function = _libc_function("renameat2")
    if function is None:
        return False
    here = -100  # AT_FDCWD, linux/fcntl.h
    result = function(
        ctypes.c_int(here if old_dir is None else old_dir),
        ctypes.c_char_p(old),
        ctypes.c_int(here if new_dir is None else new_dir),
        ctypes.c_char_p(new),
        ctypes.c_uint(_RENAME_NOREPLACE),
    )
    if result == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), os.fsdecode(new))


def sync_filesystem(descriptor: int) -> bool:
    """Make everything on the file system of an open file durable.

    One call for a folder of 20,000 files, where fsync of each would take a minute.

    Returns:
        False where the system has no such call; nothing has happened then.

    Raises:
        OSError: Some of the data could not be written (Linux 5.8 and later tell).

    Source: syncfs(2).
    """
    function = _libc_function("syncfs")
    if function is None:
        return False
    if function(ctypes.c_int(descriptor)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Let the kernel begin to write a range of a file to the disk; do not wait for it.

    A sync at the end then finds little left to do. Only a hint: nothing is durable by it, and
    where the system has no such call or the file system refuses it nothing happens.

    Source: sync_file_range(2).
    """
    function = _libc_function("sync_file_range")
    if function is not None:
        function(
            ctypes.c_int(descriptor),
            ctypes.c_int64(offset),
            ctypes.c_int64(length),
            ctypes.c_uint(_SYNC_FILE_RANGE_WRITE),
        )


def drop_cached(descriptor: int, offset: int, length: int) -> None:
    """Tell the system that it need not keep a range of a file in its cache any longer.

    Only a hint, about pages that are on the disk already.

    Source: posix_fadvise(2).
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def _libc_function(name: str) -> "ctypes._NamedFuncPointer | None":
    return _loaded(name) if sys.platform.startswith("linux") else None


@cache
def _loaded(name: str) -> "ctypes._NamedFuncPointer | None":
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)  # type: ignore[no-any-return]
    except (OSError, AttributeError):
        return None
