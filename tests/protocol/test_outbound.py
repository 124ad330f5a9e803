"""The sending end: ids, windows, repeats. The server's own session judges what is sent."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.outbound import OutboundStream, Outbox, Outgoing
from protocol.server import ServerSession, Windows
from protocol.sparrow_pb2 import READ, TEXT, About, Frame, LoggedIn, Login, Message
from tests.protocol.strategies import delimited, taken


def outbox(per_stream: int = 256, per_connection: int = 4096) -> Outbox:
    box = Outbox()
    box.connected(per_stream, per_connection)
    return box


def write(box: Outbox, dest: str = "bob", count: int = 1, number: int = 7) -> list[Outgoing]:
    """New messages for `dest`; in a stream of this number, if it has none."""
    stream = box.stream_for(dest, number)
    written = [Outgoing(dest, TEXT, b"%d" % n) for n in range(count)]
    for outgoing in written:
        box.number(outgoing, stream)
    return written


def sent(box: Outbox, now: float = 0.0) -> list[tuple[int, int]]:
    """(stream, id) of what is due."""
    return [(outgoing.stream.number, outgoing.id) for outgoing in box.due(now) if outgoing.stream is not None]


def ids(box: Outbox, now: float = 0.0) -> list[int]:
    return [number for _, number in sent(box, now)]


# Streams and names.


def test_ids_are_one_two_three_in_a_stream_of_its_own_for_each_destination() -> None:
    box = outbox()
    write(box, "bob", 3, number=7)
    write(box, "carol", 2, number=8)
    write(box, "bob", 1, number=9)
    assert sent(box) == [(7, 1), (7, 2), (7, 3), (7, 4), (8, 1), (8, 2)]
    assert sent(box) == []
    assert len(box) == 6


def test_a_message_on_the_wire() -> None:
    box = outbox()
    stream = box.stream_for("bob", 7)
    about = About(from_device="b1", stream=3, ids=[1, 2])
    box.number(Outgoing("bob", TEXT, b"hi"), stream)
    box.number(Outgoing("bob", READ, b"", about), stream)
    assert [outgoing.message() for outgoing in box.due(0.0)] == [
        Message(stream=7, id=1, settled=1, dest_id="bob", kind=TEXT, body=b"hi"),
        Message(stream=7, id=2, settled=1, dest_id="bob", kind=READ, about=about),
    ]


def test_settled_is_the_lowest_that_is_not() -> None:
    box = outbox()
    one, two, three = write(box, count=3)
    stream = box.streams[7]
    assert sent(box)
    assert stream.settled == 1
    assert box.settle(7, 2) is two
    assert stream.settled == 1
    assert box.settle(7, 1) is one
    assert stream.settled == 3
    assert three.message().settled == 3
    assert box.settle(7, 3) is three
    assert stream.settled == 4
    box.connected(256, 4096)
    assert sent(box) == []
    (four,) = write(box)
    assert (four.message().id, four.message().settled) == (4, 4)


@pytest.mark.parametrize(("number", "message_id"), [(7, 1), (7, 9), (8, 1)])
def test_settling_twice_or_something_unknown(number: int, message_id: int) -> None:
    box = outbox()
    write(box, count=2)
    assert sent(box)
    assert box.settle(7, 1) is not None
    assert box.settle(number, message_id) is None
    assert box.retry(number, message_id, 0.0, 1.0) is None
    assert len(box) == 1


# When to send again.


def test_repeats_back_off_to_a_limit() -> None:
    box = outbox()
    write(box)
    at, times = 0.0, []
    for _ in range(8):
        assert sent(box, at) == [(7, 1)]
        assert sent(box, at) == []
        due = box.next_due()
        assert due is not None
        assert sent(box, due - 0.001) == []
        times.append(due - at)
        at = due
    assert times == [3.0, 6.0, 12.0, 24.0, 30.0, 30.0, 30.0, 30.0]


def test_what_is_settled_is_not_sent_again() -> None:
    box = outbox()
    write(box, count=2)
    assert ids(box) == [1, 2]
    box.settle(7, 1)
    assert ids(box, 100.0) == [2]


def test_nothing_to_wait_for() -> None:
    assert outbox().next_due() is None


@pytest.mark.parametrize("at", [0.5, 1.0, 3.0, 10.0])
def test_a_failed_for_now_is_sent_again_at_its_time_and_not_before(at: float) -> None:
    box = outbox()
    (message,) = write(box)
    assert ids(box) == [1]
    assert box.retry(7, 1, 0.0, at) is message
    assert ids(box, at - 0.01) == []
    assert ids(box, at) == [1]
    assert ids(box, at + 5.9) == []
    assert ids(box, at + 6.0) == [1]


def test_what_fails_for_now_again_and_again_waits_longer_each_time_but_not_for_ever() -> None:
    box = outbox()
    write(box)
    assert ids(box) == [1]
    now, waits = 0.0, []
    for _ in range(6):
        assert box.retry(7, 1, now, 1.0) is not None
        due = box.next_due()
        while due is not None and not ids(box, due):
            due = box.next_due()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert box.retry(7, 1, now, 8.0) is not None
    assert ids(box, now + 7.9) == []
    box.connected(256, 4096)
    assert ids(box, now) == [1]
    assert box.retry(7, 1, now, 1.0) is not None
    assert ids(box, now + 1.0) == [1]


def test_a_long_wait_ends_when_another_message_of_the_stream_has_gone_through() -> None:
    """An inbox was full, for an hour, and now it is not: the oldest is tried, then the next, and no others."""
    box = outbox()
    write(box, count=4)
    assert ids(box) == [1, 2, 3, 4]
    for number in (1, 2, 3):
        box.retry(7, number, 0.0, 3600.0)
    assert ids(box, 100.0) == [4]  # by S6
    box.settle(7, 4)  # a final Failed says nothing
    assert ids(box, 100.0) == []
    write(box, count=1)
    assert ids(box, 101.0) == [5]
    assert box.settle(7, 5, sent=True) is not None
    assert box.settle(7, 5, sent=True) is None  # said twice, it is no news
    assert ids(box, 101.0) == [1]
    box.retry(7, 1, 101.0, 3600.0)
    assert ids(box, 200.0) == []
    write(box, count=1)
    assert ids(box, 200.0) == [6]
    box.settle(7, 6, sent=True)
    assert ids(box, 200.0) == [1]
    box.settle(7, 1, sent=True)
    assert ids(box, 200.0) == [2]
    box.settle(7, 2, sent=True)
    assert ids(box, 200.0) == [3]
    assert ids(box, 4000.0) == [3]  # nobody has said what became of it
    box.settle(7, 3, sent=True)
    assert len(box) == 0


def test_a_short_wait_is_waited_for() -> None:
    box = outbox()
    write(box, count=2)
    assert ids(box) == [1, 2]
    box.retry(7, 1, 0.0, 59.0)
    box.settle(7, 2, sent=True)
    assert ids(box, 58.0) == []
    assert ids(box, 59.0) == [1]


def test_a_retry_of_what_was_not_sent_on_this_connection_sends_nothing() -> None:
    box = outbox(per_stream=1)
    write(box, count=2)
    assert ids(box) == [1]
    assert box.retry(7, 2, 0.0, 1.0) is None
    assert ids(box, 2.0) == []


def test_after_a_reconnect_everything_unsettled_goes_first_under_its_old_name() -> None:
    box = outbox()
    write(box, count=4)
    assert ids(box) == [1, 2, 3, 4]
    box.settle(7, 2)
    box.retry(7, 3, 0.0, 50.0)
    box.connected(256, 4096)
    write(box)
    assert ids(box, 1.0) == [1, 3, 4, 5]
    assert ids(box, 3.99) == []
    assert ids(box, 4.0) == [1, 3, 4, 5]


def test_after_a_reconnect_nothing_of_the_old_connection_counts() -> None:
    box = outbox(per_connection=3)
    write(box, count=4)
    assert ids(box) == [1, 2, 3]
    box.connected(256, 3)
    assert ids(box, 100.0) == [1, 2, 3]
    assert ids(box, 100.0) == []
    assert box.next_due() == 103.0


# Windows.


def test_the_window_of_a_stream_opens_with_its_lowest() -> None:
    box = outbox(per_stream=3)
    write(box, count=6)
    assert ids(box) == [1, 2, 3]
    box.settle(7, 2)
    assert ids(box) == []
    box.settle(7, 1)
    assert ids(box) == [4, 5]
    box.settle(7, 3)
    assert ids(box) == [6]


def test_the_window_of_a_connection_is_shared() -> None:
    box = outbox(per_connection=3)
    write(box, "bob", 2, number=7)
    write(box, "carol", 3, number=8)
    assert sent(box) == [(7, 1), (7, 2), (8, 1)]
    assert sent(box) == []
    box.settle(7, 1)
    assert sent(box) == [(8, 2)]
    box.settle(7, 2)
    box.settle(8, 1)
    assert sent(box) == [(8, 3)]


def test_what_a_server_settles_unasked_is_not_sent() -> None:
    box = outbox(per_stream=2)
    write(box, count=5)
    assert ids(box) == [1, 2]
    assert box.settle(7, 4) is not None
    box.settle(7, 1)
    box.settle(7, 2)
    assert ids(box) == [3]
    box.settle(7, 3)
    assert ids(box) == [5]


# Streams that take no more.


def test_a_retired_stream_is_repeated_first_and_then_the_new_one_begins() -> None:
    box = outbox()
    write(box, count=2, number=7)
    assert sent(box) == [(7, 1), (7, 2)]
    old = box.streams[7]
    assert box.retire_all() == [old]
    assert box.retire_all() == []
    box.connected(256, 4096)
    write(box, count=2, number=9)
    assert sent(box) == [(7, 1), (7, 2)]
    assert box.drop_settled() == []
    box.settle(7, 1)
    box.settle(7, 2)
    assert sent(box) == []
    assert box.drop_settled() == [old]
    assert sent(box) == [(9, 1), (9, 2)]
    assert {*box.streams} == {9}
    assert box.settle(7, 1) is None


def test_a_retired_stream_with_nothing_in_it_is_forgotten_at_once() -> None:
    box = outbox()
    (message,) = write(box, number=7)
    assert sent(box)
    assert box.settle(7, 1) is message
    box.retire_all()
    assert [stream.number for stream in box.drop_settled()] == [7]
    write(box, number=9)
    assert sent(box) == [(9, 1)]


def test_what_was_kept_is_sent_when_connected() -> None:
    stream = OutboundStream(7, "bob", next_id=6)
    for number in (3, 5):
        stream.messages[number] = Outgoing("bob", TEXT, b"", stream=stream, id=number)
    box = Outbox()
    box.restore(stream)
    assert len(box) == 2
    assert sent(box) == []
    box.connected(256, 4096)
    write(box, number=9)
    assert [(out.id, out.message().settled) for out in box.due(0.0)] == [(3, 3), (5, 3), (6, 3)]


class Sending(RuleBasedStateMachine):
    """An outbox, told anything in any order; every message it sends goes through the server's session."""

    PER_STREAM, PER_CONNECTION = 3, 5

    def __init__(self) -> None:
        super().__init__()
        self.box = Outbox()
        self.numbers = itertools.count(1)
        self.now = 0.0
        self.server: ServerSession | None = None
        self.on_wire: list[tuple[int, int]] = []
        self.highest: dict[int, int] = {}
        self.not_before: dict[tuple[int, int], float] = {}
        self.names: dict[tuple[int, int], bytes] = {}
        self.settled: set[tuple[int, int]] = set()
        self.written = 0
        self.order: dict[str, list[int]] = {}
        """Streams of each destination, in the order in which they began."""

    @precondition(lambda self: self.server is not None)
    @rule(dest=st.sampled_from(["bob", "carol"]))
    def write(self, dest: str) -> None:
        self.written += 1
        stream = self.box.stream_for(dest, next(self.numbers))
        outgoing = Outgoing(dest, TEXT, b"%d" % self.written)
        self.box.number(outgoing, stream)
        assert (stream.number, outgoing.id) not in self.names
        self.names[stream.number, outgoing.id] = outgoing.body
        streams = self.order.setdefault(dest, [])
        if stream.number not in streams:
            streams.append(stream.number)
            assert outgoing.id == 1
        assert stream.number == streams[-1]

    @rule(retire=st.booleans())
    def connect(self, retire: bool) -> None:
        if retire:
            self.box.retire_all()
            self.box.drop_settled()
        self.box.connected(self.PER_STREAM, self.PER_CONNECTION)
        self.server = ServerSession(Windows(65536, self.PER_STREAM, self.PER_CONNECTION))
        self.server.receive_data(delimited(Frame(login=Login())))
        self.server.logged_in(LoggedIn(session=1))
        self.on_wire.clear()
        self.highest.clear()
        self.not_before.clear()

    @precondition(lambda self: self.server is not None)
    @rule(passed=st.sampled_from([0.0, 0.5, 3.0, 60.0]))
    def send(self, passed: float) -> None:
        assert self.server is not None
        self.now += passed
        for outgoing in self.box.due(self.now):
            message = outgoing.message()
            name = (message.stream, message.id)
            assert name not in self.settled
            assert message.body == self.names[name]
            (event,) = self.server.receive_data(delimited(Frame(message=message)))
            assert taken(event)[0] == message
            self._check_turn(name, message)
            self.on_wire.append(name)

    def _check_turn(self, name: tuple[int, int], message: Message) -> None:
        stream, number = name
        if name in self.on_wire:
            assert self.now >= self.not_before.get(name, 0.0)
        else:
            unsettled = [n for s, n in self.names if s == stream and (s, n) not in self.settled]
            assert number == min(n for n in unsettled if n > self.highest.get(stream, 0))
            self.highest[stream] = number
        before = self.order[message.dest_id][: self.order[message.dest_id].index(stream)]
        assert all(old in self.settled for old in self.names if old[0] in before)
        assert all(old in self.settled for old in self.names if old[0] == stream and old[1] < message.settled)

    @precondition(lambda self: any(name not in self.settled for name in self.on_wire))
    @rule(data=st.data(), final=st.booleans())
    def answer(self, data: st.DataObject, final: bool) -> None:
        assert self.server is not None
        name = data.draw(st.sampled_from([name for name in self.on_wire if name not in self.settled]))
        if final:
            self.server.sent(*name, 1, False)
            outgoing = self.box.settle(*name)
            assert outgoing is not None
            assert outgoing.body == self.names[name]
            self.settled.add(name)
            self.box.drop_settled()
        else:
            self.not_before[name] = self.now + 2.0
            assert self.box.retry(*name, self.now, 2.0) is not None

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert len(self.box) == len(self.names) - len(self.settled)

    def teardown(self) -> None:
        """The server answers everything: everything is sent and settled."""
        self.connect(retire=False)
        for _ in range(len(self.names) + 1):
            self.send(passed=0.0)
            for name in self.on_wire:
                if name not in self.settled:
                    assert self.server is not None
                    self.server.sent(*name, 1, False)
                    assert self.box.settle(*name) is not None
                    self.settled.add(name)
            self.box.drop_settled()
        assert self.settled == set(self.names)
        assert len(self.box) == 0
        super().teardown()


TestSending = Sending.TestCase
