"""What a link has read and nobody has taken yet, in order: messages and chunks.

A trio channel switches tasks twice for each thing that passes; at a thousand chunks a second
that costs more than the chunks. Here a reader goes on while there is room, and a taker gets
all chunks that are there at once.
"""

from collections import deque

import trio

from medp2p import limits
from medp2p.net.receiving import ReceivedChunk
from medp2p.proto.messages import Message


class Inbox:
    """Bounded: one message waits at a time, and chunks as the link has buffers for."""

    def __init__(self) -> None:
        self._items: deque[Message | ReceivedChunk] = deque()
        self._closed = False
        self._takers = trio.lowlevel.ParkingLot()
        self._putters = trio.lowlevel.ParkingLot()

    def put_chunk(self, chunk: ReceivedChunk) -> None:
        """Add a chunk; never waits, since each holds a buffer of the link."""
        self._items.append(chunk)
        self._takers.unpark()

    async def put_message(self, message: Message) -> None:
        """Add a message and wait until it, and all before it, was taken.

        Cancellation: it stays.
        """
        self._items.append(message)
        self._takers.unpark()
        while self._items and not self._closed:
            await self._putters.park()

    async def take(self) -> Message | ReceivedChunk:
        """Return the first thing.

        Raises:
            trio.EndOfChannel: Nothing is left, and nothing will come.

        Cancellation: nothing is consumed.
        """
        if self._items or self._closed:
            await trio.lowlevel.checkpoint()
        while not self._items:
            if self._closed:
                raise trio.EndOfChannel
            await self._takers.park()
        return self._pop()

    def take_chunks(self) -> list[ReceivedChunk]:
        """Return the chunks that are first now, without waiting; TAKE_CHUNKS - 1 at most."""
        chunks: list[ReceivedChunk] = []
        while self._items and len(chunks) < limits.TAKE_CHUNKS - 1:
            first = self._items[0]
            if not isinstance(first, ReceivedChunk):
                break
            self._pop()
            chunks.append(first)
        return chunks

    def close(self) -> None:
        """Nothing more will come; what is there can still be taken."""
        self._closed = True
        self._takers.unpark_all()
        self._putters.unpark_all()

    def drop(self) -> None:
        """Forget what nobody will take any more, and its memory."""
        self._items.clear()

    def _pop(self) -> Message | ReceivedChunk:
        item = self._items.popleft()
        if not self._items:
            self._putters.unpark_all()
        return item
