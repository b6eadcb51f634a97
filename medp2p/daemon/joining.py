"""Typing a pairing code: find who shows it, prove the words to each other, learn who it is.

A code is used in one run with one address. From the moment our confirmation leaves, the other
end knows whether one guess was right, so the code is never used again, come what may.

Source: docs/PROTOCOL.md, "Pairing".
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import trio

from medp2p import limits
from medp2p.daemon.address import format_address
from medp2p.daemon.book import Book, Place
from medp2p.errors import (
    HandshakeError,
    LinkLostError,
    MedP2PError,
    PairingError,
    RemoteProtocolError,
    UnreachableError,
)
from medp2p.identity import fingerprint_text
from medp2p.net.dial import DialError, Identity, Route, dial_pairing
from medp2p.net.handshake import PairingChannel
from medp2p.net.link import Link, open_link
from medp2p.proto.messages import Bye, Message, PairConfirm, PairDone, PairRefused, PairReply
from medp2p.proto.pairing import Joiner

M = TypeVar("M", bound=Message)
T = TypeVar("T")

_ASK = "ask for a new code on the other workstation"


async def in_thread(step: Callable[..., T], *args: object) -> T:
    """Run a SPAKE2 step, some milliseconds of pure Python, outside the event loop."""
    return await trio.to_thread.run_sync(step, *args)


async def hear(link: Link, kind: type[M]) -> M:
    """Return the next message of a pairing, which must be of this kind.

    Raises:
        PairingError: The other side refuses, or says nothing for PAIRING_STEP_SECONDS.
        LinkLostError, RemoteProtocolError: See Link.receive.
    """
    try:
        with trio.fail_after(limits.PAIRING_STEP_SECONDS):
            message = await link.receive()
    except trio.TooSlowError:
        raise PairingError("the other workstation stopped answering", hint=_ASK) from None
    if isinstance(message, PairRefused):
        raise _refusal(message)
    if not isinstance(message, kind):
        raise RemoteProtocolError("a pairing message out of turn")
    return message


def _refusal(message: PairRefused) -> PairingError:
    if message.code == "wrong-code":
        return PairingError("the code was wrong", hint="the other workstation shows a new one now")
    return PairingError(
        "the other workstation does not wait for this code",
        hint="it may have expired or been used: run `medp2p pair` there again",
    )


# --- finding the other side ---------------------------------------------------------------


async def find_waiting(book: Book, number: int) -> tuple[Sequence[Place], str]:
    """Return addresses and fingerprint of the one workstation that waits with a number.

    Looks for PAIRING_SEARCH_SECONDS, and a moment longer for a second one.

    Raises:
        PairingError: There is none, or more than one.
    """
    with trio.move_on_after(limits.PAIRING_SEARCH_SECONDS):
        while not book.waiting_with(number):
            await book.wait_changed()
        with trio.move_on_after(limits.PAIRING_SETTLE_SECONDS):
            while len(book.waiting_with(number)) == 1:
                await book.wait_changed()
    found = book.waiting_with(number)
    if not found:
        raise PairingError(
            f"no workstation nearby waits with the number {number}",
            hint="check the number, or name the address: --at ADDR:PORT",
        )
    if len(found) > 1:
        where = " and ".join(format_address(*item.addresses[0]) for item in found if item.addresses)
        raise PairingError(
            f"{len(found)} workstations wait with the number {number}: {where}",
            hint="say which one is meant: --at ADDR:PORT",
        )
    return found[0].addresses, found[0].fingerprint


class _Reach:
    """Connect to all addresses of one workstation; the first channel counts."""

    def __init__(self, identity: Identity, fingerprint: str | None) -> None:
        self.channel: PairingChannel | None = None
        self.failures: list[MedP2PError] = []
        self._identity = identity
        self._fingerprint = fingerprint

    async def attempt(self, route: Route, scope: trio.CancelScope) -> None:
        """Try one route; the words are not used yet."""
        try:
            channel = await dial_pairing(route, identity=self._identity)
        except MedP2PError as error:
            self.failures.append(error)
            return
        shown = fingerprint_text(channel.remote_static)
        if self.channel is None and self._fingerprint in (None, shown):
            self.channel = channel
            scope.cancel()
            return
        if self.channel is None:
            text = f"{route.address}: another workstation than the one that mDNS shows"
            self.failures.append(UnreachableError(text))
        await channel.link.close(goodbye=False)


async def reach(
    routes: Sequence[Route], identity: Identity, fingerprint: str | None
) -> PairingChannel:
    """Return a channel to the workstation behind some addresses.

    Args:
        routes: All of one workstation.
        identity: Ours.
        fingerprint: That mDNS shows for it; None when a person named the address.

    Raises:
        PairingError: Nobody there, or somebody else.
        VersionError: The only one there has no version in common with us.
    """
    attempt = _Reach(identity, fingerprint)
    try:
        async with trio.open_nursery() as nursery:
            for route in routes[: limits.MAX_ROUTES]:
                nursery.start_soon(attempt.attempt, route, nursery.cancel_scope)
    except BaseException:
        if attempt.channel is not None:  # won, and cancelled in the same moment
            with trio.move_on_after(limits.CLEANUP_SECONDS, shield=True):
                await attempt.channel.link.close(goodbye=False)
        raise
    if attempt.channel is not None:
        return attempt.channel
    for failure in attempt.failures:
        if not isinstance(failure, UnreachableError):
            raise failure
    lines = [line for failure in attempt.failures for line in _tried(failure)]
    why = "; ".join(lines) or "it has no address"
    raise PairingError(f"the other workstation cannot be reached: {why}")


def _tried(failure: MedP2PError) -> Sequence[str]:
    """Return what was met at an address, without the sentence that says what it means."""
    return failure.tried if isinstance(failure, DialError) else (failure.text,)


# --- the run ------------------------------------------------------------------------------


async def prove(
    channel: PairingChannel,
    *,
    number: int,
    words: str,
    my_static: bytes,
    me: PairDone,
    burn: Callable[[], None],
) -> PairDone:
    """Run the joiner's side of a pairing; return who the other side is.

    Returns once the other side says goodbye, which it does after it has pinned us.

    Args:
        channel: Fresh; closed afterwards.
        number: Public part of the code.
        words: Secret part.
        my_static: Our X25519 public key.
        me: What we tell of ourselves.
        burn: Called before our confirmation leaves.

    Raises:
        PairingError: Refused, wrong words, or broken off.
    """
    joiner = Joiner(words, number, channel.handshake_hash, my_static, channel.remote_static)
    with _as_pairing_error(joiner):
        async with open_link(channel.link) as link:
            await link.send(await in_thread(joiner.start))
            reply = await hear(link, PairReply)
            burn()
            await link.send(await in_thread(joiner.reply, reply))
            await in_thread(joiner.confirm, await hear(link, PairConfirm))
            await link.send(me)
            done = await hear(link, PairDone)
            await _wait_pinned(link)
    return done


async def _wait_pinned(link: Link) -> None:
    try:
        await hear(link, Bye)
    except (LinkLostError, PairingError) as error:
        raise PairingError(
            "the code was right, but the other workstation did not say that it has pinned us",
            hint="look at `medp2p peers` there, then pair again with a new code",
        ) from error


@contextmanager
def _as_pairing_error(joiner: Joiner) -> Iterator[None]:
    try:
        yield
    except (LinkLostError, RemoteProtocolError, HandshakeError) as error:
        hint = _ASK if joiner.burnt else "try again; the code is still good"
        raise PairingError(f"pairing was broken off: {error.text}", hint=hint) from error
