"""The server's end of one client connection, as a pure state machine (docs/protocol.md, "Sessions").

Owns what may come when, the windows, and the numbering of counted frames. Knows no socket and no clock,
and nothing of what becomes of a message.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from protocol.allowed import MAX_ID, MAX_SIGNAL_BYTES, not_allowed
from protocol.errors import FrameError, FrameTooLargeError
from protocol.framing import (
    FrameReader,
    delimit,
    hint_frame,
    message_frame,
    receipt_frame,
    sent_receipt,
    sole_ack,
    sole_message,
)
from protocol.ids import is_group_id
from protocol.sparrow_pb2 import (
    FILE,
    TEXT,
    Failed,
    Frame,
    Goodbye,
    LoggedIn,
    Login,
    Logout,
    Message,
    Ping,
    Pong,
    Receipt,
    Signal,
    Sync,
    Synced,
)
from protocol.strict import check_message, is_plain_read, plain_bytes

Incoming: TypeAlias = tuple[int, int, str, int, bytes]
"""A message from the client: stream, id, dest_id, kind, and all of it as it came. No other event is a tuple."""
Acked: TypeAlias = int
"""The client has kept every counted frame up to this one. No other event is a number."""


@dataclass(frozen=True, slots=True)
class Breach:
    """The client broke the protocol: say Goodbye with this and close."""

    code: Goodbye.Code
    text: str


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """A message that can be read, and that no client may send: a final `Failed`, since no repeat would be better."""

    stream: int
    id: int
    text: str


Event: TypeAlias = Incoming | Acked | Login | Sync | Signal | Ping | Logout | Breach | NotAllowed


@dataclass(frozen=True, slots=True)
class Windows:
    """The limits that `LoggedIn` tells a client."""

    max_frame_bytes: int
    max_unsettled_per_stream: int
    max_unsettled_per_connection: int


WAITING: Final = 0  # for Login
LOGGING_IN: Final = 1  # Login given to the server, no answer yet
ACTIVE: Final = 2
CLOSED: Final = 3

ALLOWED: Final[dict[int, frozenset[str]]] = {
    WAITING: frozenset({"login"}),
    LOGGING_IN: frozenset({"ping", "logout"}),
    ACTIVE: frozenset({"message", "ack", "sync", "signal", "ping", "logout"}),
    CLOSED: frozenset(),
}
"""Which frames a client may send in which state. Login moves it to LOGGING_IN, `logged_in` to ACTIVE, a breach,
Logout or `goodbye` to CLOSED."""


_NOTHING: Final[set[tuple[int, int]]] = set()
"""Stands in all sessions whose client has not written yet; stays empty."""


class ServerSession:
    """One connection, from the first byte to Goodbye."""

    __slots__ = ("_last", "_out", "_reader", "_sent", "_windows", "acked", "counted", "repeats", "state", "unsettled")

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._reader = FrameReader(windows.max_frame_bytes)
        self._out: list[bytes] = []
        self._sent: list[tuple[int, bool, int, int]] | None = None
        """Stream, delivered, id and stamp of each message to tell SENT of; None: of none."""
        self._last: bytes | None = None
        """All that may still be sent, once Goodbye has been said."""
        self.state = WAITING
        self.counted = 0
        """Counted frames sent."""
        self.acked = 0
        """The client's last ack."""
        self.unsettled = _NOTHING
        """(stream, id) that the client has not been told to be settled."""
        self.repeats = 0
        """Messages that came again on this connection while they were unsettled."""

    # In.

    def receive_data(self, data: bytes, at_most: int = sys.maxsize) -> list[Event]:
        """What the client said, or so much of it; then there is `more`, and one has to ask again.

        A `Breach` or a `Logout` is always the last: after it, nothing more is understood.
        """
        events: list[Event] = []
        if self.state == CLOSED:
            return events
        for payload in self._reader.receive(data, at_most):
            raw = sole_message(payload)
            if raw is not None:
                event = self._message(raw)
            else:
                up_to = sole_ack(payload)
                event = self._other(payload) if up_to is None else self._ack(up_to)
            events.append(event)
            if self.state == CLOSED:
                return events
        error = self._reader.error
        if error is not None:
            code = Goodbye.FRAME_TOO_LARGE if isinstance(error, FrameTooLargeError) else Goodbye.MALFORMED
            events.append(self._breach(code, str(error)))
        return events

    @property
    def more(self) -> bool:
        """Whether frames wait that were not asked for yet."""
        return self._reader.more and self.state != CLOSED

    def _message(self, raw: bytes) -> Event:
        try:
            return self._checked(Message.FromString(raw), raw)
        except DecodeError:
            return self._breach(Goodbye.MALFORMED, "a message is not valid protobuf")

    def _other(self, payload: bytes) -> Event:
        try:
            frame = Frame.FromString(payload)
        except DecodeError:
            return self._breach(Goodbye.MALFORMED, "a frame is not valid protobuf")
        kind = frame.WhichOneof("kind")
        if kind is None or kind not in ALLOWED[self.state]:
            return self._unexpected(kind)
        if kind == "message":
            return self._checked(frame.message, frame.message.SerializeToString())
        if kind == "ack":
            return self._ack(frame.ack.up_to)
        if kind == "sync" and not frame.sync.n:
            return self._breach(Goodbye.MALFORMED, "sync needs n >= 1")
        if kind == "sync" and frame.sync.group and not is_group_id(frame.sync.group):
            return self._breach(Goodbye.MALFORMED, "group of sync is no group's id")
        if kind == "signal":
            return self._signal(frame.signal)
        if kind == "login":
            self.state = LOGGING_IN
        elif kind == "logout":
            self.state = CLOSED
        event: Event = getattr(frame, kind)
        return event

    def _breach(self, code: Goodbye.Code, text: str) -> Breach:
        self.state = CLOSED
        return Breach(code, text)

    def _unexpected(self, kind: str | None) -> Breach:
        if kind is None:
            return self._breach(Goodbye.MALFORMED, "a frame of no known kind")
        if self.state == WAITING:
            return self._breach(Goodbye.NOT_LOGGED_IN, f"the first frame must be login, not {kind}")
        return self._breach(Goodbye.MALFORMED, f"{kind} is not allowed now")

    def _checked(self, message: Message, raw: bytes) -> Event:
        if self.state != ACTIVE:
            return self._unexpected("message")
        stream, number, settled = message.stream, message.id, message.settled
        dest_id, kind, body = message.dest_id, message.kind, message.body
        if not stream:
            return self._breach(Goodbye.MALFORMED, "stream must not be 0")
        if not 1 <= settled <= number:
            return self._breach(Goodbye.MALFORMED, "need 1 <= settled <= id")
        if (
            not body
            or len(raw) != plain_bytes(number, settled, dest_id, kind, body)
            or (kind != FILE and (kind != TEXT or not body.isascii()))
            or number > MAX_ID
        ) and (body or not is_plain_read(raw)):
            wrong = self._doubtful(message, raw)
            if wrong is not None:
                return wrong
        if number >= settled + self._windows.max_unsettled_per_stream:
            return self._breach(Goodbye.WINDOW_EXCEEDED, "too many unsettled messages in a stream")
        unsettled = self.unsettled
        if unsettled is _NOTHING:  # most clients write nothing for long
            unsettled = self.unsettled = set()
        before = len(unsettled)
        unsettled.add((stream, number))
        if len(unsettled) == before:
            self.repeats += 1
        elif before >= self._windows.max_unsettled_per_connection:
            return self._breach(Goodbye.WINDOW_EXCEEDED, "too many unsettled messages on the connection")
        return stream, number, dest_id, kind, raw

    def _doubtful(self, message: Message, raw: bytes) -> Event | None:
        """What is wrong with a message that is not plainly right."""
        if message.from_id or message.from_device or message.stamp:
            return self._breach(Goodbye.MALFORMED, "from_id, from_device and stamp are set by the server")
        if message.version or message.erased:
            return self._breach(Goodbye.MALFORMED, "version and erased are set by the server")
        try:
            abouts, kind = check_message(raw)
        except FrameError as error:
            return self._breach(Goodbye.MALFORMED, f"a message that not everybody can read: {error}")
        text = not_allowed(message, abouts, kind)
        return NotAllowed(message.stream, message.id, text) if text else None

    def _signal(self, signal: Signal) -> Event:
        if signal.from_id or signal.from_device:
            return self._breach(Goodbye.MALFORMED, "from_id and from_device are set by the server")
        if not signal.kind:
            return self._breach(Goodbye.MALFORMED, "a signal needs a kind")
        if len(signal.body) > MAX_SIGNAL_BYTES:
            return self._breach(Goodbye.MALFORMED, f"the body of a signal has at most {MAX_SIGNAL_BYTES} bytes")
        return signal

    def _ack(self, up_to: int) -> Event:
        if self.state != ACTIVE:
            return self._unexpected("ack")
        if not self.acked <= up_to <= self.counted:
            return self._breach(Goodbye.MALFORMED, f"ack of {up_to}; acked {self.acked}, sent {self.counted}")
        self.acked = up_to
        return up_to

    # Out.

    def logged_in(self, frame: LoggedIn) -> None:
        """The client may begin."""
        if self.state == LOGGING_IN:
            self.state = ACTIVE
        self._out.append(delimit(Frame(logged_in=frame).SerializeToString()))

    def message(self, encoded: bytes) -> None:
        """Send an encoded `Message`; counted."""
        self.counted += 1
        self._out.append(message_frame(encoded))

    def group_frame(self, frame: bytes) -> None:
        """Send a `Message` that is framed already (`protocol.framing.message_frame`), for many at once; counted."""
        self.counted += 1
        self._out.append(frame)

    def delivered(self, encoded: bytes) -> None:
        """Send an encoded `Receipt` without `sent`; counted."""
        self.counted += 1
        self._out.append(receipt_frame(encoded))

    def sent(self, stream: int, number: int, stamp: int, delivered: bool) -> None:
        """Tell SENT; those of one stream and turn travel in one receipt."""
        self.unsettled.discard((stream, number))
        if self._sent is None:
            self._sent = [(stream, delivered, number, stamp)]
        else:
            self._sent.append((stream, delivered, number, stamp))

    def early(self, stream: int, number: int) -> None:
        """Tell DELIVERED of a message before it is SENT; not counted. Only to clients that understand "changes"."""
        receipt = Receipt(stream=stream, ids=(number,), delivered=True, early=True)
        self._out.append(receipt_frame(receipt.SerializeToString()))

    def failed(self, stream: int, number: int, code: Failed.Code, text: str, retry_after_ms: int = 0) -> None:
        """Tell Failed; without `retry_after_ms` it settles the message."""
        if not retry_after_ms:
            self.unsettled.discard((stream, number))
        failed = Failed(stream=stream, id=number, code=code, text=text, retry_after_ms=retry_after_ms)
        self._out.append(delimit(Frame(failed=failed).SerializeToString()))

    def synced(self, n: int) -> None:
        """Answer a Sync."""
        self._out.append(delimit(Frame(synced=Synced(n=n)).SerializeToString()))

    def hint(self, encoded: bytes) -> None:
        """Send an encoded `Hint`; not counted."""
        self._out.append(hint_frame(encoded))

    def signal(self, frame: bytes) -> None:
        """Send a `Signal` that is framed already (`protocol.framing.signal_frame`); not counted."""
        self._out.append(frame)

    def pong(self, n: int) -> None:
        """Answer a Ping."""
        self._out.append(delimit(Frame(pong=Pong(n=n)).SerializeToString()))

    def goodbye(self, code: Goodbye.Code, text: str, retry_after_ms: int = 0) -> None:
        """The last frame, behind everything said so far; nothing is understood or said after it."""
        if self._last is not None:
            return
        self.state = CLOSED
        goodbye = Goodbye(code=code, text=text, retry_after_ms=retry_after_ms)
        self._last = self.data_to_send() + delimit(Frame(goodbye=goodbye).SerializeToString())

    def data_to_send(self) -> bytes:
        """Everything since the last call."""
        if self._last is not None:
            data, self._last = self._last, b""
            return data
        if self._sent is not None:
            sent, self._sent = self._sent, None
            if len(sent) == 1:
                stream, delivered, number, stamp = sent[0]
                self._out.append(receipt_frame(sent_receipt(stream, number, stamp, delivered)))
            else:
                self._out.extend(_receipts(sent))
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def unacked(self) -> int:
        """Counted frames beyond the client's last ack."""
        return self.counted - self.acked


def _receipts(sent: list[tuple[int, bool, int, int]]) -> list[bytes]:
    """Frames that tell SENT of these, one for each stream and kind."""
    gathered: dict[tuple[int, bool], tuple[list[int], list[int]]] = {}
    for stream, delivered, number, stamp in sent:
        ids, stamps = gathered.setdefault((stream, delivered), ([], []))
        ids.append(number)
        stamps.append(stamp)
    frames = []
    for (stream, delivered), (ids, stamps) in gathered.items():
        receipt = Receipt(stream=stream, ids=ids, stamps=stamps, sent=True, delivered=delivered)
        frames.append(receipt_frame(receipt.SerializeToString()))
    return frames
