"""The client's core where conversations are kept: pages, changes, early receipts, what is too old to be repeated."""

from __future__ import annotations

from typing import Any

from client.erasures import Erasures
from client.state import Delivered, Kept, KeptInbound, Refused, Skipped
from protocol.inbound import InboundStream
from protocol.sparrow_pb2 import EDIT, ERASE, TEXT, About, Frame, LoggedIn, Message, Receipt, Synced
from tests.client.test_client_core import Bench, RecordingJournal, shown


def log_in(bench: Bench, **more: Any) -> list[Frame]:
    """On a new connection, as what this device was before."""
    known = bench.core._known_session
    bench.connect()
    fields = {"max_unsettled_per_stream": 9, "max_unsettled_per_connection": 99, "heartbeat_ms": 1000} | more
    frame = LoggedIn(user_id="alice", device_id="a1", session=known + 1, previous_session=known, **fields)
    return bench.turn(Frame(logged_in=frame))[0]


def told(number: int, settled: int = 1, kind: int = TEXT, **more: Any) -> Frame:
    message = Message(from_id="bob", from_device="b1", stream=9, id=number, settled=settled, dest_id="alice", kind=kind)
    for name, value in more.items():
        if name == "about":
            message.about.CopyFrom(value)
        else:
            setattr(message, name, value)
    return Frame(message=message)


def test_a_page_moves_no_stream_and_next_goes_past_what_was_paged() -> None:
    bench = Bench()
    log_in(bench)
    for number in (1, 2, 4):
        bench.journal.put_paged(("bob", "b1", 9, number))
    bench.core.paged()
    assert bench.core._receiving._inbound == {}
    # Its live copy is acked and not shown once more.
    frames, events = bench.turn(told(1))
    assert shown(events) == []
    assert [frame.ack.up_to for frame in frames if frame.HasField("ack")] == [1]
    # 2 never comes as a message: next goes past it.
    _, events = bench.turn(told(3))
    assert shown(events) == [3]
    _, events = bench.turn(told(2))
    assert shown(events) == []
    # 5 waits for 4, which was paged; 7 for 6, which is paged while it waits.
    _, events = bench.turn(told(5))
    assert shown(events) == [5]
    _, events = bench.turn(told(7))
    assert shown(events) == []
    bench.journal.put_paged(("bob", "b1", 9, 6))
    bench.core.paged()
    _, events = bench.turn()
    assert shown(events) == [7]
    assert bench.journal.load().parked == []


def test_what_was_skipped_is_told() -> None:
    bench = Bench()
    log_in(bench)
    bench.turn(told(1))
    frames, _ = bench.turn(told(5, settled=5))
    (n,) = [frame.sync.n for frame in frames if frame.HasField("sync")]
    _, events = bench.turn(Frame(synced=Synced(n=n)))
    assert [event for event in events if isinstance(event, Skipped)] == [Skipped("bob", "b1", 9, 2, 4)]
    assert shown(events) == [5]


def test_changes_wait_for_a_server_that_knows_them() -> None:
    bench = Bench()
    log_in(bench)
    about = About(from_device="a1", stream=5, ids=[1])
    edit = bench.core.send("bob", int(EDIT), b"better", about, revision=3)
    bench.core.send("bob", int(TEXT), b"after it")
    frames, _ = bench.turn()
    assert [frame.message.body for frame in frames if frame.HasField("message")] == [b"after it"]
    assert edit.stream is None
    assert [draft.revision for draft in bench.journal.load().drafts] == [3]
    bench.core.disconnected()
    frames = log_in(bench, understands=["changes"])
    (message,) = [frame.message for frame in frames if frame.message.kind == EDIT]
    assert (message.revision, message.about, message.body) == (3, about, b"better")
    # Numbered, and back at a server of before: it does not go out there, and is not lost.
    bench.core.disconnected()
    frames = log_in(bench)
    assert [frame for frame in frames if frame.message.kind == EDIT] == []
    assert bench.core.unsettled == 2


def test_an_early_receipt_is_not_counted_and_settles_nothing() -> None:
    bench = Bench()
    log_in(bench, understands=["changes"])
    outgoing = bench.core.send("bob", int(TEXT), b"hi")
    bench.turn()
    assert outgoing.stream is not None
    receipt = Receipt(stream=outgoing.stream.number, ids=[1], delivered=True, early=True, from_device="a1")
    frames, events = bench.turn(Frame(receipt=receipt))
    assert [frame for frame in frames if frame.HasField("ack")] == []
    assert events == [Delivered("a1", outgoing.stream.number, (1,), early=True)]
    assert bench.core.unsettled == 1


