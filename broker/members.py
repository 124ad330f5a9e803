"""Which brokers there are: each announces itself in etcd under a lease of its own, and all watch.

Owns this broker's key and the list. Keys, under the prefix: `broker/<incarnation>` = endpoint, and behind it a word for
each thing it knows that 0.1 did not (`KNOWS`). Further words, and keys of any other form, are a later release's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping

from broker.etcd import Etcd, Mirror
from broker.etcd import api_pb2 as api
from broker.etcd.client import GRANT, PUT, REVOKE
from protocol.errors import SparrowError

log = logging.getLogger("sparrow.broker")

BROKERS = b"broker/"
KNOWS = "changes"
"""It keeps conversations, if the store says so (docs/design/history.md, "How")."""
PAUSE_S = 0.5


class Members:
    """The brokers that etcd names, and this one."""

    def __init__(
        self, etcd: Etcd, mirror: Mirror, prefix: bytes, lease_s: float, incarnation: int, endpoint: str
    ) -> None:
        self._etcd = etcd
        self._ttl_s = math.ceil(lease_s)
        self._incarnation = incarnation
        self._endpoint = endpoint
        self.key = prefix + BROKERS + b"%016x" % incarnation
        """What says in etcd that this broker is a member."""
        self._found: dict[int, str] = {}
        self._here = True
        self._lease = 0
        self._task: asyncio.Task[None] | None = None
        mirror.add(BROKERS, self)

    def all(self) -> Mapping[int, str]:
        """Incarnation → endpoint; without this one once it has withdrawn."""
        found = {**self._found}
        found.pop(self._incarnation, None)
        if self._here:
            found[self._incarnation] = self._endpoint
        return found

    # The view.

    def load(self, found: dict[bytes, api.KeyValue]) -> None:
        """See `View`."""
        for name in [b"%016x" % incarnation for incarnation in self._found]:
            if name not in found:
                self.delete(name)
        for name, kv in found.items():
            self.put(name, kv)

    def put(self, name: bytes, kv: api.KeyValue) -> None:
        """See `View`."""
        incarnation, endpoint = _incarnation(name), kv.value.partition(b" ")[0].decode(errors="replace")
        if not incarnation:
            return
        if incarnation not in self._found and incarnation != self._incarnation:
            log.info("broker joined: %s", endpoint)
        self._found[incarnation] = endpoint

    def delete(self, name: bytes) -> None:
        """See `View`."""
        endpoint = self._found.pop(_incarnation(name), None)
        if endpoint is not None and _incarnation(name) != self._incarnation:
            log.info("broker left: %s", endpoint)

    # This one.

    def announce(self) -> None:
        """Say that this broker is here, and go on saying so, over everything that may happen to etcd."""
        self._task = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        while True:
            try:
                if not self._lease:
                    granted = await self._etcd.call(GRANT, api.LeaseGrantRequest(ttl=self._ttl_s), writes=True)
                    request = api.PutRequest(key=self.key, value=f"{self._endpoint} {KNOWS}".encode(), lease=granted.id)
                    await self._etcd.call(PUT, request, writes=True)
                    self._lease = granted.id
                elif not (await self._etcd.keep_alive([self._lease])).get(self._lease):
                    self._lease = 0
                    continue
            except SparrowError:  # the client has said what is wrong
                await asyncio.sleep(PAUSE_S)
            else:
                await asyncio.sleep(self._ttl_s / 3)

    async def withdraw(self) -> bool:
        """Say that this broker is leaving; whether there are others who take over."""
        self._here = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._lease:
            lease, self._lease = self._lease, 0
            with contextlib.suppress(SparrowError):  # it runs out by itself
                await self._etcd.call(REVOKE, api.LeaseRevokeRequest(id=lease))
        return bool(self.all())


def _incarnation(name: bytes) -> int:
    try:
        return int(name, 16)
    except ValueError:
        return 0
