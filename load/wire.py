"""Hand-made reading and writing of what load clients say to each other: just the fields they need.

Owns the byte layout that a load client writes and the server carries unchanged (docs/protocol.md, "Messages"): the
fields of a message in the order of their numbers up to `settled`, then `dest_id`, `kind` and `body` or `about`.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence

from protocol.framing import varint
from protocol.sparrow_pb2 import EDIT, ERASE, READ, TEXT, About

_HEAD = struct.Struct("<dQQ")
_FROM = b"\x22\x2a"
"""The tags of `Message.from_id` and `from_device`."""
HEAD_BYTES = 32
"""How much of each body `head` takes."""


def head(at: float, number: int, stream: int) -> bytes:
    """How each body begins: when it was to be sent (the clock's seconds), its number, its stream; as text."""
    return b2a_base64(_HEAD.pack(at, number, stream), newline=False)


def read_head(body: bytes) -> tuple[float, int, int]:
    """What `head` has written."""
    at, number, stream = _HEAD.unpack(a2b_base64(body[:HEAD_BYTES]))
    return at, number, stream


def padding(body_bytes: int) -> bytes:
    """What makes a body as long as that, behind its head."""
    return b"." * max(0, body_bytes - HEAD_BYTES)


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
    while frame[at] in _FROM:  # what a group's row says comes in the order of the fields
        at += frame[at + 1] + 2
    at += frame[at + 1] + 2
    kind = frame[at + 1]
    size, at = read_varint(frame, at + 3)
    return stream, number, settled, kind, frame[at : at + size]


def _addressed(dest: str) -> bytes:
    name = dest.encode()
    return b"\x32" + varint(len(name)) + name


def text_tail(dest: str, body_bytes: int) -> tuple[bytes, bytes]:
    """What stands before `head` and what behind it in a text to `dest`."""
    rest = padding(body_bytes)
    return _addressed(dest) + b"\x38" + varint(TEXT) + b"\x42" + varint(HEAD_BYTES + len(rest)), rest


def change_tail(dest: str, device: str, stream: int, number: int, body: bytes = b"") -> bytes:
    """The bytes behind the id of an EDIT of this message, or without a body of an ERASE."""
    about = About(from_device=device, stream=stream, ids=(number,)).SerializeToString()
    named = b"\x52" + varint(len(about)) + about
    if not body:
        return _addressed(dest) + b"\x38" + varint(ERASE) + named
    return _addressed(dest) + b"\x38" + varint(EDIT) + b"\x42" + varint(len(body)) + body + named + b"\x58\x01"


def read_tail(dest: str, device: str, stream: int, ids: Sequence[int]) -> bytes:
    """The bytes behind the id of a READ of these messages."""
    about = About(from_device=device, stream=stream, ids=ids).SerializeToString()
    return _addressed(dest) + b"\x38" + varint(READ) + b"\x52" + varint(len(about)) + about
