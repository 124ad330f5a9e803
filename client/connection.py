"""Connections to connectors: one socket, and the one who dials, again and again.

Owns back-off and what follows from a Goodbye. Knows nothing of messages.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

from client.credentials import Credentials, device_removed
from client.tls import Trust, untrusted
from client.websocket import WebSocketRefusedError
from client.websocket import connect as connect_websocket
from protocol.errors import (
    AccountDisabledError,
    ConfigError,
    ReplacedError,
    SparrowError,
    TokenRejectedError,
    UnavailableError,
    UntrustedError,
)
from protocol.sparrow_pb2 import Goodbye

WEBSOCKET_PORTS = {"ws": 80, "wss": 443}
"""Schemes of addresses for WebSocket, and the ports that they may leave out."""
COME_BACK_S = 60.0
"""So long after we have left a connection, what it had said may still replace us."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a client treats its connections, in seconds."""

    first_retry_s: float = 0.1
    """The first wait before another try. It doubles with each failure; a wait is drawn between half and all of it."""
    last_retry_s: float = 10.0
    """The longest wait before another try."""
    connect_timeout_s: float = 10.0
    """How long opening a connection may take, TLS included."""
    login_timeout_s: float = 10.0
    """How long the server may take to answer a login."""
    pong_timeout_s: float = 10.0
    """How long the server may take to answer a ping."""
    good_session_s: float = 5.0
    """After a session of this length, waits begin anew."""
    logout_timeout_s: float = 2.0
    """How long the server may take to answer a logout."""

    def retry_s(self, failures: int) -> float:
        """How long to wait before another try, in seconds.

        Args:
            failures: How many have failed in a row before the last one, from 0 on.
        """
        longest = min(self.first_retry_s * 2 ** min(failures, 20), self.last_retry_s)
        return random.uniform(longest / 2, longest)


class Owner(Protocol):
    """Who a connection belongs to."""

    def connected(self, connection: Connection, token: str) -> None: ...

    def received(self, connection: Connection, data: bytes) -> None: ...

    def lost(self, connection: Connection) -> None: ...

    def waits(self, reason: str, retry_in_s: float) -> None: ...


