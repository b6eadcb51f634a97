"""A ward and a CT room that know each other, and what one offers the other."""

from pathlib import Path

from tests.e2e.harness import Hospital, Workstation, introduce

#: The ward, which receives, and the CT room, which sends.
Pair = tuple[Workstation, Workstation]


def know(one: Workstation, other: Workstation, *, accept: str = "ask") -> None:
    """Let both know each other; either asks a person about offers."""
    introduce(one, other, accept=accept)
    introduce(other, one, accept=accept)


def ward_and_sender(hospital: Hospital, *, accept: str = "ask") -> Pair:
    """Make both, running and known to each other."""
    ward, sender = hospital.make("ward-a"), hospital.make("ct-room")
    know(ward, sender, accept=accept)
    return ward, sender


def offer(pair: Pair, study: Path, *options: str) -> str:
    """Send it to the ward, and wait until the offer is there."""
    ward, sender = pair
    transfer = sender.send(ward.name, study, *options)
    ward.wait_state("inbox", transfer, "offered")
    return transfer
