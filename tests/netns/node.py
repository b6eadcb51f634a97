"""One workstation's discovery in a network namespace, as a process.

Usage: node.py FINGERPRINT PORT NAME. A line on stdin sets the pairing number ("-": none); the
end of stdin ends it. Each event is a line of JSON on stdout.
"""

import json
import sys
from dataclasses import asdict

import trio

from medp2p.net.discovery import Discovery, Gone, Seen


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def main(fingerprint: str, port: int, name: str) -> None:
    discovery = Discovery(
        fingerprint=fingerprint, port=port, name=name, on_moved=lambda: say(event="moved")
    )
    send, receive = trio.open_memory_channel[Seen | Gone](0)

    async def tell() -> None:
        async for change in receive:
            say(event=type(change).__name__.lower(), **asdict(change))

    async def tell_status() -> None:
        known = None
        while True:
            if (discovery.status, discovery.working) != known:
                known = (discovery.status, discovery.working)
                say(event="status", text=discovery.status, working=discovery.working)
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        nursery.start_soon(tell_status)
        await nursery.start(discovery.run, send)
        async for line in trio.wrap_file(sys.stdin):
            number = line.strip()
            discovery.set_pairing_number(None if number == "-" else int(number))
        nursery.cancel_scope.cancel()
    say(event="ended")


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), sys.argv[3])
