"""The desk: everything that a person can see or do here, as the API asks for it.

Each act is checked and audited where it is carried out; this module only puts it together. What
is only looked at stands in front.py.
The shapes of the answers stand in control/desk.py and docs/CLI.md.
"""

import logging
from functools import partial
from typing import TypeVar

import msgspec
import trio

from medp2p.daemon import (
    again,
    inbox,
    judging,
    opening,
    previewing,
    proofs,
    recalling,
    targeting,
    views,
    withdrawing,
)
from medp2p.daemon.config import changed_keys, effective, load_config, restart_needed
from medp2p.daemon.confirming import Confirmation
from medp2p.daemon.front import Front
from medp2p.daemon.outbox import Outbox
from medp2p.daemon.pairing import PairingDesk
from medp2p.daemon.parts import Wishes
from medp2p.daemon.peering import Peering
from medp2p.daemon.scans import Scans
from medp2p.daemon.sessions import Sessions
from medp2p.daemon.station import Station
from medp2p.daemon.views import Json
from medp2p.errors import UsageError
from medp2p.model import Actor, Direction
from medp2p.vault import peers, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)


class Desk(Front):
    """Implements control.desk.Desk over a running daemon."""

    def __init__(
        self,
        *,
        station: Station,
        sessions: Sessions,
        outbox: Outbox,
        scans: Scans,
        pairing: PairingDesk,
        peering: Peering,
    ) -> None:
        super().__init__(station, pairing)
        self._sessions, self._outbox = sessions, outbox
        self._scans, self._peering = scans, peering

    # --- this workstation -------------------------------------------------------------

    async def config(self) -> list[Json]:
        """Return each setting, its value and where it comes from."""
        return effective(self._station.config)

    async def reload(self, actor: Actor) -> list[Json]:
        """Read config.toml again; on an error the old values hold."""
        station = self._station
        read = await trio.to_thread.run_sync(load_config, station.home.config_file)
        fresh = read.beside(station.config)
        changed = changed_keys(station.config, fresh)
        if changed:
            detail: Json = {"changed": changed}
            await station.write(station.ledger.record, event="config", actor=actor, detail=detail)
        later = restart_needed(station.config, fresh)
        if later:
            log.warning("takes effect after a restart: %s", ", ".join(later))
        station.config = fresh
        return effective(station.config)

    # --- peers ------------------------------------------------------------------------

    async def add_peer(self, actor: Actor, name: str, peer_id: str, addresses: list[str]) -> Json:
        """Pin a key by hand."""
        row = await self._peering.add(actor, name, peer_id, addresses)
        return views.peer(self._station, row)

    async def set_peer(self, actor: Actor, name: str, settings: dict[str, str]) -> Json:
        """Change settings of a peer, all or none."""
        row = await self._peering.set(actor, name, settings)
        self._outbox.wake(row.noise_key)
        return views.peer(self._station, row)

    async def verify_peer(self, actor: Actor, name: str) -> Json:
        """Record that a person compared the key words."""
        return views.peer(self._station, await self._peering.verify(actor, name))

    async def remove_peer(self, actor: Actor, name: str) -> Json:
        """Take a pin away; its connections end at once."""
        row = await self._peering.remove(actor, name)
        await self._sessions.end_all(row.noise_key)
        self._station.book.forget(row.noise_key)
        return views.peer(self._station, row)

    async def pairing_open(self, actor: Actor) -> Json:
        """Show a code and wait for the other side."""
        return await self._pairing.open(actor)

    async def pairing_state(self) -> Json:
        """Return the pairing that is open, or was last."""
        return self._pairing.state()

    async def pairing_close(self, actor: Actor) -> Json:
        """Stop waiting for the other side."""
        return await self._pairing.close(actor)

    async def pairing_join(self, actor: Actor, code: str, at: str | None) -> Json:
        """Join the pairing that a code belongs to."""
        name = await self._pairing.join(actor, code, at)
        return await self.peer(name)

    # --- sending ----------------------------------------------------------------------

    async def scan(
        self, actor: Actor, peer: str, paths: list[bytes], wishes: Json | None = None
    ) -> Json:
        """Begin to walk sources meant for a peer."""
        del actor  # a scan changes nothing that is kept
        recipient = await self._station.read(peers.get, peer)
        asked = _read(wishes, Wishes).check()
        found = await self._station.read(again.earlier, self._station, peer, asked)
        roots = list(found.roots) or paths
        return self._scans.start(recipient, roots, found.wishes, found).view()

    async def scan_state(self, scan: str, wait: bool) -> Json:
        """Return how far a scan is, at once or at its next change."""
        job = await self._scans.news(scan) if wait else self._scans.get(scan)
        return job.view()

    async def check(self, actor: Actor, scan: str, part: int, confirmation: Json) -> Json:
        """Find out whether a part of a scan is confirmed, before any is queued."""
        await self._scans.check(actor, scan, part, _read(confirmation, Confirmation))
        return {"confirmed": True}

    async def reveal(self, actor: Actor, scan: str, part: int) -> Json:
        """Show the label of a part with nothing masked; audited."""
        return await self._scans.reveal(actor, scan, part)

    async def send(
        self,
        actor: Actor,
        scan: str,
        peer: str,
        note: str,
        priority: str,
        part: int = 0,
        confirmation: Json | None = None,
    ) -> Json:
        """Queue a transfer durably from a part of a finished scan."""
        given = _read(confirmation, Confirmation)
        row = await self._scans.queue(
            actor, scan, peer, note, priority, part=part, confirmation=given
        )
        self._outbox.wake(row.peer_key)
        return await self._touched(row)

    async def cancel(self, actor: Actor, transfer: str) -> Json:
        """End a transfer of the outbox that is not sealed yet."""
        row = await self._station.write(recalling.cancel, self._station, actor, transfer)
        self._outbox.wake(row.peer_key)
        return await self._touched(row)

    async def recall(self, actor: Actor, transfer: str, reason: str) -> Json:
        """Take a transfer of the outbox back; it is recalling until the receiver answers."""
        row = await self._station.write(recalling.recall, self._station, actor, transfer, reason)
        self._outbox.wake(row.peer_key)
        return await self._touched(row)

    async def proof(self, transfer: str, label: bool) -> Json:
        """Return the signed facts of a transfer with all that a third party needs."""
        return await self._station.read(proofs.proof, self._station, transfer, with_label=label)

    # --- the boxes --------------------------------------------------------------------

    async def transfers(self, direction: str) -> list[Json]:
        """Return the transfers of a box, newest first, with their labels."""
        side = Direction(direction)

        def every(tx: Tx) -> list[Json]:
            rows = transfers.list(tx, side)
            return [views.with_papers(tx, self._station, row) for row in rows]

        return await self._station.read(every)

    async def transfer(self, direction: str | None, transfer: str, entries: bool) -> Json:
        """Return everything about one transfer."""
        side = None if direction is None else Direction(direction)

        def one(tx: Tx) -> Json:
            row = transfers.find(tx, transfer, side)
            return views.full(tx, self._station, row, entries=entries)

        return await self._station.read(one)

    async def accept(self, actor: Actor, transfer: str, release_to: str | None = None) -> Json:
        """Take an offer; with a target it is released there once it is sealed."""
        station = self._station
        row = await station.write(inbox.accept, station, actor, transfer, release_to)
        station.release_bell.ring()
        self._outbox.wake(row.peer_key)  # a sender that has hung up meanwhile hears of us
        return await self._touched(row)

    async def decline(self, actor: Actor, transfer: str, reason: str) -> Json:
        """Refuse an offer."""
        row = await self._station.write(inbox.decline, self._station, actor, transfer, reason)
        return await self._ended(row)

    async def discard(self, actor: Actor, transfer: str) -> Json:
        """Erase a transfer, and wait until its file is gone."""
        row = await self._station.write(inbox.discard, self._station, actor, transfer)
        view = await self._ended(row)
        await inbox.erased(self._station, row.id)
        return view

    async def answer(self, actor: Actor, transfer: str, destroyed: bool, by: str) -> Json:
        """Answer the request to destroy what was released of a transfer."""
        looked = await withdrawing.check_destroyed(self._station, transfer) if destroyed else None
        act = partial(recalling.answer, looked=looked, by=by)
        row = await self._station.write(act, self._station, actor, transfer)
        return await self._ended(row)

    async def verify(self, actor: Actor, transfer: str) -> Json:
        """Read a sealed transfer again and authenticate every byte."""
        row = await opening.verify(self._station, actor, transfer)
        return await self.transfer("in", row.id, entries=False)

    async def previews(self, actor: Actor, transfer: str, series: list[str] | None = None) -> Json:
        """Show a small picture of each series of a sealed transfer, or of those named."""
        return await previewing.previews(self._station, actor, transfer, series)

    async def release(self, actor: Actor, transfer: str, order: Json) -> Json:
        """Unpack a sealed transfer into a new folder below a target."""
        given = await self._station.read(judging.order_of, order)
        row, done = await opening.release(self._station, actor, transfer, given)
        self._outbox.wake(row.peer_key)
        view = await self.transfer("in", row.id, entries=False)
        where = views.named(done.path)
        mapped = [{"from": views.named(old), "to": views.named(new)} for old, new in done.mapped]
        return view | {
            "released_to": where["path"],
            "released_to_b64": where["path_b64"],
            "mapped": mapped,
        }

    async def released(self) -> list[Json]:
        """Return every folder released, the newest first."""
        return await withdrawing.released(self._station)

    async def targets(self) -> list[Json]:
        """Return all named targets."""
        return await self._station.read(targeting.listed)

    async def add_target(self, actor: Actor, name: str, target: str) -> Json:
        """Give a place to release into a name."""
        return await targeting.add(self._station, actor, name, target)

    async def remove_target(self, actor: Actor, name: str) -> Json:
        """Take the name of a target away."""
        return await self._station.write(targeting.remove, self._station, actor, name)

    async def _ended(self, row: TransferRow) -> Json:
        self._outbox.wake(row.peer_key)
        return await self._touched(row)

    async def _touched(self, row: TransferRow) -> Json:
        await self._station.touch(row.id)
        return await self.transfer(row.direction.value, row.id, entries=False)

    # --- audit ------------------------------------------------------------------------

    async def acknowledge(self, actor: Actor, alarm: int) -> Json:
        """Record that a person has seen an alarm."""
        seen = await self._station.write(self._station.ledger.acknowledge, actor, alarm)
        self._outbox.wake()  # some alarms hold everything up until they are seen
        return seen


_R = TypeVar("_R")


def _read(value: Json | None, model: type[_R]) -> _R:
    """Return what a request says as a model.

    Raises:
        UsageError: It is none; the text names the field.
    """
    try:
        return msgspec.convert(value or {}, type=model)
    except msgspec.ValidationError as error:
        raise UsageError(f"the request does not fit: {error}") from None
