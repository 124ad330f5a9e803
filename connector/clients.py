"""Clients' sockets: what asyncio tells of them becomes the server's events.

Owns the bytes that a client has sent and that wait for their turn. Decides nothing, and knows frames as little as
messages.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Protocol, cast

from connector.buffers import WriteBuffers
from connector.core import ConnectorCore, Session
from connector.proxy import ProxyHeader, address_text, expected_header
from fabric.networks import Network, as_key, parse_address
from protocol.errors import ProxyHeaderError

TURN_BYTES = 16 * 1024
"""What one client may have handled in a turn; the rest waits for the next, so that everybody gets theirs."""
MAX_DROPPED_BYTES = 4 * 1024 * 1024
"""What a client may go on saying behind its Goodbye, before its connection is broken off."""

# Linux's struct tcp_info: eight small fields, the first of which is the state; then 32-bit ones.
_TCP_INFO = getattr(socket, "TCP_INFO", None)
_LAST_DATA_RECV = struct.Struct("@52xI")
_OPEN_STATES = frozenset((1, 3, 4, 5))
"""Established, SYN_RECV, FIN_WAIT1 and 2: those in which the peer has not closed its end."""


class ServerPort(Protocol):
    """What a client's connection needs of the `ConnectorServer` that has accepted it."""

    core: ConnectorCore
    buffers: WriteBuffers
    proxies: tuple[Network, ...]

    def opened(self, connection: ClientConnection) -> Session | None:
        """A client has connected; None: it is turned away."""

    def received(self, session: Session, data: bytes, frames: int = 0) -> float | None:
        """Bytes from a client; see `ConnectorCore.data`."""

    def has_more(self, connection: ClientConnection) -> None:
        """A client has sent more than one turn may handle."""

    def lost(self, connection: ClientConnection, session: Session) -> None:
        """A client's socket is closed."""

    def too_slow(self, session: Session) -> None:
        """A client does not read."""

    def breach(self, session: Session, text: str) -> None:
        """A client does not keep to the protocol that carries its bytes."""

    def close(self, handle: object) -> None:
        """Close a client's connection behind what was written."""


