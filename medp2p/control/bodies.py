"""What a request to the API may hold: one model for each body, and the request as a whole."""

import base64
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from medp2p.errors import UsageError
from medp2p.model import Actor


class _Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of the bodies below; a field that nobody knows is refused."""


class AddPeer(_Body):
    """Body of POST /v1/peers."""

    name: str
    peer_id: str
    addresses: list[str] = []


class SetPeer(_Body):
    """Body of PATCH /v1/peers/{name}."""

    settings: dict[str, str]


class JoinPairing(_Body):
    """Body of POST /v1/pairing/join."""

    code: str
    at: str | None = None


class StartScan(_Body):
    """Body of POST /v1/scans; msgspec reads base64 for bytes."""

    peer: str
    paths_b64: list[bytes]
    wishes: dict[str, Any] = {}


class QueueTransfer(_Body):
    """Body of POST /v1/transfers."""

    scan: str
    peer: str
    note: str = ""
    priority: Literal["stat", "routine"] = "routine"
    part: int = 0
    confirmation: dict[str, Any] = {}


class Check(_Body):
    """Body of POST /v1/scans/{id}/check."""

    part: int = 0
    confirmation: dict[str, Any] = {}


class Reveal(_Body):
    """Body of POST /v1/scans/{id}/reveal."""

    part: int = 0


class Decline(_Body):
    """Body of POST /v1/transfers/{id}/decline."""

    reason: str = ""


class Recall(_Body):
    """Body of POST /v1/transfers/{id}/recall."""

    reason: str = ""


class AnswerDestroy(_Body):
    """Body of POST /v1/transfers/{id}/answer."""

    destroyed: bool
    by: str = ""


class Release(_Body):
    """Body of POST /v1/transfers/{id}/release."""

    to_b64: bytes | None = None
    target: str | None = None
    allow: list[str] = []
    expect: dict[str, str] | None = None
    for_seconds: int | None = None


class Preview(_Body):
    """Body of POST /v1/transfers/{id}/previews."""

    series: list[str] | None = None


class Accept(_Body):
    """Body of POST /v1/transfers/{id}/accept."""

    release_to: str | None = None


class AddTarget(_Body):
    """Body of POST /v1/targets."""

    name: str
    target: str


class OpenPage(_Body):
    """Body of POST /v1/web."""

    file: bool = True


class OpenSession(_Body):
    """Body of POST /session."""

    token: str


_B = TypeVar("_B", bound=_Body)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and judged: who asks, the words of its address, its body."""

    actor: Actor
    path: dict[str, str]
    query: dict[str, str]
    raw_body: bytes

    def body(self, model: type[_B]) -> _B:
        """Return the body as a model.

        Raises:
            UsageError: It is not one; the text names the field.
        """
        try:
            return msgspec.json.decode(self.raw_body or b"{}", type=model)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UsageError(f"the request does not fit: {error}") from None

    def number(self, name: str, default: int) -> int:
        """Return a whole number from the query.

        Raises:
            UsageError: It is none, or beyond 53 bits.
        """
        text = self.query.get(name, str(default))
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
            raise UsageError(f"{name} is a whole number")
        return int(text)

    def octets(self, name: str) -> bytes | None:
        """Return the bytes that the query has in base64; None without it.

        Raises:
            UsageError: It is not base64.
        """
        text = self.query.get(name)
        if not text:
            return None
        try:
            return base64.b64decode(text.encode("ascii"), validate=True)
        except ValueError:
            raise UsageError(f"{name} is not base64") from None

    def flag(self, name: str) -> bool:
        """Return whether a query word is set to 1."""
        return self.query.get(name) == "1"
