"""Where peers may be reached, who was heard of lately, and whose clock differs.

Changed in the trio thread only, read from any, and gone with the daemon. Everything here is a
hint: an address leads to a peer only once the handshake has proved its key, and only a session
counts as having heard of a peer. What mDNS says is shown and tried, never believed.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import trio

from medp2p import limits
from medp2p.daemon.address import format_address, parse_address
from medp2p.errors import MedP2PError, UsageError
from medp2p.identity import fingerprint_text
from medp2p.net.dial import Route, tcp_route
from medp2p.text import rfc3339
from medp2p.vault.peers import PeerRow

Place = tuple[str, int]


class Sighting(Protocol):
    """What mDNS shows of one workstation (net.discovery.Seen)."""

    @property
    def fingerprint(self) -> str:
        """Of its key, 26 lower-case base32 characters."""

    @property
    def name(self) -> str:
        """As it calls itself."""

    @property
    def addresses(self) -> tuple[Place, ...]:
        """Host and port, best first."""

    @property
    def number(self) -> int | None:
        """Of its open pairing."""


@dataclass(slots=True)
class _Contact:
    """What is known of one paired peer since this daemon started."""

    online: bool = False
    since_ms: int | None = None
    heard: float | None = None
    good: Place | None = None
    heard_from: str | None = None
    away: str | None = None
    sessions: int = 0
    skew_ms: int | None = None


class Book:
    """Addresses and presence of all peers.

    Attributes:
        own_ports: Ports that we listen on; a route that leads there is ourselves.
    """

    def __init__(
        self, now_ms: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make an empty book.

        Args:
            now_ms: Wall clock, for showing.
            clock: Monotonic, seconds, for every decision.
        """
        self.own_ports: set[int] = set()
        self._now_ms = now_ms
        self._clock = clock
        self._seen: dict[str, Sighting] = {}
        self._contacts: dict[bytes, _Contact] = {}
        self._changed = trio.Event()

    # --- mDNS -----------------------------------------------------------------------------

    def seen(self, sighting: Sighting) -> bool:
        """Take a sighting over; return whether there is somewhere new to dial."""
        before = self._seen.get(sighting.fingerprint)
        self._seen[sighting.fingerprint] = sighting
        self._ring()
        return before is None or set(before.addresses) != set(sighting.addresses)

    def gone(self, fingerprint: str) -> None:
        """Forget a sighting."""
        if self._seen.pop(fingerprint, None) is not None:
            self._ring()

    def visible(self, key: bytes) -> bool:
        """Tell whether mDNS shows the workstation with this key now."""
        return fingerprint_text(key) in self._seen

    def waiting_with(self, number: int) -> list[Sighting]:
        """Return who says that it waits for pairing under this number."""
        return [item for item in self._seen.values() if item.number == number]

    @property
    def change(self) -> trio.Event:
        """What is set at the next sighting or disappearance."""
        return self._changed

    async def wait_changed(self) -> None:
        """Return at the next sighting or disappearance."""
        await self._changed.wait()

    def _ring(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def nearby(self, pinned: Iterable[PeerRow]) -> list[dict[str, object]]:
        """Return whom mDNS shows, by name.

        Returns:
            ``name`` (as told), ``fingerprint, addresses, peer`` (our name for it, or null) and
            ``pairing`` (number of its open pairing, or null).
        """
        names = {fingerprint_text(row.noise_key): row.name for row in pinned}
        return [
            {
                "name": item.name,
                "fingerprint": item.fingerprint,
                "addresses": [format_address(*place) for place in item.addresses],
                "peer": names.get(item.fingerprint),
                "pairing": item.number,
            }
            for item in sorted(self._seen.values(), key=lambda it: (it.name, it.fingerprint))
        ]

    def other_identity_at(self, key: bytes, address: str) -> str | None:
        """Return the fingerprint that mDNS shows at an address that did not answer as ``key``.

        None where mDNS shows nobody there, or shows the peer itself there too.
        """
        place = _parsed(address)
        there = {item.fingerprint for item in self._seen.values() if place in item.addresses}
        if fingerprint_text(key) in there:
            return None
        return min(there, default=None)

    # --- addresses ------------------------------------------------------------------------

    def addresses_of(self, peer: PeerRow) -> list[Place]:
        """Return where to dial a peer, best first, each once.

        First where it last answered, then its fixed addresses, then what mDNS shows, then
        where it last called from, in case its address has changed.
        """
        contact = self._contacts.get(peer.noise_key, _Contact())
        fixed = [place for text in peer.addresses if (place := _parsed(text))]
        shown = self._seen.get(fingerprint_text(peer.noise_key))
        candidates = [*fixed, *(shown.addresses if shown else ())]
        if contact.good is not None:
            candidates.insert(0, contact.good)
        if contact.heard_from is not None:
            ports = {port for _, port in candidates} or {limits.DEFAULT_PORT}
            candidates += [(contact.heard_from, port) for port in sorted(ports)]
        return list(dict.fromkeys(candidates))[: limits.MAX_ROUTES]

    def routes(self, peer: PeerRow) -> list[Route]:
        """Return the ways to a peer, best first."""
        return [
            tcp_route(host, port, own_ports=frozenset(self.own_ports))
            for host, port in self.addresses_of(peer)
        ]

    # --- presence -------------------------------------------------------------------------

    def online(self, key: bytes, address: str, *, ours: bool) -> bool:
        """Note an authenticated session; return whether that is news.

        Args:
            key: Of the peer.
            address: "host:port" of its end.
            ours: We dialled, so it listens there.
        """
        contact = self._contacts.setdefault(key, _Contact())
        news = not self._is_online(contact)
        place = _parsed(address)
        if place is not None and ours:
            contact.good = place
        elif place is not None:
            contact.heard_from = place[0]
        contact.heard, contact.away = self._clock(), None
        if news:
            contact.online, contact.since_ms = True, self._now_ms()
        return news

    @contextmanager
    def session(self, key: bytes) -> Iterator[None]:
        """Show a peer as there for as long as the block runs: it holds an open session."""
        contact = self._contacts.setdefault(key, _Contact())
        if not contact.online:  # a dial of ours failed while this session began
            contact.online, contact.since_ms, contact.away = True, self._now_ms(), None
        contact.sessions += 1
        try:
            yield
        finally:
            contact.sessions -= 1

    def away(self, key: bytes, error: MedP2PError) -> bool:
        """Note that a peer could not be reached; return whether that is news.

        It may reach us all the same (a firewall that lets through one way): while it has a
        session open it is there. Why we do not reach it stands with what waits for it.
        """
        contact = self._contacts.setdefault(key, _Contact())
        contact.good = None
        if contact.sessions:
            return False
        news = contact.online or contact.since_ms is None
        contact.away = error.text
        if news:
            contact.online, contact.since_ms = False, self._now_ms()
        return news

    def route(self, peer: PeerRow) -> str | None:
        """Return how a peer is reached now: "lan", "fixed", else the address; None while away."""
        contact = self._contacts.get(peer.noise_key)
        if contact is None or not self._is_online(contact):
            return None
        shown = self._seen.get(fingerprint_text(peer.noise_key))
        ways = {
            "lan": list(shown.addresses) if shown else [],
            "fixed": [place for text in peer.addresses if (place := _parsed(text))],
        }
        for way, places in ways.items():
            hosts = [host for host, _ in places]
            if contact.good in places or (contact.good is None and contact.heard_from in hosts):
                return way
        return contact.heard_from if contact.good is None else format_address(*contact.good)

    def heard_lately(self, key: bytes) -> bool:
        """Tell whether there is or was a session, so that none is needed to see who is there."""
        contact = self._contacts.get(key)
        if contact is not None and contact.sessions:
            return True
        if contact is None or contact.heard is None or not contact.online:
            return False
        return self._clock() - contact.heard < limits.PRESENCE_CALL_SECONDS

    def presence(self, key: bytes) -> dict[str, object]:
        """Return ``online``, ``since`` (of that, or null) and ``away`` (why, or null)."""
        contact = self._contacts.get(key, _Contact())
        return {
            "online": self._is_online(contact),
            "since": None if contact.since_ms is None else rfc3339(contact.since_ms),
            "away": contact.away,
        }

    def _is_online(self, contact: _Contact) -> bool:
        lately = contact.heard is not None and (
            self._clock() - contact.heard < limits.PRESENCE_SECONDS
        )
        return contact.sessions > 0 or (contact.online and lately)

    # --- clocks ---------------------------------------------------------------------------

    def note_clock(self, key: bytes, ahead_ms: int) -> None:
        """Note by how much a peer's clock was ahead of ours when it said hello."""
        self._contacts.setdefault(key, _Contact()).skew_ms = ahead_ms

    def clocks(self) -> dict[bytes, int]:
        """Return, by key, by how many milliseconds each peer's clock is ahead of ours."""
        return {
            key: contact.skew_ms
            for key, contact in list(self._contacts.items())
            if contact.skew_ms is not None
        }

    def forget(self, key: bytes) -> None:
        """Forget a peer whose pin was removed."""
        self._contacts.pop(key, None)


def _parsed(address: str) -> Place | None:
    try:
        return parse_address(address)
    except UsageError:
        return None
