"""A Desk that keeps everything in memory, and a way to serve it from a thread.

It is a real, small workstation as the API sees it: peers, scans of real files, an outbox and an
inbox whose states follow the same rules. Nothing in it travels; tests move transfers on with
``change``.
"""

import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from medp2p.control.desk import Json
from medp2p.control.serve import serve_control
from medp2p.daemon.labels import label_view
from medp2p.daemon.opening import not_sealed
from medp2p.dicom.label import Label
from medp2p.errors import (
    CheckRefusedError,
    ConfigError,
    ConflictError,
    NotFoundError,
    PairingError,
    SealBrokenError,
    SourceError,
    UnknownPeerError,
)
from medp2p.model import Actor, State

TIME = "2026-11-25T13:00:00.000Z"
KEY_WORDS = "amber bison cedar delta ember flint"
PEER_ID = "-".join(["ABCDEF"] * 10)


def transfer_json(transfer: str, direction: str, peer: str, state: str, **more: Any) -> Json:
    """Return a transfer with every key of the contract."""
    return {
        "id": transfer,
        "direction": direction,
        "peer": peer,
        "state": state,
        "reason": None,
        "held": None,
        "entries": 3,
        "files": 2,
        "bytes": 3_000_000,
        "bytes_done": 0,
        "root": None,
        "created": TIME,
        "error": None,
        "skipped": 0,
        "priority": "routine",
        "label": None,
        "note": "",
        "rate": None,
        "facts": [],
        **more,
    }


def label_json(**more: Any) -> Json:
    """Return a label without anybody in it."""
    return label_view(Label()) | more


def part_json(scan: Json, **more: Any) -> Json:
    """Return the part of a scan with every key of the contract."""
    return {
        "part": 0,
        "files": scan["files"],
        "bytes": scan["bytes"],
        "skipped": len(scan["skipped"]),
        "wants": "yes",
        "asked": [],
        "purpose_wanted": False,
        "masked": False,
        "stops": [],
        "findings": [],
        "label": label_json(),
        **more,
    }


