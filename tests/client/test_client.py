"""The client library against a real node: what an application sees, over crashes of both sides."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from client import (
    AlreadyExistsError,
    Client,
    Closed,
    ClosedError,
    ConfigError,
    Connected,
    Disconnected,
    InvalidIdError,
    Message,
    MessageTooLargeError,
    MisuseError,
    NoSuchUserError,
    Options,
    OwnMessage,
    Progress,
    ReadElsewhere,
    ReplacedError,
    Sending,
    SendingChanged,
    State,
    TokenRejectedError,
    UnreachableError,
    WrongPasswordError,
    register,
)
from tests.ports import free_port
from tests.sparrow.people import Events
from tests.sparrow.serving import PASSWORD, Node

QUICK = Options(close_timeout_s=2.0)
HASTY = Options(open_timeout_s=0.5)


@pytest.fixture
def users(node: Node, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Registers a user of this test's own."""
    made = 0

    def make(name: str) -> str:
        nonlocal made
        made += 1
        user = f"{name}-{abs(hash(request.node.name)) % 10**6}-{made}"
        node.register(user)
        return user

    return make


def client(node: Node, user: str, **more: object) -> Client:
    return Client(user, password=PASSWORD, api=node.api, **more)  # type: ignore[arg-type]


async def take(messages: AsyncIterator[Message], count: int) -> list[str]:
    """The next texts; taken."""
    found = []
    async with asyncio.timeout(20):
        for _ in range(count):
            message = await anext(messages)
            message.taken()
            found.append(message.text)
    return found


# What it is for.


async def test_a_conversation(node: Node, users: Callable[[str], str]) -> None:
    a, b = users("alice"), users("bob")
    async with client(node, a) as alice, client(node, b) as bob:
        assert alice.connected
        assert alice.device
        sending = await alice.send(b, "hello, wörld")
        async with asyncio.timeout(10):
            assert await sending.sent is sending
            await sending.delivered
            async for message in bob:
                assert (message.sender, message.dest, message.text) == (a, b, "hello, wörld")
                assert (message.body, message.kind, message.late) == ("hello, wörld".encode(), 1, False)
                assert abs(message.at.timestamp() - time.time()) < 5
                assert message.name == (a, alice.device, sending.stream, sending.id)
                await message.mark_read()
                await message.mark_read()
                break
            await sending.read
            await sending.sent  # once more, at once
        assert sending.sent.reached
        assert sending.read.reached
        assert (sending.state, sending.error) == (State.READ, None)
        assert sending.stamp == message.wire.stamp
        assert alice.unsettled == []
        assert "hello" in repr(sending)
        assert "hello" in repr(message)


async def test_many_both_ways_in_order(node: Node, users: Callable[[str], str]) -> None:
    a, b = users("alice"), users("bob")
    async with client(node, a) as alice, client(node, b) as bob:

        async def talk(me: Client, other: str) -> list[str]:
            for number in range(1500):
                await me.send(other, str(number))
            return await take(aiter(me), 1500)

        assert [*await asyncio.gather(talk(alice, b), talk(bob, a))] == [[str(n) for n in range(1500)]] * 2


async def test_bytes_and_kinds(node: Node, users: Callable[[str], str]) -> None:
    a, b = users("alice"), users("bob")
    async with client(node, a) as alice, client(node, b) as bob:
        await alice.send(b, b"\x00\xff", kind=1234)
        await alice.send(b, bytearray(b"x" * 60_000))
        messages = aiter(bob)
        message = await anext(messages)
        assert (message.kind, message.body, message.text) == (1234, b"\x00\xff", "\x00\ufffd")
        assert len((await anext(messages)).body) == 60_000


async def test_of_kinds_that_may_be_unseen_friends_alone_are_told_delivered(
    node: Node, users: Callable[[str], str]
) -> None:
    a, b = users("alice"), users("bob")
    async with client(node, a) as alice, client(node, b) as bob:
        messages = aiter(bob)
        unseen = await alice.send(b, b"", kind=1234)
        await anext(messages)
        text = await alice.send(b, "hello")
        await text.delivered
        assert unseen.state == State.SENT
        await alice.contacts.ask(b)
        await bob.contacts.accept(a)
        await (await alice.send(b, b"", kind=1234)).delivered


