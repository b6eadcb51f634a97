"""Words of an address that somebody typed: ids and names, which may be empty or hold a slash.

An address is parted before its words are decoded (RFC 3986, 2.4), so "%2F" parts nothing, and
an empty word is one that fits no id and no name: whoever is asked for it says so.
"""

import re
from typing import Any
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp, Receive, Scope, Send


class _Word(Convertor[str]):
    """One part of an address, decoded."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        raise NotImplementedError("addresses are not made from routes")


register_url_convertor("word", _Word())


class WordRoute(Route):
    """A route in which "{name}" stands for any word; it needs AsSent before it."""

    def __init__(self, path: str, endpoint: Any, *, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        words = re.sub(r"\{(\w+)\}", r"{\1:word}", path)
        self.path_regex, _, self.param_convertors = compile_path(words)


class AsSent:
    """ASGI middleware: whatever judges or routes an address sees it as it was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its address undecoded."""
        path = scope["raw_path"].decode("ascii")  # h11 lets nothing else in
        await self._app({**scope, "path": path}, receive, send)
