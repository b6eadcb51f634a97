"""Pins made and changed by hand: add, set, verify, remove. Each audited in its transaction."""

from medp2p.daemon import policy
from medp2p.daemon.address import format_address, parse_address
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError
from medp2p.identity import check_peer_name, decode_peer_id
from medp2p.model import Actor
from medp2p.vault import peers, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx


class Peering:
    """What a person decides about peers."""

    def __init__(self, station: Station) -> None:
        self._station = station

    async def add(self, actor: Actor, name: str, peer_id: str, addresses: list[str]) -> PeerRow:
        """Pin a key under a name.

        Raises:
            UsageError: Name, peer ID or address cannot be used.
            ConflictError: Name or key is taken; a pin is never replaced silently.
        """
        station = self._station
        key = decode_peer_id(peer_id)
        if key == station.keys.noise_public:
            raise ConflictError("that is the peer ID of this workstation itself")
        row = PeerRow(
            name=check_peer_name(name),
            noise_key=key,
            source="hand",
            created_ms=station.now_ms(),
            addresses=tuple(format_address(*parse_address(text)) for text in addresses),
        )

        def pin(tx: Tx) -> None:
            peers.add(tx, row)
            self._record(tx, "pair", actor, row, {"source": "hand"})

        await station.write(pin)
        await self._told(row)
        return row

    async def set(self, actor: Actor, name: str, settings: dict[str, str]) -> PeerRow:
        """Change settings, all or none."""

        def change(tx: Tx) -> PeerRow:
            row = peers.get(tx, name)
            new = policy.change(row.settings, row.addresses, settings)
            fresh = peers.update(tx, name, settings=new.settings, addresses=new.addresses)
            self._record(tx, "policy", actor, row, {"settings": sorted(settings)})
            return fresh

        row = await self._station.write(change)
        await self._told(row)
        return row

    async def verify(self, actor: Actor, name: str) -> PeerRow:
        """Record that a person compared the key words with the other side."""
        station = self._station

        def note(tx: Tx) -> PeerRow:
            by = actor.operator or actor.os_user or actor.via
            fresh = peers.update(tx, name, verified_ms=station.now_ms(), verified_by=by)
            self._record(tx, "verify-peer", actor, fresh, {})
            return fresh

        row = await station.write(note)
        await self._told(row)
        return row

    async def remove(self, actor: Actor, name: str) -> PeerRow:
        """Take a pin away.

        Raises:
            ConflictError: Transfers with it are under way; end them first.
        """

        def drop(tx: Tx) -> PeerRow:
            row = peers.get(tx, name)
            open_ones = transfers.open_for_peer(tx, row.noise_key)
            moving = [one.id for one in open_ones if one.sealed_ms is None]
            if moving:
                raise ConflictError(
                    f"{len(moving)} transfers with {name} are not over: {', '.join(moving[:3])}",
                    hint="cancel, decline or discard them first",
                )
            peers.remove(tx, name)
            self._record(tx, "unpair", actor, row, {})
            return row

        row = await self._station.write(drop)
        await self._told(row)
        return row

    def _record(
        self, tx: Tx, event: str, actor: Actor, row: PeerRow, detail: dict[str, object]
    ) -> None:
        self._station.ledger.record(
            tx,
            event=event,
            actor=actor,
            peer=row.name,
            peer_key=row.noise_key,
            transfer=None,
            outcome="ok",
            detail=detail,
        )

    async def _told(self, row: PeerRow) -> None:
        await self._station.refresh_pins()
        await self._station.touch_peer(row.noise_key)
