"""What a broker shares with others: presence and membership, alone in memory or together in etcd.

Owns the choice and the lives of the parts. The broker's shell sees one interface.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import Metric

from broker.core.state import Location, Presence
from broker.presence import MemoryPresence
from broker.settings import BrokerSettings, EtcdSettings
from protocol.errors import UnavailableError

log = logging.getLogger("sparrow.broker")

Event = Callable[[Callable[[], None]], None]
Superseded = Callable[[str, str, Location], None]
Changed = Callable[[Collection[str] | None], None]
LOAD_PAUSE_S = 1.0
LEAVING_S = 0.75
"""A few heartbeats of connectors, so that they have heard when a broker that leaves stops listening."""


class PresenceMap(Presence, Protocol):
    """Presence, and how many devices are online."""

    def __len__(self) -> int: ...


class Cluster(Protocol):
    """Presence and membership of a broker."""

    @property
    def presence(self) -> PresenceMap:
        """Says where each device is."""

    def members(self) -> Mapping[int, str]:
        """All brokers: incarnation → endpoint."""

    async def start(self) -> None:
        """Return when presence is known. Raises `ConfigError` if that cannot come to be."""

    def announce(self) -> None:
        """This broker can be reached."""

    async def withdraw(self) -> None:
        """This broker will not be reached much longer."""

    def tick(self, now: float) -> None:
        """What is due by now."""

    @property
    def trouble(self) -> str:
        """Why nobody can be found or come online; empty if all is well."""

    def metrics(self) -> Iterator[Metric]:
        """Metrics of what presence is kept in."""

    async def stop(self) -> None:
        """Let go of everything."""


def make_cluster(
    settings: BrokerSettings,
    etcd: EtcdSettings,
    incarnation: int,
    event: Event,
    superseded: Superseded,
    changed: Changed,
) -> Cluster:
    """The one that the settings choose. Raises `ConfigError`."""
    if settings.presence == "memory":
        return Alone(settings, incarnation, changed)
    return Together(settings, etcd, incarnation, event, superseded, changed)


class Alone:
    """The only broker, with presence in its memory."""

    def __init__(self, settings: BrokerSettings, incarnation: int, changed: Changed) -> None:
        self.presence = MemoryPresence(settings.lease_s, secrets.randbits(62) + 1, changed)
        self._members = {incarnation: settings.endpoint}

    def members(self) -> Mapping[int, str]:
        """See `Cluster`."""
        return self._members

    async def start(self) -> None:
        """See `Cluster`."""

    def announce(self) -> None:
        """See `Cluster`."""

    async def withdraw(self) -> None:
        """See `Cluster`."""

    def tick(self, now: float) -> None:
        """See `Cluster`."""
        self.presence.tick(now)

    @property
    def trouble(self) -> str:
        """See `Cluster`."""
        return ""

    def metrics(self) -> Iterator[Metric]:
        """See `Cluster`."""
        return iter(())

    async def stop(self) -> None:
        """See `Cluster`."""


class Together:
    """One of several brokers, with presence and membership in etcd."""

    def __init__(
        self,
        settings: BrokerSettings,
        etcd: EtcdSettings,
        incarnation: int,
        event: Event,
        superseded: Superseded,
        changed: Changed,
    ) -> None:
        # Here, so that a node without etcd does not load gRPC.
        from broker.etcd import Etcd, Mirror
        from broker.members import Members
        from broker.presence.etcd import EtcdPresence

        prefix = etcd.prefix.encode()
        self._endpoints = ", ".join(etcd.endpoints)
        self._event = event
        self._etcd = Etcd(etcd)
        self._mirror = Mirror(self._etcd, prefix, event)
        self._members = Members(self._etcd, self._mirror, prefix, settings.lease_s, incarnation, settings.endpoint)
        self.presence = EtcdPresence(
            self._etcd,
            self._mirror,
            prefix,
            settings.lease_s,
            etcd.call_timeout_s,
            event,
            superseded,
            changed,
            self._members.key,
        )
        self._following: asyncio.Task[None] | None = None

    def members(self) -> Mapping[int, str]:
        """See `Cluster`."""
        return self._members.all()

    async def start(self) -> None:
        """See `Cluster`; tries for as long as etcd is away."""
        log.info("reading presence from etcd at %s", self._endpoints)
        while True:
            try:
                await self._mirror.load()
                break
            except UnavailableError:  # the client has said what is wrong
                await asyncio.sleep(LOAD_PAUSE_S)
        self._following = asyncio.create_task(self._mirror.run())
        self._following.add_done_callback(_followed)
        log.info("%d devices are online", len(self.presence))

    def announce(self) -> None:
        """See `Cluster`."""
        self._members.announce()

    async def withdraw(self) -> None:
        """See `Cluster`."""
        if await self._members.withdraw():
            await asyncio.sleep(LEAVING_S)

    def tick(self, now: float) -> None:
        """See `Cluster`."""
        self.presence.tick(now)

    @property
    def trouble(self) -> str:
        """See `Cluster`."""
        return self._etcd.trouble

    def metrics(self) -> Iterator[Metric]:
        """See `Cluster`."""
        return self._etcd.timings.metrics()

    async def stop(self) -> None:
        """See `Cluster`."""
        await self._members.withdraw()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.presence.close()
        await self._etcd.close()


def _followed(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.critical("the watch of etcd has ended (%r); this is a bug, restart this broker", task.exception())
