"""From a fresh stream to a link: preamble, Noise, hello.

The responder proves nothing to a stranger: it sends nothing but its Noise message, that one
only to a pinned key, and is in a session only once it has decrypted the initiator's hello
(the first Noise message can be replayed, and forged by who has stolen our key). Callers put
all of it under HANDSHAKE_SECONDS; the initiator adds HANDSHAKE_GRACE_SECONDS, to hear its end.

Source: docs/PROTOCOL.md, "Handshake" and "Versions and features".
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from medp2p import limits
from medp2p.errors import HandshakeError, UntrustedPeerError, VersionError
from medp2p.net.link import Link
from medp2p.net.stream import ByteStream, receive_exactly, send_all
from medp2p.proto.conversation import Conversation
from medp2p.proto.messages import PROTOCOL_HIGHEST, PROTOCOL_LOWEST, Hello
from medp2p.proto.noise import Handshake
from medp2p.proto.preamble import (
    PREAMBLE_BYTES,
    Preamble,
    Purpose,
    common_version,
    decode_preamble_untrusted,
    decode_versions_untrusted,
    encode_versions,
)
from medp2p.proto.tables import Role

_LENGTH_BYTES: Final = 2
Versions = tuple[int, int]
#: Lowest and highest protocol version of this program.
VERSIONS: Final[Versions] = (PROTOCOL_LOWEST, PROTOCOL_HIGHEST)

MakeHello = Callable[[bytes, Hello], Hello]
"""(peer key, what it told) -> what we tell; kind, transfer and index are repeated."""


@dataclass(frozen=True, slots=True)
class Identity:
    """This workstation's X25519 static key pair, 32 bytes each."""

    noise_private: bytes = field(repr=False)
    noise_public: bytes


@dataclass(frozen=True, slots=True)
class PairingChannel:
    """A link to someone not yet known, and what pairing binds itself to.

    Attributes:
        link: Not running yet; carries pairing messages only.
        handshake_hash: 32 bytes that no other connection has.
        remote_static: The key that the other side proved to own.
    """

    link: Link
    handshake_hash: bytes
    remote_static: bytes


async def read_message(stream: ByteStream) -> bytes:
    """Return one Noise handshake message, which travels behind a 2-byte length.

    Raises:
        HandshakeError: Longer than any handshake message.
        LinkLostError: The stream ended.
    """
    head = bytearray(_LENGTH_BYTES)
    await receive_exactly(stream, memoryview(head))
    size = int.from_bytes(head, "big")
    if size > limits.MAX_HANDSHAKE_BYTES:
        raise HandshakeError("handshake message too long")
    message = bytearray(size)
    await receive_exactly(stream, memoryview(message))
    return bytes(message)


async def write_message(stream: ByteStream, message: bytes) -> None:
    """Send one Noise handshake message. Raises LinkLostError."""
    await send_all(stream, len(message).to_bytes(_LENGTH_BYTES, "big") + message)


# --- the initiator --------------------------------------------------------------------------


async def prove_responder(
    stream: ByteStream,
    identity: Identity,
    peer_key: bytes,
    lowest_version: int,
    versions: Versions = VERSIONS,
) -> Link:
    """Do the Noise part as initiator; the link returned is not usable before say_hello.

    Args:
        stream: Fresh.
        identity: Ours.
        peer_key: Whom we want.
        lowest_version: Highest version that was ever spoken with that peer: never undercut.
        versions: What this program speaks.

    Raises:
        HandshakeError: The other end does not hold that key.
        LinkLostError: It closed without a word: it is someone else, or does not know us.
        VersionError: It is the peer, but there is no version in common.
        RemoteProtocolError: It is the peer, and breaks the protocol.
    """
    mine = _not_below(lowest_version, versions)
    preamble = Preamble(Purpose.SESSION, *mine).encode()
    noise = Handshake.session_initiator(identity.noise_private, peer_key, preamble)
    first = noise.write()
    await send_all(stream, preamble + len(first).to_bytes(_LENGTH_BYTES, "big") + first)
    theirs = decode_versions_untrusted(noise.read_untrusted(await read_message(stream)))
    version = common_version(mine, theirs)
    return Link(stream, noise.split(), peer_key=peer_key, version=version)


async def say_hello(link: Link, hello: Hello) -> None:
    """Exchange hellos as initiator: from here on the responder has a session with us.

    Raises:
        LinkLostError: The peer went away.
        RemoteProtocolError: Its hello does not answer ours.
    """
    link.conversation = Conversation(hello.kind, "initiator")
    await link.send_now(hello)
    theirs = await link.receive_first()
    link.conversation.received_untrusted(theirs)
    if isinstance(theirs, Hello):  # nothing else passes, and not one for something else
        link.hello = theirs


