"""WebSocket at the connector: the handshake and who may do it, what is bounded, how it ends."""

from __future__ import annotations

import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Origin
from websockets.uri import parse_uri

from connector.websocket import MAX_BEFORE_LOGIN_BYTES
from protocol.framing import FrameReader, delimit
from protocol.sparrow_pb2 import Frame as SparrowFrame
from protocol.sparrow_pb2 import Goodbye, Login, Ping
from tests.connector.running_connector import GUARD_S, RunningConnector, until
from tests.ports import free_port

PAGE = "https://chat.example.net"
PING = delimit(SparrowFrame(ping=Ping(n=7)).SerializeToString())
LOGIN = delimit(SparrowFrame(login=Login(token="none")).SerializeToString())


def started(folder: Path, **settings: object) -> RunningConnector:
    return RunningConnector(
        folder,
        websocket_listen_port=free_port(),
        plain_websocket_listen_port=free_port(),
        websocket_origins=(PAGE,),
        **settings,
    )


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningConnector]:
    with started(tmp_path) as made:
        yield made


class Page:
    """A client over WebSocket that does what no library would let it."""

    def __init__(self, running: RunningConnector, *, tls: bool = False, origin: str | None = PAGE) -> None:
        settings = running.settings
        port = settings.websocket_listen_port if tls else settings.plain_websocket_listen_port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=GUARD_S)
        if tls:
            context = ssl.create_default_context(cafile=str(running.ca.file))
            context.set_alpn_protocols(["h2", "http/1.1"])
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.protocol = ClientProtocol(
            parse_uri(f"ws://127.0.0.1:{port}/"), origin=None if origin is None else Origin(origin)
        )
        self.answer: Response | None = None
        self.frames: list[Frame] = []
        self.reader = FrameReader(1 << 20)
        self.heard: list[SparrowFrame] = []
        self.is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def open(self, **headers: str) -> Self:
        request = self.protocol.connect()
        request.headers.update(headers)
        self.protocol.send_request(request)
        self.send()
        self.until(lambda: self.answer is not None)
        return self

    def send(self) -> None:
        self.socket.sendall(b"".join(self.protocol.data_to_send()))

    def say(self, data: bytes) -> None:
        self.protocol.send_binary(data)
        self.send()

    def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert not self.is_over, "the connection is over"
            self.read()

    def read(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            self.is_over = True
            self.protocol.receive_eof()
        else:
            self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Response):
                self.answer = event
            else:
                assert isinstance(event, Frame)
                self.frames.append(event)
                if event.opcode in (Opcode.BINARY, Opcode.CONT):
                    self.heard += [SparrowFrame.FromString(one) for one in self.reader.receive(bytes(event.data))]

    def to_the_end(self) -> None:
        while not self.is_over:
            self.read()

    @property
    def goodbye(self) -> Goodbye:
        assert self.heard, "nothing was said"
        return self.heard[-1].goodbye


@pytest.mark.parametrize("tls", [False, True])
def test_a_page_is_heard(running: RunningConnector, tls: bool) -> None:
    with Page(running, tls=tls).open() as page:
        assert page.answer is not None
        assert page.answer.status_code == 101
        assert "Sec-WebSocket-Extensions" not in page.answer.headers
        if tls:
            assert isinstance(page.socket, ssl.SSLSocket)
            assert page.socket.selected_alpn_protocol() == "http/1.1"
        page.say(PING)
        page.until(lambda: page.heard)
        assert page.goodbye.code == Goodbye.NOT_LOGGED_IN
        page.to_the_end()
        assert page.frames[-1].opcode is Opcode.CLOSE
        assert page.protocol.close_code == 1000
    until(lambda: not running.server.core.connections)


def test_boundaries_mean_nothing(running: RunningConnector) -> None:
    with Page(running).open() as page:
        for byte in LOGIN[:-1]:
            page.say(bytes((byte,)))
        page.protocol.send_binary(LOGIN[-1:], fin=False)
        page.protocol.send_continuation(b"", fin=True)
        page.send()
        page.until(lambda: page.heard)
        assert page.goodbye.code == Goodbye.BAD_TOKEN


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (PAGE, 101),
        (None, 101),
        ("https://evil.example.net", 403),
        ("http://chat.example.net", 403),
        ("https://chat.example.net:8443", 403),
        ("https://chat.example.net.evil.net", 403),
        ("null", 403),
    ],
)
def test_origins(running: RunningConnector, origin: str | None, status: int) -> None:
    with Page(running, origin=origin).open() as page:
        assert page.answer is not None
        assert page.answer.status_code == status
    until(lambda: not running.server.core.connections)
    counts = running.server.websockets
    assert (counts.accepted, sum(counts.refused.values())) == ((1, 0) if status == 101 else (0, 1))


