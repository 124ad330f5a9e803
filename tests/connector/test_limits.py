"""Clients that misbehave, on real sockets: each is told and let go, everybody else goes on, memory stays bounded,
and the log says it in a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from load.clients import LoadClient, Sender
from load.measure import resident_kib
from load.spawn import Spawned
from load.talker import log_in
from load.world import World
from protocol.framing import FrameReader, delimit, message_frame
from protocol.sparrow_pb2 import TEXT, Frame, Goodbye, Login, Message, Ping
from userapi.keys import ensure_key_pair
from userapi.tokens import TokenMinter

GUARD_S = 30.0

SETTINGS = {
    "SPARROW_CONNECTOR__LOGIN_TIMEOUT_S": "2",
    "SPARROW_CONNECTOR__HEARTBEAT_S": "2",
    "SPARROW_CONNECTOR__MAX_BEFORE_LOGIN": "1000",
    "SPARROW_CONNECTOR__MAX_FRAMES_PER_SECOND": "0",
    "SPARROW_CONNECTOR__MAX_WRITE_BUFFER_BYTES": "1500000",
}


class Offender:
    """A raw socket."""

    def __init__(self, address: tuple[str, int], receive_buffer_bytes: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(GUARD_S)
        if receive_buffer_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.socket.connect(address)
        self._reader = FrameReader(1 << 20)

    def says(self, *frames: Frame) -> None:
        self.socket.sendall(b"".join(delimit(frame.SerializeToString()) for frame in frames))

    def logs_in(self, token: str) -> None:
        self.says(Frame(login=Login(token=token)))
        assert self.hears().HasField("logged_in")

    def hears(self) -> Frame:
        """The next frame; `EOFError` if there is none."""
        while True:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            frames = self._reader.receive(data)
            if frames:
                return Frame.FromString(frames[-1])

    def goodbye(self) -> Goodbye:
        """What it is told in the end, and then the connection is closed."""
        last = Frame()
        with self.socket, contextlib.suppress(EOFError, ConnectionResetError):
            while True:
                last = self.hears()
        return last.goodbye


class Node:
    """A spawned node with two people who only want to talk."""

    def __init__(self, servers: Spawned) -> None:
        self.servers = servers
        self.address = servers.connectors[0]

    async def start(self) -> None:
        alice, bob, self.token = await self.servers.tokens(["alice", "bob", "mallory"])
        self._world = World()
        self._sender = Sender(alice, "bob", 100, self._world)
        self._receiver = LoadClient(bob, "bob", 100, self._world)
        await log_in([self._sender, self._receiver], self.servers.addresses)

    async def stop(self) -> None:
        self._sender.close()
        self._receiver.close()
        await asyncio.sleep(0)

    async def others_go_on(self) -> None:
        """A few messages, all SENT and shown."""
        self._sender.send(10)
        self._sender.flush()
        self._sender.ping()
        self._receiver.ping()
        async with asyncio.timeout(GUARD_S):
            while self._sender.out.open or self._world.counts.received < self._sender.out.sent:
                await asyncio.sleep(0.01)
        seen = self._receiver.ins[self._sender.out.key].tally
        assert not seen.twice
        assert not seen.out_of_order

    async def while_it(self, misbehaves: Callable[[], object]) -> object:
        """Run the offender in a thread, and the others beside it."""
        offence = asyncio.create_task(asyncio.to_thread(misbehaves))
        while not offence.done():
            await self.others_go_on()
            await asyncio.sleep(0.05)
        await self.others_go_on()
        return offence.result()

    async def log_line(self, text: str) -> str:
        """The one line that says so, beside that of the session's end."""
        lines: list[str] = []
        async with asyncio.timeout(GUARD_S):
            while not lines:
                await asyncio.sleep(0.05)
                log = [line for line in self.servers.log().splitlines() if " sparrow.sessions: " not in line]
                lines = [line for line in log if text in line]
        assert len(lines) == 1, lines
        return lines[0]


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    for key, value in SETTINGS.items():
        monkeypatch.setenv(key, value)
    with Spawned("one") as servers:
        node = Node(servers)
        await node.start()
        yield node
        await node.stop()
        assert "Traceback" not in servers.log()


