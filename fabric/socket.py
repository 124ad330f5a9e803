"""A ZeroMQ socket in an asyncio event loop, driven by hand from its file descriptor.

Owns when it is read, and the client's half of CURVE. Knows nothing of records.
ZeroMQ's descriptor is edge-triggered (zmq_getsockopt, ZMQ_FD): after every drain and every send, look again.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import zmq

from fabric.curve import LinkKeys, encode

MAX_DRAIN = 256
"""Batches taken in one go, so that everybody else in the loop gets their turn."""

# Plain numbers: zmq's enumerations take a microsecond to combine.
EVENTS = int(zmq.EVENTS)
READABLE = int(zmq.POLLIN)
NOBLOCK = int(zmq.NOBLOCK)
MORE_NOBLOCK = int(zmq.SNDMORE | zmq.NOBLOCK)


class EdgeSocket:
    """One such socket. A subclass opens it, gives it to `_attach`, looks again after each send, and takes what came."""

    _socket: zmq.Socket[bytes]

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._looking = False

    def _attach(self, socket: zmq.Socket[bytes]) -> None:
        """Read from this one from now on."""
        self._socket = socket
        self._fd = socket.fileno()
        self._loop.add_reader(self._fd, self._drain)
        self._look_again()

    def _detach(self) -> None:
        """Close it; what it has taken still leaves, for as long as it lingers."""
        self._loop.remove_reader(self._fd)
        self._socket.close()

    def _take(self, socket: zmq.Socket[bytes]) -> None:
        """Receive one message of a socket that has one, without waiting, and use it."""
        raise NotImplementedError

    def _look_again(self) -> None:
        if not self._looking and self._readable():
            self._looking = True
            self._loop.call_soon(self._drain)

    def _readable(self) -> bool:
        """Whether something waits. Asking costs half of zmq.Again, which says that nothing does."""
        return cast(int, self._socket.getsockopt(EVENTS)) & READABLE != 0

    def _drain(self) -> None:
        self._looking = False
        socket = self._socket
        for _ in range(MAX_DRAIN):
            if socket.closed or not self._readable():
                return
            self._take(socket)
        self._look_again()


def secure(socket: zmq.Socket[Any], keys: LinkKeys, tries: int = 0) -> None:
    """Have a socket that is not connected yet speak CURVE with a broker, after so many tries that have failed."""
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, zmq.curve_public(encode(keys.secret).encode()))
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.broker(tries))
