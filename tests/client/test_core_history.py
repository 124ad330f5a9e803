"""The client's core where conversations are kept: pages, changes, early receipts, what is too old to be repeated."""

from __future__ import annotations

from typing import Any

from client.state import Delivered, Refused, Skipped
from protocol.sparrow_pb2 import EDIT, TEXT, About, Frame, LoggedIn, Message, Receipt, Synced
from tests.client.test_client_core import Bench, shown


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
    assert bench.core._inbound == {}
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
