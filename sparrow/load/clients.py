"""Cheap clients for load: one socket each, hand-made messages, every arrival checked.

Owns what a load client keeps. Follows docs/protocol.md; `sparrow.client` is the library for everybody else.
"""

from __future__ import annotations

import asyncio
import random
import struct
import time
from typing import cast

from protocol.framing import MESSAGE_TAG, FrameReader, delimit, message_frame, sole_receipt, varint
from protocol.inbound import InboundStream
from protocol.sparrow_pb2 import TEXT, Ack, Frame, Login, Ping, Receipt, Sync
from sparrow.load.wire import read_message

_BODY = struct.Struct("<dQ")
RESEND_S = 3.0


class LoadClient(asyncio.Protocol):
    """A client that logs in."""

    def __init__(self, token: str) -> None:
        self.token = token
        self._reader = FrameReader(1 << 24)
        self.logged_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.goodbye = ""
        self.now = 0.0
        """When the current turn began."""
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(delimit(Frame(login=Login(token=self.token, client="load")).SerializeToString()))

    def data_received(self, data: bytes) -> None:
        self.now = time.monotonic()
        for payload in self._reader.receive(data):
            self.frame(payload)
        self.turn_ends()
        self.flush()

    def flush(self) -> None:
        """One write for all that gathered."""
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def frame(self, payload: bytes) -> None:
        """One frame from the server."""
        self.rare(Frame.FromString(payload))

    def rare(self, frame: Frame) -> None:
        """A frame that is neither message nor receipt."""
        kind = frame.WhichOneof("kind")
        if kind == "logged_in":
            self.logged_in.set_result(None)
        elif kind == "goodbye":
            self.goodbye = frame.goodbye.text
            if not self.logged_in.done():
                self.logged_in.set_exception(ConnectionError(self.goodbye))

    def turn_ends(self) -> None:
        """Everything that came together was handled."""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.logged_in.done():
            self.logged_in.set_exception(ConnectionError("closed before login"))

    def ping(self) -> None:
        """Keep the session."""
        self._transport.write(delimit(Frame(ping=Ping(n=1)).SerializeToString()))

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()


class Sender(LoadClient):
    """Sends numbered messages to one user, so many in flight."""

    def __init__(self, token: str, dest: str, body_bytes: int) -> None:
        super().__init__(token)
        self._stream = random.getrandbits(64) | 1
        self._head = b"\x09" + self._stream.to_bytes(8, "little") + b"\x10"
        name = dest.encode()
        self._padding = bytes(max(0, body_bytes - _BODY.size))
        size = _BODY.size + len(self._padding)
        self._tail = b"\x32" + varint(len(name)) + name + b"\x38" + varint(TEXT) + b"\x42" + varint(size)
        self._next = 1
        self.open: dict[int, float] = {}
        """id → when it was sent last; oldest first."""
        self.sent = 0
        self.delivered = 0
        self.failed = 0
        self.going = False

    def send(self, count: int = 1) -> None:
        """Write new messages."""
        self.now = time.monotonic()
        for _ in range(count):
            number = self._next
            self._next = number + 1
            self.open[number] = self.now
            self._write(number)

    def _write(self, number: int) -> None:
        self.open[number] = self.now
        head = self._head + varint(number) + b"\x18" + varint(next(iter(self.open)))
        self._out.append(message_frame(b"".join((head, self._tail, _BODY.pack(self.now, number), self._padding))))

    def frame(self, payload: bytes) -> None:
        raw = sole_receipt(payload)
        if raw is None:
            frame = Frame.FromString(payload)
            if frame.WhichOneof("kind") == "failed":
                self._failed(frame.failed.id, frame.failed.retry_after_ms)
            else:
                self.rare(frame)
            return
        receipt = Receipt.FromString(raw)
        if not receipt.sent:
            self.delivered += len(receipt.ids)
            self._received_counted()
            return
        settled = sum(self.open.pop(number, None) is not None for number in receipt.ids)
        self.sent += settled
        self.delivered += settled * receipt.delivered
        if self.going:
            self.send(settled)

    _counted = 0

    def _received_counted(self) -> None:
        self._counted += 1
        self._out.append(delimit(Frame(ack=Ack(up_to=self._counted)).SerializeToString()))

    def _failed(self, number: int, retry_after_ms: int) -> None:
        self.failed += 1
        if retry_after_ms and number in self.open:
            asyncio.get_running_loop().call_later(retry_after_ms / 1000, self._again, number)

    def _again(self, number: int) -> None:
        if number in self.open:
            self.now = time.monotonic()
            self._write(number)
            self.flush()

    def resend_overdue(self) -> None:
        """What has had no answer for too long goes again."""
        self.now = time.monotonic()
        for number in [number for number, at in self.open.items() if at < self.now - RESEND_S]:
            self._write(number)
        self.flush()


class Receiver(LoadClient):
    """Receives, checks order and number, acks."""

    def __init__(self, token: str, body_bytes: int) -> None:
        super().__init__(token)
        self._body_bytes = max(body_bytes, _BODY.size)
        self._streams: dict[bytes, InboundStream[bytes]] = {}
        self._last: dict[bytes, int] = {}
        self._counted = 0
        self._acked = 0
        self._syncs = 0
        self.shown = 0
        self.repeated = 0
        self.out_of_order = 0
        self.repeated_on_wire = 0
        self.latencies: list[float] | None = None

    def frame(self, payload: bytes) -> None:
        if payload[0] != MESSAGE_TAG:
            frame = Frame.FromString(payload)
            if frame.WhichOneof("kind") == "synced":
                for name, stream in self._streams.items():
                    for shown in stream.synced(frame.synced.n):
                        self._show(name, shown.item, shown.late)
            else:
                self.rare(frame)
            return
        self._counted += 1
        name, number, settled, body = read_message(payload, self._body_bytes)
        known = self._streams.get(name)
        if known is None:
            known = self._streams[name] = InboundStream()
        if number == known.next and not known.parked:  # as nearly always
            known.next, known.settled = number + 1, settled
            self._show(name, body, False)
            return
        if number < known.next:
            self.repeated_on_wire += 1
        for shown in known.receive(number, settled, body):
            self._show(name, shown.item, shown.late)
        if known.parked and known.wants_sync(10.0):
            self._syncs += 1
            known.asked(self._syncs, 10.0)
            self._out.append(delimit(Frame(sync=Sync(n=self._syncs)).SerializeToString()))

    def _show(self, name: bytes, body: bytes, late: bool) -> None:
        at, number = _BODY.unpack_from(body)
        last = self._last.get(name, 0)
        if number != last + 1:
            self.repeated += number <= last
            self.out_of_order += number > last + 1 or late
        self._last[name] = max(last, number)
        self.shown += 1
        if self.latencies is not None:
            self.latencies.append(self.now - at)

    def turn_ends(self) -> None:
        if self._counted > self._acked:
            self._acked = self._counted
            self._out.append(delimit(Frame(ack=Ack(up_to=self._acked)).SerializeToString()))
