"""The client's end of one connection, as a pure state machine (docs/protocol.md, "Sessions").

Owns what may come when and the numbering of counted frames. Knows no socket, no clock and no stream:
`protocol.inbound` and `protocol.outbound` outlive connections.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from protocol.errors import FrameError, MisuseError, PeerError, SequenceError
from protocol.framing import HINT_TAG, MESSAGE_TAG, SIGNAL_TAG, FrameReader, delimit, message_frame
from protocol.sparrow_pb2 import (
    Ack,
    Failed,
    Frame,
    Goodbye,
    Hint,
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


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message has come that cannot be read: it is counted like any other, and nobody can say whose it is."""

    size: int  # bytes


Event: TypeAlias = LoggedIn | Message | Receipt | Failed | Synced | Pong | Hint | Signal | Goodbye | Unreadable

NEW: Final = 0
LOGGING_IN: Final = 1
ACTIVE: Final = 2
CLOSED: Final = 3

ALLOWED: Final[dict[int, frozenset[str]]] = {
    NEW: frozenset({"goodbye"}),
    LOGGING_IN: frozenset({"logged_in", "pong", "goodbye"}),
    ACTIVE: frozenset({"message", "receipt", "failed", "synced", "pong", "hint", "signal", "goodbye"}),
    CLOSED: frozenset(),
}
"""Which frames a server may send in which state. `login` moves to LOGGING_IN, LoggedIn to ACTIVE, Goodbye to CLOSED."""


MAX_WINDOW: Final = 65_536
"""No id runs further ahead of `settled`: what a receiver must remember of a stream is bounded."""


class ClientSession:
    """One connection, from Login to Goodbye."""

    __slots__ = ("_out", "_reader", "acked", "counted", "error", "state")

    MAX_FRAME_BYTES = 16 * 1024 * 1024
    """What a client believes of a server before it knows better."""

    def __init__(self) -> None:
        self._reader = FrameReader(self.MAX_FRAME_BYTES)
        self._out: list[bytes] = []
        self.state = NEW
        self.counted = 0
        """Counted frames received."""
        self.acked = 0
        """The last ack sent."""
        self.error: PeerError | None = None
        """How the server broke the protocol; the connection is of no more use."""

    # In.

    def receive_data(self, data: bytes) -> list[Event]:
        """What the server said, up to Goodbye or to where it broke the protocol (`error`)."""
        events: list[Event] = []
        if self._over():
            return events
        for payload in self._reader.receive(data):
            event = self._event(payload)
            if event is not None:
                events.append(event)
            if self._over():
                return events
        self.error = self._reader.error
        return events

    def _over(self) -> bool:
        return self.error is not None or self.state == CLOSED

    def _event(self, payload: bytes) -> Event | None:
        try:
            frame = Frame.FromString(payload)
        except DecodeError:
            return self._unreadable(payload)
        kind = frame.WhichOneof("kind")
        if kind is None:
            return None  # of a later version of the protocol
        if kind not in ALLOWED[self.state]:
            self.error = SequenceError(f"the server sent {kind}, which is not allowed now")
            return None
        if kind == "message" and not _possible(frame.message):
            return self._unreadable(payload)
        if kind == "message" or (kind == "receipt" and not frame.receipt.sent and not frame.receipt.early):
            self.counted += 1
        elif kind == "logged_in":
            self.state = ACTIVE
        elif kind == "goodbye":
            self.state = CLOSED
        event: Event = getattr(frame, kind)
        return event

    def _unreadable(self, payload: bytes) -> Event | None:
        """A message that is no good must not keep all others away: they would come behind it again and again."""
        if self.state != ACTIVE or payload[0] not in (MESSAGE_TAG, HINT_TAG, SIGNAL_TAG):
            self.error = FrameError("a frame is not valid protobuf")
            return None
        if payload[0] != MESSAGE_TAG:
            return None
        self.counted += 1
        return Unreadable(len(payload))

    @property
    def unacked(self) -> int:
        """Counted frames beyond the last ack."""
        return self.counted - self.acked

    # Out.

    def login(
        self,
        token: str,
        client: str = "",
        *,
        start: int = 0,
        tries: int = 0,
        understands: Iterable[str] = (),
        fresh: bool = False,
    ) -> None:
        """The first frame. Raises `MisuseError` if it is not."""
        if self.state != NEW:
            raise MisuseError("log in once a connection")
        self.state = LOGGING_IN
        login = Login(token=token, client=client, start=start, tries=tries, understands=understands, fresh=fresh)
        self._push(Frame(login=login))

    def message(self, message: Message) -> None:
        """Send a message, or send it again."""
        self._require_active()
        self._out.append(message_frame(message.SerializeToString()))

    def ack(self) -> None:
        """Everything received so far is kept; call it only when it is."""
        self._require_active()
        if self.counted > self.acked:
            self.acked = self.counted
            self._push(Frame(ack=Ack(up_to=self.acked)))

    def sync(self, n: int, group: str = "") -> None:
        """Ask for one whole scan of the inbox and of all groups, or of this group alone."""
        self._require_active()
        self._push(Frame(sync=Sync(n=n, group=group)))

    def signal(self, signal: Signal) -> None:
        """Send a signal; nothing answers it."""
        self._require_active()
        self._push(Frame(signal=signal))

    def ping(self, n: int) -> None:
        """Say that we are here."""
        self._require_active()
        self._push(Frame(ping=Ping(n=n)))

    def logout(self) -> None:
        """Ask for a Goodbye."""
        self._require_active()
        self._push(Frame(logout=Logout()))

    def _require_active(self) -> None:
        if self.state != ACTIVE:
            raise MisuseError("not logged in")

    def _push(self, frame: Frame) -> None:
        self._out.append(delimit(frame.SerializeToString()))

    def data_to_send(self) -> bytes:
        """Everything since the last call."""
        data = b"".join(self._out)
        self._out.clear()
        return data


def _possible(message: Message) -> bool:
    return message.stream != 0 and 1 <= message.settled <= message.id < message.settled + MAX_WINDOW
