"""Clients over WebSocket (RFC 6455): the same bytes, in binary messages whose boundaries mean nothing.

Owns the handshake, who may do it (`Origin`), and what goes around the bytes. Frames and messages of docs/protocol.md
are the core's, which does not notice. The protocol itself is `websockets`, without I/O.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin

from connector.clients import ClientConnection, ProxiedConnection, ServerPort, TlsConnection
from connector.core import Session
from connector.core.phases import ENDED, GREETING
from connector.proxy import address_text
from connector.settings import ConnectorSettings
from fabric.networks import behind_proxies, parse_address, parse_networks

MAX_BEFORE_LOGIN_BYTES = 32 * 1024
"""What a client may send until it is logged in: the handshake, a Login, a ping or two."""
FRAMES_IN_ONE = 2
"""A WebSocket frame may have so many times `connector.max_frame_bytes`: it is in memory before it is handled."""

_STATUSES = (400, 403, 405, 426, 505)
"""What a handshake may be answered with."""
_METHOD = b"GET "
_END_OF_HEAD = b"\r\n\r\n"
_BAD_REQUEST = HTTPStatus.BAD_REQUEST, "This is a WebSocket server: it takes a WebSocket handshake, and nothing else.\n"
_NOT_NOW = HTTPStatus.SERVICE_UNAVAILABLE, "Not now: try again later.\n"

# What it would say of strangers goes to our log, which is bounded, in our words.
_silent = logging.getLogger("sparrow.websockets")
_silent.disabled = True


class WebSockets:
    """What all connections over WebSocket have in common: who may, and how many there were."""

    def __init__(self, settings: ConnectorSettings) -> None:
        """Raises `ConfigError` if `connector.trusted_proxies` cannot be read."""
        self._origins: Sequence[Origin | None] = (None, *map(Origin, settings.websocket_origins))
        self._max_frame_bytes = FRAMES_IN_ONE * settings.max_frame_bytes
        self.trusted_proxies = parse_networks("connector.trusted_proxies", settings.trusted_proxies)
        self.accepted = 0
        """Handshakes that have succeeded."""
        self.refused: Counter[int] = Counter(dict.fromkeys(_STATUSES, 0))
        """Those that have not, by the HTTP status of the answer."""

    def protocol(self) -> ServerProtocol:
        """The protocol of a new connection; nothing is compressed."""
        return ServerProtocol(origins=self._origins, max_size=(None, self._max_frame_bytes), logger=_silent)


class WebSocketConnection(ClientConnection):
    """One client's socket. Without slots, so that it can be mixed with the others."""

    def __init__(self, server: ServerPort, websockets: WebSockets) -> None:
        super().__init__(server)
        self._websockets = websockets
        self._websocket = websockets.protocol()
        self._before_login = 0
        self._greeting = b""
        """Of a handshake that is not complete. Behind it nothing may be read before it is answered."""
        self._is_over = False
        """The handshake was refused."""
        self._is_broken = False
        """The client does not speak WebSocket: what the protocol has to say to that waits behind our Goodbye."""

    # From the client.

    def _take(self, session: Session, data: bytes) -> float | None:
        if session.phase == ENDED or self._is_over:
            return None
        if not data:
            return self._server.received(session, b"")
        if session.phase == GREETING and self._is_too_much(session, data):
            return None
        websocket = self._websocket
        if websocket.state is State.CONNECTING:
            data = self._greet(data)
            if not data:
                return None
        websocket.receive_data(data)
        self._is_broken = websocket.parser_exc is not None
        payload, frames = self._events(session)
        wait_s = self._server.received(session, payload, frames) if frames else None
        if self._is_broken:
            self._server.breach(session, f"WebSocket: {websocket.parser_exc}")
        else:
            self._send()
        return wait_s

    def _is_too_much(self, session: Session, data: bytes) -> bool:
        self._before_login += len(data)
        if self._before_login <= MAX_BEFORE_LOGIN_BYTES:
            return False
        self._server.breach(session, f"more than {MAX_BEFORE_LOGIN_BYTES} bytes before a login")
        return True

    def _events(self, session: Session) -> tuple[bytes, int]:
        """The bytes that the data held, and the number of frames that brought them."""
        pieces: list[bytes] = []
        events = self._websocket.events_received()
        for event in events:
            assert isinstance(event, Frame)
            if event.opcode is Opcode.BINARY or event.opcode is Opcode.CONT:
                pieces.append(bytes(event.data))
            elif event.opcode is Opcode.TEXT:
                self._server.breach(session, "WebSocket: a text message, where only binary ones are understood")
                break
            elif event.opcode is Opcode.CLOSE:
                self._send()
                self.transport.close()
                break
        return b"".join(pieces), len(events)

    def _greet(self, data: bytes) -> bytes:
        """The handshake; what is behind it is returned, if it has succeeded."""
        self._greeting += data
        if not self._greeting.startswith(_METHOD[: len(self._greeting)]):
            self._refused(int(HTTPStatus.BAD_REQUEST), "it is none")
            return b""
        head, end, rest = self._greeting.partition(_END_OF_HEAD)
        if not end:
            return b""
        self._greeting = b""
        self._websocket.receive_data(head + end)
        events = self._websocket.events_received()
        if events:
            self._answer(cast(Request, events[0]))
        else:
            self._refused(int(HTTPStatus.BAD_REQUEST))
        return rest if self._websocket.state is State.OPEN else b""

    def _answer(self, request: Request) -> None:
        websocket = self._websocket
        response = websocket.accept(request)
        websocket.send_response(response)
        if websocket.state is State.OPEN:
            self._websockets.accepted += 1
            self._send()
            self._forwarded(request)
        else:
            self._refused(response.status_code)

    def _refused(self, status: int, why: str = "") -> None:
        self._websockets.refused[status] += 1
        self._server.core.log.add(f"a WebSocket handshake was refused: {why or self._websocket.handshake_exc}")
        self._is_over = True
        if self._session is not None:
            self._server.close(self)

    def _forwarded(self, request: Request) -> None:
        hops = ",".join(request.headers.get_all("X-Forwarded-For"))
        if hops:
            peer = parse_address(self.address)
            client = behind_proxies(peer, hops, self._websockets.trusted_proxies)
            if client is not None and client != peer:
                self.proxied(address_text(str(client), 0))

    # To the client.

    def write(self, data: bytes) -> None:
        websocket = self._websocket
        if websocket.state is State.OPEN:
            websocket.send_binary(data)
            self._send()
        elif self._is_broken:
            super().write(Frame(Opcode.BINARY, data).serialize(mask=False))

    def _send(self) -> None:
        """What WebSocket has to say, also by itself: whole frames."""
        data = b"".join(self._websocket.data_to_send())
        if data and self._session is not None:
            super().write(data)

    def finish(self) -> None:
        websocket = self._websocket
        if websocket.state is State.CONNECTING and not websocket.eof_sent:
            websocket.send_response(websocket.reject(*(_BAD_REQUEST if self._is_over else _NOT_NOW)))
        elif websocket.state is State.OPEN:
            websocket.send_close(CloseCode.NORMAL_CLOSURE)
        self._send()
        super().finish()


class TlsWebSocketConnection(TlsConnection, WebSocketConnection):
    """The same over TLS."""


class ProxiedWebSocketConnection(ProxiedConnection, WebSocketConnection):
    """The same behind a PROXY header."""
