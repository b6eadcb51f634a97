"""What binds an offer between two workstations: the digest that every statement about it names.

Source: docs/PROTOCOL.md, "Digests".
"""

from typing import Final

from medp2p import digest
from medp2p.proto.messages import Offer

#: Under which version offers are bound; parked ones keep theirs when there is a next.
_PROTOCOL: Final = 1


def bound_digest(offer: Offer, *, sender: bytes, receiver: bytes) -> bytes:
    """Return the digest of an offer between two X25519 keys; its own ``offer`` is not in it."""
    return digest.offer_digest(
        protocol=_PROTOCOL,
        layout=offer.layout,
        sender=sender,
        receiver=receiver,
        transfer=offer.transfer,
        salt=offer.salt,
        length=offer.length,
        manifest=offer.manifest,
        entries=offer.entries,
        files=offer.files,
        file_bytes=offer.file_bytes,
        priority=offer.priority,
        created_ms=offer.created_ms,
        label=offer.label,
        note=offer.note,
    )
