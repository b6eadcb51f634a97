"""A bounded set of open file descriptors, shared by the threads of one reader.

A descriptor that a thread works with is never closed under it: it is leased, and a lease that
outlives its place in the set closes the descriptor when it is given back.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable

#: A folder or file: number of its root, path from the root's last name on.
Key = tuple[int, bytes]


class Lease:
    """One open descriptor and how many threads are at it."""

    __slots__ = ("descriptor", "kept", "users")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 1
        self.kept = True


class Descriptors:
    """Least recently used descriptors by key; thread-safe.

    Args:
        limit: How many stay open. Threads at work may go above it by one each.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._leases: OrderedDict[Key, Lease] = OrderedDict()
        self._closed = False

    def __len__(self) -> int:
        return len(self._leases)

    def take(self, key: Key, open_it: Callable[[], int]) -> Lease:
        """Lease the descriptor of key, opened by ``open_it`` when it is not at hand.

        Raises:
            OSError: From ``open_it``.
        """
        lease = self.take_open(key)
        # Outside the lock, so that a slow disk holds up one thread only; two threads may open
        # the same file, which costs nothing but the second descriptor.
        return lease if lease is not None else self.add(key, open_it())

    def take_open(self, key: Key) -> Lease | None:
        """Lease the descriptor of key if it is open, else return None."""
        with self._lock:
            lease = self._leases.get(key)
            if lease is not None:
                lease.users += 1
                self._leases.move_to_end(key)
            return lease

    def add(self, key: Key, descriptor: int) -> Lease:
        """Hand over an open descriptor and lease it."""
        lease = Lease(descriptor)
        with self._lock:
            if self._closed or key in self._leases:
                lease.kept = False
            else:
                self._leases[key] = lease
                self._shrink()
        return lease

    def release(self, lease: Lease) -> None:
        """Give a lease back."""
        with self._lock:
            lease.users -= 1
            if not lease.users and not lease.kept:
                os.close(lease.descriptor)
            else:
                self._shrink()

    def drop(self, key: Key) -> None:
        """Forget a descriptor; it is closed as soon as nobody is at it."""
        with self._lock:
            lease = self._leases.pop(key, None)
            if lease is not None:
                self._put_out(lease)

    def clear(self) -> None:
        """Forget all descriptors."""
        with self._lock:
            while self._leases:
                self._put_out(self._leases.popitem()[1])

    def close(self) -> None:
        """Forget all descriptors and keep none from now on."""
        self._closed = True
        self.clear()

    def _put_out(self, lease: Lease) -> None:
        lease.kept = False
        if not lease.users:
            os.close(lease.descriptor)

    def _shrink(self) -> None:
        if len(self._leases) <= self._limit:
            return
        for key in [key for key, lease in self._leases.items() if not lease.users]:
            self._put_out(self._leases.pop(key))
            if len(self._leases) <= self._limit:
                return
