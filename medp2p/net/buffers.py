"""A bounded pool of equal buffers, reused: fresh megabytes cost page faults each time."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

from medp2p import limits
from medp2p.errors import LocalProtocolError


def free(buffer: bytearray) -> None:
    """Free the memory of a buffer, whoever still refers to it; one in use by a thread is left."""
    with suppress(BufferError):
        buffer.clear()


def let_go(error: BaseException) -> None:
    """Let an error hold nothing of what it came through: views in its frames keep buffers.

    Nor what it was raised for: a cause that is not shown has frames, too.
    """
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each = each.__context__


@contextmanager
def scratch(*sizes: int) -> Iterator[list[bytearray]]:
    """Make buffers of so many bytes each; their memory is free at the end of the block."""
    made = [bytearray(size) for size in sizes]
    try:
        yield made
    finally:
        for buffer in made:
            free(buffer)


class Budget:
    """Buffers that several pools have out together: each may have many, not all of them at once.

    Attributes:
        left: How many more; below zero while pools hold what they are sure of.
        free: Buffers to use again; none is kept while all pools rest.
    """

    def __init__(self, count: int) -> None:
        """Make a budget of so many buffers."""
        self.left = self._count = count
        self.free: list[bytearray] = []
        self.waiting = trio.lowlevel.ParkingLot()

    def give_back(self, count: int) -> None:
        """Take back what a pool had out, or will never hand back."""
        self.left += count
        self.waiting.unpark_all()

    def rest(self) -> None:
        """Let go of the memory if nothing is out."""
        if self.left == self._count:
            self.free.clear()


class BufferPool:
    """Lend buffers of one size to tasks; who finds none waits.

    A buffer is made when it is needed first, and kept for all pools of its budget.
    """

    def __init__(self, count: int, size_bytes: int, budget: Budget | None = None) -> None:
        """Make an empty pool.

        Args:
            count: Most buffers that are out at a time.
            size_bytes: Size of each; the same for all pools of a budget.
            budget: Shared with other pools. Whatever these have out, this one gets WORK_CHUNKS.
        """
        self.size_bytes = size_bytes
        self.budget = Budget(count) if budget is None else budget
        self._count = count
        self._lent: dict[int, bytearray] = {}
        self._closed = False

    @property
    def lent(self) -> int:
        """Buffers now out."""
        return len(self._lent)

    @property
    def room(self) -> int:
        """How many more would be lent now."""
        sure = min(limits.WORK_CHUNKS, self._count) - len(self._lent)
        return min(self._count - len(self._lent), max(self.budget.left, sure, 0))

    async def acquire(self) -> bytearray:
        """Return a buffer; its content is whatever was there before.

        Raises:
            trio.ClosedResourceError: The pool was closed, perhaps while waiting.

        Cancellation: nothing is lent.
        """
        await trio.lowlevel.checkpoint()
        while not self._closed:
            if self.room > 0:
                return self._lend()
            await self.budget.waiting.park()
        raise trio.ClosedResourceError

    def acquire_nowait(self) -> bytearray | None:
        """Return a buffer if one is free and nobody waits for one; else None."""
        if self._closed or self.room <= 0 or self.budget.waiting:
            return None
        return self._lend()

    def release(self, buffer: bytearray) -> None:
        """Take a buffer back; call it in the trio thread, once no thread uses the buffer.

        Raises:
            LocalProtocolError: The buffer is not out.
        """
        if id(buffer) not in self._lent:
            raise LocalProtocolError("buffer released twice")
        del self._lent[id(buffer)]
        if not self._closed:
            self.budget.free.append(buffer)
            self.budget.give_back(1)

    def close(self) -> None:
        """Let all who wait go with an error, and the memory; lent buffers may still come back."""
        if not self._closed:
            self._closed = True
            self.budget.give_back(len(self._lent))
            self.budget.rest()

    def drop(self) -> None:
        """Close, and free the memory of what is still out, for nobody will use it any more.

        Tasks that ended by an error are kept for a while by the errors of each other, and with
        them whatever they held, until the garbage collector happens to look at old objects.
        """
        self.close()
        for buffer in self._lent.values():
            free(buffer)

    def _lend(self) -> bytearray:
        self.budget.left -= 1
        spare = self.budget.free
        buffer = spare.pop() if spare else bytearray(self.size_bytes)
        self._lent[id(buffer)] = buffer
        return buffer
