"""Where the home of a command lies. Imports nothing heavy, unless the default is asked for."""

import os
from collections.abc import Mapping
from pathlib import Path

from medp2p.errors import HomeError, UsageError

#: The control socket below a home (daemon.home.Home.socket).
SOCKET = Path("run", "control.sock")


def home_path(chosen: str | None, env: Mapping[str, str]) -> Path:
    """Return the home: what was chosen, else MEDP2P_HOME, else the user's data folder.

    Returns:
        An absolute path, links resolved; it need not exist.

    Raises:
        UsageError: What was chosen is empty: an unset variable must not mean another home.
        HomeError: It begins at the working directory, which has been removed.
    """
    if chosen == "":
        raise UsageError("--home names no folder", hint="an unset variable?")
    text = chosen or env.get("MEDP2P_HOME")
    if text:
        try:
            return Path(os.path.realpath(os.path.expanduser(text)))
        except FileNotFoundError:
            raise HomeError("the working directory has been removed") from None
    # Imported late: it brings the vault's libraries along and costs a short command 0.1 s.
    from medp2p.daemon.home import default_home

    return default_home()