def text(number: int, dest: str = "mallory", settled: int = 1, body: bytes = b"x", **more: object) -> Frame:
    message = Message(stream=9, id=number, settled=settled, dest_id=dest, kind=TEXT, body=body, **more)  # type: ignore[arg-type]
    return Frame(message=message)


async def test_one_that_floods_beyond_its_window(node: Node) -> None:
    def floods() -> Goodbye:
        mallory = Offender(node.address)
        mallory.logs_in(node.token)
        mallory.says(*(text(number) for number in range(1, 400)))
        return mallory.goodbye()

    goodbye = await node.while_it(floods)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == Goodbye.WINDOW_EXCEEDED
    assert "mallory/load" in await node.log_line("too many unsettled")


async def test_one_that_never_reads(node: Node) -> None:
    before = resident_kib(node.servers.connector_pids())

    def never_reads() -> int:
        mallory = Offender(node.address)
        mallory.logs_in(node.token)
        ping = delimit(Frame(ping=Ping(n=2**63)).SerializeToString()) * 10_000
        sent = 0
        with mallory.socket, contextlib.suppress(ConnectionError):
            while sent < 64_000_000:
                mallory.socket.sendall(ping)
                sent += len(ping)
        return sent

    sent = await node.while_it(never_reads)
    assert isinstance(sent, int)
    assert sent < 64_000_000, "was never let go"
    assert resident_kib(node.servers.connector_pids()) - before < 20_000
    await node.log_line("mallory/load does not read")


async def test_one_that_reads_again_when_it_is_too_late_is_told_why(node: Node) -> None:
    def reads_late() -> Goodbye:
        mallory = Offender(node.address, receive_buffer_bytes=4096)
        mallory.logs_in(node.token)
        ping = delimit(Frame(ping=Ping(n=2**63)).SerializeToString()) * 5000
        until = time.monotonic() + GUARD_S
        while "does not read" not in node.servers.log() and time.monotonic() < until:
            mallory.socket.sendall(ping)
            time.sleep(0.02)
        return mallory.goodbye()

    goodbye = await node.while_it(reads_late)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == Goodbye.TOO_SLOW


async def test_one_that_sends_a_byte_a_second(node: Node) -> None:
    def dribbles() -> Goodbye:
        mallory = Offender(node.address)
        for byte in delimit(Frame(login=Login(token="t" * 50)).SerializeToString())[:4]:
            with contextlib.suppress(ConnectionError):
                mallory.socket.sendall(bytes((byte,)))
            if select.select([mallory.socket], [], [], 1.0)[0]:
                break
        return mallory.goodbye()

    goodbye = await node.while_it(dribbles)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == Goodbye.NOT_LOGGED_IN
    await node.log_line("no login came in time")


async def test_one_that_falls_silent(node: Node) -> None:
    def falls_silent() -> Goodbye:
        mallory = Offender(node.address)
        mallory.logs_in(node.token)
        return mallory.goodbye()

    goodbye = await node.while_it(falls_silent)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == Goodbye.TIMED_OUT
    await node.log_line("silent for two heartbeats")


async def test_one_that_sends_random_bytes(node: Node) -> None:
    def raves() -> list[Goodbye]:
        goodbyes = []
        for logged_in in (False, True):
            mallory = Offender(node.address)
            if logged_in:
                mallory.logs_in(node.token)
            with contextlib.suppress(ConnectionError):
                mallory.socket.sendall(b"\xff\xff\xff\xff\xff\xff" + os.urandom(50_000))
            goodbyes.append(mallory.goodbye())
        return goodbyes

    goodbyes = await node.while_it(raves)
    assert isinstance(goodbyes, list)
    # The reset that follows bytes nobody reads may overtake the Goodbye.
    assert {goodbye.code for goodbye in goodbyes} <= {Goodbye.MALFORMED, Goodbye.FRAME_TOO_LARGE, Goodbye.UNSPECIFIED}
    await node.log_line("breach by mallory/load")
    await node.log_line("breach by a stranger")


