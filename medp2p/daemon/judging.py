"""What somebody wants released, and what speaks against it.

A release is refused when the files are not what their label promised, or not whose images are
expected. A refusal names fields only: their values are patient data.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from medp2p import limits
from medp2p.daemon import checking, endings, papers, policy
from medp2p.daemon.station import Station
from medp2p.dicom.compare import Difference, Domain, Expectation, parse_expectation, unmet
from medp2p.dicom.label import decode_label_untrusted
from medp2p.errors import CheckRefusedError, UsageError
from medp2p.model import Actor, short_id
from medp2p.vault import peers, targets
from medp2p.vault.store import Tx
from medp2p.vault.transfers import TransferRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants released, and how.

    Attributes:
        target: Absolute path of the folder to release into.
        allow: Codes of holds that a person lets pass: "label-differs".
        expect: Whose images they must be; None: not asked.
        for_seconds: After so long what is unchanged of the folder is removed; None: never.
    """

    target: bytes
    allow: Sequence[str] = ()
    expect: Expectation | None = None
    for_seconds: int | None = None


def order_of(tx: Tx, given: dict[str, Any]) -> Order:
    """Return an order as the API takes it.

    Args:
        tx: Any transaction.
        given: ``to`` (bytes) or ``target`` (a name); ``allow``, ``expect`` (fields of an
            expectation) and ``for_seconds`` if they are wanted.

    Raises:
        UsageError: It makes no sense.
        NotFoundError: No target has that name.
    """
    target, named = given.get("to"), given.get("target")
    if (target is None) == (named is None):
        raise UsageError("a release goes to a folder or to a named target")
    if named is not None:
        target = os.fsencode(policy.folder_of(targets.get(tx, named).target) or "")
    if b"\0" in (target or b""):
        raise UsageError("no path holds a NUL")
    allow = list(given.get("allow") or [])
    for code in allow:
        if code != checking.LABEL_DIFFERS:
            raise UsageError(
                "that is no hold that a person can let pass", hint=f"{checking.LABEL_DIFFERS} is"
            )
    seconds = given.get("for_seconds")
    least, most = limits.MIN_RELEASE_SECONDS, limits.MAX_RELEASE_SECONDS
    if seconds is not None and not least <= seconds <= most:
        raise UsageError("a release is for a second at least, and for a year at most")
    fields = given.get("expect")
    expect = None
    if fields is not None:
        expect = parse_expectation(json.dumps(fields).encode())
    return Order(target=target or b"", allow=allow, expect=expect, for_seconds=seconds)


def ordered(row: TransferRow, order: Order) -> dict[str, object]:
    """Return what the audit log says about an order that is carried out."""
    detail: dict[str, object] = {}
    if row.check_result == checking.DIFFERS:
        detail["allowed"] = [checking.LABEL_DIFFERS]
    if order.expect is not None:
        detail["expected"] = _given(order.expect)
    if order.for_seconds is not None:
        detail["for_seconds"] = order.for_seconds
    return detail


def _given(expect: Expectation) -> list[str]:
    """Return the names of the fields that are expected; their values are patient data."""
    return [name for name, value in msgspec.structs.asdict(expect).items() if value is not None]


def refusal(
    tx: Tx, station: Station, actor: Actor, row: TransferRow, order: Order
) -> CheckRefusedError | None:
    """Return why it is not released, audited; None when nothing speaks against it."""
    short = short_id(row.id)
    if row.check_result == checking.DIFFERS and checking.LABEL_DIFFERS not in order.allow:
        seen = checking.found(tx, station, row.id)
        fields = sorted({one.field for one in seen.differences}) if seen is not None else []
        detail: dict[str, object] = {"code": checking.LABEL_DIFFERS, "fields": fields}
        endings.record(tx, station, row, "release", actor, "refused", detail)
        return CheckRefusedError(
            f"held: the files are not what the label promised ({', '.join(fields)})",
            hint=f"look at `medp2p inbox show {short}`; a person may release it all the same "
            f"with --allow {checking.LABEL_DIFFERS}",
        )
    if order.expect is None:
        return None
    differences = _unexpected(tx, station, row, order.expect)
    if not differences:
        return None
    fields = sorted({one.field for one in differences})
    detail = {"code": "expectation", "fields": fields}
    endings.record(tx, station, row, "release", actor, "refused", detail)
    words = ", ".join(field.replace("_", " ") for field in fields)
    return CheckRefusedError(
        f"not as expected: {words}; nothing was released",
        hint=f"`medp2p inbox show {short}` shows whose images they are",
    )


def _unexpected(
    tx: Tx, station: Station, row: TransferRow, expect: Expectation
) -> list[Difference]:
    """Compare an expectation with the files as they came, and with what was typed for them."""
    seen = checking.found(tx, station, row.id)
    label = None if seen is None else checking.label_of(seen)
    if label is None:
        return [Difference("patient", "", "", "nobody knows whose images they are")]
    people = [line.patient for line in label.patients]
    promised = papers.summary(tx, station, row.id).label
    if promised:
        people += [one for one in decode_label_untrusted(promised).persons if one not in people]
    studies = [line.study for line in label.studies]
    peer = peers.by_key(tx, row.peer_key)
    # Whoever is not paired any more is nobody of this organisation.
    told = "external" if peer is None else peer.settings.get("domain")
    domain: Domain = "external" if told == "external" else "internal"
    found = unmet(expect, people, studies, domain=domain)
    exact = expect.accession is not None or expect.study_uid is not None
    if exact and label.left_out.studies:
        found.append(Difference("study_uid", "", "", "more studies than a label holds"))
    return found
