"""The verbs about this workstation that work without a daemon: init, daemon, id, doctor, wipe."""

import os
import time

import click

from medp2p import limits
from medp2p.cli.erasing import erase_home, is_home, named_errors
from medp2p.cli.session import Session, ask_for, on_terminal, verb
from medp2p.cli.show import Json, columns, fields, safe
from medp2p.control.client import SilentError
from medp2p.errors import HomeError, ListenError, MedP2PError, NoDaemonError, UsageError


@click.command()
@click.option("--name", metavar="NAME", help="Told to peers; default: the host name.")
@click.option("--department", default="", metavar="D", help="Told to peers.")
@click.option("--place", default="", metavar="P", help="Told to peers.")
@verb
def init(session: Session, name: str | None, department: str, place: str) -> None:
    """Make a home: keys, settings, an empty vault. Refuses to touch an existing one."""
    from medp2p.daemon.config import default_name
    from medp2p.daemon.home import init_home

    init_home(
        session.home,
        name=default_name() if name is None else name,
        department=department,
        place=place,
        now_ms=time.time_ns() // 1_000_000,
        random_bytes=os.urandom,
    )
    found = _id(session) | {"home": str(session.home)}
    session.result(
        found,
        lambda: f"made {safe(found['home'])}\n{identity_text(found)}\nnext: medp2p daemon",
    )


@click.command("id")
@verb
def id_(session: Session) -> None:
    """Print the peer ID of this workstation and its key words."""
    found = _id(session)
    session.result(found, lambda: identity_text(found))


def _id(session: Session) -> Json:
    """Read the identity from the home; works beside a running daemon and without one."""
    from medp2p.daemon.config import load_config
    from medp2p.daemon.home import open_home
    from medp2p.identity import encode_peer_id, key_words

    home, keys = open_home(session.home)
    return {
        "peer_id": encode_peer_id(keys.noise_public),
        "name": load_config(home.config_file).name,
        "key_words": key_words(keys.noise_public),
        "vault_recipient": keys.vault_recipient,
    }


def identity_text(found: Json) -> str:
    """Return an identity for people."""
    return fields(
        [
            ("name", safe(found["name"])),
            ("peer ID", safe(found["peer_id"])),
            ("key words", safe(found["key_words"])),
            ("vault", safe(found["vault_recipient"])),
        ]
    )


@click.command()
@click.option("--listen", metavar="ADDR:PORT", help="Instead of the configured address.")
@click.option("--no-mdns", is_flag=True, help="Neither announce nor look for workstations.")
@verb
def daemon(session: Session, listen: str | None, no_mdns: bool) -> None:
    """Run in the foreground until SIGTERM or Ctrl-C; log on stderr."""
    from functools import partial

    import trio

    from medp2p.cli.log import start_log
    from medp2p.control.serve import serve_control
    from medp2p.daemon import tree

    start_log()
    run = partial(
        tree.run,
        session.home,
        listen=listen,
        mdns=False if no_mdns else None,
        services=[serve_control],
    )
    try:
        trio.run(run)
    except (ListenError, UsageError) as error:
        if listen is not None and error.hint is None:
            error.hint = "write ADDR:PORT or :PORT, with an address of this machine"
        raise
    except MedP2PError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, Python must not print it
        raise tree.why_ended(error) from None


@click.command()
@verb
def doctor(session: Session) -> int:
    """Check home, keys, ports, mDNS, disk and clock, and say what to do.

    With a daemon it is asked; without one that answers the home is checked. 0 when nothing is
    wrong.
    """
    client = session.client
    try:
        client.ask("GET", ("status",), timeout=limits.ALIVE_SECONDS)  # a full look may take longer
        rows = client.get("doctor")
    except (NoDaemonError, SilentError):
        from medp2p.daemon.doctor import examine_home

        rows = examine_home(session.home)
    session.result(rows, lambda: doctor_text(rows))
    return 1 if any(row["ok"] is False for row in rows) else 0


def doctor_text(rows: list[Json]) -> str:
    """Return what was checked, what to do below each finding."""
    words = {True: "ok", False: "WRONG", None: "?"}
    lines = columns(
        ("CHECK", "", ""),
        [(safe(row["check"]), words[row["ok"]], safe(row.get("text"))) for row in rows],
        empty="nothing to check",
    )
    hints = [
        f"hint: {safe(row['check'])}: {safe(row['hint'])}"
        for row in rows
        if row.get("hint") and not row["ok"]
    ]
    return "\n".join([lines, *hints])


@click.command()
@click.option("--yes", is_flag=True, help="Erase without asking; needed without a terminal.")
@verb
def wipe(session: Session, yes: bool) -> None:
    """Erase the home: keys first, then vault, database and settings. There is no way back.

    Refuses while a daemon runs. What was released lies elsewhere and stays.
    """
    from medp2p.daemon.home import Home, Lock

    path = session.home
    with named_errors(path):
        found = is_home(path)
    if not found:
        raise HomeError(f"there is no home at {path}")
    if not yes and not on_terminal():
        raise UsageError(
            "without a terminal nobody can be asked", hint="say --yes to erase everything"
        )
    home = Home(path)
    with named_errors(path):
        home.run.mkdir(mode=0o700, exist_ok=True)  # for the lock; a broken home may lack it
    with Lock(home):
        if not yes:
            ask_for("wipe", f"to erase {safe(str(path))} for good, type wipe")
        left = erase_home(path)
    session.result(
        {"home": str(path), "left": left},
        lambda: f"erased {safe(str(path))}" + (f"; left: {safe(left)}" if left else ""),
    )


COMMANDS = (init, daemon, id_, doctor, wipe)
