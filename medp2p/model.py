"""Frozen values that every package shares: states, transfer ids, actors.

The words are those of docs/ARCHITECTURE.md, "Words".
"""

import base64
import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from medp2p.errors import UsageError

TRANSFER_ID_BYTES = 16
_TRANSFER_ID = re.compile(r"[a-z2-7]{26}\Z")


class State(enum.StrEnum):
    """Where a transfer stands; why it waits or is held stands in its reason."""

    PREPARING = "preparing"
    READY = "ready"
    QUEUED = "queued"
    WAITING = "waiting"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    SENDING = "sending"
    RECEIVING = "receiving"
    PAUSED = "paused"
    SEALED = "sealed"
    RELEASING = "releasing"
    RELEASED = "released"
    DECLINED = "declined"
    RECALLING = "recalling"
    RECALLED = "recalled"
    CANCELLED = "cancelled"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    DISCARDED = "discarded"
    FAILED = "failed"


#: States that nothing leaves any more.
ENDED = frozenset(
    {
        State.DECLINED,
        State.RECALLED,
        State.CANCELLED,
        State.EXPIRED,
        State.DISCARDED,
        State.FAILED,
    }
)

#: States in which the stream is whole at the receiver.
WHOLE = frozenset({State.SEALED, State.RELEASING, State.RELEASED, State.EXPIRING})


class Direction(enum.StrEnum):
    """Seen from this workstation: outbox or inbox."""

    OUT = "out"
    IN = "in"


class Priority(enum.StrEnum):
    """How urgent the sender calls a transfer."""

    STAT = "stat"
    ROUTINE = "routine"


def new_transfer_id(random_bytes: Callable[[int], bytes]) -> str:
    """Return a fresh transfer id: 26 lower-case base32 characters (RFC 4648), 128 bits."""
    return transfer_id_from_bytes(random_bytes(TRANSFER_ID_BYTES))


def transfer_id_from_bytes(raw: bytes) -> str:
    """Return the text of a 16-byte transfer id."""
    return base64.b32encode(raw).decode().rstrip("=").lower()


def transfer_id_to_bytes(text: str) -> bytes:
    """Return the 16 bytes of a transfer id.

    Raises:
        UsageError: The text is not a transfer id.
    """
    if not _TRANSFER_ID.match(text):
        raise UsageError("a transfer id has 26 characters of a-z and 2-7")
    raw = base64.b32decode(text.upper() + "=" * 6)
    if transfer_id_from_bytes(raw) != text:
        raise UsageError("not a transfer id: its last character is off")
    return raw


def short_id(transfer_id: str) -> str:
    """Return the first 8 characters: folder names and listings."""
    return transfer_id[:8]


#: What the audit log can say that happened.
AuditEvent = Literal[
    "abort",
    "accept",
    "acknowledge",
    "alarm",
    "cancel",
    "check",
    "config",
    "decline",
    "destroy",
    "discard",
    "expire",
    "expiring",
    "fact-refused",
    "fail",
    "offer",
    "open",
    "page-ended",
    "page-opened",
    "page-refused",
    "pair",
    "pairing-close",
    "pairing-open",
    "policy",
    "previewed",
    "recall",
    "release",
    "release-begin",
    "release-to",
    "reveal-label",
    "seal",
    "send",
    "strangers",
    "target-add",
    "target-remove",
    "unpair",
    "verify",
    "verify-peer",
    "withdraw",
]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, for the audit log.

    Attributes:
        os_user: Account on this machine, or None where a peer or a rule acted.
        via: "cli", "page", "rule" or "peer".
        operator: Signed-in person; later.
    """

    os_user: str | None
    via: str
    operator: str | None = None

    @property
    def name(self) -> str:
        """Who acts, as records and facts name them."""
        return self.operator or self.os_user or self.via

    def to_json(self) -> dict[str, str | None]:
        """Return the actor as the audit log keeps it."""
        return {"os_user": self.os_user, "operator": self.operator, "via": self.via}


#: What the daemon does on its own account, and what a peer does.
RULE = Actor(os_user=None, via="rule")
PEER = Actor(os_user=None, via="peer")


#: Why images go to somebody outside.
PURPOSES = ("treatment", "second-opinion", "legal", "patient-request", "research", "other")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a transfer waits, is paused or held.

    Attributes:
        code: Stable word, such as "peer-away", "no-space", "undecided", "receiver-full".
        text: A sentence for a person; no patient data.
        since_ms: Milliseconds since 1970 UTC.
    """

    code: str
    text: str
    since_ms: int
