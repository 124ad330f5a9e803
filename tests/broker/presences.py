"""Presence of both kinds for tests, behind one face: what is asked is awaited, and connectors beat by themselves.

Owns the face and its clock; the contract is in `test_presence.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import TypeVar

from broker.cluster import Alone, Cluster, Together
from broker.core.state import UNKNOWN_RANK, Location, Rank, Swapped
from broker.etcd import api_pb2 as api
from broker.etcd.client import Call
from broker.settings import BrokerSettings, EtcdSettings

A, B = 7001, 7002
LEASE_S = 2.0
GUARD_S = 60.0
TICK_S = 0.05

COMPACT: Call[api.CompactionRequest, api.CompactionResponse] = Call("/etcdserverpb.KV/Compact", api.CompactionResponse)
"""What an operator, or etcd itself, does; no broker."""

Result = TypeVar("Result")
_incarnations = itertools.count(500)


def reads(node: Presences) -> int:
    """How often all of etcd was read: each time, anybody may have changed."""
    return node.changes.count(None)


class Presences:
    """One broker's presence in a running loop."""

    def __init__(self, settings: EtcdSettings | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.superseded: list[tuple[str, str, Location]] = []
        self.changes: list[Collection[str] | None] = []
        self.leases: dict[int, int] = {}
        self._beating: set[int] = set()
        self.incarnation = next(_incarnations)
        broker = BrokerSettings(
            presence="etcd" if settings else "memory", lease_s=LEASE_S, advertise=f"tcp://127.0.0.1:{self.incarnation}"
        )
        self.cluster: Cluster
        if settings is None:
            self.cluster = Alone(broker, self.incarnation, self.changes.append)
        else:
            self.cluster = Together(
                broker, settings, self.incarnation, self._event, self._superseded, self.changes.append
            )
        self.presence = self.cluster.presence
        self._ticker = asyncio.create_task(self._tick())

    def _event(self, call: Callable[[], None]) -> None:
        call()

    def _superseded(self, user: str, device: str, old: Location) -> None:
        self.superseded.append((user, device, old))

    async def _tick(self) -> None:
        while True:
            self.cluster.tick(self._loop.time())
            for connector in self._beating:
                self.presence.keep_alive(
                    connector,
                    self.leases.get(connector, 0),
                    lambda lease, c=connector: self._kept(c, lease),  # type: ignore[misc]
                )
            await asyncio.sleep(TICK_S)

    def _kept(self, connector: int, lease: int | None) -> None:
        if lease is not None:
            self.leases[connector] = lease

    async def beats(self, *connectors: int) -> None:
        """They beat from now on; return when they hold leases."""
        self._beating.update(connectors)
        await until(lambda: all(connector in self.leases for connector in connectors), "leases")

    def falls_silent(self, connector: int) -> None:
        """It beats no more."""
        self._beating.discard(connector)

    async def online(
        self,
        device: str,
        location: Location,
        again: bool = False,
        lease: int | None = None,
        user: str = "bob",
        rank: Rank = UNKNOWN_RANK,
    ) -> Swapped | None:
        """Swap."""
        answer: asyncio.Future[Swapped | None] = self._loop.create_future()
        held = self.leases[location.connector] if lease is None else lease
        self.presence.online(user, device, location, held, again, answer.set_result, rank)
        return await guarded(answer)

    async def changed(self, *users: str) -> bool:
        """Tell of a change."""
        answer: asyncio.Future[bool] = self._loop.create_future()
        self.presence.changed(users, answer.set_result)
        return await guarded(answer)

    async def barrier(self) -> bool:
        """Whether the map is up to date now."""
        answer: asyncio.Future[bool] = self._loop.create_future()
        self.presence.barrier(answer.set_result)
        return await guarded(answer)

    async def where(self, user: str = "bob") -> dict[str, Location]:
        """The map, up to date."""
        assert await self.barrier()
        return dict(self.presence.where(user))

    def seen(self, user: str = "bob") -> dict[str, Location]:
        """The map as it is."""
        return dict(self.presence.where(user))

    async def sees(self, locations: dict[str, Location], user: str = "bob") -> None:
        """Return when the map shows this."""
        await until(lambda: self.seen(user) == locations, f"{locations}")

    async def close(self) -> None:
        """Let go."""
        self._ticker.cancel()
        await asyncio.gather(self._ticker, return_exceptions=True)
        await self.cluster.stop()


@contextlib.asynccontextmanager
async def presence(settings: EtcdSettings | None, *connectors: int) -> AsyncIterator[Presences]:
    """A presence that is ready, with connectors that beat."""
    found = Presences(settings)
    try:
        await guarded(found.cluster.start())
        await found.beats(*connectors)
        yield found
    finally:
        await found.close()


async def guarded(what: Awaitable[Result]) -> Result:
    """Wait, but not for ever."""
    async with asyncio.timeout(GUARD_S):
        return await what


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return when it holds."""
    try:
        async with asyncio.timeout(GUARD_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None
