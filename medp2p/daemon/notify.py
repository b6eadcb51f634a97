"""Talking to systemd without a library: sd_notify(3). Does nothing where there is no systemd.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5) "Type=notify-reload".
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

import trio

log = logging.getLogger(__name__)


def ready(status: str, env: Mapping[str, str] = os.environ) -> bool:
    """Tell that the daemon works: at start, and after each reload.

    Args:
        status: One line for `systemctl status`.
        env: Where NOTIFY_SOCKET stands.

    Returns:
        Whether the message was sent.
    """
    return send({"READY": "1", "STATUS": _line(status), "MAINPID": str(os.getpid())}, env)


def status(text: str, env: Mapping[str, str] = os.environ) -> bool:
    """Tell one line for `systemctl status`; no patient data, it lands in the journal."""
    return send({"STATUS": _line(text)}, env)


def reloading(env: Mapping[str, str] = os.environ) -> bool:
    """Tell that a reload has begun; `ready` tells its end."""
    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return send({"RELOADING": "1", "MONOTONIC_USEC": str(now_us)}, env)


def stopping(env: Mapping[str, str] = os.environ) -> bool:
    """Tell that the end has begun."""
    return send({"STOPPING": "1", "STATUS": "parking transfers"}, env)


async def run_watchdog(env: Mapping[str, str] = os.environ) -> None:
    """Say at half of systemd's interval that the event loop still turns; else return at once.

    A loop that hangs says nothing, and systemd starts the daemon anew.
    """
    interval = watchdog_seconds(env)
    if interval is None:
        return
    while True:
        send({"WATCHDOG": "1"}, env)
        await trio.sleep(interval / 2)


def watchdog_seconds(env: Mapping[str, str] = os.environ) -> float | None:
    """Return the interval within which systemd wants to hear from this process, or None."""
    microseconds, pid = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID")
    if pid is not None and pid != str(os.getpid()):
        return None
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6


def send(fields: Mapping[str, str], env: Mapping[str, str] = os.environ) -> bool:
    """Send one message to the service manager; never waits, never raises.

    Returns:
        Whether it was sent: False without a service manager, or when it takes nothing now.
    """
    address = env.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    message = "\n".join(f"{key}={value}" for key, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect("\0" + address[1:] if address[0] == "@" else address)
            sock.sendall(message.encode())
    except OSError as error:
        log.debug("service manager not told: %s", error)
        return False
    return True


def _line(text: str) -> str:
    return " ".join(text.split())
