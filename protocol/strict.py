"""What every decoder reads alike: a strict look at encoded messages before they are handed on.

Owns which bytes are valid (docs/protocol.md, "Strictly valid") and how long the plainest encoding of a message is.
Protobuf libraries differ in what they put up with: what one of them reads, another one hangs up on, so what a stranger
wrote is held against the strictest of all. Touches no session.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from protocol.errors import FrameError
from protocol.sparrow_pb2 import Message

MAX_UNKNOWN_BYTES: Final = 1024
"""Bytes of all fields of a message together that this release does not know."""

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
"""Wire types; 3 and 4 are groups, which are not spoken here."""

_MESSAGE: Final[Mapping[int, frozenset[int]]] = {
    1: frozenset((FIXED64,)),
    2: frozenset((VARINT,)),
    3: frozenset((VARINT,)),
    4: frozenset((BYTES,)),
    5: frozenset((BYTES,)),
    6: frozenset((BYTES,)),
    7: frozenset((VARINT,)),
    8: frozenset((BYTES,)),
    9: frozenset((FIXED64,)),
    10: frozenset((BYTES,)),
    11: frozenset((VARINT,)),
    12: frozenset((FIXED64,)),
    13: frozenset((VARINT,)),
    14: frozenset((VARINT,)),
}
_ABOUT: Final[Mapping[int, frozenset[int]]] = {
    1: frozenset((BYTES,)),
    2: frozenset((FIXED64,)),
    3: frozenset((BYTES, VARINT)),  # repeated numbers, packed or not
}
_ABOUT_FIELD: Final = 10
_IDS_FIELD: Final = 3
KIND_FIELD: Final = 7

PLAIN_BYTES: Final = 16
"""Tags, lengths and `stream` of a message that has these, `id`, `settled`, `dest_id`, `kind` and a body of 1 to 127
bytes, and nothing else."""

_VOUCHED_BYTES: Final = 13
"""Tags, lengths and `stamp` of what the server puts behind a message: `from_id`, `from_device` and `stamp`. To one of a
group it puts `version`, too."""


def varint_bytes(value: int) -> int:
    """How long the shortest varint of a positive number is."""
    return (value.bit_length() + 6) // 7


def plain_bytes(number: int, settled: int, dest_id: str, kind: int, body: bytes) -> int:
    """How long a message of these is in its plainest encoding; none of them is 0 or empty.

    One that decodes to these and is as long is encoded so, and every decoder reads it: each of these fields needs as
    much, and whatever else could be there needs two bytes at least.
    """
    length = len(body)
    # `varint_bytes` of each, without the calls: this is done for every message.
    numbers = (number.bit_length() + 6) // 7 + (settled.bit_length() + 6) // 7 + (kind.bit_length() + 6) // 7
    size = PLAIN_BYTES + numbers + len(dest_id) + length
    return size if length < 0x80 else size - 1 + varint_bytes(length)


_ID: Final = rb"(?:[\x80-\xff]{0,6}[\x01-\x7f])"
_READ: Final = re.compile(
    rb"\t(?!\0{8})[\0-\xff]{8}"  # stream
    rb"\x10" + _ID + rb"\x18" + _ID + rb"2[\x01-\x40]([a-z0-9._-]+)8\x03"  # id, settled, dest_id, kind
    rb"R[\x01-\x7f]\n[\x01-\x20]([a-z0-9]+)\x11(?!\0{8})[\0-\xff]{8}\x1a[\x01-\x7f](" + _ID + rb"+)"  # about
    rb"(?:a(?!\0{8})[\0-\xff]{8})?"  # mark
)


def is_plain_read(encoded: bytes) -> bool:
    """Whether this is a READ that anybody may send, as protobuf writes it: its fields in their order, and no other."""
    found = _READ.fullmatch(encoded)
    if found is None:
        return False
    dest, dest_end = found.span(1)
    device, device_end = found.span(2)
    ids, end = found.span(3)
    return (
        encoded[dest - 1] == dest_end - dest
        and encoded[device - 1] == device_end - device
        and encoded[ids - 1] == end - ids
        and encoded[device - 3] == end - device + 2
    )


def readable(message: Message, encoded: bytes) -> bytes:
    """A message of a broker, in bytes that every decoder reads: as they came, or else what is known of them."""
    behind = _VOUCHED_BYTES + len(message.from_id) + len(message.from_device)
    if message.body:
        plain = plain_bytes(message.id, message.settled, message.dest_id, message.kind, message.body)
        if plain + behind == len(encoded):
            return encoded
        if message.version and plain + behind + 1 + varint_bytes(message.version) == len(encoded):
            return encoded
    elif is_plain_read(encoded[:-behind]):
        return encoded
    try:
        check_message(encoded)
    except FrameError:
        message.DiscardUnknownFields()
        return message.SerializeToString()
    return encoded


def check_message(encoded: bytes) -> tuple[int, int]:
    """Raise `FrameError` unless every decoder reads this `Message`; it was decoded by one of them before.

    Returns how often `about` is there, and `kind` as it was written: 64 bits, of which decoders keep what they like.
    """
    unknown = abouts = kind = 0
    for number, value, size in _fields(encoded, _MESSAGE):
        if number == KIND_FIELD:
            assert isinstance(value, int)
            kind = value
        elif number == _ABOUT_FIELD:
            assert isinstance(value, bytes)
            abouts += 1
            unknown += _check_about(value)
        elif number not in _MESSAGE:
            unknown += size
    if unknown > MAX_UNKNOWN_BYTES:
        raise FrameError(f"{unknown} bytes of unknown fields; at most {MAX_UNKNOWN_BYTES} are carried")
    return abouts, kind


def _check_about(encoded: bytes) -> int:
    """Check an `About` as `check_message` checks a message; returns how many bytes of unknown fields it has."""
    unknown = 0
    for number, value, size in _fields(encoded, _ABOUT):
        if number not in _ABOUT:
            unknown += size
        elif number == _IDS_FIELD and isinstance(value, bytes):
            at = 0
            while at < len(value):
                _, at = _varint(value, at)
    return unknown


def _fields(encoded: bytes, known: Mapping[int, frozenset[int]]) -> Iterator[tuple[int, int | bytes, int]]:
    """Number, value and size of each field. Raises `FrameError`."""
    at, end = 0, len(encoded)
    while at < end:
        start = at
        tag, at = _varint(encoded, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29 or at - start != varint_bytes(tag):
            raise FrameError("a field's number is not one, or oddly encoded")
        if wire not in known.get(number, _WIRE_TYPES):
            raise FrameError(f"field {number} has wire type {wire}")
        value: int | bytes
        if wire == VARINT:
            value, at = _varint(encoded, at)
        else:
            length = 8 if wire == FIXED64 else 4
            if wire == BYTES:
                length_at = at
                length, at = _varint(encoded, at)
                if at - length_at > 5:
                    raise FrameError(f"the length of field {number} is oddly encoded")
            if length > end - at:
                raise FrameError(f"field {number} is cut off")
            value = encoded[at : at + length]
            at += length
        yield number, value, at - start


_WIRE_TYPES: Final = frozenset((VARINT, FIXED64, BYTES, FIXED32))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A varint of at most 64 bits, and where it ends. Raises `FrameError`."""
    value = 0
    for place, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + place + 1
    raise FrameError("a number is cut off or has more than 64 bits")
