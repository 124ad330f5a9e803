"""Hand-made reading and writing of what load clients say to each other: just the fields they need.

Owns the byte layout that a load client writes and the server carries unchanged (docs/protocol.md, "Messages"): the
fields of a message in the order of their numbers up to `settled`, then `dest_id`, `kind` and `body` or `about`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from protocol.framing import varint
from protocol.sparrow_pb2 import READ, TEXT, About

BODY = struct.Struct("<dQQ")
"""How each body begins: when it was to be sent (the clock's seconds), its number, its stream."""


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


def read_message(frame: bytes) -> tuple[bytes, int, int, int, bytes]:
    """Stream (8 bytes), id, settled, kind, and body or `about` of a `Frame` with a `Message` of a load client."""
    _, at = read_varint(frame, 1)
    stream = frame[at + 1 : at + 9]
    number, at = read_varint(frame, at + 10)
    settled, at = read_varint(frame, at + 1)
    at += frame[at + 1] + 2
    kind = frame[at + 1]
    size, at = read_varint(frame, at + 3)
    return stream, number, settled, kind, frame[at : at + size]


def _addressed(dest: str) -> bytes:
    name = dest.encode()
    return b"\x32" + varint(len(name)) + name


def text_tail(dest: str, body_bytes: int) -> tuple[bytes, bytes]:
    """What stands before `BODY` and what behind it in a text to `dest`."""
    padding = bytes(max(0, body_bytes - BODY.size))
    return _addressed(dest) + b"\x38" + varint(TEXT) + b"\x42" + varint(BODY.size + len(padding)), padding


def read_tail(dest: str, device: str, stream: int, ids: Sequence[int]) -> bytes:
    """The same of a READ of these messages, in whole."""
    about = About(from_device=device, stream=stream, ids=ids).SerializeToString()
    return _addressed(dest) + b"\x38" + varint(READ) + b"\x52" + varint(len(about)) + about
