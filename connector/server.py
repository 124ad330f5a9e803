"""The connector's shell: client sockets, brokers' sockets, the clock and chance, around the core.

Owns everything that the core may not touch. Decides nothing about messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import zmq
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from connector.buffers import WriteBuffers
from connector.clients import ClientConnection, ProxiedConnection, TlsConnection
from connector.core import ConnectorCore, Session
from connector.dealer import Dealers
from connector.descriptors import most_connections
from connector.keys import Keys
from connector.metrics import metrics
from connector.settings import ConnectorSettings
from connector.tls import Certificate, TlsListener
from connector.websocket import (
    ProxiedWebSocketConnection,
    TlsWebSocketConnection,
    WebSocketConnection,
    WebSockets,
)
from fabric.abilities import DELIVER, LOG_IN, STORE, Abilities
from fabric.facts import BY_STRANGERS, tell
from fabric.networks import parse_networks
from fabric.pump import Pump
from fabric.tokens import Identity
from protocol.errors import ConfigError, RecordError
from protocol.ids import split_address
from protocol.server import Breach
from protocol.sparrow_pb2 import Goodbye

log = logging.getLogger("sparrow.connector")
sessions_log = logging.getLogger("sparrow.sessions")

TICK_S = 0.1
CLOSE_TIMEOUT_S = 3.0
"""Seconds that a closing connection may take to read its Goodbye."""


class ConnectorServer:
    """A connector in a running event loop. `start`, then `stop`. It is the core's `Ports`."""

    def __init__(
        self, settings: ConnectorSettings, context: zmq.Context[zmq.Socket[bytes]], pump: Pump | None = None
    ) -> None:
        """With a `pump`, the broker at its other end is the only one, and `settings.brokers` its name."""
        self._settings = settings
        self.buffers = WriteBuffers(settings.max_write_buffers_bytes, settings.max_write_buffer_bytes)
        self._loop = asyncio.get_running_loop()
        self.proxies = parse_networks("connector.proxies", settings.proxies)
        """Networks whose connections begin with a PROXY header."""
        self.core = ConnectorCore(self, settings)
        self.on_traces: Callable[[list[tuple[int, int, str]]], None] = lambda traces: None
        """Told what has happened to attempts that are traced: origin, attempt, and what."""
        self._keys = Keys(settings)
        self._dealers = Dealers(context, settings, self.core.incarnation, self._batch, self._linked, self._keys.links)
        self._pump = pump
        if pump is not None:
            pump.connector, pump.incarnation = self, self.core.incarnation
        self.certificate = Certificate(settings) if settings.tls_certificate_file else None
        """Whoever has a timer has it looked at."""
        self.websockets = WebSockets(settings)
        self._listeners: list[asyncio.Server | TlsListener] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._flush_due = False
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._busy: dict[ClientConnection, None] = {}
        self._closing: dict[ClientConnection, float] = {}

    async def start(self) -> None:
        """Connect to the brokers and listen. Raises `ConfigError` if the address cannot be used."""
        self.core.max_connections = most = most_connections()
        if most < self._settings.max_sessions:
            log.warning(
                "%s: this process may open files for %d connections, and connector.max_sessions is %d: "
                "raise LimitNOFILE, or lower that",
                self._settings.name,
                most,
                self._settings.max_sessions,
            )
        self._clock()
        for endpoint in self._settings.brokers:
            self.connect(endpoint)
        self._tick()
        settings, certificate = self._settings, self.certificate
        port, websocket_port = settings.listen_port, settings.websocket_listen_port
        if certificate is None:
            await self._listen_plain("listen_port", port, self._plain_client)
            if websocket_port:
                await self._listen_plain("websocket_listen_port", websocket_port, self._plain_websocket)
            return
        await self._listen_tls("listen_port", port, lambda: certificate.context, lambda: TlsConnection(self))
        if websocket_port:
            await self._listen_tls(
                "websocket_listen_port",
                websocket_port,
                lambda: certificate.websocket_context,
                lambda: TlsWebSocketConnection(self, self.websockets),
            )
        if settings.plain_listen_port:
            await self._listen_plain("plain_listen_port", settings.plain_listen_port, self._plain_client)
        if settings.plain_websocket_listen_port:
            await self._listen_plain(
                "plain_websocket_listen_port", settings.plain_websocket_listen_port, self._plain_websocket
            )

    def _plain_client(self) -> ClientConnection:
        return ProxiedConnection(self) if self.proxies else ClientConnection(self)

    def _plain_websocket(self) -> ClientConnection:
        kind = ProxiedWebSocketConnection if self.proxies else WebSocketConnection
        return kind(self, self.websockets)

    async def _listen_plain(self, key: str, port: int, make: Callable[[], ClientConnection]) -> None:
        settings = self._settings
        with self._listening(key, port):
            listener = await self._loop.create_server(
                make, settings.listen_host, port, backlog=settings.listen_backlog, reuse_port=settings.reuse_port
            )
        self._listens(key, listener, "")

    async def _listen_tls(
        self, key: str, port: int, context: Callable[[], ssl.SSLContext], make: Callable[[], TlsConnection]
    ) -> None:
        listener = TlsListener(context, self._settings, self.proxies, make, self.core.log.add)
        with self._listening(key, port):
            await listener.start(self._settings.listen_host, port)
        self._listens(key, listener, " with TLS")

    @contextlib.contextmanager
    def _listening(self, key: str, port: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self._settings.listen_host}:{port} ({error.strerror}); "
                f"set connector.listen_host and {key}"
            ) from error

    def _listens(self, key: str, listener: asyncio.Server | TlsListener, how: str) -> None:
        self._listeners.append(listener)
        port = int(listener.sockets[0].getsockname()[1])
        over = " for WebSocket" if "websocket" in key else ""
        log.info("%s listens on %s:%d%s%s", self._settings.name, self._settings.listen_host, port, over, how)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._listeners[0].sockets[0].getsockname()[1])

    def reload(self) -> None:
        """Read certificate and keys again; sessions, links and handshakes of before go on with the old ones."""
        if self.certificate is not None:
            self.certificate.reload()
        self._keys.reload()
        self._dealers.use(self._keys.links)

    async def ready(self) -> None:
        """Return when logins can be taken."""
        await self._ready.wait()

    async def stop(self) -> None:
        """Tell clients to move on, hand their copies to a broker, and close."""
        for listener in self._listeners:
            listener.close()
        self._clock()
        settings = self._settings
        limit_s = settings.stop_timeout_s + len(self.core.connections) / settings.drain_per_second
        self.core.stop()
        self._flush()
        self._idle.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._idle.wait()
        if self._ticker is not None:
            self._ticker.cancel()
        self._flush()
        for connection in list(self._closing):
            connection.transport.abort()
        self._dealers.close()
        log.info("%s has stopped", self._settings.name)

    def metrics(self) -> Iterator[Metric]:
        """All of them, as they are now (docs/metrics.md)."""
        yield from metrics(self.core)
        yield GaugeMetricFamily(
            "sparrow_connector_write_buffers_bytes",
            "What clients have not read, beyond their sockets.",
            self.buffers.bytes,
        )
        yield CounterMetricFamily(
            "sparrow_connector_websockets", "WebSocket handshakes that have succeeded.", self.websockets.accepted
        )
        refused = CounterMetricFamily(
            "sparrow_connector_websockets_refused",
            "WebSocket handshakes that were refused, by the HTTP status of the answer.",
            labels=("status",),
        )
        for status, count in sorted(self.websockets.refused.items()):
            refused.add_metric((str(status),), count)
        yield refused

    def abilities(self) -> Abilities:
        """What this connector is for, and why it cannot do it now."""
        if self.core.logins.stopping:
            return dict.fromkeys((LOG_IN, DELIVER, STORE), "stopping")
        links = self.core.links
        return {LOG_IN: links.no_logins, DELIVER: links.no_broker, STORE: links.no_storing}

    # Events.

    def opened(self, connection: ClientConnection) -> Session:
        """A client has connected."""
        self._clock()
        session = self.core.opened(connection, connection.network)
        self._schedule_flush()
        return session

    def received(self, session: Session, data: bytes, frames: int = 0) -> float | None:
        """Bytes from a client; see `ConnectorCore.data`."""
        if not self._flush_due:  # the first event of a turn
            self._clock()
            self._schedule_flush()
        return self.core.data(session, data, frames)

    def breach(self, session: Session, text: str) -> None:
        """A client does not keep to the protocol that carries its bytes."""
        self.core.breach(session, Breach(Goodbye.MALFORMED, text))
        self._schedule_flush()

    def has_more(self, connection: ClientConnection) -> None:
        """A client has sent more than one turn may handle."""
        if not self._busy:
            self._loop.call_soon(self._next_turns)
        self._busy[connection] = None

    def _next_turns(self) -> None:
        busy, self._busy = self._busy, {}
        for connection in busy:
            if connection.next_turn():
                self.has_more(connection)

    def lost(self, connection: ClientConnection, session: Session) -> None:
        """A client's socket is closed."""
        self._closing.pop(connection, None)
        self._clock()
        self.core.closed(session)
        self._schedule_flush()

    def too_slow(self, session: Session) -> None:
        """A client does not read."""
        self.core.too_slow(session)
        self._schedule_flush()

    def _batch(self, endpoint: str, data: bytes) -> None:
        self._clock()
        self._taken(endpoint, data)
        self._schedule_flush()

    def _taken(self, endpoint: str, data: bytes) -> None:
        try:
            self.core.batch(endpoint, data)
        except RecordError as error:
            log.error("broker %s: %s", endpoint, error)

    def _linked(self) -> None:
        self._clock()
        self.core.delivery.departures.link_renewed()
        self._schedule_flush()

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK_S, self._tick)
        self._clock()
        self.core.tick()
        self._schedule_flush()
        if self.core.links.ready:
            self._ready.set()
        if self.core.idle and not self.core.connections:
            self._idle.set()
        now = self._loop.time()
        for connection in [c for c, due in self._closing.items() if due <= now]:
            del self._closing[connection]
            connection.transport.abort()

    def _clock(self) -> None:
        self.core.time(self._loop.time(), int(time.time() * 1000))

    def _schedule_flush(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self._pump is None:
            self.end_turn()
        elif self._pump.run(self, self.core.turn.now, self.core.turn.wall_ms):
            self._schedule_flush()

    # The connector's end of a pump.

    def time(self, now: float, wall_ms: int) -> None:
        """See `fabric.pump.End`."""
        if now > self.core.turn.now:
            self.core.time(now, wall_ms)

    def take(self, batch: bytes) -> None:
        """See `fabric.pump.End`."""
        self._taken(self._settings.brokers[0], batch)

    def end_turn(self) -> None:
        """See `fabric.pump.End`."""
        self.core.flush()
        if self.core.turn.traces:
            traces, self.core.turn.traces = self.core.turn.traces, []
            self.on_traces(traces)

    def link_broken(self) -> None:
        """See `fabric.pump.ConnectorEnd`."""
        if self.core.links.broken(self._settings.brokers[0]):
            self._schedule_flush()

    # Ports.

    def write(self, handle: object, data: bytes) -> None:
        """See `Ports`; a client that lets too much pile up is let go."""
        handle.write(data)  # type: ignore[attr-defined]

    def close(self, handle: object) -> None:
        """See `Ports`."""
        connection = cast(ClientConnection, handle)
        connection.finish()
        self._closing[connection] = self._loop.time() + CLOSE_TIMEOUT_S

    def send(self, broker: str, batch: bytes) -> bool:
        """See `Ports`."""
        if self._pump is not None:
            self._pump.to_broker.append(batch)
            return True
        return self._dealers.send(broker, batch)

    def connect(self, broker: str) -> None:
        """See `Ports`."""
        if self._pump is None:
            self._dealers.connect(broker)

    def disconnect(self, broker: str) -> None:
        """See `Ports`."""
        self._dealers.disconnect(broker)

    def pause(self, handle: object, paused: bool) -> None:
        """See `Ports`."""
        cast(ClientConnection, handle).hold(paused)

    def is_behind(self, handle: object) -> bool:
        """See `Ports`."""
        return cast(ClientConnection, handle).transport.get_write_buffer_size() > 0

    def silent_s(self, handle: object) -> float | None:
        """See `Ports`."""
        return cast(ClientConnection, handle).silent_s()

    def verify(self, token: str, now_s: float) -> Identity:
        """See `Ports`."""
        return self._keys.verifier.verify(token, now_s)

    def random64(self) -> int:
        """See `Ports`."""
        return secrets.randbits(64) | 1

    def log(self, text: str) -> None:
        """See `Ports`."""
        log.info("%s: %s", self._settings.name, text)

    def warn(self, text: str) -> None:
        """See `Ports`."""
        log.info("%s: %s", self._settings.name, text, extra=BY_STRANGERS)

    def session_began(self, session: Session, previous: int) -> None:
        """See `Ports`."""
        address = cast(ClientConnection, session.handle).address
        replaces: dict[str, Any] = {"replaces": _name(previous)} if previous else {}
        facts: dict[str, Any] = {**self._facts(session), "from": address, "client": session.client, **replaces}
        tell(sessions_log, "session_began", **facts)

    def session_ended(self, session: Session, why: str) -> None:
        """See `Ports`."""
        lasted_s = f"{self._loop.time() - session.opened:.1f}"
        tell(sessions_log, "session_ended", **self._facts(session), lasted_s=lasted_s, why=why)

    def _facts(self, session: Session) -> dict[str, Any]:
        user, device = split_address(session.key)
        return {"session": _name(session.number), "user": user, "device": device, "connector": self._settings.name}


def _name(session: int) -> str:
    """A session as it is called wherever people read: in presence, in traces, in the log."""
    return f"{session:016x}"
