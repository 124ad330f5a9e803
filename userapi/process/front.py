"""What the connections of one process share: listeners, the table of who is connected, lanes, and counts.

Owns accepting and TLS handshakes. What a connection says is `userapi.process.connection`'s business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial

from fabric.networks import parse_address, parse_networks
from userapi.http import handover
from userapi.http.counts import Counts
from userapi.process import wsgi
from userapi.process.admission import Admission
from userapi.process.connection import Connection
from userapi.process.lanes import Lanes
from userapi.process.line import Line
from userapi.process.tls import Certificate
from userapi.settings import UserApiSettings

_log = logging.getLogger("sparrow.userapi")

ACCEPT_AGAIN_S = 1.0
SPARE_FILES = 64
"""Descriptors for all but connections: the store, brokers, files."""


class Front:
    """What the connections of one process share."""

    def __init__(
        self,
        settings: UserApiSettings,
        application: wsgi.Application,
        counts: Counts,
        certificate: Certificate | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.settings = settings
        self.application = application
        self.counts = counts
        self.loop = loop
        self.lanes = Lanes(settings)
        self.now = time.monotonic
        self._certificate = certificate
        trusted = parse_networks("userapi.trusted_proxies", settings.trusted_proxies)
        unlimited = parse_networks("userapi.unlimited_addresses", settings.unlimited_addresses)
        self.admission = Admission(
            most_connections(settings.max_connections),
            settings.max_connections_of_address,
            (*trusted, *unlimited),
        )
        # Whoever administrates, or looks at how we are, gets in however full it is.
        self.administrators = Admission(settings.max_connections_of_address, settings.max_connections_of_address, ())
        self._keys: dict[Line, tuple[Admission, str]] = {}
        self._shaking: set[asyncio.Task[None]] = set()
        self._listeners: dict[socket.socket, str] = {}
        self._says_full = True

    def connections(self) -> list[Line]:
        """All that there are."""
        return list(self._keys)

    # Accepting.

    def listen(self, listener: socket.socket, *, door: str) -> None:
        """Take connections from it, from now on. `door`: which it is (`userapi.http.handover.DOOR`)."""
        listener.setblocking(False)
        self._listeners[listener] = door
        self.loop.add_reader(listener.fileno(), self._accept, listener)

    def close_listeners(self) -> None:
        """Take no more."""
        for listener in self._listeners:
            self.loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners = {}

    def _accept(self, listener: socket.socket) -> None:
        """One of those who wait: the next may be for another process."""
        try:
            accepted, peer = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # No descriptor is free: whoever waits is still there in a second.
            if self._says_full:
                _log.error("cannot accept connections (%s): raise the limit of open files", error.strerror)
                self._says_full = False
            self.loop.remove_reader(listener.fileno())
            self.loop.call_later(ACCEPT_AGAIN_S, self._accept_again, listener)
            return
        self._welcome(accepted, peer, door=self._listeners[listener])

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self.loop.add_reader(listener.fileno(), self._accept, listener)

    def _welcome(self, accepted: socket.socket, peer: object, *, door: str) -> None:
        accepted.setblocking(False)
        with contextlib.suppress(OSError):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        server = accepted.getsockname()[:2] if client is not None else ("localhost", 0)
        connection = Connection(self, client, server, door=door)
        table = self.admission if door == handover.PUBLIC else self.administrators
        key = table.enter(parse_address(client[0]) if client is not None else None, connection)
        if key is None:
            self.counts.refused("too_many_connections")
            accepted.close()
            return
        self._keys[connection] = table, key
        plain = self._certificate is None or door == handover.MONITOR
        context = None if plain or self._certificate is None else self._certificate.context()
        task = self.loop.create_task(self._connect(accepted, connection, context))
        connection.cancel = task.cancel
        self._shaking.add(task)
        task.add_done_callback(partial(self._connected, accepted, connection))

    def _connected(self, accepted: socket.socket, connection: Connection, task: asyncio.Task[None]) -> None:
        self._shaking.discard(task)
        # Not in the task, which may be cancelled before its first step.
        if task.cancelled():
            accepted.close()
            self.left(connection)

    async def _connect(self, accepted: socket.socket, connection: Connection, context: ssl.SSLContext | None) -> None:
        timeout_s = None if context is None else self.settings.handshake_timeout_s
        try:
            await self.loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=context, ssl_handshake_timeout=timeout_s
            )
        except (OSError, ssl.SSLError) as error:
            accepted.close()
            # A client that is cut off, or that speaks no TLS: none of ours.
            late = context is not None and isinstance(error, ConnectionAbortedError | TimeoutError)
            self.counts.refused("handshake_timeout" if late else "handshake_failed")
            self.left(connection)

    def left(self, connection: Line) -> None:
        """It is closed; once more is no error."""
        found = self._keys.pop(connection, None)
        if found is not None:
            found[0].leave(found[1], connection)

    # For connections.

    def post(self, call: Callable[[], object]) -> None:
        """From a thread: call it in the loop. At the very end nobody is there any more."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(call)

    def look(self) -> None:
        """Whoever lets us wait for too long has to go; a renewed certificate is taken, also where nobody comes."""
        if self._certificate is not None:
            self._certificate.look()
        now = self.now()
        for connection in self.connections():
            if connection.is_late(now):
                connection.expire()


def most_connections(wanted: int) -> int:
    """What is wanted, as far as there are descriptors for it; the limit on these is raised as far as we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted + SPARE_FILES:
        raised = wanted + SPARE_FILES if hard == resource.RLIM_INFINITY else min(hard, wanted + SPARE_FILES)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        if soft < wanted + SPARE_FILES:
            _log.warning(
                "userapi.max_connections = %d does not fit the limit of %d open files: %d it is",
                wanted,
                soft,
                max(soft - SPARE_FILES, 1),
            )
            return max(soft - SPARE_FILES, 1)
    return wanted
