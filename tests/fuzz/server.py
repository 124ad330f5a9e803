"""Fuzzes the server's session: any bytes from a client end in events and at most one breach, and in bounded memory."""

from __future__ import annotations

from protocol.allowed import MAX_SIGNAL_BYTES
from protocol.framing import FrameReader
from protocol.ids import is_group_id
from protocol.server import (
    ACTIVE,
    CLOSED,
    LOGGING_IN,
    WAITING,
    Breach,
    Event,
    Incoming,
    NotAllowed,
    ServerSession,
    Windows,
)
from protocol.sparrow_pb2 import Frame, Goodbye, LoggedIn, Login, Logout, Message, Ping, Signal, Sync
from protocol.strict import check_message
from tests.fuzz import runner, seeds

WINDOWS = Windows(max_frame_bytes=400, max_unsettled_per_stream=16, max_unsettled_per_connection=20)
COUNTED = 5
"""Frames that the client may ack."""
LOGIN = b"\x02\x0a\x00"
CODES = {Goodbye.MALFORMED, Goodbye.NOT_LOGGED_IN, Goodbye.FRAME_TOO_LARGE, Goodbye.WINDOW_EXCEEDED}


def corpus() -> list[bytes]:
    """What clients say, before and after a login."""
    found = seeds.frames("client")
    return found + [b"\x01" + data[1:] for data in found]


def one(data: bytes) -> None:
    """One input."""
    stream, pieces = runner.cut(data)
    logged_in = bool(data[:1] and data[0] & 1)
    whole, cut = _Server(logged_in), _Server(logged_in)
    whole.hear([stream])
    cut.hear(pieces)
    assert len(whole.events) == len(cut.events), "cutting changes how much is understood"
    for a, b in zip(whole.events, cut.events, strict=True):
        assert a == b, "cutting changes what is understood"


class _Server:
    """A server that answers at once, whatever it is asked."""

    def __init__(self, logged_in: bool) -> None:
        self._session = session = ServerSession(WINDOWS)
        self.events: list[Event] = []
        if logged_in:
            session.receive_data(LOGIN)
            session.logged_in(LoggedIn(session=1))
            for _ in range(COUNTED):
                session.message(b"")
            session.data_to_send()

    def hear(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            before = self._session.state
            events = self._session.receive_data(piece)
            assert before != CLOSED or not events, "understands something behind the end"
            self._check(events)
            self.events += events
        self._end()

    def _check(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Breach):
                assert event is events[-1], "goes on behind a breach"
                assert event.code in CODES
                assert event.text
            elif isinstance(event, tuple):
                self._message(event)
            else:
                assert isinstance(event, int | Login | Logout | Ping | Signal | Sync | NotAllowed)
                if isinstance(event, Signal):
                    assert event.kind, "takes a signal of no kind"
                    assert len(event.body) <= MAX_SIGNAL_BYTES, "takes a signal of any length"
                    assert not event.from_id, "lets a client say who it is"
                    assert not event.from_device
                if isinstance(event, Sync) and event.group:
                    assert is_group_id(event.group), "takes anything for a group"
        assert len(self._session.unsettled) <= WINDOWS.max_unsettled_per_connection + 1, "holds too much"
        if events and isinstance(events[-1], Breach | Logout):
            assert self._session.state == CLOSED

    def _message(self, event: Incoming) -> None:
        message = Message.FromString(event[4])
        check_message(event[4])
        named = (message.stream, message.id, message.dest_id, message.kind)
        assert named == event[:4], "passes on another message than it has checked"
        assert message.stream
        assert 1 <= message.settled <= message.id < message.settled + WINDOWS.max_unsettled_per_stream
        assert not message.from_id, "lets a client say who it is"
        assert not message.from_device
        assert not message.stamp
        assert not message.version
        assert not message.erased

    def _end(self) -> None:
        """Whatever came: the session's own words are whole frames, and Goodbye is the last."""
        session = self._session
        assert session.state in (WAITING, LOGGING_IN, ACTIVE, CLOSED)
        session.pong(1)
        session.sent(1, 1, 1, True)
        session.goodbye(Goodbye.MOVE, "go")
        session.pong(2)
        reader = FrameReader(10**6)
        said = [Frame.FromString(payload) for payload in reader.receive(session.data_to_send())]
        assert reader.error is None
        assert reader.buffered == 0
        assert [frame.WhichOneof("kind") for frame in said] == ["pong", "receipt", "goodbye"]
        assert session.receive_data(b"\x00") == []


if __name__ == "__main__":
    runner.main(one, corpus())
