"""Forward TCP connections at a chosen pace, count the bytes, and fail when told to.

A link that can be slowed down, held or cut at an exact byte, so that "in the middle of a transfer"
is a place and not a matter of luck. Used by the demonstration and by the tests; plain threads, no
part of medp2p itself.

Run by hand: python examples/forwarder.py LISTEN_PORT TARGET_HOST:PORT [BYTES_PER_SECOND]
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable

_BLOCK_BYTES = 64 * 1024
#: A paced link moves at least this often, so that a slow one still looks alive.
_TICK_SECONDS = 0.02


class _Pair:
    """Two sockets that belong together; the last of its two threads closes them."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.threads = 2
        self.cut = False

    def end(self) -> None:
        """Wake both threads; their next call on a socket fails."""
        for side in (self.near, self.far):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Forwarder:
    """Listen on a port of 127.0.0.1 and pass everything on to a target.

    "Forward" is from whoever connects to the target, "backward" is the other way.

    Args:
        target: Host and port to connect to, once for each connection taken.
        bytes_per_second: Pace of the forward direction, all connections together; None: no pace.
        port: Where to listen; 0: any free port.
    """

    def __init__(
        self, target: tuple[str, int], *, bytes_per_second: float | None = None, port: int = 0
    ) -> None:
        self._target, self._rate = target, bytes_per_second
        self._change = threading.Condition()
        self._forward = self._backward = self._cuts = 0
        self._hold_at: int | None = None
        self._hold_back = False
        self._cut_at: int | None = None
        self._is_down = False
        self._free_at = 0.0
        self._pairs: set[_Pair] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Forwarder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        """Where to connect to, "host:port"."""
        return f"127.0.0.1:{self.port}"

    @property
    def forward(self) -> int:
        """Bytes passed on to the target so far, over all connections."""
        with self._change:
            return self._forward

    @property
    def backward(self) -> int:
        """Bytes passed back from the target so far."""
        with self._change:
            return self._backward

    @property
    def cuts(self) -> int:
        """How often the connections were cut."""
        with self._change:
            return self._cuts

    def pace(self, bytes_per_second: float | None) -> None:
        """Change the pace of the forward direction."""
        with self._change:
            self._rate = bytes_per_second

    def hold_at(self, forward: int) -> None:
        """Pass on no byte beyond that number of forward bytes until `go`: a stalled network."""
        with self._change:
            self._hold_at = forward
            self._change.notify_all()

    def hold_back(self) -> None:
        """Pass nothing back any more until `go`: the target speaks and is not heard."""
        with self._change:
            self._hold_back = True

    def go(self) -> None:
        """End both kinds of hold."""
        with self._change:
            self._hold_at, self._hold_back = None, False
            self._change.notify_all()

    def cut_at(self, forward: int) -> None:
        """Cut the connections once that number of forward bytes has been passed on."""
        with self._change:
            self._cut_at = forward

    def cut(self) -> None:
        """Cut the connections now; new ones are taken."""
        with self._change:
            self._cut()

    def down(self) -> None:
        """Cut the connections now, and each new one at once, until `up`."""
        with self._change:
            self._is_down = True
            self._cut()

    def up(self) -> None:
        """Take connections again."""
        with self._change:
            self._is_down = False

    def wait_forward(self, count: int, *, seconds: float = 60.0) -> None:
        """Wait until that many forward bytes have been passed on.

        Raises:
            TimeoutError: They did not come in time.
        """
        self._wait(lambda: self._forward >= count, seconds, f"{count} forward bytes")

    def wait_cuts(self, count: int, *, seconds: float = 60.0) -> None:
        """Wait until the connections were cut that many times.

        Raises:
            TimeoutError: They were not.
        """
        self._wait(lambda: self._cuts >= count, seconds, f"{count} cuts")

    def close(self) -> None:
        """Stop listening and cut everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # close alone wakes no accept()
        self._listener.close()
        with self._change:
            self._is_down = True
            self._cut()

    def _wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        with self._change:
            if not self._change.wait_for(done, seconds):
                raise TimeoutError(
                    f"waited {seconds:.0f} s for {what}; there were {self._forward} forward "
                    f"bytes, {self._backward} backward bytes and {self._cuts} cuts"
                )

    def _cut(self) -> None:
        self._cuts += 1
        self._cut_at = None
        for pair in self._pairs:
            pair.cut = True
            pair.end()
        self._change.notify_all()

    # --- one thread accepts, two serve each connection ------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(self._target, timeout=10)
        except OSError:
            near.close()
            return
        far.settimeout(None)
        for side in (near, far):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(near, far)
        with self._change:
            self._pairs.add(pair)
            if self._is_down:
                pair.cut = True
                pair.end()
        threading.Thread(target=self._run, args=(pair, self._back), daemon=True).start()
        self._run(pair, self._ahead)

    def _run(self, pair: _Pair, work: Callable[[_Pair], None]) -> None:
        try:
            work(pair)
        except OSError:
            pair.end()
        with self._change:
            pair.threads -= 1
            if not pair.threads:
                self._pairs.discard(pair)
                pair.near.close()
                pair.far.close()

    def _ahead(self, pair: _Pair) -> None:
        while data := pair.near.recv(self._block_bytes()):
            while data:
                count = self._allowed(pair, len(data))
                pair.far.sendall(data[:count])
                data = data[count:]
                with self._change:
                    if self._cut_at is not None and self._forward >= self._cut_at:
                        self._cut()
        pair.far.shutdown(socket.SHUT_WR)

    def _back(self, pair: _Pair) -> None:
        while data := pair.far.recv(_BLOCK_BYTES):
            with self._change:
                self._change.wait_for(lambda: pair.cut or not self._hold_back)
                if pair.cut:
                    raise OSError("cut")
            pair.near.sendall(data)
            with self._change:
                self._backward += len(data)
                self._change.notify_all()
        pair.near.shutdown(socket.SHUT_WR)

    def _block_bytes(self) -> int:
        with self._change:
            rate = self._rate
        return (
            _BLOCK_BYTES if rate is None else max(1, min(_BLOCK_BYTES, int(rate * _TICK_SECONDS)))
        )

    def _allowed(self, pair: _Pair, count: int) -> int:
        """Wait for leave to pass something on; return how much of count, which is counted."""
        with self._change:
            self._change.wait_for(
                lambda: pair.cut or self._hold_at is None or self._forward < self._hold_at
            )
            if pair.cut:
                raise OSError("cut")
            for stop in (self._hold_at, self._cut_at):
                if stop is not None and stop > self._forward:
                    count = min(count, stop - self._forward)
            self._forward += count
            self._change.notify_all()
            if self._rate is None:
                return count
            self._free_at = max(self._free_at, time.monotonic()) + count / self._rate
            delay = self._free_at - time.monotonic()
        time.sleep(max(0.0, delay))  # time goes on between two looks at the clock
        return count


def main() -> None:
    """Forward until interrupted."""
    port, target, *rest = sys.argv[1:]
    host, _, target_port = target.rpartition(":")
    rate = float(rest[0]) if rest else None
    with Forwarder((host, int(target_port)), bytes_per_second=rate, port=int(port)) as forwarder:
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
        print(f"{forwarder.forward} bytes forward, {forwarder.backward} backward")


if __name__ == "__main__":
    main()
