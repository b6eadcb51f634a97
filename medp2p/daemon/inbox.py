"""The inbox: what a person (or a rule) decides about transfers of others.

Every act is one transaction with its audit record; files follow, and are redone after a crash.
"""

import json
import os
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from medp2p import digest, limits
from medp2p.daemon import endings, papers, recalling, statements
from medp2p.daemon.station import RULE, Station
from medp2p.errors import ConflictError, MedP2PError, ReleaseError, TransferAbortedError
from medp2p.layout import Layout
from medp2p.model import ENDED, WHOLE, Actor, Direction, State, short_id
from medp2p.text import path_text
from medp2p.vault import release as releasing
from medp2p.vault import transfers
from medp2p.vault.age import SealReader
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

#: States in which a release may begin.
RELEASABLE = (State.SEALED, State.EXPIRING, State.RELEASED)


def find(tx: Tx, prefix: str) -> TransferRow:
    """Return the incoming transfer whose id begins so."""
    return transfers.find(tx, prefix, Direction.IN)


def accept(tx: Tx, station: Station, actor: Actor, prefix: str) -> TransferRow:
    """Take an offer. Accepting twice is no error.

    Raises:
        ConflictError: It is not waiting for a decision any more.
    """
    row = find(tx, prefix)
    if row.decided_ms is not None and row.state not in ENDED:
        return row
    if row.state is not State.OFFERED:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; nothing to accept")
    station.files.step("accept")
    now = station.now_ms()
    transfers.update(tx, row.id, state=State.ACCEPTED, decided_ms=now, updated_ms=now)
    endings.record(tx, station, row, "accept", actor)
    return row


def decline(tx: Tx, station: Station, actor: Actor, prefix: str, reason: str) -> TransferRow:
    """Refuse an offer; the sender is told, with the reason.

    Raises:
        ConflictError: It was accepted already (discard it) or is over.
    """
    row = find(tx, prefix)
    if row.state is State.DECLINED:
        return row
    if row.state is not State.OFFERED:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; nothing to decline")
    _state_and_end(tx, station, actor, row, State.DECLINED, "declined", "decline", reason)
    return row


def discard(tx: Tx, station: Station, actor: Actor, prefix: str) -> TransferRow:
    """Erase a transfer that was accepted, whole or not; its record stays.

    Raises:
        ConflictError: It waits for a decision (decline it), is being released, or is over.
    """
    row = find(tx, prefix)
    if row.state is State.DISCARDED:
        return row
    if row.state in ENDED or row.state in (State.OFFERED, State.RELEASING):
        raise ConflictError(f"transfer {row.id} is {row.state.value}; nothing to discard")
    _state_and_end(tx, station, actor, row, State.DISCARDED, "discarded", "discard", "")
    return row


def _state_and_end(
    tx: Tx,
    station: Station,
    actor: Actor,
    row: TransferRow,
    state: State,
    fact: str,
    event: str,
    reason: str,
) -> None:
    statements.queue_fact(tx, station, row, fact, {"reason": reason} if reason else {})
    names = reason.encode() if reason else None
    error = TransferAbortedError(f"{state.value} here") if names else None
    endings.end(tx, station, row, state, event=event, actor=actor, error=error, names=names)


# --- reading what is sealed ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What reading a sealed transfer needs."""

    row: TransferRow
    geometry: Layout
    key: bytes
    offer: bytes
    root: bytes


def sealed(tx: Tx, station: Station, prefix: str) -> Sealed:
    """Return what is needed to read a whole transfer.

    Raises:
        ConflictError: It is not whole.
        VaultLockedError: The vault key is not at hand.
    """
    row = find(tx, prefix)
    if row.state not in WHOLE or row.root is None or row.offer is None:
        raise ConflictError(f"transfer {row.id} is {row.state.value}, not sealed")
    offer = papers.summary(tx, station, row.id)
    return Sealed(
        row=row,
        geometry=papers.layout(tx, station, row.id),
        key=digest.stream_key(offer.salt),
        offer=row.offer,
        root=row.root,
    )


async def verify(station: Station, actor: Actor, prefix: str) -> TransferRow:
    """Read a sealed transfer again as a whole and authenticate every byte.

    Raises:
        SealBrokenError, IntegrityError: The file is damaged; audited.
    """
    found = await station.read(sealed, station, prefix)

    def read() -> None:
        with SealReader.open(station.home.sealed(found.row.id), station.keys.vault_identity) as it:
            releasing.verify(
                it,
                found.geometry,
                found.key,
                found.offer,
                found.root,
                lambda done: None,
                station.is_stopping,
            )

    try:
        await trio.to_thread.run_sync(read, limiter=station.whole_limiter)
    except MedP2PError as error:
        await station.write(
            endings.record, station, found.row, "verify", actor, "failure", {"code": error.code}
        )
        raise
    await station.write(endings.record, station, found.row, "verify", actor)
    return found.row


