"""Addresses as people write them: ADDR:PORT, [IPV6]:PORT, :PORT, or ADDR alone."""

import ipaddress
import re

from medp2p import limits
from medp2p.errors import UsageError

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?\Z")
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")
#: A number behind "%" is that of an interface; before a name "25" is what URLs write for "%".
_URL_ZONE = re.compile(r"%25(?=[A-Za-z_])")


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of a peer's address.

    Args:
        text: `10.0.0.5:17820`, `[fe80::1%eth0]:17820`, `reader.example`, `fd00::5`. A
            link-local address names the interface; `%25eth0`, as in a URL, is the same.

    Returns:
        The host without brackets, and a port of 1 to 65535; DEFAULT_PORT when there is none.

    Raises:
        UsageError: It is no address. The text repeats what was given.
    """
    host, port_text = _split(text.strip())
    port = limits.DEFAULT_PORT if port_text is None else _port(port_text, text, lowest=1)
    _check_host(host, text)
    return host, port


def parse_listen(text: str) -> tuple[str | None, int]:
    """Return what to listen on; None as the host stands for all addresses of both kinds.

    Args:
        text: `:17820` and `*:17820` (all addresses), `127.0.0.1:17820`, `[::1]:0`; port 0
            lets the system choose.

    Raises:
        UsageError: It is no address.
    """
    host, port_text = _split(text.strip())
    port = limits.DEFAULT_PORT if port_text is None else _port(port_text, text, lowest=0)
    if host in ("", "*"):
        if port_text is None:
            raise UsageError(f"not an address: {text!r}", hint="write ADDR:PORT or :PORT")
        return None, port
    _check_host(host, text)
    return host, port


def format_address(host: str | None, port: int) -> str:
    """Return an address as parse_listen and parse_address read it."""
    if host is None:
        return f":{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(text: str) -> tuple[str, str | None]:
    """Return host and port as written; in the host the "%25" of a URL as "%"."""
    text = _URL_ZONE.sub("%", text)
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise UsageError(f"not an address: {text!r}", hint="write [IPV6]:PORT")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        return text, None
    host, colon, port = text.partition(":")
    return host, port if colon else None


def _port(digits: str, text: str, *, lowest: int) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5):
        raise UsageError(f"not a port in {text!r}", hint="a port is a number up to 65535")
    port = int(digits)
    if not lowest <= port <= 65535:
        raise UsageError(f"port {port} in {text!r} is out of range")
    return port


def _check_host(host: str, text: str) -> None:
    if ":" in host:
        bare, percent, zone = host.partition("%")
        if percent and not _ZONE.match(zone):
            raise UsageError(f"not an address: {text!r}")
        try:
            address = ipaddress.IPv6Address(bare)
        except ValueError:
            raise UsageError(f"not an IPv6 address: {text!r}") from None
        if address.is_link_local and not percent:
            raise UsageError(
                f"a link-local address without its interface: {text!r}",
                hint=f"write which interface of this machine leads there: [{bare}%eth0]:PORT",
            )
    elif re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise UsageError(f"not an IPv4 address: {text!r}") from None
    elif len(host) > 253 or not _HOST_NAME.match(host):
        raise UsageError(f"not an address: {text!r}", hint="write ADDR:PORT")
