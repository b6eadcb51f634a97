"""This workstation while its daemon runs: what every part of the daemon shares.

Made once by tree.run and passed on. Only the buffers of all links are a global (net.buffers).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
import trio

from medp2p import __version__
from medp2p.daemon.book import Book
from medp2p.daemon.config import Config
from medp2p.daemon.events import Events
from medp2p.daemon.home import Home
from medp2p.daemon.inspecting import Inspectors
from medp2p.daemon.ledger import Ledger
from medp2p.daemon.live import Bell, Board
from medp2p.dicom.picture import PictureMaker
from medp2p.model import State, transfer_id_to_bytes
from medp2p.net.discovery import Discovery
from medp2p.net.listen import ListenStats
from medp2p.proto.frames import PACKING_FEATURE
from medp2p.proto.messages import Hello
from medp2p.vault import peers, transfers
from medp2p.vault.durable import Files
from medp2p.vault.keyfiles import Keys
from medp2p.vault.peers import PeerRow
from medp2p.vault.sealing import SpoolBox, VaultBox
from medp2p.vault.store import Store, Tx
from medp2p.vault.transfers import TransferRow

P = ParamSpec("P")
T = TypeVar("T")

#: Features of this software that go beyond protocol 1 (docs/PROTOCOL.md, "Versions and features").
FEATURES: list[str] = ["recall", "expiring", "previewed"]


@dataclass(kw_only=True)
class Station:
    """Keys, store, boxes and boards of one running daemon.

    Attributes:
        run: 16 random bytes of this start; tells a restart from a cloned identity.
        now_ms: Wall clock, milliseconds since 1970 UTC.
        describe: How a transfer looks in an event; likewise ``describe_peer``.
        port: TCP port of the listener, 0 before it listens.
        pins: Keys of all paired peers, as the listener asks for them.
        versions: Highest protocol version spoken with each; never undercut.
    """

    home: Home
    keys: Keys
    config: Config
    store: Store
    files: Files
    spool: SpoolBox
    vault: VaultBox
    ledger: Ledger
    events: Events
    book: Book
    run: bytes
    now_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    describe: Callable[["Station", TransferRow], dict[str, Any]]
    describe_peer: Callable[["Station", PeerRow], dict[str, Any]]
    board: Board = field(default_factory=Board)
    port: int = 0
    addresses: list[str] = field(default_factory=list)
    listening: bool = False
    started_ms: int = 0
    stopping: bool = False
    #: Reading whole transfers (release, verify) and walking sources, apart from the data paths:
    #: a hung file system stops its own kind of work only.
    whole_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(3))
    #: A look at released folders: whoever hangs there keeps its place.
    look_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))
    walk_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(8))
    inspectors: Inspectors = field(default_factory=Inspectors)
    #: Looking at sealed files after the seal, apart from people who wait for a release.
    check_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(2))
    #: Previews: one at a time, each in a child of its own.
    picture_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    picture_maker: Callable[[], PictureMaker] = PictureMaker
    release_bell: Bell = field(default_factory=Bell)
    withdraw_bell: Bell = field(default_factory=Bell)
    #: Rings when there may be new audit records or alarms.
    news_bell: Bell = field(default_factory=Bell)
    own_bugs: int = 0
    listen_stats: ListenStats = field(default_factory=ListenStats)
    pins: set[bytes] = field(default_factory=set)
    versions: dict[bytes, int] = field(default_factory=dict)
    auto_release: set[bytes] = field(default_factory=set)
    #: Released folders that the last look missed and that are not noted as gone yet: number ->
    #: when it was released.
    gone_folders: dict[int, int] = field(default_factory=dict)
    pins_changed: Bell = field(default_factory=Bell)
    #: Set by the outbox: there are new facts for the peer with this key.
    call_peer: Callable[[bytes], None] = lambda key: None
    discovery: Discovery | None = None
    erase_bell: Bell = field(default_factory=Bell)
    #: One thread in the database at a time: SQLite has one writer anyway.
    write_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    read_limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(4))

    async def write(
        self, act: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``act(tx, ...)`` in one durable transaction, in a worker thread.

        Cancellation: Waits for the commit; a commit that began is never abandoned.
        """

        def run() -> T:
            with self.store.write() as tx:
                return act(tx, *args, **kwargs)

        done = await trio.to_thread.run_sync(run, limiter=self.write_limiter)
        self.news_bell.ring()
        return done

    async def read(
        self, act: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run ``act(tx, ...)`` on one consistent view of the database, in a worker thread."""

        def run() -> T:
            with self.store.read() as tx:
                return act(tx, *args, **kwargs)

        return await trio.to_thread.run_sync(run, limiter=self.read_limiter)

    def hello(self, key: bytes, kind: str, transfer: str | None = None) -> Hello:
        """Return our first message to a peer for a conversation; it tells our rule for it."""
        return Hello(
            software=f"medp2p {__version__}",
            features=[*FEATURES, PACKING_FEATURE] if self.config.compression else FEATURES,
            run=self.run,
            sign_key=self.keys.sign_public,
            clock_ms=self.now_ms(),
            kind=kind,  # type: ignore[arg-type]  # a Literal; kinds come from one table
            transfer=None if transfer is None else transfer_id_to_bytes(transfer),
            name=self.config.name,
            department=self.config.department,
            place=self.config.place,
            release_policy="automatic" if key in self.auto_release else "manual",
        )

    def count_bug(self) -> None:
        """Note that something happened which nobody expected; doctor shows it."""
        self.own_bugs += 1

    @property
    def bugs(self) -> int:
        """How often something happened that nobody expected, since the start."""
        return self.own_bugs + self.listen_stats.bugs

    @property
    def mdns(self) -> dict[str, object]:
        """Return ``on`` (null before the first try) and ``text`` of discovery."""
        if self.discovery is None:
            return {"on": False, "text": "switched off by configuration"}
        return {"on": self.discovery.working, "text": self.discovery.status}

    def is_stopping(self) -> bool:
        """Tell long work in threads that the daemon is about to end."""
        return self.stopping

    def answer(self, key: bytes, theirs: Hello) -> Hello:
        """Return our answer to a peer's hello: the same conversation."""
        return msgspec.structs.replace(
            self.hello(key, theirs.kind), transfer=theirs.transfer, index=theirs.index
        )

    async def touch(self, transfer: str) -> None:
        """Tell conversations, janitor and event stream that a transfer has changed."""
        row = await self.read(transfers.maybe, transfer)
        if row is not None:
            self.announce(row)

    def announce(self, row: TransferRow) -> None:
        """Do what ``touch`` does, with the row as it was just committed. Never waits."""
        if row.erasing:
            self.erase_bell.ring()
        if row.state is State.SEALED:
            self.release_bell.ring()
        if row.state is State.RELEASED:
            self.withdraw_bell.ring()
        self.news_bell.ring()
        self.board.ring(row.id)
        self.events.publish({"event": "transfer", "transfer": self.describe(self, row)})

    async def tick(self, moved: Iterable[str]) -> None:
        """Tell the event stream how far moving transfers are."""
        for transfer in moved:
            row = await self.read(transfers.maybe, transfer)
            if row is not None:
                self.events.publish({"event": "transfer", "transfer": self.describe(self, row)})

    async def touch_peer(self, key: bytes) -> None:
        """Tell the event stream that a peer came, went or was changed."""
        row = await self.read(peers.by_key, key)
        if row is not None:
            self.events.publish({"event": "peer", "peer": self.describe_peer(self, row)})

    async def refresh_pins(self) -> None:
        """Take over which peers are paired, after a change of it."""
        rows = await self.read(peers.all)
        self.pins = {row.noise_key for row in rows}
        self.auto_release = {
            row.noise_key for row in rows if row.settings.get("release", "manual") != "manual"
        }
        self.versions = {row.noise_key: row.highest_version for row in rows}
        self.pins_changed.ring()
