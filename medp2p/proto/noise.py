"""The Noise handshakes: IK between pinned peers, XX for pairing.

The only importer of ``noise``. That library lets out half a dozen unrelated exceptions and
goes on with a half-mixed state after them; here every failure is a HandshakeError and ends
the handshake for good. It also has no bounds on handshake messages; here they are bounded.

Source: Noise specification 34; docs/PROTOCOL.md, "Handshake".
"""

from collections.abc import Callable
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from noise.connection import Keypair, NoiseConnection
from noise.exceptions import (
    NoiseHandshakeError,
    NoiseInvalidMessage,
    NoiseMaxNonceError,
    NoisePSKError,
    NoiseValidationError,
    NoiseValueError,
)

from medp2p import limits
from medp2p.errors import HandshakeError, LocalProtocolError
from medp2p.proto.records import ReceiveCipher, SendCipher

SESSION_SUITE: Final = b"Noise_IK_25519_AESGCM_SHA256"
PAIRING_SUITE: Final = b"Noise_XX_25519_AESGCM_SHA256"
#: What Noise itself adds to the largest handshake message (a key, a sealed key, a tag).
MAX_PAYLOAD_BYTES: Final = limits.MAX_HANDSHAKE_BYTES - 96

_ERRORS: Final = (
    InvalidTag,
    ValueError,
    IndexError,
    TypeError,
    NoiseHandshakeError,
    NoiseInvalidMessage,
    NoiseMaxNonceError,
    NoisePSKError,
    NoiseValidationError,
    NoiseValueError,
)


class Handshake:
    """One handshake, from its first message to the two ciphers.

    Made by the three class methods; an ``ephemeral`` private key is given by test vectors
    only, where known keys must give known bytes. After an error it only raises again.
    """

    def __init__(self, suite: bytes, initiator: bool, prologue: bytes) -> None:
        self._noise = NoiseConnection.from_name(suite)
        (self._noise.set_as_initiator if initiator else self._noise.set_as_responder)()
        self._noise.set_prologue(prologue)
        self._dead = self._was_split = False

    @classmethod
    def session_initiator(
        cls,
        private: bytes,
        remote_public: bytes,
        prologue: bytes,
        *,
        ephemeral: bytes | None = None,
    ) -> Self:
        """Begin a session with a pinned peer (IK).

        Args:
            private: Our X25519 private key, 32 bytes.
            remote_public: The peer's pinned key, 32 bytes.
            prologue: What both sides said before, bound into the handshake.
            ephemeral: For test vectors only.
        """
        handshake = cls(SESSION_SUITE, True, prologue)
        return handshake._start(private, remote_public, ephemeral)

    @classmethod
    def session_responder(
        cls, private: bytes, prologue: bytes, *, ephemeral: bytes | None = None
    ) -> Self:
        """Answer a session (IK). Look at ``remote_static`` before writing anything."""
        return cls(SESSION_SUITE, False, prologue)._start(private, None, ephemeral)

    @classmethod
    def pairing(
        cls, initiator: bool, private: bytes, prologue: bytes, *, ephemeral: bytes | None = None
    ) -> Self:
        """Begin or answer pairing (XX): neither side knows the other's key yet."""
        return cls(PAIRING_SUITE, initiator, prologue)._start(private, None, ephemeral)

    def _start(self, private: bytes, remote: bytes | None, ephemeral: bytes | None) -> Self:
        try:
            self._noise.set_keypair_from_private_bytes(Keypair.STATIC, private)
            if remote is not None:
                self._noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
            if ephemeral is not None:
                self._noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
            self._noise.start_handshake()
        except _ERRORS as error:
            raise LocalProtocolError(f"handshake keys: {type(error).__name__}") from error
        # The library deletes this at the end, and with it the peer's key.
        self._state = self._noise.noise_protocol.handshake_state
        return self

    def _guard(self, step: Callable[[bytes], bytearray], data: bytes) -> bytes:
        if self._dead:
            raise HandshakeError("this handshake has failed before")
        try:
            return bytes(step(data))
        except _ERRORS as error:
            self._dead = True
            raise HandshakeError(f"the handshake failed ({type(error).__name__})") from None

    def write(self, payload: bytes = b"") -> bytes:
        """Return the next handshake message.

        Args:
            payload: At most MAX_PAYLOAD_BYTES. That of the first IK message can be
                replayed: nothing depends on it.

        Raises:
            HandshakeError: The peer's key is not a usable one, or it is not our turn.
            LocalProtocolError: The payload is too long.
        """
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise LocalProtocolError(f"handshake payload of {len(payload)} bytes")
        return self._guard(self._noise.write_message, payload)

    def read_untrusted(self, message: bytes) -> bytes:
        """Take the peer's next handshake message; return its payload.

        Raises:
            HandshakeError: Wrong key, other prologue, damaged, or too long.
        """
        if len(message) > limits.MAX_HANDSHAKE_BYTES:
            self._dead = True
            raise HandshakeError("handshake message too long")
        return self._guard(self._noise.read_message, bytes(message))

    @property
    def done(self) -> bool:
        """Whether both sides have said all of the handshake."""
        return bool(self._noise.handshake_finished) and not self._dead

    @property
    def remote_static(self) -> bytes | None:
        """The peer's X25519 public key, or None before it has told it."""
        public = getattr(self._state.rs, "public_bytes", None)
        return None if public is None else bytes(public)

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that no other handshake has; both sides hold the same.

        Raises:
            LocalProtocolError: The handshake is not done.
        """
        self._check_done()
        return bytes(self._noise.get_handshake_hash())

    def split(self) -> tuple[SendCipher, ReceiveCipher]:
        """Return the ciphers of the session. Call it once: nonces start from 0.

        Raises:
            LocalProtocolError: The handshake is not done, or was split before.
        """
        self._check_done()
        if self._was_split:
            raise LocalProtocolError("the handshake was split before")
        self._was_split = True
        protocol = self._noise.noise_protocol
        return (
            SendCipher(protocol.cipher_state_encrypt.k),
            ReceiveCipher(protocol.cipher_state_decrypt.k),
        )

    def _check_done(self) -> None:
        if not self.done:
            raise LocalProtocolError("the handshake is not done")
