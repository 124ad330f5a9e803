"""The connector's ZeroMQ sockets: one DEALER for each broker, driven by hand from their file descriptors.

Owns the sockets. Whole batches in, whole batches out; knows nothing of records.
ZeroMQ's descriptor is edge-triggered (zmq_getsockopt, ZMQ_FD): after every drain and every send, look again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import zmq

from connector.settings import ConnectorSettings

MAX_DRAIN = 256
"""Batches taken in one go, so that clients get their turn."""


class Dealer:
    """The socket to one broker."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        settings: ConnectorSettings,
        endpoint: str,
        incarnation: int,
        on_batch: Callable[[str, bytes], None],
    ) -> None:
        self._endpoint = endpoint
        self._on_batch = on_batch
        self._loop = asyncio.get_running_loop()
        self._socket = socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, b"c" + incarnation.to_bytes(8, "big"))
        socket.setsockopt(zmq.LINGER, 500)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.SNDHWM, settings.link_hwm_batches)
        socket.setsockopt(zmq.RCVHWM, settings.link_hwm_batches)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(settings.link_timeout_s * 1000))
        try:
            socket.connect(endpoint)
        except zmq.ZMQError:
            socket.close()
            raise
        self._fd = socket.fileno()
        self._loop.add_reader(self._fd, self._drain)
        self._looking = False
        self._look_again()

    def send(self, batch: bytes) -> bool:
        """False if there is no connection or no room."""
        try:
            self._socket.send(batch, zmq.NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._look_again()
        return True

    def _look_again(self) -> None:
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        self._looking = False
        socket = self._socket
        if socket.closed:
            return
        try:
            for _ in range(MAX_DRAIN):
                self._on_batch(self._endpoint, socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return
        self._look_again()

    def close(self) -> None:
        """Close the socket; what it has taken still leaves, for half a second."""
        self._loop.remove_reader(self._fd)
        self._socket.close()