def just_now() -> str:
    """Return a moment before this one, as the API writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def peer_json(name: str, **more: Any) -> Json:
    """Return a peer with every key of the contract."""
    return {
        "name": name,
        "peer_id": PEER_ID,
        "fingerprint": "abcdefghij234567abcdefghij",
        "key_words": KEY_WORDS,
        "source": "code",
        "created": just_now(),  # so its key words are worth a look, on any day
        "verified": TIME,
        "verified_by": "anna",
        "told_name": "Ward A",
        "told_department": "Radiology",
        "told_place": "Room 3",
        "software": "0.1.0",
        "addresses": ["192.0.2.7:17820"],
        "settings": {"accept": "ask"},
        "online": True,
        "last_seen": TIME,
        **more,
    }


@dataclass
class MemoryDesk:
    """See the module; the fields are for tests to set and to look at."""

    peers_by_name: dict[str, Json] = field(default_factory=dict)
    transfers_by_id: dict[str, Json] = field(default_factory=dict)
    scans_by_id: dict[str, Json] = field(default_factory=dict)
    acts: list[tuple[str, Actor]] = field(default_factory=list)
    pairing: Json = field(default_factory=lambda: {"state": "closed", "text": "not opened"})
    pairing_code: str = "7-amber-bison"
    accepting: bool = True
    config_error: str | None = None
    broken: set[str] = field(default_factory=set)
    entries: list[Json] = field(default_factory=list)
    checks: list[Json] = field(default_factory=list)
    audit_rows: list[Json] = field(default_factory=list)
    alarm_rows: list[Json] = field(default_factory=list)
    readers: list[trio.MemorySendChannel[Json]] = field(default_factory=list)
    confirmations: list[Json] = field(default_factory=list)
    part: Json = field(default_factory=dict)
    targets_by_name: dict[str, Json] = field(default_factory=dict)
    released_rows: list[Json] = field(default_factory=list)
    previews_rows: list[Json] = field(default_factory=list)
    orders: list[Json] = field(default_factory=list)
    page_notes: list[tuple[str, Actor, Json]] = field(default_factory=list)
    idle_seconds: float = 600
    bug: Exception | None = None
    bugs: int = 0
    hold: trio.Event | None = None

    def count_bug(self) -> None:
        self.bugs += 1

    # --- looking --------------------------------------------------------------------------

    async def status(self) -> Json:
        if self.bug is not None:
            raise self.bug
        if self.hold is not None:
            await self.hold.wait()
        return {
            "version": "0.1.0",
            "name": "a",
            "peer_id": PEER_ID,
            "pid": os.getpid(),
            "home": "/home/a",
            "since": TIME,
            "listen": ["0.0.0.0:17820"],
            "accepting": self.accepting,
            "mdns": {"on": True, "text": "seen 1 workstation"},
            "vault": {"locked": False, "key_in_clear": True, "free_bytes": 5_000_000_000},
            "peers": [
                {"name": name, "online": peer["online"], "since": TIME}
                for name, peer in self.peers_by_name.items()
            ],
            "transfers": list(self.transfers_by_id.values()),
            "alarms": len(self.alarm_rows),
            "bugs": 0,
        }

    async def identity(self) -> Json:
        return {
            "peer_id": PEER_ID,
            "name": "a",
            "department": "",
            "place": "",
            "key_words": KEY_WORDS,
            "vault_recipient": "age1x",
            "qr": {"size": 9, "path": "M4 4h1v1h-1z"},
        }

    async def overview(self, limit: int) -> Json:
        incoming, outgoing = await self.transfers("in"), await self.transfers("out")
        return {
            "status": await self.status(),
            "identity": await self.identity(),
            "peers": await self.peers(),
            "nearby": await self.nearby(),
            "waiting": [row | {"why": "decide"} for row in incoming if row["state"] == "offered"],
            "active": [],
            "inbox": incoming[:limit],
            "outbox": outgoing[:limit],
            "released": self.released_rows[:limit],
            "alarms": [row for row in self.alarm_rows if not row["acknowledged"]],
            "audit": self.audit_rows,
            "targets": await self.targets(),
            "pairing": self.pairing,
            "totals": {"in": len(incoming), "out": len(outgoing)},
        }

    async def search(self, query: dict[str, str]) -> Json:
        rows = [
            row
            for row in self.transfers_by_id.values()
            if query.get("peer") in (None, row["peer"])
            and query.get("state") in (None, row["state"])
        ]
        return {"transfers": rows, "next": None}

    async def folders(self, path: bytes | None) -> Json:
        return {"path": os.fsdecode(path or b"/"), "entries": [], "more": False}

    def page_rules(self) -> Json:
        return {"run": "00112233", "idle_seconds": self.idle_seconds}

    async def note_page(self, actor: Actor, event: str, outcome: str, detail: Json) -> None:
        self.page_notes.append((event, actor, detail))

    async def config(self) -> list[Json]:
        return [
            {"key": "name", "value": "a", "source": "config.toml"},
            {"key": "reserve", "value": "1.1 GB", "source": "default"},
        ]

    async def reload(self, actor: Actor) -> list[Json]:
        self._act("reload", actor)
        if self.config_error is not None:
            raise ConfigError(self.config_error, hint="the old values hold")
        return await self.config()

    async def nearby(self) -> list[Json]:
        return [
            {
                "name": "Ward \x1b[31mA",
                "fingerprint": "abcdefghij234567abcdefghij",
                "addresses": ["192.0.2.7:17820"],
                "peer": None,
                "pairing": 7,
            }
        ]

    async def doctor(self) -> list[Json]:
        return self.checks

    # --- peers ----------------------------------------------------------------------------

    async def peers(self) -> list[Json]:
        return list(self.peers_by_name.values())

    async def peer(self, name: str) -> Json:
        try:
            return self.peers_by_name[name]
        except KeyError:
            raise UnknownPeerError(f"no peer is called {name}") from None

    async def add_peer(self, actor: Actor, name: str, peer_id: str, addresses: list[str]) -> Json:
        if name in self.peers_by_name:
            raise ConflictError(f"a peer is called {name} already")
        self._act("add-peer", actor)
        self.peers_by_name[name] = peer_json(
            name, peer_id=peer_id, addresses=addresses, source="hand", verified=None
        )
        return self.peers_by_name[name]

    async def set_peer(self, actor: Actor, name: str, settings: dict[str, str]) -> Json:
        peer = await self.peer(name)
        if unknown := set(settings) - {"accept", "address", "domain", "max-bytes", "release"}:
            raise ConfigError(f"no setting is called {min(unknown)}")
        self._act("set-peer", actor)
        peer["settings"].update(settings)
        return peer

    async def verify_peer(self, actor: Actor, name: str) -> Json:
        peer = await self.peer(name)
        self._act("verify-peer", actor)
        peer["verified_by"] = actor.os_user
        return peer

    async def remove_peer(self, actor: Actor, name: str) -> Json:
        peer = await self.peer(name)
        self._act("remove-peer", actor)
        del self.peers_by_name[name]
        return peer

    # --- pairing --------------------------------------------------------------------------

    async def pairing_open(self, actor: Actor) -> Json:
        self._act("pairing-open", actor)
        self.pairing = {
            "state": "open",
            "code": self.pairing_code,
            "number": 7,
            "expires": TIME,
            "guesses_left": 3,
            "peer": None,
            "text": "",
        }
        return self.pairing

    async def pairing_state(self) -> Json:
        return self.pairing

    async def pairing_close(self, actor: Actor) -> Json:
        self._act("pairing-close", actor)
        self.pairing = {"state": "closed", "text": "closed here", "peer": None}
        return self.pairing

    async def pairing_join(self, actor: Actor, code: str, at: str | None) -> Json:
        self._act("pairing-join", actor)
        if code != self.pairing_code:
            raise PairingError("wrong code", hint="ask for the new code")
        self.peers_by_name["b"] = peer_json("b", addresses=[at] if at else [])
        return self.peers_by_name["b"]

    # --- transfers ------------------------------------------------------------------------

    async def scan(
        self, actor: Actor, peer: str, paths: list[bytes], wishes: Json | None = None
    ) -> Json:
        await self.peer(peer)
        scan = f"scan{len(self.scans_by_id)}"
        self.scans_by_id[scan] = {
            "scan": scan,
            "state": "scanning",
            "files": 0,
            "bytes": 0,
            "skipped": [],
            "error": None,
            "inspected": 0,
            "wishes": wishes or {},
            "parts": [],
            "paths": [os.fsdecode(path) for path in paths],
        }
        return dict(self.scans_by_id[scan])

    async def scan_state(self, scan: str, wait: bool) -> Json:
        try:
            row = self.scans_by_id[scan]
        except KeyError:
            raise NotFoundError("no such scan") from None
        try:
            row["files"], row["bytes"], row["skipped"] = _walk(row["paths"])
            row["state"] = "done"
            row["parts"] = [part_json(row, **self.part)]
        except SourceError as error:
            row["state"], row["error"] = "failed", error.to_json()
        return row

    async def check(self, actor: Actor, scan: str, part: int, confirmation: Json) -> Json:
        self._act("check", actor)
        return {"confirmed": True}

    async def reveal(self, actor: Actor, scan: str, part: int) -> Json:
        self._act("reveal-label", actor)
        return label_json()

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
        row = self.scans_by_id[scan]
        self.confirmations.append(confirmation or {})
        self._act("send", actor)
        transfer = f"{'abcdefgh'[len(self.transfers_by_id)]}" * 26
        self.transfers_by_id[transfer] = transfer_json(
            transfer,
            "out",
            peer,
            "queued",
            files=row["files"],
            bytes=row["bytes"],
            skipped=len(row["skipped"]),
            note=note,
            priority=priority,
        )
        return self.transfers_by_id[transfer]

    async def transfers(self, direction: str) -> list[Json]:
        return [row for row in self.transfers_by_id.values() if row["direction"] == direction]

    async def transfer(self, direction: str | None, transfer: str, entries: bool) -> Json:
        found = [
            row
            for key, row in self.transfers_by_id.items()
            if key.startswith(transfer) and direction in (None, row["direction"])
        ]
        if not found or not transfer.isalnum():
            raise NotFoundError("no transfer has an id that begins so")
        if len(found) > 1:
            raise NotFoundError(f"{len(found)} transfers answer to {transfer}")
        return {**found[0], "entry_list": self.entries} if entries else found[0]

    async def cancel(self, actor: Actor, transfer: str) -> Json:
        return await self._move(actor, "out", transfer, "cancelled", {"queued", "waiting"})

    async def recall(self, actor: Actor, transfer: str, reason: str) -> Json:
        row = await self.transfer("out", transfer, False)
        there = row["state"] in ("sealed", "released")
        to = "recalling" if there else "cancelled"
        row = await self._move(actor, "out", transfer, to, {"queued", "sealed", "released"})
        row["recall"] = {"reason": reason}
        return row

    async def answer(self, actor: Actor, transfer: str, destroyed: bool, by: str) -> Json:
        to = "recalled" if destroyed else "released"
        row = await self._move(actor, "in", transfer, to, {"released"})
        row["answered_by"] = by or actor.os_user
        return row

    async def proof(self, transfer: str, label: bool) -> Json:
        row = await self.transfer(None, transfer, False)
        return {"format": "medp2p proof 1", "transfer": row["id"], "summary": label or None}

    async def accept(self, actor: Actor, transfer: str, release_to: str | None = None) -> Json:
        if release_to is not None and release_to not in self.targets_by_name:
            raise NotFoundError("no target has that name")
        return await self._move(actor, "in", transfer, "accepted", {"offered"})

    async def decline(self, actor: Actor, transfer: str, reason: str) -> Json:
        row = await self._move(actor, "in", transfer, "declined", {"offered"})
        row["reason"] = {"code": "declined", "text": reason, "since": TIME}
        return row

    async def release(self, actor: Actor, transfer: str, order: Json) -> Json:
        self.orders.append(order)
        held = (await self.transfer("in", transfer, False))["held"]
        if held is not None and held["code"] not in (order["allow"] or []):
            raise CheckRefusedError("held", hint="look first")
        row = await self.transfer("in", transfer, False)
        if row["state"] not in ("sealed", "released"):
            raise not_sealed(row["id"], State(row["state"]))
        row = await self._move(actor, "in", transfer, "released", {"sealed", "released"})
        target = order["to"]
        if target is None:
            target = self.targets_by_name[order["target"]]["target"].removeprefix("folder:")
        row["released_to"] = os.path.join(os.fsdecode(target), row["id"][:8])
        return row

    async def released(self) -> list[Json]:
        return self.released_rows

    async def targets(self) -> list[Json]:
        return list(self.targets_by_name.values())

    async def add_target(self, actor: Actor, name: str, target: str) -> Json:
        self._act("add_target", actor)
        row = {"name": name, "target": target, "created": TIME, "created_by": "anna"}
        self.targets_by_name[name] = row
        return row

    async def remove_target(self, actor: Actor, name: str) -> Json:
        self._act("remove_target", actor)
        if name not in self.targets_by_name:
            raise NotFoundError("no target has that name")
        return self.targets_by_name.pop(name)

    async def verify(self, actor: Actor, transfer: str) -> Json:
        row = await self.transfer("in", transfer, False)
        if row["id"] in self.broken:
            raise SealBrokenError("chunk 3 does not authenticate")
        return row

    async def previews(self, actor: Actor, transfer: str, series: list[str] | None = None) -> Json:
        self._act("previews", actor)
        row = await self.transfer("in", transfer, False)
        if row["state"] not in ("sealed", "released"):
            raise not_sealed(row["id"], State(row["state"]))
        known = [one["series"] for one in self.previews_rows]
        if series is not None and not set(series) <= set(known):
            raise NotFoundError("the transfer has no such series")
        rows = [one for one in self.previews_rows if series is None or one["series"] in series]
        return {"previews": rows, "marked": "not for diagnosis"}

    async def discard(self, actor: Actor, transfer: str) -> Json:
        return await self._move(actor, "in", transfer, "discarded", {"sealed", "released"})

    # --- the log --------------------------------------------------------------------------

    async def audit(self, limit: int, after: int) -> list[Json]:
        if after < 0:
            return self.audit_rows[-limit:]
        return [row for row in self.audit_rows if row["seq"] > after][:limit]

    async def audit_verify(self) -> Json:
        ok = "audit" not in self.broken
        return {
            "count": len(self.audit_rows),
            "head": "00" * 32,
            "ok": ok,
            "broken_at": None if ok else 2,
            "text": "" if ok else "record 2 does not follow from record 1",
        }

    async def alarms(self) -> list[Json]:
        return self.alarm_rows

    async def acknowledge(self, actor: Actor, alarm: int) -> Json:
        for row in self.alarm_rows:
            if row["id"] == alarm:
                self._act("acknowledge", actor)
                return {**row, "acknowledged": True}
        raise NotFoundError(f"no alarm {alarm}")

    async def events(self, *, page: bool = False) -> AsyncGenerator[list[Json], None]:
        sender, receiver = trio.open_memory_channel[Json](100)
        self.readers.append(sender)
        try:
            yield [{"event": "status", "status": {}}]
            async for event in receiver:
                yield [event]
        finally:
            self.readers.remove(sender)
            receiver.close()

    # --- what a test does to it -----------------------------------------------------------

    def publish(self, event: Json) -> None:
        """Tell every reader of the events."""
        for reader in self.readers:
            reader.send_nowait(event)

    def change(self, transfer: str, **fields: Any) -> None:
        """Move a transfer on, as its daemon would, and say so."""
        row = self.transfers_by_id[transfer]
        row.update(fields)
        self.publish({"event": "transfer", "transfer": dict(row)})

    def _act(self, what: str, actor: Actor) -> None:
        self.acts.append((what, actor))

    async def _move(
        self, actor: Actor, direction: str, transfer: str, state: str, allowed: set[str]
    ) -> Json:
        row = await self.transfer(direction, transfer, False)
        if row["state"] not in allowed:
            raise ConflictError(f"a transfer that is {row['state']} cannot become {state}")
        self._act(state, actor)
        row["state"] = state
        return row


def _walk(paths: list[str]) -> tuple[int, int, list[Json]]:
    """Return files, bytes and skipped entries below some paths."""
    files = size = 0
    skipped: list[Json] = []
    for path in paths:
        if not os.path.lexists(path):
            raise SourceError(f"there is no {path}")
        found = [os.path.join(top, name) for top, _, names in os.walk(path) for name in names]
        for name in found if os.path.isdir(path) else [path]:
            if os.path.islink(name):
                skipped.append({"path": name, "path_b64": "", "why": "symlink"})
            elif os.path.basename(name).startswith("sent-before"):
                skipped.append({"path": name, "path_b64": "", "why": "sent-before"})
            else:
                files, size = files + 1, size + os.path.getsize(name)
    return files, size, skipped


@dataclass(frozen=True)
class FakeHome:
    """The part of a home that serve_control needs."""

    folder: Path

    @property
    def socket(self) -> Path:
        """Where the daemon of this home would listen."""
        return self.folder / "run" / "control.sock"


class Served:
    """A desk served by a thread, for tests of the command line, which blocks.

    Attributes:
        desk: What is served. Change it through ``call``, inside the serving thread.
        page: "127.0.0.1:PORT".
    """

    def __init__(self, desk: MemoryDesk, token: trio.lowlevel.TrioToken, page: str) -> None:
        self.desk = desk
        self.page = page
        self._token = token

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a plain function of the desk in the serving thread."""
        return trio.from_thread.run_sync(lambda: function(*args, **kwargs), trio_token=self._token)

    def wait(self, function: Any) -> Any:
        """Return function() once it is true, looked at by the serving thread."""

        async def look() -> Any:
            with trio.fail_after(20):
                while not (value := function()):  # noqa: ASYNC110 - no event says it
                    await trio.sleep(0.005)
            return value

        return trio.from_thread.run(look, trio_token=self._token)


@contextlib.contextmanager
def serve_in_thread(home: Path, desk: MemoryDesk) -> Iterator[Served]:
    """Serve a desk below home/run until the block ends."""
    (home / "run").mkdir(parents=True, exist_ok=True)
    started: list[Served] = []
    ready = threading.Event()
    stop: list[trio.CancelScope] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            stop.append(nursery.cancel_scope)
            told = await nursery.start(serve_control, desk, FakeHome(home))
            started.append(Served(desk, trio.lowlevel.current_trio_token(), told["page"]))
            ready.set()

    thread = threading.Thread(target=trio.run, args=(run,), daemon=True)
    thread.start()
    if not ready.wait(20):
        raise TimeoutError("the desk is not served")
    try:
        yield started[0]
    finally:
        with contextlib.suppress(trio.RunFinishedError):
            started[0].call(stop[0].cancel)
        thread.join(20)
        if thread.is_alive():
            raise TimeoutError("the service does not stop")
