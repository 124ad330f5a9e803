"""TLS for clients: the certificate, and connections on their way through the handshake.

Owns the TLS context and its renewal. From its first byte on a connection counts as one that has not logged in, so
that the limits on those hold for handshakes as well; a session notices nothing of TLS.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

from connector.proxy import ProxyHeader, expected_header
from connector.settings import ConnectorSettings
from fabric.certificates import NamedFile, Reloaded
from fabric.facts import BY_STRANGERS
from fabric.networks import Network
from protocol.errors import ConfigError, ProxyHeaderError

log = logging.getLogger("sparrow.connector")

ALPN = "sparrow/1"
WEBSOCKET_ALPN = "http/1.1"
ACCEPT_AT_ONCE = 128
ACCEPT_AGAIN_S = 1.0
SHUTDOWN_TIMEOUT_S = 3.0
"""Seconds that a closing connection may take to answer TLS's goodbye."""


def make_context(settings: ConnectorSettings, alpn: str = ALPN) -> ssl.SSLContext:
    """TLS 1.2 or newer with the certificate of the settings, for the protocol `alpn`. Raises `ConfigError`."""
    certificate, key = settings.tls_certificate_file, settings.tls_private_key_file
    for name, path in (("tls_certificate_file", certificate), ("tls_private_key_file", key)):
        if not path:
            raise ConfigError(f"connector.{name} is empty: TLS needs a certificate and its key")
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"connector.{name}: cannot read {path} ({error.strerror})") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols([alpn])
    try:
        # An empty password: otherwise OpenSSL would ask at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        text = getattr(error, "reason", None) or str(error)
        raise ConfigError(
            f"connector.tls_certificate_file, tls_private_key_file: {certificate} and {key} are not a PEM certificate "
            f"and its key without a password ({text})"
        ) from error
    return context


class Certificate(Reloaded):
    """What new handshakes use."""

    def __init__(self, settings: ConnectorSettings) -> None:
        """Raises `ConfigError`."""
        self._settings = settings
        file = NamedFile("connector.tls_certificate_file", settings.tls_certificate_file)
        super().__init__(file, settings.tls_private_key_file, log)

    def _load(self) -> None:
        made, for_websockets = make_context(self._settings), make_context(self._settings, WEBSOCKET_ALPN)
        self.context = made
        """For clients' own protocol."""
        self.websocket_context = for_websockets


class _Pending(asyncio.Transport):
    """What a connection has for a transport until there is TLS: what is written is dropped, never sent in the clear."""

    def __init__(self, end: Callable[[], object], peername: tuple[object, ...]) -> None:
        super().__init__({"peername": peername})
        self._end = end
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`."""

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return 0

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return False

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._closing

    def close(self) -> None:
        """See `asyncio.BaseTransport`."""
        self._closing = True
        self._end()

    abort = close


class Upgraded(Protocol):
    """A client's connection, of which somebody has to know before there is TLS."""

    def accepted(self, transport: asyncio.Transport) -> None:
        """A client has connected, the handshake begins; `connection_made` comes at its end, and `connection_lost`
        in any case."""

    def proxied(self, address: str) -> None:
        """The proxy that the connection comes from says that the client is at `address`; empty if it does not know."""

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`; a second call does nothing."""


AnyUpgraded = TypeVar("AnyUpgraded", bound=Upgraded)


class TlsListener:
    """Accepts, and does handshakes.

    By hand, since neither `create_server(ssl=...)` nor `start_tls` will do: the first tells of a connection only when
    its handshake is over, and the second, under uvloop, comes too late for bytes that are already there.
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        settings: ConnectorSettings,
        proxies: Sequence[Network],
        make: Callable[[], AnyUpgraded],
        warn: Callable[[str], object],
    ) -> None:
        """`context` is asked at each handshake; `make` makes a client's connection; `warn` is told of what strangers do
        wrong."""
        self._context = context
        self._settings = settings
        self._proxies = proxies
        self._make = make
        self._warn = warn
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        self.sockets: list[socket.socket] = []

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises `OSError` if the address cannot be used."""
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
                listener = socket.create_server(
                    address,
                    family=family,
                    backlog=self._settings.listen_backlog,
                    reuse_port=self._settings.reuse_port,
                )
                self.sockets.append(listener)
                listener.setblocking(False)
                self._loop.add_reader(listener, self._accept, listener)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Accept no more. Handshakes that go on are their connections' business."""
        for timer in self._resting.values():
            timer.cancel()
        for listener in self.sockets:
            self._loop.remove_reader(listener)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                connection, peername = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors or memory left
                log.error("cannot accept connections (%s); trying again in %g s", error.strerror, ACCEPT_AGAIN_S)
                self._loop.remove_reader(listener)
                self._resting[listener] = self._loop.call_later(ACCEPT_AGAIN_S, self._accept_again, listener)
                return
            connection.setblocking(False)
            client = self._make()
            task = self._loop.create_task(self._handshake(connection, client, peername[0]))
            self._handshakes.add(task)
            task.add_done_callback(functools.partial(self._over, connection, client))
            client.accepted(_Pending(task.cancel, peername))

    def _accept_again(self, listener: socket.socket) -> None:
        del self._resting[listener]
        self._loop.add_reader(listener, self._accept, listener)

    async def _handshake(self, connection: socket.socket, client: AnyUpgraded, host: str) -> None:
        header = expected_header(host, self._proxies)
        if header is not None:
            await self._receive(header, connection)
            client.proxied(header.address)
        await self._loop.connect_accepted_socket(
            lambda: cast(asyncio.Protocol, client),
            connection,
            ssl=self._context(),
            ssl_handshake_timeout=self._settings.login_timeout_s,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        )

    async def _receive(self, header: ProxyHeader, connection: socket.socket) -> None:
        """Not a byte beyond it: the rest is TLS's. Raises `ProxyHeaderError`, and `OSError` if the peer has gone."""
        while header.wanted:
            data = await self._loop.sock_recv(connection, header.wanted)
            if not data:
                raise ConnectionAbortedError("the connection ends within the PROXY header")
            header.receive(data)

    def _over(self, connection: socket.socket, client: Upgraded, task: asyncio.Task[None]) -> None:
        # Not in the task, which may be cancelled before it has begun.
        self._handshakes.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            return
        if isinstance(error, ssl.SSLError):
            self._warn(f"a TLS handshake has failed: {error.reason or error}")
        elif isinstance(error, ProxyHeaderError):
            self._warn(str(error))
        elif error is not None and not isinstance(error, OSError):
            log.error("a TLS handshake has failed", exc_info=error, extra=BY_STRANGERS)
        connection.close()
        client.connection_lost(None)
