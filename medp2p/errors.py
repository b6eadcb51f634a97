"""Every error that medp2p raises on purpose, with its code, exit status and hint.

A class says whose doing it is; its ``code`` is stable (wire, JSON, audit), its text says what
happened and its ``hint`` what to do. docs/PROTOCOL.md and ``medp2p --help`` list codes and
exit statuses; a test checks that codes are unique and documented.
"""

from typing import ClassVar


class MedP2PError(Exception):
    """Base of all errors with a message meant for a person.

    Attributes:
        code: Stable lower-case word, unique per class.
        exit_code: Exit status of the command line (docs/CLI.md, "Exit codes").
        retryable: Whether the same act may succeed later without anyone changing anything.
        hint: What to do about it, or None.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint if hint is not None else self.default_hint
        #: What a command shows in JSON beside the error.
        self.beside: dict[str, object] = {}

    def to_json(self) -> dict[str, object]:
        """Return the error as the JSON contract shows it."""
        return {
            "code": self.code,
            "text": self.text,
            "hint": self.hint,
            "retryable": self.retryable,
        }


# --- the protocol -------------------------------------------------------------------------


class LocalProtocolError(MedP2PError):
    """Our own bug: we tried something that the protocol does not allow now."""

    code = "local-protocol"


class RemoteProtocolError(MedP2PError):
    """The peer broke the protocol; its link ends, nothing else does."""

    code = "remote-protocol"


class HandshakeError(MedP2PError):
    """The Noise handshake failed: wrong key, damaged or foreign bytes."""

    code = "handshake"


class UntrustedPeerError(MedP2PError):
    """Someone whose key is not pinned asked for a session.

    Attributes:
        key: The X25519 key that it proved to own, if it is known.
    """

    code = "untrusted-peer"

    def __init__(self, text: str, *, hint: str | None = None, key: bytes | None = None) -> None:
        super().__init__(text, hint=hint)
        self.key = key


class VersionError(MedP2PError):
    """The two sides have no protocol version in common, or an older one than before."""

    code = "version"


class LinkLostError(MedP2PError):
    """The network under a conversation failed; it is tried again."""

    code = "link-lost"
    retryable = True


class UnreachableError(MedP2PError):
    """No address of the peer answered as that peer."""

    code = "unreachable"
    retryable = True


# --- transfers ----------------------------------------------------------------------------


class TransferRefusedError(MedP2PError):
    """The receiver declined, or the transfer was recalled or has expired."""

    code = "refused"
    exit_code = 4


class TransferAbortedError(MedP2PError):
    """One side ended the transfer for good."""

    code = "aborted"


class SourceChangedError(MedP2PError):
    """A source file is not what the scan saw; never a mix of old and new is sent."""

    code = "source-changed"
    default_hint = "send the files again once nothing writes to them"


class SourceError(MedP2PError):
    """A source cannot be read, or the selection makes no sense."""

    code = "source"
    exit_code = 2


class IntegrityError(MedP2PError):
    """Bytes are not what was agreed: digest, root, header or length differ."""

    code = "integrity"
    exit_code = 6


# --- the vault ----------------------------------------------------------------------------


class VaultLockedError(MedP2PError):
    """The vault key is not at hand."""

    code = "vault-locked"
    exit_code = 7


class SealBrokenError(MedP2PError):
    """A sealed file or blob does not authenticate, or a record leads its data."""

    code = "seal-broken"
    exit_code = 6


class NoSpaceError(MedP2PError):
    """The file system has not room enough; goes on by itself when it has."""

    code = "no-space"
    retryable = True


class StoreError(MedP2PError):
    """The database is damaged, newer than this program, or cannot be written."""

    code = "store"


class ReleaseError(MedP2PError):
    """A release could not be carried out; nothing is left at the target."""

    code = "release"


# --- the workstation ----------------------------------------------------------------------


class OutputError(MedP2PError):
    """A file that was asked for, or what a command prints, cannot be written."""

    code = "output"


class HomeError(MedP2PError):
    """The home folder is missing, foreign, or cannot be used."""

    code = "home"


class KeyFileError(MedP2PError):
    """A key file is missing, damaged, foreign or readable by others. Names the file."""

    code = "key-file"


class AlreadyRunningError(MedP2PError):
    """Another daemon holds this home; the text names it."""

    code = "already-running"


class ConfigError(MedP2PError):
    """config.toml or a setting is wrong; the text names the key."""

    code = "config"


class ListenError(MedP2PError):
    """The address to listen on is taken or not ours."""

    code = "listen"


class PairingError(MedP2PError):
    """Pairing did not come about: wrong code, none open, broken off."""

    code = "pairing"


class KeyAlarmError(MedP2PError):
    """A pinned peer showed another key than the pinned one; nothing is updated."""

    code = "key-alarm"


class AuditError(MedP2PError):
    """The audit chain does not verify, or cannot be written."""

    code = "audit"
    exit_code = 6


# --- the command line and the API ---------------------------------------------------------


class UsageError(MedP2PError):
    """The words of a command or a request are off."""

    code = "usage"
    exit_code = 2


class NoDaemonError(MedP2PError):
    """No daemon answers for this home."""

    code = "no-daemon"
    exit_code = 3
    default_hint = "start it with `medp2p daemon`"


class NoSessionError(MedP2PError):
    """The page was asked for something without a session, or after its end."""

    code = "no-session"
    default_hint = "open the page with `medp2p web`"


class CheckRefusedError(MedP2PError):
    """A check or an expectation refused the act."""

    code = "check-refused"
    exit_code = 5


class UnknownPeerError(MedP2PError):
    """No peer of that name is paired."""

    code = "unknown-peer"
    exit_code = 8
    default_hint = "`medp2p peers` lists the paired workstations"


class NotFoundError(MedP2PError):
    """No transfer, or more than one, answers to that id."""

    code = "not-found"


class ConflictError(MedP2PError):
    """The act does not fit the state that the thing is in."""

    code = "conflict"


class ControlError(MedP2PError):
    """The local API gave no usable answer."""

    code = "control"
