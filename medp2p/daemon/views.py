"""How transfers and peers look in JSON (docs/CLI.md): built from rows, papers and what moves."""

import base64
import json
from contextlib import suppress
from typing import Any

from medp2p import limits
from medp2p.daemon import again, checking, expiring, papers, proofs
from medp2p.daemon.labels import label_view
from medp2p.daemon.station import Station
from medp2p.dicom.label import decode_label_untrusted
from medp2p.errors import RemoteProtocolError, SealBrokenError, StoreError, VaultLockedError
from medp2p.identity import encode_peer_id, fingerprint_text, key_words
from medp2p.manifest import Entry, Kind
from medp2p.model import ENDED, WHOLE, Direction, State
from medp2p.text import path_text, rfc3339
from medp2p.vault import facts, transfers
from medp2p.vault.peers import PeerRow
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow

Json = dict[str, Any]
#: Facts whose times stand beside those of a transfer: somebody has looked at what came.
_LOOKED_AT = ("opened", "previewed")


def when(ms: int | None) -> str | None:
    """Return a time as RFC 3339 UTC, or None."""
    return None if ms is None else rfc3339(ms)


def named(path: bytes) -> Json:
    """Return a path as text and byte for byte."""
    return {"path": path_text(path), "path_b64": base64.b64encode(path).decode()}


def transfer(station: Station, row: TransferRow) -> Json:
    """Return a transfer without anything that is sealed."""
    live = station.board.live.get(row.id)
    chunks = max(1, -(-row.length // limits.CHUNK_BYTES))
    done = live.chunks_done if live is not None else row.chunks_done
    whole = row.state in WHOLE or row.sealed_ms is not None
    view: Json = {
        "id": row.id,
        "direction": row.direction.value,
        "peer": row.peer_name,
        "state": row.state.value,
        "reason": None
        if row.reason is None
        else {
            "code": row.reason.code,
            "text": row.reason.text,
            "since": rfc3339(row.reason.since_ms),
        },
        "held": None if row.held is None or row.state in ENDED else json.loads(row.held),
        "priority": row.priority.value,
        "files": row.files,
        "entries": row.entries,
        "skipped": row.skipped,
        "bytes": row.file_bytes,
        "bytes_done": row.file_bytes if whole else row.file_bytes * min(done, chunks) // chunks,
        "rate": None if live is None else round(live.rate()),
        "wire_bytes": station.board.wire_bytes(row.id),
        "root": None if row.root is None or not whole else row.root.hex(),
        "created": rfc3339(row.created_ms),
        "decided": when(row.decided_ms),
        "sealed": when(row.sealed_ms),
        "released": when(row.released_ms),
        "finished": when(row.finished_ms),
        "checked": when(row.checked_ms),
        "expires": when(expiring.date_ms(station, row)),
        "error": row.error,
    }
    return view


def with_papers(tx: Tx, station: Station, row: TransferRow) -> Json:
    """Return a transfer with what its papers say, as far as they can be opened."""
    view = transfer(station, row)
    view["addendum_of"] = again.added_to(tx, row.id)
    view["addenda"] = again.addenda(tx, row.id)
    view |= {kind: when(facts.first_time(tx, row.peer_key, row.id, kind)) for kind in _LOOKED_AT}
    kept = transfers.blob_names(tx, row.id)

    def paper(name: str) -> bytes | None:
        return papers.get(tx, station, row.id, name) if name in kept else None

    try:
        if papers.SUMMARY in kept:
            offer = papers.summary(tx, station, row.id)
            view["note"] = offer.note
            view["label"] = label(offer.label)
        if (released := paper(papers.RELEASED)) is not None:
            view["releases"] = json.loads(released)
            view["released_to"] = view["releases"][-1]
        if (why := paper(papers.RECALL)) is not None:
            view["recall"] = {"reason": why.decode(errors="replace")}
        names = paper(papers.DETAIL)
        if names is not None and isinstance(row.error, dict):
            text = f"{row.error['text']}: {names.decode(errors='replace')}"
            view["error"] = row.error | {"text": text}
            if row.state is State.DECLINED:
                since = rfc3339(row.finished_ms or row.updated_ms)
                said = names.decode(errors="replace")
                view["reason"] = {"code": "declined", "text": said, "since": since}
    except VaultLockedError:
        view.pop("label", None)
    except (
        SealBrokenError,
        StoreError,
        RemoteProtocolError,
    ) as error:  # one damaged row must not hide the others
        view["label"] = None
        view["error"] = error.to_json()
    else:
        view.setdefault("label", None)
    return view


def label(data: bytes) -> Json | None:
    """Return the label of an offer; None if it carries none.

    Raises:
        RemoteProtocolError: It is damaged.
    """
    return label_view(decode_label_untrusted(data)) if data else None


def full(tx: Tx, station: Station, row: TransferRow, *, entries: bool) -> Json:
    """Return everything about one transfer: facts and, if asked, its manifest."""
    view = with_papers(tx, station, row)
    with suppress(VaultLockedError, SealBrokenError, RemoteProtocolError):
        view["check"] = checking.view(tx, station, row)
    view["facts"] = [
        {
            "fact": fact.kind,
            "number": fact.number,
            "time": rfc3339(fact.time_ms),
            "by": "us" if fact.direction is Direction.OUT else row.peer_name,
            "acknowledged": fact.acked,
            "detail": _said(station, fact),
        }
        for fact in facts.of_transfer(tx, row.peer_key, row.id)
    ]
    if (
        entries
        and row.scan_id is not None
        and papers.get(tx, station, row.scan_id, papers.SOURCES) is not None
    ):
        skipped = papers.scan(tx, station, row.scan_id).skipped
        view["skipped_entries"] = [named(item.path) | {"why": item.why} for item in skipped]
    if entries and papers.get(tx, station, row.id, papers.MANIFEST) is not None:
        view["entry_list"] = [entry_view(entry) for entry in papers.manifest(tx, station, row.id)]
    return view


def _said(station: Station, fact: facts.FactRow) -> Json | None:
    """Return what a fact says beside its kind: by whom, why; None while the vault is locked."""
    try:
        return dict(proofs.told(station, fact))
    except (VaultLockedError, SealBrokenError):
        return None


def entry_view(entry: Entry) -> Json:
    """Return one manifest entry."""
    return named(entry.path) | {
        "kind": "file" if entry.kind is Kind.FILE else "folder",
        "bytes": entry.size,
        "mtime": rfc3339(entry.mtime_ns // 1_000_000),
    }


def peer(station: Station, row: PeerRow) -> Json:
    """Return a paired workstation, its settings and whether it is there."""
    return {
        "name": row.name,
        "peer_id": encode_peer_id(row.noise_key),
        "key_words": key_words(row.noise_key),
        "fingerprint": fingerprint_text(row.noise_key),
        "sign_key": None if row.sign_key is None else row.sign_key.hex(),
        "told_name": row.told_name,
        "told_department": row.told_department,
        "told_place": row.told_place,
        "software": row.software,
        "source": row.source,
        "created": rfc3339(row.created_ms),
        "verified": when(row.verified_ms),
        "verified_by": row.verified_by,
        "addresses": list(row.addresses),
        "settings": dict(row.settings),
        "last_seen": when(row.last_seen_ms),
        "route": station.book.route(row),
        **station.book.presence(row.noise_key),
    }
