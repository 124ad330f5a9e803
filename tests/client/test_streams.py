"""Streams of others that a client remembers: bounded for each author and for all, and nothing is lost by that."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from client.core import ClientCore
from client.journal import ClientJournal, MemoryJournal, SqliteJournal
from client.streams import Streams
from protocol.framing import FrameReader, delimit
from protocol.inbound import Shown
from protocol.sparrow_pb2 import TEXT, Frame, LoggedIn, Message, Synced


def test_the_silent_longest_of_who_has_most_is_forgotten() -> None:
    streams = Streams([("bob", "b1", 1)], of_user=3, in_all=7)

    def new(author: str, number: int, busy: tuple[int, ...] = ()) -> int | None:
        gone = streams.too_many((author, "d1", number), "alice", lambda key: key[2] in busy)
        return None if gone is None else gone[2]

    assert [new("bob", 2), new("bob", 3)] == [None, None]
    streams.heard(("bob", "b1", 1))
    assert new("bob", 4) == 2
    assert new("bob", 5, busy=(3, 1)) == 4
    assert new("bob", 6, busy=(3, 1, 5)) is None  # more is expected of all
    assert len(streams) == 4
    # Our own user has more, until there are too many in all.
    assert [new("alice", number) for number in range(11, 14)] == [None] * 3
    assert new("alice", 14) == 3
    assert new("alice", 15) == 11


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_stream_that_was_forgotten_goes_on(kind: str, tmp_path: Path) -> None:
    journal: ClientJournal = MemoryJournal() if kind == "memory" else SqliteJournal(tmp_path / "state.db")
    numbers = itertools.count(1)
    core = ClientCore(journal, lambda: next(numbers))
    core._receiving._streams = Streams(of_user=5)
    shown: list[tuple[int, int]] = []

    def server(frame: Frame) -> list[Frame]:
        core.data(delimit(frame.SerializeToString()))
        data, events = core.flush()
        shown.extend((event.item.stream, event.item.id) for event in events if isinstance(event, Shown))
        return [Frame.FromString(payload) for payload in FrameReader(10**6).receive(data)]

    def message(stream: int, number: int, settled: int) -> list[Frame]:
        fields = {"stream": stream, "id": number, "settled": settled, "kind": TEXT, "body": b"x"}
        return server(Frame(message=Message(from_id="bob", from_device="b1", dest_id="alice", **fields)))

    core.connected("token", "test")
    core.flush()
    server(Frame(logged_in=LoggedIn(user_id="alice", device_id="a1", session=1, heartbeat_ms=60_000)))
    for number in (1, 2):
        message(1, number, number)
    for stream in range(2, 2000):
        message(stream, 1, 1)
    assert len(core._receiving._inbound) == 5
    assert len(journal.load().inbound) == 5
    # It goes on where it was: what is missing is settled, so it is asked for and passed over.
    asked = [frame.sync.n for frame in message(1, 3, 3) if frame.WhichOneof("kind") == "sync"]
    assert (len(asked), shown[-1]) == (1, (1999, 1))
    server(Frame(synced=Synced(n=asked[0])))
    assert shown[-1] == (1, 3)
    journal.close()
