"""Connections of load clients, whatever the protocol: one at a time, with back-off, made anew as long as it is wanted.

Owns the socket of a client. What is said on it is the dialect's (`load.clients`, `load.peers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from client.connection import Address
from load.world import World

LOGIN_TIMEOUT_S = 30.0
FIRST_BACK_OFF_S, LAST_BACK_OFF_S = 1.0, 60.0


class NotNowError(ConnectionError):
    """The server said no to a login."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Talker(asyncio.Protocol):
    """A client with one connection at a time, which comes back as long as it is wanted."""

    def __init__(self, world: World | None = None, number: int = 0) -> None:
        self.world = world or World()
        self.number = number
        """Among all clients; chooses the source address."""
        self.now = 0.0
        """When the current turn began."""
        self.online = False
        self.wanted = False
        """Whether to come back by itself."""
        self.away = True
        """Not there by its own will, or not there yet: what waits for it is no fault of the server's."""
        self.since = 0.0
        """When it came back from that."""
        self.address = Address("", 0)
        self._greeting: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Event | None = None
        self._staying: asyncio.Task[None] | None = None
        self._failures = 0
        self._out: list[bytes] = []

    # Coming and going.

    async def stay(self, address: Address) -> None:
        """Log in, and go on trying, with back-off; from then on come back when the connection is lost."""
        self.wanted, self.address = True, address
        if self._staying is None:
            self._staying = self.world.spawn(self._stay())
        await asyncio.shield(self._staying)

    async def _stay(self) -> None:
        try:
            while self.wanted and not self.online:
                await self.gone()
                try:
                    await self._connect()
                except (OSError, TimeoutError) as error:
                    if getattr(error, "retry_after_s", None) is None:
                        self.address = self.world.instead_of(self.address)
                    await asyncio.sleep(self._back_off_s(error))
            if not self.wanted:
                self.drop()
        finally:
            self._staying = None

    async def _connect(self) -> None:
        """Log in, once. Raises `OSError` (of which `NotNowError` is one) or `TimeoutError`."""
        self._greeting = asyncio.get_running_loop().create_future()
        try:
            async with self.world.gate, asyncio.timeout(LOGIN_TIMEOUT_S):
                await self.world.dial(self, self.address, self.number)
                await self._greeting
        except BaseException:
            self.drop()
            raise
        finally:
            self._greeting = None

    def _back_off_s(self, error: Exception) -> float:
        limit_s = min(FIRST_BACK_OFF_S * 2**self._failures, LAST_BACK_OFF_S)
        self._failures = min(self._failures + 1, 10)
        told_s = getattr(error, "retry_after_s", None)
        if told_s is not None:
            return float(told_s) * self.world.random.uniform(1.0, 1.5)
        return self.world.random.uniform(0.0, limit_s)

    def drop(self) -> None:
        """Let the connection break; if wanted, it is made anew."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Leave for good."""
        self.wanted = False
        if self._transport is not None:
            self._transport.close()

    async def gone(self) -> None:
        """Return when there is no connection."""
        if self._gone is not None:
            await self._gone.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._gone = asyncio.Event()
        self._out.clear()
        self.begin()
        self._transport.writelines(self._out)
        self._out.clear()

    def begin(self) -> None:
        """Say what comes first."""
        raise NotImplementedError

    def welcomed(self) -> None:
        """The login has worked."""
        self.online = True
        if self.away:
            self.away, self.since = False, self.world.clock()
        self._failures = 0
        self.world.counts.logins += 1
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_result(None)

    def turned_away(self, text: str, retry_after_s: float | None = None) -> None:
        """The login has not worked."""
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_exception(NotNowError(text, retry_after_s))

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        was_online, self.online = self.online, False
        self._transport = None
        if self._gone is not None:
            self._gone.set()
            self._gone = None
        self.turned_away("closed before login")
        if was_online and self.wanted:
            self.world.counts.disconnects += 1
            self.world.spawn(self.stay(self.address))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.now = self.world.clock()
        self.received(data)
        self.flush()

    def received(self, data: bytes) -> None:
        """What one read has brought."""
        raise NotImplementedError

    def flush(self) -> None:
        """One write for all that gathered."""
        if self._out:
            if self._transport is not None:
                self._transport.write(b"".join(self._out))
            self._out.clear()

    def ping(self) -> None:
        """Keep the session."""


async def log_in(people: Sequence[Talker], addresses: Sequence[Address]) -> None:
    """Bring all, person n to address n modulo their number; from then on they come back by themselves."""
    await asyncio.gather(*(each.stay(addresses[at % len(addresses)]) for at, each in enumerate(people)))