async def test_wrong_arguments(node: Node, users: Callable[[str], str]) -> None:
    a = users("alice")
    async with client(node, a) as alice:
        with pytest.raises(InvalidIdError):
            await alice.send("No Such Name", "hi")
        with pytest.raises(MessageTooLargeError, match="the server takes 6"):
            await alice.send("bob", b"x" * 70_000)
        for body in (None, 7, ["hi"]):
            with pytest.raises(MisuseError, match="text or bytes"):
                await alice.send("bob", body)  # type: ignore[arg-type]
        with pytest.raises(MisuseError, match="surrogate"):
            await alice.send("bob", "\ud800")
        for kind in (0, 3, -1, 1 << 40):
            with pytest.raises(MisuseError, match="kind"):
                await alice.send("bob", "hi", kind=kind)
        with pytest.raises(MisuseError, match="opened once"):
            await alice.open()
        assert alice.unsettled == []
    with pytest.raises(ClosedError):
        await alice.send("bob", "hi")
    with pytest.raises(ClosedError):
        await Client("alice", password="x").send("bob", "hi")
    for wrong in (
        {"user": "Alice"},
        {"api": "127.0.0.1:7480"},
        {"api": "http://[::1"},
        {"connectors": "127.0.0.1:7400"},
        {"history": 10},
    ):
        with pytest.raises(MisuseError):
            Client(**{"user": "alice", "password": "x", **wrong})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="password or a token"):
        await Client("alice").open()
    with pytest.raises(ConfigError, match="give connectors"):
        await Client("alice", token="x").open()


async def test_no_such_user_and_failures_are_typed(node: Node, users: Callable[[str], str]) -> None:
    events = Events()
    async with client(node, users("alice"), on_event=events.append) as alice:
        sending = await alice.send("nobody", "hi")
        for milestone in (sending.sent, sending.delivered, sending.read, sending.sent):
            with pytest.raises(NoSuchUserError, match="no such user"):
                async with asyncio.timeout(10):
                    await milestone
        assert sending.state == State.FAILED
        assert events[-1] == SendingChanged(sending)
        open_one = await alice.send("nobody.else", "hi")
        waiting = asyncio.create_task(open_one.delivered._wait())
        await asyncio.sleep(0)
    with pytest.raises((NoSuchUserError, ClosedError)):
        await waiting
    with pytest.raises((NoSuchUserError, ClosedError)):
        await open_one.read


async def test_a_timeout_leaves_the_milestone_usable(node: Node, users: Callable[[str], str]) -> None:
    a, b = users("alice"), users("bob")
    async with client(node, a) as alice:
        sending = await alice.send(b, "are you there?")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await sending.delivered
        waiting = [asyncio.create_task(sending.delivered._wait()) for _ in range(3)]
        async with client(node, b) as bob, asyncio.timeout(10):
            assert await take(aiter(bob), 1) == ["are you there?"]
            assert await asyncio.gather(*waiting) == [sending] * 3


async def test_logging_in(node: Node, users: Callable[[str], str]) -> None:
    with pytest.raises(WrongPasswordError):
        await Client("carol-1", password="wrong horse", api=node.api).open()
    await register("carol-1", PASSWORD, api=node.api)
    await register("carol-1", PASSWORD, api=node.api)  # a repeat
    with pytest.raises(AlreadyExistsError):
        await register("carol-1", "another horse", api=node.api)
    with pytest.raises(MisuseError, match="too short"):
        await register("carol-2", "x", api=node.api)
    with pytest.raises(InvalidIdError):
        await register("Carol", PASSWORD, api=node.api)
    with pytest.raises(WrongPasswordError):
        await Client("carol-1", password="wrong horse", register=True, api=node.api).open()
    async with client(node, "carol-2", register=True) as carol:
        assert carol.connected
    with pytest.raises(UnreachableError, match="nothing answers there"):
        await Client("carol-1", password="x", api=f"http://127.0.0.1:{free_port()}", options=HASTY).open()


async def test_leaving_sends_what_can_be_sent(node: Node, users: Callable[[str], str]) -> None:
    a, b = users("alice"), users("bob")
    async with client(node, a) as alice:
        sending = await alice.send(b, "bye")
    assert sending.state == State.SENT
    async with client(node, b) as bob:
        assert await take(aiter(bob), 1) == ["bye"]


