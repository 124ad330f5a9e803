"""Varint length-delimited frames over a byte stream (docs/protocol.md, "Framing").

Owns the bytes between frames. Knows nothing of what is inside one, except that a `Frame` that
holds a `Message` can be put together from the encoded message without encoding it again.
"""

from __future__ import annotations

import struct
import sys

from protocol.errors import FrameError, FrameTooLargeError

MESSAGE_TAG = 0x12
"""`Frame.message`: field 2, length-delimited."""
ACK_TAG = 0x1A
"""`Frame.ack`: field 3, length-delimited."""
RECEIPT_TAG = 0x42
"""`Frame.receipt`: field 8, length-delimited."""
HINT_TAG = 0x6A
"""`Frame.hint`: field 13, length-delimited."""
SIGNAL_TAG = 0x72
"""`Frame.signal`: field 14, length-delimited."""


_SMALL = [bytes((n,)) for n in range(0x80)]


def varint(value: int) -> bytes:
    """Base-128 varint of a non-negative number (Protocol Buffers encoding)."""
    if value <= 0x7F:
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimit(payload: bytes) -> bytes:
    """One frame on the wire."""
    return varint(len(payload)) + payload


def _wrap_prefix(tag: int, length: int) -> bytes:
    inner = bytes((tag,)) + varint(length)
    return varint(len(inner) + length) + inner


_MESSAGE_PREFIX = [_wrap_prefix(MESSAGE_TAG, n) for n in range(2048)]
_RECEIPT_PREFIX = [_wrap_prefix(RECEIPT_TAG, n) for n in range(128)]


def message_frame(message: bytes) -> bytes:
    """The delimited `Frame` around an encoded `Message`."""
    length = len(message)
    if length < 2048:
        return _MESSAGE_PREFIX[length] + message
    return _wrap_prefix(MESSAGE_TAG, length) + message


def receipt_frame(receipt: bytes) -> bytes:
    """The delimited `Frame` around an encoded `Receipt`."""
    length = len(receipt)
    prefix = _RECEIPT_PREFIX[length] if length < 128 else _wrap_prefix(RECEIPT_TAG, length)
    return prefix + receipt


def hint_frame(hint: bytes) -> bytes:
    """The delimited `Frame` around an encoded `Hint`."""
    return _wrap_prefix(HINT_TAG, len(hint)) + hint


def signal_frame(signal: bytes) -> bytes:
    """The delimited `Frame` around an encoded `Signal`."""
    return _wrap_prefix(SIGNAL_TAG, len(signal)) + signal


def _sole_prefix(tag: int, size: int) -> bytes:
    """How a payload of this size begins if it is one field; for an impossible size, what no payload begins with."""
    for varint_bytes in range(1, 5):
        prefix = bytes((tag,)) + varint(max(0, size - 1 - varint_bytes))
        if len(prefix) == 1 + varint_bytes:
            return prefix
    return bytes(8)


_MESSAGE_PAYLOAD = [_sole_prefix(MESSAGE_TAG, n) for n in range(2048)]


def sole_message(payload: bytes) -> bytes | None:
    """The encoded message of a payload that is nothing but one; None for any other, or an oddly encoded one."""
    size = len(payload)
    prefix = _MESSAGE_PAYLOAD[size] if size < 2048 else _sole_prefix(MESSAGE_TAG, size)
    return payload[len(prefix) :] if payload.startswith(prefix) else None


def sole_receipt(payload: bytes) -> bytes | None:
    """The encoded receipt of a payload that is nothing but one; None for any other, or an oddly encoded one."""
    prefix = _sole_prefix(RECEIPT_TAG, len(payload))
    return payload[len(prefix) :] if payload.startswith(prefix) else None


_ACK_UP_TO = 0x08
_STREAM = struct.Struct("<BQ")
_STAMPS = struct.Struct("<BBQ")
_IDS = [bytes((0x12, n)) for n in range(11)]
_SENT = (b"\x20\x01", b"\x20\x01\x28\x01")
"""`Receipt.sent`, without and with `Receipt.delivered`."""


def sole_ack(payload: bytes) -> int | None:
    """`up_to` of a payload that is nothing but an `Ack`; None for any other, an oddly encoded or a very large one."""
    size = len(payload)
    if not 4 <= size <= 8 or payload[0] != ACK_TAG or payload[1] != size - 2 or payload[2] != _ACK_UP_TO:
        return None
    up_to = shift = 0
    for at in range(3, size - 1):
        byte = payload[at]
        if byte < 0x80:
            return None
        up_to |= (byte & 0x7F) << shift
        shift += 7
    last = payload[-1]
    return up_to | last << shift if last < 0x80 else None


def sent_receipt(stream: int, number: int, stamp: int, delivered: bool) -> bytes:
    """An encoded `Receipt` that tells SENT of one message."""
    ids = varint(number)
    return b"".join((_STREAM.pack(0x09, stream), _IDS[len(ids)], ids, _STAMPS.pack(0x1A, 8, stamp), _SENT[delivered]))


class FrameReader:
    """Cuts a byte stream into payloads. After an error it stays broken and returns nothing more."""

    __slots__ = ("_buffer", "_limit", "_need", "error", "more")

    def __init__(self, max_frame_bytes: int) -> None:
        self._limit = max_frame_bytes
        self._buffer = b""
        self._need = 0
        self.error: FrameError | None = None
        """Why the stream is broken; set behind the last good frame."""
        self.more = False
        """There were more payloads than were asked for: ask again."""

    def receive(self, data: bytes, at_most: int = sys.maxsize) -> list[bytes]:
        """The payloads that `data` completes, or so many of them."""
        self.more = False
        if self.error is not None:
            return []
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return []
            data = self._buffer
        frames: list[bytes] = []
        offset, size = 0, len(data)
        self._need = 0
        while offset < size:
            length = data[offset]
            start = offset + 1
            if length > 0x7F:
                if start < size and data[start] < 0x80:  # two bytes, as nearly always
                    length += (data[start] << 7) - 0x80
                    start += 1
                else:
                    parsed = self._long_length(data, offset)
                    if parsed is None:
                        break
                    length, start = parsed
            end = start + length
            if length > self._limit:
                self.error = FrameTooLargeError(f"a frame of {length} bytes; the limit is {self._limit}")
                break
            if end > size:
                self._need = end - offset
                break
            if len(frames) >= at_most:
                self.more = True
                break
            frames.append(data[start:end])
            offset = end
        self._buffer = b"" if self.error is not None or offset == size else data[offset:]
        return frames

    def _long_length(self, data: bytes, offset: int) -> tuple[int, int] | None:
        """Length and start of the payload, or None if the varint is not whole or not one."""
        length = shift = 0
        for at in range(offset, min(offset + 5, len(data))):
            byte = data[at]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                return length, at + 1
            shift += 7
        if len(data) - offset >= 5:
            self.error = FrameError("a frame's length is not a varint of at most 5 bytes")
        return None

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._buffer)