@pytest.mark.parametrize(
    "request_text",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x10half a frame of ours\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 500,
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nOrigin: https://chat.example.net\r\nOrigin: null\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ],
)
def test_what_is_no_handshake(running: RunningConnector, request_text: bytes) -> None:
    with socket.create_connection(
        ("127.0.0.1", running.settings.plain_websocket_listen_port), timeout=GUARD_S
    ) as stranger:
        stranger.sendall(request_text + b"\r\n")
        answer = b"".join(iter(lambda: stranger.recv(65536), b""))
        assert b" 101 " not in answer
        assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")) or not answer
        stranger.sendall(b"more of it")
    until(lambda: not running.server.core.connections)
    assert sum(running.server.websockets.refused.values()) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (Frame(Opcode.TEXT, b"hello").serialize(mask=True), 1000),
        (Frame(Opcode.BINARY, PING).serialize(mask=False), 1002),
        (b"\xc2\x81abcd\0", 1002),
        (b"\x80\x81abcd\0", 1002),
        (b"\x83\x80abcd", 1002),
        (b"\x82\xff\0\0\0\0\0\2\0\1abcd", 1009),
        (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd", 1009),
        (b"\x89\xfe\0\x7eabcd" + b"a" * 126, 1002),
        (Frame(Opcode.CLOSE, b"a").serialize(mask=True), 1002),
    ],
    ids=[
        "text",
        "not masked",
        "rsv",
        "continues nothing",
        "no opcode",
        "too long",
        "much too long",
        "long ping",
        "half a code",
    ],
)
def test_goodbye_comes_before_the_close(running: RunningConnector, said: bytes, code: int) -> None:
    with Page(running).open() as page:
        page.socket.sendall(said)
        page.to_the_end()
        assert page.goodbye.code == Goodbye.MALFORMED
        assert page.protocol.close_code == code
    until(lambda: not running.server.core.connections)


def test_what_comes_before_a_login_is_bounded(running: RunningConnector) -> None:
    with Page(running).open() as page:
        page.socket.sendall(b"\x82\xfe\xff\xffabcd" + b"\0" * MAX_BEFORE_LOGIN_BYTES)
        page.to_the_end()
        assert page.goodbye.code == Goodbye.MALFORMED
        assert "before a login" in page.goodbye.text


def test_each_frame_counts(tmp_path: Path) -> None:
    """One that brings nothing costs as much as one of ours, and is no sign of life."""
    with started(tmp_path, max_frames_per_second=10) as running, Page(running).open() as page:
        opened = running.server.clients[-1]
        session = next(iter(running.server.core.connections))
        pong = Frame(Opcode.PONG, b"").serialize(mask=True)
        before = session.heard, session.frames.left
        page.socket.sendall(pong * 30)
        until(lambda: session.frames.left <= before[1] - 25)
        assert session.heard == before[0]
        ping = Frame(Opcode.PING, b"a").serialize(mask=True)
        page.socket.sendall(ping * 500)
        until(lambda: opened._rests)  # it is read later
        assert session.heard == before[0]


def test_a_client_that_closes_is_answered(running: RunningConnector) -> None:
    with Page(running).open() as page:
        page.protocol.send_close(1001, "bye")
        page.send()
        page.to_the_end()
        assert page.protocol.close_code == 1001
        assert page.protocol.state is State.CLOSED
    until(lambda: not running.server.core.connections)


def test_a_stop_says_so_in_words_that_the_other_side_has(tmp_path: Path) -> None:
    """Goodbye to who has shaken hands, 503 to who has not."""

    async def stop() -> None:
        running.server.core.stop()

    with started(tmp_path) as running, Page(running).open() as page, Page(running) as waits:
        until(lambda: len(running.server.core.connections) == 2)
        running.run(stop())
        page.to_the_end()
        assert page.goodbye.code == Goodbye.MOVE
        waits.protocol.send_request(waits.protocol.connect())
        waits.to_the_end()
        assert waits.answer is not None
        assert waits.answer.status_code == 503


@pytest.mark.parametrize(
    ("trusted", "hops", "address"),
    [
        (("127.0.0.1",), "192.0.2.7", "192.0.2.7:0"),
        (("127.0.0.1",), "192.0.2.9, 192.0.2.7", "192.0.2.7:0"),
        (("127.0.0.1", "192.0.2.7"), "2001:db8::1, 192.0.2.7", "[2001:db8::1]:0"),
        (("127.0.0.1",), "nonsense", "127.0.0.1:"),
        ((), "192.0.2.7", "127.0.0.1:"),
    ],
)
def test_proxies_that_are_believed(tmp_path: Path, trusted: tuple[str, ...], hops: str, address: str) -> None:
    with (
        started(tmp_path, trusted_proxies=trusted) as running,
        Page(running).open(**{"X-Forwarded-For": hops}) as page,
    ):
        assert page.answer is not None
        assert running.address().startswith(address)


def test_a_proxy_header_comes_first(tmp_path: Path) -> None:
    with started(tmp_path, proxies=("127.0.0.1",)) as running, Page(running) as page:
        page.socket.sendall(b"PROXY TCP4 192.0.2.8 192.0.2.1 4711 443\r\n")
        page.open()
        assert running.address() == "192.0.2.8:4711"
        page.say(LOGIN)
        page.until(lambda: page.heard)
        assert page.goodbye.code == Goodbye.BAD_TOKEN


def test_what_is_cut_anywhere_is_understood(running: RunningConnector) -> None:
    for cut in itertools.chain(range(1, 12), (40, 41)):
        with Page(running).open() as page:
            page.protocol.send_binary(LOGIN)
            data = b"".join(page.protocol.data_to_send())
            page.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(data), cut):
                page.socket.sendall(data[at : at + cut])
            page.until(lambda page=page: page.heard)  # type: ignore[misc]
            assert page.goodbye.code == Goodbye.BAD_TOKEN


def test_metrics(running: RunningConnector) -> None:
    with Page(running).open(), Page(running, origin="null").open():
        pass

    async def told() -> dict[str, Any]:
        return {
            f"{sample.name}{sample.labels or ''}": sample.value
            for metric in running.server.metrics()
            for sample in metric.samples
        }

    values = running.run(told())
    assert values["sparrow_connector_websockets_total"] == 1
    assert values["sparrow_connector_websockets_refused_total{'status': '403'}"] == 1
