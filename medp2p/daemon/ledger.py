"""The audit log as the daemon writes and reads it: who did what, when, to which transfer.

Records are written in the transaction of the act, so that no act is without its record. What is
in clear never names a patient, a file or a folder; such facts go into ``patient``, which is
sealed for the vault key. Refused strangers are counted, and chained once an hour.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from medp2p.audit import chain, export
from medp2p.daemon import clock, refusals
from medp2p.daemon.refusals import Refusals
from medp2p.errors import SealBrokenError, VaultLockedError
from medp2p.identity import encode_peer_id
from medp2p.limits import MAX_STRANGER_ROWS
from medp2p.model import RULE, Actor, AuditEvent
from medp2p.text import rfc3339
from medp2p.vault import log
from medp2p.vault.sealing import VaultBox
from medp2p.vault.store import Tx


class Ledger:
    """Writes and reads audit records, alarms and strangers.

    Every method that takes a transaction may run in any thread.

    Args:
        vault: Seals patient facts; opens them unless the vault is locked.
        now_ms: Wall clock, milliseconds since 1970 UTC.
    """

    def __init__(self, vault: VaultBox, now_ms: Callable[[], int]) -> None:
        self._vault = vault
        self._now_ms = now_ms
        self.refusals = Refusals(now_ms)
        self._strangers: Counter[tuple[str, str]] = Counter()
        self._strangers_lock = threading.Lock()

    # --- writing --------------------------------------------------------------------------

    def record(
        self,
        tx: Tx,
        *,
        event: AuditEvent,
        actor: Actor,
        outcome: str = "ok",
        peer: str | None = None,
        peer_key: bytes | None = None,
        transfer: str | None = None,
        detail: dict[str, object] | None = None,
        patient: dict[str, object] | None = None,
    ) -> int:
        """Append a record; return its number.

        Args:
            tx: The write transaction of the act.
            event: What was done: "offer", "accept", "pair", ...
            actor: Who did it.
            outcome: "ok", "refused", "failure", "alarm", ...
            peer: Local name of the peer.
            peer_key: Its X25519 key; the record has the peer ID.
            transfer: Id.
            detail: JSON values in clear; nothing that names a patient, a file or a folder.
            patient: What does; sealed.

        Raises:
            AuditError: A value is not JSON.
        """
        now = self._now_ms()
        clock.note(tx, now)
        sealed = None
        if patient is not None:
            plain = json.dumps(patient, sort_keys=True).encode()
            sealed = self._vault.seal(plain, _context(log.head(tx)[0] + 1))
        fields: dict[str, object] = {
            "time": rfc3339(now),
            "event": event,
            "actor": actor.to_json(),
            "outcome": outcome,
            "peer": peer,
            "peer_id": None if peer_key is None else encode_peer_id(peer_key),
            "transfer": transfer,
            "detail": detail or {},
        }
        return log.append(tx, chain.encode_record(fields, sealed), sealed, chain.link)

    def alarm(
        self,
        tx: Tx,
        *,
        kind: str,
        text: str,
        peer: str | None = None,
        peer_key: bytes | None = None,
        actor: Actor = RULE,
        detail: dict[str, object] | None = None,
    ) -> int:
        """Raise an alarm with its audit record; return the alarm's id.

        The same alarm again, before a person has acknowledged it, is counted, not chained.

        Args:
            tx: Write transaction; commit it, whatever error follows.
            kind: Stable word, such as "key-alarm".
            text: A sentence for a person; no patient data.
            peer: Local name.
            peer_key: Key that is pinned for it, or that was shown.
            actor: Whose act brought it up.
            detail: As for record.
        """
        open_before = {alarm.id for alarm in log.alarms(tx, unacknowledged_only=True)}
        number = log.add_alarm(tx, kind, peer, text, self._now_ms())
        if number not in open_before:
            self.record(
                tx,
                event="alarm",
                actor=actor,
                outcome="alarm",
                peer=peer,
                peer_key=peer_key,
                detail={"kind": kind, "alarm": number, **(detail or {})},
            )
        return number

    def alarm_refusals(self, tx: Tx, texts: Sequence[str]) -> None:
        """Raise an alarm for each text that ``refusals`` gave out."""
        for text in texts:
            self.alarm(tx, kind=refusals.KIND, text=text)

    def acknowledge(self, tx: Tx, actor: Actor, alarm: int) -> dict[str, object]:
        """Note that a person has seen an alarm; return it.

        Raises:
            NotFoundError: There is none with this id.
        """
        log.acknowledge_alarm(tx, alarm)
        found = next(row for row in log.alarms(tx) if row.id == alarm)
        if found.kind == clock.BEHIND:
            clock.trust(tx, self._now_ms())
        self.record(
            tx,
            event="acknowledge",
            actor=actor,
            peer=found.peer,
            detail={"kind": found.kind, "alarm": alarm},
        )
        return _alarm(found)

    # --- strangers ------------------------------------------------------------------------

    def note_stranger(self, address: str, reason: str, key: bytes | None = None) -> None:
        """Count a refused connection; never waits, and nothing is written before summarising.

        Args:
            address: IP address without port.
            reason: One of our own words; nothing that the stranger said.
            key: X25519 key that it proved to own, if it came so far.
        """
        self.refusals.note(address, reason, key)
        with self._strangers_lock:
            if len(self._strangers) >= MAX_STRANGER_ROWS:
                address = log.OTHERS
            self._strangers[address, reason] += 1

    def summarise_strangers(self, tx: Tx) -> Counter[tuple[str, str]]:
        """Put what was counted into the bounded ring; chain a record per address and past hour.

        Returns:
            What was counted: `forget_strangers` takes it once the transaction is durable.
        """
        with self._strangers_lock:
            counted = self._strangers.copy()
        now = self._now_ms()
        for (address, reason), count in counted.items():
            log.note_stranger(tx, address, reason, now, count)
        for summary in log.hourly_summaries(tx, self._now_ms()):
            self.record(
                tx,
                event="strangers",
                actor=RULE,
                outcome="refused",
                detail={
                    "address": summary.address,
                    "hour": rfc3339(summary.hour_ms),
                    "reasons": dict(summary.reasons),
                },
            )
        return counted

    def forget_strangers(self, counted: Counter[tuple[str, str]]) -> None:
        """Count no more what is in the database now."""
        with self._strangers_lock:
            self._strangers -= counted

    # --- reading --------------------------------------------------------------------------

    def list(
        self, tx: Tx, limit: int, after: int = -1, *, in_clear: bool = False
    ) -> list[dict[str, object]]:
        """Return records, ascending.

        Args:
            tx: Any transaction.
            limit: At most so many.
            after: Go on after this number; -1: the newest ones.
            in_clear: Leave out the patient facts, as if the vault were locked.

        Returns:
            ``seq, time, event, actor, outcome, peer, peer_id, transfer, detail, hash`` and
            ``label``: the patient facts or null; absent while the vault is locked. Of a record
            that is damaged: ``seq, hash, record_b64, damaged``.
        """
        rows = log.entries(tx, None, limit)[::-1] if after < 0 else log.entries(tx, after, limit)
        return [self._shown(row, in_clear=in_clear) for row in rows]

    def verify(self, tx: Tx) -> dict[str, object]:
        """Follow the whole chain; return ``count, head, ok, broken_at, text, erased``."""
        result = chain.verify(log.records(tx), head=log.head(tx))
        return asdict(result) | {"head": result.head.hex(), "ok": result.ok}

    def alarms(self, tx: Tx, *, open_only: bool = False) -> Sequence[dict[str, object]]:
        """Return alarms, the newest first: ``id, time, kind, peer, text, acknowledged, ...``."""
        return [_alarm(row) for row in log.alarms(tx, unacknowledged_only=open_only)]

    def marks(self, tx: Tx) -> tuple[int, tuple[int, ...]]:
        """Return what differs once there is a new record, and once an alarm has changed."""
        return log.head(tx)[0], log.alarms_mark(tx)

    def _shown(self, row: log.LogRow, *, in_clear: bool) -> dict[str, object]:
        shown = export.to_json(row.seq, row.record, row.hash)
        if in_clear:
            return shown
        try:
            shown["label"] = None
            if row.sealed is not None:
                shown["label"] = json.loads(self._vault.open(row.sealed, _context(row.seq)))
        except VaultLockedError:
            del shown["label"]
        except (SealBrokenError, ValueError):
            shown["damaged"] = True
        return shown


def _context(seq: int) -> str:
    return f"audit {seq}"


def _alarm(row: log.AlarmRow) -> dict[str, object]:
    return {
        "id": row.id,
        "time": rfc3339(row.last_ms),
        "first": rfc3339(row.first_ms),
        "count": row.count,
        "kind": row.kind,
        "peer": row.peer,
        "text": row.text,
        "acknowledged": row.acknowledged,
    }