@pytest.mark.parametrize(
    ("logged_in", "data", "code"),
    [
        (True, b"\xff\xff\x7f", Goodbye.FRAME_TOO_LARGE),
        (True, delimit(b""), Goodbye.MALFORMED),
        (True, delimit(text(1, from_id="alice").SerializeToString()), Goodbye.MALFORMED),
        (False, message_frame(text(1).message.SerializeToString()), Goodbye.NOT_LOGGED_IN),
        (False, delimit(Frame(login=Login(token="forged")).SerializeToString()), Goodbye.BAD_TOKEN),
    ],
    ids=["too large", "empty", "forged from_id", "before login", "bad token"],
)
async def test_one_that_breaks_a_rule(node: Node, logged_in: bool, data: bytes, code: int) -> None:
    def breaks_it() -> Goodbye:
        mallory = Offender(node.address)
        if logged_in:
            mallory.logs_in(node.token)
        mallory.socket.sendall(data)
        return mallory.goodbye()

    goodbye = await node.while_it(breaks_it)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == code
    assert goodbye.text


@pytest.mark.parametrize("why", ["expired", "signed by somebody else"])
async def test_one_with_a_token_that_does_not_count(node: Node, tmp_path: Path, why: str) -> None:
    ensure_key_pair(tmp_path / "key.pem", tmp_path / "pub.pem")
    minter = node.servers.minter if why == "expired" else TokenMinter(tmp_path / "key.pem", lifetime_s=86400.0)
    token, _ = minter.mint("mallory", "load", time.time() - (8 * 86400.0 if why == "expired" else 0.0))

    def tries() -> Goodbye:
        mallory = Offender(node.address)
        mallory.says(Frame(login=Login(token=token)))
        return mallory.goodbye()

    goodbye = await node.while_it(tries)
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == Goodbye.BAD_TOKEN
    expected = "the token has expired" if why == "expired" else "the token is not valid"
    assert expected in await node.log_line("a login was refused")


async def test_one_that_takes_nothing_of_what_is_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARROW_CONNECTOR__HEARTBEAT_S", "2")
    with Spawned("cluster") as servers:
        alice, token = await servers.tokens(["alice", "mallory"])
        sender = Sender(alice, "mallory", 50_000)
        await log_in([sender], servers.addresses)
        mallory = Offender(servers.connectors[0], receive_buffer_bytes=4096)
        mallory.logs_in(token)
        pids = servers.connector_pids()[:1]
        before = resident_kib(pids)
        for _ in range(40):  # 32 MB in all, of which a connector may hold 1 MiB for one client
            sender.send(16)
            sender.flush()
            async with asyncio.timeout(GUARD_S):
                while sender.out.open:
                    await asyncio.sleep(0.002)
        assert sender.out.sent == 640
        assert sender.out.delivered == 0
        assert resident_kib(pids) - before < 16_000
        with mallory.socket:
            async with asyncio.timeout(GUARD_S):
                while "silent for two heartbeats" not in servers.log():
                    await asyncio.sleep(0.05)
                    sender.ping()
        sender.close()
        assert "Traceback" not in servers.log()


async def test_five_thousand_that_connect_and_say_nothing(node: Node) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = resident_kib(node.servers.connector_pids())

    def crowd() -> int:
        sockets = []
        for _ in range(5_000):
            with contextlib.suppress(OSError):
                sockets.append(socket.create_connection(node.address, timeout=GUARD_S))
        ended = 0
        for each in sockets:
            with contextlib.suppress(ConnectionError):
                while each.recv(4096):
                    pass
            each.close()
            ended += 1
        return ended

    try:
        assert await node.while_it(crowd) == 5_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resident_kib(node.servers.connector_pids()) - before < 100_000
    lines = [line for line in node.servers.log().splitlines() if "without a login" in line]
    assert 1 <= len(lines) < 200
