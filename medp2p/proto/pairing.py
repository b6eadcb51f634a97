"""Pairing by code: SPAKE2 over the words of the code, inside a Noise XX channel.

The only importer of ``spake2``. Both static keys, the handshake hash and the code's public
number enter the exchange, so that a confirmation holds for this channel between these two
keys and for nothing else: someone in the middle has two channels, and learns from a run only
whether one guess at the words was right. The joiner confirms first.

Each step is pure Python on curve points and takes 3 to 4 ms: run it in a thread.

Source: Abdalla and Pointcheval 2005 (SPAKE2), in the form of the ``spake2`` package, plus
key confirmation; docs/PROTOCOL.md, "Pairing".
"""

import hmac
from collections.abc import Callable
from typing import Final

from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from medp2p.errors import LocalProtocolError, PairingError, RemoteProtocolError
from medp2p.proto.messages import PairConfirm, PairReply, PairStart

_JOINER: Final = b"medp2p 1 pairing joiner\0"
_WAITER: Final = b"medp2p 1 pairing waiter\0"
_WRONG: Final = "the code was wrong"
_WRONG_HINT: Final = "ask for a new code: a code is good for one try"


class _Side:
    """What joiner and waiter have in common: one SPAKE2 run and its bindings."""

    def __init__(
        self,
        spake: type[SPAKE2_A] | type[SPAKE2_B],
        code_words: str,
        binding: bytes,
        keys: tuple[bytes, bytes],
        random_bytes: Callable[[int], bytes] | None,
    ) -> None:
        joiner, waiter = keys
        if len(binding) != 32 + 4 or len(joiner) != 32 or len(waiter) != 32:
            raise LocalProtocolError("pairing needs a handshake hash and two keys")
        self._binding = binding
        self._spake = spake(
            code_words.encode(),
            idA=_JOINER + joiner + binding,
            idB=_WAITER + waiter + binding,
            **({} if random_bytes is None else {"entropy_f": random_bytes}),
        )
        self._key: bytes | None = None
        self._burnt = False
        self._step = 0

    @property
    def burnt(self) -> bool:
        """Whether someone may have learnt if one guess was right: never use the code again."""
        return self._burnt

    def _advance(self, step: int) -> None:
        if self._step != step:
            raise LocalProtocolError("pairing steps out of order")
        self._step += 1

    def _finish_untrusted(self, element: bytes) -> None:
        try:
            self._key = self._spake.finish(element)
        except (SPAKEError, NotOnCurve, ValueError, AssertionError) as error:
            raise RemoteProtocolError(f"pairing element ({type(error).__name__})") from None

    def _mac(self, who: bytes) -> bytes:
        if self._key is None:
            raise LocalProtocolError("pairing steps out of order")
        return hmac.digest(self._key, who + self._binding, "sha256")

    def _check_untrusted(self, confirm: PairConfirm, who: bytes) -> None:
        if not hmac.compare_digest(confirm.mac, self._mac(who)):
            raise PairingError(_WRONG, hint=_WRONG_HINT)


def _bind(handshake_hash: bytes, number: int) -> bytes:
    return handshake_hash + number.to_bytes(4, "big")


class Joiner(_Side):
    """The side where the code is typed. start, reply, confirm: once each, in this order.

    Args:
        code_words: The secret words as identity.parse_code gives them.
        number: The public number of the code.
        handshake_hash: Of the Noise XX handshake that carries this run, 32 bytes.
        my_static: Our X25519 public key.
        peer_static: The key that the handshake showed.
        random_bytes: For the secret of this run, which test vectors know; else the system's.
    """

    def __init__(
        self,
        code_words: str,
        number: int,
        handshake_hash: bytes,
        my_static: bytes,
        peer_static: bytes,
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self._number = number
        keys = (my_static, peer_static)
        super().__init__(SPAKE2_A, code_words, _bind(handshake_hash, number), keys, random_bytes)

    def start(self) -> PairStart:
        """Return the first message; it tells nothing about the words."""
        self._advance(0)
        return PairStart(self._number, self._spake.start())

    def reply(self, message: PairReply) -> PairConfirm:
        """Return our confirmation. From here on the code is burnt, come what may.

        Raises:
            RemoteProtocolError: Not an element of the group, or our own sent back.
        """
        self._advance(1)
        self._finish_untrusted(message.spake)
        self._burnt = True
        return PairConfirm(self._mac(_JOINER))

    def confirm(self, message: PairConfirm) -> None:
        """Check the waiter's confirmation: afterwards its key may be pinned.

        Raises:
            PairingError: The other side does not know the words.
        """
        self._advance(2)
        self._check_untrusted(message, _WAITER)


class Waiter(_Side):
    """The side that shows the code. start, confirm: once each, in this order.

    Arguments as for Joiner.
    """

    def __init__(
        self,
        code_words: str,
        number: int,
        handshake_hash: bytes,
        my_static: bytes,
        peer_static: bytes,
        random_bytes: Callable[[int], bytes] | None = None,
    ) -> None:
        self._number = number
        keys = (peer_static, my_static)
        super().__init__(SPAKE2_B, code_words, _bind(handshake_hash, number), keys, random_bytes)

    def start(self, message: PairStart) -> PairReply:
        """Return our element; it tells nothing about the words, so nothing is burnt yet.

        Raises:
            RemoteProtocolError: Another number, or not an element of the group.
        """
        self._advance(0)
        if message.number != self._number:
            raise RemoteProtocolError("pairing for another number")
        element = self._spake.start()
        self._finish_untrusted(message.spake)
        return PairReply(element)

    def confirm(self, message: PairConfirm) -> PairConfirm:
        """Check the joiner's confirmation, the one guess that a code allows; return ours.

        Raises:
            PairingError: The other side does not know the words; ours is not sent then.
        """
        self._advance(1)
        self._burnt = True
        self._check_untrusted(message, _JOINER)
        return PairConfirm(self._mac(_WAITER))