class ClientConnection(asyncio.Protocol):
    """One client's socket."""

    __slots__ = (
        "_choked",
        "_dropped",
        "_finished",
        "_given_address",
        "_held",
        "_more",
        "_paused",
        "_piled",
        "_rests",
        "_server",
        "_session",
        "_waiting",
        "piled",
        "transport",
    )

    def __init__(self, server: ServerPort) -> None:
        self._server = server
        self._waiting = b""
        self._held = self._more = self._rests = self._paused = self._choked = self._finished = False
        self._dropped = 0
        self._given_address = ""
        self._piled: list[bytes] = []
        self.piled = 0
        """Bytes that the socket has not taken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._session: Session | None = self._server.opened(self)

    def proxied(self, address: str) -> None:
        """A proxy has said that the client is at `address`; empty if it does not know."""
        self._given_address = address
        if address and self._session is not None:
            self._server.core.proxied(self._session, self.network)

    @property
    def address(self) -> str:
        """Where the client is, for the log."""
        if self._given_address:
            return self._given_address
        host, port, *_ = self.transport.get_extra_info("peername") or ("?", 0)
        return address_text(host, port)

    @property
    def network(self) -> str:
        """The address as those of one person are counted: without its port, and of IPv6 the network /64."""
        return as_key(parse_address(self.address))

    # From the client.

    def data_received(self, data: bytes) -> None:
        if self._session is None:
            return
        if self._finished:
            self._dropped += len(data)
            if self._dropped > MAX_DROPPED_BYTES:
                self.transport.abort()
            return
        if len(data) > TURN_BYTES or self._waiting or self._more:
            self._waiting += data
            self.transport.pause_reading()
            if not self._rests:
                self._server.has_more(self)
            return
        wait_s = self._take(self._session, data)
        if wait_s is not None:
            self._more = True
            self.transport.pause_reading()
            self._come_back(wait_s)

    def _take(self, session: Session, data: bytes) -> float | None:
        """Handle a turn's worth of what has come; see `ServerPort.received`."""
        return self._server.received(session, data)

    def next_turn(self) -> bool:
        """Handle a turn's worth of what waits; whether there is more."""
        if self._session is None or self.transport.is_closing():
            self._waiting = b""
            return False
        if self._held:
            return False
        data = b""
        if not self._more:
            data, self._waiting = self._waiting[:TURN_BYTES], self._waiting[TURN_BYTES:]
        wait_s = self._take(self._session, data)
        self._more = wait_s is not None
        if wait_s:
            self._come_back(wait_s)
            return False
        if self._more or self._waiting:
            return True
        if not self._held:
            self.transport.resume_reading()
        return False

    def _come_back(self, wait_s: float) -> None:
        """Handle nothing more of this client for so many seconds; 0: in its next turn."""
        if wait_s:
            self._rests = True
            asyncio.get_running_loop().call_later(wait_s, self._rested)
        else:
            self._server.has_more(self)

    def _rested(self) -> None:
        self._rests = False
        self._server.has_more(self)

    def hold(self, held: bool) -> None:
        """Read no more for now, or again."""
        self._held = held
        if self._session is None or self.transport.is_closing():
            return
        if held:
            self.transport.pause_reading()
        elif self._waiting or self._more:
            if not self._rests:
                self._server.has_more(self)
        else:
            self.transport.resume_reading()

    # To the client.

    def write(self, data: bytes) -> None:
        """Whole frames for the client; they pile up here while the socket does not take any."""
        if not self._paused or self._choked:
            self.transport.write(data)
            return
        self._piled.append(data)
        self.piled += len(data)
        self._server.buffers.grew(self, len(data))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        piled, self._piled = self._piled, []
        sent = 0
        for at, data in enumerate(piled):
            if self._paused:
                self._piled = piled[at:]
                break
            sent += len(data)
            self.transport.write(data)
        self._shrink(sent)

    def _shrink(self, size: int) -> None:
        if size:
            self.piled -= size
            self._server.buffers.shrank(self, size)

    def drop(self) -> None:
        """What has piled up will not be sent; the next words are the last."""
        self._choked = True
        self._piled.clear()
        self._shrink(self.piled)

    def finish(self) -> None:
        """Close behind what was written.

        Where one direction can be closed alone, what the client says meanwhile is read and dropped: to close over it
        would take the last words from the client, Goodbye among them.
        """
        piled, self._piled = self._piled, []
        for data in piled:
            self.transport.write(data)
        self._shrink(self.piled)
        self._waiting, self._more, self._held, self._finished = b"", False, False, True
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.transport.resume_reading()
        else:
            self.transport.close()

    def silent_s(self) -> float | None:
        """How long ago the client's last bytes reached this machine; None: it has closed its end, though bytes may
        stand before that in the socket. The kernel knows, also of the time in which this process stood still."""
        one = self.transport.get_extra_info("socket")
        if one is None or _TCP_INFO is None:
            return 0.0
        try:
            info = one.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _LAST_DATA_RECV.size)
        except OSError:
            return 0.0
        if len(info) < _LAST_DATA_RECV.size:
            return 0.0
        return float(_LAST_DATA_RECV.unpack(info)[0]) / 1000 if info[0] in _OPEN_STATES else None

    def eof_received(self) -> None:
        """The client has closed its end, and so the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        session, self._session = self._session, None
        self.drop()
        if session is not None:
            self._take(session, self._waiting)
            self._server.lost(self, session)

    def choked(self) -> None:
        """The client lets too much pile up."""
        self.drop()
        if self._session is not None:
            self._server.too_slow(self._session)


class TlsConnection(ClientConnection):
    """One client's socket, whose session begins before the handshake, so that handshakes are counted and timed."""

    __slots__ = ()

    def accepted(self, transport: asyncio.Transport) -> None:
        """A client has connected; there is no TLS yet."""
        super().connection_made(transport)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)


class ProxiedConnection(ClientConnection):
    """One client's socket where proxies come as well, whose connections begin with a header."""

    __slots__ = ("_header",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")  # None: it has gone already
        self._header = expected_header(peer[0], self._server.proxies) if peer else None

    def data_received(self, data: bytes) -> None:
        if self._header is not None:
            data = self._behind(self._header, data)
        if data:
            super().data_received(data)

    def _behind(self, header: ProxyHeader, data: bytes) -> bytes:
        try:
            rest = header.receive(data)
        except ProxyHeaderError as error:
            self._server.core.log.add(str(error))
            self.transport.abort()
            return b""
        if not header.wanted:
            self._header = None
            self.proxied(header.address)
        return rest
