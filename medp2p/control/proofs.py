"""Checking a proof file: what it shows, as JSON. Needs no home, no daemon and no vault.

Source: docs/PROTOCOL.md, "Proofs".
"""

from typing import Any

from medp2p.dicom.label import decode_label_untrusted
from medp2p.errors import IntegrityError, RemoteProtocolError
from medp2p.identity import decode_peer_id, encode_peer_id, key_words
from medp2p.proto.messages import Offer
from medp2p.proto.proof import Checked, Side, check_proof_untrusted
from medp2p.text import rfc3339

Json = dict[str, Any]


def check_proof(data: bytes, *, sender: str | None = None, receiver: str | None = None) -> Json:
    """Check a proof; return what is signed in it, and by which keys.

    Args:
        data: The file.
        sender: Peer ID that its sender must have; None: any.
        receiver: The same of its receiver.

    Raises:
        IntegrityError: A signature does not hold, the parts do not fit together, or a side has
            another key than asked for.
        UsageError: That is no peer ID.
    """
    checked = check_proof_untrusted(data)
    proof = checked.proof
    for name, side, wanted in (
        ("sender", proof.sender, sender),
        ("receiver", proof.receiver, receiver),
    ):
        if wanted is not None and decode_peer_id(wanted) != side.noise_key:
            raise IntegrityError(f"the proof has another {name} than that peer ID")
    return {
        "ok": True,
        "transfer": proof.transfer,
        "offer": proof.offer.hex(),
        "sender": _side(proof.sender),
        "receiver": _side(proof.receiver),
        "facts": _facts(checked),
        "summary": None if checked.summary is None else _summary(checked.summary),
    }


def _side(side: Side) -> Json:
    """Return the keys of a side; its name is what the writer of the file calls it."""
    return {
        "peer_id": encode_peer_id(side.noise_key),
        "key_words": key_words(side.noise_key),
        "sign_key": side.sign_key.hex(),
        "name": side.name,
    }


def _facts(checked: Checked) -> list[Json]:
    return [
        {
            "fact": said.fact,
            "by": by,
            "time": rfc3339(said.time_ms),
            "root": None if said.root is None else said.root.hex(),
            "detail": dict(said.detail),
        }
        for by, said in checked.statements
    ]


def _summary(offer: Offer) -> Json:
    label: Json | None = None
    if offer.label:
        try:
            read = decode_label_untrusted(offer.label)
        except RemoteProtocolError as error:
            raise IntegrityError(f"the proof does not hold: {error}") from error
        label = {
            "images": read.images,
            "patients": [
                {"id": one.id, "name": one.name, "birth_date": one.birth_date}
                for one in read.persons
            ],
        }
    return {
        "files": offer.files,
        "bytes": offer.file_bytes,
        "created": rfc3339(offer.created_ms),
        "note": offer.note,
        "label": label,
    }
