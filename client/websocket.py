"""WebSocket (RFC 6455) in place of a bare socket: the same bytes, in binary messages whose boundaries mean nothing.

Owns the handshake and what goes around the bytes; the protocol behind it notices nothing. Knows nothing of messages.
The WebSocket protocol itself is `websockets`, without I/O.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import cast

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

MAX_WRITTEN_BYTES = 64 * 1024
"""One message has no more: a server bounds what it takes in one (docs/protocol.md, "WebSocket")."""
MAX_READ_BYTES = 64 * 1024 * 1024
"""A server whose one message has more is none of ours."""

_log = logging.getLogger("sparrow.client.websocket")
_log.disabled = True  # whoever connects is told all that there is to say


class WebSocketRefusedError(ConnectionError):
    """Whoever listens there does not speak WebSocket, or not with us; the text says what it said."""


async def connect(uri: str, protocol: asyncio.Protocol, context: ssl.SSLContext | None) -> None:
    """Connect `protocol` to the connector at `uri`, which is `ws://…`, or `wss://…` with a TLS `context`.

    Raises `OSError`, of which `WebSocketRefusedError` is one, and `ssl.SSLError`.
    """
    parsed = parse_uri(uri)
    over = OverWebSocket(uri, protocol)
    await asyncio.get_running_loop().create_connection(lambda: over, parsed.host, parsed.port, ssl=context)
    await over.ready()


class OverWebSocket(asyncio.Protocol):
    """Between a socket and the `inner` protocol, whose connection begins with the end of the handshake."""

    def __init__(self, uri: str, inner: asyncio.Protocol) -> None:
        self._inner = inner
        self._websocket = ClientProtocol(parse_uri(uri), max_size=(None, MAX_READ_BYTES), logger=_log)
        self._transport: asyncio.Transport | None = None
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the inner protocol is connected; `OSError` if it will not be."""

    async def ready(self) -> None:
        """Return when the inner protocol is connected. Raises `OSError`, and then there is no connection."""
        try:
            await self.opened
        except BaseException:
            self.abort()
            raise

    # The socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._websocket.send_request(self._websocket.connect())
        self._send()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        websocket = self._websocket
        websocket.receive_data(data)
        pieces: list[bytes] = []
        for event in websocket.events_received():
            if isinstance(event, Response):
                self._answered(event)
            elif isinstance(event, Frame) and event.opcode in (Opcode.BINARY, Opcode.CONT):
                pieces.append(bytes(event.data))
        self._send()
        if pieces:
            self._inner.data_received(b"".join(pieces))
        if websocket.state is not State.OPEN:
            self._refused()
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        if self.opened.done() and not self.opened.exception():
            self._inner.connection_lost(exc)
        self._refused()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.resume_writing()

    def _answered(self, response: Response) -> None:
        if self._websocket.handshake_exc is None and not self.opened.done():
            assert self._transport is not None  # which has just brought the answer
            self._inner.connection_made(_Transport(self, self._transport))
            self.opened.set_result(None)
        else:
            self._refused(f"it answers {response.status_code} {response.reason_phrase}")

    def _refused(self, why: str = "it does not speak WebSocket") -> None:
        if not self.opened.done():
            self.opened.set_exception(WebSocketRefusedError(why))
            self.opened.exception()  # whoever has given up waiting need not hear of it

    def _send(self) -> None:
        data = b"".join(self._websocket.data_to_send())
        if data and self._transport is not None:
            self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # The inner protocol.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send these bytes."""
        if self._websocket.state is State.OPEN:
            for at in range(0, len(data), MAX_WRITTEN_BYTES):
                self._websocket.send_binary(data[at : at + MAX_WRITTEN_BYTES])
            self._send()

    def close(self) -> None:
        """Say so, and close behind what was written."""
        if self._websocket.state is State.OPEN:
            self._websocket.send_close(CloseCode.NORMAL_CLOSURE)
            self._send()
        self._close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class _Transport(asyncio.Transport):
    """What the inner protocol has for a socket."""

    def __init__(self, over: OverWebSocket, below: asyncio.Transport) -> None:
        super().__init__()
        self.get_extra_info = below.get_extra_info  # type: ignore[method-assign]
        self.is_closing = below.is_closing  # type: ignore[method-assign]
        self.pause_reading = below.pause_reading  # type: ignore[method-assign]
        self.resume_reading = below.resume_reading  # type: ignore[method-assign]
        self.write = over.write  # type: ignore[method-assign]
        self.close = over.close  # type: ignore[method-assign]
        self.abort = over.abort  # type: ignore[method-assign]
