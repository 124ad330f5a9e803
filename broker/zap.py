"""Who may link to this broker: ZAP (ZeroMQ RFC 27), answered by hand on the broker's own loop.

Owns the list of allowed keys and the socket on which ZeroMQ asks, once for each new connection. Per message it costs
nothing.
"""

from __future__ import annotations

import logging

import zmq

from fabric.curve import encode, read_allowed
from fabric.facts import BY_STRANGERS
from fabric.socket import NOBLOCK, EdgeSocket
from protocol.errors import ConfigError

log = logging.getLogger("sparrow.broker")

ENDPOINT = "inproc://zeromq.zap.01"
DOMAIN = b"sparrow"
LOG_AGAIN_S = 600.0
"""A stranger that keeps knocking is logged this often."""
MAX_STRANGERS = 1000
"""Remembered, so that they are not logged at every knock."""


class ZapHandler(EdgeSocket):
    """Answers ZeroMQ in this context; open it before the socket that it guards is bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allowed_file: str) -> None:
        """Raises `ConfigError` if the list cannot be read."""
        super().__init__()
        self._file = allowed_file
        self._allowed = read_allowed(allowed_file)
        self._strangers: dict[bytes, float] = {}
        # REQ envelopes through a ROUTER: no order of calls to keep, and an answer to nobody is dropped.
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(ENDPOINT)
        self._attach(socket)

    def reload(self) -> None:
        """Read the list again; one that cannot be read is logged, and the old one kept."""
        try:
            self._allowed = read_allowed(self._file)
        except ConfigError as error:
            log.error("the list of allowed keys is not changed: %s", error)
            return
        self._strangers.clear()
        log.info("allowed keys: %s", ", ".join(sorted(self._allowed.values())) or "none")

    def _take(self, socket: zmq.Socket[bytes]) -> None:
        answer = self._answer(socket.recv_multipart(NOBLOCK))
        if answer is not None:
            socket.send_multipart(answer, NOBLOCK)

    def _answer(self, request: list[bytes]) -> list[bytes] | None:
        if len(request) < 8:
            return None
        peer, empty, version, number, _, address, _, mechanism, *credentials = request
        name = None
        if version == b"1.0" and mechanism == b"CURVE" and len(credentials) == 1:
            name = self._allowed.get(credentials[0])
            if name is None:
                self._refuse(credentials[0], address.decode(errors="replace"))
        verdict = [b"400", b"not allowed", b""] if name is None else [b"200", b"", name.encode()]
        return [peer, empty, b"1.0", number, *verdict, b""]

    def _refuse(self, key: bytes, address: str) -> None:
        now = self._loop.time()
        at = self._strangers.get(key)
        if at is not None and now - at < LOG_AGAIN_S:
            return
        if len(self._strangers) >= MAX_STRANGERS:
            self._strangers.clear()
        self._strangers[key] = now
        text = "refused a link from %s: its key %s is not in %s"
        log.warning(text, address, encode(key), self._file, extra=BY_STRANGERS)

    def close(self) -> None:
        """Close the socket: from now on everybody is refused."""
        self._detach()