def test_what_was_unsettled_for_too_long_is_not_sent_again() -> None:
    bench = Bench()
    log_in(bench, server_time_ms=1_000_000, inbox_ttl_ms=500_000)
    old = bench.core.send("bob", int(TEXT), b"old")
    bench.turn()
    bench.passes(400.0)
    bench.core.send("bob", int(TEXT), b"newer")
    bench.turn()
    assert [each.numbered_ms for each in bench.journal.load().outbound[0].messages.values()] == [1_000_000, 1_400_000]
    bench.core.disconnected()
    frames = log_in(bench, server_time_ms=1_500_001, inbox_ttl_ms=500_000)
    assert [(frame.message.body, frame.message.settled) for frame in frames if frame.HasField("message")] == [
        (b"newer", 2)
    ]
    assert bench.core.next_wake() == bench.now
    _, events = bench.turn()
    assert [(event.outgoing, event.final) for event in events if isinstance(event, Refused)] == [(old, True)]
    assert [each.body for each in bench.journal.load().outbound[0].messages.values()] == [b"newer"]
    # What an earlier release has numbered is as old as the first login after that.
    bench.core.disconnected()
    for each in bench.core.outgoing():
        each.numbered_ms = 0
    log_in(bench, server_time_ms=9_000_000, inbox_ttl_ms=500_000)
    assert [each.numbered_ms for each in bench.core.outgoing()] == [9_000_000]


def erased(number: int, target: int, **more: Any) -> Frame:
    return told(number, kind=ERASE, about=About(from_device="b1", stream=9, ids=[target]), **more)


def test_what_was_erased_before_it_came_is_not_waited_for() -> None:
    bench = Bench()
    log_in(bench)
    # 2 was erased while it was on its way or waited: it never comes.
    bench.turn(told(1))
    _, events = bench.turn(told(3))
    assert shown(events) == []
    frames, events = bench.turn(erased(4, 2))
    assert shown(events) == [3, 4]
    assert [event for event in events if isinstance(event, Skipped)] == [Skipped("bob", "b1", 9, 2, 2)]
    assert not [frame for frame in frames if frame.HasField("sync")]
    # If it comes all the same, it is acked and not shown.
    frames, events = bench.turn(told(2))
    assert shown(events) == []
    assert [frame.ack.up_to for frame in frames if frame.HasField("ack")] == [4]


def test_another_device_erases_what_is_waited_for() -> None:
    bench = Bench()
    log_in(bench)
    bench.turn(told(2))
    _, events = bench.turn(erased(1, 1, from_device="b2", stream=7))
    assert sorted(shown(events)) == [1, 2]
    # Nobody ends what somebody else wrote.
    bench.turn(told(4))
    _, events = bench.turn(erased(1, 3, from_id="eve", stream=8))
    assert shown(events) == [1]


def test_an_erasure_that_is_parked_counts_after_a_restart() -> None:
    bench = Bench()
    log_in(bench)
    bench.turn(told(1))
    bench.turn(told(4))
    _, events = bench.turn(erased(5, 2))
    assert shown(events) == []  # 3 is missing
    parked = [frame.message for frame in (told(4), erased(5, 2))]
    inbound = {("bob", "b1", 9): KeptInbound(next=2, settled=1, gaps=frozenset())}
    bench = Bench(RecordingJournal(Kept(inbound=inbound, parked=parked)))
    log_in(bench)
    _, events = bench.turn(told(3))
    assert shown(events) == [3, 4, 5]


def test_what_was_shown_is_not_remembered_when_it_is_erased() -> None:
    bench = Bench()
    log_in(bench)
    bench.turn(told(1))
    bench.turn(erased(2, 1))
    assert len(bench.core._receiving._erasures) == 0


def test_erasures_are_bounded() -> None:
    erasures, key = Erasures(most=2), ("bob", "b1", 9)
    for number in (1, 2, 3):
        assert erasures.told(erased(9, number).message, {}) == key
    assert len(erasures) == 2
    stream = InboundStream[Message]()
    stream.receive(4, 1, told(4).message)
    assert erasures.go_past(key, stream, lambda number: False) == ([], [])  # 1 was forgotten
    items, gone = erasures.go_past(key, stream, lambda number: number == 1)
    assert ([each.item.id for each in items], gone) == ([4], [2, 3])
    assert len(erasures) == 0