async def start_pairing(stream: ByteStream, identity: Identity) -> PairingChannel:
    """Do the Noise XX handshake as initiator.

    Raises:
        As prove_responder. A remote key equal to ours is a HandshakeError.
    """
    preamble = Preamble(Purpose.PAIRING, *VERSIONS).encode()
    noise = Handshake.pairing(True, identity.noise_private, preamble)
    first = noise.write()
    await send_all(stream, preamble + len(first).to_bytes(_LENGTH_BYTES, "big") + first)
    theirs = decode_versions_untrusted(noise.read_untrusted(await read_message(stream)))
    version = common_version(VERSIONS, theirs)
    await write_message(stream, noise.write())
    return _pairing_channel(stream, identity, noise, version, "initiator")


# --- the responder --------------------------------------------------------------------------


async def read_preamble(stream: ByteStream) -> tuple[Preamble, bytes]:
    """Return what an initiator wants, and its bytes for the prologue.

    Raises:
        RemoteProtocolError: Not a medp2p connection.
        LinkLostError: The stream ended.
    """
    data = bytearray(PREAMBLE_BYTES)
    await receive_exactly(stream, memoryview(data))
    return decode_preamble_untrusted(bytes(data)), bytes(data)


async def answer_session(
    stream: ByteStream,
    preamble: tuple[Preamble, bytes],
    *,
    identity: Identity,
    is_pinned: Callable[[bytes], bool],
    lowest_version: Callable[[bytes], int],
    on_version: Callable[[bytes, VersionError], None],
    versions: Versions = VERSIONS,
) -> Link:
    """Do the Noise part as responder; the link returned is not usable before hear_hello.

    Raises:
        HandshakeError: The initiator does not want us.
        UntrustedPeerError: Its key is not pinned; nothing was sent.
        VersionError: No version in common; the initiator was told our range.
        LinkLostError: The stream ended.
    """
    noise = Handshake.session_responder(identity.noise_private, preamble[1])
    noise.read_untrusted(await read_message(stream))
    peer_key = noise.remote_static or b""
    if peer_key == identity.noise_public:
        raise UntrustedPeerError("this workstation dialled itself", key=peer_key)
    if not is_pinned(peer_key):
        raise UntrustedPeerError("the initiator's key is not pinned", key=peer_key)
    mine, undercut = versions, None
    try:
        mine = _not_below(lowest_version(peer_key), versions)
    except VersionError as error:
        undercut = error  # told our range all the same, the other side says so over there
    await write_message(stream, noise.write(encode_versions(*mine)))
    try:
        if undercut is not None:
            raise undercut
        version = common_version(mine, (preamble[0].lowest, preamble[0].highest))
    except VersionError as error:
        on_version(peer_key, error)
        raise
    return Link(stream, noise.split(), peer_key=peer_key, version=version)


async def hear_hello(link: Link) -> None:
    """Take the initiator's hello: afterwards there is a session, and not before.

    Raises:
        LinkLostError: The stream ended.
        RemoteProtocolError: Not a hello, perhaps a replayed handshake.
    """
    theirs = await link.receive_first()
    link.conversation = Conversation.answering_untrusted(theirs)
    if isinstance(theirs, Hello):
        link.hello = theirs


async def answer_hello(link: Link, make_hello: MakeHello) -> None:
    """Send our hello. Raises LinkLostError."""
    await link.send_now(make_hello(link.peer_key, link.hello))


async def answer_pairing(
    stream: ByteStream, preamble: tuple[Preamble, bytes], identity: Identity
) -> PairingChannel:
    """Do the Noise XX handshake as responder. Raises as answer_session."""
    noise = Handshake.pairing(False, identity.noise_private, preamble[1])
    noise.read_untrusted(await read_message(stream))
    await write_message(stream, noise.write(encode_versions(*VERSIONS)))
    version = common_version(VERSIONS, (preamble[0].lowest, preamble[0].highest))
    noise.read_untrusted(await read_message(stream))
    return _pairing_channel(stream, identity, noise, version, "responder")


def _pairing_channel(
    stream: ByteStream, identity: Identity, noise: Handshake, version: int, role: Role
) -> PairingChannel:
    peer_key = noise.remote_static or b""
    if peer_key == identity.noise_public:
        raise HandshakeError("that address is this workstation itself")
    link = Link(stream, noise.split(), peer_key=peer_key, version=version, pairing=True)
    link.conversation = Conversation("pairing", role)
    return PairingChannel(link, noise.handshake_hash, peer_key)


def _not_below(lowest_version: int, versions: Versions) -> Versions:
    """Return our range without what lies below a version that was spoken before.

    Raises:
        VersionError: That leaves nothing: this program is older than the one before.
    """
    lowest, highest = versions
    if lowest_version > highest:
        raise VersionError(
            f"protocol version {lowest_version} was spoken with this peer before, and this "
            f"workstation now speaks {highest} at most",
            hint="update medp2p on this workstation",
        )
    return max(lowest, lowest_version), highest
