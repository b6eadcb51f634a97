"""Send a study to a paired workstation and say what became of it.

A script for whoever wants to send from a scanner's export folder, a cron job or a hook. It talks
to the daemon only through the command line and its JSON, as any program in any language can:

    python examples/send_study.py PEER PATH... [--home DIR] [--note TEXT] [--expect-from FILE]

FILE says in JSON whose images are meant, such as {"patient_id": "MRN-0042117"}; images of anybody
else are refused before a byte leaves.

It ends when the receiver has sealed the study: status 0, and the receipt is in the outbox. What
the receiver does then is the receiver's business. Where both workstations are homes on this
machine (a test, a demonstration), the script can play the receiver, too:

    ... --receiver-home DIR --release-to DIR

accepts the offer there, releases it when it is sealed, and prints the folder that was made.

Exit status: that of `medp2p` where a command fails (see `medp2p --help`), else 0 sealed,
1 failed, 4 declined, recalled or expired, 10 sealed, but entries were skipped, 130 interrupted.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Row = dict[str, Any]

MEDP2P = (sys.executable, "-m", "medp2p")
_ARRIVED = ("sealed", "releasing", "released", "expiring")
_REFUSED = ("declined", "recalled", "expired")
_OVER = (*_REFUSED, "cancelled", "discarded", "failed")
_POLL_SECONDS = 0.5


class CommandError(Exception):
    """A command failed.

    Attributes:
        status: Its exit status.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def ask(home: Path | None, *words: str) -> Any:
    """Run one command and return the last JSON document that it printed.

    Args:
        home: Whose daemon is asked; None: MEDP2P_HOME or the account's own home.
        words: The verb and its options; words after "--" are no options.

    Raises:
        CommandError: It ended with another status than 0. Its text and hint are in the error.
    """
    where = [] if home is None else ["--home", str(home)]
    done = subprocess.run(
        [*MEDP2P, *where, words[0], "--json", *words[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandError(done.returncode, done.stderr.strip())
    return json.loads(done.stdout.splitlines()[-1])


def send(home: Path | None, peer: str, paths: list[Path], note: str, form: Path | None) -> Row:
    """Queue the study; it survives a reboot from here on.

    Without a form that says whose images are meant, the peer's settings must allow `--yes`
    (`medp2p peers set PEER confirm=none`).
    """
    confirmed = ["--yes"] if form is None else ["--expect-from", str(form)]
    words = [*confirmed, "--no-wait", "--note", note, "--", peer, *map(str, paths)]
    row: Row = ask(home, "send", *words)
    return row


def follow(home: Path | None, transfer: str, receiver: Path | None) -> Row:
    """Wait until the study has arrived or never will; accept it at the receiver, if told so."""
    told = ""
    while True:
        row: Row = ask(home, "outbox", "show", transfer)
        text = row["state"]
        if row["reason"] is not None:
            text += f": {row['reason']['text']}"
        if text != told:
            print(text, file=sys.stderr)
            told = text
        if row["state"] in _ARRIVED or row["state"] in _OVER:
            return row
        if receiver is not None:
            accept(receiver, transfer)
        time.sleep(_POLL_SECONDS)


def accept(receiver: Path, transfer: str) -> None:
    """Accept the offer if it waits for that; the id is the same at both ends."""
    for row in ask(receiver, "inbox"):
        if row["id"] == transfer and row["state"] == "offered":
            ask(receiver, "inbox", "accept", transfer)


def outcome(row: Row) -> int:
    """Say how the transfer ended; return the exit status."""
    if row["state"] in _ARRIVED:
        print(f"{row['id']} arrived at {row['peer']}: {row['files']} files, root {row['root']}")
        return 10 if row["skipped"] else 0
    why = f": {row['error']['text']}" if row["error"] else ""
    print(f"{row['id']} is {row['state']}{why}", file=sys.stderr)
    return 4 if row["state"] in _REFUSED else 1


def main() -> int:
    """Send one study."""
    parser = argparse.ArgumentParser(description="Send a study and say what became of it.")
    parser.add_argument("peer", help="name of the paired workstation")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--home", type=Path, help="home of the sender")
    parser.add_argument("--note", default="", help="a remark for the receiver")
    parser.add_argument("--expect-from", type=Path, help="whose images are meant, as JSON")
    parser.add_argument("--receiver-home", type=Path, help="accept there, too")
    parser.add_argument("--release-to", type=Path, help="release there into this folder")
    options = parser.parse_args()
    if (options.receiver_home is None) != (options.release_to is None):
        parser.error("--receiver-home and --release-to go together")
    try:
        row = send(options.home, options.peer, options.paths, options.note, options.expect_from)
        row = follow(options.home, row["id"], options.receiver_home)
        status = outcome(row)
        if options.receiver_home is not None and status in (0, 10):
            words = ("release", row["id"], "--to", str(options.release_to))
            print(ask(options.receiver_home, "inbox", *words)["released_to"])
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("a transfer that was queued goes on; see `medp2p outbox`", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
