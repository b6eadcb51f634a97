"""What follows a seal without anyone asking: the look at the files, then releases.

Those are the releases that a rule wants, or a decision made when the offer was accepted.

A release by rule is the same act as one by hand, by the actor "rule"; it happens only when label
and content agree. One that fails is held with its reason until a person looks; it is not tried
again by itself.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import trio

from medp2p import limits
from medp2p.daemon import checking, opening, papers, policy
from medp2p.daemon.judging import Order
from medp2p.daemon.looking import InspectorPool
from medp2p.daemon.station import Station
from medp2p.errors import ConflictError, MedP2PError, NoSpaceError, ReleaseError
from medp2p.model import RULE, Actor, Direction, State
from medp2p.net.guard import guard
from medp2p.vault import meta, peers, targets, transfers
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

log = logging.getLogger(__name__)

#: Codes of ``held``: nobody can tell whether label and content agree; a target is not what it was;
#: the headers do not tell of every file whose it is.
NO_LABEL, NO_TARGET, UNVERIFIABLE = "no-label", "no-target", "unverifiable"


class Decided(msgspec.Struct, array_like=True, frozen=True):
    """Where a person wants a transfer released, decided when it was accepted.

    Attributes:
        name: Of the target.
        target: What it was then: "folder:DIR".
        os_user: Who decided.
        operator: See model.Actor.
    """

    name: str
    target: str
    os_user: str | None = None
    operator: str | None = None


async def run_rules(station: Station, told: Callable[[bytes], None]) -> None:
    """Look at what was sealed, then release what is due; never returns.

    Args:
        station: Ours.
        told: Called with the key of a peer for whom there are new facts.
    """
    inspectors = InspectorPool()
    busy: set[str] = set()
    again: dict[str, float] = {}
    try:
        async with trio.open_nursery() as nursery:

            async def look(transfer: str) -> None:
                try:
                    if not await _look(station, inspectors, transfer):
                        again[transfer] = trio.current_time() + limits.CHECK_AGAIN_SECONDS
                finally:
                    busy.discard(transfer)
                    station.release_bell.ring()

            async def release(transfer: str, order: Order, actor: Actor) -> None:
                try:
                    if not await _release(station, told, transfer, order, actor):
                        again[transfer] = trio.current_time() + limits.CHECK_AGAIN_SECONDS
                finally:
                    busy.discard(transfer)
                    station.release_bell.ring()

            while True:
                now = trio.current_time()
                for transfer in await station.read(checking.due):
                    if transfer not in busy and again.get(transfer, now) <= now:
                        busy.add(transfer)
                        nursery.start_soon(look, transfer)
                for transfer, order, actor in await station.read(_due, station):
                    ready = transfer not in busy and again.get(transfer, now) <= now
                    if ready and len(busy) < _AT_A_TIME:
                        busy.add(transfer)
                        nursery.start_soon(release, transfer, order, actor)
                await trio.to_thread.run_sync(inspectors.close, limits.DICOM_IDLE_SECONDS)
                with trio.move_on_after(limits.DICOM_IDLE_SECONDS):
                    await station.release_bell.wait()
    finally:
        inspectors.close()


async def _look(station: Station, inspectors: InspectorPool, transfer: str) -> bool:
    """Look at one transfer; return whether that was possible."""
    code = "bug"

    async def look() -> None:
        nonlocal code
        try:
            station.announce(await checking.check(station, inspectors, transfer))
            code = ""
        except MedP2PError as error:
            code = error.code

    # A header that nobody expected must not end the looks at all others.
    await guard(f"look at {transfer}", look, station.count_bug)
    if code and not station.stopping:
        log.warning("the look at %s is tried again: %s", transfer, code)

        async def say() -> None:
            await station.write(checking.failed, station, transfer, code)
            await station.touch(transfer)

        await guard(f"word about {transfer}", say, station.count_bug)
    return not code


class _OvertakenError(ConflictError):
    """A person, the sender or another rule was quicker."""


async def _release(
    station: Station, told: Callable[[bytes], None], transfer: str, order: Order, actor: Actor
) -> bool:
    """Release one transfer, or say what holds it; return whether either was possible."""
    failed = "the release by rule failed"
    why: tuple[str, str] | None = ("bug", failed)

    def agreed(tx: Tx, row: TransferRow) -> None:
        if (row.id, order, actor) not in _wanted(tx, station, [row]):
            raise _OvertakenError(f"no rule releases transfer {row.id} any more")
        if speaks_against(tx, station, row) is not None:
            raise _OvertakenError(f"something has come up against transfer {row.id}")

    async def release() -> None:
        nonlocal why
        try:
            against = await station.read(_against, station, transfer)
            if against is not None:
                why = against
                return
            row, _ = await opening.release(station, actor, transfer, order, agreed)
            why = None
            told(row.peer_key)
        except _OvertakenError:
            why = None  # the next round takes it as it is then
        except (ReleaseError, NoSpaceError) as error:
            # Whose texts name no file of a transfer: held lies in the store in clear.
            why = error.code, f"{failed}: {error.text}"
        except MedP2PError as error:
            why = error.code, failed

    # What nobody expected in one must not end all others.
    await guard(f"release of {transfer}", release, station.count_bug)
    if why is None or station.stopping:
        return True
    code, text = why
    log.warning("release of %s by rule is held: %s", transfer, code)
    held = False

    async def hold() -> None:
        nonlocal held
        await station.write(_hold, station, transfer, code, text)
        held = True
        await station.touch(transfer)

    await guard(f"hold of {transfer}", hold, station.count_bug)
    return held


def _against(tx: Tx, station: Station, transfer: str) -> tuple[str, str] | None:
    return speaks_against(tx, station, transfers.get(tx, transfer))


def speaks_against(tx: Tx, station: Station, row: TransferRow) -> tuple[str, str] | None:
    """Return why nobody but a person may release this, though the look found nothing."""
    if row.check_result != checking.AGREES:
        return NO_LABEL, "its sender promised no label: a person must look whose images they are"
    seen = checking.found(tx, station, row.id)
    label = None if seen is None else checking.label_of(seen)
    if label is None or not label.speaks_for_all:
        return UNVERIFIABLE, "the headers do not tell of every file whose it is: a person must look"
    data = papers.get(tx, station, row.id, papers.RELEASE_TO)
    if data is not None:
        it = msgspec.msgpack.decode(data, type=Decided)
        now = targets.maybe(tx, it.name)
        if now is None or now.target != it.target:
            return NO_TARGET, f"the target {it.name} is not what it was at the decision"
    return None


#: Looks and releases at a time; more wait.
_AT_A_TIME = 8


def _due(tx: Tx, station: Station) -> list[tuple[str, Order, Actor]]:
    """Return (transfer, order, whose) of what waits for a release by rule or decision."""
    return _wanted(tx, station, transfers.list(tx, Direction.IN, [State.SEALED]))


def _wanted(
    tx: Tx, station: Station, rows: Sequence[TransferRow]
) -> list[tuple[str, Order, Actor]]:
    due = []
    for row in rows:
        if row.state is not State.SEALED:
            continue
        if row.checked_ms is None or row.held is not None or row.released_ms is not None:
            continue
        decided = _decided(tx, station, row)
        folder = _folder(tx, row) if decided is None else decided[0]
        if folder is not None:
            actor = RULE if decided is None else decided[1]
            due.append((row.id, Order(target=folder), actor))
    return due


def releases_itself(tx: Tx, station: Station, row: TransferRow) -> bool:
    """Return whether a rule or a decision releases this one, once it was looked at."""
    return _decided(tx, station, row) is not None or _folder(tx, row) is not None


def _decided(tx: Tx, station: Station, row: TransferRow) -> tuple[bytes, Actor] | None:
    """Return the folder that a person chose when accepting, and who that was."""
    with suppress(MedP2PError):
        data = papers.get(tx, station, row.id, papers.RELEASE_TO)
        if data is not None:
            it = msgspec.msgpack.decode(data, type=Decided)
            actor = Actor(os_user=it.os_user, via="rule", operator=it.operator)
            return os.fsencode(policy.folder_of(it.target) or ""), actor
    return None


def _folder(tx: Tx, row: TransferRow) -> bytes | None:
    peer = peers.by_key(tx, row.peer_key)
    folder = None if peer is None else policy.folder_of(peer.settings.get("release", ""))
    since = int(meta.get(tx, _since_key(row.peer_key)) or 0)
    if folder is None or row.sealed_ms is None or row.sealed_ms < since:
        return None
    return os.fsencode(folder)


def note_rule(tx: Tx, peer_key: bytes, now_ms: int) -> None:
    """Remember when a rule was made: what was sealed before it waits for a person."""
    meta.put(tx, _since_key(peer_key), str(now_ms))


def _since_key(peer_key: bytes) -> str:
    return f"release-since:{peer_key.hex()}"


def _hold(tx: Tx, station: Station, transfer: str, code: str, text: str) -> None:
    row = transfers.get(tx, transfer)
    # Whoever holds it already has the better reason; a release by a person may be under way.
    if row.held is None and row.state is State.SEALED and row.released_ms is None:
        held = checking.held(code, text, station.now_ms())
        transfers.update(tx, transfer, held=held)
