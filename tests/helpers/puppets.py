"""A paired peer that does what a test says: the real protocol, spoken by hand."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from medp2p import digest, layout, manifest
from medp2p.errors import LinkLostError
from medp2p.identity import encode_peer_id
from medp2p.layout import Bytes, Layout
from medp2p.limits import CHUNK_BYTES
from medp2p.manifest import Entry, Kind
from medp2p.model import transfer_id_from_bytes
from medp2p.net.dial import Identity, dial, tcp_route
from medp2p.net.link import Link, ReceivedChunk, open_link
from medp2p.net.listen import ListenStats, open_listeners, serve
from medp2p.proto.facts import Statement, sign
from medp2p.proto.frames import ChunkHeader, Packing
from medp2p.proto.messages import (
    Abort,
    Answer,
    Bye,
    Commit,
    Fact,
    Facts,
    FactsAck,
    Hello,
    Message,
    Need,
    Offer,
    Page,
    Progress,
    Wait,
)
from tests.helpers.stations import ANNA, Workstation

#: Says that a peer ended the transfer for good, or the connection.
Ended = Abort | Bye


@dataclass(frozen=True)
class Parcel:
    """What a puppet sends: one file, and all that follows from it.

    Attributes:
        entries: The manifest.
        data: Bytes of its only file.
    """

    entries: list[Entry]
    data: bytes
    salt: bytes = field(default_factory=lambda: os.urandom(32))

    @classmethod
    def of(cls, size: int, name: bytes = b"x.dcm") -> "Parcel":
        """Return a parcel with one file of so many random bytes."""
        return cls([Entry(name, Kind.FILE, size, 10**18)], os.urandom(size))

    @property
    def stream(self) -> bytes:
        """The whole tar stream."""
        geometry = Layout(self.entries)
        return b"".join(
            part.data
            if isinstance(part, Bytes)
            else self.data[part.offset : part.offset + part.length]
            for part in geometry.segments(0, geometry.size)
        )

    @property
    def chunks(self) -> list[bytes]:
        """The stream in chunks."""
        stream = self.stream
        return [stream[at : at + CHUNK_BYTES] for at in range(0, len(stream), CHUNK_BYTES)]

    def digest(self, index: int, chunk: bytes) -> bytes:
        """Return the digest of a chunk."""
        return digest.chunk_digest(digest.stream_key(self.salt), index, chunk)

    def root(self, offer: Offer) -> bytes:
        """Return the root over all chunks."""
        key = digest.stream_key(self.salt)
        digests = [self.digest(index, chunk) for index, chunk in enumerate(self.chunks)]
        return digest.root_digest(key, offer.offer, offer.length, digests)


class Puppet:
    """Keys of a peer, and what can be said with them."""

    def __init__(self, *features: str) -> None:
        self.features = list(features)
        private = X25519PrivateKey.generate()
        self.identity = Identity(
            private.private_bytes_raw(), private.public_key().public_bytes_raw()
        )
        self.signing = Ed25519PrivateKey.generate().private_bytes_raw()
        self.run = os.urandom(16)
        self.port = 0

    @property
    def key(self) -> bytes:
        """X25519 key."""
        return self.identity.noise_public

    def hello(self, kind: str, transfer: bytes | None = None) -> Hello:
        """Return what it tells."""
        signing = Ed25519PrivateKey.from_private_bytes(self.signing)
        return Hello(
            software="puppet",
            features=self.features,
            run=self.run,
            sign_key=signing.public_key().public_bytes_raw(),
            clock_ms=1,
            kind=kind,  # type: ignore[arg-type]
            transfer=transfer,
            name="puppet",
        )

    async def meet(self, it: Workstation, name: str = "puppet", *, accept: str = "auto") -> None:
        """Have a workstation pin this puppet, and call it at its port if it listens."""
        addresses = [f"127.0.0.1:{self.port}"] if self.port else []
        await it.desk.add_peer(ANNA, name, encode_peer_id(self.key), addresses)
        await it.set(name, accept=accept, confirm="none")

    # --- calling --------------------------------------------------------------------------

    @asynccontextmanager
    async def call(
        self,
        it: Workstation,
        kind: str = "transfer",
        transfer: bytes | None = None,
        *,
        index: int = 0,
    ) -> AsyncIterator["Talk"]:
        """Hold a conversation that the puppet has opened, facts not yet exchanged."""
        link = await dial(
            [tcp_route("127.0.0.1", it.port)],
            identity=self.identity,
            peer_key=it.key,
            hello=msgspec.structs.replace(self.hello(kind, transfer), index=index),
        )
        async with open_link(link):
            yield Talk(link)

    @asynccontextmanager
    async def offering(
        self, it: Workstation, offer: Offer, facts: Sequence[Fact] = (), *, index: int = 0
    ) -> AsyncIterator["Talk"]:
        """Hold a transfer conversation up to the offer, which is sent."""
        async with self.call(it, "transfer", offer.transfer, index=index) as talk:
            await talk.exchange(facts)
            await talk.link.send(offer)
            yield talk

    @asynccontextmanager
    async def asked(self, it: Workstation, offer: Offer, parcel: Parcel) -> AsyncIterator["Talk"]:
        """Hold one up to the ranges that are missing there: chunks may follow."""
        async with self.offering(it, offer) as talk:
            await talk.pages(parcel.entries)
            await talk.needed()
            yield talk

    # --- being called ---------------------------------------------------------------------

    async def listen(self, nursery: trio.Nursery) -> None:
        """Take the port that ``serve`` will use."""
        self._listeners = await open_listeners("127.0.0.1", 0)
        self.port = self._listeners[0].socket.getsockname()[1]
        self.script: Callable[[Talk], Awaitable[None]] = rest
        self.resting: Callable[[Talk], Awaitable[None]] = rest
        self.calls = 0
        self.stats = ListenStats()
        nursery.start_soon(self._serve)

    async def _serve(self) -> None:
        await serve(
            self._listeners,
            identity=self.identity,
            is_pinned=lambda key: True,
            make_hello=lambda key, hello: msgspec.structs.replace(
                self.hello(hello.kind, hello.transfer), index=hello.index
            ),
            on_session=self._answer,
            stats=self.stats,
        )

    async def _answer(self, link: Link) -> None:
        transfer = link.hello.kind == "transfer"
        self.calls += transfer
        await (self.script if transfer else self.resting)(Talk(link))

    # --- saying ---------------------------------------------------------------------------

    def offer(self, it: Workstation, parcel: Parcel, **changes: Any) -> Offer:
        """Return a well bound offer of a parcel to a workstation; changes are bound too."""
        hasher = digest.ManifestHasher()
        for page in manifest.pages(parcel.entries):
            hasher.update(page)
        fields: dict[str, Any] = {
            "transfer": os.urandom(16),
            "layout": layout.LAYOUT_VERSION,
            "salt": parcel.salt,
            "length": Layout(parcel.entries).size,
            "manifest": hasher.digest(),
            "entries": len(parcel.entries),
            "files": len(parcel.entries),
            "file_bytes": sum(entry.size for entry in parcel.entries),
            "priority": "routine",
            "created_ms": 1,
            "label": b"",
            "note": "",
        } | changes
        bound = digest.offer_digest(protocol=1, sender=self.key, receiver=it.key, **fields)
        return Offer(offer=bound, **fields)

    def state(self, it: Workstation, about: Offer, kind: str, number: int, **more: Any) -> Fact:
        """Sign a fact about a transfer to a workstation; ``more`` are fields of the statement."""
        fields: dict[str, Any] = {
            "transfer": about.transfer,
            "offer": about.offer,
            "fact": kind,
            "number": number,
            "time_ms": 1,
            "sender": self.key,
            "receiver": it.key,
        }
        return sign(Statement(**(fields | more)), self.signing)


@dataclass(frozen=True)
class Talk:
    """One conversation from the puppet's side."""

    link: Link

    async def exchange(self, facts: Sequence[Fact] = ()) -> list[Fact]:
        """Send facts, take and acknowledge theirs."""
        await self.link.send(Facts(list(facts), last=True))
        theirs: list[Fact] = []
        acknowledged = arrived = False
        while not (acknowledged and arrived):
            item = await self.link.receive()
            if isinstance(item, Facts):
                theirs += item.facts
                if item.last:
                    await self.link.send(FactsAck(number_of(theirs)))
                    arrived = True
            else:
                assert isinstance(item, FactsAck), item
                acknowledged = True
        return theirs

    async def next(self) -> Message | ReceivedChunk:
        """Return what comes next, but for facts, progress and waiting."""
        while True:
            item = await self.link.receive()
            if isinstance(item, Facts) and item.last:
                await self.link.send(FactsAck(number_of(item.facts)))
            elif not isinstance(item, (Facts, FactsAck, Progress, Wait)):
                return item

    async def pages(self, entries: list[Entry]) -> None:
        """Wait for the answer and send the manifest."""
        assert await self.next() == Answer("accepted")
        every = list(manifest.pages(entries))
        for number, page in enumerate(every):
            await self.link.send(Page(number, page, last=number + 1 == len(every)))

    async def needed(self) -> list[tuple[int, int]]:
        """Return what the receiver lacks."""
        item = await self.next()
        assert isinstance(item, Need), item
        return item.ranges

    async def chunk(self, index: int, chunk: bytes, said: bytes) -> None:
        """Send a chunk under any digest."""
        slot = await self.link.reserve_chunk(len(chunk))
        header = ChunkHeader(index, len(chunk), said)
        slot.seal(header, memoryview(chunk))
        slot.push()

    async def packed(
        self, index: int, length: int, said: bytes, body: bytes, packing: Packing = Packing.ZSTD
    ) -> None:
        """Send a chunk with any body that calls itself compressed."""
        slot = await self.link.reserve_chunk(length)
        slot.seal(ChunkHeader(index, length, said, packing, len(body)), memoryview(body))
        slot.push()

    async def chunks(self, parcel: Parcel, indexes: Sequence[int]) -> None:
        """Send chunks as they are."""
        every = parcel.chunks
        for index in indexes:
            await self.chunk(index, every[index], parcel.digest(index, every[index]))

    async def tell(self, *facts: Fact) -> None:
        """State facts amid a conversation and wait for its end."""
        await self.link.send(Facts(list(facts), last=True))
        await self.end()

    async def end(self) -> Ended | None:
        """Wait for the other side to end; None: it did so without a word."""
        try:
            while not isinstance(item := await self.next(), (Abort, Bye)):
                if isinstance(item, ReceivedChunk):
                    item.release()
        except LinkLostError:
            return None
        return item

    async def commit(self, root: bytes) -> None:
        """Say that all is sent."""
        await self.link.send(Commit(root))


async def rest(talk: Talk) -> None:
    """Exchange facts and wait for the end."""
    if talk.link.hello.kind != "ping":
        await talk.exchange()
    while not isinstance(await talk.next(), Bye):
        pass


def number_of(facts: Sequence[Fact]) -> int:
    """Return the number of the last of some facts."""
    return int(msgspec.msgpack.decode(facts[-1].statement)[3]) if facts else 0


def id_of(offer: Offer) -> str:
    """Return the id of an offered transfer as text."""
    return transfer_id_from_bytes(offer.transfer)
