"""The client's end of a connection: what may come when, what counts, and what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.client import ACTIVE, CLOSED, LOGGING_IN, MAX_WINDOW, NEW, ClientSession, Event, Unreadable
from protocol.errors import FrameError, FrameTooLargeError, MisuseError, PeerError, SequenceError
from protocol.framing import FrameReader
from protocol.server import ServerSession, Windows
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
from tests.protocol.strategies import delimited, pieces, server_frames


def new() -> ClientSession:
    return ClientSession()


def logging_in() -> ClientSession:
    session = new()
    session.login("t", "test 1")
    session.data_to_send()
    return session


def active() -> ClientSession:
    session = logging_in()
    session.receive_data(delimited(Frame(logged_in=LoggedIn(session=1))))
    return session


def dismissed() -> ClientSession:
    session = active()
    session.receive_data(delimited(Frame(goodbye=Goodbye(code=Goodbye.MOVE))))
    return session


STATES: dict[str, Callable[[], ClientSession]] = {"new": new, "logging_in": logging_in, "active": active}


def message(number: int = 1, settled: int = 1, stream: int = 1) -> Message:
    return Message(stream=stream, id=number, settled=settled, from_id="bob", from_device="b1", dest_id="alice")


def said(session: ClientSession) -> list[Frame]:
    reader = FrameReader(10**6)
    frames = [Frame.FromString(payload) for payload in reader.receive(session.data_to_send())]
    assert reader.error is None
    assert reader.buffered == 0
    return frames


FRAMES = {
    "logged_in": Frame(logged_in=LoggedIn(session=1)),
    "message": Frame(message=message()),
    "receipt": Frame(receipt=Receipt(stream=1, ids=[1], delivered=True, from_device="a1")),
    "failed": Frame(failed=Failed(stream=1, id=1)),
    "synced": Frame(synced=Synced(n=1)),
    "pong": Frame(pong=Pong(n=1)),
    "hint": Frame(hint=Hint(kind=Hint.FRIEND_ASKED, user_id="bob")),
    "signal": Frame(signal=Signal(kind=Signal.TYPING, dest_id="alice", from_id="bob", from_device="b1")),
    "goodbye": Frame(goodbye=Goodbye(code=Goodbye.MOVE)),
    "login": Frame(login=Login()),
    "ack": Frame(ack=Ack()),
    "sync": Frame(sync=Sync()),
    "ping": Frame(ping=Ping()),
    "logout": Frame(logout=Logout()),
}
TAKEN = {
    "new": {"goodbye": CLOSED},
    "logging_in": {"logged_in": ACTIVE, "pong": LOGGING_IN, "goodbye": CLOSED},
    "active": {
        "message": ACTIVE,
        "receipt": ACTIVE,
        "failed": ACTIVE,
        "synced": ACTIVE,
        "pong": ACTIVE,
        "hint": ACTIVE,
        "signal": ACTIVE,
        "goodbye": CLOSED,
    },
}
"""What docs/protocol.md allows a server, and the state that it leads to."""


def test_every_kind_of_frame_is_in_the_table() -> None:
    assert {*FRAMES} == {field.name for field in Frame.DESCRIPTOR.oneofs_by_name["kind"].fields}


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("state", STATES)
def test_each_kind_of_frame_in_each_state(state: str, kind: str) -> None:
    session, frame = STATES[state](), FRAMES[kind]
    before = session.state
    events = session.receive_data(delimited(frame))
    if kind in TAKEN[state]:
        assert events == [getattr(frame, kind)]
        assert session.error is None
        assert session.state == TAKEN[state][kind]
    else:
        assert events == []
        assert isinstance(session.error, SequenceError)
        assert kind in str(session.error)
        assert session.state == before
        assert session.receive_data(delimited(FRAMES["goodbye"])) == []
    assert session.counted == (kind in ("message", "receipt") and kind in TAKEN[state])


@pytest.mark.parametrize("kind", FRAMES)
def test_nothing_is_understood_behind_goodbye(kind: str) -> None:
    session = dismissed()
    assert session.receive_data(delimited(FRAMES[kind])) == []
    assert session.counted == 0
    assert session.receive_data(b"\xff" * 9) == []
    assert session.error is None
    for behind in (delimited(FRAMES[kind]), b"\xff" * 9):
        together = active()
        (event,) = together.receive_data(delimited(FRAMES["goodbye"]) + behind)
        assert isinstance(event, Goodbye)
        assert together.error is None


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("unknown", [b"\x00", b"\x06\x9a\x06\x03new"], ids=["empty", "of a later version"])
def test_a_frame_of_an_unknown_kind_is_passed_over(state: str, unknown: bytes) -> None:
    session = STATES[state]()
    assert session.receive_data(unknown + delimited(FRAMES["goodbye"])) == [Goodbye(code=Goodbye.MOVE)]
    assert session.error is None
    assert session.counted == 0


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x01\x08", FrameError),
        (b"\xff\xff\xff\xff\xff", FrameError),
        (b"\xff\xff\xff\xff\x0f", FrameTooLargeError),
    ],
)
def test_what_is_no_frame(data: bytes, error: type[FrameError]) -> None:
    session = active()
    pong = delimited(FRAMES["pong"])
    assert session.receive_data(pong + data + pong) == [Pong(n=1)]
    assert type(session.error) is error
    first = session.error
    assert session.receive_data(pong) == []
    assert session.error is first


@pytest.mark.parametrize(
    "wrong",
    [
        message(stream=0),
        message(number=0),
        message(settled=0),
        message(number=0, settled=0),
        message(number=4, settled=5),
        message(number=MAX_WINDOW + 1, settled=1),
        message(number=2**64 - 1, settled=1),
    ],
)
def test_a_message_that_cannot_be_is_counted_and_passed_over(wrong: Message) -> None:
    session = active()
    frame = Frame(message=wrong)
    assert session.receive_data(delimited(frame)) == [Unreadable(frame.ByteSize())]
    assert session.error is None
    assert session.counted == 1


@pytest.mark.parametrize("start", [logging_in, active])
@pytest.mark.parametrize("kind", [b"\x12", b"\x6a", b"\x72", b"\x42"], ids=["message", "hint", "signal", "receipt"])
def test_frames_that_cannot_be_read(start: Callable[[], ClientSession], kind: bytes) -> None:
    session = start()
    events = session.receive_data(b"\x03" + kind + b"\x01\x08" + delimited(Frame(pong=Pong(n=1))))
    survives = start is active and kind != b"\x42"
    assert (session.error is None) == survives
    unreadable = [Unreadable(3)] if kind == b"\x12" else []
    assert events == ([*unreadable, Pong(n=1)] if survives else [])


@pytest.mark.parametrize(
    ("number", "settled"), [(MAX_WINDOW, 1), (2**64 - 1, 2**64 - MAX_WINDOW), (2**64 - 1, 2**64 - 1)]
)
def test_a_message_at_the_border_of_what_can_be(number: int, settled: int) -> None:
    session = active()
    assert len(session.receive_data(delimited(Frame(message=message(number, settled))))) == 1
    assert session.error is None


# Counting and acks.


def test_what_is_counted() -> None:
    session = active()
    for kind, frame in FRAMES.items():
        if kind in TAKEN["active"] and kind != "goodbye":
            session.receive_data(delimited(frame))
    session.receive_data(delimited(Frame(receipt=Receipt(stream=1, ids=[1], stamps=[1], sent=True, delivered=True))))
    assert session.counted == 2


def test_acks_are_cumulative_and_never_repeated() -> None:
    session = active()
    session.ack()
    assert said(session) == []
    session.receive_data(delimited(FRAMES["message"]) * 3)
    session.ack()
    session.ack()
    assert said(session) == [Frame(ack=Ack(up_to=3))]
    session.receive_data(delimited(FRAMES["receipt"]))
    session.ack()
    assert said(session) == [Frame(ack=Ack(up_to=4))]
    assert (session.counted, session.acked) == (4, 4)


# What the client says.


def test_each_word_is_its_frame() -> None:
    session = new()
    session.login("t", "test 1")
    assert said(session) == [Frame(login=Login(token="t", client="test 1"))]
    session.receive_data(delimited(FRAMES["logged_in"]))
    mine = Message(stream=5, id=2, settled=1, dest_id="bob", body=b"hi")
    session.message(mine)
    session.sync(3)
    session.ping(4)
    session.logout()
    assert said(session) == [
        Frame(message=mine),
        Frame(sync=Sync(n=3)),
        Frame(ping=Ping(n=4)),
        Frame(logout=Logout()),
    ]
    assert session.data_to_send() == b""


WORDS: dict[str, Callable[[ClientSession], None]] = {
    "message": lambda session: session.message(message()),
    "ack": lambda session: session.ack(),
    "sync": lambda session: session.sync(1),
    "ping": lambda session: session.ping(1),
    "logout": lambda session: session.logout(),
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("state", ["new", "logging_in", "dismissed"])
def test_nothing_may_be_said_out_of_a_session(state: str, word: str) -> None:
    session = {**STATES, "dismissed": dismissed}[state]()
    with pytest.raises(MisuseError, match="not logged in"):
        WORDS[word](session)
    assert session.data_to_send() == b""


@pytest.mark.parametrize("state", ["logging_in", "active", "dismissed"])
def test_one_login_a_connection(state: str) -> None:
    session = {**STATES, "dismissed": dismissed}[state]()
    with pytest.raises(MisuseError, match="once"):
        session.login("t")


def test_a_client_that_never_logged_in_is_new() -> None:
    assert new().state == NEW


# Any bytes, cut anywhere.


@given(st.lists(server_frames(), max_size=8), st.data())
def test_any_cut_gives_the_same_events(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(delimited(frame) for frame in frames)
    start = data.draw(st.sampled_from([logging_in, active]))
    whole, cut = start(), start()
    expected = whole.receive_data(stream)
    events: list[Event] = []
    for piece in data.draw(pieces(stream)):
        events += cut.receive_data(piece)
    assert events == expected
    assert (cut.state, cut.counted, str(cut.error)) == (whole.state, whole.counted, str(whole.error))


@given(st.lists(st.binary(max_size=30) | server_frames().map(delimited), max_size=6), st.sampled_from(sorted(STATES)))
def test_random_bytes_never_raise(chunks: list[bytes], state: str) -> None:
    session = STATES[state]()
    counted = 0
    for chunk in chunks:
        broken = session.error
        events = session.receive_data(chunk)
        assert broken is None or (events == [] and session.error is broken)
        counted += sum(isinstance(e, Message | Unreadable) or (isinstance(e, Receipt) and not e.sent) for e in events)
    assert session.error is None or isinstance(session.error, PeerError)
    assert session.counted == counted


@given(st.lists(st.sampled_from(sorted(WORDS)), max_size=10), st.integers(0, 5))
def test_a_server_takes_whatever_a_client_says(words: list[str], counted: int) -> None:
    server, client = ServerSession(Windows(65536, 256, 4096)), new()
    client.login("t")
    assert [type(event) for event in server.receive_data(client.data_to_send())] == [Login]
    server.logged_in(LoggedIn(session=1))
    for _ in range(counted):
        server.message(message().SerializeToString())
    assert len(client.receive_data(server.data_to_send())) == 1 + counted
    expected = []
    for word in words:
        if client.state != ACTIVE:
            break
        if word != "ack" or client.counted > client.acked:
            expected.append(word)
        if word == "message":
            client.message(Message(stream=1, id=1, settled=1, dest_id="bob", kind=TEXT))
        else:
            WORDS[word](client)
        if word == "logout":
            break
    events = server.receive_data(client.data_to_send())
    names = {"tuple": "message", "int": "ack"}
    said = [type(event).__name__.lower() for event in events]
    assert [names.get(name, name) for name in said] == expected
