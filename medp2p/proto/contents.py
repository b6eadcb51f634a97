"""What messages of one conversation must agree on among themselves.

Types and bounds of each message are checked when it is decoded; here it is checked that one
fits the others: a Hello repeats what was asked for, pages follow each other, and every chunk
lies within the stream that the offer speaks of.

Source: docs/PROTOCOL.md, "Messages".
"""

from medp2p import limits
from medp2p.errors import RemoteProtocolError
from medp2p.proto.frames import PACKING_FEATURE, ChunkHeader
from medp2p.proto.messages import Answer, Facts, Hello, Need, Offer, Page, Progress
from medp2p.proto.tables import Said


class Contents:
    """The values said so far that later messages must fit."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._hello: Hello | None = None
        self._features: list[frozenset[str]] = []
        self._length = 0
        self._chunks = 0
        #: The lowest number that the next page may have, and the highest.
        self._page = (0, 0)
        #: Where the next range of the list of missing chunks may begin.
        self._needed = 0

    def agreed(self, feature: str) -> bool:
        """Return whether both sides have named a feature in their Hello."""
        return len(self._features) == 2 and all(feature in each for each in self._features)

    def check_untrusted(self, said: Said) -> None:
        """Take what one side says and remember what later messages must fit.

        Raises:
            RemoteProtocolError: It does not fit what was said before.
        """
        match said:
            case ChunkHeader():
                self._check_chunk(said)
            case Hello():
                self._check_hello(said)
            case Facts() if not said.facts and not said.last:
                raise RemoteProtocolError("facts without any")
            case Offer():
                self._check_offer(said)
            case Answer(state="accepted"):
                self._page = (0, said.pages)
            case Page():
                self._check_page(said)
            case Need():
                self._check_need(said)
            case Progress() if said.chunks > self._chunks:
                raise RemoteProtocolError("progress beyond the stream")
            case Progress() if said.waited is not None and not self.agreed(PACKING_FEATURE):
                raise RemoteProtocolError("waiting told without its feature")
            case _:
                pass

    def _check_hello(self, hello: Hello) -> None:
        if hello.kind != self._kind:
            raise RemoteProtocolError(f"hello for {hello.kind!r}")
        if (hello.transfer is None) == (self._kind == "transfer"):
            raise RemoteProtocolError("hello with a transfer where none belongs, or without")
        asked = self._hello or hello
        if (hello.transfer, hello.index) != (asked.transfer, asked.index):
            raise RemoteProtocolError("hello that does not repeat what was asked for")
        self._hello = hello
        self._features.append(frozenset(hello.features))

    def _check_offer(self, offer: Offer) -> None:
        if self._hello is None or offer.transfer != self._hello.transfer:
            raise RemoteProtocolError("offer of another transfer")
        if len(offer.note.encode()) > limits.MAX_NOTE_BYTES:
            raise RemoteProtocolError("note too long")
        if offer.files > offer.entries or not offer.file_bytes < offer.length:
            raise RemoteProtocolError("offer whose numbers do not fit")
        self._length = offer.length
        self._chunks = -(-offer.length // limits.CHUNK_BYTES)

    def _check_page(self, page: Page) -> None:
        lowest, highest = self._page
        if not lowest <= page.number <= highest or not page.entries:
            raise RemoteProtocolError("manifest page out of order, or empty")
        self._page = (page.number + 1, page.number + 1)

    def _check_need(self, need: Need) -> None:
        if not need.ranges and not need.last:
            raise RemoteProtocolError("need without any range")
        for first, end in need.ranges:
            if not self._needed <= first < end <= self._chunks:
                raise RemoteProtocolError("need out of order or beyond the stream")
            self._needed = end
        if need.last:
            self._needed = 0

    def _check_chunk(self, header: ChunkHeader) -> None:
        start = header.index * limits.CHUNK_BYTES
        if header.index >= self._chunks:
            raise RemoteProtocolError("chunk beyond the stream")
        if header.length != min(limits.CHUNK_BYTES, self._length - start):
            raise RemoteProtocolError("chunk of another length")
        if header.packing and not self.agreed(PACKING_FEATURE):
            raise RemoteProtocolError("compressed chunk without its feature")