async def test_the_loop_ends_when_the_client_is_closed(node: Node, users: Callable[[str], str]) -> None:
    alice = client(node, users("alice"))
    await alice.open()

    async def loop() -> int:
        return len([message async for message in alice])

    waiting = asyncio.create_task(loop())
    await asyncio.sleep(0.05)
    await alice.aclose()
    await alice.aclose()
    assert await waiting == 0
    assert not alice.connected


# Several devices.


async def test_another_device_of_mine(node: Node, users: Callable[[str], str]) -> None:
    a, b = users("alice"), users("bob")
    events = Events()
    async with client(node, a) as phone, client(node, a, on_event=events.append) as laptop, client(node, b) as bob:
        assert phone.device != laptop.device
        sending = await phone.send(b, "from my phone")
        own = await events.until(lambda event: isinstance(event, OwnMessage))
        assert isinstance(own, OwnMessage)
        assert (own.message.text, own.message.dest, own.message.sender) == ("from my phone", b, a)
        message = await anext(aiter(bob))
        await message.mark_read()
        async with asyncio.timeout(10):
            await sending.read
        name = (phone.device, sending.stream, (sending.id,))
        await events.until(lambda event: event == Progress("", *name, State.DELIVERED))
        await events.until(lambda event: event == Progress(b, *name, State.READ))


async def test_read_on_one_device_is_read_on_the_other(node: Node, users: Callable[[str], str]) -> None:
    a, b = users("alice"), users("bob")
    events = Events()
    async with client(node, a) as alice, client(node, b) as phone, client(node, b, on_event=events.append) as laptop:
        sending = await alice.send(b, "hi")
        message = await anext(aiter(phone))
        assert await take(aiter(laptop), 1) == ["hi"]
        await message.mark_read()
        expected = ReadElsewhere(a, alice.device, sending.stream, (sending.id,))
        await events.until(lambda event: event == expected)


async def test_to_myself(node: Node, users: Callable[[str], str]) -> None:
    a = users("alice")
    events = Events()
    async with client(node, a) as phone, client(node, a, on_event=events.append):
        sending = await phone.send(a, "note")
        async with asyncio.timeout(10):
            await sending.sent
        await events.until(lambda event: isinstance(event, OwnMessage) and event.message.text == "note")


@pytest.mark.parametrize(("again", "error"), [("token", ReplacedError), ("password", TokenRejectedError)])
async def test_the_same_device_twice(
    node: Node, users: Callable[[str], str], again: str, error: type[Exception]
) -> None:
    """A new login ends the one before, wherever that is in use."""
    a, b = users("alice"), users("bob")
    events = Events()
    async with client(node, a, on_event=events.append) as first:
        waiting = asyncio.create_task(take(aiter(first), 1))
        token = first._engine.credentials._token  # type: ignore[union-attr]
        with_token = (
            Client(a, token=token, connectors=first._engine.credentials._connectors) if again == "token" else None
        )
        async with with_token or client(node, a, device=first.device) as second:
            with pytest.raises(error):
                await waiting
            with pytest.raises(error):
                await first.send(b, "hi")
            closed = await events.until(lambda event: isinstance(event, Closed))
            assert isinstance(closed, Closed)
            assert isinstance(closed.error, error)
            sending = await second.send(b, "hi")
            async with asyncio.timeout(10):
                await sending.sent


# State.


async def test_state_over_a_restart(node: Node, users: Callable[[str], str], tmp_path: Path) -> None:
    a, b = users("alice"), users("bob")
    state = tmp_path / "alice.db"
    async with client(node, a, state=state, history=100) as alice:
        device = alice.device
        sending = await alice.send(b, "one")
        async with asyncio.timeout(10):
            await sending.sent
        assert [entry.state for entry in alice.history()] == [State.SENT]
    # Neither password nor address is needed any more.
    async with Client(a, state=state, history=100) as alice, client(node, b) as bob:
        assert alice.device == device
        again = await alice.send(b, "two")
        assert (again.stream, again.id) == (sending.stream, 2)
        assert await take(aiter(bob), 2) == ["one", "two"]
        async with asyncio.timeout(10):
            await again.delivered
        assert [(e.body, e.mine, e.peer) for e in alice.history()] == [(b"one", True, b), (b"two", True, b)]
    with pytest.raises(ConfigError, match=f"is {a}'s"):
        await client(node, b, state=state).open()
    with pytest.raises(ConfigError, match="is device"):
        await client(node, a, state=state, device="other").open()


