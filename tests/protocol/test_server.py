"""The server's end of a connection: what may come when, windows, acks, and what is said in which order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.framing import FrameReader, delimit, message_frame, signal_frame
from protocol.ids import is_group_id, new_group_id
from protocol.server import (
    ACTIVE,
    CLOSED,
    LOGGING_IN,
    Breach,
    Event,
    ServerSession,
    Windows,
)
from protocol.sparrow_pb2 import (
    TEXT,
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
from tests.protocol.strategies import client_frames, client_messages, delimited, pieces, taken

WINDOWS = Windows(max_frame_bytes=65536, max_unsettled_per_stream=256, max_unsettled_per_connection=4096)
MALFORMED, NOT_LOGGED_IN = Goodbye.MALFORMED, Goodbye.NOT_LOGGED_IN
GROUP = new_group_id(bytes(range(15)))


def waiting() -> ServerSession:
    return ServerSession(WINDOWS)


def logging_in(windows: Windows = WINDOWS) -> ServerSession:
    session = ServerSession(windows)
    session.receive_data(delimited(Frame(login=Login(token="t"))))
    return session


def active(windows: Windows = WINDOWS) -> ServerSession:
    session = logging_in(windows)
    session.logged_in(LoggedIn(user_id="alice", device_id="a1", session=7))
    session.data_to_send()
    return session


def logged_out() -> ServerSession:
    session = active()
    session.receive_data(delimited(Frame(logout=Logout())))
    return session


def broken() -> ServerSession:
    session = active()
    session.receive_data(delimited(Frame()))
    return session


def dismissed() -> ServerSession:
    session = active()
    session.goodbye(Goodbye.MOVE, "go")
    session.data_to_send()
    return session


def message(stream: int = 1, number: int = 1, settled: int = 1, **more: object) -> Message:
    fields = {"dest_id": "bob", "kind": TEXT, **more}
    return Message(stream=stream, id=number, settled=settled, **fields)  # type: ignore[arg-type]


def said(session: ServerSession) -> list[Frame]:
    """Everything that the session has to send, parsed by protobuf."""
    reader = FrameReader(10**6)
    frames = [Frame.FromString(payload) for payload in reader.receive(session.data_to_send())]
    assert reader.error is None
    assert reader.buffered == 0
    return frames


FRAMES = {
    "login": Frame(login=Login(token="t", client="test 1")),
    "message": Frame(message=message()),
    "ack": Frame(ack=Ack(up_to=0)),
    "sync": Frame(sync=Sync(n=3)),
    "ping": Frame(ping=Ping(n=4)),
    "logout": Frame(logout=Logout()),
    "logged_in": Frame(logged_in=LoggedIn(session=1)),
    "receipt": Frame(receipt=Receipt(stream=1, ids=[1])),
    "failed": Frame(failed=Failed(stream=1, id=1)),
    "synced": Frame(synced=Synced(n=1)),
    "pong": Frame(pong=Pong(n=1)),
    "hint": Frame(hint=Hint(kind=Hint.FRIEND_ASKED, user_id="bob")),
    "signal": Frame(signal=Signal(kind=Signal.TYPING, dest_id="bob", body=b"x")),
    "goodbye": Frame(goodbye=Goodbye(code=Goodbye.MOVE)),
    "unknown": Frame(),
}
TAKEN = {
    "waiting": {"login": LOGGING_IN},
    "logging_in": {"ping": LOGGING_IN, "logout": CLOSED},
    "active": {
        "message": ACTIVE,
        "ack": ACTIVE,
        "sync": ACTIVE,
        "signal": ACTIVE,
        "ping": ACTIVE,
        "logout": CLOSED,
    },
}
"""What docs/protocol.md allows, and the state that it leads to. Everything else is a breach."""
OPEN: dict[str, Callable[[], ServerSession]] = {"waiting": waiting, "logging_in": logging_in, "active": active}


def test_every_kind_of_frame_is_in_the_table() -> None:
    assert {*FRAMES} - {"unknown"} == {field.name for field in Frame.DESCRIPTOR.oneofs_by_name["kind"].fields}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("state", OPEN)
def test_each_kind_of_frame_in_each_state(state: str, kind: str) -> None:
    session, frame = OPEN[state](), FRAMES[kind]
    (event,) = session.receive_data(delimited(frame))
    if kind in TAKEN[state]:
        expected = getattr(frame, kind)
        if kind == "message":
            assert taken(event) == (expected, expected.SerializeToString())
        else:
            assert event == (expected.up_to if kind == "ack" else expected)
        assert session.state == TAKEN[state][kind]
    else:
        assert isinstance(event, Breach)
        known = kind != "unknown"
        assert event.code == (NOT_LOGGED_IN if state == "waiting" and known else MALFORMED)
        assert not known or kind in event.text
        assert session.state == CLOSED


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("ended", [logged_out, broken, dismissed])
def test_nothing_is_understood_once_closed(ended: Callable[[], ServerSession], kind: str) -> None:
    session = ended()
    assert session.state == CLOSED
    assert session.receive_data(delimited(FRAMES[kind])) == []
    assert session.receive_data(b"\xff" * 10) == []


@pytest.mark.parametrize("last", ["logout", "unknown"])
def test_nothing_is_understood_behind_the_last_frame_of_one_read(last: str) -> None:
    session = active()
    ping = delimited(FRAMES["ping"])
    events = session.receive_data(ping + delimited(FRAMES[last]) + ping + b"\xff" * 9)
    assert [type(event) for event in events] == [Ping, Logout if last == "logout" else Breach]


def test_a_message_may_not_come_before_logged_in() -> None:
    session = waiting()
    login, breach = session.receive_data(delimited(FRAMES["login"]) + delimited(FRAMES["message"]))
    assert isinstance(login, Login)
    assert isinstance(breach, Breach)
    assert breach.code == MALFORMED


def test_an_answer_to_a_login_does_not_open_a_closed_connection() -> None:
    session = logging_in()
    session.receive_data(delimited(FRAMES["logout"]))
    session.logged_in(LoggedIn(session=1))
    assert session.state == CLOSED
    assert session.receive_data(delimited(FRAMES["ping"])) == []


# Bytes that are no frame.


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x00", MALFORMED, id="empty frame"),
        pytest.param(b"\x01\xff", MALFORMED, id="not protobuf"),
        pytest.param(b"\x03\x12\x01\x08", MALFORMED, id="a message that is not protobuf"),
        pytest.param(b"\x03\x12\x05\x08", MALFORMED, id="a message longer than its frame"),
        pytest.param(b"\x05\x0a\x03\x0a\x01\xff", MALFORMED, id="text that is not UTF-8"),
        pytest.param(b"\xff\xff\xff\xff\xff", MALFORMED, id="length overflow"),
        pytest.param(b"\x81\x80\x04", Goodbye.FRAME_TOO_LARGE, id="one byte too large"),
        pytest.param(b"\xff\xff\xff\xff\x0f", Goodbye.FRAME_TOO_LARGE, id="4 GiB"),
    ],
)
@pytest.mark.parametrize("state", OPEN)
def test_what_is_no_frame(state: str, data: bytes, code: Goodbye.Code) -> None:
    session = OPEN[state]()
    (event,) = session.receive_data(data)
    assert isinstance(event, Breach)
    assert event.code == code
    assert event.text
    assert session.receive_data(data) == []


def test_a_frame_of_exactly_the_limit_is_taken() -> None:
    frame = Frame(message=message(body=b"x"))
    frame.message.body = b"x" * (WINDOWS.max_frame_bytes - frame.ByteSize() - 3)
    assert frame.ByteSize() == WINDOWS.max_frame_bytes
    (event,) = active().receive_data(delimited(frame))
    assert taken(event)[0] == frame.message


# Messages.


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (message(from_id="alice"), "set by the server"),
        (message(from_device="a1"), "set by the server"),
        (message(stamp=1), "set by the server"),
        (message(version=1), "version and erased are set by the server"),
        (message(erased=True), "version and erased are set by the server"),
        (message(dest_id=GROUP, version=2**63), "version and erased are set by the server"),
        (message(stream=0), "stream"),
        (message(number=0, settled=0), "settled"),
        (message(number=5, settled=0), "settled"),
        (message(number=5, settled=6), "settled"),
        (message(number=0, settled=1), "settled"),
    ],
)
def test_a_message_that_breaks_a_rule(wrong: Message, text: str) -> None:
    (event,) = active().receive_data(delimited(Frame(message=wrong)))
    assert isinstance(event, Breach)
    assert event.code == MALFORMED
    assert text in event.text


@pytest.mark.parametrize("group", ["", GROUP])
def test_a_sync_of_everything_or_of_a_group(group: str) -> None:
    (event,) = active().receive_data(delimited(Frame(sync=Sync(n=1, group=group))))
    assert event == Sync(n=1, group=group)


@given(st.text(max_size=30) | st.from_regex(r"~[a-z0-9]{20,26}", fullmatch=True))
def test_a_sync_of_what_is_no_group(group: str) -> None:
    (event,) = active().receive_data(delimited(Frame(sync=Sync(n=1, group=group))))
    if not group or is_group_id(group):
        assert isinstance(event, Sync)
    else:
        assert isinstance(event, Breach)
        assert event.code == MALFORMED


@pytest.mark.parametrize("settled", [1, 2, 1000, 2**53 - 257])
def test_the_window_of_a_stream(settled: int) -> None:
    (event,) = active().receive_data(delimited(Frame(message=message(number=settled + 255, settled=settled))))
    assert taken(event)
    if settled + 256 < 2**64:
        (event,) = active().receive_data(delimited(Frame(message=message(number=settled + 256, settled=settled))))
        assert isinstance(event, Breach)
        assert event.code == Goodbye.WINDOW_EXCEEDED


def filled() -> ServerSession:
    """A session with 4,096 unsettled messages in 16 streams."""
    session = active()
    for stream in range(1, 17):
        data = b"".join(delimited(Frame(message=message(stream, number))) for number in range(1, 257))
        assert all(taken(event) for event in session.receive_data(data))
    return session


def one_more(session: ServerSession) -> Event:
    (event,) = session.receive_data(delimited(Frame(message=message(17))))
    return event


def test_the_window_of_a_connection() -> None:
    event = one_more(filled())
    assert isinstance(event, Breach)
    assert event.code == Goodbye.WINDOW_EXCEEDED


def test_a_repeat_takes_no_room() -> None:
    session = filled()
    (event,) = session.receive_data(delimited(Frame(message=message(5, 5))))
    assert taken(event)


def test_sent_makes_room() -> None:
    session = filled()
    session.sent(3, 1, 99, False)
    assert taken(one_more(session))


def test_a_final_failed_makes_room() -> None:
    session = filled()
    session.failed(3, 1, Failed.NO_SUCH_USER, "who?")
    assert taken(one_more(session))


def test_a_failed_that_is_not_final_makes_none() -> None:
    session = filled()
    session.failed(3, 1, Failed.UNAVAILABLE, "later", 1000)
    assert isinstance(one_more(session), Breach)


def test_settling_what_never_came_is_harmless() -> None:
    session = active()
    session.sent(9, 9, 9, False)
    session.failed(9, 10, Failed.BLOCKED, "no")
    assert [frame.WhichOneof("kind") for frame in said(session)] == ["failed", "receipt"]
    assert not session.unsettled


@given(client_messages())
def test_raw_is_the_message_as_it_came(sent: Message) -> None:
    (event,) = active().receive_data(delimited(Frame(message=sent)))
    assert taken(event)[0] == sent


UNKNOWN_FIELD = b"\x9a\x06\x03new"
"""Field 99 of a later version: three bytes."""


@pytest.mark.parametrize("behind", [b"", UNKNOWN_FIELD], ids=["in the message", "also in the frame"])
def test_unknown_fields_are_carried(behind: bytes) -> None:
    raw = message(kind=1077).SerializeToString() + UNKNOWN_FIELD
    (event,) = active().receive_data(delimit(b"\x12" + bytes([len(raw)]) + raw + behind))
    parsed, carried = taken(event)
    assert UNKNOWN_FIELD in carried
    assert parsed.kind == 1077


def test_of_a_field_given_twice_the_last_counts_and_is_what_is_checked() -> None:
    forged = Message(from_id="bob").SerializeToString()
    raw = forged + message().SerializeToString() + Message(from_id="carol").SerializeToString()
    (event,) = active().receive_data(delimit(b"\x12" + bytes([len(raw)]) + raw))
    assert isinstance(event, Breach)
    two = delimited(Frame(message=message(number=3)))[1:] + Frame(message=message(number=2)).SerializeToString()
    (event,) = active().receive_data(delimit(two))
    assert taken(event)[0].id == 2


# Any bytes, cut anywhere.


@given(st.lists(client_frames(), max_size=8), st.data())
def test_any_cut_gives_the_same_events(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(delimited(frame) for frame in frames)
    start = data.draw(st.sampled_from([waiting, active]))
    whole, cut = start(), start()
    for session in (whole, cut):
        session.message(b"")
        session.message(b"")
    expected = whole.receive_data(stream)
    events: list[Event] = []
    for piece in data.draw(pieces(stream)):
        events += cut.receive_data(piece)
    assert events == expected
    assert (cut.state, cut.acked, cut.unsettled) == (whole.state, whole.acked, whole.unsettled)


@given(st.lists(st.binary(max_size=30) | client_frames().map(delimited), max_size=6), st.booleans())
def test_random_bytes_end_in_at_most_one_breach(chunks: list[bytes], logged_in: bool) -> None:
    session = active() if logged_in else waiting()
    events = [event for chunk in chunks for event in session.receive_data(chunk)]
    breaches = [event for event in events if isinstance(event, Breach)]
    assert breaches in ([], events[-1:])
    if breaches:
        assert breaches[0].code in (MALFORMED, NOT_LOGGED_IN, Goodbye.FRAME_TOO_LARGE, Goodbye.WINDOW_EXCEEDED)
        assert breaches[0].text
        assert session.state == CLOSED


# Acks.


def with_counted() -> ServerSession:
    """Three messages and two receipts were sent; two of the five were acked."""
    session = active()
    for _ in range(3):
        session.message(b"")
    session.delivered(b"")
    session.delivered(b"")
    session.sent(1, 1, 1, True)
    session.failed(1, 2, Failed.BLOCKED, "no")
    session.synced(1)
    session.pong(1)
    (event,) = session.receive_data(delimited(Frame(ack=Ack(up_to=2))))
    assert event == 2
    return session


def test_what_is_counted() -> None:
    session = with_counted()
    assert (session.counted, session.acked, session.unacked) == (5, 2, 3)


def test_a_message_that_is_framed_already_is_the_same_and_counted() -> None:
    one, other = active(), active()
    one.message(b"\x10\x01")
    other.group_frame(message_frame(b"\x10\x01"))
    assert one.data_to_send() == other.data_to_send()
    assert one.counted == other.counted == other.unacked == 1


@pytest.mark.parametrize("up_to", [2, 3, 5])
def test_an_ack_of_what_was_sent(up_to: int) -> None:
    session = with_counted()
    assert session.receive_data(delimited(Frame(ack=Ack(up_to=up_to)))) == [up_to]
    assert session.unacked == 5 - up_to


@pytest.mark.parametrize("up_to", [0, 1, 6, 2**64 - 1])
def test_an_ack_that_steps_back_or_runs_ahead(up_to: int) -> None:
    session = with_counted()
    (event,) = session.receive_data(delimited(Frame(ack=Ack(up_to=up_to))))
    assert isinstance(event, Breach)
    assert event.code == MALFORMED
    assert session.acked == 2


# What the server says.


def test_each_answer_is_its_frame() -> None:
    session = logging_in()
    session.logged_in(LoggedIn(user_id="alice", session=7))
    session.message(message(number=4, from_id="bob").SerializeToString())
    session.delivered(Receipt(stream=5, ids=[1, 2], delivered=True, from_device="a2").SerializeToString())
    session.failed(1, 2, Failed.TOO_FAST, "slow down", 1000)
    session.synced(8)
    session.pong(9)
    session.hint(Hint(kind=Hint.FRIEND_ACCEPTED, user_id="bob").SerializeToString())
    typing = Signal(kind=Signal.TYPING, dest_id="alice", from_id="bob", from_device="b1")
    session.signal(signal_frame(typing.SerializeToString()))
    session.goodbye(Goodbye.TRY_AGAIN, "not now", 500)
    assert session.counted == 2
    assert said(session) == [
        Frame(logged_in=LoggedIn(user_id="alice", session=7)),
        Frame(message=message(number=4, from_id="bob")),
        Frame(receipt=Receipt(stream=5, ids=[1, 2], delivered=True, from_device="a2")),
        Frame(failed=Failed(stream=1, id=2, code=Failed.TOO_FAST, text="slow down", retry_after_ms=1000)),
        Frame(synced=Synced(n=8)),
        Frame(pong=Pong(n=9)),
        Frame(hint=Hint(kind=Hint.FRIEND_ACCEPTED, user_id="bob")),
        Frame(signal=typing),
        Frame(goodbye=Goodbye(code=Goodbye.TRY_AGAIN, text="not now", retry_after_ms=500)),
    ]
    assert session.data_to_send() == b""


def test_receipts_of_one_stream_and_turn_travel_in_one_frame() -> None:
    session = active()
    session.sent(1, 1, 101, False)
    session.sent(2, 1, 102, False)
    session.sent(1, 2, 103, True)
    session.sent(1, 3, 104, False)
    assert said(session) == [
        Frame(receipt=Receipt(stream=1, ids=[1, 3], stamps=[101, 104], sent=True)),
        Frame(receipt=Receipt(stream=2, ids=[1], stamps=[102], sent=True)),
        Frame(receipt=Receipt(stream=1, ids=[2], stamps=[103], sent=True, delivered=True)),
    ]
    session.sent(1, 4, 105, False)
    assert said(session) == [Frame(receipt=Receipt(stream=1, ids=[4], stamps=[105], sent=True))]


def test_rows_and_their_synced_keep_their_order() -> None:
    session = active()
    session.message(message(number=1).SerializeToString())
    session.sent(9, 1, 1, False)
    session.delivered(Receipt(stream=5, ids=[1]).SerializeToString())
    session.message(message(number=2).SerializeToString())
    session.synced(1)
    session.message(message(number=3).SerializeToString())
    kinds = [frame.WhichOneof("kind") for frame in said(session)]
    assert [kind for kind in kinds if kind != "receipt"] == ["message", "message", "synced", "message"]
    assert kinds.index("receipt") == 1


def test_goodbye_is_the_last_frame_behind_everything_said_before() -> None:
    session = active()
    session.sent(1, 1, 101, True)
    session.pong(1)
    session.goodbye(Goodbye.LOGGED_OUT, "goodbye")
    session.sent(1, 2, 102, True)
    session.failed(1, 3, Failed.BLOCKED, "no")
    session.message(message().SerializeToString())
    session.pong(2)
    session.goodbye(Goodbye.MOVE, "a second one")
    frames = said(session)
    assert {frame.WhichOneof("kind") for frame in frames[:-1]} == {"pong", "receipt"}
    assert len(frames) == 3
    assert frames[-1] == Frame(goodbye=Goodbye(code=Goodbye.LOGGED_OUT, text="goodbye"))
    session.pong(3)
    session.goodbye(Goodbye.MOVE, "a third one")
    assert session.data_to_send() == b""