class Connection(asyncio.Protocol):
    """One socket."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.goodbye: Goodbye | None = None
        """What the server has said last."""
        self.logged_in = False
        self.reason = "the connection was lost"
        self.congested = False
        """What was written has not left yet."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._owner.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._owner.lost(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.congested = False

    def write(self, data: bytes) -> None:
        """Write, if it is still open."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def abort(self, reason: str) -> None:
        """Close at once."""
        self.reason = reason
        if self._transport is not None:
            self._transport.abort()


class Address(NamedTuple):
    """Where a connector is."""

    host: str
    port: int
    tls: bool = False
    websocket: str = ""
    """The URI, of those that speak WebSocket."""


def parse_address(address: str) -> Address:
    """Of `host:port`, `tls://host:port`, `ws://host:port` and `wss://host/path`; an IPv6 host stands in brackets.

    Raises `ConfigError`.
    """
    scheme, _, rest = address.rpartition("://")
    over_websocket = scheme in WEBSOCKET_PORTS
    plain, _, path = rest.partition("/") if over_websocket else (rest, "", "")
    host, colon, port = plain.rpartition(":")
    if over_websocket and (not colon or port.endswith("]")):
        host, port = plain, str(WEBSOCKET_PORTS[scheme])
    host = host.removeprefix("[").removesuffix("]")
    if scheme not in ("", "tls", *WEBSOCKET_PORTS) or not _is_host(host) or not _is_port(port) or not path.isascii():
        raise ConfigError(
            f"connector address {address!r}: give host:port, such as 127.0.0.1:7400, tls://host:port, ws://host:port "
            "or wss://host/path"
        )
    return Address(host, int(port), scheme in ("tls", "wss"), address if over_websocket else "")


def _is_host(text: str) -> bool:
    return bool(text) and not set(text) & set("/?#@ ")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


PATIENCE = 3
"""So many failures in a row, and WebSocket is tried as well: something on the way may let nothing else through."""


def _preferred(addresses: Sequence[str], failures: int) -> Sequence[str]:
    """Those to choose from: WebSocket costs more, and is for those who cannot do without."""
    bare = [address for address in addresses if address.partition("://")[0] not in WEBSOCKET_PORTS]
    return bare if bare and failures < PATIENCE else addresses


class Dialer:
    """Keeps a connection up until something final is said."""

    RENEW_AFTER = 5
    """So many failures in a row, and the user API is asked whether the connectors have moved."""

    def __init__(self, owner: Owner, credentials: Credentials, timing: Timing, trust: Trust) -> None:
        self._owner = owner
        self._credentials = credentials
        self._timing = timing
        self._trust = trust
        self._been_in = False
        self._turn = random.randrange(1 << 16)
        self._failures = 0
        self._gave_up_at: float | None = None
        """When the last connection was lost or left without a Goodbye, if we have not come back for that yet."""

    async def run(self) -> None:
        """Never returns. Raises what ends the session for good."""
        while True:
            wait = await self._try()
            if wait is not None:
                self._owner.waits(*wait)
                await asyncio.sleep(wait[1])

    async def _try(self) -> tuple[str, float] | None:
        """One connection, from its beginning to its end. Why and how long to wait before the next; None: not at all."""
        try:
            if self._failures and self._failures % self.RENEW_AFTER == 0:
                await self._look_for_connectors()
            token, addresses = await self._credentials.get()
        except UnavailableError as error:
            return str(error), self._back_off()
        except UntrustedError as error:
            return self._distrust(error)
        self._turn += 1
        chosen = _preferred(addresses, self._failures)
        address = chosen[self._turn % len(chosen)]
        try:
            parsed = parse_address(address)
        except ConfigError as error:
            if self._credentials.fixed_connectors:
                raise
            return str(error), self._back_off()  # what a server says; others of it may do
        loop = asyncio.get_running_loop()
        began = loop.time()
        connection = Connection(self._owner)
        try:
            async with asyncio.timeout(self._timing.connect_timeout_s):
                await self._connect(connection, parsed)
        except ssl.SSLError as error:
            distrust = untrusted(address, error)
            if distrust is not None:
                return self._distrust(distrust)
            return f"{address} does not speak TLS as we do ({error.reason})", self._back_off()
        except WebSocketRefusedError as error:
            return f"cannot reach {address}: {error}", self._back_off()
        except (OSError, TimeoutError, ValueError):  # the last for a name that no resolver takes
            return f"cannot reach {address}", self._back_off()
        if not connection.closed.done():
            self._owner.connected(connection, token)
        await asyncio.wait([connection.closed])
        if connection.logged_in:
            self._been_in = True
            self._credentials.accepted()
        if connection.logged_in and loop.time() - began > self._timing.good_session_s:
            self._failures = 0
        if connection.goodbye is None:
            self._gave_up_at = loop.time()
        if connection.goodbye is not None and connection.goodbye.code == Goodbye.LOGGED_OUT:
            await self._credentials.at_rest()
        return self._after(connection, token)

    async def _connect(self, connection: Connection, address: Address) -> None:
        if address.websocket:
            await connect_websocket(address.websocket, connection, self._trust.for_websockets if address.tls else None)
            return
        context = self._trust.for_connectors if address.tls else None
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: connection, address.host, address.port, ssl=context)

    def _distrust(self, error: UntrustedError) -> tuple[str, float]:
        """At first it is a mistake that somebody must mend; later it may be the network that one is in for a while."""
        if not self._been_in:
            raise error
        return str(error), self._back_off()

    def _after(self, connection: Connection, token: str) -> tuple[str, float] | None:
        goodbye = connection.goodbye
        if goodbye is None:
            return connection.reason, self._back_off()
        if goodbye.code == Goodbye.REPLACED:
            if self._gave_up_recently():
                return "a connection that was given up has replaced this one", self._back_off()
            raise ReplacedError("this device has logged in elsewhere, with the same state or token: use one at a time")
        if goodbye.code == Goodbye.DEVICE_REMOVED:
            raise device_removed(self._credentials.device)
        if goodbye.code == Goodbye.BAD_TOKEN:
            self._credentials.rejected(token, goodbye.text)
            return None
        if goodbye.code == Goodbye.ACCOUNT_DISABLED:
            raise AccountDisabledError(
                "the account is disabled: ask those who run the service. The device and its messages are kept"
            )
        if goodbye.code == Goodbye.LOGGED_OUT:
            if self._credentials.logged_out(token):
                return None  # it was our own next login that has ended this one
            self._credentials.forget()
            raise TokenRejectedError("this device was logged out: log in with the password")
        text = f"the server says: {goodbye.text or f'goodbye, code {goodbye.code}'}"
        if goodbye.code == Goodbye.MOVE:
            return text, random.uniform(0, self._timing.first_retry_s * 5)
        # Everybody was told the same time: not all at once.
        return text, max(self._back_off(), goodbye.retry_after_ms / 1000 * random.uniform(1, 1.5))

    def _gave_up_recently(self) -> bool:
        """Whether it may be our own Login that has replaced us, over a connection that we had left; once for each."""
        if self._gave_up_at is None:
            return False
        since, self._gave_up_at = asyncio.get_running_loop().time() - self._gave_up_at, None
        return since < COME_BACK_S

    def _back_off(self) -> float:
        self._failures += 1
        return self._timing.retry_s(self._failures - 1)

    async def _look_for_connectors(self) -> None:
        if self._credentials.can_renew:
            try:
                await self._credentials.renew()
            except SparrowError:
                return  # the token that we have may still be good
