"""The connector's ZeroMQ sockets: one DEALER for each broker.

Owns the sockets, and that one whose handshake has failed is opened anew. Whole batches in, whole batches out; knows
nothing of records. A node's connector has none (`fabric.pump`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from connector.settings import ConnectorSettings
from fabric.curve import LinkKeys, encode
from fabric.records import CONNECTOR
from fabric.socket import NOBLOCK, EdgeSocket, secure

log = logging.getLogger("sparrow.connector")

KNOCK_AGAIN_S = 1.0
"""Seconds until the next try after a handshake that has failed. ZeroMQ itself would try twenty times a second, or, once
refused, never again."""
NEXT_KEY_S = 0.05
LOG_AGAIN_S = 60.0

_FAILURES = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


class Dealer(EdgeSocket):
    """The socket to one broker."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        settings: ConnectorSettings,
        endpoint: str,
        incarnation: int,
        on_batch: Callable[[str, bytes], None],
        keys: LinkKeys | None = None,
        on_linked: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_linked` is called whenever there is a connection anew: what an earlier one had taken may be lost."""
        super().__init__()
        self._context = context
        self._settings = settings
        self._endpoint = endpoint
        self._incarnation = incarnation
        self._keys = keys
        self._tries = 0
        """Handshakes that have failed."""
        self._on_batch = on_batch
        self._on_linked = on_linked
        self._reopening: asyncio.TimerHandle | None = None
        self._logged = ("", 0.0)
        self._open()

    def _open(self) -> None:
        settings = self._settings
        self._is_stale = False
        """The socket has keys from before; ZeroMQ would knock with them again."""
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.ROUTING_ID, CONNECTOR + self._incarnation.to_bytes(8, "big"))
        socket.setsockopt(zmq.LINGER, 500)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.SNDHWM, settings.link_hwm_batches)
        socket.setsockopt(zmq.RCVHWM, settings.link_hwm_batches)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(settings.link_timeout_s * 1000))
        if self._keys is not None:
            secure(socket, self._keys, self._tries)
        self._monitor = socket.get_monitor_socket(_FAILURES | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        try:
            socket.connect(self._endpoint)
        except zmq.ZMQError:
            socket.disable_monitor()
            self._monitor.close()
            socket.close()
            raise
        self._monitor_fd = self._monitor.fileno()
        self._loop.add_reader(self._monitor_fd, self._watch)
        self._loop.call_soon(self._watch)
        self._attach(socket)

    def use(self, keys: LinkKeys | None) -> None:
        """Take other keys: a link that is up stays, and the next is made with these."""
        self._is_stale = self._is_stale or keys != self._keys
        self._keys = keys

    def send(self, batch: bytes) -> bool:
        """False if there is no connection or no room."""
        try:
            self._socket.send(batch, NOBLOCK)
        except zmq.Again:
            return False
        finally:
            self._look_again()
        return True

    def _take(self, socket: zmq.Socket[bytes]) -> None:
        self._on_batch(self._endpoint, socket.recv(NOBLOCK))

    def _watch(self) -> None:
        """Handshakes: of one that has failed say so, and knock again later."""
        while not self._monitor.closed and self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart(NOBLOCK))["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._on_linked()
                continue
            if self._reopening is None:
                self._tries = 0 if self._is_stale else self._tries + 1
            # It may have another of the keys that we know: a round with each of them, and then a rest.
            others = len(self._keys.brokers) if self._keys is not None else 1
            is_round = self._tries % others == 0
            is_over = is_round or event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
            if is_over and not self._is_stale:
                self._warn(_reason(event, self._keys))
            if self._reopening is None:
                wait_s = KNOCK_AGAIN_S if is_over and not self._is_stale else NEXT_KEY_S
                self._reopening = self._loop.call_later(wait_s, self._reopen)

    def _warn(self, reason: str) -> None:
        text, at = self._logged
        now = self._loop.time()
        if reason != text or now - at > LOG_AGAIN_S:
            self._logged = (reason, now)
            log.error("no link to broker %s: %s", self._endpoint, reason)

    def _reopen(self) -> None:
        self._reopening = None
        self._close()
        self._open()

    def close(self) -> None:
        """Close the socket; what it has taken still leaves, for half a second."""
        if self._reopening is not None:
            self._reopening.cancel()
        self._close()

    def _close(self) -> None:
        self._loop.remove_reader(self._monitor_fd)
        self._socket.disable_monitor()
        self._monitor.close()
        self._detach()


class Dealers:
    """Those of a connector, by broker."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        settings: ConnectorSettings,
        incarnation: int,
        on_batch: Callable[[str, bytes], None],
        on_linked: Callable[[], None],
        keys: LinkKeys | None,
    ) -> None:
        """`on_batch` and `on_linked` as `Dealer` has them."""
        self._context = context
        self._settings = settings
        self._incarnation = incarnation
        self._on_batch = on_batch
        self._on_linked = on_linked
        self._keys = keys
        self._dealers: dict[str, Dealer] = {}

    def connect(self, broker: str) -> None:
        """Open one; an address that cannot be used is logged, and never up."""
        try:
            self._dealers[broker] = Dealer(
                self._context,
                self._settings,
                broker,
                self._incarnation,
                self._on_batch,
                self._keys,
                self._on_linked,
            )
        except zmq.ZMQError as error:
            log.error("cannot connect to the broker at %s (%s); is its broker.advertise right?", broker, error)

    def disconnect(self, broker: str) -> None:
        """Close one behind what was sent."""
        dealer = self._dealers.pop(broker, None)
        if dealer is not None:
            asyncio.get_running_loop().call_soon(dealer.close)  # it may be the one that is being read

    def send(self, broker: str, batch: bytes) -> bool:
        """False if there is no connection or no room."""
        dealer = self._dealers.get(broker)
        return dealer is not None and dealer.send(batch)

    def use(self, keys: LinkKeys | None) -> None:
        """Take other keys, as `Dealer.use` does."""
        self._keys = keys
        for dealer in self._dealers.values():
            dealer.use(keys)

    def close(self) -> None:
        """Close all; what they have taken still leaves, for half a second."""
        for dealer in self._dealers.values():
            dealer.close()


def _reason(event: int, keys: LinkKeys | None) -> str:
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and keys is not None:
        public = zmq.curve_public(encode(keys.secret).encode()).decode()
        return f"it does not allow our key {public}: add it to the list of allowed keys there, and send it SIGHUP"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return "one side wants CURVE, the other does not: " + (
            "set broker.curve_key_file there" if keys is not None else "set connector.curve_key_file here"
        )
    return "it hung up in the handshake" + (
        ": is connector.broker_public_key_file its key?" if keys is not None else ""
    )
