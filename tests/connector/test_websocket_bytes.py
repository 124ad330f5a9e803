"""What goes through a WebSocket comes out as it was, however it is cut; and nothing that strangers send breaks it."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from connector.clients import ServerPort
from connector.core import Session
from connector.core.phases import GREETING, LIVE
from connector.settings import ConnectorSettings
from connector.websocket import WebSocketConnection, WebSockets


class Wire(asyncio.Transport):
    """A socket that takes everything."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.written = b""
        self.is_over = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_over = True

    def close(self) -> None:
        self.is_over = True

    def is_closing(self) -> bool:
        return self.is_over

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Server:
    """What a connection needs of one; it remembers what came."""

    def __init__(self) -> None:
        self.proxies = ()
        self.core = SimpleNamespace(log=SimpleNamespace(add=lambda text: None))
        self.buffers = None
        self.session = SimpleNamespace(phase=GREETING)
        self.data = b""
        self.frames = 0
        self.breaches: list[str] = []
        self.waiting: list[WebSocketConnection] = []

    def opened(self, connection: WebSocketConnection) -> Session:
        return cast(Session, self.session)

    def received(self, session: Session, data: bytes, frames: int = 0) -> float | None:
        self.data += data
        self.frames += frames
        return None

    def has_more(self, connection: WebSocketConnection) -> None:
        self.waiting.append(connection)

    def lost(self, connection: WebSocketConnection, session: Session) -> None:
        pass

    def too_slow(self, session: Session) -> None:
        raise AssertionError("nothing piles up")

    def breach(self, session: Session, text: str) -> None:
        self.breaches.append(text)

    def close(self, handle: object) -> None:
        cast(WebSocketConnection, handle).finish()


class Pair:
    """A connection, and what speaks to it."""

    def __init__(self) -> None:
        self.server = Server()
        self.wire = Wire()
        self.connection = WebSocketConnection(cast(ServerPort, self.server), WebSockets(ConnectorSettings()))
        self.connection.connection_made(self.wire)
        self.client = ClientProtocol(parse_uri("ws://a.example/"))

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)
        while self.server.waiting:
            again = self.server.waiting.pop()
            if again.next_turn():
                self.server.waiting.append(again)

    def handshake(self) -> bytes:
        self.client.send_request(self.client.connect())
        return b"".join(self.client.data_to_send())

    def opened(self) -> Pair:
        self.feed(self.handshake())
        self.client.receive_data(self.wire.written)
        (answer,) = self.client.events_received()
        assert isinstance(answer, Response)
        assert answer.status_code == 101
        self.server.session.phase = LIVE
        return self


PIECES = st.lists(
    st.tuples(st.binary(max_size=300), st.booleans(), st.sampled_from([b"", b"\x89", b"\x8a"])), max_size=8
)


def frames(pieces: list[tuple[bytes, bool, bytes]]) -> bytes:
    """Each piece a frame, the last one of its message or not, with a ping or pong behind it or none."""
    data, inside = b"", False
    for at, (piece, last, control) in enumerate(pieces):
        fin = last or at == len(pieces) - 1
        opcode = Opcode.CONT if inside else Opcode.BINARY
        data += Frame(opcode, piece, fin).serialize(mask=True)
        inside = not fin
        data += control and control + b"\x80abcd"
    return data


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


@given(PIECES, st.lists(st.integers(0, 5000), max_size=6))
def test_it_comes_out_as_it_was(pieces: list[tuple[bytes, bool, bytes]], cuts: list[int]) -> None:
    pair = Pair().opened()
    for chunk in chunks(frames(pieces), cuts):
        pair.feed(chunk)
    assert pair.server.data == b"".join(piece for piece, _, _ in pieces)
    assert pair.server.frames == len(pieces) + sum(1 for _, _, control in pieces if control)
    assert not pair.server.breaches
    assert not pair.wire.is_over


@given(st.lists(st.integers(0, 500), max_size=6), PIECES)
def test_a_handshake_cut_anywhere(cuts: list[int], pieces: list[tuple[bytes, bool, bytes]]) -> None:
    pair = Pair()
    for chunk in chunks(pair.handshake(), cuts):
        pair.feed(chunk)
    assert pair.wire.written.startswith(b"HTTP/1.1 101 ")
    assert not pair.server.data


@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans())
def test_nothing_that_strangers_send_breaks_it(said: list[bytes], behind_a_handshake: bool) -> None:
    pair = Pair().opened() if behind_a_handshake else Pair()
    for data in said:
        pair.feed(data)
    pair.connection.write(b"a frame of ours")
    pair.connection.finish()
    pair.connection.connection_lost(None)
    assert pair.wire.is_over
    if not behind_a_handshake:
        assert not pair.server.data
        assert b"a frame of ours" not in pair.wire.written


@given(st.binary(max_size=70_000))
def test_what_the_server_says_is_heard(data: bytes) -> None:
    pair = Pair().opened()
    pair.wire.written = b""
    pair.connection.write(data)
    pair.connection.finish()
    pair.client.receive_data(pair.wire.written)
    heard: list[Any] = pair.client.events_received()
    assert [frame.opcode for frame in heard] == [Opcode.BINARY, Opcode.CLOSE]
    assert heard[0].data == data
