"""Fuzzes the client: whatever a server sends, its session and its core stay whole, and what is shown is shown once."""

from __future__ import annotations

import itertools

from client.core import ClientCore
from client.holding import WAIT_S
from client.journal import MemoryJournal
from client.state import GroupBehind
from protocol.client import ClientSession, Event, Unreadable
from protocol.errors import PeerError
from protocol.framing import FrameReader, delimit
from protocol.ids import is_group_id
from protocol.inbound import Shown
from protocol.sparrow_pb2 import Frame, LoggedIn, Message, Receipt
from tests.fuzz import runner, seeds

GROUP = "~k7q2m5xw3n4c6z7abfde2rsg"
LOGGED_IN = delimit(
    Frame(
        logged_in=LoggedIn(session=1, heartbeat_ms=1000, max_unsettled_per_stream=4, max_unsettled_per_connection=8)
    ).SerializeToString()
)


def corpus() -> list[bytes]:
    """What servers say."""
    found = seeds.frames("server")
    return found + [b"\x01" + data[1:] for data in found]


def one(data: bytes) -> None:
    """One input."""
    stream, pieces = runner.cut(data)
    if data[:1] and data[0] & 1:
        stream, pieces = LOGGED_IN + stream, [LOGGED_IN, *pieces]
    assert _session([stream]) == _session(pieces), "cutting changes what is understood"
    _device(pieces)
    _device(pieces, follows=True)


def _session(pieces: list[bytes]) -> tuple[list[Event], int, int, str]:
    session = ClientSession()
    session.login("t")
    events: list[Event] = []
    for piece in pieces:
        broken = session.error
        more = session.receive_data(piece)
        assert broken is None or not more, "understands something behind an error"
        events += more
    assert session.error is None or isinstance(session.error, PeerError)
    receipts = sum(isinstance(event, Receipt) and not event.sent and not event.early for event in events)
    counted = receipts + sum(isinstance(event, Message | Unreadable) for event in events)
    assert session.counted == counted, "miscounts"
    return events, session.state, session.counted, str(session.error)


def _device(pieces: list[bytes], *, follows: bool = False) -> None:
    """The core above it, which also has something to send, and all the time in the world; `follows`: it gets the
    changes of every other group, and waits for the rest."""
    numbers = itertools.count(1)
    device = ClientCore(MemoryJournal(), lambda: next(numbers), follows=follows)
    device.connected("t", "fuzz")
    written = device.flush()[0]
    seen: set[tuple[str, tuple[str, str, int, int]]] = set()
    reached: dict[str, int] = {}
    for at, piece in enumerate([*pieces, b"", b""]):
        now = at * (3.0 if follows else 11.0)
        device.time(now)
        device.send("bob", 1, b"x")
        device.send(GROUP, 1, b"x")
        device.hold_acks = bool(piece[:1]) and not piece[0] % 4
        device.data(piece)
        data, events = device.flush()
        written += data
        wake = device.next_wake()
        assert wake is None or device.logged_in, "wants to be woken without a login"
        assert len(device.outgoing()) == device.unsettled, "miscounts its own"
        for event in events:
            if isinstance(event, Shown):
                message = event.item
                group = message.dest_id if is_group_id(message.dest_id) else ""
                name = (message.from_id, message.from_device, message.stream, message.id)
                assert (group, name) not in seen, "shows something twice"
                seen.add((group, name))
                early = follows and group and message.version > reached.get(group, 0)
                assert not early or now >= WAIT_S, "shows a message before the change that it was sent behind"
            elif isinstance(event, GroupBehind) and event.version % 2:
                reached[event.group] = max(event.version, reached.get(event.group, 0))
                device.group_at(event.group, event.version)
    device.disconnected()
    device.flush()
    reader = FrameReader(10**6)
    said = [Frame.FromString(payload).WhichOneof("kind") for payload in reader.receive(written)]
    assert reader.error is None
    assert reader.buffered == 0
    assert said[0] == "login"
    assert None not in said


if __name__ == "__main__":
    runner.main(one, corpus())
