"""Changes in etcd: how one broker tells all that what the store keeps of a user is no longer what they cached.

Owns the keys of changes. What is cached, and forgotten, is the core's business. A change is in etcd together with the
mark, so a barrier that passes has passed it as well.

Keys, under the prefix: `changed/<user>`, under a lease that runs out by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from broker.etcd import Etcd, Mirror
from broker.etcd import api_pb2 as api
from broker.etcd.client import GRANT, TXN
from protocol.errors import LeaseLostError, SparrowError

CHANGED = b"changed/"
KEPT_S = 120
"""A broker that was away for longer than etcd's history reads everything anew, so the keys need not last."""
GATHER_S = 0.002
MAX_OPS = 120
"""Changes in one transaction. etcd's limit is 128 operations."""


class Changes:
    """All changes: those told here, and those heard. `on_changed` gets the users, or None for "anybody"."""

    def __init__(
        self,
        etcd: Etcd,
        mirror: Mirror,
        prefix: bytes,
        mark: bytes,
        event: Callable[[Callable[[], None]], None],
        on_changed: Callable[[Collection[str] | None], None],
    ) -> None:
        self._etcd = etcd
        self._prefix = prefix + CHANGED
        self._mark = api.RequestOp(put=api.PutRequest(key=mark))
        self._event = event
        self._on_changed = on_changed
        self._loop = asyncio.get_running_loop()
        self._lease = 0
        self._lease_until = 0.0
        self._waiting: list[tuple[list[str], Callable[[bool], None]]] = []
        self._teller: asyncio.Task[None] | None = None
        mirror.add(CHANGED, self)

    def tell(self, users: Collection[str], done: Callable[[bool], None]) -> None:
        """See `Presence.changed`."""
        self._waiting.append((list(users), done))
        if self._teller is None or self._teller.done():
            self._teller = self._loop.create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_S)  # for others of the same moment
            waiting, self._waiting = self._waiting, []
            users = list(dict.fromkeys(user for some, _ in waiting for user in some))
            try:
                for at in range(0, len(users), MAX_OPS):
                    await self._write(users[at : at + MAX_OPS])
                told = True
            except SparrowError:
                told = False
            self._event(lambda waiting=waiting, told=told: _answer(waiting, told))  # type: ignore[misc]

    async def _write(self, users: list[str]) -> None:
        try:
            await self._write_under(await self._some_lease(), users)
        except LeaseLostError:
            self._lease_until = 0.0
            await self._write_under(await self._some_lease(), users)

    async def _write_under(self, lease: int, users: list[str]) -> None:
        puts = [api.RequestOp(put=api.PutRequest(key=self._prefix + user.encode(), lease=lease)) for user in users]
        await self._etcd.call(TXN, api.TxnRequest(success=[self._mark, *puts]), writes=True)

    async def _some_lease(self) -> int:
        """One lease for all changes of a while."""
        now = self._loop.time()
        if now >= self._lease_until:
            granted = await self._etcd.call(GRANT, api.LeaseGrantRequest(ttl=KEPT_S), writes=True)
            self._lease, self._lease_until = granted.id, now + KEPT_S / 2
        return self._lease

    # The view.

    def load(self, found: dict[bytes, api.KeyValue]) -> None:
        """Nobody knows what was missed."""
        self._on_changed(None)

    def put(self, name: bytes, kv: api.KeyValue) -> None:
        """A user has changed."""
        self._on_changed((name.decode(errors="replace"),))

    def delete(self, name: bytes) -> None:
        """The lease of these changes has run out."""

    async def close(self) -> None:
        """Give up what is under way."""
        if self._teller is not None:
            self._teller.cancel()
            await asyncio.gather(self._teller, return_exceptions=True)


def _answer(waiting: list[tuple[list[str], Callable[[bool], None]]], told: bool) -> None:
    for _, done in waiting:
        done(told)
