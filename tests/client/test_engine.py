"""When a client's engine wakes up: everything by a clock that the test hands in."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from client import MisuseError, Options, SendingChanged, Timing
from client.api.logins import UserApi
from client.connection import Connection
from client.core import ClientCore
from client.credentials import Credentials
from client.engine import Engine
from client.journal import MemoryJournal
from protocol.outbound import Outbox
from protocol.server import ServerSession, Windows
from protocol.sparrow_pb2 import TEXT, Goodbye, LoggedIn, Login, Message, Ping, Sync
from tests.clock import by_the_clock

HEARTBEAT_S = 60.0
LOGIN_S, PONG_S = 7.0, 5.0


class Wire:
    """The transport of a connection, and the server behind it, which says what the test lets it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.server = ServerSession(Windows(65536, 256, 4096))
        self.heard: list[tuple[float, Any]] = []
        """Since the start, in seconds; and what."""
        self.aborted_at: float | None = None
        self.connection = Connection(stage.engine)
        self.connection.connection_made(cast(asyncio.Transport, self))

    def is_closing(self) -> bool:
        return self.aborted_at is not None

    def write(self, data: bytes) -> None:
        for said in self.server.receive_data(data):
            event = Message.FromString(said[-1]) if isinstance(said, tuple) else said
            self.heard.append((self._stage.elapsed, event))

    def abort(self) -> None:
        if self.aborted_at is None:
            self.aborted_at = self._stage.elapsed
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    def flush(self) -> None:
        """What the server has said arrives."""
        self.connection.data_received(self.server.data_to_send())

    def welcome(self, heartbeat_s: float = HEARTBEAT_S, user: str = "alice") -> None:
        windows = {"max_unsettled_per_stream": 256, "max_unsettled_per_connection": 4096}
        frame = LoggedIn(user_id=user, device_id="a1", session=1, heartbeat_ms=int(heartbeat_s * 1000), **windows)
        self.server.logged_in(frame)
        self.flush()

    def message(self, number: int, settled: int = 1) -> None:
        message = Message(
            stream=9, id=number, settled=settled, from_id="bob", from_device="b1", dest_id="alice", kind=1
        )
        self.server.message(message.SerializeToString())
        self.flush()

    def times(self, kind: type[object]) -> list[float]:
        """When such things were said."""
        return [round(at, 3) for at, event in self.heard if isinstance(event, kind)]


