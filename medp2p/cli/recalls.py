"""The verbs that take a transfer back, answer such a request, and show what was signed."""

import json
from pathlib import Path
from typing import Any

import click

from medp2p import limits
from medp2p.cli.completion import transfer_argument
from medp2p.cli.paths import clear_place, write_new
from medp2p.cli.session import Session, verb
from medp2p.cli.show import Json, count, fact_details, fields, reason, safe, when
from medp2p.errors import UsageError
from medp2p.text import escape_text


@click.command("recall")
@transfer_argument
@click.option("--reason", "why", default="", metavar="TEXT", help="Told to the receiver.")
@verb
def outbox_recall(session: Session, transfer: str, why: str) -> None:
    """Take a transfer back: the receiver erases it, unless it was released before.

    A release that came first turns the recall into a request to destroy, which a person there
    answers by name. Either way the answer is a signed fact; `outbox show` has it.
    """
    row = session.client.act("transfers", transfer, "recall", body={"reason": why})
    session.result(row, lambda: _recalled(row))


def _recalled(row: Json) -> str:
    name, state = safe(row["id"]), safe(row["state"])
    if row["state"] == "recalling":
        return f"recalling {name}; {safe(row['peer'])} has not answered yet"
    return f"{state} {name}" + (f": {reason(row)}" if reason(row) else "")


@click.command("answer")
@transfer_argument
@click.option("--destroyed", is_flag=True, help="All that was released is destroyed.")
@click.option("--kept", is_flag=True, help="It is kept.")
@click.option("--by", default="", metavar="NAME", help="Who says so; default: your account.")
@verb
def inbox_answer(session: Session, transfer: str, destroyed: bool, kept: bool, by: str) -> None:
    """Answer a sender who asks to destroy what was released before the recall came.

    With --destroyed the sealed copy in the vault is erased too; it is refused while a folder that
    was released is still there.
    """
    if destroyed == kept:
        raise UsageError("say --destroyed or --kept")
    body: dict[str, Any] = {"destroyed": destroyed, "by": by}
    row = session.client.act("transfers", transfer, "answer", body=body)
    word = "destroyed" if destroyed else "kept"
    session.result(row, lambda: f"answered {safe(row['id'])}: {word}")


def write_proof(session: Session, transfer: str, file: str, *, label: bool) -> None:
    """Write the signed facts of a transfer to a new file.

    Raises:
        UsageError: The file is there already.
        ReleaseError: It would lie in the home.
        OutputError: It cannot be written.
    """
    place = clear_place(session, file)
    proof = session.client.get("transfers", transfer, "proof", **({"label": "1"} if label else {}))
    data = (json.dumps(proof, indent=1) + "\n").encode("ascii")
    try:
        write_new(place, data)
    except FileExistsError:
        raise UsageError(
            f"{file} is there already; nothing is overwritten", hint="name a new file"
        ) from None
    left_out = 0
    if not label:
        row = session.client.get("transfers", transfer)
        left_out = max(0, len(row.get("facts") or ()) - len(proof.get("facts") or ()))
    if left_out:
        session.note(
            f"left out: {count(left_out, 'fact')} in which a person gave a reason;"
            " --with-label has them"
        )
    found = {"proof": place, "id": proof["transfer"], "left_out": left_out}
    session.result(found, lambda: f"wrote {safe(found['proof'])}")


@click.command("verify-proof")
@click.argument("file", metavar="FILE", type=click.Path())
@click.option("--sender", metavar="PEER_ID", help="Must be the sender's.")
@click.option("--receiver", metavar="PEER_ID", help="Must be the receiver's.")
@verb
def verify_proof(session: Session, file: str, sender: str | None, receiver: str | None) -> None:
    """Check a proof that `outbox show --proof` wrote. Needs no home and no daemon.

    It shows that the signatures are those of the keys in the file. That the keys belong to the
    two workstations is for you to see: compare peer IDs with `medp2p id` there, signing keys with
    `medp2p peers show` at whoever is paired with them.
    """
    from medp2p.control.proofs import check_proof

    try:
        with Path(file).open("rb") as stream:
            data = stream.read(limits.MAX_PROOF_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    found = check_proof(data, sender=sender, receiver=receiver)
    session.result(found, lambda: _proof_text(found))


def _proof_text(found: Json) -> str:
    lines = [
        ("signatures", "hold"),
        ("transfer", safe(found["transfer"])),
    ]
    for side in ("sender", "receiver"):
        keys = found[side]
        lines += [
            (side, safe(keys["peer_id"])),
            ("key words", safe(keys["key_words"])),
            ("signing key", safe(keys["sign_key"])),
        ]
    for fact in found["facts"]:
        detail = ", ".join(f"{name} {value}" for name, value in fact_details(fact))
        lines.append((safe(fact["fact"]), f"{when(fact['time'])} by the {fact['by']}  {detail}"))
    summary = found["summary"]
    if summary is not None:
        lines.append(("files", f"{summary['files']}, {summary['bytes']} bytes"))
        lines.append(("note", escape_text(summary["note"])))
        for one in (summary["label"] or {}).get("patients", []):
            lines.append(("patient", ", ".join(safe(value) for value in one.values() if value)))
    remark = "Whose keys these are: compare with `medp2p id` there, and `medp2p peers show` here."
    return f"{fields(lines)}\n{remark}"
