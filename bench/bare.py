"""Move one file along the bare path: what the processor must do for it, and nothing else.

One process reads, hashes, encrypts and sends whole chunks; another receives, decrypts, hashes,
seals and writes them. No journal, no flush, no queue, no label, nobody who asks: the floor under
the figures of docs/PERFORMANCE.md. Run: python bench/bare.py [FOLDER]
"""

import multiprocessing
import os
import resource
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pyrage import x25519

from medp2p import digest
from medp2p.limits import CHUNK_BYTES, ROOM_BYTES
from medp2p.proto.records import ReceiveCipher, SendCipher, record_count, sealed_bytes
from medp2p.vault import age
from medp2p.vault.durable import Files

_CHUNKS = 1024
_ROUNDS = 5
_KEY = bytes(32)


def cpu_seconds() -> float:
    """Return what this process has used, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def send(source: Path, port: int) -> None:
    """In a process of its own: the sender's half."""
    plain = memoryview(bytearray(CHUNK_BYTES))
    sealed = memoryview(bytearray(sealed_bytes(CHUNK_BYTES)))
    cipher = SendCipher(_KEY)
    with socket.create_connection(("127.0.0.1", port)) as sock, source.open("rb", 0) as file:
        for index in range(_CHUNKS):
            os.preadv(file.fileno(), [plain], index * CHUNK_BYTES)
            digest.chunk_digest(_KEY, index, plain)
            cipher.seal_into(cipher.reserve(record_count(CHUNK_BYTES)), plain, sealed)
            sock.sendall(sealed)


def receive(sock: socket.socket, writer: age.SealWriter) -> None:
    """The receiver's half."""
    sealed = memoryview(bytearray(sealed_bytes(CHUNK_BYTES)))
    plain = memoryview(bytearray(CHUNK_BYTES))
    scratch = bytearray(ROOM_BYTES)  # large enough to write past the page cache, as the daemon does
    cipher = ReceiveCipher(_KEY)
    for index in range(_CHUNKS):
        if sock.recv_into(sealed, len(sealed), socket.MSG_WAITALL) != len(sealed):
            raise SystemExit("the sender has ended too early")
        cipher.open_into(cipher.reserve(record_count(CHUNK_BYTES)), sealed, plain)
        digest.chunk_digest(_KEY, index, plain)
        writer.write(index * CHUNK_BYTES, plain, scratch)


def once(source: Path, landing: Path) -> tuple[float, float]:
    """Return seconds, and CPU seconds of both sides together."""
    recipient = str(x25519.Identity.generate().to_public())
    size, key = _CHUNKS * CHUNK_BYTES, age.new_file_key(os.urandom)
    writer = age.SealWriter.create(Files(), landing, size, [recipient], key, os.urandom)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = multiprocessing.get_context("fork").Process(
            target=send, args=(source, server.getsockname()[1])
        )
        sender.start()
        with server.accept()[0] as sock:
            began, before = time.perf_counter(), cpu_seconds()
            receive(sock, writer)
            seconds, cpu = time.perf_counter() - began, cpu_seconds() - before
        sender.join()
    writer.close()
    landing.unlink()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu += after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    return seconds, cpu


def main() -> None:
    """Print the medians of some rounds."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if sys.argv[1:] else None) as folder:
        source = Path(folder) / "source"
        with source.open("wb") as file:
            for _ in range(_CHUNKS):
                file.write(os.urandom(CHUNK_BYTES))
        found = [once(source, Path(folder) / "sealed") for _ in range(_ROUNDS + 1)][1:]
    seconds, cpu = (statistics.median(each) for each in zip(*found, strict=True))
    size = _CHUNKS * CHUNK_BYTES / 1e9
    print(f"{size:.2f} GB: {seconds:.2f} s, {size / seconds * 1000:.0f} MB/s,", end=" ")
    print(f"{cpu:.2f} CPU seconds of both sides, {cpu / size:.2f} a GB")


if __name__ == "__main__":
    main()
