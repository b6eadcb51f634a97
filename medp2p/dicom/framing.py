"""How the daemon and its children talk: a length of four bytes (big-endian), then so many bytes.

Apart from the children themselves, so that the daemon loads none of what those parse with.
"""

import msgspec

LENGTH_BYTES = 4


def encode_question(head: bytes, size: int, tail: bytes) -> bytes:
    """Return a question to the child that reads headers, with its length."""
    return framed(msgspec.msgpack.encode((size, head, tail)))


def framed(payload: bytes) -> bytes:
    """Return bytes with their length before them."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload
