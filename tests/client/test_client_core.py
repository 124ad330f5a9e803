"""The client's core by itself: what it keeps before it tells, what ends with a connection, when it is woken."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from client.core import ClientCore
from client.journal import MemoryJournal
from client.state import Delivered, Doubtful, Event, Kept, Refused, Settled
from protocol.framing import FrameReader, delimit
from protocol.inbound import Shown
from protocol.outbound import OutboundStream, Outbox, Outgoing
from protocol.sparrow_pb2 import (
    READ,
    TEXT,
    About,
    Failed,
    Frame,
    Goodbye,
    LoggedIn,
    Login,
    Logout,
    Message,
    Ping,
    Receipt,
    Synced,
)


class RecordingJournal(MemoryJournal):
    """What was asked of it, in order; it notes what it is told to."""

    def __init__(self, kept: Kept | None = None) -> None:
        super().__init__()
        self.kept = kept
        self.said: list[tuple[Any, ...]] = []
        self.notes = False

    def load(self) -> Kept:
        return self.kept or super().load()

    def put_session(self, session: int, is_open: bool) -> None:
        self.said.append(("session", session, is_open))
        super().put_session(session, is_open)

    def note(self, events: Iterable[Event]) -> bool:
        self.said.append(("note", *events))
        return self.notes

    def commit(self) -> None:
        self.said.append(("commit",))
        super().commit()

    def took(self, *kinds: str) -> list[tuple[Any, ...]]:
        said, self.said = self.said, []
        return [each for each in said if not kinds or each[0] in kinds]


@dataclass
class Bench:
    """A device, and a server that says what the test lets it."""

    journal: RecordingJournal = field(default_factory=RecordingJournal)
    now: float = 100.0
    first: int = 1000
    """The first of its random numbers."""

    def __post_init__(self) -> None:
        numbers = itertools.count(self.first)
        self.core = ClientCore(self.journal, lambda: next(numbers))
        self.core.time(self.now)

    def turn(self, *frames: Frame) -> tuple[list[Frame], list[Event]]:
        """The server says something; what the device answers, and what it tells."""
        self.core.data(b"".join(delimit(frame.SerializeToString()) for frame in frames))
        data, events = self.core.flush()
        reader = FrameReader(10**6)
        return [Frame.FromString(payload) for payload in reader.receive(data)], events

    def says(self, *frames: Frame) -> list[str | None]:
        """Kinds of the device's answers."""
        return [frame.WhichOneof("kind") for frame in self.turn(*frames)[0]]

    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.core.time(self.now)

    def connect(self) -> None:
        self.core.connected("token", "tests")
        assert self.says() == ["login"]

    def log_in(self, session: int = 1, previous: int = 0) -> list[Frame]:
        self.connect()
        return self.turn(welcome(session, previous))[0]


def welcome(session: int = 1, previous: int = 0) -> Frame:
    windows = {"max_unsettled_per_stream": 9, "max_unsettled_per_connection": 99}
    frame = LoggedIn(user_id="alice", device_id="a1", session=session, previous_session=previous, **windows)
    return Frame(logged_in=frame)


def message(number: int, settled: int = 1, stream: int = 5) -> Frame:
    fields = {"from_id": "bob", "from_device": "b1", "dest_id": "alice", "kind": TEXT, "body": b"x"}
    return Frame(message=Message(stream=stream, id=number, settled=settled, **fields))


def sent(outgoing: Outgoing, stamp: int = 7) -> Frame:
    assert outgoing.stream is not None
    return Frame(receipt=Receipt(stream=outgoing.stream.number, ids=[outgoing.id], stamps=[stamp], sent=True))


def shown(events: Iterable[Event]) -> list[int]:
    return [event.item.id for event in events if isinstance(event, Shown)]


DELIVERED = Frame(receipt=Receipt(stream=77, ids=[1], delivered=True, from_device="a2"))


# Connections.


def test_nothing_is_said_or_asked_on_a_connection_that_is_gone() -> None:
    bench = Bench()
    bench.log_in()
    bench.core.send("bob", TEXT, b"one")
    bench.turn(message(2))
    bench.passes(ClientCore.ORDER_WAIT_S)  # 1 is to be asked for,
    bench.core.data(delimit(message(3).SerializeToString()))  # and 3 to be acked
    bench.core.disconnected()
    assert bench.says() == []
    assert (bench.core.next_wake(), bench.core.logged_in) == (None, False)
    # Bytes that were on their way are nobody's, and say nothing about the next connection.
    bench.core.data(delimit(message(1).SerializeToString()))
    bench.core.ping()
    bench.core.logout()
    assert bench.turn() == ([], [])
    assert [frame.WhichOneof("kind") for frame in bench.log_in(2, 1)] == ["sync", "message"]
    assert [frame.ack.up_to for frame in bench.turn(message(2))[0]] == [1]  # each connection counts its own


def test_a_breach_ends_with_its_connection() -> None:
    bench = Bench()
    bench.log_in()
    bench.core.data(delimit(b"\xff\xff"))
    assert bench.core.broken is not None
    bench.core.disconnected()
    assert bench.core.broken is None


def test_the_journal_knows_whether_a_session_may_still_give_ids() -> None:
    bench = Bench()
    bench.core.disconnected()  # before any login, nothing has ended
    bench.connect()
    bench.core.disconnected()
    bench.turn()
    assert bench.journal.took("session") == []
    bench.log_in(8)
    assert bench.journal.took("session", "commit") == [("session", 8, True), ("commit",)]
    bench.core.disconnected()
    bench.core.disconnected()
    bench.turn()
    assert bench.journal.took("session", "commit") == [("session", 8, False), ("commit",)]


@pytest.mark.parametrize(("is_open", "previous"), [(True, 4), (True, 5), (False, 4), (False, 5)])
def test_streams_go_on_only_where_nobody_can_have_given_their_ids(is_open: bool, previous: int) -> None:
    stream = OutboundStream(50, "bob", next_id=3)
    stream.messages[2] = Outgoing("bob", TEXT, b"two", stream=stream, id=2)
    bench = Bench(RecordingJournal(Kept(session=4, session_open=is_open, outbound=[stream])))
    answers = bench.log_in(6, previous)
    assert [(frame.message.stream, frame.message.id) for frame in answers] == [(50, 2)]
    outgoing = bench.core.send("bob", TEXT, b"three")
    assert outgoing.stream is not None
    goes_on = previous == 4 and not is_open
    assert ((outgoing.stream.number, outgoing.id) == (50, 3)) == goes_on
    # Nothing overtakes what the old stream still has under way.
    assert bench.says() == ["message"] * goes_on
    bench.turn(sent(stream.messages[2]))
    assert bench.core.unsettled == 1
    assert (50 in bench.core._outbox.streams) == goes_on


def test_what_was_parked_is_shown_behind_what_was_missing_after_a_restart_too() -> None:
    bench = Bench()
    bench.log_in()
    assert bench.turn(message(3), message(5))[1] == []
    again = Bench(bench.journal)
    again.log_in(2, 1)
    assert again.core.next_wake() == again.now + ClientCore.BLOCKED_TICK_S
    assert again.turn(message(3), message(2))[1] == []
    assert shown(again.turn(message(1))[1]) == [1, 2, 3]
    answers, events = again.turn(message(6, settled=5))  # 4 will not come, as its author knows
    assert ([frame.sync.n for frame in answers if frame.HasField("sync")], events) == ([1], [])
    assert shown(again.turn(Frame(synced=Synced(n=1)))[1]) == [5, 6]
    assert not again.journal.load().parked


def test_what_a_login_tells() -> None:
    bench = Bench()
    for tries in (1, 2):
        bench.core.connected("token", "tests 1.0")
        (frame,), _ = bench.turn()
        expected = {
            "token": "token",
            "client": "tests 1.0",
            "start": 1000,
            "tries": tries,
            "understands": ["disabled", "changes", "groups"],
        }
        assert frame.login == Login(**expected)
        bench.core.disconnected()


def test_a_start_that_is_not_told_tells_no_tries_either() -> None:
    core = ClientCore(MemoryJournal(), lambda: 0)
    core.connected("token", "tests")
    (payload,) = FrameReader(10**6).receive(core.flush()[0])
    login = Frame.FromString(payload).login
    assert (login.start, login.tries) == (0, 0)


def test_ping_and_logout() -> None:
    bench = Bench()
    bench.log_in()
    bench.core.ping()
    bench.core.logout()
    assert bench.turn()[0] == [Frame(ping=Ping(n=1)), Frame(logout=Logout())]


# What may have been sent already.


def doubting() -> tuple[Bench, Outgoing, Outgoing]:
    """A state with two texts and a READ, which somebody else has had since; both texts are doubtful."""
    bench = Bench()
    bench.log_in(4)
    bench.core.disconnected()
    bench.core.send("bob", TEXT, b"one")
    bench.core.send("bob", READ, b"", About(from_device="b1", stream=5, ids=[1]))
    bench.core.send("bob", TEXT, b"two")
    bench.turn()
    again = Bench(bench.journal, first=2000)
    again.core.send("bob", TEXT, b"new")
    again.connect()
    answers, events = again.turn(welcome(9, previous=8))
    (doubtful,) = [event for event in events if isinstance(event, Doubtful)]
    # READ may be told twice; and what was written since nobody else has.
    assert [(frame.message.kind, frame.message.body) for frame in answers] == [(READ, b""), (TEXT, b"new")]
    one, two = doubtful.outgoing
    assert (one.body, two.body) == (b"one", b"two")
    assert list(again.core.doubtful.values()) == [one, two]
    return again, one, two


def test_what_somebody_else_may_have_sent_goes_out_when_a_person_says_so() -> None:
    bench, one, two = doubting()
    assert bench.core.send_again(two)
    assert not bench.core.send_again(two)
    answers, _ = bench.turn()
    assert [frame.message.body for frame in answers] == [b"two"]
    assert bench.core.give_up(one)
    assert not bench.core.give_up(one)
    assert not bench.core.send_again(one)
    assert bench.turn() == ([], [])
    kept = bench.journal.load()
    assert (kept.drafts, kept.doubtful) == ([], frozenset())


def test_it_waits_for_that_over_restarts_and_without_a_connection() -> None:
    bench, *_ = doubting()
    again = Bench(bench.journal, first=3000)
    one, two = again.core.doubtful.values()
    assert (one.body, two.body) == (b"one", b"two")
    assert again.core.send_again(one)
    again.turn()
    assert again.journal.load().doubtful == {two.draft}
    # It waits behind what is under way, in a stream that ends: the session before was not seen to end.
    assert {frame.message.body for frame in again.log_in(10, 9)} == {b"", b"new"}
    assert again.core.unsettled == 3
    assert list(again.core.doubtful.values()) == [two]


@pytest.mark.parametrize("retry_after_ms", [0, 500])
def test_a_refusal(retry_after_ms: int) -> None:
    bench = Bench()
    bench.log_in()
    outgoing = bench.core.send("bob", TEXT, b"one")
    bench.turn()
    assert outgoing.stream is not None
    name = {"stream": outgoing.stream.number, "id": outgoing.id}
    failed = Frame(failed=Failed(**name, code=Failed.BLOCKED, text="no", retry_after_ms=retry_after_ms))
    events = bench.turn(failed)[1]
    assert events == [Refused(outgoing, Failed.BLOCKED, "no", final=not retry_after_ms)]
    assert bench.core.unsettled == bool(retry_after_ms)
    assert bench.turn(sent(outgoing))[1] == [Settled(outgoing, 7, False)] * bool(retry_after_ms)
    assert bench.turn(failed, sent(outgoing))[1] == []  # it is settled


# Keeping and telling.


def test_what_is_told_is_noted_in_the_same_commit() -> None:
    bench = Bench()
    bench.log_in()
    outgoing = bench.core.send("bob", TEXT, b"one")
    bench.turn()
    bench.journal.took()
    _, events = bench.turn(sent(outgoing))
    assert events == [Settled(outgoing, 7, False)]
    assert bench.journal.took() == [("note", *events), ("commit",)]
    assert bench.turn() == ([], [])
    assert bench.journal.took() == []  # nothing to tell, nothing to note


@pytest.mark.parametrize("notes", [False, True])
def test_a_note_alone_is_committed_before_the_ack(notes: bool) -> None:
    bench = Bench()
    bench.log_in()
    bench.journal.took()
    bench.journal.notes = notes
    answers, events = bench.turn(DELIVERED)
    assert events == [Delivered("a2", 77, (1,))]
    assert [frame.ack.up_to for frame in answers] == [1]
    assert bench.journal.took() == [("note", *events), ("commit",)][: 1 + notes]


def test_what_could_not_be_kept_is_neither_acked_nor_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.log_in()

    def full() -> None:
        raise OSError("no space")

    monkeypatch.setattr(bench.journal, "commit", full)
    with pytest.raises(OSError, match="no space"):
        bench.turn(message(1))
    assert bench.core._session.acked == 0


def test_what_the_owner_has_put_into_the_journal_is_committed() -> None:
    bench = Bench()
    bench.core.touch()
    bench.turn()
    bench.turn()
    assert bench.journal.took() == [("commit",)]


# Acks that wait.


def test_acks_wait_while_the_application_has_enough_to_do() -> None:
    bench = Bench()
    bench.log_in()
    bench.core.hold_acks = True
    outgoing = bench.core.send("bob", TEXT, b"one")
    assert bench.says(message(1)) == ["message"]  # all else goes on
    answers, events = bench.turn(message(2), sent(outgoing))
    assert (answers, len(events)) == ([], 2)
    bench.core.hold_acks = False
    answers, _ = bench.turn()
    assert [frame.ack.up_to for frame in answers] == [2]
    assert bench.turn()[0] == []


