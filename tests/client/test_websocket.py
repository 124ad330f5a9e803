"""The client over WebSocket: a real node, and servers that do not speak it, or not as they should."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from client import Client, Disconnected, Options, Timing
from client.connection import PATIENCE, Address, _preferred, parse_address
from client.websocket import MAX_WRITTEN_BYTES, WebSocketRefusedError, connect
from protocol.errors import ConfigError
from tests.certificates import Authority
from tests.ports import free_port
from tests.sparrow.serving import PASSWORD, Node

OPTIONS = Options(open_timeout_s=5.0, timing=Timing(last_retry_s=0.3))
GUARD_S = 30


@pytest.fixture(scope="module", params=["ws", "wss"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("websocket"), request.param)
    made.node.start()
    yield made
    assert made.node.stop() == 0, made.node.log
    assert "Traceback" not in made.node.log, made.node.log


class Place:
    """A node that names nothing but its WebSocket port."""

    def __init__(self, folder: Path, scheme: str) -> None:
        self.ca = Authority(folder)
        certificate, key = self.ca.issue()
        tls = {"connector__tls_certificate_file": certificate, "connector__tls_private_key_file": key}
        self.port = free_port()
        self.node = Node(
            folder,
            connector__websocket_listen_port=self.port,
            userapi__connectors=f"{scheme}://127.0.0.1:{self.port}/sparrow",
            **(tls if scheme == "wss" else {}),
        )

    def client(self, user: str, **more: Any) -> Client:
        arguments = {"password": PASSWORD, "register": True, "api": self.node.api, "ca": self.ca.file} | more
        return Client(user, options=OPTIONS, **arguments)


async def test_two_chat_and_come_back(place: Place) -> None:
    async with place.client("alice") as alice, place.client("bob") as bob:
        texts = ["hello", "x" * 60_000, *map(str, range(300))]
        sendings = [await alice.send("bob", text) for text in texts]
        shown = bob.__aiter__()
        for text in texts[:10]:
            assert (await asyncio.wait_for(anext(shown), GUARD_S)).text == text
        place.node.kill()
        place.node.start()
        for text in texts[10:]:
            assert (await asyncio.wait_for(anext(shown), GUARD_S)).text == text
        for sending in sendings:
            await asyncio.wait_for(sending.delivered, GUARD_S)


class Listening(asyncio.Protocol):
    """What comes in the end."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Scripted(asyncio.Protocol):
    """A WebSocket server that answers the handshake with `behind` in the same breath."""

    made: list[Scripted]

    def __init__(self, behind: bytes) -> None:
        self.behind = behind
        self.frames: list[Frame] = []
        self.websocket = ServerProtocol()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.websocket.receive_data(data)
        for event in self.websocket.events_received():
            if isinstance(event, Request):
                self.websocket.send_response(self.websocket.accept(event))
                self.transport.write(b"".join(self.websocket.data_to_send()) + self.behind)
            else:
                assert isinstance(event, Frame)
                self.frames.append(event)
        self.transport.writelines(self.websocket.data_to_send())


@asynccontextmanager
async def listening(behind: bytes) -> AsyncIterator[tuple[str, list[Scripted]]]:
    made: list[Scripted] = []

    def make() -> Scripted:
        made.append(Scripted(behind))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", made
        for each in made:
            each.transport.abort()


def binary(data: bytes, **more: Any) -> bytes:
    return Frame(Opcode.BINARY, data, **more).serialize(mask=False)


async def test_boundaries_mean_nothing() -> None:
    behind = binary(b"a", fin=False) + Frame(Opcode.CONT, b"b").serialize(mask=False) + binary(b"") + binary(b"c")
    async with listening(behind) as (uri, made):
        inner = Listening()
        await connect(uri, inner, None)
        assert inner.data == b"abc"
        inner.transport.write(b"x" * (2 * MAX_WRITTEN_BYTES + 1))
        async with asyncio.timeout(GUARD_S):
            while len(made[0].frames) < 3:
                await asyncio.sleep(0.01)
        assert [len(frame.data) for frame in made[0].frames] == [MAX_WRITTEN_BYTES, MAX_WRITTEN_BYTES, 1]
        inner.transport.close()
        await asyncio.wait_for(inner.lost, GUARD_S)
        assert made[0].frames[-1].opcode is Opcode.CLOSE


@pytest.mark.parametrize("behind", [b"\x83\0", b"\xc2\0", Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False)])
async def test_a_server_that_ends_it(behind: bytes) -> None:
    async with listening(binary(b"last words") + behind) as (uri, _):
        inner = Listening()
        await connect(uri, inner, None)
        await asyncio.wait_for(inner.lost, GUARD_S)
        assert inner.data == b"last words"
        inner.transport.write(b"nobody hears this")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "it answers 403 Forbidden"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "it answers 101"),
        (b"SSH-2.0-OpenSSH\r\n", "it does not speak WebSocket"),
        (b"", "it does not speak WebSocket"),
    ],
)
async def test_who_does_not_speak_it(answer: bytes, why: str) -> None:
    class Other(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(answer)
            self.transport.close()

    server = await asyncio.get_running_loop().create_server(Other, "127.0.0.1", 0)
    async with server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(WebSocketRefusedError, match=why):
            await asyncio.wait_for(connect(uri, Listening(), None), GUARD_S)
        events: list[object] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0), Client("a", token="x", connectors=[uri], on_event=events.append):
                pass
        assert any(why in event.reason for event in events if isinstance(event, Disconnected))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a.example:1", Address("a.example", 1, False)),
        ("[::1]:7400", Address("::1", 7400, False)),
        ("tls://a.example:7400", Address("a.example", 7400, True)),
        ("tls://[::1]:7400", Address("::1", 7400, True)),
        ("ws://a.example:81", Address("a.example", 81, False, "ws://a.example:81")),
        ("ws://a.example", Address("a.example", 80, False, "ws://a.example")),
        ("wss://[::1]/chat", Address("::1", 443, True, "wss://[::1]/chat")),
        ("wss://a.example:8443/a/b", Address("a.example", 8443, True, "wss://a.example:8443/a/b")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "a", "7400", ":7400", "a:", "a:0", "a:99999", "a:x", "tls://:1", "ssl://a:1", "http://a:1", "ws://", "ws://:1",
     "wss://a:b", "tls://a", "tls://a/b:1", "ws://u@a:1", "ws://a b", "a/b:1", "ws://a:1/ü"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="connector address"):
        parse_address(text)


def test_which_is_tried_first() -> None:
    addresses = ["ws://a:1", "a:2", "tls://a:3"]
    for failures in range(PATIENCE):
        assert _preferred(addresses, failures) == ["a:2", "tls://a:3"]
    assert _preferred(addresses, PATIENCE) == addresses
    for failures in itertools.islice(itertools.count(), 5):
        assert _preferred(["ws://a:1"], failures) == ["ws://a:1"]