async def test_two_clients_cannot_share_a_state(node: Node, users: Callable[[str], str], tmp_path: Path) -> None:
    a = users("alice")
    async with client(node, a, state=tmp_path / "state.db"):
        with pytest.raises(ConfigError, match="in use"):
            await client(node, a, state=tmp_path / "state.db").open()


async def test_what_was_not_taken_comes_again(node: Node, users: Callable[[str], str], tmp_path: Path) -> None:
    a, b = users("alice"), users("bob")
    async with client(node, a) as alice:
        for number in range(6):
            await alice.send(b, str(number))
    state = tmp_path / "bob.db"
    with pytest.raises(ZeroDivisionError):
        async with client(node, b, state=state) as bob:
            async for message in bob:
                if message.text == "2":
                    1 / 0  # noqa: B018
    with pytest.raises(ZeroDivisionError):
        async with client(node, b, state=state) as bob:
            messages = aiter(bob)
            assert (await anext(messages)).text == "2"
            await (await anext(messages)).mark_read()
            1 / 0  # noqa: B018
    async with client(node, b, state=state) as bob:
        async for message in bob:
            assert message.text == "4"
            break  # a clean end: it counts as taken
    async with client(node, b, state=state) as bob:
        assert await take(aiter(bob), 1) == ["5"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(aiter(bob))


async def test_working_while_the_server_is_away(tmp_path: Path) -> None:
    node = Node(tmp_path).start()
    node.register("alice", "bob")
    state = tmp_path / "alice.db"
    async with client(node, "alice", state=state):
        pass
    assert node.stop() == 0
    events = Events()
    began = time.monotonic()
    async with Client("alice", state=state, background=True, options=QUICK, on_event=events.append) as alice:
        first = await alice.send("bob", "one")
        assert (first.stream, first.state, alice.unsettled) == (0, State.QUEUED, [first])
        away = await events.until(lambda event: isinstance(event, Disconnected))
        assert isinstance(away, Disconnected)
        assert "cannot reach 127.0.0.1" in away.reason
    assert time.monotonic() - began < 3  # what is kept need not be waited for
    with pytest.raises(ClosedError):
        await first.sent
    async with Client("alice", state=state, background=True, on_event=events.append) as alice:
        (kept,) = alice.unsettled
        assert kept.text == "one"
        second = await alice.send("bob", "two")
        node.start()
        async with asyncio.timeout(20):
            await kept.sent
            await second.sent
        async with client(node, "bob") as bob:
            assert await take(aiter(bob), 2) == ["one", "two"]
            assert any(isinstance(event, Connected) for event in events)
    node.stop()


# Crashes.


async def test_kill_9_of_the_server_in_the_middle(tmp_path: Path) -> None:
    node = Node(tmp_path).start()
    node.register("alice", "bob")
    count = 600
    async with (
        client(node, "alice", state=tmp_path / "alice.db") as alice,
        client(node, "bob", state=tmp_path / "bob.db") as bob,
    ):
        sendings: list[Sending] = []

        async def send() -> None:
            sendings.extend([await alice.send("bob", str(number)) for number in range(count)])

        async def crash() -> None:
            for _ in range(3):
                await asyncio.sleep(0.4)
                await asyncio.to_thread(node.kill)
                await asyncio.to_thread(node.start)

        async def receive() -> list[str]:
            found = []
            async for message in bob:
                found.append(message.text)
                await message.mark_read()
                if len(found) == count:
                    break
            return found

        async with asyncio.timeout(90):
            _, _, received = await asyncio.gather(send(), crash(), receive())
            assert received == [str(number) for number in range(count)]
            for sending in sendings:
                await sending.sent
                await sending.delivered
                await sending.read
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):  # nothing twice
                await anext(aiter(bob))
    node.stop()


_TALKER = """
import asyncio, sys
from client import Client

async def main(user, api, state, peer, first, last):
    async with Client(user, password="correct horse", api=api, state=state) as me:
        async def listen():
            async for message in me:
                print("got", message.text, flush=True)
                await message.mark_read()
        task = asyncio.create_task(listen())
        for number in range(int(first), int(last)):
            await me.send(peer, str(number))
            print("kept", number, flush=True)
        while me.unsettled:
            await asyncio.sleep(0.05)
        print("done", flush=True)
        await task

asyncio.run(main(*sys.argv[1:]))
"""


