"""Pins made and changed by hand: add, set, verify, remove. Each audited in its transaction."""

import trio

from medp2p.daemon import endings, policy, releasing
from medp2p.daemon.address import format_address, parse_address
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError, KeyAlarmError, TransferAbortedError, UnknownPeerError
from medp2p.identity import check_peer_name, decode_peer_id
from medp2p.model import WHOLE, Actor, AuditEvent, Direction, State
from medp2p.vault import peers, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


class Peering:
    """What a person decides about peers."""

    def __init__(self, station: Station) -> None:
        self._station = station

    async def add(self, actor: Actor, name: str, peer_id: str, addresses: list[str]) -> PeerRow:
        """Pin a key under a name.

        Raises:
            UsageError: Name, peer ID or address cannot be used.
            ConflictError: The key has a name already, or the pair is known.
        KeyAlarmError: The name is pinned with another key: an alarm, never an update.
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

        def pin(tx: Tx) -> KeyAlarmError | None:
            other = self._other_key(tx, row)
            if other is not None:
                text = f"{row.name} is pinned with another key; nothing was changed"
                station.ledger.alarm(
                    tx, kind="key-alarm", text=text, peer=row.name, peer_key=other, actor=actor
                )
                hint = f"if its keys were made anew, `peers remove {row.name}` first"
                return KeyAlarmError(text, hint=hint)
            peers.add(tx, row)
            self._record(tx, "pair", actor, row, {"source": "hand"})
            return None

        alarm = await station.write(pin)
        if alarm is not None:
            raise alarm
        await self._told(row)
        return row

    def _other_key(self, tx: Tx, row: PeerRow) -> bytes | None:
        """Return the key that a name is pinned with, if it is another one."""
        try:
            known = peers.get(tx, row.name)
        except UnknownPeerError:
            return None
        return None if known.noise_key == row.noise_key else known.noise_key

    async def set(self, actor: Actor, name: str, settings: dict[str, str]) -> PeerRow:
        """Change settings, all or none.

        Raises:
            ConfigError, UsageError: One cannot be understood.
            ReleaseError: The folder to release into lies in the home.
        """
        folder = policy.folder_of(settings.get("release", ""))
        if folder is not None:
            await trio.to_thread.run_sync(self._station.home.refuse_clear, folder)

        def change(tx: Tx) -> PeerRow:
            row = peers.get(tx, name)
            new = policy.change(row.settings, row.addresses, settings)
            fresh = peers.update(tx, name, settings=new.settings, addresses=new.addresses)
            if row.settings.get("release") != fresh.settings.get("release"):
                releasing.note_rule(tx, row.noise_key, self._station.now_ms())
            self._record(tx, "policy", actor, row, _shown(row, fresh))
            return fresh

        row = await self._station.write(change)
        await self._told(row)
        return row

    async def verify(self, actor: Actor, name: str) -> PeerRow:
        """Record that a person compared the key words with the other side."""
        station = self._station

        def note(tx: Tx) -> PeerRow:
            by = actor.name
            fresh = peers.update(tx, name, verified_ms=station.now_ms(), verified_by=by)
            self._record(tx, "verify-peer", actor, fresh, {})
            return fresh

        row = await station.write(note)
        await self._told(row)
        return row

    async def remove(self, actor: Actor, name: str) -> PeerRow:
        """Take a pin away; transfers with it that are not whole end here and now."""

        def drop(tx: Tx) -> tuple[PeerRow, list[str]]:
            row = peers.get(tx, name)
            ended = []
            for one in transfers.open_for_peer(tx, row.noise_key):
                if one.state in WHOLE:
                    continue
                self._end(tx, actor, one)
                ended.append(one.id)
            peers.remove(tx, name)
            self._record(tx, "unpair", actor, row, {"ended": len(ended)})
            return row, ended

        row, ended = await self._station.write(drop)
        for transfer in ended:
            await self._station.touch(transfer)
        await self._told(row)
        return row

    def _end(self, tx: Tx, actor: Actor, row: TransferRow) -> None:
        """End a transfer whose peer goes; nobody is left to be told."""
        offered = row.state is State.OFFERED and row.direction is Direction.IN
        state = State.DECLINED if offered else State.CANCELLED
        error = TransferAbortedError("the other workstation was removed")
        endings.end(tx, self._station, row, state, event="unpair", actor=actor, error=error)

    def _record(
        self, tx: Tx, event: AuditEvent, actor: Actor, row: PeerRow, detail: dict[str, object]
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


def _shown(old: PeerRow, new: PeerRow) -> dict[str, object]:
    """Return what a change of settings did; folders are named by their kind only."""

    def plain(value: str | None) -> str | None:
        return "folder" if policy.folder_of(value or "") is not None else value

    names = sorted(old.settings.keys() | new.settings.keys())
    changed: dict[str, object] = {
        name: {"from": plain(old.settings.get(name)), "to": plain(new.settings.get(name))}
        for name in names
        if old.settings.get(name) != new.settings.get(name)
    }
    if old.addresses != new.addresses:
        changed["address"] = {"from": list(old.addresses), "to": list(new.addresses)}
    return changed
