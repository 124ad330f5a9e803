"""Signals in the client: when one goes out, when TYPING is told, and who is taken to be typing for how long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from client import Client, ClosedError, MisuseError, Signal, SignalKind, Typists, arguments
from client.core import UNDERSTANDS
from client.events import Connected
from client.signals import MAX_TYPISTS, TYPING_EVERY_S, TYPING_FOR_S, Typing
from client.telling import Telling
from protocol.errors import InvalidIdError, MessageTooLargeError
from protocol.sparrow_pb2 import Frame, LoggedIn
from protocol.sparrow_pb2 import Signal as WireSignal
from tests.client.test_client_core import Bench, message
from tests.client.test_engine import Stage, settled
from tests.clock import by_the_clock

GROUP = "~" + "a" * 24
WINDOWS = {"max_unsettled_per_stream": 9, "max_unsettled_per_connection": 99}


def online(*understands: str) -> Bench:
    """Logged in at a server that knows these."""
    bench = Bench()
    bench.connect()
    frame = LoggedIn(user_id="alice", device_id="a1", session=1, understands=understands, **WINDOWS)
    bench.turn(Frame(logged_in=frame))
    return bench


def test_who_wants_signals_says_so() -> None:
    bench = Bench()
    bench.core.connected("token", "tests")
    assert list(bench.turn()[0][0].login.understands) == list(UNDERSTANDS)
    bench.core.signals = True
    bench.core.connected("token", "tests")
    assert list(bench.turn()[0][0].login.understands) == [*UNDERSTANDS, "signals"]


def test_one_goes_out_at_the_end_of_the_turn_and_is_forgotten() -> None:
    bench = online("signals")
    bench.journal.took()
    assert bench.core.signal("bob", 1000, b"x")
    (said,) = bench.turn()[0]
    assert said.signal == WireSignal(kind=1000, dest_id="bob", body=b"x")  # type: ignore[arg-type]
    bench.passes(60.0)
    assert bench.turn()[0] == []
    assert bench.journal.took() == [], "nothing of it is kept"
    assert bench.core.unsettled == 0


@pytest.mark.parametrize(
    ("understands", "dest", "goes"),
    [
        ((), "bob", False),
        (("groups",), GROUP, False),
        (("signals",), "bob", True),
        (("signals",), GROUP, False),
        (("signals", "groups"), GROUP, True),
    ],
)
def test_a_server_that_does_not_know_it_is_sent_none(understands: tuple[str, ...], dest: str, goes: bool) -> None:
    bench = online(*understands)
    assert bench.core.signal(dest, 1) is goes
    assert len(bench.turn()[0]) == goes


def test_without_a_session_it_is_gone_and_comes_on_no_later_one() -> None:
    bench = Bench()
    assert not bench.core.signal("bob", 1)
    bench.connect()
    assert not bench.core.signal("bob", 1)
    bench = online("signals")
    assert bench.core.signal("bob", 1)
    bench.core.disconnected()
    bench.connect()
    frame = LoggedIn(user_id="alice", device_id="a1", session=2, previous_session=1, understands=["signals"], **WINDOWS)
    assert bench.turn(Frame(logged_in=frame))[0] == []


def test_one_that_comes_is_told_and_counts_for_nothing() -> None:
    bench = online("signals")
    signal = WireSignal(kind=WireSignal.TYPING, dest_id="alice", from_id="bob", from_device="b1")
    said, events = bench.turn(Frame(signal=signal))
    assert (said, events) == ([], [signal])
    assert bench.core.next_wake() is None
    said, _ = bench.turn(Frame(signal=signal), message(1), Frame(signal=signal))
    bench.passes(1.0)
    said += bench.turn()[0]
    assert [frame.ack.up_to for frame in said if frame.HasField("ack")] == [1]


@pytest.mark.parametrize("kind", [0, 3, 999, -1, 2**31, True, "typing", None, 1.0])
def test_kinds_that_nobody_may_send(kind: Any) -> None:
    with pytest.raises(MisuseError, match="kind"):
        arguments.signal(kind, b"")


def test_bodies() -> None:
    assert arguments.signal(SignalKind.TYPING, bytearray(1024)) == bytes(1024)
    with pytest.raises(MessageTooLargeError, match="1025"):
        arguments.signal(1000, bytes(1025))
    with pytest.raises(MisuseError, match="bytes"):
        arguments.signal(1000, "text")


# How often it is told.


def test_typing_is_told_every_few_seconds() -> None:
    typing, told = Typing(), []
    for tenth in range(100):
        now = tenth / 10
        if typing.is_due("bob", now):
            typing.told("bob", now)
            told.append(now)
    assert told == [0.0, 3.0, 6.0, 9.0]
    assert typing.is_due("carol", 9.5), "to each by themselves"


def test_its_end_is_told_to_whoever_believes_it() -> None:
    typing = Typing()
    assert not typing.ended("bob", 0.0)
    typing.told("bob", 0.0)
    assert typing.ended("bob", TYPING_FOR_S - 0.1)
    assert not typing.ended("bob", TYPING_FOR_S - 0.1)
    typing.told("bob", 10.0)
    assert not typing.ended("bob", 10.0 + TYPING_FOR_S)
    typing.told("bob", 20.0)
    typing.wrote("bob")
    assert not typing.ended("bob", 20.1)
    assert typing.is_due("bob", 20.1)


def test_whom_it_was_told_is_forgotten() -> None:
    typing = Typing()
    for number in range(1000):
        typing.told(f"user{number}", float(number))
    assert len(typing._told) <= TYPING_FOR_S


# Who is typing.


def typed(user: str = "bob", kind: int = SignalKind.TYPING, peer: str = "") -> Signal:
    return Signal(peer or user, user, "b1", kind, b"")


def test_somebody_types_until_they_stop_write_or_say_nothing() -> None:
    typists = Typists()
    assert typists.noticed(typed(), 0.0)
    assert not typists.noticed(typed(), 3.0)
    assert typists.typing("bob", 3.0 + TYPING_FOR_S - 0.1) == ["bob"]
    assert typists.typing("bob", 3.0 + TYPING_FOR_S) == []
    assert typists.expire(20.0)
    assert not typists.expire(20.0)
    typists.noticed(typed(), 30.0)
    assert typists.noticed(typed(kind=SignalKind.STOPPED_TYPING), 31.0)
    assert not typists.noticed(typed(kind=SignalKind.STOPPED_TYPING), 31.0)
    assert typists.typing("bob", 31.0) == []
    typists.noticed(typed(), 40.0)
    assert typists.stopped("bob", "bob")
    assert typists.typing("bob", 40.0) == []


def test_each_conversation_is_by_itself() -> None:
    typists = Typists()
    typists.noticed(typed("bob", peer=GROUP), 0.0)
    typists.noticed(typed("carol", peer=GROUP), 1.0)
    assert typists.typing(GROUP, 2.0) == ["bob", "carol"]
    assert typists.typing("bob", 2.0) == []


@pytest.mark.parametrize("kind", [1000, 7])
def test_other_kinds_say_nothing_of_typing(kind: int) -> None:
    typists = Typists()
    assert not typists.noticed(typed(kind=kind), 0.0)
    assert len(typists) == 0


def test_however_many_say_so() -> None:
    typists = Typists()
    for number in range(10 * MAX_TYPISTS):
        typists.noticed(typed(f"user{number}"), 0.0)
    assert len(typists) == MAX_TYPISTS


# In a client.


def teller(told: list[object]) -> Telling:
    return Telling("alice", None, None, None, told.append, lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dest", "kind", "peer"),
    [("alice", 1, "bob"), (GROUP, 2, GROUP), ("alice", 1000, "bob"), ("alice", 3, None), ("alice", 999, None)],
)
def test_what_is_told_of_one(dest: str, kind: int, peer: str | None) -> None:
    told: list[object] = []
    wire = WireSignal(kind=kind, dest_id=dest, body=b"x", from_id="bob", from_device="b1")  # type: ignore[arg-type]
    teller(told).happened(wire)
    assert told == ([] if peer is None else [Signal(peer, "bob", "b1", kind, b"x")])


def test_a_client_that_is_not_open() -> None:
    with pytest.raises(ClosedError):
        Client("alice", token="t", connectors=["-"]).signal("bob", 1)


@by_the_clock
async def test_an_application_types() -> None:
    stage = Stage()
    client = Client("alice", token="t", connectors=["-"])
    client._engine = stage.engine
    assert not client.typing("bob"), "there is no connection"
    wire = stage.connect()
    frame = LoggedIn(user_id="alice", device_id="a1", session=1, heartbeat_ms=60000, understands=["signals"], **WINDOWS)
    wire.server.logged_in(frame)
    wire.flush()
    await settled()
    assert any(isinstance(event, Connected) for event in stage.told)
    for _ in range(70):
        client.typing("bob")
        await asyncio.sleep(0.1)
    assert wire.times(WireSignal) == [0.0, TYPING_EVERY_S, 2 * TYPING_EVERY_S]
    assert client.stopped_typing("bob")
    assert not client.stopped_typing("bob")
    await settled()
    kinds = [event.kind for _, event in wire.heard if isinstance(event, WireSignal)]
    assert kinds == [1, 1, 1, 2]
    wire.connection.congested = True
    assert not client.typing("bob"), "what cannot leave now is not true when it comes"
    wire.connection.congested = False
    with pytest.raises(InvalidIdError):
        client.typing("No Body")
    stage.engine.end(ClosedError("over"))