async def release(
    station: Station, actor: Actor, prefix: str, target: bytes
) -> tuple[TransferRow, releasing.Released]:
    """Open a sealed transfer into a new folder below ``target``.

    The state ``releasing`` is durable before the first plain byte; whatever fails leaves
    nothing at the target and the transfer as it was.

    Raises:
        ReleaseError, IntegrityError, NoSpaceError: With the reason.
    """
    await trio.to_thread.run_sync(_refuse_home, station, target)
    found = await station.read(sealed, station, prefix)
    row = await station.write(_begin_release, station, actor, found.row.id, target)
    await station.touch(row.id)

    def run() -> releasing.Released:
        with SealReader.open(station.home.sealed(row.id), station.keys.vault_identity) as it:
            return releasing.release(
                reader=it,
                layout=found.geometry,
                key=found.key,
                offer=found.offer,
                root=found.root,
                target=target,
                name=short_id(row.id),
                files=station.files,
                progress=lambda done: None,
                cancelled=station.is_stopping,
                publishing=partial(_publishing, station, row.id, target),
            )

    try:
        done = await trio.to_thread.run_sync(run, limiter=station.whole_limiter)
    except BaseException as error:
        with trio.move_on_after(limits.SEND_SECONDS, shield=True):
            await station.write(_release_failed, station, actor, row, error)
            await station.touch(row.id)
        raise
    with trio.move_on_after(limits.SEND_SECONDS, shield=True):
        await station.write(_release_done, station, actor, row, done.path, len(done.mapped))
        await station.touch(row.id)
    return row, done


def _refuse_home(station: Station, target: bytes) -> None:
    """Clear images must not lie in the home, whatever links lead there."""
    home = os.fsencode(station.home.path)
    if os.path.isabs(target) and os.path.commonpath([os.path.realpath(target), home]) == home:
        raise ReleaseError("the home itself is no place to release into")


def _begin_release(
    tx: Tx, station: Station, actor: Actor, transfer: str, target: bytes
) -> TransferRow:
    row = transfers.get(tx, transfer)
    if row.state not in RELEASABLE:
        raise ConflictError(f"transfer {row.id} is {row.state.value}; it cannot be released now")
    recalling.check_release(row)
    _keep_target(tx, station, row.id, target, None)
    transfers.update(tx, row.id, state=State.RELEASING, updated_ms=station.now_ms())
    endings.record(tx, station, row, "release-begin", actor)
    if row.released_ms is None:
        statements.queue_fact(tx, station, row, "opened", {"by": actor.os_user or actor.via})
    return row


def _keep_target(
    tx: Tx, station: Station, transfer: str, target: bytes, final: bytes | None
) -> None:
    """Remember where a release goes, so that a crash in its middle can be cleared up."""
    data = msgspec.msgpack.encode([target, final])
    papers.put_vault(tx, station, transfer, papers.TARGET, data)


def _publishing(station: Station, transfer: str, target: bytes, final: bytes) -> None:
    """In the release's thread: the folder gets this name in the next moment."""
    with station.store.write() as tx:
        _keep_target(tx, station, transfer, target, final)


def _release_failed(
    tx: Tx, station: Station, actor: Actor, row: TransferRow, error: BaseException
) -> None:
    """Back to the state before; what failed is said to the caller and in the audit log."""
    back = State.RELEASED if row.released_ms is not None else State.SEALED
    transfers.delete_blobs(tx, row.id, [papers.TARGET])
    transfers.update(tx, row.id, state=back, updated_ms=station.now_ms())
    code = error.code if isinstance(error, MedP2PError) else "bug"
    endings.record(tx, station, row, "release", actor, "failure", {"code": code})


def _release_done(
    tx: Tx, station: Station, actor: Actor, row: TransferRow, path: bytes, mapped: int
) -> None:
    now = station.now_ms()
    earlier = papers.get(tx, station, row.id, papers.RELEASED)
    paths = json.loads(earlier) if earlier else []
    paths.append(path_text(path))
    papers.put_vault(tx, station, row.id, papers.RELEASED, json.dumps(paths).encode())
    transfers.delete_blobs(tx, row.id, [papers.TARGET])
    first = row.released_ms is None
    transfers.update(
        tx,
        row.id,
        state=State.RELEASED,
        released_ms=now if first else row.released_ms,
        updated_ms=now,
    )
    endings.record(tx, station, row, "release", actor, detail={"mapped": mapped})
    if first:
        statements.queue_fact(tx, station, row, "released", {"by": actor.os_user or actor.via})


def recover_release(station: Station, row: TransferRow) -> None:
    """After a crash amid a release: done if its folder has its name, else as it was before.

    Blocking. Left-overs at the target are removed.

    Raises:
        ReleaseError: The target cannot be read now; the transfer stays as it is.
    """
    with station.store.read() as tx:
        kept = papers.need(tx, station, row.id, papers.TARGET)
    target, final = msgspec.msgpack.decode(kept, type=tuple[bytes, bytes | None])
    name = short_id(row.id)
    done = final is not None and releasing.was_released(target, name, final)
    with station.store.write() as tx:
        _settle(tx, station, row, final if done else None)
    releasing.sweep_stages(target, name, station.files)


def _settle(tx: Tx, station: Station, row: TransferRow, final: bytes | None) -> None:
    if final is not None:
        _release_done(tx, station, RULE, row, final, 0)
    else:
        error = ReleaseError("the daemon ended amid the release")
        _release_failed(tx, station, RULE, row, error)