def test_they_wait_on_the_next_connection_too() -> None:
    bench = Bench()
    bench.core.hold_acks = True
    bench.log_in()
    assert bench.says(message(1)) == []
    bench.core.disconnected()
    bench.log_in(2, 1)
    assert bench.says(message(1)) == []
    bench.core.hold_acks = False
    answers, _ = bench.turn()
    assert [frame.ack.up_to for frame in answers] == [1]


# Wake-ups.


def test_it_wants_to_be_woken_when_a_message_is_to_be_sent_again() -> None:
    bench = Bench()
    bench.core.send("bob", TEXT, b"one")
    bench.turn()
    bench.connect()
    assert bench.core.next_wake() is None  # who is not logged in sends nothing
    bench.turn(welcome())
    assert bench.core.next_wake() == bench.now + Outbox.FIRST_RESEND_S
    bench.passes(Outbox.FIRST_RESEND_S)
    assert bench.says() == ["message"]
    assert bench.core.next_wake() == bench.now + 2 * Outbox.FIRST_RESEND_S
    (outgoing,) = bench.core.outgoing()
    assert outgoing.stream is not None
    wait = Failed(stream=outgoing.stream.number, id=outgoing.id, code=Failed.UNAVAILABLE, retry_after_ms=500)
    bench.turn(Frame(failed=wait))
    assert bench.core.next_wake() == pytest.approx(bench.now + 1.0)  # its second try
    bench.turn(Frame(goodbye=Goodbye(code=Goodbye.MOVE)))
    assert bench.core.next_wake() is None


def test_it_looks_at_a_stream_that_waits_for_something() -> None:
    bench = Bench()
    bench.log_in()
    assert bench.core.next_wake() is None
    assert bench.says(message(2)) == ["ack"]
    woken = 0
    while not (answers := bench.says()):
        woken += 1
        wake = bench.core.next_wake()
        assert wake == bench.now + ClientCore.BLOCKED_TICK_S
        bench.passes(wake - bench.now)
    assert answers == ["sync"]
    assert (woken * ClientCore.BLOCKED_TICK_S) == pytest.approx(ClientCore.ORDER_WAIT_S, abs=1.0)
    bench.turn(Frame(synced=Synced(n=1)))
    assert bench.core.next_wake() is None


def test_what_was_asked_and_is_not_answered_is_asked_once_more_and_no_earlier() -> None:
    bench = Bench()
    bench.log_in()
    asked: list[tuple[float, int]] = []
    answers, _ = bench.turn(message(2), message(3, settled=2))
    for _ in range(45):
        asked += [(bench.now - 100.0, frame.sync.n) for frame in answers if frame.HasField("sync")]
        bench.passes(0.5)
        answers, _ = bench.turn()
    assert asked == [(0.0, 1), (ClientCore.SYNC_TIMEOUT_S, 2), (2 * ClientCore.SYNC_TIMEOUT_S, 3)]
    # What was asked first is answered by any of them (R9): a server that is slow is not asked for ever.
    assert shown(bench.turn(Frame(synced=Synced(n=1)))[1]) == [2, 3]
    assert shown(bench.turn(Frame(synced=Synced(n=3)))[1]) == []


def test_of_two_reasons_it_is_woken_for_the_first() -> None:
    bench = Bench()
    bench.log_in()
    bench.core.send("bob", TEXT, b"one")
    bench.turn(message(2))
    assert bench.core.next_wake() == bench.now + ClientCore.BLOCKED_TICK_S
    bench.passes(Outbox.FIRST_RESEND_S - 0.1)
    assert bench.core.next_wake() == pytest.approx(bench.now + 0.1)


# What is not settled.


def test_all_that_is_not_settled() -> None:
    drafts = [Outgoing("bob", TEXT, b"doubtful", draft=1), Outgoing("bob", READ, b"", draft=2)]
    stream = OutboundStream(50, "carol", next_id=2)
    stream.messages[1] = numbered = Outgoing("carol", TEXT, b"numbered", stream=stream, id=1)
    kept = Kept(outbound=[stream], drafts=drafts, doubtful=frozenset((1,)))
    bench = Bench(RecordingJournal(kept))
    new = bench.core.send("bob", TEXT, b"new")
    assert bench.core.outgoing() == [numbered, drafts[0], drafts[1], new]
    assert bench.core.unsettled == 3  # of the doubtful one nobody knows
    bench.log_in()
    assert bench.core.outgoing()[0] is numbered
    assert {id(each) for each in bench.core.outgoing()} == {id(each) for each in (numbered, *drafts, new)}
