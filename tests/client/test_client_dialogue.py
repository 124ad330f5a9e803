"""The client library against a scripted server: what is said on the wire, and what follows from every answer."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from client import (
    BlockedError,
    Client,
    Closed,
    ClosedError,
    Connected,
    Disconnected,
    Hint,
    HintKind,
    MisuseError,
    NotFriendError,
    Options,
    Progress,
    RefusedError,
    ReplacedError,
    SendingChanged,
    SessionEndedError,
    State,
    StateError,
    Timing,
    TokenRejectedError,
    Unreadable,
    UserApi,
)
from client.flow import Gate
from protocol.errors import (
    AccountDisabledError,
    ApiError,
    DeviceRemovedError,
    UnavailableError,
    UnreachableError,
)
from protocol.sparrow_pb2 import READ, About, Failed, Goodbye, Login, Logout, Message, Ping, Receipt, Sync
from protocol.sparrow_pb2 import Hint as WireHint
from tests.ports import free_port
from tests.sparrow.serving import FakeServer, FakeSession

Script = Callable[[FakeSession, Any], object]
QUICK = Timing(first_retry_s=0.02, last_retry_s=0.1, login_timeout_s=0.3, pong_timeout_s=0.3, logout_timeout_s=0.3)


def options(**more: Any) -> Options:
    return Options(**{"timing": QUICK, "open_timeout_s": 5.0, "close_timeout_s": 0.3, **more})


def polite(session: FakeSession, event: Any) -> None:
    """Welcomes, answers pings, and says SENT."""
    if isinstance(event, Login):
        session.welcome()
    elif isinstance(event, Message):
        session.wire.sent(event.stream, event.id, event.id << 20, False)
    elif isinstance(event, Ping):
        session.wire.pong(event.n)
    elif isinstance(event, Sync):
        session.wire.synced(event.n)
    elif isinstance(event, Logout):
        session.goodbye(Goodbye.LOGGED_OUT)


def silent(session: FakeSession, event: Any) -> None:
    """Welcomes, and answers nothing else."""
    if isinstance(event, Login | Logout):
        polite(session, event)


@contextlib.asynccontextmanager
async def talking(script: Script = polite, **more: Any) -> AsyncIterator[tuple[Client, FakeServer]]:
    more.setdefault("options", options())
    async with FakeServer(script) as server, Client("alice", **server.arguments(**more)) as alice:
        yield alice, server


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def acked(session: FakeSession) -> int:
    return session.wire.acked


# What is said.


async def test_hello_and_goodbye() -> None:
    async with talking(name="test 1.0") as (_, server):
        (session,) = server.sessions
        (login,) = session.received
        assert login.start
        expected = Login(token="token-of-alice", client="test 1.0", start=login.start, tries=1)
        expected.understands.extend(["disabled", "changes", "groups"])
        assert login == expected
    assert session.received[-1] == Logout()


async def test_each_connection_tells_which_try_of_this_start_it_is() -> None:
    async with talking() as (_, server):
        for session in range(3):
            await until(lambda session=session: len(server.sessions) > session and server.sessions[session].received)
            server.sessions[session].goodbye(Goodbye.MOVE)
            server.sessions[session].flush()
        await until(lambda: len(server.sessions) > 3 and server.sessions[3].received)
        logins = [session.received[0] for session in server.sessions]
    assert [login.tries for login in logins][:4] == [1, 2, 3, 4]
    assert len({login.start for login in logins}) == 1
    async with talking() as (_, other):
        assert other.sessions[0].received[0].start != logins[0].start
        assert other.sessions[0].received[0].tries == 1


async def test_its_own_next_login_does_not_end_it() -> None:
    async with talking() as (alice, server):
        credentials = alice._engine.credentials  # type: ignore[union-attr]
        credentials._token = "next"
        server.sessions[0].goodbye(Goodbye.LOGGED_OUT, "logged out")
        server.sessions[0].flush()
        await until(lambda: len(server.sessions) > 1 and server.sessions[1].received)
        assert server.sessions[1].received[0].token == "next"
        assert alice.connected or credentials._token == "next"


async def test_one_turn_one_write() -> None:
    chunks = []
    async with talking() as (alice, server):
        (session,) = server.sessions
        data_received = session.data_received
        session.data_received = lambda data: (chunks.append(data), data_received(data))[1]  # type: ignore[method-assign, func-returns-value]
        sendings = await asyncio.gather(*(alice.send("bob", str(number)) for number in range(100)))
        for sending in sendings:
            await sending.sent
        assert len(chunks) == 1
        assert [message.id for message in session.messages()] == list(range(1, 101))
        # Everything that one read brings is acked at once.
        chunks.clear()
        for number in range(1, 51):
            session.message(id=number)
        session.flush()
        await until(lambda: acked(session) == 50)
        assert len(chunks) == 1


async def test_reads_of_one_turn_travel_together() -> None:
    async with talking() as (alice, server):
        (session,) = server.sessions
        for number in range(1, 301):
            session.message(id=number)
        for number in (1, 2):
            session.message(id=number, stream=10, from_id="carol", from_device="c1")
        session.flush()
        messages = aiter(alice)
        await asyncio.gather(*[(await anext(messages)).mark_read() for _ in range(302)])
        await until(lambda: len(session.messages()) == 3)
        reads = [
            (m.dest_id, m.kind, m.about.from_device, m.about.stream, list(m.about.ids)) for m in session.messages()
        ]
        assert reads == [
            ("bob", READ, "b1", 9, list(range(1, 257))),
            ("bob", READ, "b1", 9, list(range(257, 301))),
            ("carol", READ, "c1", 10, [1, 2]),
        ]


async def test_it_pings_when_it_is_quiet() -> None:
    def script(session: FakeSession, event: Any) -> None:
        if isinstance(event, Login):
            session.welcome(heartbeat_ms=300)
        else:
            polite(session, event)

    async with talking(script) as (alice, server):
        await asyncio.sleep(0.75)
        (session,) = server.sessions
        assert 3 <= sum(isinstance(event, Ping) for event in session.received) <= 8
        assert alice.connected


async def test_unsettled_messages_are_bounded() -> None:
    async with talking(silent, options=options(max_unsettled=3)) as (alice, server):
        (session,) = server.sessions
        senders = [asyncio.create_task(alice.send("bob", str(number))) for number in range(8)]
        await asyncio.sleep(0.1)
        assert [sender.done() for sender in senders] == [True] * 3 + [False] * 5
        senders[3].cancel()
        session.wire.sent(session.messages()[0].stream, 1, 1, False)
        session.wire.failed(session.messages()[0].stream, 2, Failed.BLOCKED, "no")
        session.flush()
        await asyncio.sleep(0.1)
        assert [sender.done() for sender in senders] == [True] * 6 + [False] * 2
        assert [message.body for message in session.messages()] == [b"0", b"1", b"2", b"4", b"5"]
        for sender in senders[6:]:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)


async def test_messages_that_nobody_takes_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async with talking(options=options(max_waiting=20)) as (alice, server):
        (session,) = server.sessions
        sent = 0
        for _ in range(100):
            if session.wire.unacked < 30:  # the server's window
                sent += 1
                session.message(id=sent)
                session.flush()
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert sent < 60
        assert acked(session) < sent
        assert "wait to be taken" in caplog.text
        async with asyncio.timeout(5):
            await (await alice.send("bob", "receipts go on")).sent
        messages = aiter(alice)
        for number in range(1, sent + 1):
            assert (await anext(messages)).wire.id == number
        await until(lambda: acked(session) == sent)


async def test_order_repeats_and_late_ones() -> None:
    async with talking() as (alice, server):
        (session,) = server.sessions
        for number in (1, 3, 1, 2, 2, 3):
            session.message(id=number, body=str(number).encode())
        session.message(id=6, settled=6, body=b"6")  # 4 and 5 will not come: one Sync says so
        session.flush()
        messages = aiter(alice)
        got = [await anext(messages) for _ in range(4)]
        assert [(message.text, message.late) for message in got] == [(text, False) for text in "1236"]
        assert [event for event in session.received if isinstance(event, Sync)] == [Sync(n=1)]


async def test_nothing_is_repeated_while_nothing_leaves() -> None:
    async with talking() as (alice, server):
        (session,) = server.sessions
        alice._engine.core._outbox.FIRST_RESEND_S = 0.1  # type: ignore[union-attr]
        session.transport.pause_reading()
        sendings = [await alice.send(f"user{number % 10}", b"x" * 60_000) for number in range(300)]
        await asyncio.sleep(0.05)
        connection = alice._engine.connection  # type: ignore[union-attr]
        assert connection is not None
        assert connection.congested
        buffered = connection._transport.get_write_buffer_size()  # type: ignore[union-attr]
        for _ in range(8):
            await asyncio.sleep(0.1)
            await alice.send("bob", "x")
        assert connection._transport.get_write_buffer_size() < buffered + 60_000  # type: ignore[union-attr]
        session.transport.resume_reading()
        async with asyncio.timeout(10):
            for sending in sendings:
                await sending.sent


# What follows from each answer.


async def test_receipts_and_read() -> None:
    events: list[object] = []
    async with talking(silent, on_event=events.append) as (alice, server):
        (session,) = server.sessions
        sending = await alice.send("bob", "hi")
        other = await alice.send("carol", "hi")
        await until(lambda: len(session.messages()) == 2)
        stream = sending.stream
        session.wire.delivered(Receipt(stream=stream, ids=[1], delivered=True, from_device="a1").SerializeToString())
        session.flush()
        async with asyncio.timeout(5):
            await sending.delivered
        assert not sending.sent.reached  # one device has it; that does not make it safe
        about = About(from_device="a1", stream=stream, ids=[1])
        session.message(id=1, from_id="mallory", kind=READ, about=about)
        session.wire.sent(stream, 1, 7 << 20, False)
        session.flush()
        async with asyncio.timeout(5):
            await sending.sent
        await asyncio.sleep(0.05)
        assert (sending.state, sending.stamp) == (State.DELIVERED, 7 << 20)  # not mallory's to say
        session.message(id=1, from_id="bob", kind=READ, about=about)
        session.wire.sent(other.stream, 1, 8 << 20, True)
        session.flush()
        async with asyncio.timeout(5):
            await sending.read
            await other.delivered
        # Of messages that nobody holds any more.
        events.clear()
        session.wire.delivered(Receipt(stream=5, ids=[8, 9], delivered=True, from_device="a1").SerializeToString())
        session.flush()
        await until(lambda: events)
        assert events == [Progress("", "a1", 5, (8, 9), State.DELIVERED)]


@pytest.mark.parametrize(
    ("code", "error"),
    [(Failed.BLOCKED, BlockedError), (Failed.NOT_FRIEND, NotFriendError), (99, RefusedError)],
)
async def test_final_refusals(code: Any, error: type[Exception]) -> None:
    async with talking(silent) as (alice, server):
        (session,) = server.sessions
        sending = await alice.send("bob", "hi")
        await until(lambda: session.messages())
        session.wire.failed(sending.stream, 1, code, "no")
        session.flush()
        with pytest.raises(error, match="no"):
            await sending.sent
        assert (sending.state, alice.unsettled) == (State.FAILED, [])


@pytest.mark.parametrize(
    ("code", "note"),
    [
        (Failed.INBOX_FULL, "their inbox is full, or that of another device of yours"),
        (Failed.NO_SPACE, "the server's disk is full"),
    ],
)
async def test_who_writes_is_told_that_there_is_no_room(code: Failed.Code, note: str) -> None:
    async with talking(silent) as (alice, server):
        (session,) = server.sessions
        sending = await alice.send("bob", "hi")
        await until(lambda: session.messages())
        session.wire.failed(sending.stream, 1, code, "…", 3_600_000)
        session.flush()
        await until(lambda: sending.note)
        assert (sending.note, sending.state) == (note, State.QUEUED)


async def test_a_refusal_for_now_is_tried_again() -> None:
    events: list[object] = []
    async with talking(silent, on_event=events.append) as (alice, server):
        (session,) = server.sessions
        sending = await alice.send("bob", "hi")
        await until(lambda: session.messages())
        session.wire.failed(sending.stream, 1, Failed.UNAVAILABLE, "the store is away", 100)
        session.flush()
        await until(lambda: len(session.messages()) == 2)
        assert events[-1] == SendingChanged(sending)
        assert (sending.note, sending.state) == ("the store is away", State.QUEUED)
        first, again = session.messages()
        assert first == again
        session.wire.sent(sending.stream, 1, 1, False)
        session.flush()
        await sending.sent
        assert sending.note == ""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Goodbye.REPLACED, ReplacedError),
        (Goodbye.DEVICE_REMOVED, DeviceRemovedError),
        (Goodbye.ACCOUNT_DISABLED, AccountDisabledError),
        (Goodbye.BAD_TOKEN, TokenRejectedError),
        (Goodbye.LOGGED_OUT, TokenRejectedError),
    ],
)
async def test_goodbyes_that_are_final(code: Any, error: type[Exception]) -> None:
    events: list[object] = []
    with pytest.raises(error):
        async with talking(lambda session, _: session.goodbye(code, "because")):
            pytest.fail("it has entered")
    async with talking(silent, on_event=events.append) as (alice, server):
        sending = await alice.send("bob", "hi")
        waiting = [
            asyncio.create_task(sending.sent._wait()),
            asyncio.create_task(sending.read._wait()),
            asyncio.create_task(anext(aiter(alice))),  # type: ignore[arg-type]
        ]
        await asyncio.sleep(0.01)
        server.sessions[0].goodbye(code, "because")
        for each in waiting:
            with pytest.raises(error):
                await each
        with pytest.raises(error):
            await alice.send("bob", "hi")
        with pytest.raises(SessionEndedError):
            aiter(alice)
        assert isinstance(events[-1], Closed)
        assert isinstance(events[-1].error, error)
        assert len(server.sessions) == 1


async def test_hints() -> None:
    events: list[object] = []
    async with talking(polite, on_event=events.append) as (_, server):
        for kind in range(0, 100):
            hint = WireHint(kind=kind, user_id="bob")  # type: ignore[arg-type]
            server.sessions[0].wire.hint(hint.SerializeToString())
        server.sessions[0].flush()
        await until(lambda: Hint(HintKind.PROFILE_CHANGED, "bob") in events)
    # Of others we know nothing.
    assert [event.kind for event in events if isinstance(event, Hint)] == list(HintKind)


async def test_a_message_that_cannot_be_read_holds_nobody_up() -> None:
    events: list[object] = []
    async with talking(polite, on_event=events.append) as (alice, server):
        wire = server.sessions[0].wire
        for broken in (True, False):
            good = Message(stream=9, id=1, settled=1, from_id="bob", from_device="b1", kind=1, body=b"hi")
            wire.message(b"\x08" if broken else good.SerializeToString())
        server.sessions[0].flush()
        assert (await anext(aiter(alice))).text == "hi"
        await until(lambda: wire.acked == 2)
    assert events.count(Unreadable()) == 1
    assert len(server.sessions) == 1


@pytest.mark.parametrize("code", [Goodbye.MOVE, Goodbye.TRY_AGAIN, Goodbye.TIMED_OUT, Goodbye.MALFORMED, 99])
async def test_goodbyes_after_which_it_comes_back(code: Any) -> None:
    events: list[object] = []
    async with talking(silent, on_event=events.append) as (alice, server):
        sending = await alice.send("bob", "hi")
        await until(lambda: server.sessions[0].messages())
        server.on_event = polite
        server.sessions[0].goodbye(code)
        async with asyncio.timeout(5):
            await sending.sent
        assert len(server.sessions) == 2
        assert server.sessions[1].messages() == server.sessions[0].messages()
        assert [type(event) for event in events] == [Connected, Disconnected, Connected, SendingChanged]


async def test_retry_after_is_obeyed() -> None:
    times = []

    def script(session: FakeSession, event: Any) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            session.goodbye(Goodbye.TRY_AGAIN, "not now", 400)
        else:
            polite(session, event)

    async with talking(script):
        assert 0.4 <= times[1] - times[0] < 1.5


async def test_connectors_are_tried_in_turn() -> None:
    events: list[object] = []
    async with FakeServer(polite) as first, FakeServer(polite) as second:
        addresses = [f"127.0.0.1:{free_port()}", first.address, second.address]
        async with Client("alice", token="x", connectors=addresses, on_event=events.append, options=options()) as alice:
            for _ in range(3):
                for session in first.sessions + second.sessions:
                    session.transport.abort()
                await until(lambda: not alice.connected)
                second.previous = first.previous = max(first.previous, second.previous)
                await until(lambda: alice.connected)
        assert first.sessions
        assert second.sessions
        assert any("cannot reach" in event.reason for event in events if isinstance(event, Disconnected))


async def test_a_server_that_does_not_answer_the_login() -> None:
    def script(session: FakeSession, event: Any) -> None:
        if len(session.server.sessions) > 1:
            polite(session, event)

    async with talking(script) as (_, server):
        assert len(server.sessions) == 2
    with pytest.raises(UnreachableError, match="does not answer"):
        async with talking(lambda *_: None, options=options(open_timeout_s=0.8)):
            pytest.fail("it has entered")


async def test_a_server_that_falls_silent() -> None:
    events: list[object] = []

    def script(session: FakeSession, event: Any) -> None:
        if isinstance(event, Login):
            session.welcome(heartbeat_ms=300)
        elif len(session.server.sessions) > 1:
            polite(session, event)

    async with talking(script, on_event=events.append) as (_, server):
        await until(lambda: len(server.sessions) == 2)
        assert any("does not answer" in event.reason for event in events if isinstance(event, Disconnected))


async def test_a_server_that_breaks_the_protocol(caplog: pytest.LogCaptureFixture) -> None:
    async with talking() as (alice, server):
        server.sessions[0].transport.write(b"\x05nonsense" * 10)
        await until(lambda: len(server.sessions) == 2 and alice.connected)
        assert "broke the protocol" in caplog.text


async def test_a_token_of_somebody_else() -> None:
    for wrong in ({"user_id": "mallory"}, {"device_id": "a2"}):

        def script(session: FakeSession, event: Any, wrong: dict[str, str] = wrong) -> None:
            if isinstance(event, Login):
                session.welcome(**wrong)

        async with FakeServer(script) as server:
            client = Client("alice", **server.arguments(device="a1", options=options(), background=True))
            await client.open()
            sending = await client.send("bob", "secret")
            with pytest.raises(MisuseError, match="the token is"):
                async with asyncio.timeout(5):
                    await sending.sent
            await client.aclose()
            assert server.sessions[0].messages() == []


async def test_what_the_server_takes_is_remembered() -> None:
    def script(session: FakeSession, event: Any) -> None:
        if isinstance(event, Login):
            session.welcome(max_message_bytes=1000)
        else:
            polite(session, event)

    async with talking(script) as (alice, _):
        with pytest.raises(RefusedError, match="the server takes 949"):
            await alice.send("bob", b"x" * 950)
        await (await alice.send("bob", b"x" * 949)).sent


async def test_an_interface_that_fails() -> None:
    loop = asyncio.get_running_loop()
    problems: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: problems.append(context))

    def fail(_: object) -> None:
        raise ZeroDivisionError

    async with talking(on_event=fail) as (alice, _):
        async with asyncio.timeout(5):
            await (await alice.send("bob", "hi")).sent
    assert {type(problem["exception"]) for problem in problems} == {ZeroDivisionError}


async def test_a_state_file_that_cannot_be_written(tmp_path: Path) -> None:
    async with talking(state=tmp_path / "state.db") as (alice, server):
        (session,) = server.sessions
        alice._journal._connection.execute("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]
        session.message(id=1, body=b"x" * 40_000)
        session.flush()
        with pytest.raises(StateError, match="the disk is full"):
            await anext(aiter(alice))
        with pytest.raises(StateError):
            await alice.send("bob", "hi")
        assert acked(session) == 0  # it will come again
    async with FakeServer(polite) as server:
        server.previous = 1
        async with Client("alice", **server.arguments(state=tmp_path / "state.db", options=options())) as alice:
            failing = asyncio.create_task(_fill(alice))
            with pytest.raises(StateError):
                await failing


async def _fill(alice: Client) -> None:
    alice._journal._connection.execute("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]
    while True:
        await alice.send("bob", "x" * 40_000)


async def test_a_message_without_state_is_waited_for_when_leaving(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with talking(silent) as (alice, _):
        sending = await alice.send("bob", "hi")
    with pytest.raises(ClosedError):
        await sending.sent
    assert "closed before 1 messages were safe" in caplog.text


async def test_a_client_that_is_cancelled_closes(tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def use(server: FakeServer) -> None:
        async with Client("alice", **server.arguments(state=tmp_path / "s.db", options=options())) as alice:
            entered.set()
            await anext(aiter(alice))

    async with FakeServer(polite) as server:
        task = asyncio.create_task(use(server))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.sessions[0].received[-1] == Logout()
        async with Client("alice", **server.arguments(state=tmp_path / "s.db", options=options())):
            pass


async def test_drafts_are_numbered_at_the_login() -> None:
    async with FakeServer(polite) as server:
        events: list[object] = []
        arguments = server.arguments(background=True, options=options(), on_event=events.append)
        async with Client("alice", **arguments) as alice:
            sendings = [await alice.send("bob", str(number)) for number in range(5)]
            assert {sending.id for sending in sendings} == {0}
            async with asyncio.timeout(5):
                for sending in sendings:
                    await sending.sent
            assert [sending.id for sending in sendings] == [1, 2, 3, 4, 5]
            assert isinstance(events[0], Connected)


# The parts.


async def test_a_gate_that_begins_too_full() -> None:
    gate = Gate(2, 4)
    entering = [asyncio.create_task(gate.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    for _ in range(2):
        gate.leave()
    await asyncio.sleep(0)
    assert not any(each.done() for each in entering)
    gate.leave()
    entering[0].cancel()  # in the same turn in which it is let in
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [each.done() for each in entering] == [True, True, False]
    gate.close(ClosedError("closed"))
    with pytest.raises(ClosedError):
        await entering[2]
    with pytest.raises(ClosedError):
        await gate.enter()


async def answering(reply: bytes) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"}")
            writer.write(reply)
            writer.close()
            await writer.wait_closed()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


def reply(status: str, body: object) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
        status.encode(),
        len(content),
        content,
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply("200 OK", b"<html>welcome</html>"), ApiError),
        (reply("200 OK", {"access_token": "x", "refresh_token": "r"}), ApiError),
        (
            reply(
                "200 OK", {"access_token": "x", "refresh_token": "r", "user": "alice", "device": "a1", "connectors": []}
            ),
            ApiError,
        ),
        (
            reply(
                "200 OK",
                {"access_token": "x", "refresh_token": "r", "user": "alice", "device": "a1", "connectors": [7]},
            ),
            ApiError,
        ),
        (reply("404 Not Found", b"nothing here"), ApiError),
        (reply("503 Service Unavailable", b""), UnavailableError),
        (reply("429 Too Many Requests", {"code": "slow", "detail": "slow down"}), UnavailableError),
        (reply("404 Not Found", {"code": "no_such_device", "detail": "gone"}), DeviceRemovedError),
        (reply("400 Bad Request", {"code": "strange", "detail": "that is strange"}), MisuseError),
        (b"rubbish\r\n\r\n", UnreachableError),
        (b"", UnreachableError),
    ],
)
async def test_answers_of_the_user_api(answer: bytes, error: type[Exception]) -> None:
    server = await answering(answer)
    async with server:
        api = UserApi(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(error):
            await api.login("alice", "password", label="test")


async def test_a_user_api_that_hangs() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        api = UserApi(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(UnreachableError, match="does not answer"):
            await api.register("alice", "password")
        await asyncio.sleep(0.05)


async def test_an_expired_token_is_renewed_with_the_password() -> None:
    """And once only: a fresh token that is refused is the end."""
    tokens = []

    def script(session: FakeSession, event: Any) -> None:
        if isinstance(event, Login):
            tokens.append(event.token)
            if event.token == "old" or len(tokens) > 3:
                session.goodbye(Goodbye.BAD_TOKEN, "expired")
                return
        polite(session, event)

    async with FakeServer(script) as server:
        answer = {
            "access_token": "new",
            "refresh_token": "r2",
            "user": "alice",
            "device": "a1",
            "connectors": [server.address],
        }
        api = await answering(reply("200 OK", answer))
        async with api:
            url = f"http://127.0.0.1:{api.sockets[0].getsockname()[1]}"
            arguments = server.arguments(password="x", api=url, options=options()) | {"token": "old"}
            async with Client("alice", **arguments):
                assert tokens == ["old", "new"]
            tokens[:] = [""] * 3
            with pytest.raises(TokenRejectedError, match="do not belong together"):
                async with Client("alice", **arguments):
                    pytest.fail("it has entered")


async def test_connectors_that_have_moved() -> None:
    """After failing for a while, the user API is asked where they are."""
    async with FakeServer(polite) as server:
        answer = {
            "access_token": "new",
            "refresh_token": "r2",
            "user": "alice",
            "device": "a1",
            "connectors": [server.address],
        }
        api = await answering(reply("200 OK", answer))
        async with api:
            url = f"http://127.0.0.1:{api.sockets[0].getsockname()[1]}"
            client = Client("alice", password="x", api=url, options=options())
            await client.open()
            moved = client._engine.credentials  # type: ignore[union-attr]
            moved._connectors = (f"127.0.0.1:{free_port()}",)
            server.sessions[0].transport.abort()
            await until(lambda: len(server.sessions) == 2 and client.connected)
            await client.aclose()
