"""Leases of connectors in etcd, kept alive by any broker that hears their heartbeats.

Owns what this broker knows of each connector's lease. A heartbeat is answered at once from that; etcd is asked in the
background, for each lease a few times in its life and not at each of the many heartbeats.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

from broker.etcd import api_pb2 as api
from broker.etcd.client import GRANT, Etcd
from protocol.errors import SparrowError


@dataclass(slots=True)
class Lease:
    """A connector's."""

    id: int = 0
    """0: none yet."""
    replaces: int = 0
    """The one before, which has run out."""
    due: float = 0.0
    """When to ask etcd next."""
    heard: float = 0.0


class Leases:
    """All connectors' leases."""

    def __init__(self, etcd: Etcd, lease_s: float) -> None:
        self._etcd = etcd
        self._ttl_s = math.ceil(lease_s)
        self._loop = asyncio.get_running_loop()
        self._leases: dict[int, Lease] = {}
        self._due: dict[int, None] = {}
        self._task: asyncio.Task[None] | None = None

    def keep_alive(self, connector: int, lease: int, done: Callable[[int | None], None]) -> None:
        """See `Presence`. None where nothing newer is known."""
        now = self._loop.time()
        known = self._leases.get(connector)
        if known is None:
            known = self._leases[connector] = Lease(lease)
        elif lease not in (known.id, known.replaces):
            # The connector has it from another broker, and what it says holds.
            known.id, known.replaces, known.due = lease, 0, 0.0
        known.heard = now
        if known.due <= now:
            known.due = now + self._ttl_s / 3
            self._due[connector] = None
            if self._task is None or self._task.done():
                self._task = self._loop.create_task(self._run())
        done(known.id or None)

    def lost(self, lease: int) -> None:
        """etcd does not know this lease: ask at the next heartbeat."""
        for known in self._leases.values():
            if known.id == lease:
                known.due = 0.0

    def tick(self, now: float) -> None:
        """Forget connectors that are gone."""
        limit = now - 3 * self._ttl_s
        for connector in [connector for connector, lease in self._leases.items() if lease.heard < limit]:
            del self._leases[connector]

    async def _run(self) -> None:
        await asyncio.sleep(0)  # let those of a moment gather
        while self._due:
            due, self._due = list(self._due), {}
            asked = {c: self._leases[c].id for c in due if c in self._leases}
            try:
                held = [lease for lease in asked.values() if lease]
                left = await self._etcd.keep_alive(held) if held else {}
                for connector, lease in asked.items():
                    if not left.get(lease):
                        await self._grant(connector, lease)
            except SparrowError:
                for connector in due:
                    if connector in self._leases:
                        self._leases[connector].due = 0.0

    async def _grant(self, connector: int, replaces: int) -> None:
        response = await self._etcd.call(GRANT, api.LeaseGrantRequest(ttl=self._ttl_s), writes=True)
        known = self._leases.get(connector)
        if known is not None and known.id == replaces:
            known.id, known.replaces = response.id, replaces

    async def close(self) -> None:
        """Keep no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
