"""A bounded pool of equal buffers, reused: fresh megabytes cost page faults each time."""

import trio

from medp2p.errors import LocalProtocolError


class BufferPool:
    """Lend buffers of one size to tasks; who finds none waits.

    A buffer is made when it is needed first and kept until the pool itself goes.
    """

    def __init__(self, count: int, size_bytes: int) -> None:
        """Make an empty pool.

        Args:
            count: Most buffers that exist at a time.
            size_bytes: Size of each.
        """
        self.size_bytes = size_bytes
        self._left = count
        self._free: list[bytearray] = []
        self._waiting = trio.lowlevel.ParkingLot()
        self._lent: set[int] = set()
        self._closed = False

    @property
    def lent(self) -> int:
        """Buffers now out."""
        return len(self._lent)

    async def acquire(self) -> bytearray:
        """Return a buffer; its content is whatever was there before.

        Raises:
            trio.ClosedResourceError: The pool was closed, perhaps while waiting.

        Cancellation: nothing is lent.
        """
        await trio.lowlevel.checkpoint()
        while not self._closed:
            if self._left:
                return self._lend()
            await self._waiting.park()
        raise trio.ClosedResourceError

    def acquire_nowait(self) -> bytearray | None:
        """Return a buffer if one is free and nobody waits for it; else None."""
        if self._closed or not self._left or self._waiting:
            return None
        return self._lend()

    def release(self, buffer: bytearray) -> None:
        """Take a buffer back; call it in the trio thread, once no thread uses the buffer.

        Raises:
            LocalProtocolError: The buffer is not out.
        """
        if id(buffer) not in self._lent:
            raise LocalProtocolError("buffer released twice")
        self._lent.remove(id(buffer))
        if self._closed:
            return
        self._free.append(buffer)
        self._left += 1
        self._waiting.unpark()

    def close(self) -> None:
        """Let all who wait go with an error, and the memory; lent buffers may still come back."""
        self._closed = True
        self._free.clear()  # whoever holds the pool meanwhile, a cycle say, does not hold these
        self._waiting.unpark_all()

    def _lend(self) -> bytearray:
        self._left -= 1
        buffer = self._free.pop() if self._free else bytearray(self.size_bytes)
        self._lent.add(id(buffer))
        return buffer
