"""Hand-made reading of what a load client receives: just the fields it needs, from messages that it wrote itself.

Owns the byte layout that `Sender` writes and the server carries unchanged (docs/protocol.md, "Messages").
"""

from __future__ import annotations


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def read_message(frame: bytes, body_bytes: int) -> tuple[bytes, int, int, bytes]:
    """Stream, id, settled and body of a `Frame` with a `Message` as `Sender` writes them."""
    _, at = read_varint(frame, 1)
    stream = frame[at + 1 : at + 9]
    number, at = read_varint(frame, at + 10)
    settled, at = read_varint(frame, at + 1)
    name_bytes = frame[at + 1]
    at += name_bytes + 4  # dest_id, kind
    _, at = read_varint(frame, at + 1)
    return stream, number, settled, frame[at : at + body_bytes]