class Stage:
    """An engine whose connections the test makes."""

    def __init__(self, **options: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.told: list[object] = []
        journal = MemoryJournal()
        api = UserApi("http://127.0.0.1:1")
        credentials = Credentials(
            "alice", None, api, journal, token="t", device="", connectors=["-"], label="", register=False
        )
        timing = Timing(login_timeout_s=LOGIN_S, pong_timeout_s=PONG_S)
        self.engine = Engine(
            "alice", journal, credentials, Options(timing=timing, **options), "tests", self.told.append
        )
        self.turns: list[float] = []
        turn = self.engine.turn

        def counted() -> None:
            self.turns.append(round(self.elapsed, 3))
            turn()

        self.engine.turn = counted  # type: ignore[method-assign]

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._loop.time() - self._began

    def connect(self) -> Wire:
        wire = Wire(self)
        self.engine.connected(wire.connection, "t")
        assert isinstance(wire.heard[0][1], Login)
        return wire

    async def log_in(self, heartbeat_s: float = HEARTBEAT_S) -> Wire:
        wire = self.connect()
        wire.welcome(heartbeat_s)
        await settled()
        return wire

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def settled() -> None:
    """Everything that is due now has happened."""
    for _ in range(5):
        await asyncio.sleep(0)


@by_the_clock
async def test_a_server_that_does_not_answer_the_login_is_left() -> None:
    stage = Stage()
    wire = stage.connect()
    await stage.passes(100)
    assert wire.aborted_at == pytest.approx(LOGIN_S)
    assert (wire.connection.reason, stage.engine.connection) == ("the server does not answer", None)
    woken = len(stage.turns)
    await stage.passes(1000)
    assert len(stage.turns) == woken  # without a connection there is nothing to wake up for


@by_the_clock
async def test_it_pings_and_leaves_who_does_not_answer() -> None:
    stage = Stage()
    wire = await stage.log_in()
    await stage.passes(100)
    assert wire.times(Ping) == [HEARTBEAT_S / 3]
    assert wire.aborted_at == pytest.approx(HEARTBEAT_S / 3 + PONG_S)


@by_the_clock
async def test_a_pong_is_an_answer() -> None:
    stage = Stage()
    wire = await stage.log_in()
    for _ in range(3):
        await stage.passes(HEARTBEAT_S / 3 + 1)
        wire.server.pong(1)
        wire.flush()
    assert wire.aborted_at is None
    assert wire.times(Ping) == [20, 40, 60]  # a third of a heartbeat after nothing was said, or nothing heard


@by_the_clock
async def test_the_ping_comes_first_where_it_is_due_before_the_message() -> None:
    stage = Stage()
    wire = await stage.log_in(heartbeat_s=3.0)
    await stage.engine.submit("bob", TEXT, b"hi")
    await stage.passes(3.5)
    assert wire.times(Ping)[0] == 1.0
    assert wire.times(Message) == [0.0, Outbox.FIRST_RESEND_S]


@by_the_clock
async def test_a_message_without_an_answer_is_sent_again_in_time() -> None:
    stage = Stage()
    wire = await stage.log_in()  # the timer is set for a ping in 20 s: it has to be set anew
    await stage.passes(5)
    await stage.engine.submit("bob", TEXT, b"hi")
    await stage.passes(15)
    assert wire.times(Message) == [5.0, 8.0, 14.0]
    wire.server.sent(wire.heard[1][1].stream, 1, 1, False)
    wire.flush()
    await settled()
    assert [type(event) for event in stage.told][-1] is SendingChanged
    await stage.passes(15)
    assert len(wire.times(Message)) == 3


@by_the_clock
async def test_many_time_outs_are_one_turn() -> None:
    stage = Stage()
    wire = await stage.log_in()
    for _ in range(100):
        await stage.engine.submit("bob", TEXT, b"hi")
        await stage.passes(0.001)
    before = len(stage.turns)
    await stage.passes(Outbox.FIRST_RESEND_S)
    assert len(wire.times(Message)) == 200
    assert len(stage.turns) - before <= 4


@by_the_clock
async def test_what_is_missing_is_asked_for_though_nothing_happens() -> None:
    stage = Stage()
    wire = await stage.log_in()
    wire.message(2)
    await stage.passes(ClientCore.ORDER_WAIT_S + 1)
    (asked,) = wire.times(Sync)
    assert ClientCore.ORDER_WAIT_S <= asked <= ClientCore.ORDER_WAIT_S + ClientCore.BLOCKED_TICK_S
    woken = len(stage.turns)
    assert woken < 30
    wire.server.synced(1)
    wire.flush()
    await stage.passes(HEARTBEAT_S / 3 - 1)
    assert len(stage.turns) <= woken + 3  # the stream is whole: nobody looks at it any more


@by_the_clock
async def test_acks_that_waited_leave_when_there_is_room_again() -> None:
    stage = Stage(max_waiting=4)
    wire = await stage.log_in()
    for number in range(1, 7):
        wire.message(number)
        await settled()
    assert stage.engine.arrivals.full
    assert wire.server.acked == 4  # the turn that filled it still acked
    for _ in range(3):
        stage.engine.take(await stage.engine.arrivals.get())
        await settled()
    assert wire.server.acked == 4
    stage.engine.take(await stage.engine.arrivals.get())
    assert not stage.engine.arrivals.full
    await settled()
    assert wire.server.acked == 6  # at once, and not when the next message is taken
    assert stage.elapsed < 1.0


@by_the_clock
async def test_an_end_leaves_no_timer() -> None:
    stage = Stage()
    wire = await stage.log_in()
    await stage.engine.submit("bob", TEXT, b"hi")
    wire.server.goodbye(Goodbye.MOVE, "elsewhere")
    wire.flush()
    await settled()
    wire.abort()
    await settled()
    await stage.engine.stop(logout=False)
    woken = len(stage.turns)
    await stage.passes(1000)
    assert len(stage.turns) == woken


@by_the_clock
async def test_an_end_that_the_server_causes_leaves_none_either() -> None:
    stage = Stage()
    wire = stage.connect()
    wire.welcome(user="bob")
    await settled()
    assert isinstance(stage.engine.error, MisuseError)
    woken = len(stage.turns)
    await stage.passes(1000)
    assert len(stage.turns) == woken