async def test_kill_9_of_a_client_in_the_middle(node: Node, users: Callable[[str], str], tmp_path: Path) -> None:
    """What `send` has returned for is kept: it arrives, in order and once, whenever the process is killed."""
    a, b = users("alice"), users("bob")
    total, next_one = 300, 0
    async with client(node, b) as bob:
        receiving = asyncio.create_task(take(aiter(bob), total))
        for stop_at in (40, 110, 111, 200, total):
            command = [sys.executable, "-W", "error", "-c", _TALKER, a, node.api, str(tmp_path / "state.db"), b]
            with subprocess.Popen([*command, str(next_one), str(total)], stdout=subprocess.PIPE, text=True) as talker:
                assert talker.stdout is not None
                lines = []
                while line := await asyncio.to_thread(talker.stdout.readline):
                    lines.append(line.split())
                    if lines[-1] == ["done"] or lines[-1] == ["kept", str(stop_at)]:
                        break
                os.kill(talker.pid, signal.SIGKILL)
                lines += [line.split() for line in _whole_lines(talker.stdout)]
            kept = [int(line[1]) for line in lines if line[0] == "kept"]
            next_one = max(kept, default=next_one - 1) + 1
            # One more may have been kept without its line having come out.
            state = json.loads(subprocess.check_output([sys.executable, "-c", _COUNT, str(tmp_path / "state.db")]))
            next_one = max(next_one, state)
        received = [int(text) for text in await receiving]
    assert received == list(range(total))


def _whole_lines(output: IO[str]) -> Iterator[str]:
    """What a killed process printed; the kill may have cut its last line off."""
    return (line for line in output if line.endswith("\n"))


_COUNT = """
import sys
from client.journal import SqliteJournal
kept = SqliteJournal(sys.argv[1]).load()
numbers = [int(m.body) for s in kept.outbound for m in s.messages.values()] + [int(d.body) for d in kept.drafts]
print(max(numbers, default=-1) + 1)
"""


async def test_a_receiver_that_is_killed_gets_everything(
    node: Node, users: Callable[[str], str], tmp_path: Path
) -> None:
    a, b = users("alice"), users("bob")
    got: list[int] = []
    async with client(node, a) as alice:
        sending = asyncio.create_task(_send_numbers(alice, b, 400))
        for _ in range(3):
            command = [sys.executable, "-W", "error", "-c", _TALKER, b, node.api, str(tmp_path / "state.db"), a]
            with subprocess.Popen([*command, "0", "0"], stdout=subprocess.PIPE, text=True) as talker:
                assert talker.stdout is not None
                for _ in range(100):
                    if got[-1:] == [399]:
                        break  # a talker says more than is read before its kill, and the last may have nothing to say
                    line = (await asyncio.to_thread(talker.stdout.readline)).split()
                    if line[0] == "got":
                        got.append(int(line[1]))
                os.kill(talker.pid, signal.SIGKILL)
                got += [int(line.split()[1]) for line in _whole_lines(talker.stdout) if line.startswith("got")]
        await sending
        async with client(node, b, state=tmp_path / "state.db") as bob:
            async with asyncio.timeout(60):
                while got[-1] != 399:
                    got.append(int((await anext(aiter(bob))).text))
    # A message that was in the application's hands at the kill is told to it again; nothing else is.
    repeats = [number for number, after in itertools.pairwise(got) if number == after]
    assert len(repeats) <= 3
    assert sorted(got) == got
    assert set(got) == set(range(400))


async def _send_numbers(alice: Client, dest: str, count: int) -> None:
    for number in range(count):
        sending = await alice.send(dest, str(number))
        if number % 10 == 0:
            await sending.sent


async def test_a_state_restored_from_a_backup(node: Node, users: Callable[[str], str], tmp_path: Path) -> None:
    a, b = users("alice"), users("bob")
    state, backup = tmp_path / "state.db", tmp_path / "backup.db"
    async with client(node, a, state=state) as alice:
        first = await alice.send(b, "one")
    backup.write_bytes(state.read_bytes())
    async with client(node, a, state=state) as alice:
        await alice.send(b, "two")
    async with client(node, a, state=backup) as alice:
        third = await alice.send(b, "three")
        assert third.stream != first.stream
    async with client(node, b) as bob:
        assert sorted(await take(aiter(bob), 3)) == ["one", "three", "two"]
