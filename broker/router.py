"""The broker's ZeroMQ socket: one ROUTER for all connectors and the user API.

Owns the socket. Whole batches in, whole batches out; knows nothing of records.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from math import inf
from pathlib import Path
from socket import AF_UNIX
from socket import socket as unix_socket

import zmq

from broker.settings import BrokerSettings
from broker.zap import DOMAIN, ZapHandler
from fabric.curve import read_secret
from fabric.records import CONNECTOR, USER_API
from fabric.socket import MORE_NOBLOCK, NOBLOCK, EdgeSocket
from protocol.errors import ConfigError

log = logging.getLogger("sparrow.broker")

_PROBE_S = 1.0


def _bind(to: zmq.Socket[bytes], endpoint: str) -> None:
    """Bind, but to no Unix socket that another process listens at: ZeroMQ would take its place."""
    if not endpoint.startswith("ipc://") or endpoint.startswith("ipc://@"):
        to.bind(endpoint)
        return
    _refuse_if_taken(Path(endpoint.removeprefix("ipc://")))
    before = os.umask(0o177)
    try:
        to.bind(endpoint)
    finally:
        os.umask(before)


def _refuse_if_taken(path: Path) -> None:
    """Raises `OSError` unless nothing is there, or the socket of a process that has ended."""
    if path.exists() and not path.is_socket():
        raise OSError(errno.EEXIST, "something that is no socket is there")
    with unix_socket(AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        answer = probe.connect_ex(str(path))
    if answer not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(errno.EADDRINUSE, "another process listens there")


class Router(EdgeSocket):
    """The socket that connectors and the user API reach."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        settings: BrokerSettings,
        on_batch: Callable[[int, bytes], None],
        on_ask: Callable[[bytes, bytes], None],
    ) -> None:
        super().__init__()
        self._on_batch = on_batch
        self._on_ask = on_ask
        secret = read_secret(settings.curve_key_file) if settings.curve_key_file else None
        self._zap = ZapHandler(context, settings.allowed_keys_file) if secret is not None else None
        self._key_file, self._secret = settings.curve_key_file, secret
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 500)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.SNDHWM, settings.link_hwm_batches)
        socket.setsockopt(zmq.RCVHWM, settings.link_hwm_batches)
        socket.setsockopt(zmq.MAXMSGSIZE, settings.max_batch_bytes)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        if settings.lease_s < inf:
            socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(settings.lease_s * 1000))
        if secret is not None:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
            socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
            # Without a gate, refuse: ZeroMQ would let everybody in.
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        try:
            _bind(socket, settings.listen)
        except (OSError, zmq.ZMQError) as error:  # the latter is no OSError
            socket.close()
            if self._zap is not None:
                self._zap.close()
            raise ConfigError(f"cannot listen on {settings.listen} ({error}); set broker.listen") from error
        self._attach(socket)

    def send(self, connector: int, batch: bytes) -> bool:
        """False if the connector is not there, or takes no more."""
        return self._send(CONNECTOR + connector.to_bytes(8, "big"), batch)

    def answer(self, asker: bytes, batch: bytes) -> bool:
        """Send to a process of the user API, by the routing id that `on_ask` gave; False as with `send`."""
        return self._send(asker, batch)

    def _send(self, peer: bytes, batch: bytes) -> bool:
        try:
            self._socket.send(peer, MORE_NOBLOCK)
            self._socket.send(batch, NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        finally:
            self._look_again()
        return True

    def _take(self, socket: zmq.Socket[bytes]) -> None:
        parts = socket.recv_multipart(NOBLOCK)
        if len(parts) != 2 or len(parts[0]) != 9:
            return
        if parts[0][:1] == CONNECTOR:
            self._on_batch(int.from_bytes(parts[0][1:], "big"), parts[1])
        elif parts[0][:1] == USER_API:
            self._on_ask(parts[0], parts[1])

    def close(self) -> None:
        """Close the socket; what it has taken still leaves, for half a second."""
        self._detach()
        if self._zap is not None:
            self._zap.close()

    def reload(self) -> None:
        """Read the list of allowed keys again; links that are up stay."""
        if self._zap is None:
            return
        self._zap.reload()
        try:
            has_changed = read_secret(self._key_file) != self._secret
        except ConfigError as error:
            log.error("the broker's key is no good for the next start: %s", error)
            return
        if has_changed:
            log.warning("the broker's key has changed: it is in use from the next start on")
