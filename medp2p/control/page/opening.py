"""How the page is opened: a token that only the account's own browser gets to see.

Arguments of a command are visible to every account, so the browser is given a private file, whose
only content sends it on to the page with the token behind "#", which no request carries.
"""

import contextlib
import logging
import secrets
from collections.abc import Iterable
from pathlib import Path

import trio

from medp2p import limits
from medp2p.control.page.sessions import Clock, Random, Ticket, Tokens
from medp2p.control.private import write_new
from medp2p.errors import ControlError

log = logging.getLogger(__name__)

_PREFIX, _SUFFIX = "open-", ".html"
_DOCUMENT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>medp2p</title>
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={address}">
</head><body><p><a href="{address}">Open the page of medp2p</a></p></body></html>
"""


class Openings:
    """Tokens given out, each with its file where one was asked for.

    Args:
        folder: The home's run folder; private to the account.
        clock: Seconds that go on while the machine sleeps.
        random_bytes: Cryptographic randomness.
    """

    def __init__(self, folder: Path, clock: Clock, random_bytes: Random) -> None:
        self._folder = folder
        self.tokens = Tokens(clock, random_bytes)
        self._files: dict[bytes, Path] = {}

    async def make(
        self, page: str, os_user: str | None, *, file: bool
    ) -> tuple[str, Path | None, float]:
        """Give out a token.

        Args:
            page: "127.0.0.1:PORT".
            os_user: The account that asked.
            file: Whether a browser is to be sent there by a file.

        Returns:
            The address with the token, the file, and the seconds for which both are good.

        Raises:
            ControlError: The file cannot be written; the token is taken back.
        """
        token, ticket = self.tokens.issue(os_user)
        address = f"http://{page}/#{token}"
        if not file:
            await self.tidy()
            return address, None, limits.PAGE_TOKEN_SECONDS
        path = self._folder / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        try:
            await trio.to_thread.run_sync(
                write_new, path, _DOCUMENT.format(address=address).encode()
            )
        except OSError as error:
            self.tokens.redeem_untrusted(token)
            raise ControlError(
                f"cannot write {path}: {error.strerror}",
                hint="`medp2p web --no-browser` needs none",
            ) from error
        self._files[ticket.digest] = path
        await self.tidy()
        if not self.tokens.waits(ticket):  # lapsed, or made room, while the file was written
            await self._forget([ticket])
        return address, path, limits.PAGE_TOKEN_SECONDS

    async def redeem_untrusted(self, token: str) -> Ticket | None:
        """Use a token up; its file goes. None when it is wrong, used or too old."""
        ticket = self.tokens.redeem_untrusted(token)
        if ticket is not None:
            await self._forget([ticket])
        return ticket

    async def tidy(self) -> None:
        """Forget what is too old or too much, with its files."""
        await self._forget(self.tokens.lapsed())

    async def _forget(self, tickets: Iterable[Ticket]) -> None:
        known = [self._files.pop(ticket.digest, None) for ticket in tickets]
        paths = [path for path in known if path is not None]
        if paths:
            await trio.to_thread.run_sync(_remove, paths)

    def remove_all(self) -> None:
        """Remove every such file, also what a daemon that was killed has left."""
        _remove(self._folder.glob(f"{_PREFIX}*{_SUFFIX}"))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        except OSError as error:
            log.warning("an opening file stays behind: %s", error.strerror)
