"""Measure what some decisions rest on: ciphers, hashes, a commit, a manifest, a header.

docs/ARCHITECTURE.md says what follows from it. Run: python bench/primitives.py
"""

import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from medp2p import layout, manifest
from medp2p.limits import CHUNK_BYTES
from medp2p.manifest import Entry, Kind

_SECONDS = 0.5
_ENTRIES = 100_000


def seconds_each(work: Callable[[], object]) -> float:
    """Return how long one call takes, in seconds, over half a second of calls."""
    work()
    calls, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < _SECONDS:
        work()
        calls += 1
    return took / calls


def bytes_a_second() -> Iterator[tuple[str, float]]:
    """Yield each primitive with its rate over whole chunks."""
    chunk, out = os.urandom(CHUNK_BYTES), bytearray(CHUNK_BYTES + 16)
    nonce = bytes(12)
    aes, chacha = AESGCM(bytes(32)), ChaCha20Poly1305(bytes(32))
    for name, work in (
        ("AES-256-GCM", lambda: aes.encrypt_into(nonce, chunk, None, out)),
        ("ChaCha20-Poly1305", lambda: chacha.encrypt_into(nonce, chunk, None, out)),
        ("BLAKE3", lambda: blake3(chunk).digest()),
        ("SHA-256", lambda: hashlib.sha256(chunk).digest()),
    ):
        yield name, CHUNK_BYTES / seconds_each(work)


def commit_seconds(folder: Path) -> float:
    """Return how long a durable commit of 16 small rows takes, as the journal makes it."""
    base = sqlite3.connect(folder / "store.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
        base.execute(f"PRAGMA {pragma}")
    base.execute("CREATE TABLE journal (number INTEGER PRIMARY KEY, digest BLOB)")
    rows = [(os.urandom(32),) for _ in range(16)]

    def commit() -> None:
        base.execute("BEGIN IMMEDIATE")
        base.executemany("INSERT INTO journal (digest) VALUES (?)", rows)
        base.execute("COMMIT")

    took = seconds_each(commit)
    base.close()
    return took


def manifest_seconds() -> tuple[float, float]:
    """Return how long decoding and laying out a large manifest take."""
    entries = [
        Entry(b"STUDY/SER%03d/IM%06d.dcm" % (number // 500, number), Kind.FILE, 526_000, 0)
        for number in range(_ENTRIES)
    ]
    pages = manifest.encode_entries(entries)
    decode = seconds_each(lambda: manifest.decode_entries_untrusted(pages))
    return decode, seconds_each(lambda: layout.Layout(entries))


def main() -> None:
    """Print everything."""
    for name, rate in bytes_a_second():
        print(f"{name:20} {rate / 1e9:5.1f} GB/s, one thread, chunks of {CHUNK_BYTES} bytes")
    with tempfile.TemporaryDirectory() as folder:
        print(f"durable commit       {1000 * commit_seconds(Path(folder)):5.2f} ms")
    decode, lay_out = manifest_seconds()
    print(f"decode a manifest    {1000 * decode:5.0f} ms, {_ENTRIES} entries")
    print(f"compute its layout   {1000 * lay_out:5.0f} ms")


if __name__ == "__main__":
    main()
